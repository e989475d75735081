//! Between the journal's words and the engine's: events and rendered messages become deliveries, deliveries become parcels and rows.
//!
//! Does: gives each of a target's results its ordinal, knows which row is the target's last (and so closes its part of
//! the plan). Never: decides when anything is sent.
//! Holds: L1 for a target with several results: none is forgotten between two rows.

use super::engine::Delivery;
use super::inbox::Arrival;
use super::words::{Decision, New, ReadBack, Standing, Verdict};
use crate::model::{
    DeliveryId, DeliveryKey, DeliveryRow, Event, Kept, Loaded, Message, NotRendered, Order, Settlement, State, Target, Timestamp, ends_dead,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use switchyard_api::{Handle, Parcel};

/// What rendering gave.
pub type Rendered = Result<Vec<Arc<Message>>, NotRendered>;

/// What is kept beside each delivery.
#[derive(Debug)]
pub struct Payload {
    /// Its event.
    pub kept: Arc<Kept>,
    /// `None` only for what is not going to be sent.
    message: Option<Arc<Message>>,
    /// How many of the target's deliveries have no row yet, where there are several.
    siblings: Option<Arc<AtomicU32>>,
    /// Whether its first row is the target's last; known once that row is made.
    closes: Option<bool>,
}

impl Payload {
    /// Whether its first row closes the target. Asked again after a failed write it says the same.
    fn closes(&mut self) -> bool {
        let siblings = self.siblings.as_deref();
        *self.closes.get_or_insert_with(|| siblings.is_none_or(|left| left.fetch_sub(1, Ordering::Relaxed) == 1))
    }
}

const NOTHING: &str = "nothing to send: the transform gave no result";
const NOTHING_MORE: &str = "nothing more to send: every message of this target has its delivery";

fn not_rendered(not: &NotRendered) -> Decision {
    let state = if matches!(not, NotRendered::Gone(_)) { State::Held } else { State::Dead };
    Decision::new(state, not.to_string())
}

fn new(target: &Arc<Target>, ordinal: u32, row: Option<Standing>, payload: Payload) -> New<Payload> {
    let id = payload.kept.event.id.0;
    let half = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    New {
        key: DeliveryKey { seq: payload.kept.seq, target: Arc::clone(target), ordinal },
        size: payload.kept.event.size() + payload.message.as_ref().map_or(0, |message| message.size()),
        seed: half(&id[..8]) ^ half(&id[8..]).rotate_left(ordinal % 64),
        rate_key: None,
        row,
        payload,
    }
}

/// What an arrival comes to, of those results that have no row yet.
pub fn arrived(arrival: &Arrival, rendered: Rendered) -> Vec<ReadBack<Payload>> {
    let payload = |message, siblings| Payload { kept: Arc::clone(&arrival.kept), message, siblings, closes: None };
    let decision = match rendered {
        Ok(messages) => {
            let results = (0..).zip(messages);
            let missing: Vec<(u32, Arc<Message>)> = results.filter(|(ordinal, _)| !arrival.have.contains(ordinal)).collect();
            if !missing.is_empty() {
                let siblings = (missing.len() > 1).then(|| Arc::new(AtomicU32::new(missing.len() as u32)));
                let each = missing
                    .into_iter()
                    .map(|(ordinal, message)| (new(&arrival.target, ordinal, None, payload(Some(message), siblings.clone())), None));
                return each.collect();
            }
            Decision::new(State::Delivered, if arrival.have.is_empty() { NOTHING } else { NOTHING_MORE }.to_owned())
        }
        // One row cannot stand for several that are missing. The plan stays open, and the next start has them.
        Err(NotRendered::Gone(_)) if !arrival.have.is_empty() => return vec![],
        Err(not) => return not_there(arrival, &not_rendered(&not)),
    };
    // Where some have rows, what is said of all stands behind those.
    let free = arrival.have.iter().max().map_or(0, |last| last + 1);
    vec![(new(&arrival.target, free, None, payload(None, None)), Some(decision))]
}

/// A row for every result that is known to lack one, and one behind them for all of which nothing is known: replayed, they are all there again.
fn not_there(arrival: &Arrival, decision: &Decision) -> Vec<ReadBack<Payload>> {
    let last = arrival.have.iter().max().map_or(0, |last| last + 1);
    let without: Vec<u32> = (0..=last).filter(|ordinal| !arrival.have.contains(ordinal)).collect();
    let siblings = (without.len() > 1).then(|| Arc::new(AtomicU32::new(without.len() as u32)));
    let payload = || Payload { kept: Arc::clone(&arrival.kept), message: None, siblings: siblings.clone(), closes: None };
    without.into_iter().map(|ordinal| (new(&arrival.target, ordinal, None, payload()), Some(decision.clone()))).collect()
}

/// The row that is written of a delivery. `dead_holds`: whether one that is dead keeps those behind it waiting.
pub fn settlement(verdict: &Verdict, delivery: &mut Delivery<Payload>, dead_holds: bool, updated_at: Timestamp) -> Settlement {
    // A digest keeps its place until those it took along have been put where it stands.
    let digest = delivery.payload.message.as_ref().is_some_and(|message| message.digest.is_some());
    let order = delivery.payload.kept.plan.order_of(&delivery.key.target).map(|key| match verdict.state {
        _ if digest => Order::Keeps(key),
        State::Delivered => Order::Frees(key),
        // It is not going to be sent: nobody waits for it.
        State::Held if ends_dead(&verdict.detail) => Order::Frees(key),
        State::Dead if !dead_holds => Order::Frees(key),
        State::Dead | State::Waiting | State::Held => Order::Keeps(key),
    });
    Settlement {
        order,
        closes: verdict.first && delivery.payload.closes(),
        row: DeliveryRow {
            key: delivery.key.clone(),
            state: verdict.state,
            due_at: verdict.due_at,
            attempts: verdict.attempts,
            replays: delivery.replays,
            detail: verdict.detail.clone(),
            message: delivery.payload.message.clone(),
            updated_at,
        },
        on_dead: false,
    }
}

/// A planned delivery as a row that is rendered when it is read back.
pub fn unrendered(arrival: &Arrival) -> New<Payload> {
    new(&arrival.target, 0, None, Payload { kept: Arc::clone(&arrival.kept), message: None, siblings: None, closes: None })
}

/// What a row that was read back comes to. One that was never rendered may be several: the others get rows of their own
/// in the same batch, before any is sent. Of one that the host gave another state that is written, and it is not sent.
pub fn read_back(loaded: Loaded, rendered: Option<Rendered>) -> Vec<ReadBack<Payload>> {
    let Loaded { kept, row } = loaded;
    let due_at = row.due_at.unwrap_or(row.updated_at);
    // What was to come later than it was written was told so.
    let standing = Standing { due_at, attempts: row.attempts, replays: row.replays, told: due_at > row.updated_at };
    let (target, ordinal) = (&row.key.target, row.key.ordinal);
    // Its target's part of the plan is closed already.
    let payload = |message| Payload { kept: Arc::clone(&kept), message, siblings: None, closes: Some(false) };
    let itself = |message, decision| vec![(new(target, ordinal, Some(standing), payload(message)), decision)];
    if row.state != State::Waiting {
        let decision = Decision { state: row.state, detail: row.detail.clone(), until: row.due_at };
        return itself(row.message.clone(), Some(decision));
    }
    let mut messages = match rendered {
        None => return itself(row.message.clone(), None),
        Some(Err(not)) => return itself(None, Some(not_rendered(&not))),
        Some(Ok(messages)) => messages,
    };
    if messages.is_empty() && ordinal == 0 {
        return itself(None, Some(Decision::new(State::Delivered, NOTHING.to_owned())));
    }
    if ordinal as usize >= messages.len() {
        let why = format!("there are only {} messages for this target now, and this is number {}", messages.len(), ordinal + 1);
        return itself(None, Some(Decision::new(State::Dead, why)));
    }
    // One of several keeps its bytes: one that has none stands for those behind it too, the first as well as what `not_there` wrote.
    if ordinal as usize + 1 == messages.len() {
        return itself(Some(messages.swap_remove(ordinal as usize)), None);
    }
    let wait = || Some(Decision::new(State::Waiting, "waits for its turn".to_owned()));
    let each = (0..).zip(messages).skip(ordinal as usize).map(|(nth, message)| {
        let row = (nth == ordinal).then_some(standing);
        (new(target, nth, row, payload(Some(message))), wait())
    });
    each.collect()
}

/// A delivery as its output gets it.
pub fn parcel(handle: u64, delivery: &Delivery<Payload>) -> Parcel {
    let DeliveryKey { target, ordinal, .. } = &delivery.key;
    // Whatever is sent was rendered.
    let message = delivery.payload.message.clone().unwrap_or_default();
    let first = first_attempt(&delivery.payload.kept.event, target, *ordinal, message);
    Parcel { handle: Handle(handle), attempt: delivery.attempts + 1, replay: delivery.replays > 0, ..first }
}

/// The same of a delivery that was never tried.
pub fn first_attempt(event: &Event, target: &Target, ordinal: u32, message: Arc<Message>) -> Parcel {
    Parcel {
        handle: Handle(0),
        delivery: DeliveryId::of(event.id, &target.route, &target.output, ordinal).to_string(),
        event: event.id.to_string(),
        attempt: 1,
        replay: false,
        source: Arc::clone(&event.source),
        topic: Arc::clone(&event.topic),
        route: Arc::clone(&target.route),
        received_at: event.received_at.0,
        raw: event.body.clone(),
        content_type: event.content_type().map(Arc::from),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::laws::kept;

    fn ordinals(made: &[ReadBack<Payload>]) -> Vec<(u32, bool)> {
        made.iter()
            .map(|(new, decision)| (new.key.ordinal, decision.as_ref().is_some_and(|decision| decision.state == State::Dead)))
            .collect()
    }

    #[test]
    fn every_part_of_a_target_that_has_no_row_is_dead_where_the_rest_fails_to_render_and_replayed_they_are_all_there() {
        let kept = kept(1, &["r"], "o");
        let target = Arc::clone(&kept.plan.targets[0]);
        let failed = || Err(NotRendered::Failed("no such key".into()));
        let arrival = |have: &[u32]| Arrival { kept: Arc::clone(&kept), target: Arc::clone(&target), have: have.to_vec() };
        assert_eq!(ordinals(&arrived(&arrival(&[]), failed())), [(0, true)]);
        let mut made = arrived(&arrival(&[1, 3]), failed());
        assert_eq!(ordinals(&made), [(0, true), (2, true), (4, true)]);
        let closes: Vec<bool> = made.iter_mut().map(|(new, _)| new.payload.closes()).collect();
        assert_eq!(closes, [false, false, true], "the last of them closes the plan");
        // Five and more there are: the last row that was written stands for those behind it.
        let again = |ordinal| Loaded {
            kept: Arc::clone(&kept),
            row: DeliveryRow {
                key: DeliveryKey { seq: kept.seq, target: Arc::clone(&target), ordinal },
                state: State::Waiting,
                due_at: None,
                attempts: 0,
                replays: 1,
                detail: "asked for again".into(),
                message: None,
                updated_at: Timestamp(5),
            },
        };
        let seven = || Some(Ok(vec![Arc::<Message>::default(); 7]));
        let back = read_back(again(4), seven());
        assert_eq!(ordinals(&back), [(4, false), (5, false), (6, false)]);
        assert_eq!(back.iter().map(|(new, _)| new.row.is_some()).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(ordinals(&read_back(again(0), seven())).len(), 7, "as one that was never rendered");
    }
}
