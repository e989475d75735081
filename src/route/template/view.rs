//! The event as a template sees it: the envelope's values without copying the body, numbers with their digits.

use crate::model::{Event, Json, Target, envelope};
use crate::route::decimal::Decimal;
use jaq_json::Num;
use minijinja::value::{Enumerator, Object, ObjectExt, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Bytes of texts that one rendering may copy out of its event; a template that loops over a large text ends here.
const COPIED_MAX: usize = 16 << 20;
/// Bytes of JSON that one value may be written as.
const JSON_MAX: usize = super::OUTPUT_MAX;
/// The deepest value that is written as JSON.
const JSON_DEPTH_MAX: usize = envelope::DEPTH_MAX;
/// Under this the formatter finds [`Digits`]; no template can spell it.
const DIGITS: &str = "\0digits";

/// What templates are rendered with: one event, and the transform's result where there is one.
#[derive(Debug, Clone)]
pub struct Context(Value);

impl Context {
    /// An event; with `result`, `data` is that JSON text and `raw` is the text itself.
    pub fn new(event: &Event, result: Option<&str>) -> Self {
        Context::of(event, result, None)
    }

    /// An event of which a delivery is dead.
    pub fn after(event: &Event, died: &Died) -> Self {
        Context::of(event, None, Some(died.clone()))
    }

    fn of(event: &Event, result: Option<&str>, died: Option<Died>) -> Self {
        let root = Root { event: event.clone(), result: result.map(str::to_owned), died, digits: Arc::default(), data: OnceLock::new() };
        Context(Value::from_object(root))
    }

    pub(super) fn value(&self) -> Value {
        self.0.clone()
    }
}

/// The name of what is [dead](Died); of any other delivery it is nothing.
pub const DEAD: &str = "dead";

/// A dead delivery, for the templates of the output that gets its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// By which route to which output it was to go.
    pub target: Target,
    /// What its row says.
    pub why: String,
}

#[derive(Debug)]
struct Root {
    event: Event,
    result: Option<String>,
    died: Option<Died>,
    digits: Arc<Digits>,
    data: OnceLock<Json>,
}

impl Root {
    fn data(&self) -> &Json {
        self.data.get_or_init(|| match &self.result {
            Some(result) => envelope::parse(result.as_bytes()).unwrap_or_default(),
            None => envelope::data(&self.event).unwrap_or_default(),
        })
    }

    fn headers(&self) -> Json {
        let mut seen: Vec<(String, Json)> = vec![];
        for (name, value) in self.event.headers.iter() {
            if !seen.iter().any(|(n, _)| n == name) {
                seen.push((name.to_owned(), String::from_utf8_lossy(value).into_owned().into()));
            }
        }
        envelope::object(seen)
    }
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let digits = &self.digits;
        Some(match key.as_str()? {
            "id" => Value::from(self.event.id.to_string()),
            "source" => Value::from(Arc::clone(&self.event.source)),
            "topic" => Value::from(Arc::clone(&self.event.topic)),
            "received_at" => Value::from(self.event.received_at.to_string()),
            "headers" => digits.value(&self.headers()),
            "query" => digits.value(&envelope::form(self.event.query.as_bytes())),
            "data" => digits.value(self.data()),
            "raw" => match &self.result {
                Some(result) => digits.text(result.as_bytes()),
                None => digits.text(&self.event.body),
            },
            DEAD => {
                let entries = |died: &Died| {
                    let Died { target, why } = died;
                    [("route", target.route.to_string()), ("output", target.output.to_string()), ("why", why.clone())]
                };
                let object = |died: &Died| envelope::object(entries(died).map(|(name, text)| (name.to_owned(), text.into())));
                self.died.as_ref().map_or(Value::from(()), |died| digits.value(&object(died)))
            }
            DIGITS => Value::from_dyn_object(Arc::clone(digits)),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&crate::route::facts::ROOTS)
    }
}

