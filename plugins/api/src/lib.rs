//! What an output's author reads: how a kind of destination is declared, what it is handed, what it answers.
//!
//! An output crate declares its [`Kind`](kind::Kind): its settings, the message fields a route may override, how it
//! connects. The host hands it [`Parcel`](output::Parcel)s and hears an [`Outcome`](output::Outcome) for each. An output
//! knows nothing of queues, retries, limits, routes or templates.
//!
//! Beside the seam it has what outputs are made of: escaping by the place where a value goes ([`escape`]), making
//! a text fit ([`fit`]), whom outputs may reach ([`egress`]), the HTTP kit
//! ([`http`]: connections, the table from an answer to an outcome, credentials, signatures), units, secrets, and the
//! suite that every output passes against a real far side (`conformance`, behind the feature of that name).
//!
//! Never: reads the process's environment, logs a secret, retries by itself, follows a redirect.

pub mod authority;
#[cfg(any(test, feature = "conformance"))]
#[allow(clippy::unwrap_used, clippy::expect_used)] // a test suite says what is wrong by panicking
pub mod conformance;
pub mod egress;
pub mod escape;
pub mod fit;
pub mod headers;
pub mod http;
pub mod kind;
pub mod message;
pub mod output;
pub mod preview;
pub mod printable;
pub mod problem;
pub mod record;
pub mod secret;
pub mod shape;
pub mod stream;
pub mod tls;
pub mod tree;
pub mod units;
pub mod vault;

pub use fit::{Cap, Total};
pub use kind::{AnyConfig, AnyKind, CheckError, Confine, ConnectError, Defaults, Field, Kind, Kit, Login, Shape, Wall, Written};
pub use message::{Message, Rendered};
pub use output::{Handle, Outcome, Output, Parcel, Settle};
pub use preview::Preview;
pub use printable::Printable;
pub use problem::{Problem, Span};
pub use secret::Secret;
pub use tree::{At, Jq, Node, Template, Value};
pub use units::{Period, Rate, Size};
pub use vault::Vault;
