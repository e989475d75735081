//! The configurations that ran: which there are, and each as it was written.

use super::api::{Answered, Api};
use super::query::Wrong;
use crate::journal::Reads;
use crate::journal::store::KeptConfig;
use crate::model::{ConfigVersion, NoVersion};
use serde_json::{Value, json};

impl Api {
    /// Those that are kept, the newest first, without their texts.
    pub(super) async fn configs(&self) -> Answered {
        let kept = self.kept_configs().await?;
        let running = self.daemon.running.load().version;
        Ok(json!({ "running": running.to_string(), "configs": kept.iter().map(|kept| line(kept, running)).collect::<Vec<_>>() }))
    }

    /// One with its text; `running`: the one that runs.
    pub(super) async fn config(&self, version: &str) -> Answered {
        let running = self.daemon.running.load().version;
        let version = if version == "running" { running } else { version.parse().map_err(|why: NoVersion| Wrong(400, why.to_string()))? };
        let kept = self.kept_configs().await?.into_iter().find(|kept| kept.version == version);
        let gone = || Wrong(404, format!("no configuration {version} is kept (any more): `switchyard config list` shows those that are"));
        let kept = kept.ok_or_else(gone)?;
        let mut shown = line(&kept, running);
        shown["text"] = Value::from(&*kept.text);
        Ok(shown)
    }

    async fn kept_configs(&self) -> Result<Vec<KeptConfig>, Wrong> {
        let archive = self.daemon.archive.clone();
        self.read(move || Reads::configs(&archive)).await
    }
}

fn line(kept: &KeptConfig, running: ConfigVersion) -> Value {
    json!({
        "version": kept.version.to_string(), "since": kept.since.to_string(), "bytes": kept.text.len(), "running": kept.version == running,
    })
}
