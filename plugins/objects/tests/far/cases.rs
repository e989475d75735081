//! What every store must prove, whatever it speaks.

use std::collections::BTreeSet;
use std::sync::Arc;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::{Handle, Output, Parcel, Size};
use switchyard_objects::{Objects, Partition, Per};

use super::{Cloud, Far, Given, bucket, message, parcels, plain};

/// Writes the tests of a suite.
#[macro_export]
macro_rules! cases {
    ($cloud:ty) => {
        $crate::cases!(@each $cloud:
            a_repeat_of_the_same_batch_makes_no_second_object, a_full_batch_is_one_object_an_hour, a_replay_is_written_again_and_marked,
            what_went_out_unheard_is_found_in_other_company, what_never_arrived_is_written_once, after_a_restart_readers_tell_repeats_by_delivery,
            each_delivery_alone_is_found_after_a_restart, every_name_is_signed_as_it_is_sent, a_wrong_key_is_misconfigured,
            a_bucket_that_is_not_there_is_misconfigured, a_store_that_stops_in_between_loses_nothing);
    };
    (@each $cloud:ty: $($case:ident),*) => {
        $(
            #[tokio::test]
            async fn $case() {
                far::cases::$case::<$cloud>().await;
            }
        )*
    };
}

fn words(said: &switchyard_api::conformance::Said) -> Vec<(u64, String)> {
    said.outcomes.keys().map(|handle| (handle.0, said.outcome(*handle).word().to_owned())).collect()
}

fn all(said: &switchyard_api::conformance::Said, word: &str) {
    assert!(!said.outcomes.is_empty() && words(said).iter().all(|(_, said)| said == word), "{said:?}");
}

/// As the host tries them again.
fn again(parcels: Vec<Parcel>) -> Vec<Parcel> {
    parcels.into_iter().map(|parcel| Parcel { attempt: parcel.attempt + 1, handle: Handle(parcel.handle.0 + 10_000), ..parcel }).collect()
}

pub async fn a_repeat_of_the_same_batch_makes_no_second_object<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.connect().await;
    all(&deliver(&output, parcels(0..50), None).await, "delivered");
    let before = far.cloud.read(&far.bucket);
    let said = deliver(&output, again(parcels(0..50)), None).await;
    all(&said, "delivered");
    let told = said.outcome(Handle(10_007)).text();
    assert!(told.starts_with("there already: ") && told.ends_with(&before[0].0), "{told}");
    assert_eq!(far.cloud.read(&far.bucket), before);
    assert_eq!((before.len(), far.deliveries().len()), (1, 50));
    assert!(before[0].0.starts_with("shop/topic=ORDER_PAID/dt=2026-03-02/hour=10/dlv_"), "{}", before[0].0);
}

pub async fn a_full_batch_is_one_object_an_hour<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.connect().await;
    let most = output.max_batch() as u64;
    let hour = |number: u64| (number % 2) as i64 * 3_600_000;
    let late = parcels(0..most).into_iter().zip(0..).map(|(p, n)| Parcel { received_at: p.received_at + hour(n), ..p });
    all(&deliver(&output, late.collect(), None).await, "delivered");
    let objects = far.objects();
    let found: Vec<_> = objects.iter().map(|(name, lines)| (name[22..44].to_owned(), lines.len())).collect();
    let half = most as usize / 2;
    assert_eq!(found, [("dt=2026-03-02/hour=10/".to_owned(), half), ("dt=2026-03-02/hour=11/".to_owned(), half)]);
    let numbers: Vec<u64> = objects[1].1.iter().map(|line| line["data"]["number"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|number| number % 2 == 1));
}

