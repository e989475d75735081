//! Slow and plain: what the fast ways of the daemon must agree with. Tests and fuzzing compare the two.
//!
//! Never: shares code with what it judges, nor saves work by being clever.

pub mod glob;
pub mod json;
pub mod senders;
