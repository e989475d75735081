//! The whole daemon in the test's own process, on a clock that leaps: days pass between two attempts, and what happens at a moment
//! takes its real time. Sockets, journal and threads are the real ones; `tokio`'s timers and the daemon's clock leap together.

use super::yard::Yard;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use switchyard::admin::access::Rules;
use switchyard::admin::{self, Api};
use switchyard::config::{self, Environment};
use switchyard::daemon::{self, blueprint};
use switchyard::model::{Clock, Instant, SystemClock, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The machine's clock, and what was leapt over.
#[derive(Clone, Default)]
pub struct Time {
    machine: Arc<SystemClock>,
    leapt: Arc<AtomicU64>,
}

impl Time {
    fn leapt(&self) -> Duration {
        Duration::from_millis(self.leapt.load(Ordering::SeqCst))
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        self.machine.now() + self.leapt()
    }
    fn wall(&self) -> Timestamp {
        self.machine.wall() + self.leapt()
    }
}

/// What the example's file reads: the yard's variables.
struct Variables(Vec<(String, String)>);

impl Environment for Variables {
    fn var(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }
    fn file(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }
}

/// A daemon whose time leaps; it ends with the test.
pub struct Leaping {
    pub yard: Yard,
    pub time: Time,
    leaps: mpsc::Sender<(Duration, oneshot::Sender<()>)>,
}

impl Leaping {
    /// Starts the yard's file.
    pub fn start(mut yard: Yard, time: Time) -> Self {
        let (leaps, asked) = mpsc::channel(1);
        let (file, variables, clock) = (yard.path("routes.yaml"), Variables(yard.env.clone()), time.clone());
        // One thread for all of it: that is how tokio's time can be set.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(live(file, variables, clock, asked));
        });
        yard.meet(None);
        Leaping { yard, time, leaps }
    }

    /// So much time passes at once; what was due in it is due now.
    pub fn leap(&self, over: Duration) {
        let (done, heard) = oneshot::channel();
        self.leaps.blocking_send((over, done)).unwrap();
        heard.blocking_recv().unwrap();
    }
}

async fn live(file: PathBuf, variables: Variables, time: Time, mut leaps: mpsc::Receiver<(Duration, oneshot::Sender<()>)>) {
    let read = config::load(&file, &variables).unwrap();
    let kinds = switchyard_plugins::kinds();
    let blueprint = blueprint::draw(&read, &kinds).blueprint.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(time.clone());
    let (daemon, doors, admin) = daemon::start(&file, blueprint, kinds, tokio::runtime::Handle::current(), clock).await.unwrap();
    let (events, stop) = (doors.events.local_addr().unwrap(), CancellationToken::new());
    let rules = Rules { listen: admin.listener.local_addr().unwrap(), token: admin.token, read_token: admin.read_token };
    let api = Arc::new(Api { daemon: Arc::clone(&daemon), rules, events, stop: stop.clone() });
    let served = admin::serve(admin.listener, api, stop.clone());
    let leaping = async {
        while let Some((over, done)) = leaps.recv().await {
            tokio::time::pause();
            time.leapt.fetch_add(u64::try_from(over.as_millis()).unwrap(), Ordering::SeqCst);
            tokio::time::advance(over).await;
            tokio::time::resume();
            let _ = done.send(());
        }
    };
    tokio::select! {
        // It hears SIGTERM and ctrl-C instead of this process: whoever sends them means the tests.
        ended = daemon.live(doors, served, stop) => {
            eprintln!("the daemon ended, and so do the tests: {ended:?}");
            std::process::exit(1);
        }
        () = leaping => {}
    }
}
