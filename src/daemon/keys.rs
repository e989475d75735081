//! Certificates and sets of keys that stand at senders' hosts, fetched and kept (decision 22).
//!
//! Never: asks for an address that `verify` did not judge, follows a redirect, reads more than [`LONGEST`], lets one address's trouble be another's.

use super::blueprint::Blueprint;
use crate::ingest::section::FetchSection;
use crate::model::{Clock, Instant};
use crate::verify::{Address, Documents, NotThere};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use switchyard_api::Kit;
use switchyard_api::http::{Answer, Connection, Limits, Url};
use switchyard_api::kind::Wall;
use switchyard_api::tls::Roots;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

/// Most bytes of a document.
const LONGEST: usize = 64 << 10;
/// A document is there by then.
const WITHIN: Duration = Duration::from_secs(3);
/// A request waits no longer, its turn included.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a document is taken as it is.
const KEPT: Duration = Duration::from_hours(24);
/// How long it is believed while it can't be fetched anew; its own dates hold besides.
const BELIEVED: Duration = Duration::from_hours(7 * 24);
/// How old one may be that was asked for afresh.
const FRESH: Duration = Duration::from_mins(1);
/// How long a failure is remembered.
const FAILED: Duration = Duration::from_secs(5);
/// Addresses that something is known of.
const MOST: usize = 64;
/// Fetched at a time.
const AT_ONCE: usize = 4;
/// Requests that wait at a time: their bodies are in memory.
const WAITING: usize = 16;

/// The documents of all sources.
pub struct Keys {
    reach: ArcSwap<Reach>,
    slots: Mutex<HashMap<Address, Arc<Slot>>>,
    uses: AtomicU64,
    waiting: Semaphore,
    fetches: Semaphore,
    clock: Arc<dyn Clock>,
}

/// How other hosts are reached.
struct Reach {
    connection: Connection,
    kit: Kit,
    roots: OnceCell<Arc<Roots>>,
}

/// What is known of one address.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    used: AtomicU64,
    /// Held by who fetches it.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    document: Option<(Instant, Arc<[u8]>)>,
    failed: Option<(Instant, NotThere)>,
}

impl Known {
    /// What can be said without asking anybody.
    fn now(&self, now: Instant, most: Duration) -> Option<Result<Arc<[u8]>, NotThere>> {
        let young = |at: Instant, most: Duration| now.since(at) <= most;
        let failed = self.failed.as_ref().filter(|(at, _)| young(*at, FAILED));
        match (&self.document, failed) {
            (Some((at, document)), _) if young(*at, most) => Some(Ok(Arc::clone(document))),
            (Some((at, document)), Some(_)) if young(*at, BELIEVED) => Some(Ok(Arc::clone(document))),
            (_, failed) => failed.map(|(_, why)| Err(why.clone())),
        }
    }
}

fn held<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer that is all there; else why it is not.
fn whole(answer: Answer, took: Duration) -> Result<Answer, String> {
    match () {
        () if answer.whole => Ok(answer),
        () if answer.body.len() >= LONGEST => Err(format!("it is longer than {LONGEST} bytes")),
        () if took >= WITHIN => Err(format!("it did not come whole within {WITHIN:?}")),
        () => Err("it broke off before its end".into()),
    }
}

impl Reach {
    fn of(blueprint: &Blueprint, clock: &Arc<dyn Clock>) -> Self {
        let FetchSection { ca, proxy } = blueprint.server.fetch.clone();
        let clock = Arc::clone(clock);
        let user_agent = concat!("switchyard/", env!("CARGO_PKG_VERSION"));
        let kit = Kit::new("server.fetch", &blueprint.base, user_agent, Wall::new(move || clock.wall().0));
        let kit = Kit { egress: blueprint.egress.clone(), ..kit };
        Reach { connection: Connection { ca, proxy, ..Connection::default() }, kit, roots: OnceCell::new() }
    }

    /// Read once, when a certificate first asks for them.
    async fn roots(&self) -> Result<Arc<Roots>, NotThere> {
        let ca = self.connection.ca.as_ref().map(|ca| self.kit.base.join(ca));
        let read = || async {
            let read = tokio::task::spawn_blocking(move || Roots::load(ca.as_deref())).await;
            read.map_err(|_| NotThere::Busy)?.map(Arc::new).map_err(|wrong| NotThere::Failed(wrong.to_string()))
        };
        self.roots.get_or_try_init(read).await.cloned()
    }

