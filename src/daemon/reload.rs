//! A changed file, taken whole or not at all (L5). What did not change keeps its engine, queue, breaker and bucket.

use super::blueprint::{self, Blueprint};
use super::start::{Daemon, Lent, Running, connect, hold_and_release, release};
use crate::config::{self, Process, Report};
use crate::journal::{Operation, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// What an output that left the file may take to finish what is out.
const GRACE: Duration = Duration::from_secs(10);

impl Daemon {
    /// Reads the file again. `asked`: a person did, and hears of it even if nothing changed.
    pub(super) async fn reload(self: &Arc<Self>, asked: bool) {
        self.reload_certificate();
        let file = match config::load(&self.config, &Process::beside(&self.config)) {
            Ok(file) => file,
            Err(why) => {
                self.rejected(1, &why.to_string());
                return tracing::error!(%why, "the configuration can't be read; what runs is unchanged");
            }
        };
        let drawn = blueprint::draw(&file, &self.kinds);
        let hidden = file.tree.as_ref().map(blueprint::literal_secrets).unwrap_or_default();
        let report = Report { file: &file, problems: &drawn.problems, hidden: &hidden };
        let Some(blueprint) = drawn.blueprint else {
            let (problems, first) = report.first_error().unwrap_or_default();
            self.rejected(problems, &first);
            return tracing::error!("the configuration does not run; what runs is unchanged\n{}", report.text(false));
        };
        if self.running.load().version == blueprint.version {
            self.accepted();
            if asked {
                tracing::info!(version = %blueprint.version, "the configuration is as it was");
            }
            return;
        }
        if !drawn.problems.is_empty() {
            tracing::warn!("the new configuration runs, with a warning\n{}", report.text(false));
        }
        let version = blueprint.version.clone();
        match self.swap(blueprint).await {
            Ok(()) => {
                self.accepted();
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
        let specs = connect(&blueprint, &self.fleet, &self.paused, &Lent { clock: &self.hub.clock, vault: &vault }).await?;
        if self.running.load().listen != blueprint.server.listen {
            tracing::warn!("`server.listen` takes effect at the next start");
        }
        crate::fail::point("reload");
        let running = Running::of(&self.config, &blueprint, vault);
        // Outputs first: no route may plan for one that does not run yet.
        let gone = self.fleet.apply(specs, GRACE);
        self.hub.router.store(Arc::clone(&blueprint.router));
        self.ingest.swap(blueprint.sources);
        self.running.store(Arc::new(running));
        for (output, ended) in gone {
            let daemon = Arc::clone(self);
            tokio::spawn(async move {
                ended.await;
                if let Err(why) = daemon.hold_gone(&output).await {
                    tracing::error!(%output, %why, "the deliveries of an output that left the configuration could not be held");
                }
            });
        }
        if let Err(why) = hold_and_release(&self.hub, &self.archive, &self.fleet, &blueprint.outputs).await {
            tracing::error!(%why, "held deliveries were not looked through");
        }
        Ok(())
    }

    /// Holds what an output left behind that is not in the file; it may be back in the meantime, by another reload.
    async fn hold_gone(&self, output: &Arc<str>) -> Result<(), StoreError> {
        let is_back = || self.running.load().outputs.iter().any(|(name, _)| **name == **output);
        if !is_back() {
            let hold = Operation::Hold { output: Arc::clone(output), why: super::start::GONE.to_owned() };
            let held = self.hub.journal.operate(hold).await?;
            if held > 0 {
                tracing::warn!(%output, held, "the output left the configuration: its deliveries are held");
            } else {
                tracing::info!(%output, "the output left the configuration; nothing waited for it");
            }
        }
        // Asked again: that reload may have looked for held ones before these were.
        if is_back() {
            release(&self.hub, &self.fleet, output).await?;
        }
        Ok(())
    }

    fn reload_certificate(&self) {
        if let Some(Err(why)) = self.tls.as_ref().map(crate::ingest::Tls::reload) {
            tracing::error!(%why, "the new certificate can't be used; the old one stays");
        }
    }
}
