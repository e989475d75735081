//! What is delivered: orders of about 1 KB, each delivery with an id of its own. Made before the clock runs, the same for both sides.

use bytes::Bytes;
use std::fmt::Write;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// When the events were received, milliseconds since 1970.
pub const RECEIVED_AT: i64 = 1_772_445_600_000;
/// The content type of their bodies.
pub const CONTENT_TYPE: &str = "application/json";
/// Bodies that differ; deliveries have them in turn.
const SAMPLES: usize = 1_000;
/// About so many bytes each.
const SIZE: usize = 1_024;

/// A rendered message's content.
#[derive(Debug)]
pub struct Sample {
    /// Its place among the others.
    pub number: usize,
    /// The shop, which keeps order where the far side knows one.
    pub key: String,
    /// JSON, one line.
    pub body: String,
    /// The same bytes, for clients that share them.
    pub bytes: Bytes,
}

/// One delivery.
#[derive(Debug)]
pub struct Delivery {
    /// Its id, which no other has.
    pub id: String,
    /// Its event's id.
    pub event: String,
    /// What it says.
    pub sample: Arc<Sample>,
}

/// Deliveries as they go out together.
pub type Batches = Vec<Vec<Delivery>>;

/// All contents.
pub fn samples() -> &'static [Arc<Sample>] {
    static ALL: LazyLock<Vec<Arc<Sample>>> = LazyLock::new(|| (0..SAMPLES).map(|number| Arc::new(sample(number))).collect());
    &ALL
}

fn sample(number: usize) -> Sample {
    let mut body = format!(r#"{{"number":{number},"id":"ord_{number:012}","status":"paid","currency":"EUR","total":1500.5,"items":["#);
    for item in 0.. {
        let comma = if item == 0 { "" } else { "," };
        // Writing to a text cannot fail.
        let _ = write!(body, r#"{comma}{{"sku":"SKU-{item:06}","title":"Candle no. {item}","quantity":{},"price":3.25}}"#, item % 7 + 1);
        if body.len() + 40 >= SIZE {
            break;
        }
    }
    body += "]}";
    Sample { number, key: format!("shop-{number}"), bytes: Bytes::from(body.clone()), body }
}

/// The deliveries with these numbers, so many together.
pub fn batches(numbers: Range<u64>, size: usize) -> Batches {
    let all = samples();
    let deliveries: Vec<Delivery> = numbers
        .map(|number| Delivery {
            id: format!("dlv_{number:032x}"),
            event: format!("evt_{number:032x}"),
            sample: Arc::clone(&all[number as usize % all.len()]),
        })
        .collect();
    let mut deliveries = deliveries.into_iter().peekable();
    let mut batches = vec![];
    while deliveries.peek().is_some() {
        batches.push(deliveries.by_ref().take(size).collect());
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_delivery_is_there_once_in_order_with_a_body_of_about_a_kilobyte() {
        let batches = batches(5..1_205, 500);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
        let ids: Vec<&str> = batches.iter().flatten().map(|delivery| delivery.id.as_str()).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
        for sample in samples() {
            assert!(sample.body.len().abs_diff(SIZE) < 50, "{}", sample.body.len());
            assert!(serde_json::from_str::<serde_json::Value>(&sample.body).is_ok() && !sample.body.contains('\n'));
        }
    }
}
