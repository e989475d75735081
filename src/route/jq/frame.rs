//! What goes between the pool and a worker: frames of a length (4 bytes, little-endian) and so many bytes.
//!
//! To the worker: [`LOAD`] id program, answered by [`OK`]; [`RUN`] id input, answered by [`OK`] and results or by what went wrong.

/// The largest frame to a worker: an event's envelope holds its body twice, escaped once.
pub const REQUEST_MAX: usize = 256 << 20;
/// Bytes of a program's id.
pub const ID: usize = 16;

pub const LOAD: u8 = b'L';
pub const RUN: u8 = b'R';

pub const OK: u8 = 0;
pub const PROGRAM_ERROR: u8 = 1;
pub const INPUT_ERROR: u8 = 2;
pub const STEPS: u8 = 3;
pub const TOO_MANY: u8 = 4;
pub const TOO_LARGE: u8 = 5;
pub const NOT_JSON: u8 = 6;

/// A frame of these parts.
pub fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(4 + length);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Texts one after the other, each with its length.
pub fn texts<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![];
    for text in texts {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text);
    }
    out
}

/// The texts of [`texts`]; `None` if that is not what it is.
pub fn split(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut out = vec![];
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        out.push(String::from_utf8(text.to_vec()).ok()?);
        bytes = rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_come_back_and_garbage_does_not_panic(list in proptest::collection::vec(".{0,20}", 0..5), garbage in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(split(&texts(list.iter().map(String::as_bytes))), Some(list));
            let _ = split(&garbage);
        }
    }
}
