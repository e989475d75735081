//! The HTTP kit: what every output that speaks HTTP is made of.
//!
//! [`url`] is where to, [`client`] carries one request there and tells apart how far it came, [`answer`] is the one table
//! from an answer to an [`Outcome`](crate::Outcome), [`auth`] and [`sign`] prove who we are.
//!
//! Never: follows a redirect, retries a request of which a byte may have left, shows more of a URL than scheme and host (L7).

pub mod answer;
pub mod auth;
pub mod client;
mod pool;
pub mod sign;
mod tls;
pub mod url;

pub use answer::{Answer, Rules};
pub use auth::Auth;
pub use client::{CallError, Client, Limits, Request};
pub use sign::{Secrets, Signer};
pub use tls::{Tls, TlsError};
pub use url::Url;
