//! The JSON Schema of the file, for editors: made of what the structs that read it ask for ([`switchyard_api::shape`]) and of the
//! fields that outputs declare. Filters and the names of senders are written out here; what else is read by hand (expectations) is left open.
//!
//! Proven by tests/mistakes/schema.rs: good files fit, and files with unknown keys, words and types do not.

use super::sections::{AdminSection, EgressSection};
use crate::deliver::section::DeliverySection;
use crate::hours::Hours;
use crate::ingest::section::{ServerSection, SourceSection};
use crate::journal::JournalSection;
use crate::route::RouteSection;
use crate::route::facts::ROOTS;
use crate::route::filter::{IGNORE_CASE, KINDS, OPERATORS};
use crate::trial::Tests;
use crate::verify::presets::presets;
use crate::verify::section::Spelled;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use switchyard_api::kind::Shape as FieldShape;
use switchyard_api::shape::{self, Shape};
use switchyard_api::{AnyKind, Field};

/// Where the language of the schema is defined; what editors' servers know best.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
/// A part that is longer than this, as text, is written once and referred to.
const SHARED_FROM: usize = 100;

/// The schema of `routes.yaml`.
pub fn schema(kinds: &[Arc<dyn AnyKind>]) -> Value {
    let mut pen = Pen::default();
    let server = with(shape::of::<ServerSection>(), "admin", shape::of::<AdminSection>());
    let hours = one_or_several(Hours::shape());
    let route = with(with(RouteSection::shape(), "hours", hours.clone()), "to", one_or_several(target()));
    let delivery = with_all(shape::of::<DeliverySection>(), vec![("type".into(), Shape::Text), ("hours".into(), hours)]);
    let sections = json!({
        "server": pen.section(&server),
        "journal": pen.section(&shape::of::<JournalSection>()),
        "egress": pen.section(&shape::of::<EgressSection>()),
        "sources": pen.section(&Shape::Names(Box::new(source()))),
        "routes": pen.section(&Shape::List(Box::new(route))),
        "outputs": { "type": ["object", "null"], "additionalProperties": pen.output(kinds, &delivery) },
        "tests": pen.section(&Shape::List(Box::new(Tests::shape()))),
    });
    json!({
        "$schema": DRAFT,
        "title": "routes.yaml of Switchyard",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
        "definitions": pen.shared.into_values().chain(conditions()).collect::<Map<String, Value>>(),
    })
}

/// A source, with the senders that are known by name.
fn source() -> Shape {
    let names = presets().iter().map(|preset| preset.name.clone()).chain(["none", "mtls"].map(str::to_owned)).map(|name| (name, None));
    let spelled = shape::of::<Spelled>();
    with(shape::of::<SourceSection>(), "verify", Shape::OneOf(vec![Shape::Words(names.collect()), spelled]))
}

/// What a filter and a condition are, which may hold themselves.
fn conditions() -> [(String, Value); 2] {
    let (condition, filter) = (json!({ "$ref": "#/definitions/condition" }), json!({ "$ref": "#/definitions/filter" }));
    let several = |one: Value| json!({ "anyOf": [one.clone(), { "type": "array", "minItems": 1, "items": one }] });
    let text = several(json!({ "type": ["string", "integer"] }));
    let operators: Map<String, Value> = OPERATORS
        .into_iter()
        .chain([IGNORE_CASE])
        .map(|name| {
            let takes = match name {
                "exists" | IGNORE_CASE => json!({ "type": "boolean" }),
                "type" => several(json!({ "enum": KINDS.iter().map(|kind| json!(kind)).chain([Value::Null]).collect::<Vec<_>>() })),
                "any" => json!({ "type": "array", "minItems": 1, "items": condition }),
                "not" => condition.clone(),
                "eq" => several(json!({ "type": ["string", "number", "boolean", "null"] })),
                "gt" | "ge" | "lt" | "le" => several(json!({ "type": ["string", "number"] })),
                _ => text.clone(),
            };
            (name.to_owned(), takes)
        })
        .collect();
    let of_operators = json!({ "type": "object", "minProperties": 1, "additionalProperties": false, "properties": operators });
    let list = json!({ "type": "array", "minItems": 1, "items": condition });
    let paths = format!("^({})(\\..+)?$", ROOTS.join("|"));
    let of_paths = json!({
        "type": "object", "additionalProperties": false, "properties": { "any": { "type": "array", "minItems": 1, "items": filter } },
        "patternProperties": { paths: condition },
    });
    let value = json!({ "type": ["string", "number", "boolean", "null"] });
    [("condition".into(), json!({ "anyOf": [value, list, of_operators] })), ("filter".into(), of_paths)]
}

/// An output of a route: its name, or with message fields of its own, which its type decides.
fn target() -> Shape {
    Shape::OneOf(vec![Shape::Word, Shape::Names(Box::new(Shape::Any))])
}

fn one_or_several(shape: Shape) -> Shape {
    Shape::OneOf(vec![Shape::List(Box::new(shape.clone())), shape])
}

