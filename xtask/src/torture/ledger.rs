//! What was sent, answered and received, and whether it fits together: the proof of L1 from outside.
//!
//! Every event has a number. Its body and its planned outputs are pure functions of it, so nothing needs to be kept to know what
//! should have arrived. Holds: an event answered 200 is taken or rejected by each planned output; one delivery id for each event and
//! output, on every attempt; the event id of the answer is the one that arrives; bodies arrive byte by byte.

use crate::process;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The outputs, in the order of their numbers. `guest` is not always in the file: it may get everything and must get nothing.
pub const OUTPUTS: [&str; 6] = ["steady", "flaky", "strict", "later", "ordered", "guest"];
/// The sender's connections. Each has its own numbers, those with the same rest, and sends them in their order: that rest is the key by
/// which `ordered` is kept in order.
pub const CONNECTIONS: u64 = 8;
/// Events with a `data.total` below this go to `ordered`.
pub const ORDERED_BELOW: u64 = 100;
/// Events with a `data.total` above this go to `strict`.
pub const STRICT_ABOVE: u64 = 1000;
/// Events with a `data.total` from this on do not go to `later`, so that they are over soon and retention finds them.
pub const SOON_FROM: u64 = 2000;
/// Every so many-th event that `strict` gets is rejected by it for good.
const REJECTED_EACH: u64 = 5;
/// What an output took is written down within this time, so nothing older than that is sent again after a kill.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);
/// An output may read a request this long after the one who sent it was killed.
const READ_LATE: Duration = Duration::from_millis(500);
/// Most deliveries that may be taken again in a life: of each output what is sent and not durable (`deliver/engine.rs`).
const AGAIN_MAX: u32 = OUTPUTS.len() as u32 * 4_096;
/// How many troubles are kept word for word.
const TROUBLES_SHOWN: usize = 10;

/// What an event carries: sometimes a little, sometimes several pages.
pub fn body(number: u64) -> Vec<u8> {
    let total = match number % 4 {
        0 => SOON_FROM,
        2 => STRICT_ABOVE + 500,
        _ => 10,
    };
    let room = if number.is_multiple_of(50) { 20_000 } else { (number * 37) as usize % 2000 };
    let key = number % CONNECTIONS;
    let mut text = format!(r#"{{"number":{number},"total":{total},"key":{key},"note":""#);
    text.extend((0..room).map(|place| char::from(b'a' + ((number + place as u64) % 26) as u8)));
    text += "\"}";
    text.into_bytes()
}

/// The event that a body says it is.
pub fn number_of(body: &[u8]) -> Option<u64> {
    let rest = body.strip_prefix(br#"{"number":"#)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// Whether `strict` refuses an event for its content.
pub fn is_rejected(number: u64) -> bool {
    number.is_multiple_of(REJECTED_EACH)
}

fn is_big(number: u64) -> bool {
    number.is_multiple_of(2)
}

/// The outputs an event should reach, as the file says.
fn planned(number: u64) -> impl Iterator<Item = usize> {
    (0..OUTPUTS.len()).filter(move |output| match OUTPUTS[*output] {
        "strict" => is_big(number),
        "later" => !number.is_multiple_of(4),
        "ordered" => !is_big(number),
        "guest" => false,
        _ => true,
    })
}

/// Whether an output may get an event.
fn is_welcome(output: usize, number: u64) -> bool {
    OUTPUTS.get(output) == Some(&"guest") || planned(number).any(|planned| planned == output)
}

/// How an output answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// 200: it has it.
    Taken,
    /// 422: it will never take it.
    Rejected,
    /// Anything else, or nothing.
    NotTaken,
}

/// A request at an output.
pub struct Arrival<'a> {
    pub output: usize,
    pub body: &'a [u8],
    /// `Switchyard-Delivery`.
    pub delivery: &'a str,
    /// `Switchyard-Event`.
    pub event: &'a str,
    pub reply: Reply,
}

/// Written by sender and outputs alike.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Events answered 200, and the id they were given.
    answered: HashMap<u64, String>,
    reached: HashMap<(usize, u64), Reached>,
    /// The last event of each key at `ordered`.
    last_of: HashMap<u64, u64>,
    /// Which life of the daemon this is.
    life: usize,
    /// Deliveries taken again, by the life in which that happened.
    again: Vec<u32>,
    /// When lives were ended by force.
    kills: Vec<Instant>,
    troubles: usize,
    first_troubles: Vec<String>,
}

