//! What is answered: one function a question, JSON in and out.

use super::access::{Access, Rules};
use super::query::{Query, Wrong, event_id, percent};
use super::server::{Answer, whole};
use super::view;
use crate::daemon::explain::{self, Scene};
use crate::daemon::silences::CannotSilence;
use crate::daemon::{CannotLogin, CannotPause, Daemon};
use crate::deliver::Attempted;
use crate::journal::archive::EventFilter;
use crate::journal::{DeliveryFilter, Operation, StoreError, TopicMatch};
use crate::model::{DeliveryId, DeliveryKey, EventId, Kept};
use crate::telemetry;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::http::request::Parts;
use hyper::{Method, Response};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use switchyard_api::Secret;
use switchyard_api::problem::nearest;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// The admin API of a daemon.
pub struct Api {
    /// Whose.
    pub daemon: Arc<Daemon>,
    /// Who may ask.
    pub rules: Rules,
    /// Where events arrive, as it turned out.
    pub events: SocketAddr,
    /// Ends streams.
    pub stop: CancellationToken,
}

pub(super) type Answered = Result<Value, Wrong>;

impl From<StoreError> for Wrong {
    fn from(why: StoreError) -> Self {
        Wrong(503, why.to_string())
    }
}

impl From<CannotLogin> for Wrong {
    fn from(why: CannotLogin) -> Self {
        let status = match why {
            CannotLogin::Unknown(_) | CannotLogin::Unasked(_) => 404,
            CannotLogin::Vault(_) | CannotLogin::Overtaken => 503,
        };
        Wrong(status, why.to_string())
    }
}

impl From<CannotSilence> for Wrong {
    fn from(why: CannotSilence) -> Self {
        let status = match why {
            CannotSilence::Wrong(_) => 400,
            CannotSilence::Unknown(_) => 404,
            CannotSilence::NotWritten(_) => 503,
        };
        Wrong(status, why.to_string())
    }
}

/// What hands over a new refresh token.
#[derive(serde::Deserialize)]
struct Login {
    refresh_token: Secret,
}

impl Api {
    /// Answers a request.
    pub async fn answer(&self, head: &Parts, body: &Bytes) -> Answer {
        let access = self.rules.access(&head.headers);
        if access == Access::WrongHost {
            return error(421, "this is not a name of the admin side");
        }
        let path: Vec<String> = head.uri.path().split('/').filter(|part| !part.is_empty()).map(percent).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let local = self.rules.listen.ip().is_loopback();
        match (&head.method, path.as_slice()) {
            (&Method::GET, ["health"]) => return self.health(),
            (&Method::GET, ["ready"]) => return self.ready(),
            (&Method::GET, ["metrics"]) if local || access != Access::None => {
                return whole(
                    200,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    telemetry::metrics(self.daemon.snapshot()),
                );
            }
            _ => {}
        }
        match (access, &head.method) {
            (Access::None | Access::WrongHost, _) => return error(401, "a token is needed: Authorization: Bearer …"),
            (Access::Read, method) if method != Method::GET => return error(403, "this token allows looking only"),
            _ => {}
        }
        if let (&Method::GET, ["api", "tail"]) = (&head.method, path.as_slice()) {
            return self.tail();
        }
        let query = Query::of(head.uri.query().unwrap_or_default());
        let answered = match (&head.method, path.as_slice()) {
            (&Method::GET, ["api", "events"]) => self.events(&query).await,
            (&Method::GET, ["api", "events", id]) => self.event(id).await,
            (&Method::GET, ["api", "events", id, "explain"]) => self.explain(id).await,
            (&Method::GET, ["api", "config"]) => self.configs().await,
            (&Method::GET, ["api", "config", version]) => self.config(version).await,
            (&Method::GET, ["api", "feed"]) => self.feed(&query).await,
            (&Method::GET, ["api", "deliveries"]) => self.deliveries(&query).await,
            (&Method::GET, ["api", "outputs"]) => Ok(self.outputs().await),
            (&Method::GET, ["api", "duplicates"]) => self.duplicates(&query).await,
            (&Method::POST, ["api", "duplicates", "release"]) => self.release(body).await,
            (&Method::GET, ["api", "refused"]) => {
                Ok(json!({ "refused": self.daemon.refused(query.get("source").as_deref(), query.get("cause").as_deref()) }))
            }
            (&Method::GET, ["api", "audit"]) => self.audit().await,
            (&Method::POST, ["api", "outputs", name, "pause"]) => self.pause(name, true),
            (&Method::POST, ["api", "outputs", name, "resume"]) => self.pause(name, false),
            (&Method::POST, ["api", "outputs", name, "purge"]) => self.purge(name, body).await,
            (&Method::GET, ["api", "outputs", name, "login"]) => self.login_place(name),
            (&Method::POST, ["api", "outputs", name, "login"]) => self.login(name, body).await,
            (&Method::POST, ["api", "drill"]) => self.drill(body).await,
            (&Method::POST, ["api", "replay"]) => self.replay(body).await,
            (&Method::GET, ["api", "silences"]) => {
                Ok(json!({ "silences": self.daemon.silences().iter().map(view::silence).collect::<Vec<_>>() }))
            }
            (&Method::POST, ["api", "silences"]) => self.silence(body),
            (&Method::POST, ["api", "silences", id, "end"]) => self.end_silence(id),
            (&Method::GET, ["api", "replays"]) => self.replays().await,
            (&Method::GET, ["api", "replays", id]) => self.one_replay(id).await,
            (&Method::POST, ["api", "replays", id, word]) => self.turn_replay(id, word).await,
            (&Method::POST, ["api", "skip"]) => self.skip(body).await,
            (method, ["api", "journal", asked]) => self.journal(method, asked, body).await,
            _ => Err(Wrong(404, "there is nothing here".into())),
        };
        match answered {
            Ok(value) => whole(200, "application/json", value.to_string()),
            Err(Wrong(status, why)) => error(status, &why),
        }
    }

