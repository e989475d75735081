//! What an output's author reads: how a kind of destination is declared, what it is handed, what it answers.
//!
//! An output crate declares its [`Kind`](kind::Kind): its settings, the message fields a route may override, how it
//! connects. The host hands it [`Parcel`](output::Parcel)s and hears an [`Outcome`](output::Outcome) for each. An output
//! knows nothing of queues, retries, limits, routes or templates.
//!
//! Never: reads the process's environment, logs a secret, retries by itself, follows a redirect.

pub mod escape;
pub mod kind;
pub mod message;
pub mod output;
pub mod problem;
pub mod secret;
pub mod tree;
pub mod units;

pub use kind::{AnyConfig, AnyKind, CheckError, Confine, ConnectError, Defaults, Field, Kind, Kit, Shape};
pub use message::{Message, Rendered};
pub use output::{Handle, Outcome, Output, Parcel, Settle};
pub use problem::{Problem, Span};
pub use secret::Secret;
pub use tree::{At, Jq, Node, Template, Value};
pub use units::{Period, Rate, Size};
