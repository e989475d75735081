//! From a blueprint to a running daemon: journal, outputs, recovery, listeners, in this order.
//!
//! Listening starts before the backlog is taken up, so that a restart costs senders as little as can be; `/ready` waits for it.

use super::audit::Audited;
use super::blueprint::Blueprint;
use super::door;
use super::down::Down;
use super::hub::{Hub, Reading};
use super::keys::Keys;
use super::looks::Patience;
use super::outputs::OutputPlan;
use super::paused::Paused;
use super::rounds::{Noticed, Seen};
use super::sight::Sights;
use super::silences::Silences;
use super::works::{Laid, Parts, Works};
use crate::deliver::{Fleet, KeyOf, OutputSpec, WasDown};
use crate::ingest::{Caps, Ingest, Tls, TlsError};
use crate::journal::{Archive, Journal, OpenError, Recovered, Retain, SealedVault, Settings, SqliteStore, StoreError, VaultKey};
use crate::model::{Clock, ConfigVersion, Instant, Kept};
use crate::verify::Documents;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use switchyard_api::kind::Wall;
use switchyard_api::tls::SystemRoots;
use switchyard_api::{AnyKind, ConnectError, Kit, Output, Secret};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::context::TokioContext;

/// jq processes of a pool: one waits for the next program while the other runs.
const JQ_WORKERS: usize = 2;
/// Connections that the system holds until they are accepted; it may hold fewer (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

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
    /// How long what is over is kept, as the writer knows it.
    pub retain: Retain,
    /// Held by whoever looks after the journal's file: one at a time.
    pub doctor: tokio::sync::Mutex<()>,
    pub(super) audited: ArcSwapOption<Audited>,
    /// What runs between the doors.
    pub works: Arc<Works>,
    pub(super) paused: Paused,
    pub(super) tls: Option<Tls>,
    /// Where the journal is.
    pub(super) folder: PathBuf,
    pub(super) seen: ArcSwap<Seen>,
    pub(super) noticed: Noticed,
    pub(super) keys: Arc<Keys>,
}

/// What runs now, for people; swapped whole by a reload.
pub struct Running {
    /// Names the configuration.
    pub version: ConfigVersion,
    /// A hash of the file's text.
    pub(super) text: [u8; 32],
    /// Name and type of each output, in the order of the file.
    pub outputs: Vec<(String, String)>,
    /// Files whose change asks for a reload.
    pub files: Vec<PathBuf>,
    /// Where events arrive; a change takes effect at the next start.
    pub listen: SocketAddr,
    /// Outputs whose credentials change while in use, and where a person is given new ones, as far as the file says.
    pub logins: BTreeMap<String, Option<String>>,
    /// What explaining needs to know of the outputs.
    pub sights: Sights,
    /// Where those are kept.
    pub(super) vault: SealedVault,
    /// When an output is late, and when it does not get on.
    pub(super) patience: BTreeMap<Arc<str>, Patience>,
    /// `journal.reserve`, in bytes, where the file says it.
    pub(super) reserve: Option<u64>,
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
    let unread = |cause| StartError::Folder { folder: folder.clone(), cause };
    let (paused, silences) = (Paused::read(&folder).map_err(unread)?, Silences::read(&folder).map_err(unread)?);
    let retain = Retain::from(blueprint.journal.retain);
    let archive = Archive::new(&blueprint.journal_file, Arc::clone(&clock));
    let parts = Parts {
        reads: Arc::new(archive.clone()),
        reading: Reading::Threads,
        router: Arc::clone(&blueprint.router),
        jq: super::jq_pool(JQ_WORKERS),
        jq_aside: super::jq_pool(JQ_WORKERS),
        silences,
        clock: Arc::clone(&clock),
        book: super::told::read(&folder, clock.wall()),
        deliver,
        window: None,
    };
    let open = |on_kept| Journal::start(Box::new(store), Settings { retain, clock: Arc::clone(&clock), on_kept });
    let (works, recovered) = Works::open(parts, open)?;
    let (hub, fleet) = (Arc::clone(&works.hub), Arc::clone(&works.fleet));
    let vault = hub.vault(&archive, blueprint.vault_key.as_ref());
    let down = Down::read(&folder);
    let stood = |output: &str| Stood { paused: paused.holds(output), down: down.of(output) };
    let specs = connect(&blueprint, &fleet, &stood, &Lent { clock: &clock, vault: &vault }).await?;
    works.begin(specs, Laid::of(&blueprint.outputs, &blueprint.router)).await?;
    hub.keep_config(blueprint.version, &blueprint.written).await;
    let tls = blueprint.server.tls.as_ref().map(|files| Tls::load(files, &blueprint.base)).transpose()?;
    let (doors, admin) = open_doors(&blueprint, recovered, &folder)?;
    let running = Running::of(config, &blueprint, Lent { clock: &clock, vault: &vault });
    let keys = Arc::new(Keys::new(&blueprint, &clock));
    let documents: Arc<dyn Documents> = Arc::clone(&keys) as _;
    let ingest = Arc::new(Ingest::new(blueprint.sources, Arc::clone(&hub), Arc::clone(&clock), rand::random()).asking(documents));
    let daemon = Daemon {
        config: config.to_owned(),
        kinds,
        fleet,
        ingest,
        archive,
        running: ArcSwap::from_pointee(running),
        events: works.events.clone(),
        ready: watch::Sender::new(false),
        started: clock.now(),
        retain,
        doctor: tokio::sync::Mutex::default(),
        audited: ArcSwapOption::empty(),
        works,
        paused,
        tls,
        folder,
        seen: ArcSwap::from_pointee(Seen { at: clock.now(), ..Seen::default() }),
        noticed: Noticed::default(),
        keys,
        hub,
    };
    Ok((Arc::new(daemon), doors, admin))
}

