//! The admin side: what people and programs ask a running daemon. The command line talks to it, never to the journal's file.
//!
//! `server` the listener · `access` who may ask · `api` what is answered · `deliveries` their list · `feed` kept events whole · `replays` what is delivered again · `drill` what is to be seen arriving · `duplicates` what repeats ·
//! `config` the configurations that ran · `journal` about the journal itself · `view` the JSON shapes, which are the command
//! line's `--json` too. Never: shows a secret (L7), lets a page of another site in (`access`).

pub mod access;
pub mod api;
mod config;
mod deliveries;
mod drill;
mod duplicates;
mod feed;
mod journal;
mod query;
mod replays;
pub mod server;
mod view;

pub use api::Api;
pub use query::ROWS_MAX;
pub use server::serve;
