//! What is asked about the journal itself, and done to it: whether it is sound, what is in it, a copy, erasure. One at a time.

use super::api::{Answered, Api};
use super::query::Wrong;
use crate::daemon::erase::Erase;
use crate::journal::doctor::{self, DoctorError};
use crate::model::printable::Printable;
use crate::route::{Condition, NoCondition};
use hyper::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Of the name of who asked, so many characters are logged.
const BY_MAX: usize = 64;

impl From<DoctorError> for Wrong {
    fn from(why: DoctorError) -> Self {
        let status = match why {
            DoctorError::Exists(_) | DoctorError::Sound(_) => 400,
            DoctorError::Missing(_) => 404,
            DoctorError::Open(_)
            | DoctorError::Store(_)
            | DoctorError::Write { .. }
            | DoctorError::Unsound { .. }
            | DoctorError::Nothing(_) => 503,
        };
        Wrong(status, why.to_string())
    }
}

impl From<NoCondition> for Wrong {
    fn from(why: NoCondition) -> Self {
        Wrong(400, why.to_string())
    }
}

impl Api {
    /// Answers `/api/journal/…`.
    pub(super) async fn journal(&self, method: &Method, asked: &str, body: &[u8]) -> Answered {
        let _turn = self.daemon.doctor.lock().await;
        let path = self.daemon.archive.path().to_owned();
        match (method, asked) {
            (&Method::GET, "check") => self.ask(move || doctor::check(&path)).await,
            (&Method::GET, "stats") => {
                let (retain, now) = (self.daemon.retain, self.daemon.hub.now());
                self.ask(move || doctor::stats(&path, retain, now)).await
            }
            (&Method::POST, "backup") => {
                let to = json_of(body)?["file"].as_str().map(PathBuf::from).filter(|file| file.is_absolute());
                let to = to.ok_or_else(|| Wrong(400, "`file` must be a whole path".into()))?;
                self.ask(move || doctor::backup(&path, &to)).await
            }
            (&Method::POST, "erase") => {
                let asked = json_of(body)?;
                let is = |name: &str| asked[name] == true;
                let by = Printable(asked["by"].as_str().unwrap_or("?")).to_string().chars().take(BY_MAX).collect();
                let condition = Condition::new(asked["where"].as_str().unwrap_or_default())?;
                let erase = Erase { condition, dry_run: is("dry_run"), waiting: is("waiting"), rewrite: is("rewrite"), by };
                Ok(json!(self.daemon.erase(&erase).await?))
            }
            _ => Err(Wrong(404, "there is nothing here".into())),
        }
    }

    async fn ask<T: serde::Serialize + Send + 'static>(&self, ask: impl FnOnce() -> Result<T, DoctorError> + Send + 'static) -> Answered {
        let found = tokio::task::spawn_blocking(ask).await.map_err(|why| Wrong(500, why.to_string()))??;
        Ok(json!(found))
    }
}

fn json_of(body: &[u8]) -> Result<Value, Wrong> {
    serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not JSON: {why}")))
}
