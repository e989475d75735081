//! The way in: from a connection to a kept event and its answer.
//!
//! Does: accepts connections (TLS, caps, timeouts), finds the source by path, reads the body within its bounds, has it
//! proven, hands the event to whoever keeps it, answers. Never: answers 200 before [`Keep`] said that the event is durable
//! (L1), refuses a proven event for its content (L2), waits or reads without a bound (L6), says anything of a request back
//! to its sender, keeps a header that carries a secret (L7).
//! Proven by `handle`'s tests (no sockets) and `listener`'s (loopback, raw bytes).

pub mod answer;
pub mod body;
mod coding;
pub mod counts;
mod cut;
pub mod handle;
mod heads;
pub mod listener;
mod proof;
mod room;
pub mod section;
pub mod sources;
pub mod tls;

pub use answer::{Answer, KEPT_AS};
pub use counts::{Refusal, Rotation, SecretUse, Standing, Tally};
pub use handle::{Ingest, Keep, NotKept};
pub use listener::{converse, serve};
pub use room::Caps;
pub use section::{NamedSource, Server, ServerSection, SourceSection, read_sources};
pub use sources::{Limits, Source, Sources};
pub use tls::{Tls, TlsError};
