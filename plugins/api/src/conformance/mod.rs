//! The suite that every output passes against a real far side: what the host relies on, one function a promise.
//!
//! An output crate implements [`FarSide`] for what it talks to and writes `switchyard_api::conformance!(Mine);` in
//! `tests/real.rs`. [`http`] is a far side for outputs that speak HTTP, with every bad manner a web server has.

pub mod http;

use crate::output::Word;
use crate::{Handle, Message, Outcome, Output, Parcel, Settle};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

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
    /// The delivery ids of what arrived so far, one an arrival, in any order.
    fn arrived(&self) -> impl Future<Output = Vec<String>> + Send;
    /// Is gone from now on. False if this kind of far side cannot be.
    fn leave(&mut self) -> impl Future<Output = bool> + Send;
    /// Takes what comes and answers nothing, until [`answer`](Self::answer). False if it cannot.
    fn hang(&mut self) -> bool;
    /// Answers again.
    fn answer(&mut self);
    /// A message that the far side will never accept, if there is one.
    fn poison(&self) -> Option<Message>;
    /// All that is shown of settings and output, and the secrets that must not be in it.
    fn shown(&self) -> impl Future<Output = (String, Vec<String>)> + Send;
}

/// Writes one test a promise.
#[macro_export]
macro_rules! conformance {
    ($far_side:ty) => {
        $crate::conformance!(@each $far_side:
            each_delivery_arrives_once, a_batch_settles_each_handle_once, a_repeat_bears_the_same_id, a_far_side_that_is_gone_is_down,
            what_is_never_accepted_is_rejected, dropped_anywhere_nothing_is_half_done, no_answer_is_said_to_be_sent, no_secret_is_shown,
            closing_is_clean, a_check_says_whether_it_would_work);
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
pub async fn each_delivery_arrives_once<F: FarSide>() {
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
pub async fn a_batch_settles_each_handle_once<F: FarSide>() {
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

/// The second attempt of a delivery is recognisable as the same by the far side (L1).
pub async fn a_repeat_bears_the_same_id<F: FarSide>() {
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
pub async fn a_far_side_that_is_gone_is_down<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    if far.leave().await {
        let outcome = deliver_one(&*output, parcel(1, &far.message())).await;
        assert_eq!(outcome.word(), "down", "{outcome:?}");
        assert!(!outcome.text().is_empty() && !outcome.text().contains('\n'));
    }
}

/// Poison is dead at once, and what comes after it is not held up.
pub async fn what_is_never_accepted_is_rejected<F: FarSide>() {
    let far = F::start().await;
    let Some(poison) = far.poison() else { return };
    let output = far.output().await;
    let outcome = deliver_one(&*output, parcel(1, &poison)).await;
    assert_eq!(outcome.word(), "rejected", "{outcome:?}");
    delivered(&deliver_one(&*output, parcel(2, &far.message())).await);
}

/// Dropped at any await: what was not said to be sent did not arrive, and the next delivery works.
pub async fn dropped_anywhere_nothing_is_half_done<F: FarSide>() {
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
pub async fn no_answer_is_said_to_be_sent<F: FarSide>() {
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

/// Neither settings nor output nor outcomes show a secret (L7).
pub async fn no_secret_is_shown<F: FarSide>() {
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
pub async fn closing_is_clean<F: FarSide>() {
    let far = F::start().await;
    let output = far.output().await;
    delivered(&deliver_one(&*output, parcel(1, &far.message())).await);
    output.close().await;
    output.close().await;
    drop(output);
    assert_eq!(far.arrived().await.len(), 1);
}

/// A check delivers nothing and says whether a delivery would work.
pub async fn a_check_says_whether_it_would_work<F: FarSide>() {
    let mut far = F::start().await;
    let output = far.output().await;
    output.check().await.unwrap();
    assert!(far.arrived().await.is_empty(), "a check delivers nothing");
    if far.leave().await {
        assert!(output.check().await.is_err());
    }
}

/// A crate's README is its module docs: compares the two and says what to write.
pub fn readme_is_the_docs(lib: &str, readme: &str) {
    let text = |line: &str| line.trim_start_matches("//!").strip_prefix(' ').unwrap_or("").to_owned();
    let docs: Vec<String> = lib.lines().take_while(|line| line.starts_with("//!")).map(text).collect();
    assert_eq!(readme, docs.join("\n") + "\n", "README.md differs from the docs of src/lib.rs: copy them there");
}
