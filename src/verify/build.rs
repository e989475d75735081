//! From a source's section to its [`Verifier`]: what the parts mean together, and every problem with its place.
//!
//! A source is never open by mistake: without `verify`, or with a secret that is missing or empty, nothing is built.

use super::pick::Pick;
use super::presets::{Preset, preset, presets};
use super::section::{BasicSection, Form, KeyForm, Secrets, Section, Shows, Spelled, TimestampSection, Unit};
use super::signature::{Key, Moment, MomentAt, Part, Scheme};
use super::token::{Token, Word};
use super::{Proof, Verifier, section};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;
use switchyard_api::problem::nearest;
use switchyard_api::{At, Period, Problem, Secret, Span};

/// How long a repeat is a repeat where nobody says.
const DEDUPE: Period = Period::secs(3 * 24 * 3_600);
/// How far a timestamp may be from now where nobody says.
const TOLERANCE: Period = Period::secs(5 * 60);

impl Verifier {
    /// Builds the proof of the source `name`, whose key stands at `at`. Every problem is pushed; `None` if any is an error.
    pub fn build(name: &str, at: Span, section: &Section, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let mut build = Build { name, at, problems };
        let built = build.verifier(section);
        let sound = problems.iter().skip(before).all(|problem| problem.severity != switchyard_api::problem::Severity::Error);
        built.filter(|_| sound)
    }
}

struct Build<'b> {
    name: &'b str,
    at: Span,
    problems: &'b mut Vec<Problem>,
}

