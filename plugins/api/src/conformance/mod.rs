//! The suite that every output passes against a real far side: what the host relies on, one function a promise.
//!
//! An output crate implements [`FarSide`] for what it talks to and writes `switchyard_api::conformance!(Mine);` in
//! `tests/real.rs`. A promise keeps its number (`C1`…): docs/writing-an-output.md lists them. [`http`] is a far side for outputs that speak
//! HTTP, with every bad manner a web server has; [`danger`] knows what a far side would act on in a text, and [`mutual`] what a far side does
//! that asks for a certificate.

pub mod danger;
pub mod http;
pub mod mutual;
pub mod vault;

use crate::output::Word;
use crate::{Handle, Message, Outcome, Output, Parcel, Settle};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Something real to deliver to.
pub trait FarSide: Sized + Send {
    /// Ready, and empty.
    fn start() -> impl Future<Output = Self> + Send;
    /// An output connected to it as the host would make it.
    fn output(&self) -> impl Future<Output = Arc<dyn Output>> + Send;
    /// What the host would render for this kind.
    fn message(&self) -> Message {
        Message::default()
    }
    /// The delivery ids of what arrived so far, one an arrival, in their order.
    fn arrived(&self) -> impl Future<Output = Vec<String>> + Send;
    /// False if the far side has no order that [`arrived`](Self::arrived) could tell.
    fn in_order(&self) -> bool {
        true
    }
    /// Is gone from now on. False if this kind of far side cannot be.
    fn leave(&mut self) -> impl Future<Output = bool> + Send;
    /// An output whose credentials it refuses, if it asks for any.
    fn refused(&self) -> impl Future<Output = Option<Refused>> + Send {
        async { None }
    }
    /// Asks from now on to be left alone for so long, until [`answer`](Self::answer); if its protocol has a word for that.
    fn be_busy(&mut self) -> Option<Duration> {
        None
    }
    /// Takes from now on what comes and hangs up instead of answering, until [`answer`](Self::answer). False if it cannot.
    fn lose_answers(&mut self) -> bool {
        false
    }
    /// Takes what comes and answers nothing, until [`answer`](Self::answer). False if it cannot.
    fn hang(&mut self) -> bool;
    /// Answers again.
    fn answer(&mut self);
    /// A message that the far side will never accept, if there is one.
    fn poison(&self) -> Option<Message>;
    /// A message for a topic, a table, a channel that is not there, if that can be told before it is sent.
    fn nowhere(&self) -> Option<Message> {
        None
    }
    /// All that is shown of settings and output, and the secrets that must not be in it.
    fn shown(&self) -> impl Future<Output = (String, Vec<String>)> + Send;
}

/// How many promises there are: so many far sides are started.
pub const PROMISES: usize = 14;

/// An output that is not let in.
pub struct Refused {
    /// The output.
    pub output: Arc<dyn Output>,
    /// The wrong secret that it has: it must not be shown either.
    pub secret: String,
}

/// Writes one test a promise.
#[macro_export]
macro_rules! conformance {
    ($far_side:ty) => {
        $crate::conformance!(@each $far_side:
            c1_each_delivery_arrives_once, c2_a_batch_settles_each_handle_once, c3_a_batch_arrives_in_its_order, c4_a_repeat_bears_the_same_id, c5_a_far_side_that_is_gone_is_down, c6_who_is_not_let_in_is_misconfigured, c7_who_asks_for_patience_is_heeded, c8_what_is_never_accepted_is_rejected, c9_dropped_anywhere_nothing_is_half_done, c10_no_answer_is_said_to_be_sent, c11_a_lost_answer_is_unknown, c12_no_secret_is_shown, c13_closing_is_clean, c14_a_check_says_whether_it_would_work);
    };
    (@each $far_side:ty: $($promise:ident),*) => {
        mod conformance {
            use super::*;
            $(
                #[tokio::test]
                async fn $promise() {
                    $crate::conformance::$promise::<$far_side>().await;
                }
            )*
        }
    };
}

