//! What is made of a value on its way into a template. An error says what the value is not, and never quotes it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What is made of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A number, with all its digits.
    Number,
    /// `true` or `false`.
    Bool,
    /// The JSON that the text is.
    Json,
    /// A list of the texts between commas.
    List,
    /// A text, whatever it was.
    Text,
    /// Base64 of its bytes.
    Base64,
    /// A time as RFC 3339, the form it has without a filter.
    Iso,
    /// A time in seconds since 1970.
    S,
    /// A time in milliseconds since 1970.
    Ms,
    /// A time in nanoseconds since 1970.
    Ns,
    /// A delivery's id as 32 hex digits.
    Hex,
    /// A delivery's id in the form of a UUID.
    Uuid,
    /// In a URL: several segments, so `/` stays.
    Path,
    /// Doubles each `'`: the inside of a text in OData and its like.
    Quoted,
}

/// A value on its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// JSON as it is written.
    Raw(Cow<'a, str>),
    /// Bytes that are JSON, text, or neither.
    Bytes(Bytes),
    /// A moment, milliseconds since 1970.
    Time(i64),
}

impl Filter {
    /// Makes the next value of one.
    ///
    /// # Errors
    /// What it is instead.
    pub fn apply(self, found: Found<'_>) -> Result<Found<'_>, &'static str> {
        if let Found::Time(at) = found {
            return self.time(at);
        }
        if self == Filter::Base64 {
            let encoded = match &found {
                Found::Bytes(bytes) => STANDARD.encode(bytes),
                other => STANDARD.encode(&*other.text()?),
            };
            return Ok(Found::Text(encoded.into()));
        }
        if let (Filter::Number | Filter::Bool, Found::Raw(raw)) = (self, &found)
            && self.fits(raw)
        {
            return Ok(found);
        }
        let text = found.text()?.into_owned();
        match self {
            Filter::Number | Filter::Bool if self.fits(text.trim()) => Ok(Found::Raw(text.trim().to_owned().into())),
            Filter::Number => Err("is no number"),
            Filter::Bool => Err("is neither `true` nor `false`"),
            Filter::Json => one_line(&text).map(|json| Found::Raw(json.into())).ok_or("is no JSON"),
            Filter::List => {
                let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
                Ok(Found::Raw(Value::from(items).to_string().into()))
            }
            Filter::Hex => Ok(Found::Text(bare(&text).to_owned().into())),
            Filter::Uuid => Ok(Found::Text(uuid(bare(&text)).ok_or("is no id")?.into())),
            Filter::Quoted => Ok(Found::Text(text.replace('\'', "''").into())),
            Filter::Text | Filter::Path => Ok(Found::Text(text.into())),
            Filter::Iso | Filter::S | Filter::Ms | Filter::Ns => Err("is no time"),
            Filter::Base64 => Err("is no text"),
        }
    }

    fn fits(self, text: &str) -> bool {
        let json = serde_json::from_str::<&RawValue>(text).is_ok();
        match self {
            Filter::Number => json && text.starts_with(|c: char| c.is_ascii_digit() || c == '-'),
            _ => matches!(text, "true" | "false"),
        }
    }

    fn time<'a>(self, at: i64) -> Result<Found<'a>, &'static str> {
        match self {
            Filter::S => Ok(Found::Raw(at.div_euclid(1000).to_string().into())),
            Filter::Ms => Ok(Found::Raw(at.to_string().into())),
            Filter::Ns => Ok(Found::Raw(format!("{at}000000").into())),
            Filter::Iso | Filter::Text => Ok(Found::Text(Found::Time(at).text()?.into_owned().into())),
            _ => Err("is a time"),
        }
    }
}

impl Found<'_> {
    /// As text.
    ///
    /// # Errors
    /// What it is instead.
    pub fn text(&self) -> Result<Cow<'_, str>, &'static str> {
        match self {
            Found::Text(text) | Found::Raw(text) => Ok(Cow::Borrowed(text)),
            Found::Bytes(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| "is no text"),
            Found::Time(at) => {
                let at = jiff::Timestamp::from_millisecond(*at).map_err(|_| "is no time")?;
                Ok(at.to_string().into())
            }
        }
    }

    /// As JSON: bytes are the JSON that they are, else the text that they are.
    pub fn json(&self, out: &mut String) -> Result<(), &'static str> {
        match self {
            Found::Raw(raw) => out.push_str(raw),
            Found::Bytes(_) => match one_line(&self.text()?) {
                Some(json) => out.push_str(&json),
                None => out.push_str(&Value::from(self.text()?).to_string()),
            },
            Found::Text(_) | Found::Time(_) => out.push_str(&Value::from(self.text()?).to_string()),
        }
        Ok(())
    }
}

/// The JSON without line ends, all digits kept; `None` if it is none.
fn one_line(text: &str) -> Option<String> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    // Within a JSON text a line end is escaped: those that are not are white space.
    Some(raw.get().replace(['\n', '\r'], " "))
}

/// An id without its prefix: `dlv_0a…` is `0a…`.
pub fn bare(id: &str) -> &str {
    id.rsplit_once('_').map_or(id, |(_, bare)| bare)
}

/// 32 hex digits in the form of a UUID.
pub fn uuid(hex: &str) -> Option<String> {
    let part = |from: usize, to: usize| hex.get(from..to);
    let all = hex.len() == 32;
    all.then(|| Some(format!("{}-{}-{}-{}-{}", part(0, 8)?, part(8, 12)?, part(12, 16)?, part(16, 20)?, part(20, 32)?))).flatten()
}
