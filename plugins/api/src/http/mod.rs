//! The HTTP kit: what every output that speaks HTTP is made of.
//!
//! [`connection`] is what the file says of connections (TLS, proxy, version), [`url`] is where to, [`client`] carries one request there and tells apart how far it came, [`answer`] is the one table
//! from an answer to an [`Outcome`](crate::Outcome), [`auth`] and [`sign`] prove who we are.
//!
//! Never: follows a redirect, retries a request of which a byte may have left, shows more of a URL than scheme and host (L7).

pub mod answer;
pub mod auth;
pub mod client;
pub mod connection;
mod dial;
mod error;
pub mod gzip;
mod pool;
pub mod proxy;
pub mod sign;
mod two;
pub mod url;
mod version;

pub use answer::{Answer, Rules};
pub use auth::{Auth, Credentials, NotSent, body_of};
pub use client::{Client, Limits, Request};
pub use connection::Connection;
pub use error::CallError;
pub use proxy::Proxy;
pub use sign::{Secrets, Signer};
pub use url::Url;
pub use version::Version;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