/// The `number`th parcel of a test.
pub fn parcel(number: u64, message: &Message) -> Parcel {
    Parcel {
        handle: Handle(number),
        delivery: format!("dlv_{number:032x}"),
        event: format!("evt_{number:032x}"),
        attempt: 1,
        replay: false,
        source: "orderchamp".into(),
        topic: "ORDER_PAID".into(),
        route: "all".into(),
        received_at: 1_772_445_600_000,
        raw: Bytes::from(format!(r#"{{"number":{number}}}"#)),
        content_type: Some("application/json".into()),
        message: Arc::new(message.clone()),
    }
}

/// What an output said of some parcels.
#[derive(Debug, Default)]
pub struct Said {
    /// How often each was said to be sent.
    pub sent: BTreeMap<Handle, usize>,
    /// The outcomes of each.
    pub outcomes: BTreeMap<Handle, Vec<Outcome>>,
}

impl Said {
    /// The one outcome of a handle.
    ///
    /// # Panics
    /// If there is not exactly one.
    pub fn outcome(&self, handle: Handle) -> &Outcome {
        match self.outcomes.get(&handle).map(Vec::as_slice) {
            Some([one]) => one,
            other => panic!("{handle:?} was settled with {other:?}"),
        }
    }
}

/// Delivers and hears everything; with `polls`, drops the attempt after so many.
pub async fn deliver(output: &dyn Output, parcels: Vec<Parcel>, polls: Option<usize>) -> Said {
    let (settle, mut words) = Settle::channel();
    {
        let mut attempt = output.deliver(parcels, &settle);
        let mut left = polls;
        poll_fn(|context| {
            if left == Some(0) || attempt.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            left = left.map(|left| left - 1);
            if left == Some(0) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
    drop(settle);
    let mut said = Said::default();
    while let Some(word) = words.recv().await {
        match word {
            Word::Sent(handle) => *said.sent.entry(handle).or_default() += 1,
            Word::Settled(handle, outcome) => said.outcomes.entry(handle).or_default().push(outcome),
        }
    }
    said
}

/// Delivers one parcel to its end.
pub async fn deliver_one(output: &dyn Output, parcel: Parcel) -> Outcome {
    let handle = parcel.handle;
    deliver(output, vec![parcel], None).await.outcome(handle).clone()
}

fn delivered(outcome: &Outcome) {
    assert_eq!(outcome.word(), "delivered", "{outcome:?}");
}

/// Every delivery arrives once, with its id.
pub async fn c1_each_delivery_arrives_once<F: FarSide>() {
    let far = F::start().await;
    let output = far.output().await;
    let mut expected = vec![];
    for number in 0..30 {
        let parcel = parcel(number, &far.message());
        expected.push(parcel.delivery.clone());
        delivered(&deliver_one(&*output, parcel).await);
    }
    let mut arrived = far.arrived().await;
    arrived.sort();
    assert_eq!(arrived, expected);
}

/// A full batch: each handle has one outcome, and what is delivered was said to be sent, once.
pub async fn c2_a_batch_settles_each_handle_once<F: FarSide>() {
    let far = F::start().await;
    let output = far.output().await;
    let most = output.max_batch().min(1_000) as u64;
    assert!(most > 0);
    let parcels: Vec<_> = (0..most).map(|number| parcel(number, &far.message())).collect();
    let said = deliver(&*output, parcels, None).await;
    for number in 0..most {
        delivered(said.outcome(Handle(number)));
        assert_eq!(said.sent.get(&Handle(number)), Some(&1));
    }
    assert_eq!(said.outcomes.len() as u64, most);
    assert_eq!(far.arrived().await.len() as u64, most);
}

/// What went out in one call arrives in the order of its parcels, and call after call.
pub async fn c3_a_batch_arrives_in_its_order<F: FarSide>() {
    let far = F::start().await;
    if !far.in_order() {
        return;
    }
    let output = far.output().await;
    let size = output.max_batch().min(100) as u64;
    let mut expected = vec![];
    for call in 0..3 {
        let parcels: Vec<_> = (call * size..(call + 1) * size).map(|number| parcel(number, &far.message())).collect();
        expected.extend(parcels.iter().map(|parcel| parcel.delivery.clone()));
        deliver(&*output, parcels, None).await;
    }
    assert_eq!(far.arrived().await, expected);
}

/// The second attempt of a delivery is recognisable as the same by the far side (L1).
pub async fn c4_a_repeat_bears_the_same_id<F: FarSide>() {
    let far = F::start().await;
    let output = far.output().await;
    let first = parcel(7, &far.message());
    let again = Parcel { attempt: 2, handle: Handle(8), replay: true, ..first.clone() };
    delivered(&deliver_one(&*output, first).await);
    delivered(&deliver_one(&*output, again).await);
    let arrived = far.arrived().await;
    assert_eq!(arrived, [format!("dlv_{:032x}", 7), format!("dlv_{:032x}", 7)]);
}

/// A far side that is gone costs no attempt (L3).
pub async fn c5_a_far_side_that_is_gone_is_down<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    if far.leave().await {
        let outcome = deliver_one(&*output, parcel(1, &far.message())).await;
        assert_eq!(outcome.word(), "down", "{outcome:?}");
        assert!(!outcome.text().is_empty() && !outcome.text().contains('\n'));
    }
}

/// Credentials that are refused cost no attempt and kill nothing: a person has to mend them.
pub async fn c6_who_is_not_let_in_is_misconfigured<F: FarSide>() {
    let far = F::start().await;
    let Some(Refused { output, secret }) = far.refused().await else { return };
    let outcome = deliver_one(&*output, parcel(1, &far.message())).await;
    assert_eq!(outcome.word(), "misconfigured", "{outcome:?}");
    let told = output.check().await.map_err(|error| error.to_string());
    assert!(told.is_err(), "a check says so too");
    assert!(!format!("{outcome:?} {told:?}").contains(&secret), "`{secret}` stands in {outcome:?} {told:?}");
    assert_eq!(far.arrived().await, Vec::<String>::new());
}

/// A far side that says when to come again is left alone for so long.
pub async fn c7_who_asks_for_patience_is_heeded<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    let Some(asked) = far.be_busy() else { return };
    let outcome = deliver_one(&*output, parcel(1, &far.message())).await;
    match &outcome {
        Outcome::Retry { after, .. } | Outcome::Down { after, .. } => assert_eq!(*after, Some(asked), "{outcome:?}"),
        _ => panic!("{outcome:?}"),
    }
    far.answer();
    delivered(&deliver_one(&*output, parcel(2, &far.message())).await);
}

/// Poison is dead at once, and what comes after it is not held up.
pub async fn c8_what_is_never_accepted_is_rejected<F: FarSide>() {
    let far = F::start().await;
    let Some(poison) = far.poison() else { return };
    let output = far.output().await;
    let outcome = deliver_one(&*output, parcel(1, &poison)).await;
    assert_eq!(outcome.word(), "rejected", "{outcome:?}");
    delivered(&deliver_one(&*output, parcel(2, &far.message())).await);
}

/// Dropped at any await: what was not said to be sent did not arrive, and the next delivery works.
pub async fn c9_dropped_anywhere_nothing_is_half_done<F: FarSide>() {
    let far = F::start().await;
    let output = far.output().await;
    let mut not_sent = vec![];
    for polls in 0..12_u64 {
        let parcel = parcel(polls, &far.message());
        let id = parcel.delivery.clone();
        let said = deliver(&*output, vec![parcel], Some(polls as usize)).await;
        if said.sent.is_empty() {
            assert!(said.outcomes.is_empty(), "{said:?}");
            not_sent.push(id);
        }
        let next = super::conformance::parcel(100 + polls, &far.message());
        delivered(&deliver_one(&*output, next).await);
    }
    assert!(!not_sent.is_empty());
    let arrived = far.arrived().await;
    assert!(not_sent.iter().all(|id| !arrived.contains(id)), "{not_sent:?} in {arrived:?}");
    for polls in 0..12_u64 {
        let id = format!("dlv_{:032x}", 100 + polls);
        assert_eq!(arrived.iter().filter(|arrived| **arrived == id).count(), 1);
    }
}

/// A delivery given up while the far side is silent was said to be sent; afterwards the output works on.
pub async fn c10_no_answer_is_said_to_be_sent<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    if !far.hang() {
        return;
    }
    let (settle, mut words) = Settle::channel();
    {
        let mut attempt = output.deliver(vec![parcel(1, &far.message())], &settle);
        tokio::select! {
            () = &mut attempt => panic!("it ended though nobody answered"),
            word = words.recv() => assert!(matches!(word, Some(Word::Sent(Handle(1)))), "{word:?}"),
        }
    }
    assert!(words.try_recv().is_err(), "nothing is said after it was given up");
    far.answer();
    delivered(&deliver_one(&*output, parcel(2, &far.message())).await);
}

/// What arrived, and whose answer never came, is unknown: neither tried again without a word nor taken for done.
pub async fn c11_a_lost_answer_is_unknown<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    if !far.lose_answers() {
        return;
    }
    let parcel = parcel(1, &far.message());
    let id = parcel.delivery.clone();
    let outcome = deliver_one(&*output, parcel).await;
    assert_eq!(outcome.word(), "unknown", "{outcome:?}");
    assert_eq!(far.arrived().await, [id]);
}

/// Neither settings nor output nor outcomes show a secret (L7).
pub async fn c12_no_secret_is_shown<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    let (mut shown, secrets) = far.shown().await;
    shown.push_str(deliver_one(&*output, parcel(1, &far.message())).await.text());
    if far.leave().await {
        shown.push_str(deliver_one(&*output, parcel(2, &far.message())).await.text());
        if let Err(error) = output.check().await {
            shown.push_str(&error.to_string());
        }
    }
    for secret in secrets {
        assert!(!shown.contains(&secret), "`{secret}` stands in {shown}");
    }
}

