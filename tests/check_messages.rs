//! What `switchyard check` says to somebody who made one mistake: each wrong file with the exact place of the smallest wrong
//! piece and the help that mends it, as JSON and as text, by the real binary. No answer may show a secret (L7).

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // the program is run as its users run it

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// A file without a mistake, in which every kind of key is used.
const GOOD: &str = r#"server:
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

/// What the environment holds. Made up, and never to be seen in an answer.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("ADMIN_TOKEN", "hush-admin-token"),
    ("SHOP_SECRET", "hush-shop-secret"),
    ("PARTNER_SECRET", "hush-partner-secret"),
    ("INTERNAL_TOKEN", "hush-internal-token"),
    ("OFFICE_PASSWORD", "hush-office-password"),
    ("SLACK_URL", "https://hooks.slack.com/services/T0/B0/hush-slack"),
    ("SHIPPER_TOKEN", "hush-shipper-token"),
    ("SHIPPER_SIGNING", "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoISEh"),
];

/// One mistake: a piece of the good file, what stands in its place (`«…»` is the smallest wrong piece), the rule that is broken,
/// and what the help says.
struct Mistake(&'static str, &'static str, &'static str, &'static str);

const MISTAKES: &[Mistake] = &[
    // The file as YAML.
    Mistake("  max_body: 1MiB", "«»\tmax_body: 1MiB", "syntax", "indent with spaces"),
    Mistake("to: archive", "to: «[»archive", "syntax", "write `]` where it ends"),
    Mistake("    dedupe: 72h", "    dedupe: 72h\n    «dedupe»: 3d", "duplicate-key", "keep one of them"),
    Mistake("topic: ORDER_*", "topic: «*_PAID»", "alias", "put in quotes: '*_PAID'"),
    Mistake("text: \"Order {{ data.number|upper }}\"", "text: «{{ data.number|upper }}»", "syntax", "put the whole text in quotes"),
    Mistake("    to: archive", "    «to:archive»", "syntax", "write a space after the `:`"),
    // Sections.
    Mistake("routes:", "«rotues»:", "unknown-key", "did you mean `routes`?"),
    Mistake(
        "journal:",
        "egress: { allow: [10.1.0.0/16, «'10.1'»] }\njournal:",
        "bad-network",
        "write `10.1.0.0/16`, `fd12:3456::/32` or one address",
    ),
    Mistake("journal:", "«storage»:", "unknown-key", "expected one of: server, journal, egress, sources, routes, outputs"),
    Mistake(
        "journal:\n  url: sqlite:data/journal.db\n  retain: { delivered: 3d, dead: 30d }\n  reserve: 1GiB\n",
        "journal: «sqlite:data/journal.db»\n",
        "wrong-type",
        "write its keys below it",
    ),
    Mistake("server:", "«listen»: 127.0.0.1:9000\nserver:", "unknown-key", "belongs under `server`"),
    Mistake("  max_body: 1MiB\n", "  «retain»: { dead: 9d }\n", "unknown-key", "belongs under `journal`"),
    // server
    Mistake("  listen: 127.0.0.1:8080", "  «lsiten»: 127.0.0.1:8080", "unknown-key", "did you mean `listen`?"),
    Mistake("  listen: 127.0.0.1:8080", "  listen: «localhost»", "bad-address", "write `127.0.0.1:8080`"),
    Mistake("  listen: 127.0.0.1:8080", "  listen: «8080»", "bad-address", "write `127.0.0.1:8080`"),
    Mistake("max_body: 1MiB", "max_body: «1MB x»", "wrong-value", "such as `64KiB`, `1MiB` or `20GiB`"),
    Mistake("max_body: 1MiB", "max_body: «[1MiB]»", "wrong-type", "write a text"),
    Mistake("body_budget: 64MiB", "body_budget: «64KiB»", "bad-limit", "raise `server.body_budget`"),
    Mistake("max_connections: 100", "max_connections: «0»", "bad-limit", "write at least 1"),
    Mistake("max_connections: 100", "max_connections: «many»", "wrong-type", "write a whole number"),
    Mistake("trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [«10.0.0.0/64»]", "bad-network", "write `10.0.0.0/8`"),
    Mistake("trusted_proxies: [10.0.0.0/8]", "trusted_proxies: «10.0.0.0/8»", "wrong-type", "write a list: `["),
    Mistake("max_body: 1MiB", "tls: «{ cert: cert.pem }»", "missing-key", "add `key:`"),
    Mistake("admin: { listen: 127.0.0.1:8081", "admin: { listen: «127.0.0.1»", "wrong-value", "write `127.0.0.1:8081`"),
    Mistake(
        "admin: { listen: 127.0.0.1:8081, token: \"${ADMIN_TOKEN}\" }",
        "admin: { listen: «0.0.0.0:8081» }",
        "open-admin",
        "add `token: \"${ADMIN_TOKEN}\"`",
    ),
    Mistake("admin: { listen: 127.0.0.1:8081", "admin: { listen: «127.0.0.1:8080»", "same-address", "another port"),
    Mistake("max_body: 1MiB", "tls: «{ cert: no/such.pem, key: no/such.pem }»", "bad-certificate", "a relative path starts from"),
    Mistake("token: \"${ADMIN_TOKEN}\"", "token: «hu»", "weak-token", "openssl rand"),
    Mistake("token: \"${ADMIN_TOKEN}\"", "«tokn»: \"${ADMIN_TOKEN}\"", "unknown-key", "did you mean `token`?"),
    // journal
    Mistake("url: sqlite:data/journal.db", "url: «postgres://db.example/hush»", "journal-url", "such as `sqlite:data/journal.db`"),
    Mistake("retain: { delivered: 3d", "retain: { delivered: «3 dyas»", "wrong-value", "such as `500ms`, `5s`, `10m`, `48h` or `3d`"),
    Mistake("retain: { delivered: 3d", "retain: { «deliverd»: 3d", "unknown-key", "did you mean `delivered`?"),
    // sources
    Mistake("  shop:\n    verify: orderchamp", "  shop:\n    verify: «orchamp»", "unknown-preset", "did you mean `orderchamp`?"),
    Mistake("verify: orderchamp\n    secret", "verify: «ebay»\n    secret", "unknown-preset", "known are adyen, adyen-platform, bitbucket"),
    Mistake("verify: orderchamp\n    secret", "«verfy»: orderchamp\n    secret", "unknown-key", "did you mean `verify`?"),
    Mistake(
        "    verify: orderchamp\n    secret: \"${SHOP_SECRET}\"",
        "    verify: «orderchamp»",
        "missing-secret",
        "add `secret: \"${SHOP_SECRET}\"`",
    ),
    Mistake(
        "  shop:\n    verify: orderchamp\n    secret: \"${SHOP_SECRET}\"",
        "  «shop»:\n    path: /shop",
        "missing-verify",
        "add `verify:` with a preset",
    ),
    Mistake("\"${SHOP_SECRET}\"", "«\"\"»", "empty-secret", "an empty secret would let anybody in"),
    Mistake("${SHOP_SECRET}", "«${SHOP_SCERET}»", "unset-variable", "did you mean `${SHOP_SECRET}`?"),
    Mistake("${SHOP_SECRET}", "«${NOWHERE_TO_BE_SEEN}»", "unset-variable", "export NOWHERE_TO_BE_SEEN="),
    Mistake("${SHOP_SECRET}", "«${EMPTY_ONE}»", "unset-variable", "export EMPTY_ONE="),
    Mistake("${SHOP_SECRET}", "«${file:no/such/secret}»", "unreadable-secret", "check the path"),
    Mistake("${SHOP_SECRET}", "hush«${SHOP_SECRET»", "wrong-variable", "write `${NAME}`"),
    Mistake("hmac: sha256", "hmac: «sha265»", "unknown-word", "did you mean `sha256`?"),
    Mistake("hmac: sha256", "hmac: «md5»", "unknown-word", "expected one of: sha1, sha256, sha384, sha512"),
    Mistake("encoding: base64", "encoding: «bse64»", "unknown-word", "did you mean `base64`?"),
    Mistake(
        "      header: X-Partner-Signature\n      encoding: base64\n",
        "      encoding: base64\n",
        "missing-header",
        "add `header: X-Name`",
    ),
    Mistake("header: X-Partner-Signature", "header: «X Partner»", "bad-header", "such as `X-Signature`"),
    Mistake(
        "signs: \"{timestamp}.{body}\"",
        "signs: \"{timestamp}.«{bdy}»\"",
        "bad-signs",
        "`{body}`, `{timestamp}`, `{header:X-Name}`, `{json:path}`, `{raw:path}`, `{form}`, `{url}` and `{method}`",
    ),
    Mistake("signs: \"{timestamp}.{body}\"", "signs: «\"{timestamp}\"»", "unsigned-body", "add `{body}`"),
    Mistake("key: text", "key: «bas64»", "unknown-word", "did you mean `base64`?"),
    Mistake("tolerance: 5m", "tolerance: «5x»", "wrong-value", "such as `500ms`, `5s`, `10m`, `48h` or `3d`"),
    Mistake(
        "timestamp: { header: X-Partner-Time, tolerance: 5m }",
        "timestamp: «{ tolerance: 5m }»",
        "bad-timestamp",
        "write `timestamp: { header: X-Time",
    ),
    Mistake(
        "    verify: { bearer: \"${INTERNAL_TOKEN}\" }",
        "    verify: none\n    «bearer»: \"${INTERNAL_TOKEN}\"",
        "unknown-key",
        "belongs under `verify`",
    ),
    Mistake(
        "verify: { bearer: \"${INTERNAL_TOKEN}\" }",
        "verify: { bearer: \"${INTERNAL_TOKEN}\", prefix: «x» }",
        "unused-key",
        "take it away",
    ),
    Mistake(
        "verify: { bearer: \"${INTERNAL_TOKEN}\" }",
        "verify: { «baerer»: \"${INTERNAL_TOKEN}\" }",
        "unknown-key",
        "did you mean `bearer`?",
    ),
    Mistake("path: /in/partner", "path: «/shop»", "same-path", "give one of them another `path`"),
    Mistake("path: /in/partner", "path: «in/partner»", "bad-path", "write `/in/partner`"),
    Mistake("topic: { header: X-Partner-Event }", "topic: { «haeder»: X-Partner-Event }", "unknown-key", "did you mean `header`?"),
    Mistake(
        "topic: { header: X-Partner-Event }",
        "topic: «[X-Partner-Event]»",
        "wrong-type",
        "write a word, `{ header: X-Name }` or `{ json: path }`",
    ),
    Mistake(
        "topic: { header: X-Partner-Event }",
        "topic: «{ header: X-Partner-Event, json: type }»",
        "wrong-value",
        "write `{ header: X-Name }` or",
    ),
    Mistake("id: { json: data.id }", "id: «data.id»", "bad-id", "`id: { header: X-Name }`"),
    Mistake("id: { json: data.id }", "id: { json: «data..id» }", "bad-pick", "`{ json: data.type }`"),
    Mistake("dedupe: 72h", "dedupe: «always»", "wrong-value", "such as `500ms`, `5s`, `10m`, `48h` or `3d`"),
    Mistake("  internal:", "  «in ternal»:", "bad-name", "letters, digits, `-`, `_` and `.`"),
    Mistake("basic: { user: ann,", "basic: { «usr»: ann,", "unknown-key", "did you mean `user`?"),
    Mistake("allow: [192.0.2.0/24]", "allow: [«office»]", "bad-network", "write `10.0.0.0/8`"),
    Mistake("secret: \"${PARTNER_SECRET}\"", "«secrt»: hush-as-it-is", "unknown-key", "did you mean `secret`?"),
    Mistake(
        "verify: { bearer: \"${INTERNAL_TOKEN}\" }",
        "verify: { bearer: \"${INTERNAL_TOKEN}\", token: «hush-too», header: X-Token }",
        "two-proofs",
        "keep one of them",
    ),
    Mistake(
        "  internal:\n    verify: { bearer: \"${INTERNAL_TOKEN}\" }",
        "  internal: «orderchamp»",
        "wrong-type",
        "write its keys below it",
    ),
    Mistake("verify: { bearer: \"${INTERNAL_TOKEN}\" }", "verify: «{}»", "no-proof", "add `hmac`, `bearer`"),
    // routes
    Mistake("name: everything", "name: «orders»", "duplicate-name", "give one of them another"),
    Mistake("name: everything", "«nmae»: everything", "unknown-key", "did you mean `name`?"),
    Mistake("name: everything", "name: «all of it»", "wrong-name", "letters, digits"),
    Mistake("from: shop", "from: «shpo»", "unknown-source", "did you mean `shop`?"),
    Mistake("topic: ORDER_*", "topic: ORDER_«[»", "wrong-glob", "`*`"),
    Mistake("data.total: { gt: 1000 }", "«dta.total»: { gt: 1000 }", "unknown-path", "did you mean `data`?"),
    Mistake("data.total: { gt: 1000 }", "«total»: { gt: 1000 }", "unknown-path", "`data.total`"),
    Mistake("{ gt: 1000 }", "{ «gtt»: 1000 }", "unknown-operator", "did you mean `gt`?"),
    Mistake("{ gt: 1000 }", "{ «greater»: 1000 }", "unknown-operator", "expected one of: eq, gt, ge"),
    Mistake("{ gt: 1000 }", "{ gt: «true» }", "wrong-type", "write a number"),
    Mistake("data.paid: { exists: true }", "data.paid: { exists: «\"yes\"» }", "wrong-type", "write `true` or `false`"),
    Mistake("data.paid: { exists: true }", "data.paid: { type: «text» }", "unknown-word", "expected one of: string"),
    Mistake("regex: \"^A\"", "regex: «\"^A(\"»", "wrong-regex", "`\\(`"),
    Mistake("cidr: 10.0.0.0/8", "cidr: «10.0.0/8»", "wrong-value", "write `10.0.0.0/8`"),
    Mistake("where: '.data.items | length > 0'", "where: '.data.items | length >«»'", "wrong-jq", "write it as in"),
    Mistake("where: '.data.items | length > 0'", "where: '.data.items | «lenght» > 0'", "wrong-jq", "did you mean `length`?"),
    Mistake("where: '.data.items | length > 0'", "where: '«now» > 0'", "wrong-jq", "a route sees nothing but the event"),
    Mistake("where: '.data.items | length > 0'", "where: '«frobnicate_it»'", "wrong-jq", "such as `select`"),
    Mistake("where: '.data.items | length > 0'", "where: «[1]»", "wrong-type", "write a text"),
    Mistake("transform: '{id: .data.id}'", "transform: '{id: .data.id«»'", "wrong-jq", "a bracket"),
    Mistake("  - name: everything\n    to: archive", "  - «name: everything»", "missing-key", "add `to:`"),
    Mistake("to: archive", "to: «archvie»", "unknown-output", "did you mean `archive`?"),
    Mistake("to: archive", "to: «[]»", "wrong-value", "name an output"),
    Mistake("to: archive", "to: [archive, «archive»]", "duplicate-output", "use a second route"),
    Mistake(
        "      - output: chat\n        text: \"Order",
        "      - output: chat\n        «txet»: \"Order",
        "unknown-field",
        "did you mean `text`?",
    ),
    Mistake("{{ data.number|upper }}", "{{ data.number|«uper» }}", "unknown-filter", "did you mean `upper`?"),
    Mistake("{{ data.number|upper }}", "{{ «dta».number|upper }}", "unknown-name", "did you mean `data`?"),
    Mistake("{{ data.number|upper }}", "{{ data.number|upper «}»", "wrong-template", "`{{ data.x }}`"),
    Mistake(
        "{{ data.number|upper }}",
        "{{ data.number|upper }} «${SHOP_SECRET}»",
        "secret-in-template",
        "use it in a setting of the output",
    ),
    Mistake(
        "text: \"Order {{ data.number|upper }}\"",
        "text: «\"${SHOP_SECRET}\"»",
        "secret-in-template",
        "use it in a setting of the output",
    ),
    Mistake("      - output: chat\n", "      - «outptu»: chat\n", "unknown-key", "did you mean `output`?"),
    Mistake("{ gt: 1000 }", "«{ ignore_case: true }»", "wrong-value", "write `{ gt: 1000 }`"),
    Mistake("{ gt: 1000 }", "«[]»", "wrong-value", "write at least one value"),
    Mistake(
        "    filter:\n      data.total: { gt: 1000 }\n      data.code: { regex: \"^A\" }\n      data.address: { cidr: 10.0.0.0/8 }\n      data.paid: { exists: true }\n",
        "    filter: «data.total > 1000»\n",
        "wrong-type",
        "write `data.total: { gt: 1000 }`",
    ),
    Mistake("to: archive", "to: archive\n    «timeout»: 5s", "unknown-key", "belongs under the name of an output"),
    Mistake("to: archive", "to: «7»", "wrong-type", "write `to: NAME`"),
    // outputs
    Mistake("type: slack", "type: «slakc»", "unknown-word", "did you mean `slack`?"),
    Mistake("type: slack", "type: «carrier-pigeon»", "unknown-word", "expected one of: afas, "),
    Mistake("chat: { type: slack,", "«chat»: {", "missing-key", "write `type:` and one of"),
    Mistake("method: PUT", "«mehtod»: PUT", "unknown-key", "did you mean `method`?"),
    Mistake("method: PUT", "method: «put»", "unknown-word", "did you mean `PUT`?"),
    Mistake("concurrency: 8", "«concurency»: 8", "unknown-key", "did you mean `concurrency`?"),
    Mistake("each: data.events", "each: «events»", "unknown-path", "`each: data.events`"),
    Mistake("redact: [data.customer.iban]", "redact: [«customer.iban»]", "unknown-path", "it begins with `data`"),
    Mistake("redact: [data.customer.iban]", "«redacts»: [data.customer.iban]", "unknown-key", "did you mean `redact`?"),
    Mistake("verify: { bearer: \"${INTERNAL_TOKEN}\" }", "verify: «mtls»", "no-client-ca", "add `client_ca: FILE` to `server.tls`"),
    Mistake("on_dead: archive", "on_dead: «archiv»", "unknown-output", "did you mean `archive`?"),
    Mistake("on_dead: archive", "on_dead: «shipper»", "on-dead-circle", "name another output"),
    Mistake("late_after: 15m", "late_after: «10ms»", "delivery-late", "at least 1s, such as `15m`"),
    Mistake("late_after: 15m", "«late_aftr»: 15m", "unknown-key", "did you mean `late_after`?"),
    Mistake("silent_after: 6h", "silent_after: «0s»", "bad-silence", "at least 1s, such as `6h`"),
    Mistake("silent_after: 6h", "«silentafter»: 6h", "unknown-key", "did you mean `silent_after`?"),
    Mistake("reserve: 1GiB", "reserve: «much»", "wrong-value", "`64KiB`, `1MiB` or `20GiB`"),
    Mistake("concurrency: 8", "concurrency: «0»", "delivery-concurrency", "write a number from 1 to 1024"),
    Mistake("timeout: 10s", "timeout: «0s»", "delivery-timeout", "at most 1h"),
    Mistake("timeout: 10s", "timeout: «10»", "wrong-value", "such as `500ms`, `5s`, `10m`, `48h` or `3d`"),
    Mistake("rate: 30/min", "rate: «5»", "wrong-type", "`30/min`"),
    Mistake("rate: 30/min", "rate: «5/fortnight»", "wrong-value", "`30/min`"),
    Mistake("rate: 30/min", "rate: { limit: 30/min, «brust»: 3 }", "unknown-key", "did you mean `burst`?"),
    Mistake("rate: 30/min", "rate: { limit: 30/min, «kye»: \"{{ data.shop }}\" }", "unknown-key", "did you mean `key`?"),
    Mistake("rate: 30/min", "rate: { limit: 30/min, key: \"{{ «dta».shop }}\" }", "unknown-name", "did you mean `data`?"),
    Mistake("rate: 30/min", "rate: { limit: 30/min, key: «data.shop» }", "constant-key", "write `\"{{ data.shop }}\"`"),
    Mistake("concurrency: 8", "replay: { share: «95%» }", "delivery-replay", "write at most 90%"),
    Mistake("concurrency: 8", "replay: { share: «half» }", "wrong-value", "such as `20%`"),
    Mistake("concurrency: 8", "replay: { «shaer»: 20% }", "unknown-key", "did you mean `share`?"),
    Mistake("retry: { attempts: 5, over: 1h }", "retry: { attempts: «5», schedule: [5s] }", "delivery-retry", "keep one of the two"),
    Mistake("retry: { attempts: 5, over: 1h }", "retry: { attempts: «0» }", "delivery-retry", "write at least 1"),
    Mistake("retry: { attempts: 5, over: 1h }", "retry: { on: [«200»] }", "delivery-retry", "from 300 to 599"),
    Mistake("retry: { attempts: 5, over: 1h }", "retry: { «atempts»: 5 }", "unknown-key", "did you mean `attempts`?"),
    Mistake("retry: { attempts: 5, over: 1h }", "retry: «5»", "wrong-type", "write its keys below it"),
    Mistake("archive: { type: file,", "archive: { type: file, retry: { reject: [«410»] },", "delivery-retry", "take `reject` away"),
    Mistake("archive: { type: file, path: \"data/{date}.ndjson\" }", "archive: «file»", "wrong-type", "write `archive: { type: file"),
    Mistake(
        "auth: { bearer: \"${SHIPPER_TOKEN}\" }",
        "auth: { header: { name: X-Key, «vlaue»: hush-key } }",
        "unknown-key",
        "did you mean `value`?",
    ),
    Mistake("auth: { bearer: \"${SHIPPER_TOKEN}\" }", "auth: «{ header: { name: Host, value: hush-key } }»", "bad-auth", "write `bearer:"),
    Mistake("on_unknown: retry", "on_unknown: «rerty»", "unknown-word", "did you mean `retry`?"),
    Mistake("url: https://api.shipper.example/orders", "url: «api.shipper.example/hush»", "bad-url", "write `https://HOST/PATH`"),
    Mistake("url: https://api.shipper.example/orders", "url: «https://ann:hush@api.shipper.example/»", "bad-url", "`auth"),
    Mistake("    url: https://api.shipper.example/orders\n", "", "missing-key", "add `url:`"),
    Mistake("url: \"${SLACK_URL}\"", "url: «https://hooks.slak.com/services/hush»", "wrong-host", "hooks.slack.com"),
    Mistake("auth: { bearer: \"${SHIPPER_TOKEN}\" }", "auth: { «baerer»: \"${SHIPPER_TOKEN}\" }", "unknown-key", "did you mean `bearer`?"),
    Mistake("auth: { bearer: \"${SHIPPER_TOKEN}\" }", "auth: «\"${SHIPPER_TOKEN}\"»", "wrong-type", "write its keys below it"),
    Mistake(
        "sign: { secret: \"${SHIPPER_SIGNING}\" }",
        "sign: { secret: «hush-no-base64» }",
        "bad-signing-secret",
        "openssl rand -base64 32",
    ),
    Mistake("headers: { X-Shop:", "headers: { «X Shop»:", "bad-header", "letters, digits and `-`"),
    Mistake("headers: { X-Shop:", "headers: { «Host»:", "bad-header", "take it away"),
    Mistake("headers: { X-Shop:", "headers: { «Switchyard-Event»:", "bad-header", "take it away"),
    Mistake("path: \"data/{date}.ndjson\"", "path: \"data/{date}/«..»/x.ndjson\"", "bad-path", "take `.` and `..` out"),
    Mistake("path: \"data/{date}.ndjson\"", "path: \"data/«{dat}».ndjson\"", "bad-path", "did you mean `{date}`?"),
    Mistake("path: \"data/{date}.ndjson\"", "«paht»: \"data/{date}.ndjson\"", "unknown-key", "did you mean `path`?"),
];

