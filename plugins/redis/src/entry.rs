//! From a parcel to the command that adds it.

use redis::Cmd;
use switchyard_api::headers::{HeaderError, headers};
use switchyard_api::{Outcome, Parcel};

/// Names of fields that are ours besides the ids.
const OURS: [&str; 2] = ["content-type", "body"];
/// Who we are to Redis' table of idempotency ids.
const PRODUCER: &str = "switchyard";

/// `XADD stream [IDMP producer id] [MAXLEN ~ n] * field value …`, as <https://redis.io/commands/xadd> has it.
pub fn entry(parcel: &Parcel, max_length: Option<u64>, idempotent: bool) -> Result<Cmd, Outcome> {
    let Some(stream) = parcel.message.text("stream").filter(|stream| !stream.is_empty()) else {
        return Err(Outcome::Rejected { why: "the message names no `stream`".to_owned() });
    };
    let fields = headers(parcel).map_err(|wrong| wrong.outcome())?;
    if let Some((name, _)) = fields.iter().find(|(name, _)| OURS.contains(&name.as_str())) {
        return Err(HeaderError::Name(name.clone()).outcome());
    }
    let mut command = redis::cmd("XADD");
    command.arg(stream);
    if idempotent {
        command.arg("IDMP").arg(PRODUCER).arg(&parcel.delivery);
    }
    if let Some(most) = max_length {
        command.arg("MAXLEN").arg("~").arg(most);
    }
    command.arg("*");
    for (name, value) in &fields {
        command.arg(name).arg(value);
    }
    match parcel.message.text("body") {
        Some(body) => command.arg("content-type").arg("application/json").arg("body").arg(body),
        None => command.arg("content-type").arg(parcel.payload_type()).arg("body").arg(&parcel.payload()[..]),
    };
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    fn message(fields: &[(&str, Rendered)]) -> Message {
        Message { payload: None, fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect() }
    }
    fn words(command: &Cmd) -> Vec<String> {
        let word = |arg| match arg {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => "?".to_owned(),
        };
        command.args_iter().map(word).collect()
    }

    #[test]
    fn an_entry_has_our_ids_and_the_exact_bytes() {
        let parcel = parcel(7, &message(&[("stream", Rendered::Text("orders".into()))]));
        let (delivery, event) = (parcel.delivery.clone(), parcel.event.clone());
        let plain = words(&entry(&parcel, None, false).unwrap());
        let fields = ["switchyard-delivery", &delivery, "switchyard-event", &event, "switchyard-attempt", "1"];
        let body = ["content-type", "application/json", "body", r#"{"number":7}"#];
        assert_eq!(plain, [&["XADD", "orders", "*"][..], &fields, &body].concat());
        let whole = words(&entry(&parcel, Some(9), true).unwrap());
        assert_eq!(whole[..9], ["XADD", "orders", "IDMP", "switchyard", &delivery, "MAXLEN", "~", "9", "*"]);
    }

    #[test]
    fn what_is_no_entry_says_why() {
        let stream = ("stream", Rendered::Text("orders".into()));
        let header = |name: &str| ("headers", Rendered::Map([(name.to_owned(), "x".to_owned())].into()));
        for (fields, word) in [(vec![], "rejected"), (vec![stream.clone(), header("body")], "misconfigured")] {
            assert_eq!(entry(&parcel(1, &message(&fields)), None, false).unwrap_err().word(), word);
        }
        assert!(words(&entry(&parcel(1, &message(&[stream, header("shop")])), None, false).unwrap()).contains(&"shop".to_owned()));
    }
}
