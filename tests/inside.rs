//! The built-in source `switchyard` with the real daemon: what goes wrong is told once, to those who asked, and never makes more of itself.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use serde_json::Value;
use std::process::Stdio;
use yard::{Behaviour, FarSide, Yard, wait_for, wait_until};

/// What was told so far: topic, state, count and the whole data, oldest first.
fn told(yard: &Yard) -> Vec<(String, String, u64, Value)> {
    let listed = yard.admin("GET", "/api/events?source=switchyard&limit=500", "").json();
    let mut ids: Vec<String> = listed["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().into()).collect();
    ids.reverse();
    let one = |id: String| {
        let event = yard.admin("GET", &format!("/api/events/{id}"), "").json();
        let data: Value = serde_json::from_str(event["raw"].as_str().unwrap()).unwrap();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        (event["topic"].as_str().unwrap().to_owned(), text("state"), data["count"].as_u64().unwrap(), data)
    };
    ids.into_iter().map(one).collect()
}

/// Waits until this topic was told in this state; its data.
fn wait_told(yard: &Yard, topic: &str, state: &str) -> Value {
    let mut found = Value::Null;
    wait_until(
        || {
            let fits = |(t, s, ..): &&(String, String, u64, Value)| t == topic && s == state;
            found = told(yard).iter().find(fits).map(|(.., data)| data.clone()).unwrap_or_default();
            !found.is_null()
        },
        || format!("{topic} {state}; told: {:?}\n{}", told(yard), yard.log()),
    );
    found
}

fn topics(yard: &Yard) -> Vec<String> {
    told(yard).into_iter().map(|(topic, state, ..)| format!("{topic} {state}")).collect()
}

/// Waits until the daemon has looked around and told what there was: what comes last is a file that does not run.
fn look_around(yard: &Yard) {
    yard.write("routes: nothing\n");
    wait_told(yard, "config.rejected", "begins");
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let mut yard = Yard::new(
        "routes:
  - { name: all, from: shop, to: out }
  - { name: trouble, from: switchyard, to: out }
outputs: { out: { type: file, path: out.ndjson } }
",
    );
    let mut command = yard.command(&["run", "routes.yaml"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = child.stderr.take();
    yard.meet(Some(child));
    drop(log);
    // Each of these is a line of the log.
    yard.write("routes: nonsense\n");
    yard.signal("HUP");
    wait_told(&yard, "config.rejected", "begins");
    let event = yard.post("A", "{}");
    yard.wait_state(&event, "out", "delivered");
    yard.signal("TERM");
    assert_eq!(yard.ended(), Some(0));
}

#[test]
fn an_output_that_is_down_is_told_to_the_others_and_its_return_too() {
    let (mail, address) = (FarSide::start(), FarSide::nobody());
    let file = format!(
        "routes:
  - {{ name: all, to: [chat, warehouse] }}
  - {{ name: trouble, from: switchyard, to: [chat, mail] }}
  - {{ name: chat-alone, from: switchyard, topic: output.down, to: chat }}
outputs:
  chat: {{ type: http, url: \"http://{address}/\" }}
  warehouse: {{ type: file, path: out.ndjson }}
  mail: {{ type: http, url: \"{}\", body: '\"{{{{ topic }}}}: {{{{ data.message }}}}\"' }}
",
        mail.url()
    );
    let mut yard = Yard::new(&file).start();
    let first = yard.post("ORDER", "{}");
    let down = wait_told(&yard, "output.down", "begins");
    assert_eq!(
        (down["output"].as_str(), down["cause"].as_str(), down["misconfigured"].as_bool()),
        (Some("chat"), Some("output.chat"), Some(false))
    );
    let mails = mail.wait(1);
    assert!(mails[0].json().as_str().unwrap().starts_with("output.down: output `chat` is down: "), "{}", mails[0].text());
    // The route that goes to chat alone waits there with the rest; the other spares it; the warehouse did not ask.
    let event = yard.json(&["events", "--source", "switchyard"])[0]["id"].as_str().unwrap().to_owned();
    let plan = yard.admin("GET", &format!("/api/events/{event}"), "").json()["plan"].clone();
    let plan: Vec<String> = plan.as_array().unwrap().iter().map(|target| format!("{} {}", target["route"], target["output"])).collect();
    assert_eq!(plan, ["\"trouble\" \"mail\"", "\"chat-alone\" \"chat\""]);
    // A restart says nothing twice, and owes the return.
    wait_for("the book to be written", || {
        std::fs::read_to_string(yard.path("data/told.json")).is_ok_and(|text| text.contains("output_down"))
    });
    yard.kill();
    yard.run();
    yard.post("ORDER", "{}");
    wait_for("the output to be found down again", || yard.log().matches("output is down").count() >= 2);
    look_around(&yard);
    assert_eq!(topics(&yard), ["output.down begins", "config.rejected begins"]);
    let chat = FarSide::at(&address);
    let back = wait_told(&yard, "output.recovered", "over");
    assert_eq!((back["cause"].as_str(), back["since"].as_str()), (Some("output.chat"), down["since"].as_str()));
    yard.wait_state(&first, "chat", "delivered");
    yard.wait_state(&event, "chat", "delivered");
    wait_until(
        || mail.arrived().iter().any(|mail| mail.json() == format!("output.recovered: {}", back["message"].as_str().unwrap())),
        || "the mail of its return".into(),
    );
    wait_until(|| chat.arrived().len() >= 4, || format!("what waited: {:?}", chat.arrived()));
}

#[test]
fn dead_deliveries_are_told_once_with_their_number_and_those_of_own_events_never() {
    let far = FarSide::start();
    // Another answer for what the daemon says: it would be another cause.
    far.judge(|arrived| if arrived.text().contains("cause") { Behaviour::status(422) } else { Behaviour::status(400) });
    let file = format!(
        "routes:
  - {{ name: all, to: crm }}
  - {{ name: trouble, from: switchyard, to: [crm, gone] }}
outputs:
  crm: {{ type: http, url: \"{}\" }}
  gone: {{ type: http, url: \"http://{}/\" }}
",
        far.url(),
        FarSide::nobody()
    );
    let yard = Yard::new(&file).start();
    for n in 0..40 {
        yard.post("ORDER", &n.to_string());
    }
    let dead = wait_told(&yard, "delivery.dead", "begins");
    assert_eq!((dead["output"].as_str(), dead["route"].as_str()), (Some("crm"), Some("all")));
    // It goes to an output that refuses it and to one that is down: told as such, and then there is nothing more to say.
    wait_told(&yard, "output.down", "begins");
    wait_until(
        || yard.admin("GET", "/api/deliveries?state=dead&source=switchyard", "").json()["deliveries"].as_array().unwrap().len() >= 2,
        || format!("both to be dead at crm: {:?}", told(&yard)),
    );
    look_around(&yard);
    let all = told(&yard);
    assert_eq!(topics(&yard), ["delivery.dead begins", "output.down begins", "config.rejected begins"], "{all:?}");
    assert!(dead["message"].as_str().unwrap().contains("switchyard replay --state dead --output crm"), "{dead}");
}

#[test]
fn a_file_that_does_not_run_is_told_with_its_first_place_and_that_it_runs_again() {
    let good = "routes: [{ name: trouble, from: switchyard, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n";
    let yard = Yard::new(good).start();
    yard.write("routes: [{ name: trouble, from: switchyard, to: nowhere }]\noutputs: { out: { type: file, pth: x } }\n");
    let rejected = wait_told(&yard, "config.rejected", "begins");
    let why = rejected["why"].as_str().unwrap();
    assert!(why.starts_with("routes.yaml:9:") && rejected["problems"].as_u64() >= Some(2), "{rejected}");
    yard.write(good);
    wait_told(&yard, "config.rejected", "over");
    wait_until(|| yard::lines(&yard.path("out.ndjson")).len() == 2, || "both in the file".into());
}

#[test]
fn a_source_that_is_silent_or_refused_is_told_and_its_return() {
    let sources = "server: { listen: 127.0.0.1:0, admin: { listen: 127.0.0.1:0 } }
journal: { url: sqlite:data/journal.db }
sources:
  shop: { verify: orderchamp, secret: \"${SHOP_SECRET}\", silent_after: 2s }
routes: []
outputs: {}
";
    let mut yard = Yard::new("");
    yard.write_whole(sources);
    yard.run();
    let send = |good: bool| {
        let signature = if good { yard::sign(b"{}") } else { "00".repeat(32) };
        let headers = [("x-orderchamp-event", "ORDER"), ("x-orderchamp-signature", signature.as_str())];
        yard::http::request(&yard.daemon().events, "POST", "/shop", &headers, b"{}").unwrap().status
    };
    let silent = wait_told(&yard, "source.silent", "begins");
    assert_eq!((silent["source"].as_str(), silent["last_at"].is_null()), (Some("shop"), true));
    assert_eq!(send(true), 200);
    wait_told(&yard, "source.silent", "over");
    (0..10).for_each(|_| assert_eq!(send(false), 401));
    let rejecting = wait_told(&yard, "source.rejecting", "begins");
    assert_eq!((rejecting["in_row"].as_u64(), rejecting["of_last_64"].as_u64()), (Some(10), Some(10)));
    let risk = wait_told(&yard, "subscription.at_risk", "begins");
    assert_eq!((risk["limit"].as_u64(), risk["percent"].as_u64().unwrap() >= 25), (Some(19), true));
    (0..10).for_each(|_| assert_eq!(send(true), 200));
    wait_told(&yard, "subscription.at_risk", "over");
    wait_told(&yard, "source.rejecting", "over");
}

#[test]
fn a_senders_patience_is_counted_across_a_restart_and_says_whose_requests_failed() {
    let mut yard = Yard::new("");
    yard.write_whole(&(yard::usual() + "    gives_up_after: 19\nroutes: []\noutputs: {}\n"));
    yard.run();
    let refused = |yard: &Yard, times| {
        for _ in 0..times {
            let headers = [("x-shop-topic", "ORDER"), ("x-shop-signature", "00")];
            assert_eq!(yard::http::request(&yard.daemon().events, "POST", "/shop", &headers, b"{}").unwrap().status, 401);
        }
    };
    refused(&yard, 7);
    let risk = wait_told(&yard, "subscription.at_risk", "begins");
    assert_eq!((risk["proven"].as_u64(), risk["percent"].as_u64()), (Some(0), Some(25)));
    assert!(risk["message"].as_str().unwrap().contains("none proven"), "{risk}");
    wait_until(|| std::fs::read_to_string(yard.path("data/told.json")).unwrap_or_default().contains("\"failures\":7"), || "seven".into());
    yard.kill();
    yard.run();
    let in_row = || yard.admin("GET", "/api/outputs", "").json()["sources"][0]["refused_in_row"].as_u64();
    wait_until(|| in_row() == Some(7), || format!("seven, not {:?}", in_row()));
    refused(&yard, 3);
    let worse = wait_told(&yard, "subscription.at_risk", "goes_on");
    assert_eq!((worse["failures"].as_u64(), worse["percent"].as_u64()), (Some(10), Some(50)), "ten, though three in this life");
}

#[test]
fn a_restart_does_not_begin_the_wait_for_a_silent_source_anew() {
    let file = yard::usual() + "    silent_after: 3s\nroutes: []\noutputs: {}\n";
    let mut yard = Yard::new("");
    yard.write_whole(&file);
    yard.run();
    let event = yard.post("ORDER", "1");
    let received = yard.admin("GET", &format!("/api/events/{event}"), "").json()["received_at"].clone();
    yard.kill();
    yard.run();
    let silent = wait_told(&yard, "source.silent", "begins");
    assert_eq!((silent["last_at"].clone(), silent["silent_after_seconds"].as_u64()), (received, Some(3)));
}

#[test]
fn a_disk_that_fills_is_told_shuts_the_door_and_opens_it_by_itself() {
    // A file system in memory that is seldom written to by others.
    let memory = std::path::Path::new("/dev/shm");
    let Ok(folder) = tempfile::Builder::new().prefix("switchyard-inside-").tempdir_in(memory) else {
        panic!("/dev/shm can't be written: this test needs a disk that it may fill");
    };
    let free = {
        let found = rustix::fs::statvfs(memory).unwrap();
        found.f_bavail * found.f_frsize
    };
    // Twice the reserve is just below what is free, so a few megabytes make the difference.
    let (reserve, lump) = ((free - (24 << 20)) / 2, 40 << 20);
    let journal = folder.path().join("journal.db");
    let usual = yard::usual().replace("sqlite:data/journal.db", &format!("sqlite:{}, reserve: {reserve}B", journal.display()));
    let file = usual + "routes: [{ name: all, to: out }]\noutputs: { out: { type: file, path: out.ndjson } }\n";
    let mut yard = Yard::new("");
    std::os::unix::fs::symlink(folder.path(), yard.path("data")).unwrap();
    yard.write_whole(&file);
    yard.run();
    yard.post("ORDER", "1");
    std::fs::write(folder.path().join("lump"), vec![1; lump]).unwrap();
    let low = wait_told(&yard, "disk.low", "begins");
    assert_eq!(low["refusing"].as_bool(), Some(false), "{low}");
    let event = yard.post("ORDER", "2");
    yard.wait_state(&event, "out", "delivered");
    assert_eq!(yard.admin("POST", "/api/replay", &serde_json::json!({ "ids": [event] }).to_string()).status, 503);
    std::fs::remove_file(folder.path().join("lump")).unwrap();
    wait_told(&yard, "disk.low", "over");
    assert_eq!(yard.admin("POST", "/api/replay", &serde_json::json!({ "ids": [event] }).to_string()).status, 200);
}

#[test]
fn a_delivery_that_is_late_at_an_output_that_works_is_told_and_health_says_what_does_not_move() {
    let far = FarSide::start();
    let file = format!(
        "routes: [{{ name: all, to: slow }}, {{ name: trouble, from: switchyard, to: file }}]
outputs:
  slow: {{ type: http, url: \"{}\", concurrency: 1, timeout: 1h, late_after: 1s }}
  file: {{ type: file, path: out.ndjson }}
",
        far.url()
    );
    let yard = Yard::new(&file).start();
    yard.post("ORDER", "1");
    far.wait(1);
    far.always(Behaviour::Silence);
    yard.post("ORDER", "2");
    yard.post("ORDER", "3");
    let old = wait_told(&yard, "backlog.old", "begins");
    assert_eq!((old["output"].as_str(), old["late_seconds"].as_u64() >= Some(1)), (Some("slow"), true), "{old}");
    let metrics = String::from_utf8(yard.admin("GET", "/metrics", "").body).unwrap();
    let late = metrics.lines().find_map(|line| line.strip_prefix("switchyard_oldest_due_seconds{output=\"slow\"} "));
    assert!(late.is_some_and(|late| late.parse::<u64>().unwrap() >= 1), "{metrics}");
    // It is at its attempt, which may take an hour: slow, and not stuck.
    assert_eq!(yard.admin("GET", "/health", "").status, 200);
}

#[test]
fn below_the_reserve_senders_hear_503_deliveries_go_on_and_space_opens_the_door_again() {
    let far = FarSide::start();
    let address = FarSide::nobody();
    let file = |reserve: &str| {
        format!(
            "{}routes: [{{ name: all, to: [out, later] }}, {{ name: trouble, from: switchyard, to: mail }}]
outputs:
  out: {{ type: file, path: out.ndjson }}
  later: {{ type: http, url: \"http://{address}/\" }}
  mail: {{ type: http, url: \"{}\" }}
",
            yard::usual().replace("journal.db }", &format!("journal.db, reserve: {reserve} }}")),
            far.url()
        )
    };
    let mut yard = Yard::new("");
    yard.write_whole(&file("0B"));
    yard.run();
    let before = yard.post("ORDER", "1");
    yard.wait_state(&before, "out", "delivered");
    // More than any disk has.
    yard.write_whole(&file("1000000TiB"));
    let low = wait_told(&yard, "disk.low", "begins");
    assert_eq!(low["refusing"].as_bool(), Some(true));
    let refused = yard.post_raw("ORDER", b"2", &yard::sign(b"2"), &[]);
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    let health = yard.admin("GET", "/health", "");
    assert!(health.status == 503 && String::from_utf8_lossy(&health.body).contains("journal.reserve"), "{health:?}");
    let replay = yard.cli(&["replay", &before]);
    assert!(!replay.status.success() && String::from_utf8_lossy(&replay.stderr).contains("replays wait"), "{replay:?}");
    // What is kept goes on, and so does what the daemon says.
    let later = FarSide::at(&address);
    yard.wait_state(&before, "later", "delivered");
    later.wait(1);
    far.wait(1);
    yard.write_whole(&file("0B"));
    wait_told(&yard, "disk.low", "over");
    let after = yard.post("ORDER", "3");
    yard.wait_state(&after, "out", "delivered");
    assert_eq!(yard.admin("GET", "/health", "").status, 200);
}

#[test]
fn a_route_of_own_events_is_checked() {
    let checked = |route: &str| {
        let yard = Yard::new(&format!("routes: [{route}]\noutputs: {{ out: {{ type: file, path: x }} }}\n"));
        let output = yard.cli(&["check"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = checked("{ from: switchyard, topic: [output.*, '**'], to: out }");
    assert!(code == Some(0) && !told.contains("warning"), "{told}");
    let (code, told) = checked("{ from: switchyard, topic: output.dwon, to: out }");
    assert!(code == Some(0) && told.contains("did you mean `output.down`?"), "{told}");
    let yard = Yard::new(
        "routes: [{ name: own, from: switchyard, to: out }, { name: all, to: out }]\noutputs: { out: { type: file, path: x } }\n",
    );
    std::fs::write(yard.path("event.json"), "{}").unwrap();
    let explained = yard.cli(&["explain", "--source", "switchyard", "--topic", "output.down", "event.json"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("own") && explained.contains("only `from: switchyard` takes what the daemon itself says"), "{explained}");
    let (code, told) = checked("{ from: swichyard, to: out }");
    assert!(code == Some(1) && told.contains("did you mean `switchyard`"), "{told}");
}
