//! Words that other programs have for what has another name here, and how a key is written whose value was of another kind:
//! what somebody meant who comes from there.

use super::indents;
use switchyard_api::tree::Key;
use switchyard_api::{Node, Problem, Span, Value};

/// Where a key stands: names from the top, `*` for a name that people choose; lists do not count.
type Place = &'static [&'static str];

const TOP: Place = &[];
const SERVER: Place = &["server"];
const JOURNAL: Place = &["journal"];
const SOURCE: Place = &["sources", "*"];
const VERIFY: Place = &["sources", "*", "verify"];
const ROUTE: Place = &["routes"];
const TO: Place = &["routes", "to"];
const OUTPUT: Place = &["outputs", "*"];
const BASIC: Place = &["outputs", "*", "auth", "basic"];
const AUTH: Place = &["outputs", "*", "auth"];
const ORDER: Place = &["outputs", "*", "order_by"];
const STUCK: Place = &["outputs", "*", "order_by", "stuck"];
const RATE: Place = &["outputs", "*", "rate"];
const RETRY: Place = &["outputs", "*", "retry"];

/// In a place, these words: what to do, and the word to write instead where that is all.
const WORDS: &[(Place, &[&str], &str, Option<&str>)] = &[
    (TOP, &["inputs", "input", "endpoints", "webhooks", "ingress"], "what sends events stands under `sources`", Some("sources")),
    (
        TOP,
        &["sinks", "destinations", "receivers", "targets", "integrations"],
        "what events are sent to stands under `outputs`",
        Some("outputs"),
    ),
    (TOP, &["pipelines", "pipeline", "subscriptions", "flows"], "what goes where stands under `routes`", Some("routes")),
    (TOP, &["transforms", "transform", "processors"], "what is sent is changed by `transform` of a route, a program of jq", None),
    (TOP, &["data"], "in a ConfigMap the configuration is the text behind `data: { routes.yaml: | … }`: check that text", None),
    (TOP, &["version", "apiVersion", "kind", "name", "metadata"], "there is one version of this file: take it away", None),
    (
        TOP,
        &["include", "includes", "import", "imports", "extends"],
        "everything stands in one file; parts that repeat are `&name` and `*name`, or `<<: *name`",
        None,
    ),
    (
        TOP,
        &["env", "environment", "variables", "vars", "secrets"],
        "variables come from the environment of the process: write `${NAME}` where one is used",
        None,
    ),
    (TOP, &["logging", "log", "log_level"], "the log is set where the daemon is started: `RUST_LOG=debug switchyard run`", None),
    (SERVER, &["port", "host", "bind", "address", "addr"], "write `listen: 127.0.0.1:8080`, address and port in one", None),
    (JOURNAL, &["path", "file", "dir", "directory", "database"], "write `url: sqlite:PATH`", None),
    (JOURNAL, &["retention", "ttl", "max_age", "keep"], "write `retain: { delivered: 3d, dead: 30d }`", None),
    (SOURCE, &["type", "provider", "preset", "scheme", "signature"], "who sends, or how it is proven, is `verify`", Some("verify")),
    (SOURCE, &["address", "port", "listen", "host"], "all sources are reached at `server.listen`; each has its own `path`", None),
    (SOURCE, &["auth", "authentication", "authenticate"], "how the sender is proven is `verify`", Some("verify")),
    (
        SOURCE,
        &[
            "secret_env",
            "signing_secret",
            "secret_key",
            "secrets",
            "webhook_secret",
            "signing_key",
            "hmac_secret",
            "hmac_key",
            "key",
            "sign",
            "password",
        ],
        "write `secret: \"${NAME}\"`",
        None,
    ),
    (
        SOURCE,
        &["token", "api_key", "verification_token", "auth_token"],
        "what the sender signs with is `secret: \"${NAME}\"`; a token that it sends with each request is `verify: { token: \"${NAME}\", header: X-Token }`",
        None,
    ),
    (SOURCE, &["method", "methods"], "events are taken by POST: take it away", None),
    (
        VERIFY,
        &["type", "kind", "scheme", "method"],
        "name the proof itself: `bearer: \"${TOKEN}\"`, `hmac: sha256`, `basic: { user, password }`",
        None,
    ),
    (VERIFY, &["api_key", "apikey", "key_header"], "write `token: \"${KEY}\"` and `header: X-Api-Key`", None),
    (VERIFY, &["algorithm", "algo", "hash", "digest"], "write `hmac: sha256`", Some("hmac")),
    (VERIFY, &["secret"], "`secret` stands beside `verify`, not in it", None),
    (ROUTE, &["source", "sources", "inputs", "input"], "what a route takes from is `from`", Some("from")),
    (
        ROUTE,
        &["match", "matchers", "match_re", "matches", "conditions", "condition", "check", "when"],
        "conditions are `filter: { data.total: { gt: 1000 } }`, topics are `topic`",
        None,
    ),
    (ROUTE, &["if", "expression", "select"], "a condition as a program of jq is `where`", Some("where")),
    (ROUTE, &["event", "events", "event_type", "event_types", "on"], "what kind of event it is stands in `topic`", Some("topic")),
    (
        ROUTE,
        &["output", "outputs", "receiver", "receivers", "destination", "destinations", "sink", "target", "targets", "send_to"],
        "where a route sends is `to`",
        Some("to"),
    ),
    (ROUTE, &["enabled", "disabled", "active"], "every route that is here takes events: put `#` before its lines to switch it off", None),
    (ROUTE, &["continue", "priority", "order"], "every route that matches takes the event, in no order: take it away", None),
    (
        ROUTE,
        &["group_by", "group_wait", "group_interval", "throttle"],
        "what goes together, and how often, is `digest` and `rate` of the output",
        None,
    ),
    (
        ROUTE,
        &["mute_time_intervals", "mute_times", "silence", "mute"],
        "write `hours:` for when it may send; `switchyard silence` keeps deliveries back for a while",
        None,
    ),
    (
        ROUTE,
        &["text", "body", "subject", "html", "headers", "key", "title", "uses", "with", "run", "steps", "do", "action"],
        "what is said stands beside the output's name: `to: { output: NAME, text: … }`",
        None,
    ),
    (ROUTE, &["map", "mapping", "jq", "script"], "what is sent is changed by `transform`, a program of jq", Some("transform")),
    (
        ROUTE,
        &["schedule", "cron", "time", "active_time_intervals"],
        "write `hours: { zone: Europe/Amsterdam, on: mon-fri, from: \"08:00\", to: \"18:00\" }`",
        None,
    ),
    (TO, &["name", "receiver", "destination", "target"], "the output's name stands under `output`", Some("output")),
    (OUTPUT, &["kind", "provider", "driver"], "what kind of destination it is stands in `type`", Some("type")),
    (
        OUTPUT,
        &["endpoint", "uri", "webhook_url", "webhook", "webhookUrl", "webhookURL", "hook_url", "api_url", "address", "target_url"],
        "where it sends is `url`",
        Some("url"),
    ),
    (OUTPUT, &["rate_limit", "ratelimit", "throttle", "limit"], "write `rate: 30/min`", Some("rate")),
    (OUTPUT, &["workers", "parallelism", "max_concurrency", "threads"], "how many at once is `concurrency`", Some("concurrency")),
    (OUTPUT, &["retries", "max_retries", "max_attempts", "attempts", "backoff"], "write `retry: { attempts: 5, over: 1h }`", None),
    (
        OUTPUT,
        &["dead_letter", "dlq", "dead_letter_queue", "on_error", "on_failure", "fallback"],
        "where dead deliveries go is `on_dead`",
        Some("on_dead"),
    ),
    (OUTPUT, &["token", "bearer", "bearer_token", "authorization"], "write `auth: { bearer: \"${TOKEN}\" }`", None),
    (OUTPUT, &["username", "user", "password", "basic_auth"], "write `auth: { basic: { user: NAME, password: \"${PASSWORD}\" } }`", None),
    (OUTPUT, &["enabled", "disabled", "active"], "every output that is here works: `switchyard pause NAME` holds one", None),
    (OUTPUT, &["template", "message", "format", "content"], "what is sent stands in message fields, such as `text` or `body`", None),
    (OUTPUT, &["cron", "schedule", "time"], "write `hours: { zone: Europe/Amsterdam, on: mon-fri, from: \"08:00\", to: \"18:00\" }`", None),
    (
        OUTPUT,
        &["group_by", "group_wait", "group_interval", "repeat_interval", "batching"],
        "what goes together is `digest: { by: \"{{ topic }}\", every: 5m }`",
        None,
    ),
    (OUTPUT, &["buffer", "queue", "persistence"], "what waits is kept in the journal, on disk: there is nothing to set here", None),
    (
        OUTPUT,
        &["encoding", "codec", "serializer"],
        "what is sent is made by message fields, such as `text` or `body`, or by `transform` of the route",
        None,
    ),
    (
        AUTH,
        &["type", "kind", "scheme"],
        "take it away and name the credentials themselves: `bearer: \"${TOKEN}\"`, `basic: { user: NAME, password: \"${PASSWORD}\" }`",
        None,
    ),
    (AUTH, &["token", "bearer_token", "access_token"], "write `bearer: \"${TOKEN}\"`", Some("bearer")),
    (AUTH, &["username", "user", "password"], "write `basic: { user: NAME, password: \"${PASSWORD}\" }`", None),
    (BASIC, &["username", "name", "login", "email"], "who logs in is `user`", Some("user")),
    (BASIC, &["pass", "passwd", "pwd", "secret", "token"], "write `password: \"${PASSWORD}\"`", Some("password")),
    (AUTH, &["api_key", "apikey", "key"], "write `header: { name: X-Api-Key, value: \"${KEY}\" }`", None),
    (
        RETRY,
        &["max", "count", "max_attempts", "max_retries", "retries", "limit", "times"],
        "how often it is tried is `attempts`",
        Some("attempts"),
    ),
    (
        RETRY,
        &["backoff", "delay", "interval", "initial_interval", "factor", "multiplier"],
        "pauses grow by themselves within `over`; to set each write `schedule: [5s, 5m, 30m]`",
        None,
    ),
    (
        RATE,
        &["per", "window", "interval", "period", "every", "unit", "duration"],
        "the time stands behind the number: `limit: 30/min`",
        None,
    ),
    (RATE, &["max", "count", "requests", "rate", "value"], "how many in what time is `limit`, such as `30/min`", Some("limit")),
    (STUCK, &["skip_after", "after", "skip"], SKIP, None),
    (RETRY, &["max_elapsed_time", "max_age", "timeout", "duration"], "how long it is tried is `over`", Some("over")),
];

