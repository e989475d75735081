//! gzip of what is sent, and of answers: both within bounds.
//!
//! The same bytes give the same gzip at every attempt (no time stands in it), so a signature over what is sent can be made anew.
//! An answer is inflated up to its cap and no further, whatever it claims: a bomb costs its cap (L6).

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::io::{Read, Write};

/// The bytes as gzip (RFC 1952).
pub fn compress(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4 + 64), Compression::default());
    // A vector takes everything; if it ever did not, `finish` would say so, and the bytes go out as they are only then.
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.map_or_else(|_| Bytes::copy_from_slice(plain), Bytes::from)
}

/// What the start of a gzip holds, at most `most` bytes, and whether that is all of it. What cannot be read ends it.
pub fn inflate(packed: &[u8], most: usize) -> (Bytes, bool) {
    let mut plain = vec![];
    // One byte more says whether there is more.
    let mut reader = MultiGzDecoder::new(packed).take(most as u64 + 1);
    let whole = reader.read_to_end(&mut plain).is_ok() && plain.len() <= most;
    plain.truncate(most);
    (plain.into(), whole)
}

/// Whether an answer's body is gzip and nothing else.
pub(super) fn is_gzip(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let first = all.next().and_then(|value| value.to_str().ok()).map(str::trim);
    all.next().is_none() && first.is_some_and(|word| word.eq_ignore_ascii_case("gzip") || word.eq_ignore_ascii_case("x-gzip"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bomb_is_inflated_to_the_cap_alone() {
        let bomb = compress(&vec![b'x'; 50 << 20]);
        assert!(bomb.len() < 100_000);
        let (plain, whole) = inflate(&bomb, 16 * 1024);
        assert_eq!((plain.len(), whole), (16 * 1024, false));
    }

    #[test]
    fn what_breaks_off_is_kept_up_to_there() {
        let packed = compress(b"fine");
        assert_eq!(inflate(&packed, 4), ("fine".into(), true));
        assert_eq!(inflate(&packed, 3), ("fin".into(), false));
        assert!(!inflate(&packed[..packed.len() - 2], 100).1);
        assert_eq!(inflate(b"no gzip at all", 100), (Bytes::new(), false));
    }

    #[test]
    fn only_gzip_alone_is_taken_apart() {
        let says = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(value));
            }
            is_gzip(&headers)
        };
        assert!(says(&["gzip"]) && says(&["GZIP"]) && says(&["x-gzip"]));
        assert!(!says(&[]) && !says(&["br"]) && !says(&["gzip, gzip"]) && !says(&["gzip", "gzip"]));
    }

    proptest! {
        #[test]
        fn what_went_in_comes_out_and_always_the_same(plain: Vec<u8>) {
            let packed = compress(&plain);
            prop_assert_eq!(&packed, &compress(&plain));
            prop_assert_eq!(inflate(&packed, plain.len()), (Bytes::from(plain), true));
        }

        #[test]
        fn no_bytes_are_a_panic_or_more_than_the_cap(packed: Vec<u8>, most in 0usize..64) {
            prop_assert!(inflate(&packed, most).0.len() <= most);
        }
    }
}
