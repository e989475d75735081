//! From parcels to objects: lines, grouped by where they lie, cut at [`Objects::max_bytes`](crate::config::Objects), compressed.
//!
//! Pure; a large batch takes its time, so it runs on a thread of its own. Never: changes the order of a folder's deliveries,
//! leaves one out without saying so.

use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use std::io::Write;
use switchyard_api::record::{one_line, record};
use switchyard_api::{Handle, Outcome, Parcel};

use crate::config::{Compress, Objects};
use crate::name;

/// An object, ready to go out.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub body: Bytes,
    /// Whose it is.
    pub handles: Vec<Handle>,
    /// Their delivery ids.
    pub deliveries: Vec<String>,
}

/// What became of parcels before anything was sent.
#[derive(Debug, Default)]
pub struct Packed {
    /// To be sent.
    pub objects: Vec<Object>,
    /// Will never be sent.
    pub refused: Vec<(Handle, Outcome)>,
}

/// The lines that go into one object.
struct Group<'a> {
    folder: String,
    parcels: Vec<&'a Parcel>,
    lines: Vec<u8>,
    digest: Sha256,
}

/// Packs.
pub fn pack(parcels: &[Parcel], how: &Objects) -> Packed {
    let mut packed = Packed::default();
    let mut open: Vec<Group<'_>> = vec![];
    for parcel in parcels {
        let folder = match name::folder(parcel, how.partition) {
            Ok(folder) => folder,
            Err(bad) => {
                packed.refused.push((parcel.handle, bad.outcome()));
                continue;
            }
        };
        let line = line(parcel);
        let place = open.iter().position(|group| group.folder == folder);
        let full = |group: &Group<'_>| (group.lines.len() + line.len()) as u64 > how.max_bytes.0;
        let place = match place {
            Some(place) if full(&open[place]) => {
                packed.objects.push(open.remove(place).close(how.compress));
                None
            }
            place => place,
        };
        let group = match place.and_then(|place| open.get_mut(place)) {
            Some(group) => group,
            None => {
                open.push(Group { folder, parcels: vec![], lines: vec![], digest: Sha256::new() });
                let Some(group) = open.last_mut() else { continue };
                group
            }
        };
        group.add(parcel, &line);
    }
    packed.objects.extend(open.into_iter().map(|group| group.close(how.compress)));
    packed
}

/// A delivery's line. Without `attempt`: a repeat has the same bytes.
fn line(parcel: &Parcel) -> String {
    parcel.message.text("line").map_or_else(|| record(parcel, None), |text| one_line(text.trim_end()).into_owned()) + "\n"
}

impl<'a> Group<'a> {
    fn add(&mut self, parcel: &'a Parcel, line: &str) {
        self.parcels.push(parcel);
        self.lines.extend_from_slice(line.as_bytes());
        // A line of one's own need not show whose it is; somebody who asks for it again gets another object.
        self.digest.update(parcel.delivery.as_bytes());
        self.digest.update(if parcel.replay { b"\x01" } else { b"\0" });
        self.digest.update(line);
    }

    fn close(self, compress: Compress) -> Object {
        let id = |parcel: Option<&&Parcel>| parcel.map_or("", |parcel| parcel.delivery.as_str()).to_owned();
        let (first, last) = (id(self.parcels.first()), id(self.parcels.last()));
        let (ending, body) = match compress {
            Compress::Gzip => ("ndjson.gz", gzip(&self.lines)),
            Compress::None => ("ndjson", self.lines.into()),
        };
        let file = name::file(&first, &last, self.parcels.len(), &self.digest.finalize(), ending);
        Object {
            name: self.folder + &file,
            body,
            handles: self.parcels.iter().map(|parcel| parcel.handle).collect(),
            deliveries: self.parcels.iter().map(|parcel| parcel.delivery.clone()).collect(),
        }
    }
}

