//! Senders: each has an event and posts it through the real `ingest`, proof and all, until it hears 200, as marketplaces do. Some hang
//! up early; a repeat carries the same id.

use crate::world::{Call, Entered, SimClock, World};
use bytes::Bytes;
use futures_util::future::pending;
use http::{Request, Response};
use http_body_util::Full;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use switchyard::daemon::Hub;
use switchyard::ingest::Ingest;

/// What senders prove themselves by; it is to be seen nowhere else.
pub const CANARY: &str = "a-made-up-token-for-the-simulation";
/// Milliseconds that senders wait who wait for an answer.
pub const PATIENCE: u32 = 5_000;
/// From hanging up, or a 503, to the next try.
const AGAIN: Duration = Duration::from_secs(3);

/// A request under way; it is over when this is dropped.
struct Posting<'w>(&'w World, u32);

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.life == self.1 {
            state.posting = state.posting.saturating_sub(1);
        }
    }
}

/// Posts the event `id` until it is answered 200; at least once.
pub async fn post(world: Arc<World>, clock: Arc<SimClock>, ingest: Arc<Ingest<Hub>>, id: u32) {
    loop {
        let Some(answer) = once(&world, &ingest, id).await else {
            tokio::time::sleep(AGAIN + Duration::from_millis(u64::from(id % 7) * 100)).await;
            continue;
        };
        let (status, retry) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
        let Entered::Goes { dies_after } = world.enter(Call::Answer, clock.nanos(), u64::from(id) << 16 | u64::from(status)) else {
            return pending().await;
        };
        world.judge(|state| state.answered(id, status, retry));
        if dies_after {
            world.die();
        }
        if status == 200 {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One request. `None`: no connection, or it hung up.
async fn once(world: &Arc<World>, ingest: &Ingest<Hub>, id: u32) -> Option<Response<Full<Bytes>>> {
    let (request, patience, posting) = {
        let mut state = world.lock();
        if state.closed || state.dead {
            return None;
        }
        let file = state.file;
        let sender = state.senders.get_mut(&id)?;
        sender.met.insert(file);
        let (patience, (topic, key, words)) = (sender.patience, sender.of);
        // Who hung up once is more patient the next time, or it would post for ever.
        sender.patience = PATIENCE;
        let text = "and so on and on ".repeat(usize::from(words));
        let event = |id: &u32| format!(r#"{{"n":{id},"key":"k{key}","text":"{text}"}}"#);
        let (ids, alone) = (sender.ids(id), sender.items == 0);
        let events: Vec<String> = ids.iter().map(event).collect();
        let (path, body) = if alone { ("/shop", events.join("")) } else { ("/many", format!(r#"{{"events":[{}]}}"#, events.join(","))) };
        let request = Request::post(path)
            .header("authorization", format!("Bearer {CANARY}"))
            .header("content-type", "application/json")
            .header("x-topic", format!("T{topic}"))
            .header("x-id", id.to_string())
            .body(Full::new(Bytes::from(body)));
        state.posting += 1;
        (request.ok()?, patience, Posting(world, state.life))
    };
    let (parts, body) = request.into_parts();
    let peer = SocketAddr::from(([127, 0, 0, 1], 4_000));
    let answer = tokio::time::timeout(Duration::from_millis(u64::from(patience)), ingest.handle(parts, body, peer)).await;
    if answer.is_err() && patience >= PATIENCE {
        world.judge(|state| state.unanswered(id));
    }
    drop(posting);
    answer.ok()
}
