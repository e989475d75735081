//! The life itself: serve, reload, and end without losing what is under way.

use super::signals::{Asked, Signals};
use super::start::{Daemon, Doors};
use super::watch::Watch;
use crate::journal::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What requests under way may take when the daemon ends.
const GRACE: Duration = Duration::from_secs(10);

/// How a life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Asked to, and drained.
    Drained,
    /// Asked twice: at once. Nothing is lost; what was under way is found again.
    AtOnce,
    /// The journal stopped by itself.
    Fault {
        /// 74 or 75.
        exit_code: u8,
        /// One line for a person.
        message: String,
    },
}

impl Daemon {
    /// Serves until asked to end. `admin` serves the admin side until the token it was made with is cancelled.
    pub async fn live(
        self: &Arc<Self>,
        doors: Doors,
        admin: impl Future<Output = ()> + Send + 'static,
        stop_admin: CancellationToken,
    ) -> std::io::Result<Ended> {
        let mut signals = Signals::listen()?;
        let mut fault = self.hub.journal.fault();
        // Before anything says that the daemon is ready: who hears that may change the file.
        let mut watch = self.watch().await;
        let stop = CancellationToken::new();
        let tls = self.tls.as_ref().map(crate::ingest::Tls::config);
        let served = tokio::spawn(crate::ingest::serve(doors.events, tls, Arc::clone(&self.ingest), doors.caps, stop.clone(), GRACE));
        let admin = tokio::spawn(admin);
        let recovering = tokio::spawn({
            let daemon = Arc::clone(self);
            async move {
                match daemon.works.recover(&doors.recovered).await {
                    Ok(()) => drop(daemon.ready.send_replace(true)),
                    Err(why) => {
                        tracing::error!(%why, "what was not over at the last end could not be read; it is taken up at the next start");
                    }
                }
            }
        });
        let overtaking = tokio::spawn(Arc::clone(&self.works).overtake());
        let feeding = tokio::spawn({
            let daemon = Arc::clone(self);
            Arc::clone(&self.works).feed_replays(move || daemon.is_short_of_space())
        });
        let auditing = tokio::spawn(Arc::clone(self).keep_auditing());
        let rounds = tokio::spawn(Arc::clone(self).rounds());
        let beat = self.fleet.runtime().spawn(Arc::clone(self).beat());
        loop {
            tokio::select! {
                biased;
                asked = signals.next() => match asked {
                    Asked::Stop => break,
                    Asked::Reload => self.reload(true).await,
                },
                ended = failed(&mut fault) => return Ok(ended),
                () = watch.changed() => {
                    self.reload(false).await;
                    if *watch.files() != self.running.load().files {
                        watch = Watch::on(&self.running.load().files);
                    }
                }
            }
        }
        tracing::info!("asked to end: finishing what is under way");
        recovering.abort();
        overtaking.abort();
        feeding.abort();
        auditing.abort();
        rounds.abort();
        beat.abort();
        tokio::select! {
            biased;
            ended = self.drain(stop, served) => {
                stop_admin.cancel();
                // Its own grace is short; a panic in it is no reason to end otherwise.
                let _ = admin.await;
                Ok(ended)
            }
            ended = failed(&mut fault) => Ok(ended),
            () = async { while signals.next().await != Asked::Stop {} } => Ok(Ended::AtOnce),
        }
    }

    /// Watches the files from now on; what changed since they were read is taken.
    async fn watch(self: &Arc<Self>) -> Watch {
        let watch = Watch::on(&self.running.load().files);
        if self.was_changed_meanwhile().await {
            self.reload(false).await;
        }
        watch
    }

    /// Senders first, then outputs, then the journal: nothing that was answered is left unwritten.
    async fn drain(&self, stop: CancellationToken, served: tokio::task::JoinHandle<()>) -> Ended {
        stop.cancel();
        if let Err(why) = served.await {
            tracing::error!(%why, "the listener ended by a fault");
        }
        match self.works.drain().await {
            Ok(()) => Ended::Drained,
            Err(fault) => Ended::Fault { exit_code: fault.exit_code, message: fault.message },
        }
    }
}

/// When the journal stopped by itself.
async fn failed(fault: &mut watch::Receiver<Option<Fault>>) -> Ended {
    let failed = fault.wait_for(Option::is_some).await;
    let (exit_code, message) = match failed.as_deref() {
        Ok(Some(fault)) => (fault.exit_code, fault.message.clone()),
        _ => (74, "its thread ended".into()),
    };
    Ended::Fault { exit_code, message }
}
