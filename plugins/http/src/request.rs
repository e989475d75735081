//! From parcels to the requests that are sent. What does not change from delivery to delivery is made once.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Uri};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use switchyard_api::http::auth::is_ours;
use switchyard_api::http::{Request, Rules, Signer, Url, gzip};
use switchyard_api::{Outcome, Parcel, Wall};

use crate::batch::Batch;
use crate::body::{self, Body};
use crate::cloudevents::{self, Mode};
use crate::field::{FieldRule, Misfit, NO_FIELDS};
use crate::lookup::{Known, Lookup};
use crate::once::{Once, Place};
use crate::preset::split;
use crate::target::{encoded, path, plain_path, query};
use crate::template::{Scope, Slot, Text, Unfit};

const EVENT: HeaderName = HeaderName::from_static("switchyard-event");
const DELIVERY: HeaderName = HeaderName::from_static("switchyard-delivery");
const ATTEMPT: HeaderName = HeaderName::from_static("switchyard-attempt");
const REPLAY: HeaderName = HeaderName::from_static("switchyard-replay");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Most deliveries of one request whose ids stand in its headers: 50 are 4 KiB, and many a server takes 8 of all headers.
const NAMED_MAX: usize = 50;

/// All that stays the same between deliveries.
pub struct Draft {
    /// The far side: scheme and host, and the path and query that its URL begins with.
    pub url: Url,
    /// The request, where no action says otherwise.
    pub call: Call,
    /// By the message field `action`.
    pub actions: BTreeMap<String, Call>,
    /// The settings of the row.
    pub settings: BTreeMap<String, Value>,
    /// What the row says of its fields.
    pub fields: BTreeMap<String, FieldRule>,
    /// Our name.
    pub user_agent: HeaderValue,
    /// Signs the body.
    pub signer: Option<Signer>,
    /// Where the delivery's id goes beside our own header.
    pub once: Option<Once>,
    /// What is asked before a repeat.
    pub lookup: Option<(Lookup, Call)>,
    /// How several go in one request.
    pub batch: Option<Batch>,
    /// Whether bodies are sent as gzip.
    pub gzip: bool,
    /// For the signature's time.
    pub wall: Wall,
}

/// One way of calling the far side.
pub struct Call {
    /// How it is called.
    pub method: http::Method,
    /// What comes after `url`.
    pub path: Text,
    /// Query parameters that are set where `url` does not.
    pub query: Vec<(String, Text)>,
    /// The destination's own headers.
    pub headers: Vec<(HeaderName, Text)>,
    /// What is sent.
    pub body: Body,
    /// What its answers mean.
    pub rules: Rules,
    /// The request's first line, where no delivery changes it.
    pub target: Option<Uri>,
}

/// One delivery's part of a request.
pub struct Item<'a> {
    /// What is delivered.
    pub parcel: &'a Parcel,
    /// How.
    pub call: &'a Call,
    target: Uri,
    headers: HeaderMap,
    /// Its part of the body.
    pub body: Bytes,
    /// Its name in a batch's answer.
    pub id: String,
}

/// What is asked of a far side before a repeat.
pub struct Question<'a> {
    /// How its answer is judged.
    pub lookup: &'a Lookup,
    /// What is sent.
    pub request: Request,
    /// What the delivery is known by.
    pub own: Known,
}

/// Why a message cannot be sent. `Display` is one line without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSend {
    /// A header's name that nobody may set, or that is none: the same for every event.
    #[error("`headers` sets `{0}`, which is not free to set; take it out")]
    Header(String),
    /// A value with a line end or another control character.
    #[error("the header `{0}` would hold a control character")]
    HeaderValue(String),
    /// A path that leaves its place, or is too long.
    #[error("the path made from this event is not a plain path below the URL's")]
    Path,
    /// A value that does not fit its place.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A text that is none of what its field takes.
    #[error("`{field}` of this event {}; {}", misfit.what, misfit.help)]
    Field {
        /// Its name.
        field: String,
        /// What is wrong.
        misfit: Misfit,
    },
    /// A body that would be sent as JSON and is none.
    #[error("the body made from this event is no JSON: {0}")]
    NoJson(String),
    /// No such action.
    #[error("`action` of this event is none of: {0}")]
    Action(String),
    /// No place for the id.
    #[error("the body is no JSON object, so `{0}` cannot be set in it")]
    NoObject(String),
}

