//! The command line as a new user meets it: the real binary beside a real daemon, right and wrong arguments, exit codes, and no
//! control character of an event on the terminal (L8).
#![allow(missing_docs, clippy::unwrap_used)]

mod yard;

use serde_json::Value;
use std::process::Output;
use yard::{Behaviour, FarSide, Yard, wait_for};

const ROUTES: &str = "
routes:
  - { name: all, to: archive }
  - { name: big, topic: ORDER_*, filter: { data.total: { gt: 1000 } }, to: { output: partner, body: '{\"n\": {{ data.number|tojson }}}' } }
outputs:
  archive: { type: file, path: out/events.ndjson }
";

const ORDER: &str = "{\"number\": 7,\n \"total\": 1500.50}\n";

fn yard(partner: &str) -> Yard {
    let yard = Yard::new(&format!(
        "{ROUTES}  partner: {{ type: http, url: \"{partner}\", retry: {{ on: [404], reject: [500], schedule: [1s] }} }}\n"
    ));
    std::fs::write(yard.path("order.json"), ORDER).unwrap();
    yard
}

/// Exit code and everything that was printed.
fn told(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

#[test]
fn without_a_daemon_every_command_says_so_on_one_line() {
    let yard = yard("http://127.0.0.1:9/");
    for args in [
        "send --source shop order.json",
        "events",
        "deliveries",
        "dead",
        "refused",
        "top",
        "audit",
        "erase --where true",
        "tail",
        "pause archive",
        "replay --state dead -y",
    ] {
        let (code, said) = told(yard.cli(&args.split(' ').collect::<Vec<_>>()));
        assert_eq!(code, 69, "{args}: {said}");
        assert_eq!(
            said, "switchyard: no daemon has run with routes.yaml: start one with `switchyard run`, or say where it is with --admin URL\n",
            "{args}"
        );
    }
    let (code, said) = told(yard.cli(&["events", "--admin", "http://127.0.0.1:1"]));
    assert_eq!((code, said.lines().count()), (69, 1), "{said}");
    assert!(said.starts_with("switchyard: no daemon answers at http://127.0.0.1:1 ("), "{said}");
    let (code, said) = told(yard.cli(&["events", "-c", "nope.yaml"]));
    assert_eq!(code, 2, "a file that is not there is a wrong argument: {said}");
}

#[test]
fn send_asks_the_daemon_where_events_arrive_and_says_what_is_not_over_yet() {
    let yard = yard(&format!("http://{}/", FarSide::nobody())).start();
    let (code, said) = told(yard.cli(&["send", "--source", "shop", "--topic", "ORDER_PAID", "order.json"]));
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("200 in, kept as evt_"), "{said}");
    assert!(said.contains("in out/events.ndjson"), "{said}");
    assert!(said.contains("the output is down: ") && said.contains("tried again "), "{said}");
    let listed = yard.json(&["deliveries", "--output", "partner"]);
    assert!(listed[0]["blocked"].as_str().unwrap().starts_with("the output is down: "), "{listed:?}");
    assert!(told(yard.cli(&["pause", "archive"])).0 == 0 && told(yard.cli(&["login", "nope"])).1.contains("there is no output `nope`"));
    let paused = yard.post("OTHER", "{}");
    let (_, said) = told(yard.cli(&["events", &paused]));
    assert!(said.contains("the output is paused: `switchyard resume archive` lets it go on"), "{said}");
    assert_eq!(told(yard.cli(&["resume", "archive"])).0, 0);
    let said = yard.json(&["send", "--source", "shop", "--topic", "OTHER", "order.json"]);
    assert_eq!(said.len(), 1, "one object, with or without deliveries: {said:?}");
    assert_eq!((said[0]["duplicate"].as_bool(), said[0]["deliveries"][0]["output"].as_str()), (Some(false), Some("archive")));
}

