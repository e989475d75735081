//! `gzip: true`: what is sent is gzip, and the signature is over what is sent.

#![allow(clippy::unwrap_used)] // helpers of tests

use switchyard_api::conformance::http::WebServer;
use switchyard_api::conformance::{deliver_one, parcel};
use switchyard_api::http::gzip::inflate;
use switchyard_api::http::{Secrets, Signer};
use switchyard_api::tree::{Key, Node, Value};
use switchyard_api::{Kit, Message, Parcel, Span, Wall};

const SIGNING: &str = "whsec_bWFkZS11cC1zZWNyZXQtb2YtMzItYnl0ZXMhISEhISE=";

fn map(entries: Vec<(&str, Value)>) -> Value {
    let placed = entries.into_iter().enumerate().map(|(nth, (name, value))| {
        let span = Span { start: nth * 10, end: nth * 10 + 5 };
        (Key { span: Span::default(), name: name.into() }, Node { span, value })
    });
    Value::Map(placed.collect())
}

#[tokio::test]
async fn a_body_goes_out_packed_and_is_signed_as_it_goes_out() {
    let server = WebServer::start().await;
    let text = |text: &str| Node::text(text).value;
    let sign = map(vec![("secret", text(SIGNING))]);
    let settings = map(vec![("url", text(&server.url())), ("gzip", Value::Bool(true)), ("sign", sign)]);
    let kind = switchyard_http::kinds().into_iter().find(|kind| kind.name() == "http").unwrap();
    let config = kind.read(&Node { span: Span { start: 0, end: 99 }, value: settings }, &mut vec![]).unwrap();
    let output = config.connect(&Kit::new("shop", "/", "switchyard/0", Wall::new(|| 1_772_445_600_500))).await.unwrap();
    let body = "order ".repeat(1000);
    for attempt in [1, 2] {
        let parcel = Parcel { raw: body.clone().into(), attempt, ..parcel(7, &Message::default()) };
        assert_eq!(deliver_one(&*output, parcel).await.word(), "delivered");
    }
    let empty = Parcel { raw: bytes::Bytes::new(), ..parcel(8, &Message::default()) };
    assert_eq!(deliver_one(&*output, empty).await.word(), "delivered");

    let got = server.got();
    assert_eq!(got[0].header("content-encoding"), Some("gzip"));
    assert!(got[0].body.len() < body.len() / 10);
    assert_eq!(inflate(&got[0].body, body.len()), (body.into(), true));
    assert_eq!(got[0].body, got[1].body, "the same bytes at every attempt");
    let secrets: Secrets = serde_json::from_str(&format!("\"{SIGNING}\"")).unwrap();
    let id = got[0].header("switchyard-delivery").unwrap();
    let expected = Signer::new(&secrets).unwrap().sign(id, 1_772_445_600, &got[0].body);
    assert_eq!(got[0].header("webhook-signature"), Some(expected.as_str()));
    assert_eq!((got[2].header("content-encoding"), got[2].body.len()), (None, 0));
}
