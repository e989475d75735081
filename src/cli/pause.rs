//! `switchyard pause OUTPUT` and `switchyard resume OUTPUT`.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, show};
use serde_json::json;

/// Holds an output's deliveries; they are kept and go out when it is resumed.
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// The output's name in the file.
    output: String,
    #[command(flatten)]
    admin: Admin,
}

/// Lets a paused output go on.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The output's name in the file.
    output: String,
    #[command(flatten)]
    admin: Admin,
}

impl Pause {
    pub fn run(self) -> anyhow::Result<Exit> {
        ask(&self.admin, &self.output, "pause", "is paused: its deliveries are kept until `switchyard resume`")
    }
}

impl Resume {
    pub fn run(self) -> anyhow::Result<Exit> {
        ask(&self.admin, &self.output, "resume", "goes on")
    }
}

fn ask(admin: &Admin, output: &str, what: &str, told: &str) -> anyhow::Result<Exit> {
    let answer = block_on(async { Client::new(admin)?.post(&format!("/api/outputs/{}/{what}", escape(output)), &json!({})).await })?;
    if admin.json {
        show::line(&answer);
    } else {
        show::say(&format!("{output} {told}"));
    }
    Ok(Exit::Done)
}
