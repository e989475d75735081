//! `examples/bookkeeping`: a bookkeeping server behind OAuth2 that books whatever it is told to, as often as it is told, and whose
//! tokens end and rotate. One order is one invoice, whatever happens on the way, also over two days.

use super::leaping::{Leaping, Time};
use super::stage::{checked, nothing_is_lost, plan, send, start};
use super::yard::far_side::Arrived;
use super::yard::{Behaviour, FarSide, Yard, wait_until};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use switchyard::model::{Clock, Timestamp};

const HOUR: Duration = Duration::from_hours(1);
/// How long an access token lives.
const TOKEN_LIFE: Duration = HOUR;
const FIRST: &str = "made-up-seed";

#[derive(Default)]
struct State {
    /// Tokens given so far; the last one's number is part of both.
    granted: usize,
    access_ends: Option<Timestamp>,
    invoices: Vec<Value>,
    lookups: Vec<String>,
    /// References whose invoice is booked without an answer, once.
    lose: Vec<&'static str>,
    /// Whether it answers 500 to all that has to do with invoices.
    broken: bool,
    /// Requests that came with a token of the past, and refresh tokens that were used twice.
    stale: usize,
    reused: usize,
}

/// The server: one address for tokens and invoices.
struct Books {
    far: FarSide,
    state: Arc<Mutex<State>>,
}

impl Books {
    fn open(time: Time) -> Self {
        let (far, state) = (FarSide::start(), Arc::new(Mutex::new(State::default())));
        let books = Arc::clone(&state);
        far.judge(move |asked| {
            let mut state = books.lock().unwrap();
            if asked.path == "/oauth/token" { state.grant(asked, time.wall()) } else { state.invoices(asked, time.wall()) }
        });
        Books { far, state }
    }

    fn env(&self) -> [(&'static str, String); 3] {
        let address = format!("http://{}", self.far.address);
        [("BOOKS_URL", address.clone()), ("BOOKS_TOKEN_URL", address), ("BOOKS_REFRESH", FIRST.into())]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Tokens given, requests with one of the past, and refresh tokens that were no good.
    fn tokens(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.granted, state.stale, state.reused)
    }

    fn references(&self) -> Vec<String> {
        self.state().invoices.iter().map(|invoice| invoice["reference"].as_str().unwrap().to_owned()).collect()
    }
}

impl State {
    /// A refresh token is good once, and gives the next one.
    fn grant(&mut self, asked: &Arrived, now: Timestamp) -> Behaviour {
        let good = if self.granted == 0 { FIRST.to_owned() } else { format!("made-up-refresh-{}", self.granted) };
        let text = asked.text();
        if !text.split('&').any(|part| part == format!("refresh_token={good}")) {
            self.reused += 1;
            return Behaviour::json(400, &json!({ "error": "invalid_grant" }));
        }
        self.granted += 1;
        self.access_ends = Some(now + TOKEN_LIFE);
        let (access, refresh) = (format!("made-up-access-{}", self.granted), format!("made-up-refresh-{}", self.granted));
        Behaviour::json(200, &json!({ "access_token": access, "expires_in": TOKEN_LIFE.as_secs(), "refresh_token": refresh }))
    }