#[test]
fn send_says_what_became_of_it_where_the_answer_is_the_sources_own_and_where_it_is_several() {
    let yard = Yard::new(ROUTES);
    let text = std::fs::read_to_string(yard.path("routes.yaml")).unwrap();
    let text = text
        .replace("  partner:", "  left:")
        .replace(", to: { output: partner, body: '{\"n\": {{ data.number|tojson }}}' }", ", to: archive");
    let more = "sources:
  quiet: { verify: { bearer: made-up-bearer-token }, answer: thanks }
  many: { verify: { bearer: made-up-bearer-token }, each: data.orders, topic: { json: kind }, redact: [data.iban] }
  both: { verify: { bearer: made-up-bearer-token }, each: data.orders, answer: thanks }
";
    yard.write_whole(&text.replacen("sources:\n", more, 1));
    let yard = yard.start();
    std::fs::write(yard.path("order.json"), ORDER).unwrap();
    std::fs::write(yard.path("orders.json"), r#"{"orders": [{"kind": "ORDER_A", "total": 1, "iban": "made-up"}, {"kind": "OTHER"}]}"#)
        .unwrap();
    let (code, said) = told(yard.cli(&["send", "--source", "quiet", "order.json"]));
    assert!(code == 0 && said.starts_with("200 in, kept as evt_") && said.contains("in out/events.ndjson"), "{said}");
    for source in ["many", "both"] {
        let (code, said) = told(yard.cli(&["send", "--source", source, "orders.json"]));
        assert!(code == 0 && said.starts_with("200 in, kept as 2 events\nevt_"), "{said}");
        assert_eq!(said.matches("in out/events.ndjson").count(), 2, "{said}");
    }
    let found = yard.json(&["send", "--source", "many", "orders.json"]);
    assert_eq!((found.len(), found[1]["deliveries"][0]["output"].as_str()), (2, Some("archive")), "{found:?}");

    // What `explain` says of the same file.
    let (code, said) = told(yard.cli(&["explain", "--source", "many", "orders.json"]));
    assert_eq!(code, 0, "{said}");
    for line in ["event 1 of 2, topic ORDER_A:", "✗ big: data.total: { gt: 1000 } (found 1)", "event 2 of 2, topic OTHER:", "✗ big: topic"]
    {
        assert!(said.lines().any(|told| told.starts_with(line)), "no `{line}` in\n{said}");
    }
    assert!(said.contains("[redacted]") && !said.contains("made-up"), "{said}");
    assert_eq!(yard.json(&["explain", "--source", "many", "orders.json"]).len(), 2);
    let (code, said) = told(yard.cli(&["explain", "evt_nope"]));
    assert_eq!((code, said.as_str()), (2, "switchyard: `evt_nope` is no event's id (and no file): `switchyard events` lists them\n"));
}

#[test]
fn what_the_daemon_does_not_take_or_have_is_a_no() {
    let yard = yard("http://127.0.0.1:9/").start();
    let (code, said) =
        told(yard.command(&["send", "--source", "shop", "order.json"]).env("SHOP_SECRET", "another-made-up-secret").output().unwrap());
    assert_eq!((code, said.as_str()), (1, "switchyard: the daemon answered 401: not proven; `switchyard refused` says more\n"));
    assert_eq!(yard.json(&["refused"])[0]["status"], 401);
    let none = "evt_00000000000000000000000000000000";
    for args in [["events", none], ["explain", none], ["replay", none], ["pause", "archiv"]] {
        let (code, said) = told(yard.cli(&args));
        assert_eq!((code, said.lines().count()), (1, 1), "{args:?}: {said}");
    }
    assert_eq!(told(yard.cli(&["pause", "archiv"])).1, "switchyard: there is no output `archiv`; did you mean `archive`?\n");
    assert_eq!(told(yard.cli(&["events"])), (1, "no event matches\n".into()));
    assert_eq!(told(yard.cli(&["dead"])), (1, "no delivery matches\n".into()));
    assert_eq!(told(yard.cli(&["dead", "--json"])), (1, String::new()));
    for (args, wanted) in [
        (&["send", "--source", "shpo", "order.json"][..], "there is no source `shpo`; did you mean `shop`?"),
        (&["events", "evt_x"], "expected `evt_` and 32 hex digits"),
        (&["events", "-n", "0"], "0 is not in 1..=1000"),
        (&["deliveries", "-n", "5000"], "5000 is not in 1..=1000"),
        (&["tail", "-n", "0"], "0 is not in 1.."),
        (&["events", "--since", "soon"], "write how long ago, such as `1h`"),
        (&["replay"], "say what to deliver again"),
        (&["explain", "order.json"], "--source NAME"),
    ] {
        let (code, said) = told(yard.cli(args));
        assert!(code == 2 && said.contains(wanted), "{args:?}: {code} {said}");
    }
}

#[test]
fn no_control_character_of_an_event_reaches_the_terminal() {
    let yard = yard("http://127.0.0.1:9/").start();
    std::fs::write(yard.path("evil.json"), "{\"x\": \"\x1b]0;owned\x07\"}\r\n\x1b[2J\u{9b}31m second line\n").unwrap();
    let mut tail = yard.command(&["tail", "-n", "1"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let event =
        yard.json(&["send", "--source", "shop", "--topic", "ORDER_\u{9b}31m", "evil.json"])[0]["event"].as_str().unwrap().to_owned();
    wait_for("the delivery", || !yard.json(&["deliveries"]).is_empty());
    // The tail may have begun after the event: another one ends it.
    wait_for("the tail to end", || {
        yard.cli(&["send", "--source", "shop", "--topic", "ORDER_\u{9b}31m", "order.json", "--no-wait"]);
        tail.try_wait().unwrap().is_some()
    });
    let mut said = told(tail.wait_with_output().unwrap()).1;
    for args in [&["events"][..], &["events", &event], &["deliveries"], &["explain", &event]] {
        said += &told(yard.cli(args)).1;
    }
    let bad = said.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(bad, None, "{said:?}");
    assert!(said.contains("second line"), "{said}");
}

#[test]
fn a_body_is_shown_line_by_line() {
    let yard = yard("http://127.0.0.1:9/").start();
    let event = yard.post("OTHER", ORDER);
    let (_, said) = told(yard.cli(&["events", &event]));
    assert!(said.contains("        body: {\"number\": 7,\n               \"total\": 1500.50}\n"), "{said}");
}

#[test]
fn retry_on_and_reject_go_before_the_table_of_answers() {
    let far = FarSide::start();
    let yard = yard(&far.url()).start();
    // By the table 404 is a misconfigured output and 500 is tried again.
    far.next([Behaviour::status(404), Behaviour::ok(), Behaviour::status(500)]);
    let again = yard.post("ORDER_A", ORDER);
    assert_eq!(yard.wait_state(&again, "partner", "delivered")["attempts"], 2);
    let dead = yard.post("ORDER_B", &ORDER.replace('7', "8"));
    assert_eq!(yard.wait_state(&dead, "partner", "dead")["attempts"], 1);
    assert_eq!(far.arrived().iter().map(yard::far_side::Arrived::text).collect::<Vec<_>>(), ["{\"n\": 7}", "{\"n\": 7}", "{\"n\": 8}"]);
}

#[test]
fn replay_counts_first_and_asks() {
    let yard = yard("http://127.0.0.1:9/").start();
    let event = yard.post("OTHER", ORDER);
    yard.wait_state(&event, "archive", "delivered");
    let filter = ["replay", "--output", "archive", "--state", "delivered"];
    let with = |more: &str| told(yard.cli(&[&filter[..], &[more]].concat()));
    assert_eq!(with("--dry-run"), (0, "1 delivery to archive would be delivered again\n".into()));
    assert_eq!(told(yard.cli(&filter)), (2, "switchyard: 1 delivery matches; add --yes to deliver it again\n".into()));
    assert_eq!(told(yard.cli(&[&filter[..], &["--json"]].concat())).0, 2, "a program has to mean it too");
    let planned = "1 delivery to archive will be delivered again\nreplay 1 of archive: `switchyard replay show 1` says how far it is\n";
    assert_eq!(with("-y"), (0, planned.into()));
    wait_for("the second line", || yard::lines(&yard.path("out/events.ndjson")).len() == 2);
    assert_eq!(told(yard.cli(&["replay", "--output", "archiv", "--dry-run"])), (1, "nothing matches\n".into()));
}

/// Every sender and every type of output there is, one after the other and a few together: what is written passes `check`.
#[test]
fn init_writes_a_good_file_for_every_sender_and_every_output() {
    let yard = Yard::new("");
    let names = |args: &[&str]| -> Vec<String> {
        let (_, said) = told(yard.cli(args));
        said.rsplit_once("there are: ").unwrap_or_else(|| panic!("{said}")).1.trim().split(", ").map(str::to_owned).collect()
    };
    let senders = names(&["init", "x.yaml", "--sender", "zzzzzzzzzzzz"]);
    let outputs = names(&["init", "x.yaml", "--output", "zzzzzzzzzzzz"]);
    assert!(senders.len() > 40 && outputs.len() > 80, "{senders:?} {outputs:?}");
    let good = |file: &str, flags: &[&str]| {
        let (code, said) = told(yard.cli(&[&["init", file], flags].concat()));
        assert_eq!(code, 0, "{said}");
        let (code, found) = told(yard.cli(&["check", file, "--without-secrets"]));
        assert!(
            found.contains(": 1 source, ") || found.contains(&format!(": {} sources, ", senders.len())) || found.contains(": 2 sources, "),
            "something fits each secret: {flags:?}: {found}"
        );
        // That its maker gives it up is for whoever chooses it to know.
        let warned = found.contains("warning[") && !found.contains("warning[destination-ends]");
        assert!(code == 0 && !warned, "{flags:?}: {found}\n{}", std::fs::read_to_string(yard.path(file)).unwrap());
        said
    };
    // All senders at once: each has a path of its own.
    good("senders.yaml", &["--sender", &senders.join(",")]);
    for (nth, output) in outputs.iter().enumerate() {
        good(&format!("{nth}.yaml"), &["--sender", "orderchamp", "--output", output]);
    }
    let said = good("both.yaml", &["--sender", "orderchamp", "--sender", "github", "--output", "slack,kafka"]);
    assert!(said.contains("before it runs set ORDERCHAMP_SECRET, GITHUB_SECRET, SLACK_URL"), "{said}");
    let (code, said) = told(yard.cli(&["init", "x.yaml", "--output", "slak"]));
    assert!(code == 2 && said.contains("there is no type of output `slak`; did you mean `slack`?"), "{said}");
    assert!(!yard.path("x.yaml").exists(), "nothing was written");
}

#[test]
fn init_never_overwrites_and_what_it_writes_is_good() {
    let yard = yard("http://127.0.0.1:9/");
    let (code, said) = told(yard.cli(&["init"]));
    assert_eq!(
        (code, said.as_str()),
        (2, "switchyard: routes.yaml is there already and stays as it is: name another, as `switchyard init other.yaml`\n")
    );
    assert_eq!(told(yard.cli(&["init", "other.yaml"])).0, 0);
    assert_eq!(told(yard.cli(&["check", "other.yaml"])), (0, "other.yaml is good: 2 sources, 4 routes, 3 outputs\n".into()));
}

#[test]
fn every_command_explains_itself_and_every_shell_is_served() {
    let yard = yard("http://127.0.0.1:9/");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, help) = told(yard.cli(&["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> =
        listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|word| !matches!(*word, "" | "help"))).collect();
    assert!(commands.len() > 15, "{help}");
    for command in commands {
        let (code, said) = told(yard.cli(&[command, "--help"]));
        assert!(code == 0 && said.contains("Usage: switchyard"), "{command}: {said}");
        assert!(
            command == "help" || readme.contains(&format!("`{command}")) || readme.contains(&format!("`switchyard {command}")),
            "README.md misses `{command}`"
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = told(yard.cli(&["completions", shell]));
        assert!(code == 0 && script.contains("deliveries"), "{shell}");
    }
}

#[test]
fn sign_prints_what_the_daemon_takes() {
    let yard = yard("http://127.0.0.1:9/").start();
    let signed: Value = yard.json(&["sign", "--source", "shop", "--topic", "OTHER", "order.json"])[0].clone();
    let answer =
        yard.post_raw(signed["x-shop-topic"].as_str().unwrap(), ORDER.as_bytes(), signed["x-shop-signature"].as_str().unwrap(), &[]);
    assert_eq!(answer.status, 200);
}

#[test]
fn check_asks_every_output_before_a_daemon_runs() {
    let far = FarSide::start();
    let yard = yard(&far.url());
    let (code, said) = told(yard.cli(&["check", "routes.yaml", "--connect"]));
    assert!(code == 0 && said.contains("is good, and every output answers: "), "{said}");

    let nobody = FarSide::nobody();
    let yard = self::yard(&format!("http://{nobody}/"));
    let (code, said) = told(yard.cli(&["check", "routes.yaml"]));
    assert!(code == 0 && said.contains("is good: "), "without the word nothing is asked: {said}");
    let (code, said) = told(yard.cli(&["check", "routes.yaml", "--connect", "--json"]));
    let found: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("output-fails") && said.contains("the output `partner` would not deliver: no connection to `"), "{found}");
    assert!(!yard.path("data/journal.db").exists(), "it opens no journal");
}

#[test]
fn the_graph_shows_every_box_and_no_name_becomes_markup() {
    let yard = Yard::new(
        "routes:
  - { name: one, from: shop, topic: \"<b>&*\", filter: { data.total: { gt: 1 } }, to: [files, screen] }
  - { name: all, to: screen }
outputs:
  files: { type: file, path: out/x.ndjson, rate: 10/s, hours: { zone: UTC, from: \"09:00\", to: \"17:00\" } }
  screen: { type: console }
",
    );
    insta::assert_snapshot!(told(yard.cli(&["graph"])).1, @r#"
    flowchart LR
      s0(["shop"])
      s1(["any source"])
      r0["one<br/>#60;b#62;#38;*<br/>with conditions"]
      r1["all"]
      o0[["files<br/>file<br/>at most 10/s<br/>at its hours"]]
      o1[["screen<br/>console"]]
      s0 --> r0
      r0 --> o0
      r0 --> o1
      s1 --> r1
      r1 --> o1
    "#);
    let (code, svg) = told(yard.cli(&["graph", "--format", "svg"]));
    assert_eq!((code, svg.matches("<rect").count(), svg.matches("<path").count()), (0, 6, 5), "{svg}");
    assert!(svg.contains(">&lt;b&gt;&amp;*</text>") && svg.contains(">at most 10/s</text>"), "{svg}");
    let boxes = &yard.json(&["graph"])[0];
    assert_eq!((boxes["takes"].as_array().unwrap().len(), boxes["sends"].as_array().unwrap().len()), (2, 3));
    assert_eq!(told(yard.cli(&["graph", "--live"])).0, 69);
    std::fs::write(yard.path("bad.yaml"), "routes: 7\n").unwrap();
    assert_eq!(told(yard.cli(&["graph", "bad.yaml"])).0, 1);
    // Where what is dead goes.
    let file = std::fs::read_to_string(yard.path("routes.yaml")).unwrap();
    yard.write_whole(&file.replace("rate: 10/s", "rate: 10/s, on_dead: screen"));
    assert!(told(yard.cli(&["graph"])).1.contains("\n  o0 -. dead .-> o1\n"));
    let dead = told(yard.cli(&["graph", "--format", "svg"])).1;
    assert_eq!((dead.matches("<path").count(), dead.matches(">dead</text>").count()), (6, 1), "{dead}");
    assert_eq!(yard.json(&["graph"])[0]["on_dead"], serde_json::json!([{ "from": "files", "to": "screen" }]));
}

#[test]
fn the_graph_of_a_running_daemon_marks_what_does_not_work() {
    let yard = yard(&format!("http://{}/", FarSide::nobody())).start();
    let event = yard.post("ORDER_PAID", ORDER);
    yard.wait_state(&event, "archive", "delivered");
    yard::wait_until(
        || told(yard.cli(&["graph", "--live"])).1.contains("stroke:#c00"),
        || told(yard.cli(&["graph", "--live"])).1 + &yard.admin("GET", "/api/outputs", "").json().to_string(),
    );
    let (_, drawn) = told(yard.cli(&["graph", "--live"]));
    assert!(drawn.contains("<br/>down") && drawn.contains("1 delivered since the start"), "{drawn}");
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let yard = yard("http://127.0.0.1:9/");
    let (code, page) = told(yard.cli(&["man"]));
    assert!(code == 0 && page.contains(".TH switchyard 1") && page.contains("switchyard\\-listen(1)"), "{page}");
    std::fs::create_dir(yard.path("man1")).unwrap();
    assert_eq!(told(yard.cli(&["man", "man1"])), (0, "wrote the pages into man1\n".into()));
    for page in ["switchyard.1", "switchyard-silence-add.1"] {
        assert!(yard.path("man1").join(page).exists(), "{page}");
    }
    assert!(!yard.path("man1/switchyard-jq-worker.1").exists(), "it is not for people");
    assert_eq!(told(yard.cli(&["man", "nowhere"])).0, 2);
}
