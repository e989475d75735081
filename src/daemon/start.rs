//! From a blueprint to a running daemon: journal, outputs, recovery, listeners, in this order.
//!
//! Listening starts before the backlog is taken up, so that a restart costs senders as little as can be; `/ready` waits for it.

use super::blueprint::Blueprint;
use super::door;
use super::hub::Hub;
use super::outputs::OutputPlan;
use super::paused::Paused;
use super::replays::Replays;
use crate::deliver::section::DigestPolicy;
use crate::deliver::{Fleet, OutputSpec};
use crate::ingest::{Caps, Ingest, Tls, TlsError};
use crate::journal::{
    Archive, Backlog, Journal, OpenError, Operation, Recovered, SealedVault, Settings, SqliteStore, StoreError, VaultKey,
};
use crate::model::{Clock, DeliveryKey, DeliveryRow, Instant, Kept, NotRendered, Seq, Settlement, State, Target};
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use switchyard_api::kind::Wall;
use switchyard_api::{AnyKind, ConnectError, Kit, Output, Secret};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::context::TokioContext;

/// Events a slow listener of `tail` may be behind; older ones it misses.
const FEED_MAX: usize = 1_024;
/// Open events read at a time at the start.
const RECOVERY_PAGE: usize = 500;
/// What a reload waits for rows to be durable before it counts them.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// jq processes: one waits for the next program while the other runs.
const JQ_WORKERS: usize = 2;
/// What a delivery says whose output the file no longer has.
pub const GONE: &str = "held: its output is not in the configuration any more";

/// A running daemon.
pub struct Daemon {
    /// The configuration's file.
    pub config: PathBuf,
    /// The kinds of outputs there are.
    pub kinds: Vec<Arc<dyn AnyKind>>,
    /// Where the rooms meet.
    pub hub: Arc<Hub>,
    /// All outputs.
    pub fleet: Arc<Fleet<Hub>>,
    /// The way in.
    pub ingest: Arc<Ingest<Hub>>,
    /// The journal, for people.
    pub archive: Archive,
    /// What runs now.
    pub running: ArcSwap<Running>,
    /// New events, for `tail`.
    pub events: broadcast::Sender<Arc<Kept>>,
    /// Whether what was open at the start is on its way.
    pub ready: watch::Sender<bool>,
    /// When it started.
    pub started: Instant,
    pub(super) paused: Paused,
    pub(super) replays: Replays,
    pub(super) tls: Option<Tls>,
}

/// What runs now, for people; swapped whole by a reload.
pub struct Running {
    /// Names the configuration.
    pub version: String,
    /// Name and type of each output, in the order of the file.
    pub outputs: Vec<(String, String)>,
    /// Files whose change asks for a reload.
    pub files: Vec<PathBuf>,
    /// Where events arrive; a change takes effect at the next start.
    pub listen: SocketAddr,
    /// Outputs whose credentials change while in use, and where a person is given new ones, as far as the file says.
    pub logins: BTreeMap<String, Option<String>>,
    /// Where those are kept.
    pub(super) vault: SealedVault,
    /// Outputs whose stuck deliveries let others pass, and after how long.
    pub(super) skips: Vec<(Arc<str>, Duration)>,
    /// Outputs whose deliveries go together, and how.
    pub(super) digests: Vec<(Arc<str>, DigestPolicy)>,
}

/// Where events arrive: open and not served yet, and what is to be taken up before all is ready.
pub struct Doors {
    /// The port.
    pub events: TcpListener,
    pub(super) caps: Caps,
    pub(super) recovered: Recovered,
}

/// The admin side's port, open and not served yet.
pub struct AdminDoor {
    /// The port.
    pub listener: TcpListener,
    /// Allows everything there.
    pub token: Secret,
    /// Allows looking there.
    pub read_token: Option<Secret>,
}

