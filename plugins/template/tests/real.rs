//! The `template` output against a till, and the suite that every output passes.

#![allow(clippy::unwrap_used)] // helpers of tests

mod till;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::conformance::{FarSide, Refused, deliver, deliver_one, parcel};
use switchyard_api::{At, Handle, Kind, Kit, Message, Output, Rendered, Secret, Span, Wall};
use switchyard_template::{Config, LINE_MAX, Template, TemplateOutput};
use till::{Manner, PASSWORD, Till};

fn config(scheme: &str, password: &str, port: u16) -> Config {
    Config {
        url: At { span: Span::default(), value: Secret::new(format!("{scheme}://:{password}@127.0.0.1:{port}")) },
        ca: None,
        tls: None,
    }
}
async fn connect(config: Config) -> TemplateOutput {
    assert_eq!(Template.validate(&config), []);
    let kit = Kit { timeout: Duration::from_secs(2), ..Kit::new("counter", Path::new("/"), "switchyard/0", Wall::new(|| 0)) };
    Template.connect(config, &kit).await.unwrap()
}
fn saying(text: &str) -> Message {
    let field = |name: &str, text: &str| (name.to_owned(), Rendered::Text(text.to_owned()));
    Message { fields: [field("channel", "orders"), field("text", text)].into(), ..Message::default() }
}

struct Far(Till);

impl FarSide for Far {
    async fn start() -> Self {
        Far(Till::start())
    }
    async fn output(&self) -> Arc<dyn Output> {
        let output = connect(config("till", PASSWORD, self.0.port)).await;
        // So that a far side that hangs has let it in before.
        output.check().await.unwrap();
        Arc::new(output)
    }
    fn message(&self) -> Message {
        saying("paid")
    }
    async fn arrived(&self) -> Vec<String> {
        self.0.arrived().into_iter().map(|(id, _)| id).collect()
    }
    async fn leave(&mut self) -> bool {
        self.0.leave();
        true
    }
    async fn refused(&self) -> Option<Refused> {
        let output = connect(config("till", "made-up-wrong-one", self.0.port)).await;
        Some(Refused { output: Arc::new(output), secret: "made-up-wrong-one".into() })
    }
    fn be_busy(&mut self) -> Option<Duration> {
        self.0.behave(Manner::Busy(30));
        Some(Duration::from_secs(30))
    }
    fn lose_answers(&mut self) -> bool {
        self.0.behave(Manner::HangUp);
        true
    }
    fn hang(&mut self) -> bool {
        self.0.behave(Manner::Silence);
        true
    }
    fn answer(&mut self) {
        self.0.behave(Manner::Take);
    }
    fn poison(&self) -> Option<Message> {
        Some(saying("poison"))
    }
    async fn shown(&self) -> (String, Vec<String>) {
        let config = config("till", PASSWORD, self.0.port);
        (format!("{config:?} {:?}", connect(config.clone()).await), vec![PASSWORD.to_owned()])
    }
}

switchyard_api::conformance!(Far);

#[tokio::test]
async fn one_that_is_refused_spoils_no_other_of_its_batch() {
    let till = Till::start();
    let output = connect(config("till", PASSWORD, till.port)).await;
    let texts = ["paid".to_owned(), "poison".to_owned(), "x".repeat(LINE_MAX), "paid".to_owned()];
    let parcels = texts.iter().zip(0..).map(|(text, number)| parcel(number, &saying(text))).collect();
    let said = deliver(&output, parcels, None).await;
    let words = [0, 1, 2, 3].map(|number| said.outcome(Handle(number)).word());
    assert_eq!(words, ["delivered", "rejected", "rejected", "delivered"]);
    assert!(!said.sent.contains_key(&Handle(2)), "what is too long does not leave");
    assert_eq!(till.arrived(), [0, 3].map(|number| (parcel(number, &Message::default()).delivery, "orders".to_owned())));
}

#[tokio::test]
async fn an_answer_that_is_none_is_unknown_and_the_next_delivery_has_a_connection_of_its_own() {
    let till = Till::start();
    let output = connect(config("till", PASSWORD, till.port)).await;
    for words in ["MAYBE", "\u{1b}[2J", ""] {
        till.behave(Manner::Say(words));
        let outcome = deliver_one(&output, parcel(1, &saying("paid"))).await;
        assert!(
            outcome.word() == "unknown" && outcome.text().contains("is no answer") && !outcome.text().contains('\u{1b}'),
            "{outcome:?}"
        );
        till.behave(Manner::Take);
        assert_eq!(deliver_one(&output, parcel(2, &saying("paid"))).await.word(), "delivered");
    }
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    let till = Till::start();
    let output = connect(config("till", PASSWORD, till.port)).await;
    till.behave(Manner::Silence);
    let outcome = deliver_one(&output, parcel(1, &saying("paid"))).await;
    assert!(outcome.word() == "unknown" && outcome.text().contains("no answer within 2s"), "{outcome:?}");
}
