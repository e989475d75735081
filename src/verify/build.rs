//! From a source's section to its [`Verifier`]: what the parts mean together, and every problem with its place.
//!
//! A source is never open by mistake: without `verify`, or with a secret that is missing or empty, nothing is built.

mod jwt;
mod over;
mod scheme;

use self::over::over;
use super::pick::Pick;
use super::presets::{Preset, preset, presets};
use super::section::{BasicSection, Form, Secrets, Section, Shows, Spelled};
use super::signature::Place;
use super::token::{Token, Word};
use super::{Proof, Verifier, section};
use http::HeaderName;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
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
        let believed = self.believed(&section.believe);
        let tokens = self.tokens(form.preset, section);
        let proof = self.proof(&form, section)?;
        let gives_up_after = self.patience(section).or(preset.and_then(|preset| preset.gives_up_after));
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
            believed: believed?,
            tokens: tokens.ok()?,
        })
    }

    /// After how many failures the sender gives up, as the file says.
    fn patience(&mut self, section: &Section) -> Option<u32> {
        let At { span, value } = section.gives_up_after.as_ref()?;
        if *value == 0 {
            self.error("bad-limit", *span, "a sender that gives up after no failure sends nothing".into(), "must be 1 or more").help =
                Some("write how many failures in a row its documentation says, such as `gives_up_after: 19`".into());
        }
        Some(*value)
    }

    /// The values of an event that routes may go by all the same; `None`: something is wrong with them.
    fn believed(&mut self, words: &[At<String>]) -> Option<Box<[Box<str>]>> {
        const ROOTS: [&str; 4] = ["topic", "headers", "query", "data"];
        let mut believed: Vec<Box<str>> = vec![];
        for word in words {
            let (root, rest) = word.value.split_once('.').map_or((word.value.as_str(), None), |(root, rest)| (root, Some(rest)));
            let fits = ROOTS.contains(&root) && rest.is_none_or(|rest| !rest.is_empty() && root != "topic");
            if fits {
                believed.push(if root == "headers" { word.value.to_lowercase().into() } else { word.value.as_str().into() });
                continue;
            }
            let near = nearest(root, ROOTS);
            let problem = self.error(
                "unknown-path",
                word.span,
                format!("`{}` is nothing that a sender could leave unsigned", word.value),
                "not a path of an event",
            );
            problem.help = Some(match near {
                Some(near) if near != root => format!("did you mean `{near}`?"),
                _ => "write `topic`, `query`, `data`, or a header as `headers.x-name`".into(),
            });
        }
        (believed.len() == words.len()).then(|| believed.into())
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
                None if ["no", "false", "off", "disabled"].contains(&word.value.as_str()) => {
                    problem.help = Some("where nobody has to prove who sends write `verify: none`".to_owned());
                    problem.patch = Some("none".to_owned());
                }
                None if word.value.contains("hmac") || word.value.contains("sha256") => {
                    problem.help =
                        Some("write `verify: { hmac: sha256, header: X-Signature }`: what else there is stands beside `hmac`".to_owned());
                }
                None => {
                    problem.help = Some(format!(
                        "known are {}, and `none`; or spell the form out: `hmac`, `public`, `bearer`, `token`, `basic`, `jwt`, `mtls`, `allow`",
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
            spelled.hash.as_ref().map(|hash| ("hash", hash.span)),
            spelled.public.as_ref().map(|public| ("public", public.span)),
            spelled.bearer.as_ref().map(|bearer| ("bearer", bearer.span)),
            spelled.token.as_ref().map(|token| ("token", token.span)),
            spelled.basic.as_ref().map(|basic| ("basic", basic.span)),
            spelled.mtls.as_ref().map(|mtls| ("mtls", mtls.span)),
            spelled.jwt.as_ref().map(|jwt| ("jwt", jwt.span)),
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
        if spelled.hmac.is_none() && spelled.hash.is_none() && spelled.public.is_none() {
            self.strays(form, section);
        }
        match kinds.first().map(|(kind, _)| *kind) {
            Some("hmac" | "hash" | "public") => self.scheme(form, section).map(|scheme| Proof::Signature(Box::new(scheme))),
            Some("bearer") => {
                let bearer = spelled.bearer.as_ref()?;
                let secrets = self.secrets(bearer.span, &bearer.value.0)?;
                Some(Proof::Token(Token::bearer(secrets.to_vec())))
            }
            Some("token") => {
                let token = spelled.token.as_ref()?;
                let secrets = self.secrets(token.span, &token.value.0);
                let (place, items) = (self.place(form)?, self.items(spelled)?);
                Some(Proof::Token(Token::new(place, items, Word::None, secrets?.to_vec())))
            }
            Some("jwt") => self.jwt(spelled).map(Proof::Jwt),
            Some("mtls") => {
                let names = &spelled.mtls.as_ref()?.value;
                let named: Vec<_> = names.iter().map(|name| self.certificate_name(name)).collect();
                Some(Proof::Certificate(named.into_iter().collect::<Option<_>>()?))
            }
            Some(_) => self.basic(&spelled.basic.as_ref()?.value).map(Proof::Token),
            None if form.open || spelled.allow.as_ref().is_some_and(|networks| !networks.is_empty()) => Some(Proof::None),
            None => {
                self.error("no-proof", form.at, format!("source `{}` proves nothing: anybody could send", self.name), "no proof in here")
                    .help = Some(
                    "add `hmac`, `bearer`, `token`, `basic`, `jwt`, `mtls` or `allow`; to accept everybody write `verify: none`".into(),
                );
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
            Shows::Token => Token::new(self.place(form)?, self.items(&form.spelled)?, Word::None, secrets),
            // In the URL, where the file says so.
            Shows::Bearer if form.spelled.query.is_some() => Token::new(self.place(form)?, Box::default(), Word::None, secrets),
            Shows::Bearer => Token::bearer(secrets),
            Shows::Basic => Token::new(Place::Header(http::header::AUTHORIZATION), Box::default(), Word::Basic, secrets),
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
        let of_preset = form.preset.and_then(|preset| preset.verify.query.as_ref());
        let header = spelled.header.as_ref().filter(|_| spelled.token.is_none() && spelled.jwt.is_none());
        let strays = [
            ("query", spelled.query.as_ref().filter(|_| spelled.token.is_none() && of_preset.is_none()).map(|k| k.span)),
            ("certificate", spelled.certificate.as_ref().map(|k| k.span)),
            ("secret_at", spelled.secret_at.as_ref().map(|k| k.span)),
            ("header", header.map(|k| k.span)),
            ("json", spelled.json.as_ref().filter(|_| spelled.token.is_none()).map(|k| k.span)),
            ("items", spelled.items.as_ref().filter(|_| spelled.token.is_none()).map(|k| k.span)),
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

/// A header's name as the file writes it.
pub(super) fn header_name(header: &At<String>) -> Result<HeaderName, (Span, String)> {
    HeaderName::from_bytes(header.value.as_bytes()).map_err(|_| (header.span, "this is not a header's name".into()))
}

/// A network, or one address as a network of one.
pub fn network_of(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    Some(net.trunc())
}

fn names() -> String {
    let mut names: Vec<_> = presets().iter().map(|preset| preset.name.as_str()).collect();
    names.sort_unstable();
    names.join(", ")
}
