//! The journal: keeps events with their plans and what became of each delivery, through crash and restart.
//!
//! Does: one writer thread over one store makes batches durable and answers after that (`writer`); SQLite is the store
//! (`sqlite`); people and engines read beside it (`archive`, `backlog`); credentials that change while in use lie in it sealed
//! (`vault`); what is to be delivered again is planned there before it runs (`replay`); `doctor` looks after the file. Never: decides where an event goes, when a delivery
//! is tried, or what a sender is told. Holds: L1 answered means kept, repeats are recognised inside the append's own
//! transaction; L6 every queue has a bound. Proven by `conformance` (one suite on the SQLite store and on one in memory
//! that loses what was not committed) and by the tests of each file.

pub mod archive;
pub mod backlog;
pub mod codec;
pub mod doctor;
mod driven;
pub mod duplicates;
mod inbox;
pub mod memory;
mod open_plans;
pub mod pace;
pub mod replay;
pub mod section;
pub mod sqlite;
pub mod store;
mod tally;
pub mod vault;
mod writer;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;

pub use archive::Archive;
pub use backlog::Backlog;
pub use driven::{Driven, Wants};
pub use inbox::{AppendError, QUEUE_BYTES_MAX, QUEUE_EVENTS_MAX};
pub use pace::Commits;
pub use replay::{JobState, Render, ReplayJob};
pub use section::JournalSection;
pub use sqlite::{OpenError, SqliteStore};
pub use store::{DeliveryFilter, OpenEvent, Operation, Reads, Recovered, Retain, StoreError, TopicMatch};
pub use vault::{SealedVault, VaultKey};
pub use writer::{Counts, Fault, Journal, OnKept, Settings};