/// Why there is no daemon. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal can't be read.
    #[error(transparent)]
    Journal(#[from] StoreError),
    /// A file beside the journal can't be read or written.
    #[error("can't use the journal's folder `{}`", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// A port can't be had.
    #[error("can't listen on {address} (`{key}`): choose another, or end the program that has it")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Where in the file it is said.
        key: &'static str,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The certificate can't be used.
    #[error("the certificate of `server.tls` can't be used")]
    Tls(#[from] TlsError),
    /// An output can't be made.
    #[error("the output `{output}` can't be made ready: {cause}")]
    Connect {
        /// Which.
        output: Arc<str>,
        /// Why.
        cause: ConnectError,
    },
}

impl StartError {
    /// Whether a supervisor may try again, or a person should look first.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Open(why) => why.exit_code(),
            StartError::Journal(why) => why.exit_code().unwrap_or(74),
            StartError::Folder { .. } => 74,
            StartError::Listen { .. } | StartError::Tls(_) | StartError::Connect { .. } => 78,
        }
    }
}

/// Opens everything; nothing is served yet. Outputs live on `deliver`, all else where this is called; all of it by `clock`.
pub async fn start(
    config: &Path,
    blueprint: Blueprint,
    kinds: Vec<Arc<dyn AnyKind>>,
    deliver: Handle,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Daemon>, Doors, AdminDoor), StartError> {
    let folder = super::folder_of(&blueprint.journal_file);
    let window = blueprint.sources.iter().filter_map(|(_, source)| source.verifier.window()).max().unwrap_or_default();
    let store = SqliteStore::open(&blueprint.journal_file, window, clock.wall())?;
    let paused = Paused::read(&folder).map_err(|cause| StartError::Folder { folder: folder.clone(), cause })?;
    let (events, dispatcher) = (broadcast::Sender::new(FEED_MAX), Arc::new(OnceLock::<Dispatcher>::new()));
    let settings = Settings { retain: blueprint.journal.retain.into(), clock: Arc::clone(&clock), on_kept: on_kept(&events, &dispatcher) };
    let (journal, recovered) = Journal::start(Box::new(store), settings)?;
    let archive = Archive::new(&blueprint.journal_file, Arc::clone(&clock));
    let hub = Arc::new(Hub {
        backlog: Backlog::new(journal.clone(), Arc::new(archive.clone())),
        journal,
        router: ArcSwap::new(Arc::clone(&blueprint.router)),
        jq: super::jq_pool(JQ_WORKERS),
        clock: Arc::clone(&clock),
    });
    let fleet = Arc::new(Fleet::new(Arc::clone(&hub), Arc::clone(&clock), deliver));
    // Set once, here, before anything can be kept.
    let _ = dispatcher.set(Dispatcher { fleet: Arc::clone(&fleet), hub: Arc::clone(&hub) });
    let vault = hub.vault(&archive, blueprint.vault_key.as_ref());
    let specs = connect(&blueprint, &fleet, &paused, &Lent { clock: &clock, vault: &vault }).await?;
    drop(fleet.apply(specs, Duration::ZERO));
    hold_and_release(&hub, &archive, &fleet, &blueprint.outputs).await?;
    let tls = blueprint.server.tls.as_ref().map(|files| Tls::load(files, &blueprint.base)).transpose()?;
    let (doors, admin) = open_doors(&blueprint, recovered, &folder).await?;
    let running = Running::of(config, &blueprint, vault);
    let ingest = Arc::new(Ingest::new(blueprint.sources, Arc::clone(&hub), Arc::clone(&clock), rand::random()));
    let daemon = Daemon {
        config: config.to_owned(),
        kinds,
        fleet,
        ingest,
        archive,
        running: ArcSwap::from_pointee(running),
        events,
        ready: watch::Sender::new(false),
        started: clock.now(),
        paused,
        replays: Replays::default(),
        tls,
        hub,
    };
    Ok((Arc::new(daemon), doors, admin))
}

async fn open_doors(blueprint: &Blueprint, recovered: Recovered, folder: &Path) -> Result<(Doors, AdminDoor), StartError> {
    let listen = |address: SocketAddr, key: &'static str| async move {
        TcpListener::bind(address).await.map_err(|cause| StartError::Listen { address, key, cause })
    };
    let events = listen(blueprint.server.listen, "server.listen").await?;
    let admin = listen(blueprint.admin.listen.value, "server.admin.listen").await?;
    let token = blueprint.admin.token.as_ref().map_or_else(door::token, |token| token.value.clone());
    let address = admin.local_addr().unwrap_or(blueprint.admin.listen.value);
    match door::open(folder, address, &token) {
        Err(why) if why.kind() == ErrorKind::StorageFull => {
            tracing::warn!(folder = %folder.display(), "no space for `admin.json`: the command line finds this daemon only with `--admin` and a token");
        }
        opened => opened.map_err(|cause| StartError::Folder { folder: folder.to_owned(), cause })?,
    }
    let read_token = blueprint.admin.read_token.as_ref().map(|token| token.value.clone());
    Ok((Doors { events, caps: blueprint.server.caps, recovered }, AdminDoor { listener: admin, token, read_token }))
}