/// What an output knows of an event.
struct Reached {
    delivery: String,
    event: String,
    taken: u32,
    taken_at: Option<Instant>,
    rejected: u32,
}

/// What the ledger says in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Events answered 200.
    pub answered: usize,
    /// Deliveries that were taken or rejected, each counted once.
    pub settled: usize,
    /// Deliveries of answered events that never were.
    pub lost: Vec<(u64, &'static str)>,
    /// How many deliveries were taken again in each life, sorted.
    pub again: Vec<u32>,
    /// How much else does not fit.
    pub troubles: usize,
    /// The first of it, in words.
    pub first_troubles: Vec<String>,
}

impl Ledger {
    /// A new life of the daemon begins.
    pub fn begin_life(&self) -> usize {
        let mut state = self.lock();
        state.again.push(0);
        state.life = state.again.len() - 1;
        state.life
    }

    /// A life was ended by force: what its outputs took last may come again.
    pub fn killed(&self) {
        self.lock().kills.push(process::now());
    }

    /// How many events were answered 200.
    pub fn answered_count(&self) -> usize {
        self.lock().answered.len()
    }

    /// An event was answered 200 with this id.
    pub fn answered(&self, number: u64, event: &str) {
        let mut state = self.lock();
        if let Some(before) = state.answered.insert(number, event.to_owned())
            && before != event
        {
            state.trouble(format!("event {number} was answered as {before} and as {event}"));
        }
    }

    /// Something that must not happen.
    pub fn trouble(&self, what: String) {
        self.lock().trouble(what);
    }

    /// A request arrived at an output.
    pub fn arrived(&self, arrival: &Arrival) {
        let mut state = self.lock();
        let output = OUTPUTS.get(arrival.output).copied().unwrap_or("?");
        let Some(number) = number_of(arrival.body).filter(|number| body(*number) == arrival.body) else {
            return state.trouble(format!("{output} got a body that was never sent ({} bytes)", arrival.body.len()));
        };
        if !is_welcome(arrival.output, number) {
            state.trouble(format!("{output} got event {number}, which no route sends there"));
        }
        let reached = state.reached.entry((arrival.output, number)).or_insert_with(|| Reached {
            delivery: arrival.delivery.to_owned(),
            event: arrival.event.to_owned(),
            taken: 0,
            taken_at: None,
            rejected: 0,
        });
        let differs = (reached.delivery != arrival.delivery).then(|| format!("{} and {}", reached.delivery, arrival.delivery));
        let before = reached.taken_at.filter(|_| arrival.reply == Reply::Taken);
        match arrival.reply {
            Reply::Taken => (reached.taken, reached.taken_at) = (reached.taken + 1, Some(process::now())),
            Reply::Rejected => reached.rejected += 1,
            Reply::NotTaken => {}
        }
        if output == "ordered" {
            // What came last may come again; what was before it was over when it came.
            let last = state.last_of.entry(number % CONNECTIONS).or_default();
            let before = std::mem::replace(last, number.max(*last));
            if number < before {
                state.trouble(format!("ordered got event {number} after event {before} of the same key"));
            }
        }
        if let Some(ids) = differs {
            state.trouble(format!("{output} got event {number} as deliveries {ids}"));
        }
        if let Some(before) = before {
            state.taken_again(output, number, before);
        }
    }

    /// Deliveries that are still to be seen.
    pub fn missing(&self) -> usize {
        self.lock().lost().len()
    }

