//! What is sent: the payload, JSON, a form, a text or CloudEvents, for one delivery or for the items of a batch.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use switchyard_api::Parcel;

use crate::batch::{Batch, BatchForm};
use crate::cloudevents::{self, Mode};
use crate::once::{Once, Place};
use crate::request::{Call, CannotSend, Draft, Item};
use crate::target::{encoded, query};
use crate::template::{Filter, Json, Scope, Slot, Text};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What a body is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The message's `body`, else the payload.
    Payload,
    /// JSON.
    Json(Json),
    /// A form.
    Form(Vec<(String, Text)>),
    /// Text.
    Text(Text),
    /// A CloudEvent.
    CloudEvents(Mode),
    /// Nothing.
    Nothing,
}

impl Draft {
    pub(crate) fn body(&self, call: &Call, parcel: &Parcel, scope: &Scope<'_>) -> Result<(Bytes, Option<HeaderValue>), CannotSend> {
        let (body, content_type) = match &call.body {
            Body::Json(json) => (written(json, scope)?.into(), Some(JSON)),
            Body::Form(entries) => return Ok((self.form(entries, parcel, scope)?.into(), Some(FORM))),
            Body::Text(text) => (text.plain(scope)?.unwrap_or_default().into(), Some(TEXT)),
            Body::CloudEvents(Mode::Binary) => (parcel.payload(), Some(payload_type(parcel))),
            Body::CloudEvents(mode) => (cloudevents::structured(parcel).into(), mode.content_type()),
            Body::Nothing => (Bytes::new(), None),
            Body::Payload => match parcel.message.text("body") {
                Some(text) => (Bytes::copy_from_slice(text.as_bytes()), Some(JSON)),
                None if call.method == http::Method::GET => (Bytes::new(), None),
                None => (parcel.payload(), Some(payload_type(parcel))),
            },
        };
        match &self.once {
            Some(Once { place: Place::Body(key), .. }) => Ok((self.with_id(&body, key, parcel)?, content_type)),
            _ => Ok((body, content_type)),
        }
    }

    /// A message's own `body` that goes out as JSON is JSON: values that stand outside of quotes could have made it anything. An
    /// event's exact bytes are what they are.
    pub(crate) fn is_what_it_says(call: &Call, parcel: &Parcel, headers: &HeaderMap, body: &[u8]) -> Result<(), CannotSend> {
        let as_json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let own = call.body == Body::Payload && parcel.message.text("body").is_some();
        if !own || !as_json || body.trim_ascii().is_empty() {
            return Ok(());
        }
        serde_json::from_slice::<IgnoredAny>(body).map(drop).map_err(|e| CannotSend::NoJson(e.to_string()))
    }

    fn form(&self, entries: &[(String, Text)], parcel: &Parcel, scope: &Scope<'_>) -> Result<String, CannotSend> {
        let mut all = query(entries, scope)?;
        if let Some(once) = &self.once
            && let Place::Form(name) = &once.place
        {
            all.push((encoded(name), encoded(&once.id(&parcel.delivery))));
        }
        Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
    }

    /// The body with the delivery's id at its top, unless it has one there. Digits and order of the rest stay.
    fn with_id(&self, body: &Bytes, key: &str, parcel: &Parcel) -> Result<Bytes, CannotSend> {
        let none = || CannotSend::NoObject(key.to_owned());
        let text = std::str::from_utf8(body).map_err(|_| none())?.trim();
        let entries: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|_| none())?;
        if entries.contains_key(key) {
            return Ok(body.clone());
        }
        let id = self.once.as_ref().map(|once| once.id(&parcel.delivery)).unwrap_or_default();
        let comma = if entries.is_empty() { "" } else { "," };
        let rest = text.get(1..).unwrap_or_default();
        Ok(format!("{{{}:{}{comma}{rest}", Value::from(key), Value::from(id)).into())
    }

    /// One item of a batch: JSON, or its lines.
    pub(crate) fn batch_item(call: &Call, batch: &Batch, scope: &Scope<'_>) -> Result<Bytes, CannotSend> {
        let Some(parcel) = scope.parcel else { return Ok(Bytes::new()) };
        let payload = || Json::Slot(Slot::named("event.payload"));
        let message = || match parcel.message.text("body") {
            Some(_) => Json::Slot(Slot { filters: vec![Filter::Json], ..Slot::named("body") }),
            None => payload(),
        };
        if let Body::CloudEvents(_) = call.body {
            return Ok(cloudevents::structured(parcel).into());
        }
        match (&batch.item, batch.form) {
            (Some(Json::List(lines)), BatchForm::Ndjson) => {
                let lines = lines.iter().map(|line| written(line, scope)).collect::<Result<Vec<_>, _>>()?;
                Ok(lines.join("\n").into())
            }
            (Some(item), _) => Ok(written(item, scope)?.into()),
            (None, _) => Ok(written(&message(), scope)?.into()),
        }
    }

    pub(crate) fn batch_type(call: &Call, batch: &Batch) -> Option<HeaderValue> {
        match (&call.body, batch.form) {
            (Body::CloudEvents(_), _) => Mode::Batch.content_type(),
            (_, BatchForm::Ndjson) => Some(NDJSON),
            (_, BatchForm::Form) => Some(FORM),
            (_, BatchForm::Json) => Some(JSON),
        }
    }

    pub(crate) fn joined(&self, batch: &Batch, items: &[Item<'_>]) -> Result<Bytes, CannotSend> {
        if batch.form == BatchForm::Form {
            return self.joined_form(batch, items);
        }
        let (start, joint, end) = if batch.form == BatchForm::Json { ("[", ",", "]") } else { ("", "\n", "\n") };
        let mut all = String::from(start);
        for (nth, item) in items.iter().enumerate() {
            if nth > 0 {
                all.push_str(joint);
            }
            // Every item was written by us, as text.
            all.push_str(&String::from_utf8_lossy(&item.body));
        }
        all.push_str(end);
        match (items.first().map(|item| (item, &item.call.body)), batch.form) {
            (Some((first, Body::Json(json))), BatchForm::Json) => Ok(written(json, &self.scope(first.parcel, 0, Some(&all)))?.into()),
            _ => Ok(all.into()),
        }
    }

    /// The row's own names, and then those of each item behind its number in this request.
    fn joined_form(&self, batch: &Batch, items: &[Item<'_>]) -> Result<Bytes, CannotSend> {
        let mut all = match items.first().map(|first| (first.parcel, &first.call.body)) {
            Some((parcel, Body::Form(entries))) => query(entries, &self.scope(parcel, 0, None))?,
            _ => vec![],
        };
        for (nth, item) in items.iter().enumerate() {
            // Every item was written by us, as an object of texts.
            let names: BTreeMap<String, String> = serde_json::from_slice(&item.body).unwrap_or_default();
            all.extend(names.into_iter().map(|(name, text)| (encoded(&(batch.name_of(nth) + &name)), encoded(&text))));
        }
        Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&").into())
    }
}

fn payload_type(parcel: &Parcel) -> HeaderValue {
    match parcel.payload_type() {
        "application/json" => JSON,
        other => HeaderValue::from_str(other).unwrap_or(BYTES),
    }
}

pub(crate) fn written(json: &Json, scope: &Scope<'_>) -> Result<String, CannotSend> {
    let mut out = String::new();
    json.write(scope, &mut out)?;
    Ok(out)
}