impl Build<'_> {
    fn verifier(&mut self, section: &Section) -> Option<Verifier> {
        let form = self.form(section);
        let preset = form.as_ref().and_then(|form| form.preset);
        let topic = self.pick(section.topic.as_ref().or_else(|| preset.and_then(|p| p.topic.as_ref())));
        let id = section.id.as_ref().or_else(|| preset.and_then(|p| p.id.as_ref()));
        if let Some(At { span, value: section::Pick::Fixed(_) }) = id {
            self.error("bad-id", *span, "an id that is always the same would make every event a repeat".into(), "one word for all").help =
                Some(
                    "read it from the request: `id: { header: X-Name }` or `id: { json: path }`; without one, topic and body tell repeats"
                        .into(),
                );
        }
        let id = self.pick(id);
        let Period(window) = section.dedupe.or(preset.map(|p| p.dedupe)).unwrap_or(DEDUPE);
        let form = form?;
        let allow = self.networks(form.spelled.allow.as_deref().unwrap_or_default());
        let verify_tokens = self.verify_tokens(form.preset, section);
        let proof = self.proof(&form, section)?;
        let gives_up_after = preset.and_then(|preset| preset.gives_up_after);
        let window = (window > Duration::ZERO).then_some(window);
        Some(Verifier {
            allow,
            proof,
            topic,
            id,
            fallback: self.name.into(),
            window,
            gives_up_after,
            preset,
            verify_tokens: verify_tokens?,
        })
    }

    /// What the sender shows in its handshake; `None`: something is wrong with it.
    fn verify_tokens(&mut self, preset: Option<&'static Preset>, section: &Section) -> Option<Box<[Secret]>> {
        let asked = preset.is_some_and(|preset| preset.handshake.iter().any(|handshake| handshake.token.is_some()));
        match &section.verify_token {
            Some(tokens) if asked => self.secrets(tokens.span, &tokens.value.0).map(Into::into),
            Some(tokens) => {
                let title = format!("the sender of `{}` shows no token in a handshake", self.name);
                self.error("unused-key", tokens.span, title, "not used").help = Some("take it away".into());
                None
            }
            // Until it is set up again nobody asks.
            None => Some(Box::default()),
        }
    }

    /// The form with its preset's parts filled in.
    fn form(&mut self, section: &Section) -> Option<FullForm> {
        let Some(At { span, value }) = &section.verify else {
            self.error(
                "missing-verify",
                self.at,
                format!("source `{}` does not say how its sender is proven", self.name),
                "no `verify` here",
            )
            .help = Some(format!("add `verify:` with a preset ({}), a form spelled out, or `none`", names()));
            return None;
        };
        let (word, spelled) = match value {
            Form::Word(word) if word == "mtls" => {
                let mtls = Some(At { span: *span, value: vec![] });
                return Some(FullForm { at: *span, spelled: Spelled { mtls, ..Spelled::default() }, preset: None, open: false });
            }
            Form::Word(word) if word == "none" => {
                return Some(FullForm { at: *span, spelled: Spelled::default(), preset: None, open: true });
            }
            Form::Word(word) => (Some(At { span: *span, value: word.clone() }), Spelled::default()),
            Form::Spelled(spelled) => (spelled.preset.clone(), (**spelled).clone()),
        };
        let Some(word) = word else { return Some(FullForm { at: *span, spelled, preset: None, open: false }) };
        let Some(preset) = preset(&word.value) else {
            let known = presets().iter().map(|p| p.name.as_str()).chain(["none", "mtls"]);
            let near = nearest(&word.value, known);
            // A word that came from `${…}` could be a secret: shown only where it is nearly a preset's name.
            let problem = self.error("unknown-preset", word.span, "there is no such preset for `verify`".into(), "no sender has this name");
            match near {
                Some(near) => {
                    problem.title = format!("unknown preset `{}`", word.value);
                    problem.help = Some(format!("did you mean `{near}`?"));
                    problem.patch = Some(near.to_owned());
                }
                None => {
                    problem.help = Some(format!(
                        "known are {}, and `none`; or spell the form out: `hmac`, `bearer`, `token`, `basic`, `mtls`, `allow`",
                        names()
                    ));
                }
            }
            return None;
        };
        Some(FullForm { at: *span, spelled: over(spelled, &preset.verify), preset: Some(preset), open: false })
    }

    fn proof(&mut self, form: &FullForm, section: &Section) -> Option<Proof> {
        let spelled = &form.spelled;
        let kinds: Vec<(&str, Span)> = [
            spelled.hmac.as_ref().map(|hmac| ("hmac", hmac.span)),
            spelled.public.as_ref().map(|public| ("public", public.span)),
            spelled.bearer.as_ref().map(|bearer| ("bearer", bearer.span)),
            spelled.token.as_ref().map(|token| ("token", token.span)),
            spelled.basic.as_ref().map(|basic| ("basic", basic.span)),
            spelled.mtls.as_ref().map(|mtls| ("mtls", mtls.span)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let [(first, at), (second, other), ..] = kinds[..] {
            let title = format!("source `{}` is proven twice, by `{first}` and by `{second}`", self.name);
            let problem = self.error("two-proofs", other, title, "the second");
            problem.also = Some((at, "the first".into()));
            problem.help = Some("keep one of them; `allow` may stand beside it".into());
            return None;
        }
        let shows = form.preset.and_then(|preset| preset.shows).filter(|_| kinds.is_empty());
        if let Some(shows) = shows {
            return self.shown(shows, form, section).map(Proof::Token);
        }
        if spelled.hmac.is_none() && spelled.public.is_none() {
            self.strays(form, section);
        }
        match kinds.first().map(|(kind, _)| *kind) {
            Some("hmac" | "public") => self.scheme(form, section).map(Proof::Signature),
            Some("bearer") => {
                let bearer = spelled.bearer.as_ref()?;
                let secrets = self.secrets(bearer.span, &bearer.value.0)?;
                Some(Proof::Token(Token::bearer(secrets.to_vec())))
            }
            Some("token") => {
                let token = spelled.token.as_ref()?;
                let secrets = self.secrets(token.span, &token.value.0);
                let header = self.needed_header(form)?;
                Some(Proof::Token(Token::new(header, Word::None, secrets?.to_vec())))
            }
            Some("mtls") => {
                let names = &spelled.mtls.as_ref()?.value;
                let named: Vec<_> = names.iter().map(|name| self.certificate_name(name)).collect();
                Some(Proof::Certificate(named.into_iter().collect::<Option<_>>()?))
            }
            Some(_) => self.basic(&spelled.basic.as_ref()?.value).map(Proof::Token),
            None if form.open || spelled.allow.as_ref().is_some_and(|networks| !networks.is_empty()) => Some(Proof::None),
            None => {
                self.error("no-proof", form.at, format!("source `{}` proves nothing: anybody could send", self.name), "no proof in here")
                    .help =
                    Some("add `hmac`, `bearer`, `token`, `basic`, `mtls` or `allow`; to accept everybody write `verify: none`".into());
                None
            }
        }
    }

    fn certificate_name(&mut self, written: &At<String>) -> Option<ServerName<'static>> {
        let name = ServerName::try_from(written.value.clone()).ok();
        if name.is_none() {
            self.error("bad-name", written.span, format!("`{}` is not a name of a certificate", written.value), "no host and no address")
                .help = Some("write a name that the certificate is for, such as `partner.example`".into());
        }
        name
    }

    /// What a preset's sender shows in place of a signature: it stands under `secret`.
    fn shown(&mut self, shows: Shows, form: &FullForm, section: &Section) -> Option<Token> {
        let secrets = self.given(form, section)?;
        let secrets = self.secrets(secrets.span, &secrets.value.0)?.to_vec();
        Some(match shows {
            Shows::Token => Token::new(self.needed_header(form)?, Word::None, secrets),
            Shows::Basic => Token::new(http::header::AUTHORIZATION, Word::Basic, secrets),
        })
    }

    fn basic(&mut self, basic: &BasicSection) -> Option<Token> {
        let BasicSection { user, password } = basic;
        self.secrets(password.span, std::slice::from_ref(&password.value))?;
        if user.value.contains(':') {
            self.error("bad-user", user.span, "a user's name has no colon".into(), "`:` ends the name").help =
                Some("write the name alone; the password stands under `password`".into());
            return None;
        }
        Some(Token::basic(&user.value, &password.value))
    }

    /// Keys that only an HMAC has, beside something else.
    fn strays(&mut self, form: &FullForm, section: &Section) {
        let spelled = &form.spelled;
        let header = spelled.header.as_ref().filter(|_| spelled.token.is_none());
        let strays = [
            ("header", header.map(|k| k.span)),
            ("encoding", spelled.encoding.as_ref().map(|k| k.span)),
            ("prefix", spelled.prefix.as_ref().map(|k| k.span)),
            ("separator", spelled.separator.as_ref().map(|k| k.span)),
            ("signs", spelled.signs.as_ref().map(|k| k.span)),
            ("key", spelled.key.as_ref().map(|k| k.span)),
            ("timestamp", spelled.timestamp.as_ref().map(|k| k.span)),
            ("secret", section.secret.as_ref().map(|k| k.span)),
        ];
        for (key, at) in strays.into_iter().filter_map(|(key, at)| at.map(|at| (key, at))) {
            let problem =
                self.error("unused-key", at, format!("`{key}` belongs to a signature, and source `{}` has none", self.name), "not used");
            problem.help = Some(match key {
                "secret" => {
                    "name what it signs, as `verify: orderchamp` or `verify: { hmac: sha256, header: X-Name }`, or take it away".into()
                }
                _ => "add `hmac: sha256`, or take it away".into(),
            });
        }
    }

    fn scheme(&mut self, form: &FullForm, section: &Section) -> Option<Scheme> {
        let spelled = &form.spelled;
        let header = self.needed_header(form);
        let separator = self.separator(spelled);
        let timestamp = match &spelled.timestamp {
            Some(section) => self.moment(section, separator.as_deref().unwrap_or(" ")).map(Some),
            None => Some(None),
        };
        let signs = self.signs(spelled, section, timestamp.as_ref().and_then(Option::as_ref));
        let keys = self.keys(form, section);
        let text = |at: &Option<At<String>>| at.as_ref().map_or_else(Box::default, |at| at.value.as_str().into());
        Some(Scheme {
            header: header?,
            encoding: spelled.encoding.as_ref().map(|e| e.value).unwrap_or_default(),
            prefix: text(&spelled.prefix),
            separator: separator?,
            signs: signs?,
            timestamp: timestamp?,
            keys: keys?,
        })
    }

    /// The secret, or why the source needs one.
    fn given<'s>(&mut self, form: &FullForm, section: &'s Section) -> Option<&'s At<Secrets>> {
        let Some(secrets) = &section.secret else {
            let variable: String =
                self.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
            let docs = form.preset.map_or(String::new(), |preset| format!("; where to find it: {}", preset.docs));
            self.error(
                "missing-secret",
                form.at,
                format!("source `{}` has no secret to prove its signatures with", self.name),
                "this needs `secret`",
            )
            .help = Some(format!("add `secret: \"${{{variable}_SECRET}}\"` beside `verify`{docs}"));
            return None;
        };
        Some(secrets)
    }

    fn keys(&mut self, form: &FullForm, section: &Section) -> Option<Box<[Key]>> {
        let secrets = self.given(form, section)?;
        let (hash, public) = (form.spelled.hmac.as_ref().map(|hash| hash.value), form.spelled.public.as_ref().map(|kind| kind.value));
        let form = form.spelled.key.as_ref().map(|key| key.value).unwrap_or_default();
        let made = |bytes: &[u8]| match (hash, public) {
            (_, Some(kind)) => Key::public(kind, bytes),
            (Some(hash), None) => Key::new(hash, bytes),
            (None, None) => None,
        };
        let mut keys = vec![];
        for secret in self.secrets(secrets.span, &secrets.value.0)? {
            let Some(key) = key_bytes(form, secret.expose()).filter(|bytes| !bytes.is_empty()).and_then(|bytes| made(&bytes)) else {
                let expected = match form {
                    _ if public.is_some() => "a public key of this kind",
                    KeyForm::Hex => "hex digits",
                    KeyForm::Base64 => "base64",
                    KeyForm::Whsec => "base64, with or without `whsec_` before it",
                    KeyForm::Text => "text",
                };
                self.error(
                    "bad-secret",
                    secrets.span,
                    format!("the secret of source `{}` is not {expected}", self.name),
                    "as this sender writes it",
                )
                .help = Some("copy it as the sender shows it, without quotes or spaces".into());
                return None;
            };
            keys.push(key);
        }
        Some(keys.into())
    }

    /// Secrets that are there: at least one, and none of them empty.
    fn secrets<'s>(&mut self, at: Span, secrets: &'s [Secret]) -> Option<&'s [Secret]> {
        if secrets.is_empty() || secrets.iter().any(|secret| secret.expose().trim().is_empty()) {
            self.error("empty-secret", at, format!("source `{}` has an empty secret", self.name), "nothing in here").help =
                Some("an empty secret would let anybody in; set it, or write `verify: none` and mean it".into());
            return None;
        }
        Some(secrets)
    }

    fn needed_header(&mut self, form: &FullForm) -> Option<HeaderName> {
        let Some(header) = &form.spelled.header else {
            self.error("missing-header", form.at, "which header holds it?".into(), "no `header` in here").help =
                Some("add `header: X-Name` as the sender calls it".into());
            return None;
        };
        self.header(header)
    }

    fn header(&mut self, header: &At<String>) -> Option<HeaderName> {
        header_name(header)
            .map_err(|(at, title)| {
                self.error("bad-header", at, title, "cannot be a header").help =
                    Some("write letters, digits and `-`, such as `X-Signature`".into());
            })
            .ok()
    }

    fn separator(&mut self, spelled: &Spelled) -> Option<Box<str>> {
        let Some(separator) = &spelled.separator else { return Some("".into()) };
        let prefixed = spelled.prefix.as_ref().is_some_and(|prefix| prefix.value.contains(&separator.value));
        if separator.value.len() != 1 || prefixed {
            let title = "signatures are separated by one character that their prefix does not hold".into();
            self.error("bad-separator", separator.span, title, "cannot separate").help =
                Some("write it in quotes, as `\" \"` or `\",\"`".into());
            return None;
        }
        Some(separator.value.as_str().into())
    }

    fn moment(&mut self, section: &At<TimestampSection>, separator: &str) -> Option<Moment> {
        let TimestampSection { header, element, json, unit, tolerance } = &section.value;
        if let (Some(path), None, None) = (json, header, element) {
            let pick = Pick::new(&section::Pick::Json(path.clone())).map_err(|(at, title)| {
                self.error("bad-timestamp", at, title, "cannot be read there").help =
                    Some("write `timestamp: { json: data.sent_at }`".into());
            });
            return Some(Moment {
                at: MomentAt::Json(pick.ok()?),
                unit: unit.unwrap_or(Unit::Ms),
                tolerance: tolerance.unwrap_or(TOLERANCE).0,
            });
        }
        let at = match (header, element) {
            (Some(header), None) => MomentAt::Header(self.header(header)?),
            (None, Some(element)) if separator.is_empty() => {
                self.error("bad-timestamp", element.span, "an element stands between separators".into(), "of what?").help =
                    Some("add `separator: \",\"`".into());
                return None;
            }
            (None, Some(element)) => MomentAt::Element(element.value.as_str().into()),
            _ => {
                let title = "the moment of signing stands in a `header` or in an `element` of the signature's header".into();
                self.error("bad-timestamp", section.span, title, "one of them").help =
                    Some("write `timestamp: { header: X-Time, tolerance: 5m }`".into());
                return None;
            }
        };
        Some(Moment { at, unit: unit.unwrap_or(Unit::S), tolerance: tolerance.unwrap_or(TOLERANCE).0 })
    }

    fn signs(&mut self, spelled: &Spelled, section: &Section, moment: Option<&Moment>) -> Option<Box<[Part]>> {
        let whole = At { span: Span::default(), value: "{body}".to_owned() };
        let text = spelled.signs.as_ref().unwrap_or(&whole);
        if section.url.is_none() && text.value.contains("{url}") {
            let title = format!("the sender of `{}` signs the URL that it posts to", self.name);
            self.error("missing-url", self.at, title, "this needs `url`").help =
                Some("add `url: https://…`, as it is written in the sender's settings".into());
            return None;
        }
        let parts = match parts(&text.value, section.url.as_ref().map_or("", |url| &url.value)) {
            Ok(parts) => parts,
            Err((within, label)) => {
                let problem = self.error("bad-signs", text.span, "cannot read what is signed".into(), label);
                problem.within = Some(within);
                problem.help = Some("text with `{body}`, `{timestamp}`, `{header:X-Name}`, `{url}` and `{method}`".into());
                return None;
            }
        };
        let stamped = |part: &Part| match (part, moment.map(|moment| &moment.at)) {
            (Part::Header(name), Some(MomentAt::Header(at))) => name == at,
            // The body holds it.
            (Part::Body, Some(MomentAt::Json(_))) => true,
            _ => *part == Part::Timestamp,
        };
        if !parts.contains(&Part::Body) {
            let title = "the signature does not cover the body: whoever sees one could send anything".into();
            self.error("unsigned-body", text.span, title, "no `{body}` in here").help =
                Some("add `{body}` where the sender puts it".into());
            return None;
        }
        match (parts.iter().any(stamped), moment) {
            // Where it is written and wrong, that was told.
            (true, None) if parts.contains(&Part::Timestamp) && spelled.timestamp.is_none() => {
                self.error("bad-signs", text.span, "`{timestamp}` is signed, but nothing says where it stands".into(), "which one?").help =
                    Some("add `timestamp: { header: X-Time }`".into());
                return None;
            }
            (false, Some(_)) => {
                let title = "the timestamp is not signed, so its tolerance protects nothing";
                let at = spelled.timestamp.as_ref().map_or(text.span, |timestamp| timestamp.span);
                let problem = Problem::warning("unsigned-timestamp", at, title, "anybody can change it");
                self.problems.push(problem.help("add `{timestamp}` to `signs` if the sender signs it, or take `timestamp` away"));
            }
            _ => {}
        }
        Some(parts.into_iter().map(|part| if stamped(&part) && part != Part::Body { Part::Timestamp } else { part }).collect())
    }

    fn networks(&mut self, networks: &[At<String>]) -> Box<[IpNet]> {
        let mut allow = vec![];
        for network in networks {
            match network_of(&network.value) {
                Some(net) => allow.push(net),
                None => {
                    self.error("bad-network", network.span, "this is not a network".into(), "neither an address nor a range").help =
                        Some("write `10.0.0.0/8`, `2001:db8::/32` or one address".into());
                }
            }
        }
        allow.into()
    }

    fn pick(&mut self, pick: Option<&At<section::Pick>>) -> Option<Pick> {
        Pick::new(&pick?.value)
            .map_err(|(at, title)| {
                self.error("bad-pick", at, title, "cannot be read there").help =
                    Some("write `{ header: X-Name }`, or `{ json: data.type }`: keys and places of lists with dots between them".into());
            })
            .ok()
    }

    fn error(&mut self, id: &'static str, at: Span, title: String, label: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem::error(id, at, title, label));
        // Just pushed.
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }
}