/// What the engine cannot hold: how decimals are written, and how much was copied.
///
/// The engine computes with binary numbers. A decimal of the event that is one of them but for its zeros (`1500.00`) becomes that
/// number, so that templates can compare it, and its text is kept here for when it is written; of two texts of one number the one looked up last. One with more digits than a binary
/// number has is no number there but an [`Exact`]: an amount is never written as another one.
#[derive(Debug, Default)]
struct Digits {
    written: Mutex<BTreeMap<u64, String>>,
    copied: AtomicUsize,
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl Digits {
    fn of(state: &State) -> Option<Arc<Digits>> {
        state.lookup(DIGITS)?.downcast_object()
    }

    fn value(self: &Arc<Self>, json: &Json) -> Value {
        match json {
            Json::Null => Value::from(()),
            Json::Bool(b) => Value::from(*b),
            Json::Num(Num::Int(i)) => Value::from(*i as i64),
            Json::Num(Num::Float(f)) => Value::from(*f),
            Json::Num(Num::BigInt(i)) => {
                let text = i.to_string();
                text.parse::<i128>().map_or_else(|_| Value::from_object(Exact(text)), Value::from)
            }
            Json::Num(Num::Dec(text)) => self.decimal(text),
            Json::TStr(text) | Json::BStr(text) => self.text(text),
            Json::Arr(_) | Json::Obj(_) => Value::from_object(View { json: json.clone(), digits: Arc::clone(self) }),
        }
    }

    fn decimal(&self, text: &str) -> Value {
        let exact = text.parse::<f64>().ok().filter(|nearest| {
            let shortest = nearest.to_string();
            let both = (Decimal::parse(&shortest), Decimal::parse(text));
            matches!(both, (Some(a), Some(b)) if a.compare(&b).is_eq())
        });
        let Some(number) = exact else { return Value::from_object(Exact(text.to_owned())) };
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(number.to_bits(), text.to_owned());
        Value::from(number)
    }

    fn text(&self, text: &[u8]) -> Value {
        if let Err(spent) = self.charge(text.len()) {
            return Value::from(spent);
        }
        Value::from(String::from_utf8_lossy(text).as_ref())
    }

    fn charge(&self, bytes: usize) -> Result<(), Error> {
        let copied = self.copied.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if copied > COPIED_MAX { Err(Error::new(ErrorKind::OutOfFuel, "copies too much")) } else { Ok(()) }
    }

    fn number(&self, f: f64) -> Option<String> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&f.to_bits()).cloned()
    }
}

/// A number with more digits than the engine's have, as the event writes it.
#[derive(Debug)]
struct Exact(String);

impl Object for Exact {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list or an object of the event, shared with it.
#[derive(Debug)]
struct View {
    json: Json,
    digits: Arc<Digits>,
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if matches!(self.json, Json::Arr(_)) { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = match &self.json {
            Json::Arr(list) => list.get(key.as_usize()?),
            Json::Obj(map) => map.get(&Json::from(key.as_str()?.to_owned())),
            _ => None,
        };
        found.map(|json| self.digits.value(json))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.json {
            Json::Arr(list) => Enumerator::Seq(list.len()),
            Json::Obj(_) => self.mapped_enumerator(|view| match &view.json {
                Json::Obj(map) => Box::new(map.keys().map(|key| view.digits.value(key))),
                _ => Box::new(std::iter::empty()),
            }),
            _ => Enumerator::Empty,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.json)
    }
}

/// The elements as text, with `between` between them.
pub fn join(state: &State, list: &Value, between: Option<&str>) -> Result<Value, Error> {
    let (digits, mut out) = (Digits::of(state), String::new());
    for (i, item) in list.try_iter()?.enumerate() {
        out.push_str(if i == 0 { "" } else { between.unwrap_or_default() });
        match item.as_str() {
            Some(text) => out.push_str(text),
            None => write(&mut out, &item, digits.as_deref(), 0)?,
        }
        if out.len() > JSON_MAX {
            return Err(Error::from(ErrorKind::BadSerialization));
        }
    }
    Ok(Value::from(out))
}

/// The elements as texts of their own.
pub fn items(state: &State, list: &Value) -> Result<Vec<String>, Error> {
    let (mut items, mut bytes) = (vec![], 0);
    for item in list.try_iter()? {
        items.push(text(state, &item)?);
        // What an empty text costs is counted too.
        bytes += items.last().map_or(0, String::len) + 8;
        if bytes > JSON_MAX {
            return Err(Error::from(ErrorKind::BadSerialization));
        }
    }
    Ok(items)
}

/// A value as text: as JSON writes it, but a text without quotes.
pub fn text(state: &State, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => {
            let mut out = String::new();
            write(&mut out, value, Digits::of(state).as_deref(), 0)?;
            Ok(out)
        }
    }
}

