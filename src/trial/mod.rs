//! The file's own tests: events that never were, on virtual time, and what is expected to go out. Owns the section `tests`.
//!
//! Does: plans and renders by the real router, and keeps the times: hours, and digests. Never: sends, keeps, or reads a clock. Limits, retries
//! and order are not looked at: they delay, and change nothing of what goes where. What is expected is a filter over what goes out, so it has the
//! words of a route's filter, and says what it found as that does.

mod data;
mod run;
mod section;

pub use data::as_data;
pub use run::{Missed, Outcome, Ran, Schedule, Went, run};
pub use section::{Tests, Wanted};