    fn invoices(&mut self, asked: &Arrived, now: Timestamp) -> Behaviour {
        let good = asked.header("authorization") == format!("Bearer made-up-access-{}", self.granted);
        if !good || self.access_ends.is_none_or(|ends| now >= ends) {
            self.stale += 1;
            return Behaviour::status(401);
        }
        match (asked.method.as_str(), asked.path.split_once("?reference=")) {
            _ if self.broken => Behaviour::status(500),
            ("GET", Some((_, reference))) => {
                self.lookups.push(reference.to_owned());
                // It finds all that begins so: the answer is compared, not believed.
                let found: Vec<&Value> =
                    self.invoices.iter().filter(|invoice| invoice["reference"].as_str().unwrap().starts_with(reference)).collect();
                Behaviour::json(200, &json!({ "invoices": found }))
            }
            ("POST", None) => {
                let Ok(mut invoice) = serde_json::from_slice::<Value>(&asked.body) else { return Behaviour::status(400) };
                if invoice["lines"].as_array().is_none_or(|lines| lines.iter().any(|line| !line["pieces"].is_number())) {
                    return Behaviour::json(422, &json!({ "error": "pieces is no number" }));
                }
                invoice["id"] = json!(format!("INV-{}", self.invoices.len() + 1));
                let lost = self.lose.iter().position(|reference| invoice["reference"] == *reference);
                self.invoices.push(invoice.clone());
                match lost {
                    Some(nth) => {
                        self.lose.remove(nth);
                        Behaviour::Hangup
                    }
                    None => Behaviour::json(201, &invoice),
                }
            }
            _ => Behaviour::status(404),
        }
    }
}

fn order(yard: &Yard, event: &str) -> String {
    send(yard, "orderchamp", Some("ORDER_CONFIRMED"), event)
}

fn real() -> (Books, Yard) {
    let books = Books::open(Time::default());
    let env = books.env();
    let yard = start("bookkeeping", &env.each_ref().map(|(name, value)| (*name, value.as_str())));
    (books, yard)
}

#[test]
fn an_order_becomes_one_invoice_with_its_digits_and_names_that_are_only_names() {
    let (books, yard) = real();
    let first = order(&yard, "order.json");
    assert_eq!(plan(&yard, &first), ["invoice > books"]);
    yard.wait_state(&first, "books", "delivered");
    let second = order(&yard, "order-second.json");
    yard.wait_state(&second, "books", "delivered");
    let sent: Vec<Arrived> =
        books.far.arrived().into_iter().filter(|asked| asked.method == "POST" && asked.path == "/v1/invoices").collect();
    assert!(sent[1].text().contains("\"total\": 98765432101.10"), "{}", sent[1].text());
    let mut invoice = sent[0].json();
    assert_eq!(invoice["lines"].as_array_mut().unwrap().remove(1), json!({ "text": "Card", "pieces": 10, "price": 1.30, "vat": 9 }));
    assert_eq!(invoice["customer"], "Nina's Flowers");
    // Its number and name try to be more than that; its pieces are no number, which the far side refuses.
    let hostile = order(&yard, "order-hostile.json");
    let dead = yard.wait_state(&hostile, "books", "dead");
    assert!(dead["detail"].as_str().unwrap().contains("pieces is no number"), "{dead}");
    let arrived = books.far.arrived().last().unwrap().json();
    assert_eq!((&arrived["customer"], &arrived["total"]), (&json!("\", \"total\": 0, \"x\": \""), &json!(9.00)));
    assert_eq!(arrived["lines"].as_array().unwrap().len(), 1);
    // Half an order is no invoice.
    let without = order(&yard, "order-without-number.json");
    let dead = yard.wait_state(&without, "books", "dead");
    assert!(dead["detail"].as_str().unwrap().contains("data.data.order.number"), "{dead}");
    assert_eq!(books.references(), ["order-100234", "order-100235"]);
    nothing_is_lost(&yard);
}

#[test]
fn an_answer_that_is_lost_after_booking_is_looked_up_and_there_is_one_invoice() {
    let (books, yard) = real();
    books.state().lose.push("order-100234");
    let event = order(&yard, "order.json");
    let delivered = yard.wait_state(&event, "books", "delivered");
    assert_eq!((&delivered["detail"], &delivered["attempts"]), (&json!("it is there already: INV-1"), &json!(2)));
    // A person sends it again by hand: it is asked for first, also then.
    assert!(yard.cli(&["replay", &event, "-y"]).status.success());
    wait_until(|| books.state().lookups.len() == 2, || format!("{:?}", books.state().lookups));
    yard.wait_state(&event, "books", "delivered");
    assert_eq!(books.references(), ["order-100234"], "one invoice");
    nothing_is_lost(&yard);
}

#[test]
fn tokens_that_were_taken_back_and_a_killed_daemon_cost_no_invoice_and_no_log_in() {
    let (books, mut yard) = real();
    let first = order(&yard, "order.json");
    yard.wait_state(&first, "books", "delivered");
    books.state().access_ends = None;
    let second = order(&yard, "order-second.json");
    let delivered = yard.wait_state(&second, "books", "delivered");
    assert_eq!(delivered["attempts"], 1, "a new token within the same attempt");
    assert_eq!(books.tokens(), (2, 1, 0), "one came with a token of the past, and a new one was fetched");
    // The seed in the file was used up long ago: the journal has the newest.
    yard.kill();
    yard.run();
    let hostile = order(&yard, "order-hostile.json");
    yard.wait_state(&hostile, "books", "dead");
    assert_eq!(books.tokens(), (3, 1, 0));
    assert_eq!(books.references().len(), 2);
}

/// An order while the bookkeeping is broken for so long, as days go by; how long after it the last attempt was, and its delivery.
struct Outage {
    books: Books,
    leaping: Leaping,
    event: String,
    lasted: Duration,
    delivery: Value,
}

fn outage(of: Duration, lost_before: bool) -> Outage {
    let time = Time::default();
    let books = Books::open(time.clone());
    let env = books.env();
    let leaping = Leaping::start(checked("bookkeeping", &env.each_ref().map(|(name, value)| (*name, value.as_str()))), time);
    if lost_before {
        books.state().lose.push("order-100234");
    } else {
        books.state().broken = true;
    }
    let began = leaping.time.wall();
    let event = order(&leaping.yard, "order.json");
    let mut attempts = 0;
    let delivery = loop {
        let mut delivery = Value::Null;
        let found = || leaping.yard.deliveries(&event).pop().unwrap_or_default();
        let tried = |delivery: &Value| delivery["state"] != "waiting" || delivery["attempts"].as_u64() > Some(attempts);
        wait_until(
            || {
                delivery = found();
                !delivery.is_null() && tried(&delivery)
            },
            || format!("attempt {}: {}", attempts + 1, found()),
        );
        if delivery["state"] != "waiting" {
            break delivery;
        }
        attempts = delivery["attempts"].as_u64().unwrap();
        let due: jiff::Timestamp = delivery["due_at"].as_str().unwrap().parse().unwrap();
        let due = Timestamp(due.as_millisecond());
        books.state().broken = due.since(began) < of;
        leaping.leap(due.since(leaping.time.wall()));
    };
    Outage { lasted: leaping.time.wall().since(began), books, leaping, event, delivery }
}

#[test]
fn an_outage_of_47_hours_is_outlasted() {
    let outage = outage(47 * HOUR, false);
    assert_eq!(outage.delivery["state"], "delivered", "{}", outage.delivery);
    assert!((47 * HOUR..48 * HOUR + HOUR / 60).contains(&outage.lasted), "{:?}", outage.lasted);
    assert_eq!(outage.delivery["attempts"], 20);
    assert_eq!(outage.books.references(), ["order-100234"]);
    let (granted, stale, reused) = outage.books.tokens();
    assert!(granted > 5, "tokens of an hour ended on the way: {granted}");
    assert_eq!((stale, reused), (0, 0), "each was renewed in time, and each refresh token used once");
}

#[test]
fn an_invoice_whose_answer_was_lost_is_found_after_47_hours() {
    let outage = outage(47 * HOUR, true);
    assert_eq!(outage.delivery["detail"], "it is there already: INV-1");
    assert!(outage.lasted >= 47 * HOUR, "{:?}", outage.lasted);
    assert_eq!(outage.books.references(), ["order-100234"]);
}

#[test]
fn an_outage_of_49_hours_ends_dead_and_visible_and_a_person_sends_it_again() {
    let outage = outage(49 * HOUR, false);
    assert_eq!((&outage.delivery["state"], &outage.delivery["attempts"]), (&json!("dead"), &json!(20)), "{}", outage.delivery);
    assert!((47 * HOUR..=48 * HOUR + HOUR / 60).contains(&outage.lasted), "{:?}", outage.lasted);
    assert_eq!(outage.books.references(), Vec::<String>::new());
    let yard = &outage.leaping.yard;
    let dead = yard.json(&["dead"]);
    assert_eq!((dead.len(), &dead[0]["event"], &dead[0]["output"]), (1, &json!(outage.event), &json!("books")));
    assert!(dead[0]["detail"].as_str().unwrap().contains("500"), "{}", dead[0]);
    nothing_is_lost(yard);
    outage.leaping.leap((49 * HOUR).saturating_sub(outage.lasted));
    outage.books.state().broken = false;
    assert!(yard.cli(&["replay", "--state", "dead", "--output", "books", "-y"]).status.success());
    yard.wait_state(&outage.event, "books", "delivered");
    assert_eq!(outage.books.references(), ["order-100234"]);
}
