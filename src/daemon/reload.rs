//! A changed file, taken whole or not at all (L5). What did not change keeps its engine, queue, breaker and bucket.

use super::blueprint::{self, Blueprint};
use super::hidden;
use super::start::{Daemon, Lent, Running, Stood, connect};
use super::works::Laid;
use crate::config::{self, CannotRead, Process, Report};
use sha2::{Digest, Sha256};
use std::sync::Arc;

impl Daemon {
    /// Reads the file again. `asked`: a person did, and hears of it even if nothing changed.
    pub(super) async fn reload(self: &Arc<Self>, asked: bool) {
        self.reload_certificate();
        let file = match config::load(&self.config, &Process::beside(&self.config)) {
            Ok(file) => file,
            Err(CannotRead::Missing(path)) => {
                let why = format!("the file `{}` is gone: put it back", path.display());
                self.rejected(1, &why);
                return tracing::error!("{why}; what ran goes on");
            }
            Err(why) => {
                self.rejected(1, &why.to_string());
                return tracing::error!(%why, "the configuration can't be read; what runs is unchanged");
            }
        };
        let drawn = blueprint::draw(&file, &self.kinds);
        let hidden = hidden::unquotable(&file, &drawn.problems, &self.kinds);
        let report = Report { file: &file, problems: &drawn.problems, hidden: &hidden };
        let Some(blueprint) = drawn.blueprint else {
            let (problems, first) = report.first_error().unwrap_or_default();
            self.rejected(problems, &first);
            return tracing::error!("the configuration does not run; what runs is unchanged\n{}", report.text(false));
        };
        if self.running.load().version == blueprint.version {
            let was_wrong = self.accepted();
            if asked || was_wrong {
                tracing::info!(version = %blueprint.version, "the configuration is as it was");
            }
            return;
        }
        if !drawn.problems.is_empty() {
            tracing::warn!("the new configuration runs, with a warning\n{}", report.text(false));
        }
        let version = blueprint.version;
        match self.swap(blueprint).await {
            Ok(()) => {
                let _ = self.accepted();
                tracing::info!(%version, "the new configuration runs");
            }
            Err(why) => {
                self.rejected(1, &why.to_string());
                tracing::error!(%why, "the new configuration can't be started; what runs is unchanged");
            }
        }
    }

    async fn swap(self: &Arc<Self>, blueprint: Blueprint) -> Result<(), super::StartError> {
        let vault = self.hub.vault(&self.archive, blueprint.vault_key.as_ref());
        // What runs knows by itself how it stands; what is new was never tried.
        let stood = |output: &str| Stood { paused: self.paused.holds(output), down: None };
        let specs = connect(&blueprint, &self.fleet, &stood, &Lent { clock: &self.hub.clock, vault: &vault }).await?;
        if self.running.load().listen != blueprint.server.listen {
            tracing::warn!("`server.listen` takes effect at the next start");
        }
        // Before the first event is planned under it.
        self.hub.keep_config(blueprint.version, &blueprint.written).await;
        crate::fail::point("reload");
        let running = Running::of(&self.config, &blueprint, Lent { clock: &self.hub.clock, vault: &vault });
        self.works.change(specs, Laid::of(&blueprint.outputs, &blueprint.router), Arc::clone(&blueprint.router));
        self.keys.change(&blueprint);
        self.ingest.swap(blueprint.sources);
        self.running.store(Arc::new(running));
        if let Err(why) = self.works.hold_and_release().await {
            tracing::error!(%why, "held deliveries were not looked through");
        }
        Ok(())
    }

    /// Whether the file is not what was read at the start.
    pub(super) async fn was_changed_meanwhile(&self) -> bool {
        let found = tokio::fs::read(&self.config).await;
        let now = found.map(|bytes| Sha256::digest(&bytes));
        now.map_or(true, |now| now[..] != self.running.load().text)
    }

    fn reload_certificate(&self) {
        if let Some(Err(why)) = self.tls.as_ref().map(crate::ingest::Tls::reload) {
            tracing::error!(%why, "the new certificate can't be used; the old one stays");
        }
    }
}
