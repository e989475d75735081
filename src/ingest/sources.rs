//! Who may post where: the sources by path, and the bounds of their requests. Swapped whole on reload.

use super::counts::{Rotation, Tally};
use super::cut;
use super::section::NamedSource;
use crate::model::places::Path;
use crate::model::{Event, envelope};
use crate::verify::{Preset, Verifier};
use bytes::Bytes;
use http::StatusCode;
use ipnet::IpNet;
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::problem::Severity;
use switchyard_api::{At, Period, Problem, Span};

/// Most bytes of a source's name and of its path.
const MOST_NAME: usize = 64;
const MOST_PATH: usize = 256;
/// The shortest `silent_after`; `check` refuses less.
const SILENCE_LEAST: Duration = Duration::from_secs(1);

/// One sender, ready.
pub struct Source {
    /// As in the file.
    pub name: Arc<str>,
    /// Its proof.
    pub verifier: Verifier,
    /// Where the list stands whose elements are an event each.
    pub each: Option<Path>,
    /// Where values stand that are not kept.
    pub redact: Box<[Path]>,
    /// The text of a good answer, where it is not ours.
    pub answer: Option<Bytes>,
    /// Its status.
    pub status: StatusCode,
    /// What was answered; lives on across reloads.
    pub tally: Arc<Tally>,
    /// Which of its secrets are used; lives on across reloads that leave them as they are.
    pub rotation: Arc<Rotation>,
    /// After how long without a proven event people are told.
    pub silent_after: Option<Duration>,
}

impl Source {
    /// The bodies of the events that one proven body is, in their order; `None`: it is one event as a whole.
    pub fn parts(&self, body: &Bytes) -> Option<Vec<Bytes>> {
        self.each.as_ref().and_then(|path| cut::each(body, path))
    }

    /// An event without the values that are not kept. By what it is a repeat is decided before.
    pub fn redacted(&self, event: Event) -> Event {
        if self.redact.is_empty() {
            return event;
        }
        let is_form = envelope::is_form(&event);
        Event { body: cut::redact(event.body, &self.redact, is_form), ..event }
    }
}

/// Bounds of one request, and of all together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of one body; more is answered 413.
    pub max_body: usize,
    /// Most bytes of all bodies being read or kept; more is answered 503.
    pub body_budget: usize,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Box<[IpNet]>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_body: 1 << 20, body_budget: 64 << 20, trusted_proxies: Box::default() }
    }
}

impl Limits {
    /// Whether a peer's word on whom it speaks for is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&peer))
    }
}

/// Every source by its path.
#[derive(Default)]
pub struct Sources {
    by_path: HashMap<Box<str>, Source>,
    /// The bounds of their requests.
    pub limits: Limits,
}

impl Sources {
    /// Builds all sources. Every problem is pushed; `None` if any is an error.
    pub fn build(named: &[NamedSource], limits: Limits, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let mut by_path: HashMap<Box<str>, Source> = HashMap::new();
        let mut places: HashMap<String, (&str, Span)> = HashMap::new();
        for NamedSource { name, at, section } in named {
            check_name(name, *at, problems);
            let verifier = Verifier::build(name, *at, &section.proof(), problems);
            let (path, at) = match &section.path {
                Some(path) => {
                    check_path(&path.value, path.span, problems);
                    (path.value.clone(), path.span)
                }
                // As good as the name.
                None => (format!("/{name}"), *at),
            };
            if let Some((other, there)) = places.insert(path.clone(), (name, at)) {
                let title = format!("sources `{other}` and `{name}` have the same path");
                problems.push(
                    Problem::error("same-path", at, title, "taken already")
                        .also(there, "by this one")
                        .help("give one of them another `path`"),
                );
            }
            let silent_after = section.silent_after.and_then(|after| silence(after, problems));
            let preset = verifier.as_ref().and_then(Verifier::preset);
            let each = section.each.as_ref().or_else(|| preset?.each.as_ref()).and_then(|path| cut::path(path, "each", problems));
            let redact: Vec<Path> = section.redact.iter().filter_map(|path| cut::path(path, "redact", problems)).collect();
            // Of the elements; and where a request is kept whole, of those in it.
            let inside = each.iter().flat_map(|each| redact.iter().map(move |path| each.iter().chain(path).cloned().collect()));
            let secret = verifier.as_ref().map(Verifier::secret_paths).unwrap_or_default();
            let redact = redact.iter().cloned().chain(inside).chain(secret).collect();
            if let Some(verifier) = verifier {
                let answer = section.answer.clone().or_else(|| preset?.answer.clone()).map(Bytes::from);
                let status = good_status(section.answer.as_deref(), preset);
                let name = name.as_str().into();
                let rotation = Arc::new(Rotation::new(section.list_of_secrets(), verifier.secrets()));
                by_path.insert(
                    path.into(),
                    Source { name, verifier, each, redact, answer, status, tally: Arc::default(), rotation, silent_after },
                );
            }
        }
        let sound = problems.iter().skip(before).all(|problem| problem.severity != Severity::Error);
        sound.then_some(Sources { by_path, limits })
    }

    /// The source at a request's path: decoded once, and then exactly equal.
    pub fn find(&self, path: &str) -> Option<&Source> {
        self.by_path.get(decoded(path)?.as_ref())
    }

    /// The source of this name.
    pub fn named(&self, name: &str) -> Option<&Source> {
        self.by_path.values().find(|source| *source.name == *name)
    }

