//! `switchyard listen`: kept events, as they came, to a program under development.
//!
//! Does: asks the daemon for what was kept after the last one, one answer after the other, and posts each event with its exact bytes and
//! headers. Says when the daemon or the program is away, and goes on where it stopped: nothing is missed while the journal has it.
//! Never: changes what becomes of an event; what the program answers is shown and nothing else.

use super::client::{Admin, Client, Unreachable, escape};
use super::post::{NoAnswer, Place, post};
use super::{Exit, block_on, check, feed, show, time};
use crate::daemon::blueprint::Blueprint;
use crate::model::printable::Printable;
use crate::model::{Clock, Event, SystemClock, Timestamp};
use crate::route::{Condition, Glob, JqPool};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// What an answer of the daemon may wait for the first event: so often it is seen to be there.
const WAIT: Duration = Duration::from_secs(10);
/// The pause before who was away is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// Headers that belong to the connection they came by, and not to the event.
const HOP: [&str; 10] =
    ["connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Forwards events as they are kept, with their exact bytes and headers, to a program under development; until interrupted.
///
/// What was kept while this program, the daemon or yours was away comes too: from the place in --cursor, or where it stopped. Headers that
/// carry a secret (a shared token, cookies) are never kept: --sign signs anew where your program checks those, also in the body or the URL where the
/// sender does.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// Where the program is: `localhost:3000`, `http://localhost:3000/hooks`.
    #[arg(long, value_name = "ADDRESS", value_parser = Place::parse)]
    to: Place,
    /// Only from these sources.
    #[arg(long)]
    source: Vec<String>,
    /// Only about these topics, as globs: `ORDER_*`.
    #[arg(long, value_parser = glob)]
    topic: Vec<Glob>,
    /// Only those for which this jq holds, where the first dot may be left out: `data.total > 100`.
    #[arg(long = "where", value_name = "JQ")]
    condition: Option<String>,
    /// Begins with what was kept since then: `1h` ago, or a date. Else with what comes from now on.
    #[arg(long, value_parser = time::parse)]
    since: Option<Timestamp>,
    /// A file that remembers the last event that was forwarded: the next `listen` with it goes on there.
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Signs each event anew as its sender would, with the secret of --config, instead of with the headers it came with.
    #[arg(long)]
    sign: bool,
    /// Ends after so many events.
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    admin: Admin,
}

/// What comes in.
enum News {
    /// An event that was kept, and where to go on after it.
    Kept(Box<Event>, i64),
    /// One whose bytes are not those that were kept.
    Damaged(String, i64),
    /// One that somebody asked for again, and for the how manieth time.
    Replayed(Box<Event>, u64),
    /// The daemon is away.
    Away(String),
    /// It is back.
    Back,
    /// There is no going on.
    Ended(anyhow::Error),
}

/// Headers, body and query.
type Request = (Vec<(String, Vec<u8>)>, Bytes, String);

/// Which events, and how they are posted.
struct Forward {
    listen: Listen,
    condition: Option<Condition>,
    jq: JqPool,
    signs: Option<Blueprint>,
    forwarded: u64,
}

impl Listen {
    pub fn run(self) -> Result<Exit> {
        let signs = if self.sign {
            let Some(blueprint) = check::good(&self.admin.config)? else { return Ok(Exit::No) };
            Some(blueprint)
        } else {
            None
        };
        let condition = self.condition.as_deref().map(Condition::new).transpose()?;
        let jq = JqPool::start(std::env::current_exe().unwrap_or_default(), 1);
        block_on(Forward { listen: self, condition, jq, signs, forwarded: 0 }.run())
    }

    /// Where the cursor's file says it stopped.
    fn begin(&self) -> Result<Option<i64>> {
        let Some(file) = &self.cursor else { return Ok(None) };
        match std::fs::read_to_string(file) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            read => {
                let text = read.with_context(|| format!("can't read {}", file.display()))?;
                let place = text.trim().parse().ok().filter(|place| *place >= 0);
                place.map(Some).with_context(|| format!("{} is no cursor of `switchyard listen`: name another file", file.display()))
            }
        }
    }

    fn greet(&self, from: &str) {
        if self.admin.json {
            return;
        }
        let Place { authority, path } = &self.to;
        show::say(&format!("forwards events to http://{authority}{path}, {from}; stop with Ctrl-C"));
    }

    fn note(&self, what: &str) {
        let text = Printable(what).to_string();
        if self.admin.json { show::line(&json!({ "note": text })) } else { show::say(&format!("--- {text}")) }
    }
}