/// As [`WORDS`], for outputs of type `sql`.
const SQL: &[(Place, &[&str], &str, Option<&str>)] = &[
    (
        OUTPUT,
        &["statement", "query", "insert", "sql_query", "command"],
        "the statement is `sql`, with a `:name` for each value that `params` gives",
        Some("sql"),
    ),
    (OUTPUT, &["dsn", "database", "connection", "connection_string", "host"], "which database is `url`", Some("url")),
    (
        OUTPUT,
        &["args", "values", "parameters", "bind"],
        "what a `:name` in `sql` stands for is `params: { NAME: \"{{ data.id }}\" }`",
        Some("params"),
    ),
];
/// As [`WORDS`], for outputs of type `email`.
const EMAIL: &[(Place, &[&str], &str, Option<&str>)] = &[
    (
        OUTPUT,
        &["url", "server", "host", "smtp_server", "smtp_url", "smtp_host", "smarthost", "endpoint"],
        "the mail server is `smtp: smtps://USER:PASSWORD@mail.example.com`, most often as `\"${SMTP_URL}\"`",
        None,
    ),
    (
        OUTPUT,
        &["user", "username", "password", "pass", "auth", "port", "tls", "starttls", "secure"],
        "all of it stands in `smtp`: `smtps://USER:PASSWORD@mail.example.com:465`, or `smtp://…:587` for STARTTLS",
        None,
    ),
    (OUTPUT, &["sender", "mail_from", "from_address"], "who writes is `from`", Some("from")),
    (OUTPUT, &["recipient", "recipients", "rcpt", "mail_to", "send_to", "email"], "who gets the mails is `to`, a list", Some("to")),
    (OUTPUT, &["message", "body", "content", "template"], "what is sent stands in `subject`, `text` and `html`", None),
];

