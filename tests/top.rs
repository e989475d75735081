//! `top` and the metrics with the real daemon: what waits and is held, in memory and in the journal, through a restart.
#![allow(missing_docs, clippy::unwrap_used)]

mod yard;

use serde_json::{Value, json};
use yard::{FarSide, Yard, wait_until};

/// Waiting and held of both outputs, as `top` has them.
fn depths(yard: &Yard) -> Value {
    let rows = yard.json(&["top", "--once", "--every", "100ms"]);
    let of = |name: &str| rows.iter().find(|row| row["output"] == name).map(|row| json!([row["waiting"], row["held"]])).unwrap();
    json!([of("plain"), of("ordered")])
}

fn wait_depths(yard: &Yard, wanted: &Value) {
    wait_until(|| depths(yard) == *wanted, || format!("{wanted}, and `top` says {}", depths(yard)));
}

#[test]
fn top_counts_what_waits_and_is_held_in_the_journal_too_and_goes_on_from_there_after_a_restart() {
    let address = FarSide::nobody();
    let url = format!("type: http, url: \"http://{address}/\"");
    let mut yard = Yard::new(&format!(
        "routes: [{{ name: all, to: [plain, ordered] }}]
outputs:
  plain: {{ {url} }}
  ordered: {{ {url}, order_by: {{ key: \"{{{{ data.who }}}}\" }} }}
"
    ))
    .start();
    for n in 0..6 {
        yard.post("A", &format!("{{\"who\":\"made-up\",\"n\":{n}}}"));
    }
    wait_depths(&yard, &json!([[6, 0], [1, 5]]));
    let metrics = |yard: &Yard| String::from_utf8(yard.admin("GET", "/metrics", "").body).unwrap();
    for line in ["switchyard_waiting{output=\"plain\"} 6", "switchyard_held{output=\"ordered\"} 5"] {
        assert!(metrics(&yard).contains(line), "{line}: {}", metrics(&yard));
    }
    // At an output that is down one is read back to probe with; the others wait in the journal alone.
    yard.kill();
    yard.run();
    wait_depths(&yard, &json!([[6, 0], [1, 5]]));
    // Decision 25: what waits for an output that is paused is held.
    assert_eq!(yard.cli(&["pause", "plain"]).status.code(), Some(0));
    wait_depths(&yard, &json!([[0, 6], [1, 5]]));
    assert_eq!(yard.cli(&["resume", "plain"]).status.code(), Some(0));
    wait_depths(&yard, &json!([[6, 0], [1, 5]]));
    let side = FarSide::at(&address);
    wait_depths(&yard, &json!([[0, 0], [0, 0]]));
    assert_eq!(side.arrived().len(), 12);
}