    // === how it is ===

    fn health(&self) -> Answer {
        let troubles = self.daemon.troubles();
        let status = if troubles.is_empty() { 200 } else { 503 };
        whole(status, "application/json", json!({ "healthy": troubles.is_empty(), "troubles": troubles }).to_string())
    }

    fn ready(&self) -> Answer {
        let ready = self.daemon.is_ready();
        let said = json!({ "ready": ready, "events": self.events.to_string(), "version": self.daemon.running.load().version.to_string() });
        whole(if ready { 200 } else { 503 }, "application/json", said.to_string())
    }

    async fn audit(&self) -> Answered {
        let archive = self.daemon.archive.clone();
        let paused = self.daemon.paused_outputs();
        let found = self.read(move || archive.audit(&paused)).await?;
        Ok(json!({
            "events": found.events, "planned": found.planned, "delivered": found.delivered, "dead": found.dead, "held": found.held,
            "waiting": found.waiting, "open": found.open, "lost": found.lost,
        }))
    }

    // === what is kept ===

    async fn events(&self, query: &Query) -> Answered {
        let filter = EventFilter {
            source: query.get("source"),
            topic: query.get("topic").as_deref().map(TopicMatch::of),
            since: query.time("since")?,
            until: query.time("until")?,
            text: query.get("text"),
        };
        let (archive, before, limit) = (self.daemon.archive.clone(), query.parsed::<i64>("before")?.map(crate::model::Seq), query.limit()?);
        let page = self.read(move || archive.events(&filter, before, limit)).await?;
        Ok(json!({ "events": page.rows.iter().map(view::event_line).collect::<Vec<_>>(), "next": page.next.map(|seq| seq.0) }))
    }

    async fn event(&self, id: &str) -> Answered {
        let id = event_id(id)?;
        let (blocked, paused) = (|output: &str| self.daemon.keeps_waiting(output), self.daemon.paused_outputs());
        let mut shown = view::event(&self.find(id).await?, view::Outputs { blocked: &blocked, paused: &paused });
        shown["duplicates"] = self.duplicates_of(id).await?;
        Ok(shown)
    }

    pub(super) async fn find(&self, id: EventId) -> Result<crate::journal::archive::EventView, Wrong> {
        let archive = self.daemon.archive.clone();
        let found = self.read(move || archive.event(id)).await?;
        found.ok_or_else(|| Wrong(404, format!("the journal has no event {id} (any more)")))
    }

    async fn explain(&self, id: &str) -> Answered {
        let found = self.find(event_id(id)?).await?;
        let (hub, running) = (&self.daemon.hub, self.daemon.running.load_full());
        let (router, event) = (hub.router(), &found.kept.event);
        let statuses = self.daemon.fleet.status();
        let present = explain::Present {
            kept_back: &|target| hub.kept_back(event, target),
            blocked: &|output| self.daemon.keeps_waiting(output),
            waiting: &|output| statuses.get(output).map(|status| status.waiting as u64),
        };
        Ok(Scene { router: &router, jq: hub.jq_aside(), sights: &running.sights, present }.kept(&found).await)
    }

    pub(super) async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, Wrong> {
        let read = tokio::task::spawn_blocking(read).await;
        Ok(read.map_err(|why| Wrong(500, why.to_string()))??)
    }

    // === what is done ===

    fn pause(&self, name: &str, paused: bool) -> Answered {
        self.daemon.pause(name, paused).map_err(|why| {
            let running = self.daemon.running.load();
            let near = || nearest(name, running.outputs.iter().map(|(name, _)| name.as_str()));
            match &why {
                CannotPause::Unknown(_) => {
                    Wrong(404, format!("{why}{}", near().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()))
                }
                CannotPause::NotWritten(_) => Wrong(503, why.to_string()),
            }
        })?;
        Ok(json!({ "output": name, "paused": paused }))
    }

