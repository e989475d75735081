//! `Content-Encoding`: a proven body as it was before its sender compressed it, within its bounds (decision 17).
//!
//! Never: looked at before the proof, which is over the bytes as they came; what cannot be decoded is kept as it came (L2).

use super::answer::Refuse;
use super::body::Reserved;
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use std::io::{self, Read};

/// The longest window of zstd, as a power of two: what RFC 8878 asks every reader for. It is memory that a body of a few bytes may ask for.
const ZSTD_WINDOW: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// A zlib stream; some send one without its wrapping.
    Deflate,
    Brotli,
    Zstd,
}

/// The one that the headers name; `None`: none, another, or several.
fn named(headers: &HeaderMap) -> Option<Coding> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (all.next()?, all.next());
    let word = first.to_str().ok().filter(|_| second.is_none())?.trim();
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    let known =
        [("gzip", Coding::Gzip), ("x-gzip", Coding::Gzip), ("deflate", Coding::Deflate), ("br", Coding::Brotli), ("zstd", Coding::Zstd)];
    known.into_iter().find(|(name, _)| is(name)).map(|(_, coding)| coding)
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
        Coding::Brotli => inflate(Brotli::new(body), most, reserved, budget)?,
        Coding::Zstd => match zstd(body) {
            Ok(decoder) => inflate(decoder, most, reserved, budget)?,
            Err(_) => None,
        },
    };
    Ok(inflated)
}

fn zstd(body: &[u8]) -> io::Result<zstd::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW)?;
    Ok(decoder)
}

/// A brotli stream (RFC 7932; windows of more than its 16 MiB are none) that is all of the body: what follows its end would be lost.
struct Brotli<'b> {
    body: &'b [u8],
    at: usize,
    state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>,
    ended: bool,
}

impl<'b> Brotli<'b> {
    fn new(body: &'b [u8]) -> Self {
        let state = BrotliState::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
        Brotli { body, at: 0, state: Box::new(state), ended: false }
    }
}

impl Read for Brotli<'_> {
    fn read(&mut self, some: &mut [u8]) -> io::Result<usize> {
        if self.ended || some.is_empty() {
            return Ok(0);
        }
        let (mut left, mut room, mut count, mut total) = (self.body.len() - self.at, some.len(), 0, 0);
        let went = BrotliDecompressStream(&mut left, &mut self.at, self.body, &mut room, &mut count, some, &mut total, &mut self.state);
        match went {
            BrotliResult::ResultSuccess if left == 0 => self.ended = true,
            BrotliResult::NeedsMoreOutput => {}
            BrotliResult::ResultSuccess | BrotliResult::NeedsMoreInput | BrotliResult::ResultFailure => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(count)
    }
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

    fn brotli(body: &[u8]) -> Vec<u8> {
        let mut packed = vec![];
        brotli::CompressorWriter::new(&mut packed, 4096, 5, 22).write_all(body).unwrap();
        packed
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        zstd::encode_all(body, 3).unwrap()
    }

    #[test]
    fn a_body_of_a_known_coding_is_decoded() {
        for (coding, body) in [
            ("gzip", gzip(b"abc")),
            ("GZIP", gzip(b"abc")),
            ("x-gzip", gzip(b"abc")),
            ("deflate", zlib(b"abc")),
            ("deflate", deflate(b"abc")),
            ("br", brotli(b"abc")),
            ("zstd", zstd(b"abc")),
        ] {
            assert_eq!(of(coding, &body), Ok(Some(Bytes::from_static(b"abc"))), "{coding}");
        }
        assert_eq!(of("gzip", &[gzip(b"ab"), gzip(b"c")].concat()), Ok(Some(Bytes::from_static(b"abc"))), "several members");
    }

    #[test]
    fn another_or_a_broken_one_is_left_as_it_is() {
        let body = gzip(b"abc");
        for coding in ["", "identity", "br", "zstd", "compress", "gzip, gzip", "gzip|gzip"] {
            assert_eq!(of(coding, &body), Ok(None), "{coding}");
        }
        assert_eq!(of("gzip", b"{}"), Ok(None));
        assert_eq!(of("gzip", &body[..body.len() - 1]), Ok(None));
        for coding in ["deflate", "br", "zstd"] {
            assert_eq!(of(coding, b"{\"plain\":1}"), Ok(None), "{coding}");
        }
        for (coding, body) in [("br", brotli(b"abc")), ("zstd", zstd(b"abc"))] {
            assert_eq!(of(coding, &body[..body.len() - 1]), Ok(None), "{coding}, cut");
            assert_eq!(of(coding, &[&body[..], b"more"].concat()), Ok(None), "{coding}, and more");
        }
    }

    #[test]
    fn a_window_is_bounded_whatever_the_body_asks_for() {
        let packed = |window: u32| {
            let mut encoder = zstd::Encoder::new(vec![], 3).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(b"abc").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(of("zstd", &packed(23)), Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(of("zstd", &packed(27)), Ok(None));
        let mut large = vec![];
        let params = brotli::enc::BrotliEncoderParams { large_window: true, lgwin: 30, ..Default::default() };
        brotli::BrotliCompress(&mut &b"abc"[..], &mut large, &params).unwrap();
        assert_eq!(of("br", &large), Ok(None));
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        assert_eq!(of("gzip", &gzip(&vec![b'x'; MOST])).map(|body| body.map(|body| body.len())), Ok(Some(MOST)));
        assert_eq!(of("gzip", &gzip(&vec![b'x'; 100 * MOST])), Err(Refuse::TooLarge(MOST)));
        assert_eq!(of("deflate", &zlib(&vec![b'x'; MOST + 1])), Err(Refuse::TooLarge(MOST)));
        let bomb = vec![b'x'; 10_000 * MOST];
        for (coding, packed) in [("br", brotli(&bomb)), ("zstd", zstd(&bomb))] {
            assert!(packed.len() < MOST, "{coding}: {}", packed.len());
            assert_eq!(of(coding, &packed), Err(Refuse::TooLarge(MOST)), "{coding}");
        }
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
            prop_assert_eq!(of("br", &brotli(&body)), Ok(Some(Bytes::from(body.clone()))));
            prop_assert_eq!(of("zstd", &zstd(&body)), Ok(Some(Bytes::from(body.clone()))));
        }

        #[test]
        fn nothing_makes_it_fail_or_grow_beyond_its_bound(
            body in prop::collection::vec(any::<u8>(), 0..300),
            coding in prop::sample::select(vec!["gzip", "deflate", "br", "zstd"]),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            times in 1_usize..200,
        ) {
            let plain = body.repeat(times);
            let mut packed = match coding { "gzip" => gzip(&plain), "deflate" => zlib(&plain), "br" => brotli(&plain), _ => zstd(&plain) };
            for (at, bits) in flips {
                let at = at.index(packed.len());
                packed[at] ^= bits;
            }
            for given in [&packed, &body] {
                match of(coding, given) {
                    Ok(inflated) => prop_assert!(inflated.is_none_or(|inflated| inflated.len() <= MOST)),
                    Err(why) => prop_assert_eq!(why, Refuse::TooLarge(MOST)),
                }
            }
        }
    }
}