/// A form whose preset's parts are filled in.
struct FullForm {
    at: Span,
    spelled: Spelled,
    preset: Option<&'static Preset>,
    /// `none`, said out loud.
    open: bool,
}

/// The parts of `above`, and where it has none those of `below`.
fn over(above: Spelled, below: &Spelled) -> Spelled {
    let below = below.clone();
    let timestamp = match (above.timestamp, below.timestamp) {
        (Some(At { span, value: above }), Some(At { value: below, .. })) => {
            let moved = above.header.is_some() || above.element.is_some() || above.json.is_some();
            let from = if moved { &above } else { &below };
            let (header, element, json) = (from.header.clone(), from.element.clone(), from.json.clone());
            let unit = above.unit.or(below.unit);
            Some(At { span, value: TimestampSection { header, element, json, unit, tolerance: above.tolerance.or(below.tolerance) } })
        }
        (above, below) => above.or(below),
    };
    Spelled {
        preset: above.preset,
        hmac: above.hmac.or(below.hmac),
        public: above.public.or(below.public),
        header: above.header.or(below.header),
        encoding: above.encoding.or(below.encoding),
        prefix: above.prefix.or(below.prefix),
        separator: above.separator.or(below.separator),
        signs: above.signs.or(below.signs),
        key: above.key.or(below.key),
        timestamp,
        bearer: above.bearer.or(below.bearer),
        token: above.token.or(below.token),
        basic: above.basic.or(below.basic),
        mtls: above.mtls.or(below.mtls),
        allow: above.allow.or(below.allow),
    }
}

