//! Plans and messages as bytes. A plan: the targets' numbers, why some could not be decided, and the keys of those that are kept in
//! order. A message: a mark, its CRC-32, its own bytes; one without the mark was written before there were checksums.
//!
//! Never panics on what it reads: bytes that [`encode`] did not write are `None`. The form is
//! `version, count, target…, count, (place, length, reason)…`, each number a varint (7 bits a byte, low first); version 2 goes on with
//! `count, (place, key: 8 bytes, high first)…`, and version 3 after that with `count, (place, configuration: 4 bytes, high first)…`, and version 4 with
//! the place and the number of the secrets by which its event was proven, a byte each. A plan of which nothing is known of these has an earlier version, as before they were kept.

use crate::model::{ConfigVersion, Message, OrderKey, Plan, SecretPlace};

const VERSION: u8 = 1;
const WITH_ORDER: u8 = 2;
const WITH_CONFIG: u8 = 3;
const WITH_SECRET: u8 = 4;

/// The first byte of a message with a checksum; one without begins with `{`.
const SEALED: u8 = 1;

/// A message with its checksum.
pub fn seal(message: &Message) -> Vec<u8> {
    let bytes = message.encode();
    [&[SEALED][..], &crc32fast::hash(&bytes).to_le_bytes(), &bytes].concat()
}

/// Reads a message; `None`: its bytes are not those that were kept.
pub fn unseal(bytes: &[u8]) -> Option<Message> {
    let Some(rest) = bytes.strip_prefix(&[SEALED]) else { return Message::decode(bytes) };
    let (crc, message) = rest.split_first_chunk()?;
    (crc32fast::hash(message) == u32::from_le_bytes(*crc)).then(|| Message::decode(message))?
}

/// A plan in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanBlob {
    /// The journal's numbers of the targets.
    pub targets: Vec<i64>,
    /// Places in `targets` and why each could not be decided.
    pub failed: Vec<(usize, String)>,
    /// Places in `targets` of those that are kept in order, and their keys.
    pub ordered: Vec<(usize, OrderKey)>,
    /// From which place in `targets` on they are of which configuration.
    pub versions: Vec<(usize, ConfigVersion)>,
    /// By which of several secrets its event was proven.
    pub signed_with: Option<SecretPlace>,
}

impl PlanBlob {
    /// Under which configuration the target of this number was planned; `None`: not known, or not planned.
    pub fn version_of(&self, target: i64) -> Option<ConfigVersion> {
        self.version_at(self.targets.iter().position(|planned| *planned == target)?)
    }

    /// As [`Plan::version_at`].
    pub fn version_at(&self, place: usize) -> Option<ConfigVersion> {
        self.versions.iter().rev().find(|(from, _)| *from <= place).map(|(_, version)| *version)
    }
}

/// Writes a plan after what `out` holds; `targets` are the numbers of its targets, `signed_with` is its event's.
pub fn encode(targets: impl ExactSizeIterator<Item = i64>, plan: &Plan, signed_with: Option<SecretPlace>, out: &mut Vec<u8>) {
    let Plan { failed, ordered, versions, .. } = plan;
    let version = match (ordered.is_empty(), versions.is_empty(), signed_with) {
        (_, _, Some(_)) => WITH_SECRET,
        (_, false, None) => WITH_CONFIG,
        (false, true, None) => WITH_ORDER,
        (true, true, None) => VERSION,
    };
    out.push(version);
    put(targets.len() as u64, out);
    targets.for_each(|target| put(target as u64, out));
    put(failed.len() as u64, out);
    for (place, why) in failed {
        put(*place as u64, out);
        put(why.len() as u64, out);
        out.extend_from_slice(why.as_bytes());
    }
    if version >= WITH_ORDER {
        put(ordered.len() as u64, out);
        for (place, OrderKey(key)) in ordered {
            put(*place as u64, out);
            out.extend_from_slice(&key.to_be_bytes());
        }
    }
    if version >= WITH_CONFIG {
        put(versions.len() as u64, out);
        for (place, ConfigVersion(version)) in versions {
            put(*place as u64, out);
            out.extend_from_slice(&version.to_be_bytes());
        }
    }
    out.extend(signed_with.into_iter().flat_map(|SecretPlace { position, of }| [position, of]));
}

