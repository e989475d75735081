//! Rows of a journal whose bytes are any: they are read as what was written, or not at all.

use crate::input::parts;
use switchyard::journal::codec::{decode, encode, seal, unseal};
use switchyard::model::{Headers, Plan};

/// A plan's bytes, a message's, and those of headers.
pub fn journal_row(input: &[u8]) {
    let [plan, message, headers] = parts(input);
    if let Some(read) = decode(plan) {
        assert!(read.targets.len() + read.failed.len() + read.ordered.len() + read.versions.len() <= plan.len(), "more than its bytes say");
        let again = Plan { failed: read.failed.clone(), ordered: read.ordered.clone(), versions: read.versions.clone(), ..Plan::default() };
        let mut bytes = vec![];
        encode(read.targets.iter().copied(), &again, read.signed_with, &mut bytes);
        assert_eq!(decode(&bytes).as_ref(), Some(&read), "written again");
    }
    // As they are, and as if their checksum held.
    for read in [unseal(message), unseal(&[&[1][..], &crc(message), message].concat())].into_iter().flatten() {
        assert_eq!(unseal(&seal(&read)).as_ref(), Some(&read), "written again");
    }
    let block = Headers::from_block(headers.to_vec());
    let mut again = Headers::default();
    block.iter().for_each(|(name, value)| again.push(name, value));
    assert!(block.iter().eq(again.iter()), "written again");
}

/// CRC-32 as everybody has it, bit by bit.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    let crc = bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
    (!crc).to_le_bytes()
}