    fn silence(&self, body: &[u8]) -> Answered {
        let asked = serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not a silence: {why}")))?;
        Ok(view::silence(&self.daemon.silence(asked)?))
    }

    fn end_silence(&self, id: &str) -> Answered {
        let id = id.parse().map_err(|_| Wrong(400, "a silence is named by its number".into()))?;
        Ok(view::silence(&self.daemon.end_silence(id)?))
    }

    fn login_place(&self, name: &str) -> Answered {
        Ok(json!({ "output": name, "authorize": self.daemon.login_place(name)? }))
    }

    async fn login(&self, name: &str, body: &[u8]) -> Answered {
        let asked: Login = serde_json::from_slice(body).map_err(|_| Wrong(400, "the body is not `{\"refresh_token\": …}`".into()))?;
        if asked.refresh_token.expose().is_empty() {
            return Err(Wrong(400, "the refresh token is empty".into()));
        }
        self.daemon.login(name, &asked.refresh_token).await?;
        Ok(json!({ "output": name, "kept": true }))
    }

    async fn skip(&self, body: &[u8]) -> Answered {
        let asked: Value = serde_json::from_slice(body).map_err(|why| Wrong(400, format!("the body is not JSON: {why}")))?;
        let (keys, outputs) = self.named(&ids(&asked), &DeliveryFilter::default()).await?;
        let count = self.daemon.hub.operate(Operation::PassBy(keys)).await?;
        self.daemon.look(&outputs);
        Ok(json!({ "count": count }))
    }

    /// The deliveries of these events, or these deliveries of them, as far as the filter lets them.
    pub(super) async fn named(&self, ids: &[&str], filter: &DeliveryFilter) -> Result<(Vec<DeliveryKey>, BTreeSet<String>), Wrong> {
        let events = ids.iter().filter(|id| id.starts_with("evt_")).map(|id| event_id(id)).collect::<Result<Vec<_>, _>>()?;
        let wanted =
            ids.iter().filter(|id| !id.starts_with("evt_")).map(|id| id.parse::<DeliveryId>().map_err(|why| Wrong(400, why.to_string())));
        let wanted = wanted.collect::<Result<BTreeSet<_>, _>>()?;
        if events.is_empty() {
            return Err(Wrong(400, "a delivery is found by its event: name that too, as `replay evt_… dlv_…`".into()));
        }
        let mut keys: Vec<DeliveryKey> = vec![];
        for event in events {
            let found = self.find(event).await?;
            let meant = found.deliveries.into_iter().filter(|row| wanted.is_empty() || wanted.contains(&row.key.id(event)));
            keys.extend(meant.filter(|row| filter.holds_row(row.key.seq, &row.key.target, row.state, row.updated_at)).map(|row| row.key));
        }
        let outputs = keys.iter().map(|key| key.target.output.to_string()).collect();
        Ok((keys, outputs))
    }

    // === what happens ===

    /// Events and attempts as they happen, a JSON object a line, until the caller or the daemon ends.
    fn tail(&self) -> Answer {
        let events = feed(self.daemon.events.subscribe(), |kept: &Arc<Kept>| view::event_happened(kept));
        let attempts = feed(self.daemon.fleet.feed(), |attempt: &Arc<Attempted>| view::attempted(attempt));
        let lines = futures_util::stream::select(events, attempts);
        let frames = lines.map(|value| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{value}\n")))));
        let body = StreamBody::new(frames.take_until(self.stop.clone().cancelled_owned()));
        let mut answer = Response::new(BodyExt::boxed_unsync(body));
        answer.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/x-ndjson"));
        answer
    }
}

/// What comes out of a feed; a slow reader misses the oldest and hears how many.
fn feed<T: Clone + Send + 'static>(
    receiver: broadcast::Receiver<T>,
    shown: fn(&T) -> Value,
) -> impl futures_util::Stream<Item = Value> + Send {
    futures_util::stream::unfold(receiver, move |mut receiver| async move {
        match receiver.recv().await {
            Ok(item) => Some((shown(&item), receiver)),
            Err(RecvError::Lagged(missed)) => Some((json!({ "missed": missed }), receiver)),
            Err(RecvError::Closed) => None,
        }
    })
    .boxed()
}

/// Events and deliveries that a body names.
pub(super) fn ids(asked: &Value) -> Vec<&str> {
    asked["ids"].as_array().map(|ids| ids.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// A refusal: one line of JSON.
pub fn error(status: u16, why: &str) -> Answer {
    whole(status, "application/json", json!({ "error": why }).to_string())
}
