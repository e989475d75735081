//! Brokers that go away and come back in mid-flight: real processes, killed and started again.
//!
//! One cluster of two nodes for one test: what is left of it after one part is what the next part needs.

#![allow(clippy::unwrap_used)] // helpers of tests

mod far;

use far::{connect, create, message, read};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::{deliver, deliver_one, parcel};
use switchyard_api::{Output, Parcel};
use switchyard_services::kafka::Kafka;
use tokio::sync::mpsc;

/// Records a batch, of as many keys.
const KEYS: u64 = 20;
/// An attempt: shorter than an outage, so that some fail and are tried again.
const TIMEOUT: Duration = Duration::from_secs(4);
/// An outage lasts some seconds.
const ATTEMPTS_MAX: u32 = 40;

/// Delivers batch after batch, each until it is delivered as the host would: the record of a key waits for the one before.
/// Says after each how many are done. Gives back the words of all outcomes.
async fn keep_delivering(
    output: Arc<dyn Output>,
    topic: String,
    mut wanted: mpsc::Receiver<u64>,
    done: mpsc::Sender<u64>,
) -> BTreeSet<&'static str> {
    let mut words = BTreeSet::new();
    while let Some(batch) = wanted.recv().await {
        let fresh = |key| parcel(batch * KEYS + key, &message(&topic, &[("key", &format!("key-{key}"))]));
        let mut open: Vec<Parcel> = (0..KEYS).map(fresh).collect();
        while !open.is_empty() {
            let said = deliver(&*output, open.clone(), None).await;
            words.extend(open.iter().map(|parcel| said.outcome(parcel.handle).word()));
            open.retain(|parcel| said.outcome(parcel.handle).word() != "delivered");
            for parcel in &mut open {
                parcel.attempt += 1;
            }
            assert!(open.iter().all(|parcel| parcel.attempt < ATTEMPTS_MAX), "never delivered: {said:?}");
        }
        done.send(batch).await.unwrap();
    }
    words
}

/// Batches go out one after the other while `outage` runs between the third and the last.
async fn through<T>(output: &Arc<dyn Output>, topic: &str, outage: impl Future<Output = T>) -> (BTreeSet<&'static str>, T) {
    let (want, wanted) = mpsc::channel(64);
    let (done, mut heard) = mpsc::channel(64);
    let work = tokio::spawn(keep_delivering(Arc::clone(output), topic.to_owned(), wanted, done));
    let mut batch = 0;
    for _ in 0..3 {
        want.send(batch).await.unwrap();
        heard.recv().await.unwrap();
        batch += 1;
    }
    // In flight while the broker goes, and tried for while it is away.
    for _ in 0..20 {
        want.send(batch).await.unwrap();
        batch += 1;
    }
    let after = outage.await;
    want.send(batch).await.unwrap();
    while heard.recv().await.unwrap() != batch {}
    drop(want);
    (work.await.unwrap(), after)
}

/// Nothing is lost, each key is in order, and what stands twice has the same id.
async fn is_whole(brokers: &str, topic: &str, batches: u64) {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in read(brokers, topic).await {
        let id = record.header("switchyard-delivery").to_owned();
        let ids = by_key.entry(record.key.unwrap()).or_default();
        if ids.last() != Some(&id) {
            ids.push(id);
        }
    }
    for key in 0..KEYS {
        let expected: Vec<String> = (0..batches).map(|batch| format!("dlv_{:032x}", batch * KEYS + key)).collect();
        assert_eq!(by_key[&format!("key-{key}")], expected, "key-{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_leader_goes_and_when_all_brokers_are_away() {
    let [mut first, mut second] = tokio::task::spawn_blocking(|| Kafka::start_two().unwrap()).await.unwrap();
    let brokers = [first.plain(), second.plain()];
    let output = connect(&[&brokers[0], &brokers[1]], vec![], TIMEOUT).await;

    create(&brokers[0], "replicated", 4, 2, &[]).await;
    let (words, ()) = through(&output, "replicated", async {
        tokio::task::spawn_blocking(move || second.kill().unwrap()).await.unwrap();
    })
    .await;
    assert!(words.contains("delivered") && !words.contains("rejected") && !words.contains("misconfigured"), "{words:?}");
    is_whole(&brokers[0], "replicated", 24).await;

    create(&brokers[0], "single", 2, 1, &[]).await;
    let (words, first) = through(&output, "single", async {
        first.kill().unwrap();
        // Until it is known to be away: an attempt that begins now says so, and sends nothing.
        while deliver_one(&*output, parcel(1, &message("replicated", &[]))).await.word() != "down" {}
        let again = move || {
            first.start_again().unwrap();
            first
        };
        tokio::task::spawn_blocking(again).await.unwrap()
    })
    .await;
    assert!(words.contains("delivered") && !words.contains("rejected") && !words.contains("misconfigured"), "{words:?}");
    is_whole(&first.plain(), "single", 24).await;
}
