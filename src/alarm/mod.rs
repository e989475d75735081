//! What people are told about the daemon itself: the events of the built-in source `switchyard`.
//!
//! Does: keeps a book of what is wrong, one line a cause, and says when somebody should hear of it: once, then at growing intervals
//! with a count, and when it is over. Never: looks at anything by itself (the daemon does, and hands in what it saw), keeps or
//! delivers an event, reads a clock. Holds: L6 the book is bounded, and so is what one cause can make in a day, whatever happens.
//! Proven by the tests of `book`, and by `tests/inside.rs` with the real daemon.

pub mod book;
pub mod cause;

pub use book::{Book, Look, Saved};
pub use cause::{Cause, Stage, Telling};
