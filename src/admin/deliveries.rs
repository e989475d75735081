//! The list of deliveries, by the states that people know: what waits for a paused output is held (decision 25).

use super::api::{Answered, Api};
use super::query::{Query, Wrong, event_id};
use super::view;
use crate::journal::archive::{DeliveryLine, DeliveryPlace};
use crate::journal::{DeliveryFilter, TopicMatch};
use crate::model::State;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Api {
    pub(super) async fn deliveries(&self, query: &Query) -> Answered {
        let mut filter = DeliveryFilter {
            output: query.get("output"),
            route: query.get("route"),
            source: query.get("source"),
            topic: query.get("topic").as_deref().map(TopicMatch::of),
            since: query.time("since")?,
            until: query.time("until")?,
            ..DeliveryFilter::default()
        };
        if let Some(event) = query.get("event") {
            filter.event = Some(self.find(event_id(&event)?).await?.kept.seq);
        }
        let (paused, limit) = (self.daemon.paused_outputs(), query.limit()?);
        let mut rows = vec![];
        for filter in rows_meant(filter, query.state()?, &paused) {
            rows.extend(self.pages(filter, limit).await?);
        }
        rows.sort_by_key(|line| Reverse(line.place));
        // One that changed between two reads is in both.
        rows.dedup_by_key(|line| line.place);
        rows.truncate(limit);
        let blocked = |output: &str| self.daemon.keeps_waiting(output);
        let outputs = view::Outputs { blocked: &blocked, paused: &paused };
        Ok(json!({ "deliveries": rows.iter().map(|line| view::delivery_line(line, outputs)).collect::<Vec<Value>>() }))
    }

    /// Page after page until there are enough: a page may be short of what was asked.
    async fn pages(&self, filter: DeliveryFilter, limit: usize) -> Result<Vec<DeliveryLine>, Wrong> {
        let (mut rows, mut from): (Vec<_>, Option<DeliveryPlace>) = (vec![], None);
        loop {
            let (archive, filter, most) = (self.daemon.archive.clone(), filter.clone(), limit - rows.len());
            let page = self.read(move || archive.deliveries(&filter, from, most)).await?;
            rows.extend(page.rows);
            from = page.next;
            if from.is_none() || rows.len() >= limit {
                return Ok(rows);
            }
        }
    }
}

/// By what the rows of a state are found, each over the index of one state.
fn rows_meant(filter: DeliveryFilter, state: Option<State>, paused: &BTreeSet<Arc<str>>) -> Vec<DeliveryFilter> {
    let of = |state| DeliveryFilter { states: vec![state], ..filter.clone() };
    match state {
        None => vec![filter],
        Some(State::Waiting) => vec![DeliveryFilter { not_to: Arc::new(paused.clone()), ..of(State::Waiting) }],
        Some(State::Held) => {
            let meant = paused.iter().filter(|output| filter.output.as_deref().is_none_or(|wanted| wanted == &***output));
            let waits = meant.map(|output| DeliveryFilter { output: Some(output.to_string()), ..of(State::Waiting) });
            [of(State::Held)].into_iter().chain(waits).collect()
        }
        Some(state) => vec![of(state)],
    }
}
