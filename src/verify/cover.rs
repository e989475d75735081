//! What a proof covers of a request, for `check`: who has one signed request can send it again with everything else changed.
//!
//! Does: answers for the values of an event by their paths (`topic`, `headers.x-shop`, `query`, `data.id`). A token or a certificate vouches
//! for its sender, and so for the whole request; a signature vouches for what it signs. Never: looks at a request.

use super::pick::Pick;
use super::signature::{MomentAt, Scheme};
use super::signed::Part;
use super::{Proof, Verifier};

impl Verifier {
    /// Whether a value of an event is what its sender sent, or the file says that it is believed (`believe`).
    pub fn vouches_for(&self, path: &str) -> bool {
        let Proof::Signature(scheme) = &self.proof else { return true };
        let path = &if path.starts_with("headers.") { path.to_lowercase() } else { path.to_owned() };
        self.is_believed(path)
            || match path.split_once('.').unwrap_or((path, "")) {
                ("topic", _) => self.topic_path().is_none_or(|read| self.is_believed(&read) || covers(scheme, &read)),
                _ => covers(scheme, path),
            }
    }

    /// Where in an event the topic is read; `None`: it is always the same.
    pub fn topic_path(&self) -> Option<String> {
        match self.topic.as_ref()? {
            Pick::Header(name) => Some(format!("headers.{name}")),
            Pick::Json(steps) | Pick::Start(steps, _) => Some(format!("data.{}", steps.join("."))),
            Pick::Fixed(_) => None,
        }
    }

    /// What its signature covers, in words; `None`: it has none.
    pub fn signed_words(&self) -> Option<String> {
        let Proof::Signature(scheme) = &self.proof else { return None };
        let mut words: Vec<String> = vec![];
        for part in &scheme.signs {
            let word = match part {
                Part::Body => "the body".to_owned(),
                Part::Form => "the fields of the form, run together".to_owned(),
                Part::Timestamp => "the time".to_owned(),
                Part::Header(name) => format!("`{name}`"),
                Part::Url { .. } => "the URL".to_owned(),
                Part::Json(path) | Part::Raw(path) => format!("`{}`", path.join(".")),
                Part::Lines(fields) => fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", "),
                // Anybody can make another body with the same.
                Part::Crc32 | Part::Text(_) | Part::Secret => continue,
            };
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let last = words.pop()?;
        Some(if words.is_empty() { format!("{last} alone") } else { format!("{} and {last}", words.join(", ")) })
    }

