//! From a parcel to the command that adds it.

use redis::{Arg, Cmd};
use switchyard_api::headers::{HeaderError, headers};
use switchyard_api::{Outcome, Parcel, Preview};

/// Names of fields that are ours besides the ids.
const OURS: [&str; 2] = ["content-type", "body"];
/// Who we are to Redis' table of idempotency ids.
const PRODUCER: &str = "switchyard";

/// What an entry depends on at the server.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    /// Whether it knows idempotency ids (Redis 8.6).
    pub idempotent: bool,
    /// The longest value that it takes, in bytes. What is longer it answers with a hang-up while we still write, and its reason is lost.
    pub bulk_max: usize,
}

/// `XADD stream [IDMP producer id] [MAXLEN ~ n] * field value …`, as <https://redis.io/commands/xadd> has it.
pub fn entry(parcel: &Parcel, max_length: Option<u64>, server: Server) -> Result<Cmd, Outcome> {
    let Some(stream) = parcel.message.text("stream").filter(|stream| !stream.is_empty()) else {
        return Err(Outcome::Rejected { why: "the message names no `stream`".to_owned() });
    };
    let fields = headers(parcel).map_err(|wrong| wrong.outcome())?;
    if let Some((name, _)) = fields.iter().find(|(name, _)| OURS.contains(&name.as_str())) {
        return Err(HeaderError::Name(name.clone()).outcome());
    }
    let mut command = redis::cmd("XADD");
    command.arg(stream);
    if server.idempotent {
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
    match command.args_iter().map(length).max() {
        Some(longest) if longest > server.bulk_max => Err(Outcome::Rejected {
            why: format!(
                "a value has {longest} bytes, above the bulk length of {} that this server takes (`proto-max-bulk-len`)",
                server.bulk_max
            ),
        }),
        _ => Ok(command),
    }
}

/// As a person reads it; what hangs on the server's version, which is not asked, is left out.
pub fn preview(parcel: &Parcel, max_length: Option<u64>) -> Result<Preview, String> {
    let command =
        entry(parcel, max_length, Server { idempotent: false, bulk_max: usize::MAX }).map_err(|outcome| outcome.text().to_owned())?;
    let words: Vec<&[u8]> = command.args_iter().map(|arg| if let Arg::Simple(bytes) = arg { bytes } else { b"" }).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let star = words.iter().position(|word| *word == b"*").unwrap_or(words.len());
    let (head, fields) = words.split_at(star);
    let mut preview = Preview::new("XADD", head.get(1).map(|stream| text(stream)).unwrap_or_default());
    preview.properties = max_length.map(|most| ("MAXLEN ~".to_owned(), most.to_string())).into_iter().collect();
    for pair in fields.get(1..).unwrap_or_default().chunks_exact(2) {
        match pair {
            [b"body", value] => preview.body = value.to_vec().into(),
            [name, value] => preview.headers.push((text(name), text(value))),
            _ => {}
        }
    }
    Ok(preview)
}

fn length(arg: Arg<&[u8]>) -> usize {
    if let Arg::Simple(bytes) = arg { bytes.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchyard_api::conformance::parcel;
    use switchyard_api::{Message, Rendered};

    const OLD: Server = Server { idempotent: false, bulk_max: 64 };

    #[test]
    fn a_value_that_the_server_would_hang_up_on_is_rejected_before_it_is_sent() {
        let stream = ("stream", Rendered::Text("orders".into()));
        let body = |length: usize| message(&[stream.clone(), ("body", Rendered::Text("x".repeat(length)))]);
        assert!(entry(&parcel(1, &body(64)), None, OLD).is_ok());
        let refused = entry(&parcel(1, &body(65)), None, OLD).unwrap_err();
        assert_eq!((refused.word(), refused.text().contains("65 bytes")), ("rejected", true), "{refused:?}");
    }

    fn message(fields: &[(&str, Rendered)]) -> Message {
        Message { fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(), ..Message::default() }
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
        let plain = words(&entry(&parcel, None, OLD).unwrap());
        let fields = ["switchyard-delivery", &delivery, "switchyard-event", &event, "switchyard-attempt", "1"];
        let body = ["content-type", "application/json", "body", r#"{"number":7}"#];
        assert_eq!(plain, [&["XADD", "orders", "*"][..], &fields, &body].concat());
        let whole = words(&entry(&parcel, Some(9), Server { idempotent: true, ..OLD }).unwrap());
        assert_eq!(whole[..9], ["XADD", "orders", "IDMP", "switchyard", &delivery, "MAXLEN", "~", "9", "*"]);
    }

    #[test]
    fn what_is_no_entry_says_why() {
        let stream = ("stream", Rendered::Text("orders".into()));
        let header = |name: &str| ("headers", Rendered::Map([(name.to_owned(), "x".to_owned())].into()));
        for (fields, word) in [(vec![], "rejected"), (vec![stream.clone(), header("body")], "misconfigured")] {
            assert_eq!(entry(&parcel(1, &message(&fields)), None, OLD).unwrap_err().word(), word);
        }
        assert!(words(&entry(&parcel(1, &message(&[stream, header("shop")])), None, OLD).unwrap()).contains(&"shop".to_owned()));
    }
}