impl CannotSend {
    /// What this means for the delivery.
    pub fn outcome(&self) -> Outcome {
        let why = self.to_string();
        match self {
            CannotSend::Header(_) => Outcome::Misconfigured { why, after: None },
            _ => Outcome::Rejected { why },
        }
    }
}

impl Item<'_> {
    /// Whether its message made a part of the URL: "not found" is then about it alone.
    pub fn path_from_event(&self) -> bool {
        let of_message = |slot: &Slot| self.parcel.message.fields.contains_key(&slot.name);
        self.parcel.message.text("path").is_some() || self.call.path.slots().any(of_message)
    }
}

impl Draft {
    pub(crate) fn scope<'a>(&'a self, parcel: &'a Parcel, index: usize, items: Option<&'a str>) -> Scope<'a> {
        Scope { settings: &self.settings, fields: &self.fields, parcel: Some(parcel), index, items, now: self.wall.millis() }
    }

    /// One delivery, rendered; `index` is its place among those of one call.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn item<'a>(&'a self, parcel: &'a Parcel, index: usize) -> Result<Item<'a>, CannotSend> {
        for (name, rule) in &self.fields {
            let text = parcel.message.text(name).unwrap_or_default();
            rule.judge(text).map_err(|misfit| CannotSend::Field { field: name.clone(), misfit })?;
        }
        let call = self.call_of(parcel)?;
        let scope = self.scope(parcel, index, None);
        self.can_be_asked_for(&scope)?;
        let (body, content_type) = match &self.batch {
            Some(batch) => (Self::batch_item(call, batch, &scope)?, Self::batch_type(call, batch)),
            None => self.body(call, parcel, &scope)?,
        };
        let id = match self.batch.as_ref().and_then(|batch| batch.id.as_ref()) {
            Some(id) => id.is.plain(&scope)?.unwrap_or_default(),
            None => String::new(),
        };
        let target = self.target(call, parcel, &scope)?;
        let headers = self.item_headers(call, parcel, &scope, content_type)?;
        if self.batch.is_none() {
            Self::is_what_it_says(call, parcel, &headers, &body)?;
        }
        Ok(Item { parcel, call, target, headers, body, id })
    }

    /// What a repeat could not be asked for by name is not sent at all: the answer to half a question is about something else.
    fn can_be_asked_for(&self, scope: &Scope<'_>) -> Result<(), CannotSend> {
        let Some((lookup, _)) = &self.lookup else { return Ok(()) };
        // The server itself is no value.
        for slot in split(&lookup.url).1.slots().chain(lookup.slots().skip(lookup.url.slots().count())) {
            let found = scope.value(slot)?.map(|found| found.text().map(|text| text.trim().is_empty()));
            if !matches!(found, Some(Ok(false))) {
                return Err(slot.unfit("is empty, and `lookup` asks for it").into());
            }
        }
        Ok(())
    }

    fn call_of(&self, parcel: &Parcel) -> Result<&Call, CannotSend> {
        if self.actions.is_empty() {
            return Ok(&self.call);
        }
        let known = || self.actions.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        parcel.message.text("action").and_then(|action| self.actions.get(action)).ok_or_else(|| CannotSend::Action(known()))
    }

    /// How many of the first items go together in one request.
    pub fn together(&self, items: &[Item<'_>]) -> usize {
        let (Some(batch), Some(first)) = (&self.batch, items.first()) else { return 1 };
        let (most, room) = (batch.most(), batch.bytes());
        let mut bytes = 0_usize;
        let fits = |item: &&Item<'_>| {
            bytes = bytes.saturating_add(item.body.len() + 1);
            std::ptr::eq(item.call, first.call) && item.target == first.target && item.headers == first.headers && bytes <= room
        };
        items.iter().take(most).take_while(fits).count().max(1)
    }

    /// The request for one item, or for several of a batch. One alone goes into it with what it is made of: it is sent once.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn request(&self, items: &mut [Item<'_>]) -> Result<Request, CannotSend> {
        let mut body = match (&self.batch, &mut *items) {
            (Some(batch), items) => self.joined(batch, items)?,
            (None, [first, ..]) => std::mem::take(&mut first.body),
            (None, []) => Bytes::new(),
        };
        let (call, mut target, mut headers) = match &mut *items {
            [one] => (one.call, std::mem::take(&mut one.target), std::mem::take(&mut one.headers)),
            [first, ..] => (first.call, first.target.clone(), first.headers.clone()),
            [] => return Ok(Request::default()),
        };
        let items = &*items;
        if self.gzip && !body.is_empty() {
            // Before it is signed: a signature is over what is sent.
            body = gzip::compress(&body);
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let id = match items {
            [one] => one.parcel.delivery.clone(),
            several => batch_id(several),
        };
        self.sign(&id, &body, &mut headers)?;
        name_deliveries(&id, items, &mut headers)?;
        headers.insert(USER_AGENT, self.user_agent.clone());
        if self.batch.is_some() {
            self.know_repeats(&id, &mut headers, &mut target)?;
        }
        let mut request = Request::new(body.into());
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The question whether a delivery is there already.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn lookup(&self, parcel: &Parcel) -> Result<Option<Question<'_>>, CannotSend> {
        let Some((lookup, call)) = &self.lookup else { return Ok(None) };
        let scope = self.scope(parcel, 0, None);
        let mut request = Request::default();
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = self.target(call, parcel, &scope)?;
        if let Body::Json(json) = &call.body {
            *request.body_mut() = body::written(json, &scope)?.into();
            request.headers_mut().insert(CONTENT_TYPE, body::JSON);
        }
        let headers = request.headers_mut();
        for (name, text) in &call.headers {
            if let Some(text) = text.plain(&scope)? {
                headers.insert(name, value(name.as_str(), &text)?);
            }
        }
        headers.insert(USER_AGENT, self.user_agent.clone());
        let own = match &lookup.same {
            Some(same) => Known { at: same.at.plain(&scope)?.unwrap_or_default(), is: same.is.plain(&scope)?.unwrap_or_default() },
            None => Known::default(),
        };
        Ok(Some(Question { lookup, request, own }))
    }

    fn target(&self, call: &Call, parcel: &Parcel, scope: &Scope<'_>) -> Result<Uri, CannotSend> {
        if let Some(path) = parcel.message.text("path").filter(|_| call.path.0.is_empty()) {
            return self.url.target(Some(&plain_path(path)?), &self.query(call, parcel, scope)?).map_err(|_| CannotSend::Path);
        }
        if let Some(target) = &call.target {
            return Ok(target.clone());
        }
        let path = if call.path.0.is_empty() { None } else { Some(path(&call.path, scope)?) };
        self.url.target(path.as_deref(), &self.query(call, parcel, scope)?).map_err(|_| CannotSend::Path)
    }

    fn query(&self, call: &Call, parcel: &Parcel, scope: &Scope<'_>) -> Result<Vec<(String, String)>, CannotSend> {
        let mut query = query(&call.query, scope)?;
        // Of a batch it is the request's, once it is known who is in it.
        if let Some(Once { place: Place::Query(name), .. }) = &self.once
            && let Some(once) = self.once.as_ref().filter(|_| self.batch.is_none())
        {
            query.push((encoded(name), encoded(&once.id(&parcel.delivery))));
        }
        Ok(query)
    }

    /// The destination's headers, then the message's own, which win. Credentials come last of all, when the request is sent.
    fn item_headers(
        &self,
        call: &Call,
        parcel: &Parcel,
        scope: &Scope<'_>,
        content_type: Option<HeaderValue>,
    ) -> Result<HeaderMap, CannotSend> {
        let mut headers = HeaderMap::with_capacity(16);
        if self.batch.is_none() {
            match &self.once {
                None => _ = headers.insert(IDEMPOTENCY_KEY, value("idempotency-key", &parcel.delivery)?),
                Some(once) => {
                    if let Place::Header(name) = &once.place {
                        headers.insert(name, value(name.as_str(), &once.id(&parcel.delivery))?);
                    }
                }
            }
            if let Body::CloudEvents(Mode::Binary) = call.body {
                headers.extend(cloudevents::headers(parcel));
            }
        }
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        for (name, text) in &call.headers {
            if let Some(text) = text.plain(scope)? {
                headers.insert(name, value(name.as_str(), &text)?);
            }
        }
        for (name, text) in parcel.message.map("headers").into_iter().flatten() {
            let known = HeaderName::try_from(name.as_str()).ok().filter(|name| !is_ours(name));
            headers.insert(known.ok_or_else(|| CannotSend::Header(name.clone()))?, value(name, text)?);
        }
        Ok(headers)
    }

    /// The id of a request of a batch, where the far side knows repeats by it; what the message says itself stays.
    fn know_repeats(&self, id: &str, headers: &mut HeaderMap, target: &mut Uri) -> Result<(), CannotSend> {
        let Some(once) = &self.once else {
            if !headers.contains_key(IDEMPOTENCY_KEY) {
                headers.insert(IDEMPOTENCY_KEY, value("idempotency-key", id)?);
            }
            return Ok(());
        };
        match &once.place {
            Place::Header(name) if !headers.contains_key(name) => _ = headers.insert(name, value(name.as_str(), &once.id(id))?),
            Place::Query(name) => {
                let joint = if target.query().is_some() { '&' } else { '?' };
                let whole = format!("{target}{joint}{}={}", encoded(name), encoded(&once.id(id)));
                *target = whole.parse().map_err(|_| CannotSend::Path)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn sign(&self, id: &str, body: &[u8], headers: &mut HeaderMap) -> Result<(), CannotSend> {
        if let Some(signer) = &self.signer {
            let seconds = self.wall.millis().div_euclid(1000);
            headers.insert(WEBHOOK_ID, value("webhook-id", id)?);
            headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
            headers.insert(WEBHOOK_SIGNATURE, value("webhook-signature", &signer.sign(id, seconds, body))?);
        }
        Ok(())
    }
}

impl Call {
    /// Fixes the first line where nothing of a delivery is in it.
    pub fn fix(&mut self, url: &Url, settings: &BTreeMap<String, Value>, once: Option<&Once>) -> Result<(), CannotSend> {
        let constant = |slot: &Slot| settings.contains_key(&slot.name);
        let slots = self.path.slots().chain(self.query.iter().flat_map(|(_, text)| text.slots()));
        let by_id = once.is_some_and(|once| matches!(once.place, Place::Query(_)));
        if by_id || !slots.into_iter().all(constant) {
            return Ok(());
        }
        let scope = Scope { settings, fields: &NO_FIELDS, parcel: None, index: 0, items: None, now: 0 };
        let path = if self.path.0.is_empty() { None } else { Some(path(&self.path, &scope)?) };
        self.target = Some(url.target(path.as_deref(), &query(&self.query, &scope)?).map_err(|_| CannotSend::Path)?);
        Ok(())
    }
}

impl fmt::Debug for Draft {
    /// Without settings and headers: they hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} {})", self.call.method, self.url)
    }
}

/// Whose deliveries they are. Of several in one request each is named, up to [`NAMED_MAX`]; of more, the request is.
fn name_deliveries(id: &str, items: &[Item<'_>], headers: &mut HeaderMap) -> Result<(), CannotSend> {
    let parcels = || items.iter().map(|item| item.parcel);
    if items.len() <= NAMED_MAX {
        let list = |names: Vec<&str>| names.join(", ");
        headers.insert(EVENT, value("switchyard-event", &list(parcels().map(|parcel| &*parcel.event).collect()))?);
        headers.insert(DELIVERY, value("switchyard-delivery", &list(parcels().map(|parcel| &*parcel.delivery).collect()))?);
    } else {
        headers.insert(DELIVERY, value("switchyard-delivery", id)?);
    }
    headers.insert(ATTEMPT, HeaderValue::from(parcels().map(|parcel| parcel.attempt).max().unwrap_or(1)));
    if parcels().any(|parcel| parcel.replay) {
        headers.insert(REPLAY, HeaderValue::from_static("true"));
    }
    Ok(())
}

/// The name of a batch: changes with what is in it, and with nothing else.
fn batch_id(items: &[Item<'_>]) -> String {
    let mut hash = Sha256::new();
    for item in items {
        hash.update(item.parcel.delivery.as_bytes());
    }
    format!("batch_{}", hex::encode(&hash.finalize()[..16]))
}

fn value(name: &str, text: &str) -> Result<HeaderValue, CannotSend> {
    // Tabs are legal and yet nobody means them; other text goes as UTF-8.
    let plain = !text.chars().any(char::is_control);
    plain.then(|| HeaderValue::from_bytes(text.as_bytes()).ok()).flatten().ok_or_else(|| CannotSend::HeaderValue(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_is_one_line(text in "[\\x00-\\x7f]{0,20}") {
            let sent = value("x", &text);
            prop_assert_eq!(sent.is_ok(), !text.chars().any(char::is_control));
        }
    }
}
