//! How a far side knows a repeat: the delivery's id, where it wants it and in the shape it takes.

use serde::Deserialize;
use serde::de::Error;

use crate::template::{bare, uuid};

/// Where the delivery's id goes, and how it is written. Replaces the header `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Where.
    pub place: Place,
    /// In what shape.
    pub shape: IdShape,
    /// Whether it stands in quotes, as a structured field (RFC 9651) does.
    pub quoted: bool,
}

/// Where the delivery's id goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this header.
    Header(http::HeaderName),
    /// In this query parameter.
    Query(String),
    /// In this key of the JSON body, at its top.
    Body(String),
    /// In this part of a form.
    Form(String),
    /// The row's URL or body has it already.
    Own,
}

/// How the delivery's id is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdShape {
    /// `dlv_` and 32 hex digits.
    #[default]
    Id,
    /// 32 hex digits.
    Hex,
    /// A UUID.
    Uuid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    header: Option<String>,
    query: Option<String>,
    body: Option<String>,
    form: Option<String>,
    #[serde(default, rename = "as")]
    shape: IdShape,
    #[serde(default)]
    quoted: bool,
}

impl Once {
    /// The id of a delivery as the far side takes it.
    pub fn id(&self, delivery: &str) -> String {
        let id = match self.shape {
            IdShape::Id => delivery.to_owned(),
            IdShape::Hex => bare(delivery).to_owned(),
            IdShape::Uuid => uuid(bare(delivery)).unwrap_or_else(|| delivery.to_owned()),
        };
        if self.quoted { format!("\"{id}\"") } else { id }
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> serde::de::Visitor<'de> for Form {
            type Value = Once;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`{ header: Idempotency-Key }`, `{ query: … }`, `{ body: … }`, `{ form: … }` or `own`")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Once, E> {
                let own = Once { place: Place::Own, shape: IdShape::Id, quoted: false };
                if text == "own" { Ok(own) } else { Err(E::custom("this is no place for an id: write `{ header: Idempotency-Key }`")) }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Once, A::Error> {
                let written = Written::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let place = match written {
                    Written { header: Some(name), query: None, body: None, form: None, .. } => {
                        let header =
                            http::HeaderName::try_from(name.as_str()).ok().filter(|name| !switchyard_api::http::auth::is_ours(name));
                        Place::Header(header.ok_or_else(|| {
                            A::Error::custom(format!("`{name}` is not a header to set: write one such as `Idempotency-Key`"))
                        })?)
                    }
                    Written { header: None, query: Some(name), body: None, form: None, .. } => Place::Query(name),
                    Written { header: None, query: None, body: Some(name), form: None, .. } => Place::Body(name),
                    Written { header: None, query: None, body: None, form: Some(name), .. } => Place::Form(name),
                    _ => return Err(A::Error::custom("an id goes to one place: write `header`, `query`, `body` or `form`")),
                };
                Ok(Once { place, shape: written.shape, quoted: written.quoted })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_shape_that_is_taken() {
        let id = "dlv_0123456789abcdef0123456789abcdef";
        for (written, expected) in [
            ("{ header: Idempotency-Key }", id),
            ("{ header: Idempotency-Key, quoted: true }", "\"dlv_0123456789abcdef0123456789abcdef\""),
            ("{ query: requestId, as: hex }", "0123456789abcdef0123456789abcdef"),
            ("{ body: uid, as: uuid }", "01234567-89ab-cdef-0123-456789abcdef"),
            ("own", id),
        ] {
            let once: Once = serde_yaml::from_str(written).unwrap();
            assert_eq!(once.id(id), expected, "{written}");
        }
        for wrong in ["{ header: a, query: b }", "{ header: Content-Length }", "{ header: 'a b' }", "there", "{}"] {
            assert!(serde_yaml::from_str::<Once>(wrong).is_err(), "{wrong}");
        }
    }
}
