//! From settings to what sends: the row and what the file says over it, made into one draft.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use std::collections::BTreeMap;
use switchyard_api::http::answer::{Test, is_pointer};
use switchyard_api::http::{Auth, Credentials, Limits, Rules, Signer, Url, url::UrlError};
use switchyard_api::problem::nearest;
use switchyard_api::{At, Kit, Secret, Span};

use crate::body::Body;
use crate::cloudevents::Mode;
use crate::field::{self, NO_FIELDS};
use crate::lookup::Lookup;
use crate::once::{Once, Place};
use crate::output::HttpOutput;
use crate::preset::{Action, Preset, Setting, split};
use crate::request::{Call, Draft};
use crate::target::encoded;
use crate::template::{ENVELOPE, Piece, Scope, Slot, Text, fill_tree};
use crate::{Config, Method};

/// The message fields of plain `http`.
pub const FIELDS: [&str; 4] = ["body", "headers", "path", "reference"];
/// The most bytes kept of an answer: results of a batch are read whole.
const BATCH_ANSWER: usize = 4 << 20;

/// Where an output sends: what its URL begins with, and where that stands in the file.
pub struct Address {
    /// Scheme, host, and what the file says of path and query.
    pub url: Url,
    /// Whether the file says it, and not the row.
    pub written: bool,
    /// Where.
    pub span: Span,
}

/// Why there is none: what is wrong with the URL, where.
pub struct NoAddress {
    /// Where it stands.
    pub span: Span,
    /// What is wrong.
    pub wrong: UrlError,
}

/// An output's settings and the row that they are for.
pub struct Assembly<'a> {
    /// What the file says.
    pub config: &'a Config,
    /// What the row says; nothing for plain `http`.
    pub preset: Option<&'a Preset>,
}