impl Running {
    /// What a blueprint runs as.
    pub(super) fn of(config: &Path, blueprint: &Blueprint, vault: SealedVault) -> Self {
        Running {
            version: blueprint.version.clone(),
            outputs: blueprint.outputs.iter().map(|plan| (plan.name.to_string(), plan.kind.clone())).collect(),
            files: std::iter::once(config.to_owned()).chain(blueprint.certificate_files()).collect(),
            listen: blueprint.server.listen,
            logins: blueprint.outputs.iter().filter_map(|plan| Some((plan.name.to_string(), plan.config.login()?.authorize))).collect(),
            vault,
            skips: blueprint.outputs.iter().filter_map(|plan| Some((Arc::clone(&plan.name), plan.policy.order_by?.skip_after?))).collect(),
            digests: blueprint.outputs.iter().filter_map(|plan| Some((Arc::clone(&plan.name), plan.policy.digest?))).collect(),
        }
    }
}

/// Connects outputs; one that runs already with the same settings is taken as it is.
pub(super) async fn connect(
    blueprint: &Blueprint,
    fleet: &Fleet<Hub>,
    paused: &Paused,
    lent: &Lent<'_>,
) -> Result<Vec<OutputSpec>, StartError> {
    let mut specs = vec![];
    for plan in &blueprint.outputs {
        let output: Arc<dyn Output> = match fleet.running(&plan.name, plan.fingerprint) {
            Some(running) => running,
            None => {
                let kit = Kit { vault: Arc::new(lent.vault.clone()), ..kit(plan, lent.clock, blueprint) };
                TokioContext::new(plan.config.connect(&kit), fleet.runtime().clone())
                    .await
                    .map_err(|cause| StartError::Connect { output: Arc::clone(&plan.name), cause })?
            }
        };
        specs.push(OutputSpec {
            name: Arc::clone(&plan.name),
            fingerprint: plan.fingerprint,
            policy: Arc::clone(&plan.policy),
            output,
            paused: paused.holds(&plan.name),
        });
    }
    Ok(specs)
}

/// What outputs are lent beside what their file says.
pub(super) struct Lent<'l> {
    pub clock: &'l Arc<dyn Clock>,
    pub vault: &'l SealedVault,
}

/// What an output is lent, but for a vault.
pub(super) fn kit(plan: &OutputPlan, clock: &Arc<dyn Clock>, blueprint: &Blueprint) -> Kit {
    let clock = Arc::clone(clock);
    let user_agent = concat!("switchyard/", env!("CARGO_PKG_VERSION"));
    let kit = Kit::new(Arc::clone(&plan.name), &blueprint.base, user_agent, Wall::new(move || clock.wall().0));
    let policy = &plan.policy;
    Kit {
        egress: blueprint.egress.clone(),
        timeout: policy.timeout,
        retry_on: policy.retry_on.clone(),
        reject_on: policy.reject.clone(),
        ..kit
    }
}

/// Waiting deliveries of outputs that the file does not have become held; those that were held for want of their output or route
/// and have it again wait again.
pub(super) async fn hold_and_release(hub: &Hub, archive: &Archive, fleet: &Fleet<Hub>, plans: &[OutputPlan]) -> Result<(), StoreError> {
    // What was held a moment ago by the configuration before is seen too, unless the disk is full.
    let _ = tokio::time::timeout(FLUSH_WITHIN, hub.journal.flush()).await;
    let archive = archive.clone();
    let counts = tokio::task::spawn_blocking(move || archive.counts()).await;
    let counts = counts.map_err(|why| StoreError::Fatal { doing: "count deliveries", detail: why.to_string() })??;
    for count in counts {
        let has = plans.iter().any(|plan| plan.name == count.output);
        if !has && count.waiting > 0 {
            let held = hub.journal.operate(Operation::Hold { output: Arc::clone(&count.output), why: GONE.into() }).await?;
            tracing::warn!(output = %count.output, held, "the configuration has no such output: its deliveries are held");
        }
        if has && count.held > 0 {
            let released = release(hub, fleet, &count.output).await?;
            if released > 0 {
                tracing::info!(output = %count.output, released, "output and route are in the configuration again: deliveries go on");
            }
        }
    }
    Ok(())
}

