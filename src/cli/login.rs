//! `switchyard login OUTPUT`: a refresh token from standard input into the running daemon's vault.

use super::client::{Admin, Client, escape};
use super::{Exit, block_on, show};
use anyhow::{Context, bail};
use serde_json::json;
use std::io::{IsTerminal, Read};

/// A token is shorter than this.
const TOKEN_MAX: u64 = 64 * 1024;

/// Hands an output a new refresh token, read from standard input; the daemon keeps it sealed and uses it from the next refresh on.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// The output's name in the file.
    output: String,
    #[command(flatten)]
    admin: Admin,
}

impl Login {
    pub fn run(self) -> anyhow::Result<Exit> {
        let path = format!("/api/outputs/{}/login", escape(&self.output));
        let client = Client::new(&self.admin)?;
        // Before a person goes for a token: that there is somebody to take it, and where to go.
        let place = block_on(client.get(&path))?;
        if std::io::stdin().is_terminal() {
            if let Some(url) = place["authorize"].as_str() {
                eprintln!("Open this, allow us in, and exchange the code for a refresh token:\n\n  {url}\n");
            }
            eprintln!("Paste the refresh token, then Enter and Ctrl-D:");
        } else if let Some(url) = place["authorize"].as_str().filter(|_| !self.admin.json) {
            eprintln!("tokens of this output are given out at {url}");
        }
        let mut token = String::new();
        std::io::stdin().take(TOKEN_MAX).read_to_string(&mut token).context("can't read the token from standard input")?;
        let token = token.trim();
        if token.is_empty() {
            bail!("there is no token on standard input: pass it as `switchyard login {} < FILE`", self.output);
        }
        let answer = block_on(client.post(&path, &json!({ "refresh_token": token })))?;
        if self.admin.json {
            show::line(&answer);
        } else {
            show::say(&format!("{} has a new refresh token, kept sealed in the journal", self.output));
        }
        Ok(Exit::Done)
    }
}
