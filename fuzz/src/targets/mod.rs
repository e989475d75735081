//! The entries, a file for what belongs together.

pub mod config;
pub mod envelope;
pub mod escapers;
pub mod filter;
pub mod http_head;
pub mod http_out;
pub mod journal_row;
pub mod jq_worker;
pub mod keeper;
pub mod numbers;
pub mod outputs;
pub mod route;
pub mod template;
pub mod verify;