/// How those behind a delivery that is stuck go on.
const SKIP: &str = "those behind it wait: `stuck: hold`; to have them go on, write `skip_after: 1h` in its place, beside `key`";

/// How these are written, for whoever gave another kind of value.
const EXAMPLES: &[(Place, &str, &str)] = &[
    (SOURCE, "dedupe", "write how long repeats are recognised, such as `dedupe: 72h`; `0s`: never"),
    (
        SOURCE,
        "verify",
        "write the name of a sender, such as `verify: stripe`; or `verify: none`; or `verify: { hmac: sha256, header: X-Signature }`",
    ),
    (SOURCE, "secret", "write `secret: \"${NAME}\"`, or a list while it rotates"),
    (VERIFY, "hmac", "write `verify: { hmac: sha256, header: X-Signature }`: what else there is stands beside `hmac`"),
    (SERVER, "admin", "write `admin: { listen: 127.0.0.1:8081 }`"),
    (SERVER, "tls", "write `tls: { cert: tls/cert.pem, key: tls/key.pem }`"),
    (ROUTE, "where", "write a program of jq in quotes: `where: '.data.total > 1000'`"),
    (ROUTE, "transform", "write a program of jq in quotes: `transform: '{ id: .data.id }'`"),
    (JOURNAL, "retain", "write `retain: { delivered: 3d, dead: 30d }`"),
    (OUTPUT, "on_dead", "name the output that the dead go to, such as `on_dead: archive`"),
    (OUTPUT, "body", "write the text of it: `body: '{\"id\": {{ data.id|tojson }}}'`; without `body` it is the event's own"),
    (OUTPUT, "retry", "write `retry: { attempts: 5, over: 1h }`, or `retry: { schedule: [5s, 5m, 30m] }`"),
    (OUTPUT, "order_by", "write `order_by: { key: \"{{ data.id }}\" }`"),
    (ORDER, "stuck", SKIP),
    (OUTPUT, "auth", "write `auth: { bearer: \"${TOKEN}\" }`, or `auth: { basic: { user: NAME, password: \"${PASSWORD}\" } }`"),
    (OUTPUT, "digest", "write `digest: { by: \"{{ topic }}\", every: 5m }`"),
    (OUTPUT, "hours", "write `hours: { zone: Europe/Amsterdam, on: mon-fri, from: \"08:00\", to: \"18:00\" }`"),
    (ROUTE, "hours", "write `hours: { zone: Europe/Amsterdam, on: mon-fri, from: \"08:00\", to: \"18:00\" }`"),
    (AUTH, "basic", "write `basic: { user: NAME, password: \"${PASSWORD}\" }`"),
];

