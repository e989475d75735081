//! `examples/shipping`: two partners and a desk. Each parcel goes to exactly one of them, whatever stands in the event, and what they
//! were told adds up to what there was.

use super::stage::{events, nothing_is_lost, plan, root, send, start};
use super::yard::far_side::Arrived;
use super::yard::{Behaviour, FarSide, Yard, wait_until};
use serde_json::{Value, json};
use switchyard::config::{self, Process};
use switchyard::daemon::blueprint;
use switchyard::model::{Event, EventId, Headers, Timestamp};
use switchyard::route::JqPool;

struct House {
    parcels: FarSide,
    freight: FarSide,
    desk: FarSide,
    yard: Yard,
}

fn house() -> House {
    let (parcels, freight, desk) = (FarSide::start(), FarSide::start(), FarSide::start());
    parcels.judge(|_| Behaviour::json(201, &json!({ "data": [{ "id": 1 }] })));
    freight.judge(|_| Behaviour::json(200, &json!({ "id": 1 })));
    let at = |far: &FarSide| format!("http://{}", far.address);
    let yard = start("shipping", &[("SENDCLOUD_SERVER", &at(&parcels)), ("SHIPMONDO_SERVER", &at(&freight)), ("DESK_URL", &desk.url())]);
    House { parcels, freight, desk, yard }
}

impl House {
    fn ship(&self, event: &str) -> String {
        send(&self.yard, "platform", None, event)
    }
}

/// Cents of the totals in these texts, so that they add up exactly.
fn cents(total: &Value) -> u64 {
    let text = total.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<2}").parse().unwrap_or_else(|why| panic!("{text}: {why}"))
}

fn orders(arrived: &[Arrived]) -> Vec<String> {
    let order = |arrived: &Arrived| {
        let body = arrived.json();
        body.as_array().map_or(&body, |orders| &orders[0])["order_id"].as_str().unwrap().to_owned()
    };
    arrived.iter().map(order).collect()
}

#[test]
fn each_parcel_goes_to_exactly_one_and_the_totals_add_up() {
    let house = house();
    let all = events("shipping");
    let expected = ["parcels", "freight", "freight", "parcels", "freight", "desk", "desk", "desk", "desk"];
    let mut total = 0;
    for (event, output) in all.iter().zip(expected) {
        let id = house.ship(event);
        let planned = plan(&house.yard, &id);
        assert!(planned.len() == 1 && planned[0].ends_with(&format!("> {output}")), "{event}: {planned:?}");
        house.yard.wait_state(&id, output, "delivered");
        let text = std::fs::read_to_string(root().join("examples/shipping/events").join(event)).unwrap();
        total += cents(&serde_json::from_str::<Value>(&text).unwrap()["data"]["total"]);
    }
    let (parcels, freight, desk) = (house.parcels.arrived(), house.freight.arrived(), house.desk.arrived());
    assert_eq!(orders(&parcels), ["A-1-1", "A-4-1"]);
    assert_eq!(orders(&freight), ["A-2-1", "A-3-1", "A-4-2"], "the parts of one order, each where it fits");
    assert_eq!((parcels.len() + freight.len() + desk.len(), all.len()), (9, 9));
    let told = parcels.iter().map(|arrived| cents(&arrived.json()[0]["payment_details"]["total_price"]["value"])).sum::<u64>()
        + freight.iter().map(|arrived| cents(&arrived.json()["payment_details"]["amount_including_vat"])).sum::<u64>()
        + desk.iter().map(|arrived| cents(&asked_total(arrived))).sum::<u64>();
    assert_eq!((told, total), (269_400, 269_400));
    let first = parcels[0].json();
    assert_eq!(
        first[0]["order_details"]["order_items"],
        json!([{ "name": "Vase, blue", "quantity": 4 }, { "name": "Card \"yes\"", "quantity": 10 }])
    );
    assert!(
        parcels[0].path == "/api/v3/orders" && freight[0].path == "/api/public/v3/sales_orders",
        "{} {}",
        parcels[0].path,
        freight[0].path
    );
    let asked: Vec<String> = desk.iter().map(asked).collect();
    assert!(asked[2].starts_with("Where does A-7, part 1, go?"), "{}", asked[2]);
    assert!(!asked[3].contains("@all"), "a value mentions nobody: {}", asked[3]);
    nothing_is_lost(&house.yard);
}

/// The total in the desk's question.
fn asked_total(arrived: &Arrived) -> Value {
    serde_json::from_str(asked(arrived).trim().rsplit_once("total: ").unwrap().1).unwrap()
}

/// The desk's question as it is shown: without Markdown's backslashes.
fn asked(arrived: &Arrived) -> String {
    arrived.json()["text"].as_str().unwrap().replace('\\', "")
}

