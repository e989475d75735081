//! The sample event: an order as a shop would send it.

use std::fmt::Write;

/// Where the time of sending goes: 20 digits, so that it can be replaced in place.
pub const SENT_KEY: &[u8] = b"\"sent_ns\":\"";
/// How many.
pub const DIGITS: usize = 20;

/// An order of about `size` bytes whose total is above 1,000. With `timed` its first field is the (zero) time of sending.
pub fn order(size: usize, timed: bool) -> Vec<u8> {
    let mut text = String::from("{");
    if timed {
        let _ = write!(text, r#""sent_ns":"{:0DIGITS$}","#, 0);
    }
    text += r#""number":7,"id":"ord_000000000007","status":"paid","currency":"EUR","total":1500.5,"#;
    text += r#""customer":{"id":"cus_7","name":"Ann de Vries","email":"ann@shop.example","country":"NL"},"items":["#;
    for item in 0.. {
        let comma = if item == 0 { "" } else { "," };
        let (quantity, price) = (item % 7 + 1, item % 90 + 3);
        let _ = write!(
            text,
            r#"{comma}{{"sku":"SKU-{item:06}","title":"Candle no. {item}","quantity":{quantity},"price":{price}.25,"warehouse":"NL","taxable":true}}"#
        );
        if text.len() + 60 >= size {
            break;
        }
    }
    text += "]}";
    text.into_bytes()
}

/// Where the digits of the time of sending stand in a body, if it has them.
pub fn sent_at(body: &[u8]) -> Option<usize> {
    let key = body.windows(SENT_KEY.len()).position(|window| window == SENT_KEY)?;
    (key + SENT_KEY.len() + DIGITS < body.len()).then_some(key + SENT_KEY.len())
}

/// Writes a number as 20 digits over `place`.
pub fn put_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_about_the_size_asked_for_and_tells_when_it_was_sent() {
        for size in [400, 1024, 16_384] {
            let mut body = order(size, true);
            assert!(body.len().abs_diff(size) < 130, "{size}: {}", body.len());
            let at = sent_at(&body).unwrap();
            put_digits(&mut body[at..at + DIGITS], 42);
            assert!(body.starts_with(b"{\"sent_ns\":\"00000000000000000042\","), "{}", String::from_utf8_lossy(&body));
        }
        assert_eq!(sent_at(&order(1024, false)), None);
        assert_eq!(sent_at(b"{\"sent_ns\":\"12"), None);
    }
}