/// Listens there. The system's queue is longer than the usual 128: when it overflows, who connects is told nothing and tries again a second later.
fn listener_at(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As usual: what is left of connections of a daemon before does not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn open_doors(blueprint: &Blueprint, recovered: Recovered, folder: &Path) -> Result<(Doors, AdminDoor), StartError> {
    let listen = |address: SocketAddr, key: &'static str| listener_at(address).map_err(|cause| StartError::Listen { address, key, cause });
    let events = listen(blueprint.server.listen, "server.listen")?;
    let admin = listen(blueprint.admin.listen.value, "server.admin.listen")?;
    let address = admin.local_addr().unwrap_or(blueprint.admin.listen.value);
    let configured = blueprint.admin.token.as_ref().map(|token| &token.value);
    let door = door::open(folder, address, configured).map_err(|cause| StartError::Folder { folder: folder.to_owned(), cause })?;
    if !door.found {
        tracing::warn!(folder = %folder.display(), "no space for `admin.json`: the command line finds this daemon only with `--admin` and a token");
    }
    let read_token = blueprint.admin.read_token.as_ref().map(|token| token.value.clone());
    Ok((Doors { events, caps: blueprint.server.caps, recovered }, AdminDoor { listener: admin, token: door.token, read_token }))
}

impl Running {
    /// What a blueprint runs as.
    pub(super) fn of(config: &Path, blueprint: &Blueprint, lent: Lent<'_>) -> Self {
        Running {
            version: blueprint.version,
            text: blueprint.text,
            outputs: blueprint.outputs.iter().map(|plan| (plan.name.to_string(), plan.kind.clone())).collect(),
            files: std::iter::once(config.to_owned()).chain(blueprint.certificate_files()).collect(),
            listen: blueprint.server.listen,
            logins: blueprint.outputs.iter().filter_map(|plan| Some((plan.name.to_string(), plan.config.login()?.authorize))).collect(),
            sights: Sights::of(blueprint, lent.clock),
            vault: lent.vault.clone(),
            patience: blueprint.outputs.iter().map(|plan| (Arc::clone(&plan.name), Patience::of(plan))).collect(),
            reserve: blueprint.journal.reserve.map(|reserve| reserve.0),
        }
    }
}

/// Connects outputs; one that runs already with the same settings is taken as it is.
///
/// # Errors
/// One can't be made ready.
pub async fn connect(
    blueprint: &Blueprint,
    fleet: &Fleet<Hub>,
    stood: &(dyn Fn(&str) -> Stood + Sync),
    lent: &Lent<'_>,
) -> Result<Vec<OutputSpec>, StartError> {
    let (mut specs, roots) = (vec![], SystemRoots::default());
    for plan in &blueprint.outputs {
        let output: Arc<dyn Output> = match fleet.running(&plan.name, plan.fingerprint) {
            Some(running) => running,
            None => {
                let kit = Kit { vault: Arc::new(lent.vault.clone()), roots: roots.clone(), ..kit(plan, lent.clock, blueprint) };
                TokioContext::new(plan.config.connect(&kit), fleet.runtime().clone())
                    .await
                    .map_err(|cause| StartError::Connect { output: Arc::clone(&plan.name), cause })?
            }
        };
        let Stood { paused, down } = stood(&plan.name);
        specs.push(OutputSpec {
            name: Arc::clone(&plan.name),
            fingerprint: plan.fingerprint,
            policy: Arc::clone(&plan.policy),
            key_of: blueprint.router.pace(&plan.name).map(|pace| -> KeyOf { Arc::new(move |event| pace.key(event)) }),
            output,
            paused,
            down,
        });
    }
    Ok(specs)
}

/// How an output stood when the daemon ended.
pub struct Stood {
    /// Somebody paused it.
    pub paused: bool,
    /// It was down.
    pub down: Option<WasDown>,
}

/// What outputs are lent beside what their file says.
pub struct Lent<'l> {
    /// The time.
    pub clock: &'l Arc<dyn Clock>,
    /// Where credentials are kept that change while in use.
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

impl Hub {
    /// The vault under this key.
    pub(super) fn vault(&self, archive: &Archive, key: Option<&Arc<VaultKey>>) -> SealedVault {
        SealedVault::new(self.journal.clone(), Arc::new(archive.clone()), key.cloned())
    }
}
