//! Inputs: their parts, the events that are made of them, and cheap changes of what is kept.

use bytes::Bytes;
use switchyard::model::{Event, EventId, Headers, Timestamp};

/// The moment of everything that is tried.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Between two parts.
const LINE: &[u8] = b"\n---\n";

/// The parts of an input. What is missing is empty; the last one is all that is left.
pub fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = Some(input);
    std::array::from_fn(|nth| {
        let Some(whole) = rest else { return &[][..] };
        let line = if nth + 1 < N { whole.windows(LINE.len()).position(|window| window == LINE) } else { None };
        rest = line.map(|at| &whole[at + LINE.len()..]);
        line.map_or(whole, |at| &whole[..at])
    })
}

/// The same of an input that is text all through.
pub fn texts<const N: usize>(input: &[u8]) -> Option<[&str; N]> {
    let mut sound = true;
    let texts = parts::<N>(input).map(|part| {
        std::str::from_utf8(part).unwrap_or_else(|_| {
            sound = false;
            ""
        })
    });
    sound.then_some(texts)
}

/// An event with this body and nothing else.
pub fn event(body: &[u8]) -> Event {
    Event {
        id: EventId([7; 16]),
        source: "shop".into(),
        topic: "ORDER_PAID".into(),
        received_at: NOW,
        headers: Headers::default(),
        query: "".into(),
        body: Bytes::copy_from_slice(body),
        sender_id: None,
        signed_with: None,
    }
}

/// Chance that is the same every time (xorshift64*).
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Of a seed.
    pub fn new(seed: u64) -> Self {
        Chance(seed | 1)
    }

    /// Below `most`, which is at least 1.
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % most.max(1)
    }
}

/// A kept input with one to four changes: bytes lost, doubled, put elsewhere, replaced, or taken from another.
pub fn changed(input: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    const SIGNS: &[u8] = b"\0\n\r\t \"'#$%&()*+,-./0179:;<=>?@AZ[\\]^_`az{|}~\x7f\x80\xc3\xe2\xff";
    let mut bytes = input.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(24)).min(bytes.len());
        match chance.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece = bytes[at..end].to_vec();
                let to = chance.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            2 => bytes.insert(at, SIGNS[chance.below(SIGNS.len())]),
            3 if at < bytes.len() => bytes[at] = SIGNS[chance.below(SIGNS.len())],
            4 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            _ => {
                let from = chance.below(other.len() + 1);
                let piece = &other[from..(from + chance.below(40)).min(other.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
        }
    }
    bytes
}