/// A word of this language that was meant, and in what; the output, where that is one.
struct Meant<'t> {
    inside: Span,
    word: &'static str,
    output: Option<&'t str>,
}

/// Says to whoever wrote another program's word what it is called here; what is told only because of that is left out.
pub fn translate(problems: &mut Vec<Problem>, from: usize, tree: &Node) {
    let mut meant: Vec<Meant> = vec![];
    for problem in &mut problems[from..] {
        let Some(found) = path_to(tree, problem.at) else { continue };
        let Some((last, place)) = found.names.split_last() else { continue };
        let here =
            |pattern: Place| pattern.len() == place.len() && pattern.iter().zip(place).all(|(want, name)| *want == "*" || want == name);
        if problem.id == "unknown-key" {
            // A mail server or a database is no place that takes requests.
            let own = match place {
                ["outputs", _] if found.is_of_type("email") => EMAIL,
                ["outputs", _] if found.is_of_type("sql") => SQL,
                _ => &[],
            };
            let Some((.., help, instead)) = own.iter().chain(WORDS).find(|(pattern, words, ..)| here(pattern) && words.contains(last))
            else {
                continue;
            };
            // Who wrote both says it twice.
            let there = |word: &&str| found.beside.iter().any(|(key, _)| key.name == **word);
            if let Some(word) = instead.filter(there) {
                problem.help = Some(format!("take it away: `{word}` is there already"));
                continue;
            }
            problem.help = Some((*help).to_owned());
            problem.patch = instead.map(str::to_owned);
            let output = (here(OUTPUT)).then(|| place.get(1).copied()).flatten();
            meant.extend(instead.map(|word| Meant { inside: found.inside, word, output }));
        } else if (problem.id == "wrong-type" || problem.id == "unknown-word" && *last == "stuck")
            && let Some((.., help)) = EXAMPLES.iter().find(|(pattern, word, _)| here(pattern) && word == last)
        {
            problem.help = Some((*help).to_owned());
        }
    }
    indents::explain(problems, from, tree);
    // What is missing is there, under another name.
    let told = |p: &Problem, Meant { inside, word, output }: &Meant| {
        let key = p.id == "missing-key" && p.title.contains(&format!("`{word}`")) && (inside.contains(p.at) || p.at.contains(*inside));
        let field = p.id == "missing-field" && output.is_some_and(|output| p.title.starts_with(&format!("`{output}` needs `{word}`")));
        key || field
    };
    let mut nth = 0;
    problems.retain(|p| {
        nth += 1;
        nth <= from || !meant.iter().any(|meant| told(p, meant))
    });
}

