//! Senders as their own pages describe them, step by step: what each signs, and what it has its receivers accept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;

/// A sender as its page describes it.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its word after `verify:`.
    pub preset: &'static str,
    /// What stands in the file.
    pub secret: &'static str,
    /// What that is made into.
    pub key: Vec<u8>,
    /// Where the signature stands.
    pub header: &'static str,
    /// What comes before it.
    pub prefix: &'static str,
    /// Between several of them; empty: there is one.
    pub between: &'static str,
    /// Or Base64.
    pub hex: bool,
    /// The header of the moment, or its name within the signature's.
    pub moment: Option<(&'static str, bool)>,
    /// Before the body: `{}` is the moment, `[]` the id.
    pub text: &'static str,
}

/// One of each form.
pub fn senders() -> Vec<Sender> {
    let plain = |preset, header, prefix, hex| Sender {
        preset,
        secret: "made-up",
        key: b"made-up".to_vec(),
        header,
        prefix,
        between: "",
        hex,
        moment: None,
        text: "",
    };
    let whsec = Sender {
        secret: "whsec_bWFkZS11cC1zZWNyZXQtbWFkZS11cA==",
        key: b"made-up-secret-made-up".to_vec(),
        between: " ",
        moment: Some(("webhook-timestamp", false)),
        text: "[].{}.",
        ..plain("standard-webhooks", "webhook-signature", "v1,", false)
    };
    vec![
        plain("github", "x-hub-signature-256", "sha256=", true),
        plain("shopify", "x-shopify-hmac-sha256", "", false),
        plain("typeform", "typeform-signature", "sha256=", false),
        Sender { between: ",", ..plain("pagerduty", "x-pagerduty-signature", "v1=", true) },
        Sender { between: ",", moment: Some(("t", true)), text: "{}.", ..plain("stripe", "stripe-signature", "v1=", true) },
        Sender { between: ";", moment: Some(("ts", true)), text: "{}:", ..plain("paddle", "paddle-signature", "h1=", true) },
        Sender { moment: Some(("x-slack-request-timestamp", false)), text: "v0:{}:", ..plain("slack", "x-slack-signature", "v0=", true) },
        whsec,
    ]
}

impl Sender {
    /// What it would write into its header, without what says the moment there.
    pub fn sign(&self, moment: &str, id: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&self.key).expect("a key of any length");
        mac.update(self.text.replace("{}", moment).replace("[]", id).as_bytes());
        mac.update(body);
        let digest = mac.finalize().into_bytes();
        format!("{}{}", self.prefix, if self.hex { hex::encode(digest) } else { STANDARD.encode(digest) })
    }

    /// Seconds that its moment may be away from now.
    pub fn tolerance(&self) -> i64 {
        if self.preset == "paddle" { 60 } else { 300 }
    }

    /// What its header holds, one or several.
    pub fn elements<'g>(&self, given: &'g str) -> Vec<&'g str> {
        let elements: Vec<&str> = if self.between.is_empty() { vec![given] } else { given.split(self.between).collect() };
        elements.into_iter().map(str::trim).collect()
    }

    /// What the sender's page says, step by step; `now` in seconds.
    pub fn accepts(&self, headers: &HeaderMap, body: &[u8], now: i64) -> bool {
        let Some(given) = only(headers, self.header) else { return false };
        // What is no text beside a signature is another's element.
        let given = String::from_utf8_lossy(given);
        let elements = self.elements(&given);
        let moment = match self.moment {
            None => String::new(),
            Some((name, false)) => match only(headers, name).and_then(text) {
                Some(moment) => moment,
                None => return false,
            },
            Some((name, true)) => {
                let found: Vec<&str> = elements.iter().filter_map(|element| element.strip_prefix(&format!("{name}="))).collect();
                if let [moment] = found[..] { moment.to_owned() } else { return false }
            }
        };
        if self.moment.is_some() {
            let digits = !moment.is_empty() && moment.len() <= 11 && moment.chars().all(|c| c.is_ascii_digit());
            let near = moment.parse::<i64>().is_ok_and(|moment| (moment - now).abs() <= self.tolerance());
            if !digits || !near {
                return false;
            }
        }
        let id = if self.text.contains("[]") { only(headers, "webhook-id").and_then(text) } else { Some(String::new()) };
        let Some(id) = id else { return false };
        elements.contains(&self.sign(&moment, &id, body).as_str())
    }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    if let [value] = values[..] { Some(value.as_bytes()) } else { None }
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}