/// A header's name as the file writes it.
pub(super) fn header_name(header: &At<String>) -> Result<HeaderName, (Span, String)> {
    HeaderName::from_bytes(header.value.as_bytes()).map_err(|_| (header.span, "this is not a header's name".into()))
}

/// A network, or one address as a network of one.
pub fn network_of(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(net.trunc())
}

fn key_bytes(form: KeyForm, secret: &str) -> Option<Cow<'_, [u8]>> {
    match form {
        KeyForm::Text => Some(Cow::Borrowed(secret.as_bytes())),
        KeyForm::Hex => hex::decode(secret).ok().map(Cow::Owned),
        KeyForm::Base64 => STANDARD.decode(secret).ok().map(Cow::Owned),
        KeyForm::Whsec => {
            STANDARD.decode(["whsec_", "whpk_"].iter().find_map(|start| secret.strip_prefix(start)).unwrap_or(secret)).ok().map(Cow::Owned)
        }
    }
}

/// What is signed, from its text; `Err` says where in it what is wrong.
fn parts(text: &str, url: &str) -> Result<Vec<Part>, (std::ops::Range<usize>, String)> {
    let mut parts = vec![];
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        let at = text.len() - rest.len() + brace;
        let (literal, from) = rest.split_at(brace);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        let Some((inner, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}')) else {
            return Err((at..at + 1, "this brace has no other".into()));
        };
        let within = at..at + inner.len() + 2;
        parts.push(match inner.split_once(':') {
            None if inner == "body" => Part::Body,
            None if inner == "timestamp" => Part::Timestamp,
            None if inner == "url" => Part::Text(url.into()),
            // Nothing else is taken.
            None if inner == "method" => Part::Text("POST".into()),
            Some(("header", name)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Part::Header(name),
                Err(_) => return Err((within, "not a header's name".into())),
            },
            _ => return Err((within, "not a part of a request".into())),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

fn names() -> String {
    let mut names: Vec<_> = presets().iter().map(|preset| preset.name.as_str()).collect();
    names.sort_unstable();
    names.join(", ")
}
