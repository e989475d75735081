//! `examples/notify`: who hears what, hostile names, and a chat or pager that is down, refuses us, or does not answer.

use super::stage::{nothing_is_lost, plan, send, start};
use super::yard::far_side::Arrived;
use super::yard::{Behaviour, FarSide, Yard, wait_until};
use serde_json::json;

const KEY: &str = "madeupmadeupmadeupmadeupmadeup99";

struct Room {
    chat: FarSide,
    pager: FarSide,
    yard: Yard,
}

fn room() -> Room {
    let (chat, pager) = (FarSide::start(), FarSide::start());
    pager.always(Behaviour::json(202, &json!({ "status": "success" })));
    let (chat_url, pager_url) = (format!("http://{}/services/T0/B0/hush", chat.address), format!("http://{}", pager.address));
    let yard = start("notify", &[("SLACK_URL", &chat_url), ("PAGERDUTY_SERVER", &pager_url), ("PAGERDUTY_KEY", KEY)]);
    Room { chat, pager, yard }
}

fn texts(arrived: &[Arrived]) -> Vec<String> {
    arrived.iter().map(|arrived| arrived.json()["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn big_orders_are_told_small_ones_are_not_and_names_stay_text() {
    let Room { chat, pager, yard } = room();
    let small = send(&yard, "orderchamp", Some("ORDER_CONFIRMED"), "order-small.json");
    assert_eq!(plan(&yard, &small), Vec::<String>::new());
    let big = send(&yard, "orderchamp", Some("ORDER_CONFIRMED"), "order-big.json");
    assert_eq!(plan(&yard, &big), ["big-orders > sales"]);
    chat.wait(1);
    let hostile = send(&yard, "orderchamp", Some("ORDER_PAID"), "order-hostile.json");
    let arrived = chat.wait(2);
    yard.wait_state(&hostile, "sales", "delivered");
    assert_eq!(
        texts(&arrived),
        [
            "*Order 100234*: 1500.50 EUR from Nina's Flowers\nPlease deliver before Friday.",
            "*Order 100236*: 2000 EUR from &lt;!channel&gt; &lt;https://evil.example|click&gt; \", \"link_names\": true, \"x\": \"\n\
             {{ raw }} &amp;lt;!here&amp;gt;",
        ]
    );
    for arrived in &arrived {
        assert_eq!(arrived.json().as_object().unwrap().len(), 2, "a name became structure: {}", arrived.text());
    }
    let block = |kind: &str, form: &str, text: &str| json!({ "type": kind, "text": { "type": form, "text": text } });
    let name = "&lt;!channel&gt; &lt;https://evil.example|click&gt; \", \"link_names\": true, \"x\": \"";
    let blocks = [block("header", "plain_text", "Order 100236"), block("section", "mrkdwn", &format!("*2000 EUR* from {name}"))];
    assert_eq!(arrived[1].json()["blocks"], json!(blocks));
    assert_eq!((chat.arrived().len(), pager.arrived().len()), (2, 0));
    nothing_is_lost(&yard);
}

#[test]
fn a_failed_payment_pages_somebody_once_and_the_alert_ends_when_it_is_made() {
    let Room { chat, pager, yard } = room();
    let small = send(&yard, "stripe", None, "payment-failed-small.json");
    assert_eq!(plan(&yard, &small), Vec::<String>::new());
    let failed = send(&yard, "stripe", None, "payment-failed.json");
    assert_eq!(plan(&yard, &failed), ["payment-failed > duty", "payment-failed > sales"]);
    let alert = pager.wait(1)[0].json();
    assert_eq!(
        (&alert["routing_key"], &alert["event_action"], &alert["dedup_key"]),
        (&json!(KEY), &json!("trigger"), &json!("payment-pi_made_up_1"))
    );
    assert_eq!(alert["payload"]["severity"], "critical");
    assert_eq!(alert["payload"]["summary"], "Payment failed: 150050 eur cents, Order 100234");
    assert_eq!(alert["payload"]["custom_details"], json!({ "reason": "The card was declined.", "buyer": "Nina's Flowers" }));
    // The sender says it again: Stripe's own id tells that, and nobody is woken twice.
    assert_eq!(send(&yard, "stripe", None, "payment-failed.json"), failed);
    let made = send(&yard, "stripe", None, "payment-succeeded.json");
    yard.wait_state(&made, "duty", "delivered");
    let all = pager.wait(2);
    assert_eq!(all.len(), 2);
    let end = all[1].json();
    assert_eq!((&end["event_action"], &end["dedup_key"]), (&json!("resolve"), &alert["dedup_key"]));
    assert_eq!(texts(&chat.wait(1)), ["Payment of Nina's Flowers failed: The card was declined."]);
    nothing_is_lost(&yard);
}

#[test]
fn a_pager_that_is_gone_is_waited_for_and_a_refused_key_loses_no_alert_while_the_chat_goes_on() {
    let chat = FarSide::start();
    let address = FarSide::nobody();
    let chat_url = format!("http://{}/hook", chat.address);
    let yard = start("notify", &[("SLACK_URL", &chat_url), ("PAGERDUTY_SERVER", &format!("http://{address}")), ("PAGERDUTY_KEY", KEY)]);
    let failed = send(&yard, "stripe", None, "payment-failed.json");
    // L3: one output never delays another.
    yard.wait_state(&failed, "sales", "delivered");
    let duty = || yard.admin("GET", "/api/outputs", "").json().to_string();
    wait_until(|| duty().contains("\"down\":1"), duty);
    // That the pager is down is told in the chat.
    let told = || texts(&chat.arrived()).iter().any(|text| text.starts_with("output `duty` is down: "));
    wait_until(told, || format!("the chat to hear of the pager: {:?}", texts(&chat.arrived())));
    let pager = FarSide::at(&address);
    let refused = json!({ "status": "invalid event", "errors": ["Length of routing_key is incorrect"] });
    pager.next([Behaviour::json(400, &refused)]);
    pager.always(Behaviour::json(202, &json!({ "status": "success" })));
    let probed = pager.wait(1);
    assert_eq!(probed[0].json()["dedup_key"], "payment-pi_made_up_1");
    wait_until(|| duty().contains("\"misconfigured\":1"), duty);
    // A person mends the key and says so; the alert was kept.
    assert!(yard.deliveries(&failed).iter().all(|delivery| delivery["state"] != "dead"), "{}", yard.log());
    nothing_is_lost(&yard);
}

#[test]
fn an_answer_that_is_lost_repeats_the_message_under_the_same_id() {
    let Room { chat, yard, .. } = room();
    chat.next([Behaviour::Hangup]);
    let big = send(&yard, "orderchamp", Some("ORDER_CONFIRMED"), "order-big.json");
    yard.wait_state(&big, "sales", "delivered");
    let arrived = chat.wait(2);
    assert_eq!(arrived[0].header("switchyard-delivery"), arrived[1].header("switchyard-delivery"));
    assert_eq!((arrived[0].header("switchyard-attempt"), arrived[1].header("switchyard-attempt")), ("1", "2"));
}
