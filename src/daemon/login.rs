//! Hands an output new credentials that a person was given, where they change while in use.

use super::start::Daemon;
use switchyard_api::Secret;
use switchyard_api::http::auth::logged_in;
use switchyard_api::vault::{NOTHING, Saved, Vault, VaultError};

/// Writings that may come between reading and writing: an output writes once a refresh.
const TRIES: usize = 5;

/// Why an output can't take new credentials. `Display` is one line without secrets.
#[derive(Debug, thiserror::Error)]
pub enum CannotLogin {
    /// There is no such output.
    #[error("there is no output `{0}`")]
    Unknown(String),
    /// Its credentials do not change.
    #[error("the output `{0}` has no credentials that change while in use: `auth: {{ oauth2: {{ grant: refresh_token, … }} }}` are such")]
    Unasked(String),
    /// It can't be kept.
    #[error("the new token can't be kept: {0}")]
    Vault(VaultError),
    /// The output writes faster than we do.
    #[error("the output renewed its token at the same moment, again and again: try once more")]
    Overtaken,
}

impl Daemon {
    /// Where a person is given a new refresh token for an output, as far as the file says.
    ///
    /// # Errors
    /// It has no such credentials.
    pub fn login_place(&self, output: &str) -> Result<Option<String>, CannotLogin> {
        let running = self.running.load();
        if !running.outputs.iter().any(|(name, _)| name == output) {
            return Err(CannotLogin::Unknown(output.to_owned()));
        }
        running.logins.get(output).cloned().ok_or_else(|| CannotLogin::Unasked(output.to_owned()))
    }

    /// Keeps a new refresh token for an output; durable when this returns. Its next refresh takes it, and where it was down
    /// a probe goes now.
    ///
    /// # Errors
    /// Why it is not kept.
    pub async fn login(&self, output: &str, token: &Secret) -> Result<(), CannotLogin> {
        self.login_place(output)?;
        let vault = self.running.load().vault.clone();
        for _ in 0..TRIES {
            let seen = match vault.load(output).await {
                Ok(entry) => entry.map_or(NOTHING, |entry| entry.version),
                // What cannot be opened any more is replaced all the same.
                Err(VaultError::Sealed) => vault.version(output).await.map_err(CannotLogin::Vault)?,
                Err(why) => return Err(CannotLogin::Vault(why)),
            };
            if let Saved::As(_) = vault.save(output, seen, logged_in(token)).await.map_err(CannotLogin::Vault)? {
                // It was there a moment ago; where it left the file, the token waits for it.
                let _ = self.fleet.hurry(output);
                return Ok(());
            }
        }
        Err(CannotLogin::Overtaken)
    }
}