/// Without a time or a name in it: the same lines are the same bytes.
fn gzip(lines: &[u8]) -> Bytes {
    let mut out = GzBuilder::new().write(Vec::with_capacity(lines.len() / 4 + 64), Compression::default());
    // Writing to memory cannot fail.
    let _ = out.write_all(lines);
    out.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Partition;
    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;
    use std::io::Read;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered, Size};

    const HOUR: i64 = 3_600_000;

    fn text(object: &Object) -> String {
        let mut text = String::new();
        MultiGzDecoder::new(&object.body[..]).read_to_string(&mut text).unwrap();
        text
    }
    fn to(prefix: &str, number: u64, hours: i64) -> Parcel {
        let message = Message { fields: [("prefix".to_owned(), Rendered::Text(prefix.to_owned()))].into(), ..Message::default() };
        let plain = parcel(number, &message);
        Parcel { received_at: plain.received_at + hours * HOUR, ..plain }
    }

    #[test]
    fn each_folder_has_its_object_in_the_order_of_the_parcels() {
        let parcels = [to("a", 1, 0), to("b", 2, 0), to("a", 3, 1), to("a", 4, 0), to("../a", 5, 0)];
        let packed = pack(&parcels, &Objects::default());
        let found: Vec<_> = packed.objects.iter().map(|o| (o.name[..24].to_owned(), o.handles.iter().map(|h| h.0).collect())).collect();
        let expected =
            [("a/dt=2026-03-02/hour=10/", vec![1, 4]), ("b/dt=2026-03-02/hour=10/", vec![2]), ("a/dt=2026-03-02/hour=11/", vec![3])];
        assert_eq!(found, expected.map(|(name, handles)| (name.to_owned(), handles)));
        let lines = text(&packed.objects[0]);
        let ids: Vec<_> = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["delivery"].clone()).collect();
        assert_eq!(ids, [parcels[0].delivery.as_str(), parcels[3].delivery.as_str()]);
        assert!(matches!(&packed.refused[..], [(Handle(5), Outcome::Rejected { .. })]), "{:?}", packed.refused);
    }

    #[test]
    fn the_same_deliveries_have_the_same_name_and_bytes_at_every_attempt() {
        let batch: Vec<_> = (0..9).map(|number| to("a", number, 0)).collect();
        let later: Vec<_> =
            batch.iter().map(|parcel| Parcel { attempt: 7, handle: Handle(parcel.handle.0 + 50), ..parcel.clone() }).collect();
        let one = |parcels: &[Parcel]| {
            let [object] = pack(parcels, &Objects::default()).objects.try_into().unwrap();
            (object.name, object.body)
        };
        assert_eq!(one(&batch), one(&later));
        // Anything else in it is another object: fewer, one that somebody asked for again, another delivery with the same line.
        let replay = Parcel { replay: true, ..batch[4].clone() };
        let mut others = vec![batch[1..].to_vec(), batch.clone(), batch.clone()];
        others[1][4] = replay;
        let own = |delivery: &str| {
            let fields = [("prefix", "a"), ("line", "same")].map(|(name, text)| (name.to_owned(), Rendered::Text(text.into()))).into();
            Parcel { delivery: delivery.into(), message: Message { fields, ..Message::default() }.into(), ..batch[4].clone() }
        };
        others[2][4] = own("dlv_x");
        others.push(batch.clone());
        others[3][4] = own("dlv_y");
        let mut names: Vec<_> = others.iter().map(|batch| one(batch).0).chain([one(&batch).0]).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn an_object_is_closed_before_it_is_too_large() {
        let most = line(&to("a", 1, 0)).len() as u64 * 5 / 2;
        let how = Objects { max_bytes: Size(most), compress: Compress::None, partition: Partition::None, ..Objects::default() };
        let packed = pack(&(0..5).map(|number| to("a", number, 0)).collect::<Vec<_>>(), &how);
        assert_eq!(packed.objects.iter().map(|object| object.handles.len()).collect::<Vec<_>>(), [2, 2, 1]);
        assert!(packed.objects.iter().all(|object| object.body.len() as u64 <= most && object.name.ends_with(".ndjson")));
        // One alone that is too large goes alone.
        let how = Objects { max_bytes: Size(1), ..how };
        assert_eq!(pack(&[to("a", 1, 0), to("a", 2, 0)], &how).objects.len(), 2);
    }

    proptest! {
        #[test]
        fn every_parcel_is_in_one_object(places in proptest::collection::vec((0..3_u8, 0..2_i64), 0..40), most in 1..2_000_u64) {
            let parcels: Vec<_> = (0..).zip(&places).map(|(n, (prefix, hours))| to(&format!("p{prefix}"), n, *hours)).collect();
            let packed = pack(&parcels, &Objects { max_bytes: Size(most), ..Objects::default() });
            let mut handles: Vec<_> = packed.objects.iter().flat_map(|object| object.handles.clone()).collect();
            handles.sort();
            prop_assert_eq!(handles, parcels.iter().map(|parcel| parcel.handle).collect::<Vec<_>>());
            let lines: usize = packed.objects.iter().map(|object| text(object).lines().count()).sum();
            prop_assert_eq!(lines, parcels.len());
        }
    }
}
