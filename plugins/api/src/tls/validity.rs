//! From when until when a certificate is valid: the one field of it that rustls does not tell.
//!
//! Reads DER (X.690) as far as `notAfter` of an X.509 certificate (RFC 5280, section 4.1) and no further; proves nothing.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The last moment at which the certificate is valid, milliseconds since 1970; `None` if that cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    validity(certificate).map(|(_, last)| last)
}

/// The first and the last moment at which a certificate (DER) is valid, milliseconds since 1970; `None` if that cannot be read.
pub fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = part(certificate, SEQUENCE)?;
    let (mut signed, _) = part(certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        (_, signed) = part(signed, VERSION)?;
    }
    let (_, signed) = part(signed, INTEGER)?; // serial number
    let (_, signed) = part(signed, SEQUENCE)?; // signature algorithm
    let (_, signed) = part(signed, SEQUENCE)?; // issuer
    let (validity, _) = part(signed, SEQUENCE)?;
    let (first, not_after) = time(validity)?;
    time(not_after).map(|(last, _)| (first, last))
}

/// The content of the first value, which has this tag, and what follows it.
fn part(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let length = if *first < 0x80 {
        usize::from(*first)
    } else {
        // The number of bytes that hold the length; four are enough for any certificate.
        let count = usize::from(first & 0x7f);
        let bytes = rest.get(..count).filter(|bytes| bytes.len() <= 4)?;
        rest = &rest[count..];
        bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    rest.split_at_checked(length)
}

/// A moment in one of the two forms of RFC 5280, section 4.1.2.5, and what follows it.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let generalized = der.first() == Some(&GENERALIZED_TIME);
    let (text, rest) = part(der, if generalized { GENERALIZED_TIME } else { UTC_TIME })?;
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = |at: usize| digits.get(at..at + 2).map(|two| i16::from(two[0] - b'0') * 10 + i16::from(two[1] - b'0'));
    let (year, month) = if generalized {
        (number(0)? * 100 + number(2)?, 4)
    } else {
        let short = number(0)?;
        (if short < 50 { 2000 + short } else { 1900 + short }, 2)
    };
    let field = |nth: usize| number(month + 2 * nth).map(|n| n as i8);
    let at = DateTime::new(year, field(0)?, field(1)?, field(2)?, field(3)?, field(4)?, 0).ok()?;
    Some((TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(1999, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year, 3, 2);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_last_moment_is_read_in_both_forms() {
        for (year, expected) in
            [(1999, "1999-03-02T00:00:00Z"), (2031, "2031-03-02T00:00:00Z"), (2049, "2049-03-02T00:00:00Z"), (2999, "2999-03-02T00:00:00Z")]
        {
            let expected: jiff::Timestamp = expected.parse().unwrap();
            assert_eq!(not_after(&certificate(year)), Some(expected.as_millisecond()), "{year}");
        }
    }

    #[test]
    fn a_piece_of_a_certificate_has_no_end() {
        let whole = certificate(2031);
        assert!((0..150).all(|length| not_after(&whole[..length]).is_none()));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(at in 0usize..300, byte: u8, bytes: Vec<u8>) {
            not_after(&bytes);
            let mut broken = certificate(2031);
            let at = at % broken.len();
            broken[at] = byte;
            not_after(&broken);
        }
    }
}