/// The variable that a text names in the way of a shell, a batch file or another program's templates.
pub fn variable(text: &str) -> Option<&str> {
    let inside = |open: &str, close: &str| text.strip_prefix(open)?.strip_suffix(close).map(str::trim);
    let scoped = |text: &'_ str| text.split_once('.').is_some_and(|(scope, _)| ["env", "secrets", "vars"].contains(&scope));
    // As Rails, Node, Docker and others call it.
    let prefixed = ["env:", "env://", "process.env.", "os.environ.", "secret:"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let braces = inside("${{", "}}").or_else(|| inside("{{", "}}")).filter(|text| scoped(text)).and_then(|text| text.split_once('.'));
    let name = braces
        .map(|(_, name)| name)
        .or_else(|| inside("%", "%"))
        .or_else(|| inside("$(", ")"))
        .or_else(|| prefixed.map(|name| name.trim_start_matches('/')))
        .or_else(|| text.strip_prefix('$'))?;
    let plain = |name: &str| name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    (name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') && plain(name)).then_some(name)
}

/// The names that lead to a place: of the key that stands there, or of the value.
struct Path<'t> {
    names: Vec<&'t str>,
    /// The keys beside the last one, itself included.
    beside: &'t [(Key, Node)],
    /// The keys and values in which the last one stands, with the key they have.
    inside: Span,
}

fn path_to(tree: &Node, at: Span) -> Option<Path<'_>> {
    type Beside<'t> = (Span, &'t [(Key, Node)]);
    fn walk<'t>(node: &'t Node, at: Span, inside: Span, names: &mut Vec<&'t str>) -> Option<Beside<'t>> {
        match &node.value {
            Value::Map(entries) => entries.iter().find_map(|(key, child)| {
                names.push(&key.name);
                let whole = Span { start: key.span.start, end: child.span.end.max(key.span.end) };
                let found =
                    if key.span == at || child.span == at { Some((inside, entries.as_slice())) } else { walk(child, at, whole, names) };
                if found.is_none() {
                    names.pop();
                }
                found
            }),
            Value::List(items) => items.iter().find_map(|item| walk(item, at, item.span, names)),
            _ => None,
        }
    }
    let mut names = vec![];
    let (inside, beside) = walk(tree, at, tree.span, &mut names)?;
    Some(Path { names, beside, inside })
}

impl Path<'_> {
    fn is_of_type(&self, kind: &str) -> bool {
        self.beside.iter().any(|(key, node)| key.name == "type" && node.as_text() == Some(kind))
    }
}
