//! `Content-Encoding`: a proven body as it was before its sender compressed it, within its bounds (decision 17).
//!
//! Never: looked at before the proof, which is over the bytes as they came; what cannot be decoded is kept as it came (L2).

use super::answer::Refuse;
use super::body::Reserved;
use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::io::Read;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// A zlib stream; some send one without its wrapping.
    Deflate,
}

/// The one that the headers name; `None`: none, another, or several.
fn named(headers: &HeaderMap) -> Option<Coding> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (all.next()?, all.next());
    let word = first.to_str().ok().filter(|_| second.is_none())?.trim();
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("gzip") || is("x-gzip") { Some(Coding::Gzip) } else { is("deflate").then_some(Coding::Deflate) }
}

/// The body without its compression; `None` where it has none that is known, or does not hold what it says.
///
/// # Errors
/// It has more than `most` bytes then, or all bodies together more than `budget`.
pub(super) fn decoded(
    headers: &HeaderMap,
    body: &[u8],
    most: usize,
    reserved: &mut Reserved,
    budget: usize,
) -> Result<Option<Bytes>, Refuse> {
    let Some(coding) = named(headers) else { return Ok(None) };
    let inflated = match coding {
        Coding::Gzip => inflate(MultiGzDecoder::new(body), most, reserved, budget)?,
        Coding::Deflate => match inflate(ZlibDecoder::new(body), most, reserved, budget)? {
            None => inflate(DeflateDecoder::new(body), most, reserved, budget)?,
            whole => whole,
        },
    };
    Ok(inflated)
}

/// Everything that comes; `None` where it breaks off.
fn inflate(from: impl Read, most: usize, reserved: &mut Reserved, budget: usize) -> Result<Option<Bytes>, Refuse> {
    let (mut from, mut bytes, mut some) = (from, vec![], vec![0; 16 << 10]);
    loop {
        let count = match from.read(&mut some) {
            Ok(0) => return Ok(Some(bytes.into())),
            Ok(count) => count,
            Err(_) => return Ok(None),
        };
        if bytes.len() + count > most {
            return Err(Refuse::TooLarge(most));
        }
        if !reserved.take(count, budget) {
            return Err(Refuse::NoBudget);
        }
        bytes.extend_from_slice(&some[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Budget;
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::io::Write;
    use std::sync::Arc;

    const MOST: usize = 10_000;

    fn of(coding: &str, body: &[u8]) -> Result<Option<Bytes>, Refuse> {
        let mut headers = HeaderMap::new();
        for one in coding.split('|').filter(|one| !one.is_empty()) {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(one).unwrap());
        }
        decoded(&headers, body, MOST, &mut Arc::<Budget>::default().open(), 2 * MOST)
    }

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![], Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(vec![], Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_body_of_a_known_coding_is_decoded() {
        for (coding, body) in [
            ("gzip", gzip(b"abc")),
            ("GZIP", gzip(b"abc")),
            ("x-gzip", gzip(b"abc")),
            ("deflate", zlib(b"abc")),
            ("deflate", deflate(b"abc")),
        ] {
            assert_eq!(of(coding, &body), Ok(Some(Bytes::from_static(b"abc"))), "{coding}");
        }
        assert_eq!(of("gzip", &[gzip(b"ab"), gzip(b"c")].concat()), Ok(Some(Bytes::from_static(b"abc"))), "several members");
    }

    #[test]
    fn another_or_a_broken_one_is_left_as_it_is() {
        let body = gzip(b"abc");
        for coding in ["", "identity", "br", "zstd", "gzip, gzip", "gzip|gzip"] {
            assert_eq!(of(coding, &body), Ok(None), "{coding}");
        }
        assert_eq!(of("gzip", b"{}"), Ok(None));
        assert_eq!(of("gzip", &body[..body.len() - 1]), Ok(None));
        assert_eq!(of("deflate", b"{\"plain\":1}"), Ok(None));
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        assert_eq!(of("gzip", &gzip(&vec![b'x'; MOST])).map(|body| body.map(|body| body.len())), Ok(Some(MOST)));
        assert_eq!(of("gzip", &gzip(&vec![b'x'; 100 * MOST])), Err(Refuse::TooLarge(MOST)));
        assert_eq!(of("deflate", &zlib(&vec![b'x'; MOST + 1])), Err(Refuse::TooLarge(MOST)));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let bomb = gzip(&vec![b'x'; MOST]);
        assert_eq!(decoded(&headers, &bomb, MOST, &mut Arc::<Budget>::default().open(), MOST / 2), Err(Refuse::NoBudget));
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back_and_noise_breaks_nothing(body in prop::collection::vec(any::<u8>(), 0..500)) {
            prop_assert_eq!(of("gzip", &gzip(&body)), Ok(Some(Bytes::from(body.clone()))));
            prop_assert_eq!(of("deflate", &zlib(&body)), Ok(Some(Bytes::from(body.clone()))));
            prop_assert!(of("gzip", &body).is_ok());
            prop_assert!(of("deflate", &body).is_ok());
        }
    }
}