    /// The end.
    pub fn verdict(&self) -> Verdict {
        let mut state = self.lock();
        let wrong_ids: Vec<String> = state.wrong_ids().collect();
        for wrong in wrong_ids {
            state.trouble(wrong);
        }
        let mut again = state.again.clone();
        again.sort_unstable();
        Verdict {
            answered: state.answered.len(),
            settled: state.reached.values().filter(|reached| reached.is_settled()).count(),
            lost: state.lost(),
            again,
            troubles: state.troubles,
            first_troubles: state.first_troubles.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn taken_again(&mut self, output: &str, number: u64, before: Instant) {
        let life = self.life;
        if let Some(again) = self.again.get_mut(life) {
            *again += 1;
        }
        let fits = |kill: &Instant| *kill + READ_LATE >= before && *kill <= before + WRITTEN_WITHIN;
        if !self.kills.iter().any(fits) {
            let age = before.elapsed().as_millis();
            self.trouble(format!("{output} took event {number} again after {age} ms, and no kill came soon after the first time"));
        }
    }

    fn trouble(&mut self, what: String) {
        self.troubles += 1;
        if self.first_troubles.len() < TROUBLES_SHOWN {
            self.first_troubles.push(what);
        }
    }

    fn lost(&self) -> Vec<(u64, &'static str)> {
        let all = self.answered.keys().flat_map(|number| planned(*number).map(|output| (*number, output)));
        let lost = all.filter(|(number, output)| !self.reached.get(&(*output, *number)).is_some_and(Reached::is_settled));
        lost.map(|(number, output)| (number, OUTPUTS[output])).collect()
    }

    fn wrong_ids(&self) -> impl Iterator<Item = String> {
        self.reached.iter().filter_map(|((output, number), reached)| {
            let answered = self.answered.get(number)?;
            let output = OUTPUTS[*output];
            (*answered != reached.event).then(|| format!("event {number} was answered as {answered}, {output} got it as {}", reached.event))
        })
    }
}

impl Reached {
    fn is_settled(&self) -> bool {
        self.taken > 0 || self.rejected > 0
    }
}

impl Verdict {
    /// Whether L1 held.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.troubles == 0 && self.again.last().is_none_or(|most| *most <= AGAIN_MAX)
    }

    /// For people, a line a fact.
    pub fn report(&self) -> String {
        let at = |part: f64| self.again.get(((self.again.len() as f64 * part) as usize).min(self.again.len().saturating_sub(1)));
        let (p50, most) = (at(0.5).unwrap_or(&0), self.again.last().unwrap_or(&0));
        let mut text = format!(
            "  answered    {} events, {} deliveries settled\n  lost        {}\n  duplicates  in a life p50 {p50}, max {most}, each taken at most {WRITTEN_WITHIN:?} before a kill\n",
            self.answered,
            self.settled,
            self.lost.len()
        );
        for (number, output) in self.lost.iter().take(TROUBLES_SHOWN) {
            let _ = writeln!(text, "  LOST        event {number} never reached {output}");
        }
        for trouble in &self.first_troubles {
            let _ = writeln!(text, "  TROUBLE     {trouble}");
        }
        if self.troubles > self.first_troubles.len() {
            let _ = writeln!(text, "  TROUBLE     and {} more", self.troubles - self.first_troubles.len());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrive(ledger: &Ledger, output: usize, number: u64, reply: Reply) {
        let delivery = format!("dlv_{output}_{number}");
        ledger.arrived(&Arrival { output, body: &body(number), delivery: &delivery, event: &format!("evt_{number}"), reply });
    }

    fn all_well() -> Ledger {
        let ledger = Ledger::default();
        ledger.begin_life();
        for number in 1..=20 {
            ledger.answered(number, &format!("evt_{number}"));
            for output in planned(number) {
                let reject = OUTPUTS[output] == "strict" && is_rejected(number);
                arrive(&ledger, output, number, if reject { Reply::Rejected } else { Reply::Taken });
            }
        }
        ledger
    }

    #[test]
    fn every_answered_event_at_every_planned_output_is_clean() {
        let verdict = all_well().verdict();
        assert!(verdict.is_clean(), "{}", verdict.report());
        assert_eq!((verdict.answered, verdict.settled, &verdict.again[..]), (20, 75, &[0][..]));
    }

    #[test]
    fn an_answered_event_that_one_output_never_took_is_lost() {
        let ledger = all_well();
        ledger.answered(21, "evt_21");
        arrive(&ledger, 0, 21, Reply::Taken);
        arrive(&ledger, 1, 21, Reply::NotTaken);
        let verdict = ledger.verdict();
        assert!(!verdict.is_clean());
        assert_eq!(verdict.lost, [(21, "flaky"), (21, "later"), (21, "ordered")]);
        assert!(verdict.report().contains("event 21 never reached flaky"), "{}", verdict.report());
    }

    #[test]
    fn an_event_that_was_never_answered_may_be_missing() {
        let ledger = all_well();
        arrive(&ledger, 0, 23, Reply::Taken);
        assert!(ledger.verdict().is_clean());
    }

    #[test]
    fn what_is_taken_again_after_a_kill_counts_for_its_life_and_is_no_loss() {
        let ledger = all_well();
        ledger.killed();
        ledger.begin_life();
        arrive(&ledger, 0, 1, Reply::Taken);
        arrive(&ledger, 0, 1, Reply::Taken);
        arrive(&ledger, 1, 1, Reply::NotTaken);
        let verdict = ledger.verdict();
        assert!(verdict.is_clean());
        assert_eq!(verdict.again, [0, 2]);
    }

    #[test]
    fn what_is_taken_again_without_a_kill_is_a_trouble() {
        let ledger = all_well();
        ledger.begin_life();
        arrive(&ledger, 0, 1, Reply::Taken);
        let verdict = ledger.verdict();
        assert!(!verdict.is_clean() && verdict.lost.is_empty());
        assert!(verdict.report().contains("steady took event 1 again"), "{}", verdict.report());
    }

    #[test]
    fn a_guest_may_get_anything_and_must_get_nothing() {
        let ledger = all_well();
        arrive(&ledger, 5, 1, Reply::Taken);
        assert!(ledger.verdict().is_clean());
    }

    #[test]
    fn what_comes_after_a_later_one_of_its_key_is_a_trouble_and_the_last_may_come_again() {
        let ledger = all_well();
        ledger.killed();
        arrive(&ledger, 4, 19, Reply::Taken);
        assert!(ledger.verdict().is_clean());
        arrive(&ledger, 4, 11, Reply::NotTaken);
        let verdict = ledger.verdict();
        assert!(verdict.report().contains("ordered got event 11 after event 19 of the same key"), "{}", verdict.report());
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_second_id_a_changed_body_and_an_unplanned_output_are_troubles() {
        let ledger = all_well();
        let (good, mut bad) = (body(1), body(1));
        bad[20] ^= 1;
        let at = |output, body: &[u8], delivery, event| {
            ledger.arrived(&Arrival { output, body, delivery, event, reply: Reply::NotTaken });
        };
        at(0, &good, "dlv_other", "evt_1");
        at(0, &bad, "dlv_0_1", "evt_1");
        at(2, &good, "dlv_2_1", "evt_1");
        ledger.answered(1, "evt_2");
        let verdict = ledger.verdict();
        // The changed answer shows at each of the outputs that got the event under its first id.
        assert_eq!(verdict.troubles, 4 + 5, "{:?}", verdict.first_troubles);
        assert!(!verdict.is_clean() && verdict.lost.is_empty());
    }

    #[test]
    fn a_body_tells_its_number_and_is_json() {
        for number in [1, 2, 50, 123_456] {
            let body = body(number);
            assert_eq!(number_of(&body), Some(number));
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
        assert_eq!(number_of(b"{}"), None);
    }
}