pub async fn a_replay_is_written_again_and_marked<C: Cloud>() {
    let far = Far::<C>::new().await;
    let given = Given { objects: Objects { partition: Partition::None, ..plain() }, ..far.given() };
    let output = far.cloud.output(&given).await;
    let [first] = parcels([1]).try_into().unwrap();
    let replay = Parcel { replay: true, ..first.clone() };
    for parcel in [first, replay.clone(), replay] {
        assert_eq!(deliver_one(&output, parcel).await.word(), "delivered");
    }
    let objects = far.objects();
    assert!(objects.iter().all(|(name, _)| name.starts_with("shop/topic=ORDER_PAID/dlv_") && name.ends_with(".ndjson")));
    let mut marks: Vec<bool> = objects.iter().map(|(_, lines)| lines[0].get("replay").is_some()).collect();
    marks.sort_unstable();
    assert_eq!(marks, [false, true]);
}

/// The batch is written, its answer is lost, and its deliveries come again in other batches.
pub async fn what_went_out_unheard_is_found_in_other_company<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.connect().await;
    all(&deliver(&output, parcels(100..101), None).await, "delivered");
    far.line.cut_at_answers();
    let said = deliver(&output, parcels(0..20), None).await;
    all(&said, "unknown");
    assert_eq!(said.sent.len(), 20);
    far.line.pass();
    for numbers in [vec![7, 200, 3, 11, 201], (0..3).chain(4..7).chain(8..11).chain(12..20).collect()] {
        let said = deliver(&output, again(parcels(numbers)), None).await;
        all(&said, "delivered");
        let found = said.outcomes.keys().filter(|handle| said.outcome(**handle).text().starts_with("there already"));
        assert!(found.clone().all(|handle| handle.0 < 10_020 && !said.sent.contains_key(handle)) && found.count() >= 3);
    }
    let deliveries = far.deliveries();
    assert_eq!(deliveries.len(), 23);
    assert_eq!(deliveries.iter().collect::<BTreeSet<_>>().len(), 23, "none is there twice");
}

pub async fn what_never_arrived_is_written_once<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.connect().await;
    // A token is there, and a connection is kept.
    all(&deliver(&output, parcels(100..101), None).await, "delivered");
    far.line.cut_at_requests();
    all(&deliver(&output, parcels(0..5), None).await, "unknown");
    assert_eq!(far.objects().len(), 1);
    // The question has no answer either: nothing is sent, and no attempt is counted.
    let said = deliver(&output, again(parcels(0..5)), None).await;
    all(&said, "down");
    assert!(said.sent.is_empty() && said.outcome(Handle(10_000)).text().starts_with("asked whether"), "{said:?}");
    far.line.pass();
    all(&deliver(&output, again(parcels([4, 3, 2])), None).await, "delivered");
    all(&deliver(&output, again(parcels([0, 1])), None).await, "delivered");
    assert_eq!(far.deliveries().len(), 6);
}

pub async fn after_a_restart_readers_tell_repeats_by_delivery<C: Cloud>() {
    let far = Far::<C>::new().await;
    let first = far.connect().await;
    all(&deliver(&first, parcels(100..101), None).await, "delivered");
    far.line.cut_at_answers();
    all(&deliver(&first, parcels(0..4), None).await, "unknown");
    far.line.pass();
    let second = far.connect().await;
    // In the same company it finds itself; in another it stands there twice.
    all(&deliver(&second, again(parcels(0..4)), None).await, "delivered");
    assert_eq!(far.deliveries().len(), 5);
    all(&deliver(&second, again(parcels(0..2)), None).await, "delivered");
    let deliveries = far.deliveries();
    assert_eq!((deliveries.len(), deliveries.iter().collect::<BTreeSet<_>>().len()), (7, 5));
}

pub async fn each_delivery_alone_is_found_after_a_restart<C: Cloud>() {
    let far = Far::<C>::new().await;
    let given = Given { objects: Objects { per: Per::Delivery, ..Objects::default() }, ..far.given() };
    let first = far.cloud.output(&given).await;
    assert_eq!(first.max_batch(), 1);
    assert_eq!(deliver_one(&first, parcels([9]).remove(0)).await.word(), "delivered");
    far.line.cut_at_answers();
    for parcel in parcels(0..4) {
        assert_eq!(deliver_one(&first, parcel).await.word(), "unknown");
    }
    far.line.pass();
    let second = far.cloud.output(&given).await;
    for parcel in again(parcels([2, 0, 3, 1])) {
        assert_eq!(deliver_one(&second, parcel).await.word(), "delivered");
    }
    assert_eq!((far.objects().len(), far.deliveries().len()), (5, 5));
}