impl Assembly<'_> {
    /// The settings of the row by name, and the URL under its name.
    fn settings(&self) -> BTreeMap<String, Value> {
        self.config.own.0.iter().map(|(name, at)| (name.clone(), at.value.clone())).collect()
    }

    fn url_template(&self) -> Option<Text> {
        // A URL in the file stands for all of the row's.
        let replaced = self.config.url.is_some() && self.preset.is_some_and(|preset| preset.base().is_none());
        self.preset.filter(|_| !replaced).map(Preset::url)
    }

    /// Where it sends.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn address(&self) -> Result<Address, NoAddress> {
        let parsed = |text: &str, span: Span| Url::parse(text).map_err(|wrong| NoAddress { span, wrong });
        let of = |at: &At<Secret>| parsed(at.value.expose(), at.span).map(|url| Address { url, written: true, span: at.span });
        if let Some(at) = self.config.url.as_ref().or(self.config.server.as_ref()) {
            return of(at);
        }
        let empty = NoAddress { span: Span::default(), wrong: UrlError::Empty };
        let Some(preset) = self.preset else { return Err(empty) };
        if let Some(base) = preset.base() {
            let at = self.config.own.0.get(base).ok_or(empty)?;
            return parsed(at.value.as_str().unwrap_or_default(), at.span).map(|url| Address { url, written: true, span: at.span });
        }
        let (origin, _) = split(&preset.url());
        let span = origin.slots().find_map(|slot| self.config.own.0.get(&slot.name)).map(|at| at.span).unwrap_or_default();
        let settings = self.settings();
        let scope = Scope { settings: &settings, fields: &NO_FIELDS, parcel: None, index: 0, items: None, now: 0 };
        let filled = origin.fill(&scope, |text, _| if is_host_part(text) { Ok(text.to_owned()) } else { Err("is no part of a host") });
        match filled {
            Ok(Some(text)) => parsed(&text, span).map(|url| Address { url, written: false, span }),
            _ => Err(NoAddress { span, wrong: UrlError::Form }),
        }
    }

    /// The credentials: the file's, else the row's made of settings.
    ///
    /// # Errors
    /// Where they stand, and what is wrong with them in one line without them.
    pub fn auth(&self) -> Result<Option<At<Auth>>, (Span, String)> {
        if let Some(auth) = &self.config.auth {
            return Ok(Some(auth.clone()));
        }
        let Some((preset, tree)) = self.preset.and_then(|preset| Some((preset, preset.auth.as_ref()?))) else { return Ok(None) };
        let Some(filled) = fill_tree(tree, &self.settings(), &|name| preset.setting(name).is_some()) else { return Ok(None) };
        let secret = |setting: &&Setting| setting.secret;
        let span = preset.settings.iter().filter(secret).find_map(|setting| self.config.own.0.get(&setting.name)).map(|at| at.span);
        let span = span.unwrap_or_default();
        // Not the reader's words: they may quote what it read.
        let wrong = |_| (span, format!("the settings of `{}` make no credentials", preset.name));
        serde_json::from_value(filled).map(|value| Some(At { span, value })).map_err(wrong)
    }

    /// What must never be shown: as it is written, as it stands in a URL, and encoded as credentials are.
    fn secrets(&self, url: &Url) -> Vec<Secret> {
        let own = self.preset.iter().flat_map(|preset| &preset.settings).filter(|setting| setting.secret);
        let values = own.filter_map(|setting| self.config.own.0.get(&setting.name)?.value.as_str());
        let forms = values.flat_map(|value| [value.to_owned(), encoded(value), STANDARD.encode(value)]);
        forms.map(Secret::new).chain(url.secrets()).collect()
    }

    /// What is asked before a repeat: the file's lookup, else the row's that is for these settings.
    pub fn lookup(&self) -> Option<&Lookup> {
        let own = || self.preset?.lookup.0.iter().find(|lookup| lookup.is_for(&self.config.own));
        self.config.lookup.as_ref().map(|lookup| &lookup.value).or_else(own)
    }

    /// Everything that sends.
    ///
    /// # Errors
    /// Why it cannot be made, in one line without secrets.
    pub fn build(&self, kit: &Kit) -> Result<HttpOutput, String> {
        let address = self.address().map_err(|no| no.wrong.to_string())?;
        let url = address.url;
        let connection = self.config.connection();
        let mut secrets = self.secrets(&url);
        let auth = self.auth().map_err(|(_, wrong)| wrong)?.map(|auth| auth.value);
        secrets.extend(auth.iter().flat_map(Auth::secrets));
        let sign = self.config.sign.as_ref();
        let signer = sign.map(|sign| Signer::new(&sign.secret.value)).transpose().map_err(|e| e.to_string())?;
        secrets.extend(sign.iter().flat_map(|sign| sign.secret.value.0.clone()));
        secrets.extend(connection.secrets());
        let rules = self.rules(kit, secrets);
        let draft = self.draft(&url, &rules, signer, kit)?;
        let answer = if draft.batch.is_some() { BATCH_ANSWER } else { Limits::default().answer };
        let limits = Limits { whole: kit.timeout, answer, ..Limits::default() };
        let credentials = Credentials::new(auth.as_ref(), &connection, limits, kit).map_err(|e| e.to_string())?;
        let client = connection.client(url, limits, kit).map_err(|e| e.to_string())?;
        Ok(HttpOutput { draft, rules, client, credentials, wall: kit.wall.clone(), whole: kit.timeout })
    }

    fn rules(&self, kit: &Kit, secrets: Vec<Secret>) -> Rules {
        let (config, preset) = (self.config, self.preset);
        let own = preset.iter().flat_map(|preset| &preset.map).cloned();
        Rules {
            retry_on: kit.retry_on.clone(),
            reject_on: kit.reject_on.clone(),
            ok: config.ok.as_ref().map(|ok| ok.value.clone()).or_else(|| preset.map(|preset| preset.ok.clone())).unwrap_or_default(),
            otherwise: config.otherwise.or_else(|| preset.map(|preset| preset.otherwise)).unwrap_or_default(),
            map: config.map.value.iter().cloned().chain(own).collect(),
            after: config.after.clone().or_else(|| preset.map(|preset| preset.after.clone())).unwrap_or_default(),
            secrets,
        }
    }

    fn draft(&self, url: &Url, rules: &Rules, signer: Option<Signer>, kit: &Kit) -> Result<Draft, String> {
        let (config, preset) = (self.config, self.preset);
        let settings = self.settings();
        let none = Action::default();
        let mut draft = Draft {
            call: self.call(&none, rules)?,
            actions: BTreeMap::new(),
            user_agent: HeaderValue::from_str(&kit.user_agent).map_err(|e| e.to_string())?,
            signer,
            once: self.once(),
            gzip: config.gzip,
            lookup: self.lookup().map(|lookup| Ok::<_, String>((lookup.clone(), self.lookup_call(lookup, rules)?))).transpose()?,
            batch: config
                .batch
                .as_ref()
                .map(|batch| batch.value.clone())
                .or_else(|| preset.and_then(|preset| preset.batch.clone()))
                .or_else(|| self.events_batch()),
            url: url.clone(),
            fields: field::rules(preset),
            wall: kit.wall.clone(),
            settings,
        };
        for (name, action) in preset.iter().flat_map(|preset| &preset.actions) {
            draft.actions.insert(name.clone(), self.call(action, rules)?);
        }
        let once = draft.once.clone();
        for call in draft.actions.values_mut().chain([&mut draft.call]) {
            call.fix(url, &draft.settings, once.as_ref()).map_err(|e| e.to_string())?;
        }
        Ok(draft)
    }

    fn once(&self) -> Option<Once> {
        self.config.once.as_ref().map(|once| once.value.clone()).or_else(|| self.preset.and_then(|preset| preset.once.clone()))
    }

    /// CloudEvents in batches, where nothing else is said of batches.
    fn events_batch(&self) -> Option<crate::batch::Batch> {
        const MOST: usize = 100;
        (self.mode() == Some(Mode::Batch)).then(|| crate::batch::Batch::of(MOST))
    }

    fn mode(&self) -> Option<Mode> {
        self.config.cloudevents.or_else(|| self.preset.and_then(|preset| preset.cloudevents))
    }

    /// How the far side is called: the file's words, else the action's, else the row's.
    fn call(&self, action: &Action, rules: &Rules) -> Result<Call, String> {
        let (config, preset) = (self.config, self.preset);
        let method = config.method.or(action.method).or_else(|| preset.and_then(|preset| preset.method)).unwrap_or_default();
        let path = match (self.url_template(), &action.url) {
            (Some(_), Some(own)) => split(own).1,
            (Some(url), None) => split(&url).1,
            (None, _) => Text(vec![]),
        };
        let mut query = preset.map(|preset| preset.query.clone()).unwrap_or_default();
        query.extend(action.query.clone());
        query.extend(config.query.value.clone());
        let mut map = action.map.clone();
        let at = config.map.value.len();
        map.splice(0..0, rules.map[..at].iter().cloned());
        map.extend(rules.map[at..].iter().cloned());
        let ok: Option<&Test> = config.ok.as_ref().map(|ok| &ok.value).or(action.ok.as_ref());
        Ok(Call {
            method: method.http(),
            path,
            query: query.into_iter().collect(),
            headers: self.row_headers()?,
            body: self.body(action, method),
            rules: Rules { map, ok: ok.cloned().unwrap_or_else(|| rules.ok.clone()), ..rules.clone() },
            target: None,
        })
    }

    fn row_headers(&self) -> Result<Vec<(HeaderName, Text)>, String> {
        let all = self.preset.iter().flat_map(|preset| &preset.headers);
        all.map(|(name, text)| Ok((HeaderName::try_from(name).map_err(|e| e.to_string())?, text.clone()))).collect()
    }

    fn body(&self, action: &Action, method: Method) -> Body {
        if let Some(mode) = self.mode() {
            return Body::CloudEvents(mode);
        }
        let form = |form: &BTreeMap<String, Text>| Body::Form(form.iter().map(|(name, text)| (name.clone(), text.clone())).collect());
        let own = action.body.clone().map(Body::Json).or_else(|| action.form.as_ref().map(form));
        let Some(preset) = self.preset.filter(|_| own.is_none()) else { return own.unwrap_or(Body::Payload) };
        if let Some(json) = &preset.body {
            return Body::Json(json.clone());
        }
        let text = preset.form.as_ref().map(form).or_else(|| preset.text.clone().map(Body::Text));
        text.unwrap_or(if matches!(method, Method::Get) || !preset.actions.is_empty() { Body::Nothing } else { Body::Payload })
    }

    fn lookup_call(&self, lookup: &Lookup, rules: &Rules) -> Result<Call, String> {
        let method = lookup.method.unwrap_or(if lookup.body.is_some() { Method::Post } else { Method::Get });
        Ok(Call {
            method: method.http(),
            path: split(&lookup.url).1,
            query: lookup.query.clone().into_iter().collect(),
            headers: self.row_headers()?,
            body: lookup.body.clone().map_or(Body::Nothing, Body::Json),
            rules: rules.clone(),
            target: None,
        })
    }

    /// What of the file's own words cannot work: where it stands, and what and what to do, as `what: do`.
    pub fn mistakes(&self) -> Vec<(Span, String)> {
        let config = self.config;
        let mut found = vec![];
        let ok = config.ok.iter().map(|ok| (ok.span, &ok.value));
        let tests = config.map.value.iter().map(|case| (config.map.span, &case.when)).chain(ok);
        let tests = tests.chain(config.lookup.iter().flat_map(|lookup| lookup.value.tests().map(|test| (lookup.span, test))));
        let tests = tests.chain(config.batch.iter().flat_map(|batch| batch.value.tests().map(|test| (batch.span, test))));
        found.extend(tests.filter_map(|(at, test)| Some((at, test.mistake()?))));
        let only_2xx = config.ok.iter().map(|ok| ("ok", ok.span, &ok.value));
        let only_2xx = only_2xx.chain(config.lookup.iter().flat_map(|lookup| {
            let absent = lookup.value.absent.iter().map(|test| ("absent", lookup.span, test));
            std::iter::once(("found", lookup.span, &lookup.value.found)).chain(absent)
        }));
        let never = only_2xx.filter(|(_, _, test)| !test.status.may_be(200..=299));
        found.extend(never.map(|(key, at, _)| (at, format!("`{key}` is asked of 2xx alone, and so never holds: write `status: 2xx`"))));
        if let Some(lookup) = &config.lookup {
            let own = self.url_template().unwrap_or_else(url_slot);
            if split(&lookup.value.url).0 != split(&own).0 {
                found.push((lookup.span, "the lookup's `url` is on the same server: write `{url}/…`".into()));
            }
            if !lookup.value.of.is_empty() {
                found.push((lookup.span, "`of` is a word of rows, for this output there is one lookup: take it out".into()));
            }
        }
        found.extend(self.unknown_names());
        let pointers = config.batch.iter().flat_map(|batch| batch.value.pointers().map(|pointer| (batch.span, pointer)));
        let pointers =
            pointers.chain(config.lookup.iter().flat_map(|lookup| lookup.value.pointers().map(|pointer| (lookup.span, pointer))));
        let wrong = pointers.filter(|(_, pointer)| !is_pointer(pointer));
        found.extend(wrong.map(|(at, pointer)| (at, format!("`{pointer}` is no JSON pointer: it begins with `/`"))));
        if let Some(batch) = config.batch.as_ref().filter(|batch| batch.value.max == 0) {
            found.push((batch.span, "`max` is 0, so nothing would ever be sent: write at least 1".into()));
        }
        found.extend(config.batch.iter().filter_map(|batch| Some((batch.span, batch.value.mistake()?))));
        let placed = self.preset.is_some_and(|preset| preset.once.is_some());
        if let Some(once) = config.once.as_ref().filter(|once| once.value.place == Place::Own && !placed) {
            found.push((once.span, "`own` is for rows that place the id themselves: write `{ header: Idempotency-Key }`".into()));
        }
        found
    }
}

