//! Files that nobody wrote: the good one with pieces lost, doubled or put elsewhere, bytes of any kind, and strange words in every place that has a
//! language of its own. Whatever comes out, reading answers: no panic, every place lies in the text, and no secret is told.

use super::GOOD;
use super::shop::{ENVIRONMENT, Shop};
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::{Arc, LazyLock};
use switchyard::config;
use switchyard_api::AnyKind;

#[path = "../../fuzz/src/judge.rs"]
mod judge;

/// One change of the good file.
#[derive(Debug, Clone)]
enum Change {
    Lost(Index, u8),
    Doubled(Index, u8, Index),
    Put(Index, String),
    Byte(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let signs = "[\\[\\]{}:,&*!|>'\"%@#?<~$`\t\n -]{1,4}|\\$\\{[A-Z]{0,4}\\}?|\\{\\{ ?[a-z.|]{0,8} ?\\}?\\}?|\\PC{1,3}";
    let change = prop_oneof![
        (any::<Index>(), 1..40u8).prop_map(|(at, length)| Change::Lost(at, length)),
        (any::<Index>(), 1..40u8, any::<Index>()).prop_map(|(from, length, to)| Change::Doubled(from, length, to)),
        (any::<Index>(), signs).prop_map(|(at, text)| Change::Put(at, text)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ];
    prop::collection::vec(change, 1..5)
}

fn changed(changes: &[Change]) -> Vec<u8> {
    let mut bytes = GOOD.as_bytes().to_vec();
    for change in changes {
        let room = bytes.len() + 1;
        match change {
            Change::Lost(at, length) => {
                let at = at.index(room);
                bytes.drain(at..(at + usize::from(*length)).min(bytes.len()));
            }
            Change::Doubled(from, length, to) => {
                let from = from.index(room);
                let piece = bytes[from..(from + usize::from(*length)).min(bytes.len())].to_vec();
                let to = to.index(room);
                bytes.splice(to..to, piece);
            }
            Change::Put(at, text) => {
                let at = at.index(room);
                bytes.splice(at..at, text.bytes());
            }
            Change::Byte(at, byte) => {
                let at = at.index(room);
                bytes.splice(at..at, [*byte]);
            }
        }
    }
    bytes
}

/// Reads a file as `check` and a reload do, and judges what is told.
fn judge(shop: &Shop, bytes: &[u8]) {
    static KINDS: LazyLock<Vec<Arc<dyn AnyKind>>> = LazyLock::new(switchyard_plugins::kinds);
    let path = shop.path().join("mutated.yaml");
    std::fs::write(&path, bytes).unwrap();
    judge::judge(&config::load(&path, shop).unwrap(), &KINDS, &ENVIRONMENT.map(|(_, value)| value));
}

/// A small file with a text in each place that is read by a language of its own.
fn strange(place: usize, text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    let places = [
        format!("topic: {quoted}, to: out"),
        format!("filter: {{ data.x: {{ glob: {quoted} }} }}, to: out"),
        format!("filter: {{ data.x: {{ regex: {quoted} }} }}, to: out"),
        format!("filter: {{ {quoted}: 1 }}, to: out"),
        format!("filter: {{ data.x: {{ gt: {quoted} }} }}, to: out"),
        format!("filter: {{ data.x: {{ cidr: {quoted} }} }}, to: out"),
        format!("where: {quoted}, to: out"),
        format!("transform: {quoted}, to: out"),
        format!("hours: {{ zone: {quoted}, on: {quoted}, from: {quoted}, to: {quoted} }}, to: out"),
        format!("to: {{ output: out, text: {quoted} }}"),
    ];
    format!("routes: [{{ name: a, {} }}]\noutputs: {{ out: {{ type: console }} }}\n", places[place % places.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_file_is_a_panic_a_place_outside_or_a_secret_told(changes in changes()) {
        let shop = Shop::open();
        judge(&shop, &changed(&changes));
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let shop = Shop::open();
        judge(&shop, &bytes);
    }

    #[test]
    fn no_text_in_any_language_is_a_panic(place in 0..10usize,
        text in "([|.\\[\\](){}*?\\\\^$+,:;/=<>!~%#@'\" -]|\\{\\{|\\}\\}|\\{%|%\\}|if|end|def|as|data|\\.\\.|[0-9]{1,20}|[a-zé]|\\PC){0,24}") {
        let shop = Shop::open();
        judge(&shop, strange(place, &text).as_bytes());
    }
}
