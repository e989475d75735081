//! From the parts of a signature that a file or a preset names to its [`Scheme`].

use super::super::chain::Names;
use super::super::elsewhere::{Certificate, Hosts};
use super::super::key::Key;
use super::super::pick::{self, Pick};
use super::super::section::{self, CertificateSection, KeyForm, Section, Spelled, TimestampSection, Unit};
use super::super::signature::{Moment, MomentAt, Place, Scheme};
use super::super::signed::Part;
use super::{Build, FullForm, TOLERANCE};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;
use std::borrow::Cow;
use switchyard_api::{At, Problem, Secret, Span};

impl Build<'_> {
    pub(super) fn scheme(&mut self, form: &FullForm, section: &Section) -> Option<Scheme> {
        let spelled = &form.spelled;
        let place = self.place(form);
        let items = self.items(spelled);
        let separator = self.separator(spelled);
        let timestamp = match &spelled.timestamp {
            Some(section) => self.moment(section, separator.as_deref().unwrap_or(" ")).map(Some),
            None => Some(None),
        };
        let signs = self.signs(form, section, timestamp.as_ref().and_then(Option::as_ref));
        let certificate = match &spelled.certificate {
            Some(certificate) => self.certificate(spelled, certificate).map(Some),
            None => Some(None),
        };
        let (keys, names) = match (&certificate, spelled.certificate.is_some()) {
            (_, true) => (Some(Box::default()), self.names(form, section, signs.as_deref().unwrap_or_default())),
            _ => (self.keys(form, section), Some(Box::default())),
        };
        let text = |at: &Option<At<String>>| at.as_ref().map_or_else(Box::default, |at| at.value.as_str().into());
        Some(Scheme {
            place: place?,
            items: items?,
            encoding: spelled.encoding.as_ref().map(|e| e.value).unwrap_or_default(),
            prefix: text(&spelled.prefix),
            separator: separator?,
            signs: signs?,
            timestamp: timestamp?,
            keys: keys?,
            certificate: certificate?,
            secret_at: self.pick(spelled.secret_at.as_ref()),
            names: names?,
        })
    }

    /// Where the certificate stands that has the key.
    fn certificate(&mut self, spelled: &Spelled, section: &At<CertificateSection>) -> Option<Certificate> {
        let at = self.pick(Some(&section.value.at));
        let hosts = self.hosts(&section.value.hosts);
        let issuers = section.value.issuers.as_ref().map_or(Some(None), |issuers| self.hosts(issuers).map(Some));
        let names = self.cert_names(&section.value.names);
        let Some(kind) = spelled.public.as_ref().map(|public| public.value) else {
            self.error(
                "bad-certificate-use",
                section.span,
                "a certificate proves a signature by a public key".into(),
                "no `public` beside it",
            )
            .help = Some("add `public: rsa-sha256`".into());
            return None;
        };
        Some(Certificate { at: at?, hosts: hosts?, names: names?, issuers: issuers?, kind })
    }

    fn hosts(&mut self, section: &At<Vec<At<String>>>) -> Option<Hosts> {
        let hosts = Hosts::new(section.value.iter().map(|host| host.value.as_str()));
        if hosts.is_none() {
            let title = "these are not hosts that a certificate may be at".to_owned();
            self.error("bad-hosts", section.span, title, "would let anybody in, or nobody").help =
                Some("write `hosts: [keys.example.com]`; `*` is one label, and the last two are written out".into());
        }
        hosts
    }

    /// Whose the certificate must be.
    fn cert_names(&mut self, section: &[At<String>]) -> Option<Names> {
        let names = Names::new(section.iter().map(|name| name.value.as_str()));
        if let (None, Some(first)) = (&names, section.iter().find(|name| Names::new(std::iter::once(name.value.as_str())).is_none())) {
            let title = format!("`{}` is no name that a certificate has", first.value);
            self.error("bad-certificate-name", first.span, title, "not a host's name").help =
                Some("write the name of a host, such as `keys.example.com`; `*` in it is what it is in `hosts`".into());
        }
        names
    }

    /// The secrets of a sender that signs with its certificate: names that both sides know. Where none need be, it is told what that means.
    fn names(&mut self, form: &FullForm, section: &Section, signs: &[Part]) -> Option<Box<[Secret]>> {
        if section.secret.is_none() && !signs.contains(&Part::Secret) {
            if form.spelled.secret_at.is_some() {
                let title = format!("whoever has an account at the sender of `{}` can send here: it signs for all of them", self.name);
                let problem = Problem::warning("any-account", form.at, title, "no `secret` says which of them is meant");
                self.problems
                    .push(problem.help("add `secret:` with what the sender calls yours: at Amazon SNS the topic's ARN, or a list of them"));
            }
            return Some(Box::default());
        }
        let secrets = self.given(form, section)?;
        self.secrets(secrets.span, &secrets.value.0).map(Into::into)
    }

    /// Where the signature stands.
    pub(super) fn place(&mut self, form: &FullForm) -> Option<Place> {
        if let Some(name) = &form.spelled.query {
            return Some(Place::Query(name.value.as_str().into()));
        }
        let (Some(path), None) = (&form.spelled.json, &form.spelled.header) else {
            return self.needed_header(form).map(Place::Header);
        };
        self.steps(path).map(Place::Json)
    }

    /// Where the list stands whose elements are proven one by one; no steps: the body is proven. `None`: something is wrong with it.
    pub(super) fn items(&mut self, spelled: &Spelled) -> Option<pick::Steps> {
        spelled.items.as_ref().map_or_else(|| Some(Box::default()), |path| self.steps(path))
    }

    fn steps(&mut self, path: &At<String>) -> Option<pick::Steps> {
        let steps = pick::steps(&path.value);
        if steps.is_none() {
            self.error("bad-pick", path.span, "this is not a path into a body".into(), "cannot be read there").help =
                Some("write keys and places of lists with dots between them, such as `data.items`".into());
        }
        steps
    }

    fn keys(&mut self, form: &FullForm, section: &Section) -> Option<Box<[Key]>> {
        let secrets = self.given(form, section)?;
        let value =
            |form: &FullForm| (form.spelled.hmac.as_ref().map(|hash| hash.value), form.spelled.public.as_ref().map(|kind| kind.value));
        let (hash, public) = value(form);
        let plain = form.spelled.hash.is_some();
        let form = form.spelled.key.as_ref().map(|key| key.value).unwrap_or_default();
        let made = |bytes: &[u8]| match (hash, public) {
            (_, Some(kind)) => Key::public(kind, bytes),
            (Some(hash), None) => Key::new(hash, bytes),
            (None, None) => plain.then(|| Key::plain(bytes)),
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
            let steps = Pick::new(&section::Pick::Json(path.clone())).map_err(|(at, title)| {
                self.error("bad-timestamp", at, title, "cannot be read there").help =
                    Some("write `timestamp: { json: data.sent_at }`".into());
            });
            let Ok(Pick::Json(steps)) = steps else { return None };
            return Some(Moment { at: MomentAt::Json(steps), unit: unit.unwrap_or(Unit::Ms), tolerance: tolerance.unwrap_or(TOLERANCE).0 });
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

    fn signs(&mut self, form: &FullForm, section: &Section, moment: Option<&Moment>) -> Option<Box<[Part]>> {
        let spelled = &form.spelled;
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
                problem.help = Some(
                    "text with `{body}`, `{timestamp}`, `{header:X-Name}`, `{json:path}`, `{raw:path}`, `{lines:A,B}`, `{form}`, `{url}`, `{method}`, `{crc32}` and `{secret}`"
                        .into(),
                );
                return None;
            }
        };
        let stamped = |part: &Part| match (part, moment.map(|moment| &moment.at)) {
            (Part::Header(name), Some(MomentAt::Header(at))) => name == at,
            // The body holds it.
            (Part::Body, Some(MomentAt::Json(_))) => true,
            _ => *part == Part::Timestamp,
        };
        let covers = |part: &Part| matches!(part, Part::Body | Part::Form | Part::Raw(_) | Part::Lines(_));
        // What a sender leaves unsigned is its own affair; its preset says so. Whoever writes the form has no such excuse.
        let of_preset = form.preset.and_then(|preset| preset.verify.signs.as_ref()).is_some_and(|signs| signs.value == text.value);
        if !of_preset && !parts.iter().any(covers) {
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
            None if inner == "url" => Part::url(url),
            None if inner == "form" => Part::Form,
            None if inner == "crc32" => Part::Crc32,
            None if inner == "secret" => Part::Secret,
            // Nothing else is taken.
            None if inner == "method" => Part::Text("POST".into()),
            Some(("header", name)) => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Part::Header(name),
                Err(_) => return Err((within, "not a header's name".into())),
            },
            Some((kind @ ("json" | "raw"), path)) => match pick::steps(path) {
                Some(steps) if kind == "json" => Part::Json(steps),
                Some(steps) => Part::Raw(steps),
                None => return Err((within, "not a path into a body".into())),
            },
            Some(("lines", names)) => match names.split(',').map(str::trim).collect::<Vec<_>>() {
                names if names.iter().any(|name| name.is_empty()) => return Err((within, "not names of fields".into())),
                names => Part::Lines(names.into_iter().map(Box::from).collect()),
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
