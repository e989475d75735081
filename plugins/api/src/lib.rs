//! What an output's author reads: how a kind of destination is declared, what it is handed, what it answers.
//!
//! An output crate declares its [`Kind`](kind::Kind): its settings, the message fields a route may override, how it
//! connects. The host hands it [`Parcel`](output::Parcel)s and hears an [`Outcome`](output::Outcome) for each. An output
//! knows nothing of queues, retries, limits, routes or templates.
//!
//! Beside the seam it has what outputs are made of: escaping by the place where a value goes ([`escape`]), the HTTP kit
//! ([`http`]: connections, the table from an answer to an outcome, credentials, signatures), units, secrets, and the
//! suite that every output passes against a real far side (`conformance`, behind the feature of that name).
//!
//! Never: reads the process's environment, logs a secret, retries by itself, follows a redirect.

#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, clippy::expect_used)] // a test suite says what is wrong by panicking
pub mod conformance;
pub mod escape;
pub mod http;
pub mod kind;
pub mod message;
pub mod output;
pub mod printable;
pub mod problem;
pub mod secret;
pub mod tree;
pub mod units;

pub use kind::{AnyConfig, AnyKind, CheckError, Confine, ConnectError, Defaults, Field, Kind, Kit, Shape, Wall};
pub use message::{Message, Rendered};
pub use output::{Handle, Outcome, Output, Parcel, Settle};
pub use printable::Printable;
pub use problem::{Problem, Span};
pub use secret::Secret;
pub use tree::{At, Jq, Node, Template, Value};
pub use units::{Period, Rate, Size};