/// The file with the mistake, and the place that is marked in it: lines and columns from 1, the end behind the last character.
fn marked(Mistake(piece, wrong, ..): &Mistake) -> (String, Option<[usize; 4]>) {
    assert_eq!(GOOD.matches(piece).count(), 1, "not once in the good file: {piece}");
    let text = GOOD.replacen(piece, wrong, 1);
    let place = |text: &str| (text.matches('\n').count() + 1, text.rsplit('\n').next().unwrap_or("").chars().count() + 1);
    let Some((before, rest)) = text.split_once('«') else { return (text, None) };
    let (inside, after) = rest.split_once('»').unwrap();
    let (start, end) = (place(before), place(&format!("{before}{inside}")));
    (format!("{before}{inside}{after}"), Some([start.0, start.1, end.0, end.1]))
}

fn check(folder: &Path, text: &str, more: &[&str]) -> Output {
    std::fs::write(folder.join("routes.yaml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.arg("check").args(more).current_dir(folder).env("EMPTY_ONE", "");
    command.envs(ENVIRONMENT).output().unwrap()
}

/// What is not as it should be about the answers to one mistake.
fn judge(folder: &Path, mistake: &Mistake) -> Vec<String> {
    let Mistake(_, _, id, help) = mistake;
    let (text, place) = marked(mistake);
    let [json, told] = [&["--json"][..], &[]].map(|more| {
        let output = check(folder, &text, more);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    });
    let mut wrong = vec![];
    let found: Vec<Value> = serde_json::from_str(&json).unwrap_or_default();
    match &found[..] {
        [one] => {
            let at = ["line", "column", "end_line", "end_column"].map(|key| one[key].as_u64().unwrap_or(0) as usize);
            if one["id"] != *id {
                wrong.push(format!("the rule is {}, not {id}", one["id"]));
            }
            if place.is_some_and(|place| place != at) {
                wrong.push(format!("the place is {at:?}, not {place:?}"));
            }
            let line = format!("--> routes.yaml:{}:{}\n", at[0], at[1]);
            let says = one["help"].as_str().unwrap_or_default();
            if says.is_empty() || !says.contains(help) {
                wrong.push(format!("the help is {}, without {help}", one["help"]));
            }
            if !told.contains(&format!("error[{id}]: ")) || !told.contains(&line) || !told.contains(says) {
                wrong.push("the text says something else than the JSON".into());
            }
        }
        other => wrong.push(format!("{} problems are told, not one", other.len())),
    }
    for secret in ENVIRONMENT.iter().map(|(_, value)| *value).chain(["hush"]) {
        if json.contains(secret) || told.contains(secret) {
            wrong.push(format!("`{secret}` is shown"));
        }
    }
    if wrong.is_empty() { wrong } else { [wrong, vec![told]].concat() }
}

#[test]
fn each_mistake_is_told_once_at_its_place_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = String::new();
    for mistake in MISTAKES {
        let found = judge(folder.path(), mistake);
        if !found.is_empty() {
            wrong.extend(["\n######## ", mistake.1, "\n", &found.join("\n")]);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_file_without_a_mistake_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let output = check(folder.path(), GOOD, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "routes.yaml is good: 4 sources, 2 routes, 3 outputs\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn names_of_headers_and_columns_are_no_secrets_and_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let table = "table: { type: file, path: t.csv, format: csv, header: [event], columns: { event: \"{{ evnt }}\" } }";
    let text = format!("routes: [{{ name: all, to: table }}]\noutputs:\n  {table}\n");
    let output = check(folder.path(), &text, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("{{ evnt }}") && said.contains("header: [event], columns: { event:"), "{said}");
}

/// The settings of one output of each kind that names a file, and of each key that does.
const FILES: [(&str, &str); 16] = [
    ("http", "url: https://a.example, ca: «nope.pem»"),
    ("http", "url: https://a.example, tls: { cert: «nope.pem», key: nope.key }"),
    ("http", "url: https://a.example, tls: { cert: good.pem, key: «nope.key» }"),
    ("http", "url: https://a.example, ca: «routes.yaml»"),
    ("email", "smtp: \"smtps://a.example\", from: a@a.example, to: [b@a.example], ca: «nope.pem»"),
    ("sql", "url: \"postgres://u:p@a.example/d\", sql: DELETE FROM a, tls: { ca: «nope.pem» }"),
    ("kafka", "brokers: [a.example:9092], topic: a, tls: { ca: «nope.pem» }"),
    ("kafka", "brokers: [a.example:9092], topic: a, tls: { cert: «nope.pem», key: nope.key }"),
    ("redis", "url: \"rediss://a.example\", stream: a, ca: «nope.pem»"),
    ("redis", "url: \"rediss://a.example\", stream: a, tls: { ca: «nope.pem» }"),
    ("nats", "url: \"tls://a.example\", subject: a, ca: «nope.pem»"),
    ("amqp", "url: \"amqps://a.example\", routing_key: a, ca: «nope.pem»"),
    ("mqtt", "url: \"mqtts://a.example\", topic: a, ca: «nope.pem»"),
    ("syslog", "url: \"tls://a.example\", ca: «nope.pem»"),
    ("s3", "bucket: a, region: eu-west-1, access_key: a, secret_key: a, ca: «nope.pem»"),
    ("slack", "url: \"https://hooks.slack.com/services/T0/B0/x\", text: a, ca: «nope.pem»"),
];

#[test]
fn a_file_that_run_could_not_start_with_is_told_by_check_and_by_run() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(folder.path().join("good.pem"), certificate.cert.pem()).unwrap();
    let wrong: String = FILES.iter().filter_map(|(kind, settings)| refused(folder.path(), kind, settings, "bad-certificate")).collect();
    assert!(wrong.is_empty(), "{wrong}");
    let run = Command::new(env!("CARGO_BIN_EXE_switchyard")).args(["run", "routes.yaml"]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(!run.status.success() && said.contains("error[bad-certificate]: ") && said.contains("--> routes.yaml:3:"), "{said}");
}

/// Hosts that no output may reach, whatever speaks to them.
const METADATA: [(&str, &str); 9] = [
    ("http", "url: «\"http://169.254.169.254/latest\"»"),
    ("email", "smtp: «\"smtps://169.254.169.254\"», from: a@a.example, to: [b@a.example]"),
    ("sql", "url: «\"postgres://u:p@169.254.169.254/d\"», sql: DELETE FROM a"),
    ("sql", "url: «\"mysql://u:p@metadata.google.internal/d\"», sql: DELETE FROM a"),
    ("kafka", "brokers: [«\"169.254.169.254:80\"»], topic: a"),
    ("redis", "url: «\"rediss://169.254.169.254\"», stream: a"),
    ("nats", "url: «\"tls://169.254.169.254\"», subject: a"),
    ("amqp", "url: «\"amqps://0xa9fea9fe\"», routing_key: a"),
    ("mqtt", "url: «\"mqtts://[::ffff:169.254.169.254]\"», topic: a"),
];

#[test]
fn a_clouds_metadata_service_is_refused_whatever_speaks_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: String = METADATA.iter().filter_map(|(kind, settings)| refused(folder.path(), kind, settings, "metadata-url")).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is not as it should be about the refusal of an output's settings at their marked place.
fn refused(folder: &Path, kind: &str, settings: &str, id: &str) -> Option<String> {
    let text = format!("routes: [{{ name: all, to: o }}]\noutputs:\n  o: {{ type: {kind}, {settings} }}\n");
    let column = text.lines().last().unwrap_or_default().chars().take_while(|c| *c != '«').count() + 1;
    let output = check(folder, &text.replace(['«', '»'], ""), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    let good = !output.status.success() && said.contains(&format!("error[{id}]: ")) && said.contains(&format!("routes.yaml:3:{column}\n"));
    (!good).then(|| format!("{kind}: {settings}\n{said}\n"))
}

/// What is the same for every event and cannot be sent.
const CONSTANT: [(&str, &str, &str); 9] = [
    ("email", "smtp: \"smtps://a.example\", from: a@a.example, to: [b@a.example], «recipient»: \"{{ data.to }}\"", "no-recipients-from"),
    ("syslog", "url: \"tls://a.example\", severity: «bad»", "bad-severity"),
    ("kafka", "brokers: [localhost:9092], topic: «a b»", "bad-topic"),
    ("kafka", "brokers: [localhost:9092], topics: [a, b], topic: «c»", "bad-topic"),
    ("nats", "url: \"tls://a.example\", subject: «\"a.*\"»", "bad-subject"),
    ("nats", "url: \"tls://a.example\", subject: «a b»", "bad-subject"),
    ("mqtt", "url: \"mqtts://a.example\", topic: «\"a/#\"»", "bad-topic"),
    ("amqp", "url: \"amqps://a.example\", routing_key: a, exchange: «\"{{ topic }}\"»", "bad-exchange"),
    ("syslog", "url: \"tls://a.example\", severity: «Warning»", "bad-severity"),
];

#[test]
fn what_is_the_same_for_every_event_and_cannot_be_sent_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: String = CONSTANT.iter().filter_map(|(kind, settings, id)| refused(folder.path(), kind, settings, id)).collect();
    assert!(wrong.is_empty(), "{wrong}");
}
