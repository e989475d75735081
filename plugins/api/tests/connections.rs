//! The HTTP kit's connections against real servers: HTTP/2, TLS with client certificates, proxies, and whom outputs may reach.

#![allow(clippy::unwrap_used)] // helpers of tests

mod wire;
