//! docs/senders.md: the known senders, as `presets.yaml` has them.

use super::presets::{Preset, presets};
use super::section::Pick;
use std::fmt::Write as _;
use std::time::Duration;

const INTRO: &str = "# The senders that are known

`verify: NAME` in a source is all that these need besides their `secret`; what a source writes itself goes before what stands here. This page is made of
`src/verify/presets.yaml`. Each way of signing was read at its sender's page or in its own library; what of an entry was not is named.

- **signed**: what the proof covers. Whoever sees one request can send it again with the rest changed, so `check` warns where a route decides by that.
- **repeats**: how long a request that comes again is known as one, longer than its sender goes on trying.
- **answer within**: how long the sender waits; it hears 503 before that where the journal is slow.
- **gives up**: after so many failures in a row it deletes or disables the subscription.

";

const ADDING: &str = "
## A sender that is not here

Write what it does in routes.yaml; [routes.md](routes.md) has every key of `verify`. One that signs the time and the body, separated by a dot, in hex:

```yaml
sources:
  warehouse:
    verify:
      hmac: sha256
      header: X-Warehouse-Signature
      encoding: hex
      signs: \"{timestamp}.{body}\"
      timestamp: { header: X-Warehouse-Time, tolerance: 5m }
    secret: \"${WAREHOUSE_SECRET}\"
    topic: { json: event.type }
    id: { json: event.id }
    dedupe: 3d
```

`switchyard sign --source warehouse body.json` prints the headers that such a sender would send, `switchyard send` posts the body with them, and `switchyard refused` says why a
request was not proven. Where it is near to a known sender, `verify: { preset: github, header: X-Other-Signature }` writes only what differs.

To make it known by its name, add the same keys under its name to `src/verify/presets.yaml` with `docs` and `signed`, and at least one signature that the sender
published, or that its own library made, to `tests/data/signatures.json`: a test sends every vector through the public way in, valid and altered, and another
compares `signed` with what the form signs. `WRITE_DOCS=1 cargo test --test mistakes pages` writes this page anew.
";

/// The page.
pub fn document() -> String {
    let mut senders: Vec<&Preset> = presets().iter().collect();
    senders.sort_by_key(|preset| &preset.name);
    let rows = senders.iter().fold(String::new(), |rows, preset| rows + &row(preset));
    format!(
        "{INTRO}| sender | signed | topic | id | repeats | answer within | gives up | besides |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n{rows}{ADDING}"
    )
}

fn row(preset: &Preset) -> String {
    let Preset { name, docs, dedupe, since, until, .. } = preset;
    let pick = |pick: &Option<switchyard_api::At<Pick>>| match pick.as_ref().map(|at| &at.value) {
        Some(Pick::Header(name)) => format!("header `{}`", name.value),
        Some(Pick::Json(path)) => format!("`{}`", path.value),
        Some(Pick::Start { json, before }) => format!("`{}` before `{before}`", json.value),
        Some(Pick::Fixed(word)) => format!("always `{word}`"),
        None => "–".to_owned(),
    };
    let signed = if preset.signed.is_empty() { "nothing".to_owned() } else { preset.signed.join(", ") };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let mut besides = vec![];
    besides.extend(since.iter().map(|since| format!("since {since}")));
    besides.extend(until.iter().map(|until| format!("until {until}")));
    besides.extend(preset.each.iter().map(|each| format!("several events a request, in `{}`", each.value)));
    besides.extend(preset.varies.iter().map(|path| format!("a repeat may have another `{}`", path.join("."))));
    let status = preset.status.map(|status| format!("{status} and ")).unwrap_or_default();
    besides.extend(preset.answer.iter().map(|answer| match answer.as_str() {
        "" => format!("hears {status}an empty body"),
        answer => format!("hears {status}`{answer}`"),
    }));
    if !preset.handshake.is_empty() {
        besides.push("its handshake is answered".to_owned());
    }
    if !preset.unverified.is_empty() {
        besides.push(format!("not verified: {}", preset.unverified.join(", ")));
    }
    let mut row = String::new();
    let (waits, gives_up) = (preset.waits.map(|waits| waits.to_string()), preset.gives_up_after.map(|most| most.to_string()));
    let _ = writeln!(
        row,
        "| [`{name}`]({docs}) | {signed} | {} | {} | {} | {} | {} | {} |",
        pick(&preset.topic),
        pick(&preset.id),
        or_dash((dedupe.0 > Duration::ZERO).then(|| dedupe.to_string())),
        or_dash(waits),
        or_dash(gives_up),
        besides.join("; "),
    );
    row
}