/// After closing, all that was delivered is there; closing twice is nothing special.
pub async fn c13_closing_is_clean<F: FarSide>() {
    let far = F::start().await;
    let output = far.output().await;
    delivered(&deliver_one(&*output, parcel(1, &far.message())).await);
    output.close().await;
    output.close().await;
    drop(output);
    assert_eq!(far.arrived().await.len(), 1);
}

/// A check delivers nothing and says whether a delivery would work.
pub async fn c14_a_check_says_whether_it_would_work<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    output.check().await.unwrap();
    output.check_message(&texts(&far.message())).await.unwrap();
    if let Some(nowhere) = far.nowhere() {
        let told = output.check_message(&texts(&nowhere)).await.unwrap_err().to_string();
        assert!(!told.contains('\n') && !told.is_empty(), "one line: {told}");
        output.check().await.unwrap();
    }
    assert!(far.arrived().await.is_empty(), "a check delivers nothing");
    if far.leave().await {
        assert!(output.check().await.is_err());
    }
}

fn texts(message: &Message) -> BTreeMap<String, String> {
    message.fields.keys().filter_map(|name| Some((name.clone(), message.text(name)?.to_owned()))).collect()
}

/// A crate's README is its module docs: compares the two and says what to write.
pub fn readme_is_the_docs(lib: &str, readme: &str) {
    let text = |line: &str| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or("").to_owned();
    let docs: Vec<String> = lib.lines().take_while(|line| line.starts_with("//!")).map(text).collect();
    assert_eq!(readme, docs.join("\n") + "\n", "README.md differs from the docs of src/lib.rs: copy them there");
}