/// Keys of which one is as another room says.
fn with(shape: Shape, key: &str, is: Shape) -> Shape {
    match shape {
        Shape::Keys(mut fields, required) => {
            for (name, field) in &mut fields {
                if name == key {
                    *field = Shape::Optional(Box::new(is.clone()));
                }
            }
            Shape::Keys(fields, required)
        }
        other => other,
    }
}

/// Keys with more of them.
fn with_all(shape: Shape, more: Vec<(String, Shape)>) -> Shape {
    match shape {
        Shape::Keys(fields, required) => Shape::Keys(fields.into_iter().chain(more).collect(), required),
        other => other,
    }
}

/// Writes shapes as JSON Schema; long parts that come again once.
#[derive(Default)]
struct Pen {
    /// By their text: their name and what they are.
    shared: BTreeMap<String, (String, Value)>,
}

impl Pen {
    /// A section may be empty.
    fn section(&mut self, shape: &Shape) -> Value {
        self.write(&Shape::Optional(Box::new(shape.clone())))
    }

    fn write(&mut self, shape: &Shape) -> Value {
        let written = self.whole(shape);
        self.share(written)
    }

    fn whole(&mut self, shape: &Shape) -> Value {
        match shape {
            Shape::Any => json!({}),
            Shape::Text => json!({ "type": ["string", "integer"] }),
            Shape::Word => json!({ "type": "string" }),
            Shape::Truth => json!({ "type": "boolean" }),
            // `${NAME}` may stand for it.
            Shape::Number => json!({ "anyOf": [{ "type": "number" }, { "type": "string", "pattern": "\\$\\{" }] }),
            Shape::List(of) => json!({ "type": "array", "items": self.write(of) }),
            Shape::Names(of) => json!({ "type": "object", "additionalProperties": self.write(of) }),
            Shape::Keys(fields, required) => {
                let properties: Map<String, Value> = fields.iter().map(|(name, shape)| (name.clone(), self.write(shape))).collect();
                let mut keys = json!({ "type": "object", "properties": properties, "additionalProperties": false });
                if let Some(required) = required {
                    keys["required"] = json!([required]);
                }
                keys
            }
            Shape::Words(words) => {
                let plain: Vec<&String> = words.iter().filter(|(_, holds)| holds.is_none()).map(|(word, _)| word).collect();
                // A word may come from `${NAME}`.
                let mut forms = vec![json!({ "type": "string", "pattern": "\\$\\{" })];
                forms.extend((!plain.is_empty()).then(|| json!({ "enum": plain })));
                let held =
                    words.iter().filter_map(|(word, holds)| Some((word.clone(), self.write(holds.as_ref()?)))).collect::<Map<_, _>>();
                if !held.is_empty() {
                    forms.push(json!({ "type": "object", "properties": held, "additionalProperties": false, "minProperties": 1, "maxProperties": 1 }));
                }
                json!({ "anyOf": forms })
            }
            Shape::OneOf(shapes) => json!({ "anyOf": shapes.iter().map(|shape| self.write(shape)).collect::<Vec<_>>() }),
            Shape::Defined(name) => json!({ "$ref": format!("#/definitions/{name}") }),
            Shape::Optional(of) => match self.write(of) {
                any if any == json!({}) => any,
                some => json!({ "anyOf": [some, { "type": "null" }] }),
            },
        }
    }

    /// Refers to what is long.
    fn share(&mut self, value: Value) -> Value {
        let text = value.to_string();
        if text.len() < SHARED_FROM {
            return value;
        }
        let next = format!("part-{}", self.shared.len() + 1);
        let (name, _) = self.shared.entry(text).or_insert((next, value));
        json!({ "$ref": format!("#/definitions/{name}") })
    }

    /// An output: by its type its settings and message fields, beside the delivery's own keys.
    fn output(&mut self, kinds: &[Arc<dyn AnyKind>], delivery: &Shape) -> Value {
        let Shape::Keys(common, _) = delivery else { return json!({}) };
        let common: Map<String, Value> = common.iter().map(|(name, shape)| (name.clone(), self.write(shape))).collect();
        let mut by_type = vec![];
        for kind in kinds {
            let mut properties = common.clone();
            if let Shape::Keys(settings, _) = kind.shape() {
                properties.extend(settings.iter().map(|(name, shape)| (name.clone(), self.write(shape))));
            }
            properties.extend(kind.fields().iter().map(|field| (field.name.to_string(), self.share(message(field)))));
            properties.insert("type".into(), json!({ "const": kind.name(), "description": kind.docs() }));
            let then = json!({ "properties": properties, "additionalProperties": false });
            by_type.push(json!({ "if": { "properties": { "type": { "const": kind.name() } } }, "then": then }));
        }
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        json!({ "type": "object", "required": ["type"], "properties": { "type": { "enum": names } }, "allOf": by_type })
    }
}

/// A template, or names with a template each.
fn message(field: &Field) -> Value {
    let text = json!({ "type": ["string", "integer"] });
    let mut written = match field.shape {
        FieldShape::Text | FieldShape::OptionalText => text,
        FieldShape::Map => json!({ "type": "object", "additionalProperties": text }),
    };
    written["description"] = json!(field.docs);
    written
}