impl Forward {
    async fn run(mut self) -> Result<Exit> {
        let listen = &self.listen;
        let (place, from) = match (listen.begin()?, listen.since) {
            (Some(after), _) => (format!("after={after}"), "from where the cursor stands"),
            (None, Some(since)) => (format!("since={}", since.0), "from that time on"),
            (None, None) => (String::new(), "from now on (--since 1h: with the last hour's)"),
        };
        // The first question is not waited for: whether there is a daemon is known at once.
        let first = Client::new(&listen.admin)?.get(&format!("/api/feed?{place}")).await?;
        listen.greet(from);
        let (to_us, mut news) = mpsc::channel(1);
        tokio::spawn(follow(listen.admin.clone(), first, to_us.clone()));
        tokio::spawn(replays(listen.admin.clone(), to_us));
        while let Some(what) = news.recv().await {
            match what {
                News::Away(why) => self.listen.note(&format!("{why}; trying again, nothing is missed")),
                News::Back => self.listen.note("the daemon is back"),
                News::Ended(why) => return Err(why),
                News::Damaged(event, next) => {
                    self.listen.note(&format!("{event} is damaged in the journal and not forwarded"));
                    self.remember(next)?;
                }
                News::Kept(event, next) => {
                    if self.wants(&event).await {
                        self.forward(&event, None).await;
                    }
                    self.remember(next)?;
                }
                News::Replayed(event, nth) => {
                    if self.wants(&event).await {
                        self.forward(&event, Some(nth)).await;
                    }
                }
            }
            if self.listen.count.is_some_and(|count| self.forwarded >= count) {
                break;
            }
        }
        Ok(Exit::Done)
    }

    async fn wants(&self, event: &Event) -> bool {
        let Listen { source, topic, .. } = &self.listen;
        let by_name = (source.is_empty() || source.iter().any(|name| **name == *event.source))
            && (topic.is_empty() || topic.iter().any(|glob| glob.matches(&event.topic)));
        let Some(condition) = self.condition.as_ref().filter(|_| by_name) else { return by_name };
        condition.holds(event, &self.jq).await.unwrap_or_else(|why| {
            self.listen.note(&format!("{}: {why}: not forwarded", event.id));
            false
        })
    }