    fn is_believed(&self, path: &str) -> bool {
        self.believed.iter().any(|word| path.strip_prefix(&**word).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// Whether a signature covers the value at this path.
fn covers(scheme: &Scheme, path: &str) -> bool {
    let signed = |wanted: &dyn Fn(&Part) -> bool| scheme.signs.iter().any(wanted);
    let (root, rest) = path.split_once('.').unwrap_or((path, ""));
    let within = |steps: &[Box<str>]| {
        let mut names = rest.split('.');
        steps.iter().all(|step| names.next() == Some(step))
    };
    match root {
        "headers" => {
            let named = |part: &Part| matches!(part, Part::Header(name) if name.as_str().eq_ignore_ascii_case(rest));
            let moment = scheme.timestamp.as_ref().map(|moment| &moment.at);
            let stamped = matches!(moment, Some(MomentAt::Header(name)) if name.as_str().eq_ignore_ascii_case(rest));
            signed(&named) || stamped && signed(&|part| matches!(part, Part::Timestamp))
        }
        // Fields that run together run into the URL's as well.
        "query" => signed(&|part| matches!(part, Part::Url { .. })) && !signed(&|part| matches!(part, Part::Form)),
        "data" | "raw" => signed(&|part| match part {
            Part::Body => true,
            Part::Json(steps) | Part::Raw(steps) => root == "data" && within(steps),
            Part::Lines(fields) => root == "data" && rest.split('.').next().is_some_and(|name| fields.iter().any(|field| **field == *name)),
            _ => false,
        }),
        // The daemon's own.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets::{placeless, presets};
    use super::super::{Section, Verifier};
    use switchyard_api::{Span, tree};

    fn build(section: &str) -> Verifier {
        let mut problems = vec![];
        let read: Option<Section> = tree::read(&placeless(section).unwrap(), &mut problems);
        let built = read.and_then(|section| Verifier::build("shop", Span::default(), &section, &mut problems));
        built.unwrap_or_else(|| panic!("{section}: {problems:?}"))
    }

    /// What the presets say of themselves is what is answered for them, where their sender names a topic at all.
    #[test]
    fn a_preset_vouches_for_the_topic_where_it_says_that_it_is_signed() {
        let mut unsigned = vec![];
        for preset in presets().iter().filter(|preset| preset.shows.is_none() && preset.topic.is_some()) {
            let key = if preset.verify.public.is_some() { continue } else { "whsec_bWFkZS11cC1zZWNyZXQtbWFkZS11cA==" };
            let key = if preset.name.starts_with("adyen") { "00ff" } else { key };
            let url = if preset.verify.signs.as_ref().is_some_and(|signs| signs.value.contains("{url}")) {
                "url: 'https://a.example/',"
            } else {
                ""
            };
            let verifier = build(&format!("{{ {url} verify: {}, secret: {key} }}", preset.name));
            assert_eq!(verifier.vouches_for("topic"), preset.signed.iter().any(|word| word == "topic"), "{}", preset.name);
            if !verifier.vouches_for("topic") {
                unsigned.push(preset.name.as_str());
            }
        }
        assert!(unsigned.starts_with(&["orderchamp", "github", "shopify", "gitlab", "bitbucket"]), "{unsigned:?}");
    }

    #[test]
    fn a_signature_vouches_for_what_it_signs_and_a_token_for_all() {
        for (section, paths, vouched) in [
            (
                "{ verify: { preset: github }, secret: s, topic: { header: X-Kind } }",
                "data.id raw topic headers.x-github-delivery query source received_at",
                "data.id raw source received_at",
            ),
            (
                "{ verify: { hmac: sha256, header: X-Sig, signs: '{timestamp}.{header:X-Id}.{body}', timestamp: { header: X-Time } }, secret: s }",
                "headers.X-Time headers.x-id headers.x-other topic",
                "headers.X-Time headers.x-id topic",
            ),
            ("{ verify: twilio, secret: s, url: 'https://a.example/in' }", "query.a data.From headers.a", ""),
            (
                "{ verify: adyen, secret: 00ff }",
                "topic data.NotificationRequestItem.amount.value data.NotificationRequestItem.additionalData.x",
                "topic data.NotificationRequestItem.amount.value",
            ),
            ("{ verify: exact-online, secret: s }", "data.Content.Key data.Other raw", "data.Content.Key"),
            ("{ verify: mailgun, secret: s }", "topic data.event-data.id", ""),
            ("{ verify: { bearer: t } }", "headers.a query topic", "headers.a query topic"),
            ("{ verify: none }", "headers.a query topic", "headers.a query topic"),
            (
                "{ verify: orderchamp, secret: s, believe: [headers.X-Orderchamp-Event, query.a] }",
                "topic query.a query.b query",
                "topic query.a",
            ),
            ("{ verify: orderchamp, secret: s, believe: [topic] }", "topic headers.x-orderchamp-event", "topic"),
        ] {
            let verifier = build(section);
            let found: Vec<&str> = paths.split(' ').filter(|path| verifier.vouches_for(path)).collect();
            assert_eq!(found.join(" "), vouched, "{section}");
        }
        assert_eq!(build("{ verify: stripe, secret: s }").signed_words().as_deref(), Some("the time and the body"));
        assert_eq!(build("{ verify: { bearer: t } }").signed_words(), None);
    }
}
