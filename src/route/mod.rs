//! Which event goes where, and in what shape. Owns the section `routes`.
//!
//! [`Router::plan`] decides before the sender is answered: source and topic through one index, then filters, then `where`.
//! [`Router::render`] makes the messages later: `transform`, then templates. Both are functions of the event and the file;
//! but for the jq pool there is no clock, no I/O and no chance in here, so that a crash or a replay gives the same again (L1).
//!
//! Never: talks to an output, keeps anything between events, lets a value of an event become structure (L8).

mod asks;
mod condition;
pub mod decimal;
mod digest;
mod drill;
mod explain;
pub mod facts;
pub mod filter;
mod fitting;
pub mod glob;
pub mod index;
pub mod jq;
mod message;
mod on_dead;
mod pace;
mod plan;
mod render;
pub mod section;
pub mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use asks::Ask;
pub use condition::{Condition, NoCondition};
pub use digest::{Along, DIGESTED};
pub use explain::{RouteVerdict, Sent, Standing, Verdict};
pub use glob::Glob;
pub use jq::JqPool;
pub use message::{By, Digested, Line, OutputMessage};
pub use pace::Pace;
pub use plan::{Router, ShownRoute};
pub use render::MESSAGES_MAX;
pub use section::RouteSection;
pub use template::Died;
