//! Decimal numbers compared on their digits: `1.10` is `1.1`, `1e2` is `100`, and 23 digits stay 23 digits. Never through
//! a float, never with memory for the number's size (`1e999999999` costs nothing).

use std::cmp::Ordering;

/// A number as JSON writes it, taken apart. Borrowed: comparing allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct Decimal<'a> {
    negative: bool,
    /// Digits before and after the point, without the zeros that mean nothing; both empty for zero.
    whole: &'a [u8],
    fraction: &'a [u8],
    /// Where the point stands: the value is 0.ddd × 10^place.
    place: i64,
}

/// Exponents beyond this are taken as this: nobody's amount has a quintillion digits.
const EXPONENT_MAX: i64 = 1_000_000_000_000_000_000;

impl<'a> Decimal<'a> {
    /// Reads a number in JSON's form; `None` for any other text.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        Some(normal(negative, whole.as_bytes(), fraction.as_bytes(), exponent))
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.fraction).copied()
    }

    /// Which is the greater, exactly.
    pub fn compare(&self, other: &Decimal<'_>) -> Ordering {
        let sign = |d: &Decimal<'_>| match (d.whole.is_empty() && d.fraction.is_empty(), d.negative) {
            (true, _) => 0,
            (_, true) => -1,
            _ => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            let size = self.place.cmp(&other.place).then_with(|| self.digits().cmp(other.digits()));
            if self.negative { size.reverse() } else { size }
        })
    }
}

/// Zeros before the first digit and after the last one mean nothing; they move the point.
fn normal<'a>(negative: bool, whole: &'a [u8], fraction: &'a [u8], exponent: i64) -> Decimal<'a> {
    let leading = |part: &[u8]| part.iter().take_while(|b| **b == b'0').count();
    let trailing = |part: &[u8]| part.iter().rev().take_while(|b| **b == b'0').count();
    let whole = &whole[leading(whole)..];
    let (fraction, lost) = if whole.is_empty() {
        let zeros = leading(fraction);
        (&fraction[zeros..], zeros)
    } else {
        (fraction, 0)
    };
    let place = exponent + whole.len() as i64 - lost as i64;
    let fraction = &fraction[..fraction.len() - trailing(fraction)];
    let whole = if fraction.is_empty() { &whole[..whole.len() - trailing(whole)] } else { whole };
    if whole.is_empty() && fraction.is_empty() {
        return Decimal { negative: false, whole, fraction, place: 0 };
    }
    Decimal { negative, whole, fraction, place }
}

fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let size = digits.trim_start_matches('0');
    let size = if size.len() > 18 { EXPONENT_MAX } else { size.parse().unwrap_or(0) };
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compare(a: &str, b: &str) -> Ordering {
        Decimal::parse(a).unwrap().compare(&Decimal::parse(b).unwrap())
    }

    #[test]
    fn digits_decide_and_not_the_way_they_are_written() {
        let equal =
            [("1.10", "1.1"), ("1e2", "100"), ("100", "1.0E+2"), ("0", "-0.00"), ("0.001", "1e-3"), ("12300", "1.23e4"), ("0e9", "0")];
        for (a, b) in equal {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
        let less = [
            ("999.99", "1000"),
            ("-2", "-1"),
            ("-1", "0.5"),
            ("9", "10"),
            ("0.09", "0.1"),
            // A float holds these as one.
            ("9007199254740992", "9007199254740993"),
            ("0.1", "0.10000000000000000001"),
            ("12345678901234567890123", "12345678901234567890124"),
            ("1e999999999", "1e1000000000"),
            ("-1e400", "1e-400"),
        ];
        for (a, b) in less {
            assert_eq!(compare(a, b), Ordering::Less, "{a} {b}");
            assert_eq!(compare(b, a), Ordering::Greater, "{b} {a}");
        }
    }

    #[test]
    fn what_json_does_not_write_is_no_number() {
        for text in ["", "-", ".5", "1.", "01", "+1", "1e", "1e+", "0x10", "1_000", "NaN", " 1", "1 ", "--1", "1.2.3", "١"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }

    /// The value times 10^40, as a whole number.
    fn scaled(negative: bool, digits: u64, exponent: i32) -> i128 {
        let size = i128::from(digits) * 10_i128.pow((exponent + 18) as u32);
        if negative { -size } else { size }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn comparing_agrees_with_whole_numbers(
            (n1, d1, e1) in (any::<bool>(), 0_u64..1_000_000_000, -18_i32..10),
            (n2, d2, e2) in (any::<bool>(), 0_u64..1_000_000_000, -18_i32..10),
            (near, pad) in (any::<bool>(), 0_usize..4),
        ) {
            // Half of the pairs are the same number, written in another way.
            let (n2, d2, e2) = if near && e1 > -18 && d1 < 100_000_000 { (n1, d1 * 10, e1 - 1) } else { (n2, d2, e2) };
            let written = |negative: bool, digits: u64, exponent: i32| {
                format!("{}{digits}.{}e{exponent}", if negative { "-" } else { "" }, "0".repeat(1 + pad))
            };
            let plain = |negative: bool, digits: u64, exponent: i32| {
                let sign = if negative { "-" } else { "" };
                if exponent >= 0 {
                    format!("{sign}{digits}{}", if digits == 0 { String::new() } else { "0".repeat(exponent as usize) })
                } else {
                    let padded = format!("{digits:0>width$}", width = exponent.unsigned_abs() as usize + 1);
                    let (whole, fraction) = padded.split_at(padded.len() - exponent.unsigned_abs() as usize);
                    format!("{sign}{whole}.{fraction}")
                }
            };
            let expected = scaled(n1, d1, e1).cmp(&scaled(n2, d2, e2));
            for a in [written(n1, d1, e1), plain(n1, d1, e1)] {
                for b in [written(n2, d2, e2), plain(n2, d2, e2)] {
                    prop_assert_eq!(compare(&a, &b), expected, "{} {}", a, b);
                }
            }
        }
    }
}
