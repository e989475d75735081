//! From kept event to the far side: one engine per output decides which delivery goes next and when, and settles each.
//!
//! Does: due times, retry schedule, rate, concurrency, breaker, open window with spill, settlements, per-attempt timeout.
//! Never: chooses a route or renders (the [`Host`] does), speaks to a destination (`plugins/*` do), writes the journal
//! (the [`Host`] does).
//! Holds: L3 nothing here is shared between two outputs. L4 no send without a token ([`limiter`]). Half of L1: what was
//! given to [`Fleet::dispatch`] ends delivered, held or dead, or is found again after a restart; proven by `laws.rs`.
//!
//! `section` what the file says · `retry`, `limiter`, `breaker` the three rules, pure · `engine` the state machine over
//! them, pure, with `turns`, `reading` and its `words` · `inbox` the hand-over from the journal's writer, with the window's bound · `parcel`
//! between the journal's words and the engine's · `shell` the async skin of one output · `host` the seam to the daemon ·
//! `fleet` all outputs, across reloads.

pub mod breaker;
pub mod engine;
pub mod fleet;
pub mod host;
pub mod inbox;
pub mod limiter;
pub mod parcel;
pub mod reading;
pub mod retry;
pub mod section;
pub mod shell;
pub mod turns;
pub mod words;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod shell_tests;

pub use breaker::{BreakerState, Turned, WasDown};
pub use fleet::{Fleet, KeyOf, OutputSpec, UnknownOutput};
pub use host::{Attempted, Due, Host, LoadError, OutputStatus, Wanted};
pub use parcel::first_attempt;
pub use section::{DeliverySection, OnUnknown, Policy};
pub use words::Counts;