    async fn get(&self, at: &Address) -> Result<Answer, String> {
        let url = Url::parse(at.as_str()).map_err(|wrong| wrong.to_string())?;
        let target = url.target(None, &[]).map_err(|wrong| wrong.to_string())?;
        let limits = Limits { connect: WITHIN, whole: WITHIN, answer: LONGEST, max_idle: 1, idle: Duration::ZERO };
        let request = http::Request::get(target).header(USER_AGENT, &*self.kit.user_agent);
        let request = request.body(http_body_util::Full::default()).map_err(|wrong| wrong.to_string())?;
        let client = self.connection.client(url, limits, &self.kit).map_err(|wrong| wrong.to_string())?;
        // What came until then is told by the client, whose own bound is shorter.
        let answer = timeout(PATIENCE, client.call(request, || ())).await;
        client.close();
        let answer = answer.map_err(|_| format!("no answer within {WITHIN:?}"))?.map_err(|why| why.to_string())?;
        if answer.status == 200 { Ok(answer) } else { Err(format!("the answer is {}", answer.status.as_u16())) }
    }
}

impl Keys {
    /// Reaches other hosts as the file says.
    pub fn new(blueprint: &Blueprint, clock: &Arc<dyn Clock>) -> Self {
        Keys {
            reach: ArcSwap::from_pointee(Reach::of(blueprint, clock)),
            slots: Mutex::default(),
            uses: AtomicU64::default(),
            waiting: Semaphore::new(WAITING),
            fetches: Semaphore::new(AT_ONCE),
            clock: Arc::clone(clock),
        }
    }

    /// Goes on as another file says.
    pub fn change(&self, blueprint: &Blueprint) {
        self.reach.store(Arc::new(Reach::of(blueprint, &self.clock)));
    }

    /// The place of an address. Where there is none, that of one goes of which nothing good is known, else the one asked for longest ago.
    fn slot(&self, at: &Address) -> Arc<Slot> {
        let mut slots = held(&self.slots);
        if slots.len() >= MOST && !slots.contains_key(at) {
            let worth = |slot: &Slot| (held(&slot.known).document.is_some(), slot.used.load(Ordering::Relaxed));
            let least = slots.iter().min_by_key(|(_, slot)| worth(slot)).map(|(at, _)| at.clone());
            least.and_then(|least| slots.remove(&least));
        }
        let slot = Arc::clone(slots.entry(at.clone()).or_default());
        slot.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        slot
    }

    async fn fetched(&self, at: &Address, most: Duration) -> Result<Arc<[u8]>, NotThere> {
        let slot = self.slot(at);
        let known = || held(&slot.known).now(self.clock.now(), most);
        if let Some(known) = known() {
            return known;
        }
        let _seat = self.waiting.try_acquire().map_err(|_| NotThere::Busy)?;
        let whole = async {
            let _turn = slot.fetching.lock().await;
            // Somebody before us may have it.
            if let Some(known) = known() {
                return known;
            }
            let _one = self.fetches.acquire().await.map_err(|_| NotThere::Busy)?;
            let begun = self.clock.now();
            let got = self.reach.load().get(at).await;
            let now = self.clock.now();
            let mut known = held(&slot.known);
            match got.and_then(|answer| whole(answer, now.since(begun))) {
                Ok(answer) => *known = Known { document: Some((now, answer.body.as_ref().into())), failed: None },
                Err(why) => {
                    tracing::warn!(%at, why, "a sender's certificate or set of keys can't be fetched");
                    known.failed = Some((now, NotThere::Failed(why)));
                }
            }
            known.now(now, most).unwrap_or(Err(NotThere::Busy))
        };
        timeout(PATIENCE, whole).await.unwrap_or_else(|_| Err(NotThere::Failed(format!("not there within {PATIENCE:?}"))))
    }

    async fn visited(&self, at: &Address) -> Result<(), NotThere> {
        let _seat = self.waiting.try_acquire().map_err(|_| NotThere::Busy)?;
        let whole = async {
            let _one = self.fetches.acquire().await.map_err(|_| NotThere::Busy)?;
            self.reach.load().get(at).await.map(drop).map_err(NotThere::Failed)
        };
        timeout(PATIENCE, whole).await.unwrap_or_else(|_| Err(NotThere::Failed(format!("no answer within {PATIENCE:?}"))))
    }
}

impl Documents for Keys {
    fn document<'a>(&'a self, at: &'a Address, fresh: bool) -> BoxFuture<'a, Result<Arc<[u8]>, NotThere>> {
        self.fetched(at, if fresh { FRESH } else { KEPT }).boxed()
    }

    fn visit<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, Result<(), NotThere>> {
        self.visited(at).boxed()
    }

    fn roots(&self) -> BoxFuture<'_, Result<Arc<Roots>, NotThere>> {
        async { self.reach.load_full().roots().await }.boxed()
    }
}