    /// All sources with their paths, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.by_path.iter().map(|(path, source)| (path.as_ref(), source))
    }

    /// Goes on with the counts of the sources that were there before.
    pub(super) fn go_on_counting(&mut self, before: &Sources) {
        for source in self.by_path.values_mut() {
            if let Some(known) = before.named(&source.name) {
                source.tally = Arc::clone(&known.tally);
                if source.rotation.is_of(&known.rotation) {
                    source.rotation = Arc::clone(&known.rotation);
                }
            }
        }
    }
}

/// With which status its sender hears that an event is durable. A text of the file's own needs one that can have a text.
fn good_status(own_answer: Option<&str>, preset: Option<&Preset>) -> StatusCode {
    let of_preset = preset.filter(|_| own_answer.is_none()).and_then(|preset| preset.status);
    of_preset.and_then(|status| StatusCode::from_u16(status).ok()).filter(StatusCode::is_success).unwrap_or(StatusCode::OK)
}

fn check_name(name: &str, at: Span, problems: &mut Vec<Problem>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(plain) {
        let problem = Problem::error("bad-name", at, "this can't be the name of a source", "it stands in paths and messages");
        problems.push(problem.help("write 1 to 64 letters, digits, `-`, `_` and `.`"));
    }
    if name == "switchyard" {
        let title = "`switchyard` is the source of the daemon's own events";
        problems.push(Problem::error("reserved-name", at, title, "taken").help("give it another name"));
    }
}

fn silence(after: At<Period>, problems: &mut Vec<Problem>) -> Option<Duration> {
    if after.value.0 >= SILENCE_LEAST {
        return Some(after.value.0);
    }
    let title = format!("`silent_after` is {}", after.value);
    let problem = Problem::error("bad-silence", after.span, title, "every pause would be one");
    problems.push(problem.help("write at least 1s, such as `6h`, or take it out"));
    None
}

fn check_path(path: &str, at: Span, problems: &mut Vec<Problem>) {
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !b"%?#\\\"<>{}*".contains(&b) || b >= 0x80);
    let shaped = path.starts_with('/') && (path == "/" || !path.ends_with('/')) && !path.contains("//");
    if !plain || !shaped || path.len() > MOST_PATH {
        let title = "this is not a path to post to";
        problems.push(Problem::error("bad-path", at, title, "cannot be asked for").help(
            "write `/in/partner`: it starts with `/`, does not end with one, is not percent-encoded, and is one path, not a pattern",
        ));
    }
}

/// A path with its `%XX` decoded, once; `None` for what is not text then.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match first {
            b'%' => {
                let (digits, after) = after.split_at_checked(2)?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                (byte[0], after)
            }
            plain => (*plain, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::super::section::read_sources;
    use super::*;
    use crate::verify::presets::placeless;
    use proptest::prelude::*;

    fn build(sources: &str) -> Result<Sources, Vec<&'static str>> {
        let mut problems = vec![];
        let named = read_sources(&placeless(sources).unwrap(), &mut problems);
        let built = Sources::build(&named, Limits::default(), &mut problems);
        built.filter(|_| problems.is_empty()).ok_or_else(|| problems.iter().map(|p| p.id).collect())
    }

    #[test]
    fn a_path_is_decoded_once_and_then_equal() {
        let sources =
            build("{ shop: { verify: none }, partner: { path: /in/ä.b, verify: none }, root: { path: /, verify: none } }").unwrap();
        let name = |path: &str| sources.find(path).map(|source| source.name.to_string());
        for (path, found) in [
            ("/shop", Some("shop")),
            ("/%73hop", Some("shop")),
            ("/in/%C3%A4.b", Some("partner")),
            ("/in/%c3%a4%2Eb", Some("partner")),
            ("/in%2F%C3%A4.b", Some("partner")),
            ("/", Some("root")),
            ("/shop/", None),
            ("//shop", None),
            ("/Shop", None),
            ("/%2573hop", None),
            ("/shop%", None),
            ("/shop%0", None),
            ("/shop%00", None),
            ("/%ff", None),
            ("", None),
            ("/x/../shop", None),
        ] {
            assert_eq!(name(path).as_deref(), found, "{path}");
        }
    }

    #[test]
    fn names_and_paths_that_cannot_work_are_told() {
        assert_eq!(build("{ a: { path: /x, verify: none }, b: { path: /x, verify: none } }").err(), Some(vec!["same-path"]));
        assert_eq!(build("{ switchyard: { verify: none } }").err(), Some(vec!["reserved-name"]));
        assert_eq!(build("{ 'a b': { verify: none } }").err(), Some(vec!["bad-name"]));
        assert_eq!(build("{ a: { verify: none, silent_after: 10ms } }").err(), Some(vec!["bad-silence"]));
        let quiet = build("{ a: { verify: none, silent_after: 6h } }").unwrap();
        assert_eq!(quiet.named("a").unwrap().silent_after, Some(Duration::from_hours(6)));
        for path in ["x", "/x/", "/a//b", "/x?y", "/%20", "''", "/a b", "'/in/{id}'", "'/in/*'"] {
            assert_eq!(build(&format!("{{ a: {{ path: {path}, verify: none }} }}")).err(), Some(vec!["bad-path"]), "{path}");
        }
        assert_eq!(build("{ a: { verify: none, pth: /x }, b: { } }").err(), Some(vec!["unknown-key", "missing-verify"]));
    }

    proptest! {
        #[test]
        fn no_path_makes_it_fail(path in "[/a-z%0-9]{0,24}") {
            decoded(&path);
        }
    }
}