/// Deliveries that were held because the file did not have their output, or the route by which they go there, wait again.
pub(super) async fn release(hub: &Hub, fleet: &Fleet<Hub>, output: &Arc<str>) -> Result<u64, StoreError> {
    let gone = |name: &str| NotRendered::Gone(name.to_owned()).to_string();
    let router = hub.router();
    let routes = router.targets().filter(|target| target.output == *output).map(|target| gone(&target.route));
    let why = routes.chain([GONE.to_owned(), gone(output)]).collect();
    let released = hub.journal.operate(Operation::Unhold { output: Arc::clone(output), why }).await?;
    // Where it left again, whoever ends it sees to them.
    let _ = fleet.look(output);
    Ok(released)
}

/// Hands new events to their outputs.
struct Dispatcher {
    fleet: Arc<Fleet<Hub>>,
    hub: Arc<Hub>,
}

fn on_kept(events: &broadcast::Sender<Arc<Kept>>, dispatcher: &Arc<OnceLock<Dispatcher>>) -> crate::journal::OnKept {
    let (events, dispatcher) = (events.clone(), Arc::clone(dispatcher));
    Box::new(move |kept| {
        let Some(dispatcher) = dispatcher.get() else { return };
        if events.receiver_count() > 0 {
            // Nobody listening any more is no fault.
            let _ = events.send(Arc::clone(&kept));
        }
        let homeless = dispatcher.fleet.dispatch(&kept);
        dispatcher.hub.hold(&kept, &homeless);
    })
}

impl Hub {
    /// The vault under this key.
    pub(super) fn vault(&self, archive: &Archive, key: Option<&Arc<VaultKey>>) -> SealedVault {
        SealedVault::new(self.journal.clone(), Arc::new(archive.clone()), key.cloned())
    }

    /// Targets whose output does not run are held, never nothing.
    fn hold(&self, kept: &Kept, homeless: &[Arc<Target>]) {
        if homeless.is_empty() {
            return;
        }
        let now = self.clock.wall();
        let row = |target: &Arc<Target>| DeliveryRow {
            key: DeliveryKey { seq: kept.seq, target: Arc::clone(target), ordinal: 0 },
            state: State::Held,
            due_at: None,
            attempts: 0,
            replays: 0,
            detail: GONE.into(),
            message: None,
            updated_at: now,
        };
        let settlements = homeless.iter().map(|target| Settlement { row: row(target), closes: true, order: None }).collect();
        // If it is not written the plan stays open, and the next start meets it again.
        self.journal.settle(settlements, Box::new(|_| ()));
    }
}

impl Daemon {
    /// Takes up what was planned and not over when the daemon ended, page by page.
    pub(super) async fn recover(&self, recovered: Recovered) -> Result<(), StoreError> {
        let mut from = Some(recovered.watermark);
        let mut taken = 0_usize;
        while let Some(start) = from.filter(|start| *start <= recovered.last) {
            let (found, next) = self.open_page(start, recovered.last).await?;
            for open in &found {
                let mut homeless = vec![];
                for (target, have) in open.missing() {
                    taken += 1;
                    if self.fleet.recover(&open.kept, target, have).is_err() {
                        homeless.push(Arc::clone(target));
                    }
                }
                self.hub.hold(&open.kept, &homeless);
            }
            // What spilled is on the disk before more is read: memory stays bounded (L6).
            self.hub.journal.flush().await;
            from = next;
        }
        if taken > 0 {
            tracing::info!(deliveries = taken, "took up what was not over at the last end");
        }
        Ok(())
    }

    async fn open_page(&self, from: Seq, to: Seq) -> Result<(Vec<crate::journal::OpenEvent>, Option<Seq>), StoreError> {
        let (backlog, now) = (self.hub.backlog.clone(), self.hub.clock.wall());
        let read = tokio::task::spawn_blocking(move || backlog.open_events(from, to, RECOVERY_PAGE, now)).await;
        read.map_err(|why| StoreError::Fatal { doing: "read open events", detail: why.to_string() })?
    }
}