impl Assembly<'_> {
    /// Names in the file's own words that are no field, no setting and no part of a delivery.
    fn unknown_names(&self) -> Vec<(Span, String)> {
        let (config, preset) = (self.config, self.preset);
        let fields: Vec<&str> = match preset {
            Some(preset) => preset.fields.iter().map(|field| field.name.as_str()).collect(),
            None => FIELDS.to_vec(),
        };
        let settings = preset.iter().flat_map(|preset| &preset.settings).map(|setting| setting.name.as_str());
        let base = preset.map_or(Some("url"), Preset::base);
        let known: Vec<&str> = fields.into_iter().chain(settings).chain(base).chain(ENVELOPE).collect();
        let query = config.query.value.values().flat_map(Text::slots).map(|slot| (config.query.span, slot));
        let lookup = config.lookup.iter().flat_map(|lookup| lookup.value.slots().map(|slot| (lookup.span, slot)));
        let batch = config.batch.iter().flat_map(|batch| batch.value.slots().into_iter().map(|slot| (batch.span, slot)));
        let unknown = query.chain(lookup).chain(batch).filter(|(_, slot)| !known.contains(&slot.name.as_str()));
        let told = |(at, slot): (Span, &Slot)| {
            let meant = nearest(&slot.name, known.iter().copied());
            let help = meant.map_or_else(|| format!("the names are {}", known.join(", ")), |name| format!("did you mean `{{{name}}}`?"));
            (at, format!("`{{{}}}` is no value of a delivery: {help}", slot.name))
        };
        unknown.map(told).collect()
    }
}

fn url_slot() -> Text {
    Text(vec![Piece::Slot(Slot::named("url"))])
}

/// Labels of a host's name.
fn is_host_part(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}
