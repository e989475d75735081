//! `switchyard drill` with the real daemon: what arrives is marked, what can't arrive is told, and a drill outlives a kill.
#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

mod yard;

use yard::{Behaviour, FarSide, Yard, wait_for};

const BLOCKS: &str = r#"'[{"type": "section", "text": {"type": "mrkdwn", "text": "*{{ data.number }}*"}}]'"#;

fn file(url: &str) -> String {
    format!(
        "routes:
  - name: orders
    topic: [ORDER, drill]
    to: [{{ output: sales, text: 'Order {{{{ data.number }}}}', blocks: {BLOCKS} }}, crm]
  - {{ name: alarms, from: switchyard, topic: disk.low, to: {{ output: sales, text: '{{{{ data.message }}}}' }} }}
  - {{ name: rooms, topic: NEVER, to: {{ output: rooms, text: 'x', channel: 'room-{{{{ data.room }}}}' }} }}
outputs:
  sales: {{ type: slack, url: {url}/services/made/up, rate: 100/s, retry: {{ attempts: 1 }} }}
  rooms: {{ type: mattermost, url: {url}, rate: 100/s }}
  spare: {{ type: mattermost, url: {url} }}
  crm: {{ type: http, url: {url}/crm }}
"
    )
}

fn said(yard: &Yard, args: &str) -> (i32, String) {
    let output = yard.cli(&args.split(' ').collect::<Vec<_>>());
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// What arrived in the chat, and whether it had blocks.
fn chat(far: &FarSide) -> Vec<(String, bool)> {
    let read = |json: serde_json::Value| (json["text"].as_str().unwrap_or_default().to_owned(), !json["blocks"].is_null());
    far.arrived().iter().filter(|arrived| arrived.path.contains("/services/")).map(|arrived| read(arrived.json())).collect()
}

#[test]
fn a_drill_is_marked_goes_by_every_route_and_reaches_nobody_but_people() {
    let far = FarSide::start();
    far.always(Behaviour::ok());
    let yard = Yard::new(&file(&far.url())).start();
    let (code, told) = said(&yard, "drill sales --by Ann");
    assert_eq!(code, 0, "{told}");
    assert!(told.starts_with("the drill is event evt_") && told.contains("orders") && told.contains("alarms"), "{told}");
    let words = "[TEST] a drill by Ann: nothing happened, and nothing is to be done";
    assert_eq!(chat(&far), vec![(words.to_owned(), false); 2], "no blocks that would hide the mark");
    assert_eq!(said(&yard, "drill sales --route alarms --by <!channel>").0, 0);
    assert!(chat(&far)[2].0.contains("a drill by &lt;!channel&gt;"), "{:?}", chat(&far)[2]);

    // What a route's own template makes of an event.
    let event = yard.post("ORDER", r#"{"number":7}"#);
    yard.wait_state(&event, "crm", "delivered");
    yard.wait_state(&event, "sales", "delivered");
    let before = far.arrived().len();
    assert_eq!(said(&yard, &format!("drill sales --route orders --event {event} --by Ann")).0, 0);
    assert_eq!((chat(&far).last().unwrap(), far.arrived().len()), (&("[TEST] Order 7".to_owned(), false), before + 1));
    // A sender's topic of that name makes no drill.
    let drilled = yard.post("drill", r#"{"number":8}"#);
    yard.wait_state(&drilled, "sales", "delivered");
    assert_eq!(chat(&far).last().unwrap(), &("Order 8".to_owned(), true));

    yard.wait_state(&drilled, "crm", "delivered");
    let before = far.arrived().len();
    let crm = "switchyard: nobody reads at `crm`: it would take a drill for a real event; `switchyard check --connect` asks it whether it is well\n";
    assert_eq!(said(&yard, "drill sales crm --by Ann"), (1, crm.into()));
    assert_eq!(said(&yard, "drill sale --by Ann"), (1, "switchyard: there is no output `sale`; did you mean `sales`?\n".into()));
    assert_eq!(said(&yard, "drill spare --by Ann"), (1, "switchyard: no route goes to `spare`: nothing would ever arrive there\n".into()));
    assert_eq!(said(&yard, "drill sales --route rooms --by Ann").0, 1);
    assert_eq!(said(&yard, "drill sales --event evt_00000000000000000000000000000000 --by Ann").0, 1);
    assert_eq!(far.arrived().len(), before, "none of these sent anything");

    // Without its room it would be heard in another.
    let (code, told) = said(&yard, "drill rooms --by Ann");
    assert!(
        code == 1 && told.contains("dead") && told.contains("template of `channel`") && told.contains("name one with `--event`"),
        "{told}"
    );
    assert_eq!(far.arrived().len(), before);
    assert!(said(&yard, "audit").1.contains("lost: 0"));
}

#[test]
fn a_drill_waits_as_every_delivery_does_and_outlives_a_kill_and_a_reload() {
    let far = FarSide::start();
    far.always(Behaviour::ok());
    let mut yard = Yard::new(&file(&far.url())).start();
    assert_eq!(said(&yard, "pause sales").0, 0);
    let (code, told) = said(&yard, "drill sales --route alarms --by Ann --within 100ms");
    assert!(code == 1 && told.contains("not over yet: alarms → sales"), "{told}");
    let event = told.split_whitespace().find(|word| word.starts_with("evt_")).unwrap().to_owned();
    yard.kill();
    yard.run();
    yard.write(&file(&far.url()).replace("rooms, text: 'x'", "rooms, text: 'y'"));
    wait_for("the new file to run", || yard.log().contains("the new configuration runs"));
    assert_eq!(said(&yard, "resume sales").0, 0);
    yard.wait_state(&event, "sales", "delivered");
    assert_eq!(chat(&far), [("[TEST] a drill by Ann: nothing happened, and nothing is to be done".to_owned(), false)]);
    far.always(Behaviour::status(400));
    let (code, told) = said(&yard, "drill sales --route alarms --by Ann");
    assert!(code == 1 && told.contains("dead"), "{told}");
}