/// What may stand for a country or a weight; an empty text is nothing at all.
const ANYTHING: &[&str] = &[
    "",
    "null",
    "true",
    "\"NL\"",
    "\"IE\"",
    "\"BE\"",
    "\"nl\"",
    "\"NL \"",
    "\"NLD\"",
    "\"\"",
    "0",
    "-5",
    "0.001",
    "22999.9",
    "23000",
    "1e400",
    "\"900\"",
    "[]",
    "[\"NL\", \"IE\"]",
    "[900, 61000]",
    "[-5, 61000]",
    "{\"x\": 1}",
];

/// A parcel with these; `twice` is a list of two, the second of which is good and heavy.
fn parcel(country: &str, grams: &str, twice: bool) -> String {
    let entry = |name: &str, value: &str| if value.is_empty() { "\"x\": 1".into() } else { format!("\"{name}\": {value}") };
    let data = format!("{{\"ship_to\": {{{}}}, {}}}", entry("country", country), entry("grams", grams));
    let data = if twice { format!("[{data}, {{\"ship_to\": {{\"country\": \"NL\"}}, \"grams\": 61000}}]") } else { data };
    format!("{{\"type\": \"parcel.ready\", \"data\": {data}}}")
}

#[tokio::test]
async fn whatever_stands_in_a_parcel_there_is_exactly_one_route_for_it() {
    let file = root().join("examples/shipping/routes.yaml");
    let read = config::load(&file, &Process::beside(&file)).unwrap();
    let blueprint = blueprint::draw(&read, &switchyard_plugins::kinds()).blueprint.unwrap();
    let jq = JqPool::start("none".into(), 1);
    let mut seen = [0, 0, 0];
    for (country, grams, twice) in ANYTHING.iter().flat_map(|c| ANYTHING.iter().flat_map(move |g| [(c, g, false), (c, g, true)])) {
        let body = parcel(country, grams, twice);
        let event = Event {
            id: EventId([7; 16]),
            source: "platform".into(),
            topic: "parcel.ready".into(),
            received_at: Timestamp::default(),
            headers: Headers::default(),
            query: "".into(),
            body: body.clone().into(),
            sender_id: None,
            signed_with: None,
        };
        let plan = blueprint.router.plan(&event, &jq).await;
        let routes: Vec<&str> = plan.targets.iter().map(|target| &*target.route).collect();
        assert_eq!(routes.len(), 1, "{body}: {routes:?}");
        let nth = ["near-and-light", "far-or-heavy", "nobody-knows"].iter().position(|route| *route == routes[0]);
        seen[nth.unwrap()] += 1;
    }
    assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
}

#[test]
fn a_partner_that_is_down_is_waited_for_and_the_other_goes_on_and_never_takes_its_parcels() {
    let house = house();
    house.parcels.next([Behaviour::status(503)]);
    let near = house.ship("1-near.json");
    let outputs = || house.yard.admin("GET", "/api/outputs", "").json().to_string();
    wait_until(|| house.parcels.arrived().len() == 1, outputs);
    let far = house.ship("2-far.json");
    house.yard.wait_state(&far, "freight", "delivered");
    let delivered = house.yard.wait_state(&near, "parcels", "delivered");
    assert_eq!(delivered["attempts"], 1, "a far side that is down costs no attempt: {delivered}");
    assert_eq!(orders(&house.freight.arrived()), ["A-2-1"]);
}

#[test]
fn a_lost_answer_repeats_where_that_is_safe_and_waits_for_a_person_where_it_is_not() {
    let house = house();
    house.parcels.next([Behaviour::Hangup]);
    house.freight.next([Behaviour::Hangup]);
    let (near, far) = (house.ship("1-near.json"), house.ship("2-far.json"));
    // Sendcloud knows an order by its id: the repeat is the same order.
    house.yard.wait_state(&near, "parcels", "delivered");
    assert_eq!(orders(&house.parcels.arrived()), ["A-1-1", "A-1-1"]);
    let held = house.yard.wait_state(&far, "freight", "held");
    assert_eq!(house.freight.arrived().len(), 1, "{held}");
    // Somebody looked: it is not there.
    let mended = house.yard.cli(&["replay", &far, held["id"].as_str().unwrap()]);
    assert!(mended.status.success(), "{mended:?}");
    house.yard.wait_state(&far, "freight", "delivered");
    assert_eq!(orders(&house.freight.arrived()), ["A-2-1", "A-2-1"]);
    nothing_is_lost(&house.yard);
}

#[test]
fn a_refused_address_is_dead_and_visible_and_costs_the_others_nothing() {
    let house = house();
    house.freight.next([Behaviour::json(422, &json!({ "error": "zipcode is not one of Ireland" }))]);
    let refused = house.ship("2-far.json");
    let dead = house.yard.wait_state(&refused, "freight", "dead");
    assert!(dead["detail"].as_str().unwrap().contains("zipcode"), "{dead}");
    let heavy = house.ship("3-heavy.json");
    house.yard.wait_state(&heavy, "freight", "delivered");
    assert_eq!(house.yard.json(&["dead"])[0]["event"], json!(refused));
}
