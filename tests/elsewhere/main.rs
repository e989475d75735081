//! Senders whose proof or whose handshake needs another host, with the real daemon: certificates and sets of keys over TLS, and every handshake of
//! `tests/data/handshakes.json`.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod handshakes;
mod host;
mod keys;
#[path = "../yard/mod.rs"]
mod yard;