/// A value as a JSON literal that is safe inside markup too: `<`, `>`, `&` and `'` are escaped.
pub fn json(state: &State, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, Digits::of(state).as_deref(), 0)?;
    if !out.contains(['<', '>', '&', '\'']) {
        return Ok(out);
    }
    let mut safe = String::with_capacity(out.len() + 16);
    for c in out.chars() {
        match c {
            // They stand inside quotes only.
            '<' | '>' | '&' | '\'' => {
                let _ = write!(safe, "\\u{:04x}", c as u32);
            }
            c => safe.push(c),
        }
    }
    Ok(safe)
}

fn write(out: &mut String, value: &Value, digits: Option<&Digits>, depth: usize) -> Result<(), Error> {
    if depth > JSON_DEPTH_MAX || out.len() > JSON_MAX {
        return Err(Error::from(ErrorKind::BadSerialization));
    }
    if let Some(View { json, digits }) = value.downcast_object_ref::<View>() {
        return verbatim(out, json, digits, depth);
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => {
            let float = (!value.is_integer()).then(|| f64::try_from(value.clone()).ok()).flatten();
            match float.and_then(|f| digits.and_then(|digits| digits.number(f))) {
                Some(written) => out.push_str(&written),
                None if float.is_some_and(|f| !f.is_finite()) => out.push_str("null"),
                None => {
                    let _ = write!(out, "{value}");
                }
            }
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                quote(out, &name);
                out.push(':');
                write(out, &value.get_item(&key)?, digits, depth + 1)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write(out, &item, digits, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Invalid => return Err(Error::from(ErrorKind::OutOfFuel)),
        _ => match value.downcast_object_ref::<Exact>() {
            Some(number) => out.push_str(&number.0),
            None => quote(out, value.as_str().unwrap_or_default()),
        },
    }
    Ok(())
}

/// A value of the event as it came: the same number may stand there in two ways. What it writes counts as copied.
fn verbatim(out: &mut String, json: &Json, digits: &Digits, depth: usize) -> Result<(), Error> {
    if depth > JSON_DEPTH_MAX || out.len() > JSON_MAX {
        return Err(Error::from(ErrorKind::BadSerialization));
    }
    let from = out.len();
    match json {
        Json::Arr(list) => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                verbatim(out, item, digits, depth + 1)?;
            }
            out.push(']');
            return Ok(());
        }
        Json::Obj(map) => {
            out.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                verbatim(out, key, digits, depth + 1)?;
                out.push(':');
                verbatim(out, value, digits, depth + 1)?;
            }
            out.push('}');
            return Ok(());
        }
        Json::TStr(text) | Json::BStr(text) => quote(out, &String::from_utf8_lossy(text)),
        Json::Null | Json::Bool(_) | Json::Num(_) => {
            let _ = write!(out, "{json}");
        }
    }
    digits.charge(out.len() - from)
}

fn quote(out: &mut String, text: &str) {
    let _ = write!(out, "{}", serde_json::Value::from(text));
}
