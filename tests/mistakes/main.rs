//! The corpus of wrong files: a good file in which every kind of key is used, and mistakes, each of which makes another of it; and what is
//! held over it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // the program is run as its users run it

mod arrivals;
mod check_and_run;
mod check_messages;
mod elsewhere;
mod hidden;
mod mutated;
mod outputs;
mod routes;
mod rules;
mod schema;
mod shop;

use switchyard::config::rules as registry;

/// A file without a mistake, in which every kind of key is used.
pub const GOOD: &str = r#"server:
  listen: 127.0.0.1:8080
  max_body: 1MiB
  body_budget: 64MiB
  max_connections: 100
  trusted_proxies: [10.0.0.0/8]
  admin: { listen: 127.0.0.1:8081, token: "${ADMIN_TOKEN}" }
journal:
  url: sqlite:data/journal.db
  retain: { delivered: 3d, dead: 30d }
  reserve: 1GiB
sources:
  shop:
    verify: orderchamp
    secret: "${SHOP_SECRET}"
    believe: [topic]
    dedupe: 72h
    silent_after: 6h
    each: data.events
    redact: [data.customer.iban]
  partner:
    path: /in/partner
    verify:
      hmac: sha256
      header: X-Partner-Signature
      encoding: base64
      prefix: "sha256="
      signs: "{timestamp}.{body}"
      key: text
      timestamp: { header: X-Partner-Time, tolerance: 5m }
    secret: "${PARTNER_SECRET}"
    topic: { header: X-Partner-Event }
    id: { json: data.id }
  internal:
    verify: { bearer: "${INTERNAL_TOKEN}" }
  office:
    verify: { basic: { user: ann, password: "${OFFICE_PASSWORD}" }, allow: [192.0.2.0/24] }
routes:
  - name: orders
    from: shop
    topic: ORDER_*
    filter:
      data.total: { gt: 1000 }
      data.code: { regex: "^A" }
      data.address: { cidr: 10.0.0.0/8 }
      data.paid: { exists: true }
    where: '.data.items | length > 0'
    transform: '{id: .data.id}'
    to:
      - output: chat
        text: "Order {{ data.number|upper }}"
      - shipper
  - name: everything
    to: archive
outputs:
  chat: { type: slack, url: "${SLACK_URL}", rate: 30/min }
  shipper:
    type: http
    url: https://api.shipper.example/orders
    method: PUT
    auth: { bearer: "${SHIPPER_TOKEN}" }
    sign: { secret: "${SHIPPER_SIGNING}" }
    headers: { X-Shop: "{{ data.shop }}" }
    concurrency: 8
    late_after: 15m
    timeout: 10s
    retry: { attempts: 5, over: 1h }
    on_unknown: retry
    on_dead: archive
  archive: { type: file, path: "data/{date}.ndjson" }
"#;

/// One mistake: a piece of the good file, what stands in its place (`«…»` is the smallest wrong piece), the rule that is broken,
/// and what the help says.
#[derive(Debug)]
pub struct Mistake(pub &'static str, pub &'static str, pub &'static str, pub &'static str);

/// Rules whose breach is said and does not keep a file from running.
pub const WARNINGS: [&str; 19] = [
    "any-account",
    "comment-cuts",
    "destination-ends",
    "insecure-url",
    "literal-secret",
    "literal-variable",
    "lookalike",
    "no-tls",
    "odd-path",
    "odd-value",
    "regex-as-topic",
    "tls-unused",
    "unknown-topic",
    "unsigned-decides",
    "unsigned-fills",
    "unsigned-timestamp",
    "visible-secret",
    "output-not-asked",
    "single-brace",
];

impl Mistake {
    /// Whether a file with it runs all the same.
    pub fn is_a_warning(&self) -> bool {
        WARNINGS.contains(&self.2)
    }
}

/// All of them, by what they are in.
pub const MISTAKES: [&[Mistake]; 4] = [arrivals::ARRIVALS, routes::ROUTES, outputs::OUTPUTS, elsewhere::ELSEWHERE];

/// The file with the mistake, and the place that is marked in it: lines and columns from 1, the end behind the last character.
pub fn marked(Mistake(piece, wrong, ..): &Mistake) -> (String, Option<[usize; 4]>) {
    assert_eq!(GOOD.matches(piece).count(), 1, "not once in the good file: {piece}");
    let text = GOOD.replacen(piece, wrong, 1);
    let place = |text: &str| (text.matches('\n').count() + 1, text.rsplit('\n').next().unwrap_or("").chars().count() + 1);
    let Some((before, rest)) = text.split_once('«') else { return (text, None) };
    let (inside, after) = rest.split_once('»').unwrap();
    let (start, end) = (place(before), place(&format!("{before}{inside}")));
    (format!("{before}{inside}{after}"), Some([start.0, start.1, end.0, end.1]))
}

/// A file with one output of these settings, without the marks in it.
pub fn one_output(kind: &str, settings: &str) -> String {
    let settings = settings.replace(['«', '»'], "");
    format!("routes: [{{ name: all, to: o }}]\noutputs:\n  o: {{ type: {kind}, {settings} }}\n")
}

/// Every file of the corpus that is refused, by whatever rule.
pub fn wrong_files() -> Vec<String> {
    let mistakes = MISTAKES.into_iter().flatten().filter(|mistake| !mistake.is_a_warning()).map(|mistake| marked(mistake).0);
    let constant = outputs::CONSTANT.iter().map(|(kind, settings, _)| one_output(kind, settings));
    let pairs = outputs::FILES.iter().chain(&outputs::METADATA).map(|(kind, settings)| one_output(kind, settings));
    let rules = registry::all().iter().filter(|rule| !WARNINGS.contains(&rule.id.as_str())).filter_map(|rule| rule.wrong.clone());
    mistakes.chain(constant).chain(pairs).chain(rules).collect()
}
