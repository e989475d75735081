//! The real servers that tests speak to: installed once, started on free ports in a folder of their own, ended with the test.
//!
//! One file a server. Each says its Debian packages ([`install`]) and how it is started; a test calls `start` and holds what it
//! gets: dropping it ends the server, and so does the end of the test's process, however it comes. A server that is not
//! installed is an error that says what to run; nothing is skipped.
//!
//! Never: uses a server that runs on the machine already, a fixed port, or a folder that outlives the test.

pub mod azurite;
pub mod certificate;
pub mod gate;
pub mod guarded;
pub mod install;
pub mod kafka;
pub mod line;
pub mod mail;
pub mod mariadb;
pub mod mosquitto;
pub mod nats;
pub mod net;
pub mod nginx;
pub mod pause;
pub mod postgres;
pub mod rabbitmq;
pub mod readers;
pub mod redis;
pub mod rsyslog;
pub mod s3;
pub mod shared;
pub mod tinyproxy;

pub use guarded::Guarded;
pub use nginx::Nginx;
pub use tinyproxy::Tinyproxy;

/// Every server, by the name that `cargo xtask services` knows: its packages, and how it is started for use by hand.
pub const ALL: &[Service] = &[
    azurite::SERVICE,
    kafka::SERVICE,
    mail::SERVICE,
    mariadb::SERVICE,
    mosquitto::SERVICE,
    nats::SERVICE,
    nginx::SERVICE,
    postgres::SERVICE,
    rabbitmq::SERVICE,
    redis::SERVICE,
    rsyslog::SERVICE,
    s3::SERVICE,
    tinyproxy::SERVICE,
];

/// One kind of server.
#[derive(Clone, Copy)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Installs what it needs; does nothing where that is there already.
    pub install: fn() -> anyhow::Result<()>,
    /// Starts one and says how to reach it, a line an address.
    pub start: fn() -> anyhow::Result<Started>,
}

/// What ends a server when it is dropped, and how to reach it, a line an address.
pub type Started = (Box<dyn std::any::Any + Send>, Vec<String>);