#[cfg(test)]
mod tests {
    /// Number and name of each promise, as written between the two words.
    fn promises(text: &str, before: &str, after: char) -> Vec<(u32, String)> {
        let promise = |rest: &str| {
            let (number, name) = rest.split(after).next()?.trim().split_once('_')?;
            Some((number.parse().ok()?, name.to_owned()))
        };
        text.split(before).skip(1).filter_map(promise).collect()
    }

    #[test]
    fn every_promise_is_tested_and_on_the_page() {
        let (code, page) = (include_str!("mod.rs"), include_str!("../../../../docs/writing-an-output.md"));
        let functions = promises(code, "\npub async fn c", '<');
        assert_eq!(functions.len(), super::PROMISES);
        assert!(functions.iter().map(|(number, _)| *number).eq(1..=functions.len() as u32), "the numbers of {functions:?}");
        let list = code.split_once("(@each $far_side:").and_then(|(_, rest)| rest.split_once(");")).unwrap().0;
        for (number, name) in functions {
            assert!(list.contains(&format!("c{number}_{name}")), "the macro does not run c{number}_{name}");
            let row = format!("| C{number} | {} |", name.replace('_', " "));
            assert!(page.contains(&row), "docs/writing-an-output.md: add the row `{row} …`");
        }
    }
}