    /// Posts an event until the program takes it or answers otherwise; one that does not listen is waited for.
    async fn forward(&mut self, event: &Event, replay: Option<u64>) {
        self.forwarded += 1;
        let (headers, body, query) = match self.request(event, replay) {
            Ok(request) => request,
            Err(why) => return self.listen.note(&format!("{}: {why:#}: not forwarded", event.id)),
        };
        let mut place = self.listen.to.clone();
        if !query.is_empty() {
            let sign = if place.path.contains('?') { '&' } else { '?' };
            place.path = format!("{}{sign}{query}", place.path);
        }
        let clock = SystemClock::default();
        let mut away = false;
        loop {
            let started = clock.now();
            let answered = post(&place, &headers, body.clone()).await;
            if let Err(NoAnswer::Refused(why)) = &answered {
                if !std::mem::replace(&mut away, true) {
                    self.listen.note(&format!("nothing listens at {} ({why}): waiting for it", place.authority));
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let took = clock.now().since(started);
            return self.tell(event, replay, answered.map(|answer| answer.status).map_err(|why| why.to_string()), took);
        }
    }

    /// An event as it came; with --sign as its sender would send it now.
    fn request(&self, event: &Event, replay: Option<u64>) -> Result<Request> {
        let as_came = event.headers.iter().filter(|(name, _)| !HOP.contains(name)).map(|(name, value)| (name.to_owned(), value.to_vec()));
        let mut headers: Vec<_> = as_came.collect();
        let (mut body, mut query) = (event.body.clone(), event.query.to_string());
        if let Some(blueprint) = &self.signs {
            let verifier = blueprint.verifier(&event.source).with_context(|| format!("--config has no source `{}`", event.source))?;
            let draft = crate::verify::Draft { topic: &event.topic, id: event.sender_id.as_deref(), body: &event.body };
            let signed = verifier.sign(&draft, SystemClock::default().wall())?;
            body = signed.body.map_or(body, Into::into);
            query = signed.query.unwrap_or(query);
            let signed = signed.headers;
            headers.retain(|(name, _)| !signed.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
            headers.extend(signed.into_iter().map(|(name, value)| (name, value.into_bytes())));
        }
        headers.push(("switchyard-event".into(), event.id.to_string().into_bytes()));
        headers.extend(replay.map(|nth| ("switchyard-replay".into(), nth.to_string().into_bytes())));
        Ok((headers, body, query))
    }

    fn tell(&self, event: &Event, replay: Option<u64>, answered: Result<u16, String>, took: Duration) {
        let ms = took.as_millis() as u64;
        if self.listen.admin.json {
            let (status, error) = (answered.as_ref().ok(), answered.as_ref().err());
            return show::line(&json!({
                "event": event.id.to_string(), "source": &*event.source, "topic": &*event.topic, "received_at": event.received_at.to_string(),
                "replay": replay, "status": status, "error": error, "took_ms": ms,
            }));
        }
        let time = show::clock(&Value::from(event.received_at.to_string()));
        let result = answered.map_or_else(|why| Printable(&why).to_string(), |status| status.to_string());
        let mark = replay.map(|_| "  (replay)").unwrap_or_default();
        let (source, topic) = (Printable(&event.source), Printable(&event.topic));
        show::say(&format!("{time}  {result}  {ms} ms  {}  {source} {topic}{mark}", event.id));
    }

    /// Durable or not, as it comes: after a crash the last one may be forwarded twice.
    fn remember(&self, next: i64) -> Result<()> {
        let Some(file) = &self.listen.cursor else { return Ok(()) };
        write_whole(file, &format!("{next}\n")).with_context(|| format!("can't write {}", file.display()))
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, file)
}

fn glob(text: &str) -> Result<Glob, String> {
    Glob::parse(text).map_err(|why| why.to_string())
}

/// Asks for the next ones, for ever: what the daemon had while it was away is there when it is back.
async fn follow(admin: Admin, first: Value, news: mpsc::Sender<News>) {
    let mut page = first;
    loop {
        let next = page["next"].as_i64().unwrap_or_default();
        for event in page["events"].as_array().into_iter().flatten() {
            if news.send(read(event)).await.is_err() {
                return;
            }
        }
        let mut away = false;
        page = loop {
            let asked = async { Client::new(&admin)?.get(&format!("/api/feed?after={next}&wait={}", WAIT.as_millis())).await };
            match asked.await {
                Ok(page) => break page,
                Err(why) if !why.is::<Unreachable>() && !away => return drop(news.send(News::Ended(why)).await),
                Err(why) => {
                    if !std::mem::replace(&mut away, true) && news.send(News::Away(format!("{why:#}"))).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        };
        if away && news.send(News::Back).await.is_err() {
            return;
        }
    }
}

/// Listens for attempts of deliveries that somebody asked for again; each event once for each time. Those that happen while the daemon is not
/// connected are not heard of.
async fn replays(admin: Admin, news: mpsc::Sender<News>) {
    let (found, mut wanted) = mpsc::channel::<(String, u64)>(1_024);
    let asks = admin.clone();
    tokio::spawn(async move {
        while let Some((event, nth)) = wanted.recv().await {
            let asked = async { Client::new(&asks)?.get(&format!("/api/feed?event={}", escape(&event))).await };
            // It may be gone by now.
            let Ok(page) = asked.await else { continue };
            if let News::Kept(event, _) = read(&page["events"][0])
                && news.send(News::Replayed(event, nth)).await.is_err()
            {
                return;
            }
        }
    });
    let mut seen = BTreeSet::new();
    while !found.is_closed() {
        let heard = |line: &str| {
            let Ok(value) = serde_json::from_str::<Value>(line) else { return true };
            let (Some(event), Some(nth)) = (value["event"].as_str(), value["replay"].as_u64().filter(|nth| *nth > 0)) else { return true };
            if seen.insert((event.to_owned(), nth)) {
                // More at once than there is room for are not shown one by one.
                let _ = found.try_send((event.to_owned(), nth));
            }
            if seen.len() > SEEN_MAX {
                seen.pop_first();
            }
            !found.is_closed()
        };
        if let Ok(client) = Client::new(&admin) {
            let _ = client.lines("/api/tail", heard).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Replayed events that are remembered, so that each is forwarded once.
const SEEN_MAX: usize = 10_000;

/// An event of the feed.
fn read(value: &Value) -> News {
    let next = value["seq"].as_i64().unwrap_or_default();
    match feed::event_of(value) {
        _ if value["damaged"] == true => News::Damaged(value["id"].as_str().unwrap_or_default().to_owned(), next),
        Some(event) => News::Kept(Box::new(event), next),
        None => News::Ended(anyhow!("the daemon's answer is not what this program knows: is it of another version?")),
    }
}