/// Reads a plan.
pub fn decode(bytes: &[u8]) -> Option<PlanBlob> {
    let (version, mut rest) = bytes.split_first().filter(|(version, _)| (VERSION..=WITH_SECRET).contains(*version))?;
    // Each entry takes a byte at least, so a count beyond what is left is a lie.
    let count = |rest: &mut &[u8]| usize::try_from(take(rest)?).ok().filter(|count| *count <= rest.len());
    let mut plan = PlanBlob::default();
    for _ in 0..count(&mut rest)? {
        plan.targets.push(i64::try_from(take(&mut rest)?).ok()?);
    }
    for _ in 0..count(&mut rest)? {
        let place = usize::try_from(take(&mut rest)?).ok().filter(|place| *place < plan.targets.len())?;
        let length = count(&mut rest)?;
        let (why, left) = rest.split_at_checked(length)?;
        plan.failed.push((place, std::str::from_utf8(why).ok()?.to_owned()));
        rest = left;
    }
    if *version >= WITH_ORDER {
        for _ in 0..count(&mut rest)? {
            let place = usize::try_from(take(&mut rest)?).ok().filter(|place| *place < plan.targets.len())?;
            let (key, left) = rest.split_first_chunk()?;
            plan.ordered.push((place, OrderKey(u64::from_be_bytes(*key))));
            rest = left;
        }
    }
    if *version >= WITH_CONFIG {
        for _ in 0..count(&mut rest)? {
            // A plan without targets has one too.
            let place = usize::try_from(take(&mut rest)?).ok().filter(|place| *place <= plan.targets.len())?;
            let (config, left) = rest.split_first_chunk()?;
            plan.versions.push((place, ConfigVersion(u32::from_be_bytes(*config))));
            rest = left;
        }
    }
    if *version >= WITH_SECRET {
        let ([position, of], left) = rest.split_first_chunk()?;
        plan.signed_with = Some(SecretPlace { position: *position, of: *of });
        rest = left;
    }
    rest.is_empty().then_some(plan)
}

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plan_reads_back(targets in prop::collection::vec(1..=i64::MAX, 0..9), failed in prop::collection::vec((0..9usize, ".{0,40}"), 0..4),
            ordered in prop::collection::vec((0..9usize, any::<u64>().prop_map(OrderKey)), 0..4),
            versions in prop::collection::vec((0..9usize, any::<u32>().prop_map(ConfigVersion)), 0..3), secret in prop::option::of((1..9usize, 2..9usize))) {
            let signed_with = secret.and_then(|(place, of)| SecretPlace::of(place, of));
            let failed: Vec<_> = failed.into_iter().filter(|(place, _)| *place < targets.len()).collect();
            let ordered: Vec<_> = ordered.into_iter().filter(|(place, _)| *place < targets.len()).collect();
            let versions: Vec<_> = versions.into_iter().filter(|(place, _)| *place <= targets.len()).collect();
            let (mut bytes, plan) = (vec![], Plan { failed, ordered, versions, ..Plan::default() });
            encode(targets.iter().copied(), &plan, signed_with, &mut bytes);
            let Plan { failed, ordered, versions, .. } = plan;
            prop_assert_eq!(decode(&bytes), Some(PlanBlob { targets, failed, ordered, versions, signed_with }));
        }

        #[test]
        fn no_bytes_make_it_panic_or_allocate_beyond_them(bytes in prop::collection::vec(any::<u8>(), 0..64), version in 0..6u8) {
            if let Some(plan) = decode(&[&[version][..], &bytes].concat()) {
                prop_assert!(plan.targets.len() + plan.ordered.len() + plan.versions.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_message_reads_back_and_no_changed_byte_passes() {
        let message = Message { payload: Some("{\"total\":1}".into()), ..Message::default() };
        let sealed = seal(&message);
        assert_eq!(unseal(&sealed).as_ref(), Some(&message));
        assert_eq!(unseal(&message.encode()).as_ref(), Some(&message), "from before there were checksums");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 2;
            assert_eq!(unseal(&damaged), None, "byte {at}");
            assert_eq!(unseal(&sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_plan_of_a_few_targets_is_a_few_bytes() {
        let mut bytes = vec![];
        encode([1, 200].into_iter(), &Plan { failed: vec![(1, "no".into())], ..Plan::default() }, None, &mut bytes);
        assert_eq!(bytes, [1, 2, 1, 0xc8, 1, 1, 1, 2, b'n', b'o']);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        bytes.clear();
        encode([].into_iter(), &Plan { versions: vec![(0, ConfigVersion(0x0102_0304))], ..Plan::default() }, None, &mut bytes);
        assert_eq!(bytes, [3, 0, 0, 0, 1, 0, 1, 2, 3, 4], "an event that nobody wants knows its configuration too");
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[3, 0, 0]), None);
        assert_eq!(decode(&[4, 0, 0, 0, 0]), None);
    }
}
