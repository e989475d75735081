//! The configuration file: text → tree with places, `${…}`, and problems as people read them.
//!
//! Does: reads the file (bounded), parses it so that every value knows its bytes, replaces `${…}`, and renders problems
//! with the line, a caret and what to do. Never: knows what a key means; each room reads its own section of the tree.
//! Holds L7 in messages (no secret is quoted) and the reading half of L5 (what is wrong is found with its place). Proven by
//! `wrong_files`, which shows what a person sees for each mistake.

mod comments;
pub mod file;
mod lookalikes;
pub mod parse;
pub mod place;
pub mod prose;
pub mod report;
pub mod rules;
mod scalar;
pub mod secrets;
mod syntax;
#[cfg(test)]
mod wrong_files;

pub use file::{CannotRead, File, from_text, load};
pub use report::Report;
pub use secrets::{Environment, Process};