pub async fn every_name_is_signed_as_it_is_sent<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.connect().await;
    for (number, prefix) in (0..).zip(["a b/+c", "topic=ü/€", "x&y=z;(1)!*'", "a%2Fb?c#d", "~-._/$@:,"]) {
        assert_eq!(deliver_one(&output, parcel(number, &message(prefix))).await.word(), "delivered", "{prefix}");
        assert!(far.objects().iter().any(|(name, _)| name.starts_with(&format!("{prefix}/dt="))), "{prefix}: {:?}", far.objects());
    }
}

pub async fn a_wrong_key_is_misconfigured<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.cloud.output(&Given { wrong_key: true, ..far.given() }).await;
    all(&deliver(&output, parcels(0..3), None).await, "misconfigured");
    let error = output.check().await.unwrap_err().to_string();
    assert!(!error.contains('\n') && !error.contains('<'), "{error}");
    assert!(far.objects().is_empty());
}

pub async fn a_bucket_that_is_not_there_is_misconfigured<C: Cloud>() {
    let far = Far::<C>::new().await;
    let output = far.cloud.output(&Given { bucket: "nobody-made-it".into(), ..far.given() }).await;
    let said = deliver(&output, parcels(0..3), None).await;
    all(&said, "misconfigured");
    assert!(said.outcome(Handle(0)).text().starts_with("404 Not Found: "), "{said:?}");
    assert!(output.check().await.unwrap_err().to_string().contains("nobody-made-it"));
}

/// The server itself ends while batches go out, and comes back.
pub async fn a_store_that_stops_in_between_loses_nothing<C: Cloud>() {
    let mut cloud = C::own();
    let bucket = bucket();
    cloud.make(&bucket);
    let given = Given {
        port: cloud.port(),
        bucket: bucket.clone(),
        objects: Objects { max_bytes: Size(4_096), ..Objects::default() },
        ..Given::default()
    };
    let output = Arc::new(cloud.output(&given).await);
    all(&deliver(&*output, parcels(0..1), None).await, "delivered");
    let busy = tokio::spawn({
        let output = Arc::clone(&output);
        async move {
            let mut unsettled = vec![];
            for batch in 0..40_u64 {
                let numbers = 100 + batch * 100..200 + batch * 100;
                let said = deliver(&*output, parcels(numbers), None).await;
                let failed = words(&said).into_iter().filter(|(_, word)| word != "delivered");
                let failed: Vec<_> =
                    failed.inspect(|(_, word)| assert!(["down", "unknown", "retry"].contains(&word.as_str()), "{word}")).collect();
                unsettled.extend(failed.iter().map(|(handle, _)| *handle));
                // Enough of it: the server is gone.
                if failed.len() == 100 {
                    return (unsettled, 200 + batch * 100);
                }
            }
            panic!("the server was never seen to be gone");
        }
    });
    let cloud = tokio::task::spawn_blocking(move || {
        cloud.down();
        cloud
    });
    let (unsettled, end) = busy.await.unwrap();
    let mut cloud = cloud.await.unwrap();
    assert_eq!(deliver_one(&*output, parcels([90]).remove(0)).await.word(), "down");
    cloud.up();
    for numbers in unsettled.chunks(37) {
        all(&deliver(&*output, again(parcels(numbers.iter().copied())), None).await, "delivered");
    }
    let far = Far { line: super::line_to(cloud.port()).await, cloud: Arc::new(cloud), bucket };
    let there: BTreeSet<String> = far.deliveries().into_iter().collect();
    let expected: BTreeSet<String> = parcels((0..1).chain(100..end)).into_iter().map(|parcel| parcel.delivery).collect();
    assert_eq!(there, expected);
}
