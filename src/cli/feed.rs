//! Kept events whole, as the daemon gives them and as they are saved: JSON lines.

use super::client::Client;
use crate::model::{Event, Headers, Timestamp};
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

/// Events asked for at once.
const PAGE: usize = 500;

/// An event as one line has it.
pub fn event_of(value: &Value) -> Option<Event> {
    let text = |name: &str| value[name].as_str().unwrap_or_default();
    Some(Event {
        id: text("id").parse().ok()?,
        source: text("source").into(),
        topic: text("topic").into(),
        received_at: Timestamp(text("received_at").parse::<jiff::Timestamp>().ok()?.as_millisecond()),
        headers: Headers::from_block(STANDARD.decode(text("headers")).ok()?),
        query: text("query").into(),
        body: Bytes::from(STANDARD.decode(text("body")).ok()?),
        sender_id: value["sender_id"].as_str().map(Into::into),
        // Of the daemon that kept it.
        signed_with: None,
    })
}

/// Every event that is kept since then and was when this was asked first, a page at a time, the oldest first.
pub async fn since(client: &Client, since: Timestamp, mut each: impl AsyncFnMut(&[Value]) -> Result<()>) -> Result<()> {
    let end = client.get("/api/feed").await?["next"].as_i64().unwrap_or_default();
    let mut path = format!("/api/feed?since={}&most={PAGE}", since.0);
    loop {
        let page = client.get(&path).await?;
        let next = page["next"].as_i64().unwrap_or_default();
        let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let events: Vec<Value> = events.iter().filter(|event| event["seq"].as_i64().is_some_and(|seq| seq <= end)).cloned().collect();
        if !events.is_empty() {
            each(&events).await?;
        }
        if events.is_empty() || next >= end {
            return Ok(());
        }
        path = format!("/api/feed?after={next}&most={PAGE}");
    }
}
