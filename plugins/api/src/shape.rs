//! What a struct that [`crate::tree::read`] reads looks like, asked of the struct itself: its keys, their types and words.
//!
//! The struct's own `Deserialize` is run over nothing, once for each place in it, and what it asks for is written down; it never
//! gets a value. So there is no second list that could say something else than the reader does.

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::cell::RefCell;
use std::fmt;

/// How deep it is asked; what lies deeper may be anything.
const DEPTH_MAX: usize = 8;
/// A key that no struct has: one that knows its keys says them when it sees this.
const STRANGE: &str = "\u{0}";

/// What may stand somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Anything.
    Any,
    /// A text; a whole number is one too.
    Text,
    /// A text, and no number.
    Word,
    /// `true` or `false`.
    Truth,
    /// A number.
    Number,
    /// A list.
    List(Box<Shape>),
    /// Names that people choose, with a value each.
    Names(Box<Shape>),
    /// These keys and no others, and one of them that must be there.
    Keys(Vec<(String, Shape)>, Option<String>),
    /// One of these words; those with a shape are a key that holds it.
    Words(Vec<(String, Option<Shape>)>),
    /// One of these.
    OneOf(Vec<Shape>),
    /// This, or nothing.
    Optional(Box<Shape>),
    /// What the schema defines by this name, as it may hold itself.
    Defined(&'static str),
}

/// What nothing can be: a kind that is not taken, a word without content.
const NOTHING: Shape = Shape::OneOf(vec![]);

/// What a type reads.
pub fn of<T: DeserializeOwned>() -> Shape {
    look::<T>(&mut vec![])
}

/// A way into a type.
#[derive(Debug, Clone, Copy)]
enum Step {
    Field(&'static str),
    Name,
    Element,
    Variant(&'static str),
    /// A visitor that takes several kinds, given this one.
    As(Form),
}

/// The kinds that a visitor may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    Truth,
    List,
    Map,
}

/// What was asked for at the end of the way.
#[derive(Debug, Default)]
struct Seen {
    asked: Option<Asked>,
    optional: bool,
    required: Option<&'static str>,
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Any,
    /// A visitor that looks at what it is given.
    Open,
    Text,
    Truth,
    Number,
    List,
    Names,
    Keys(&'static [&'static str]),
    Words(&'static [&'static str]),
    /// A word alone.
    Word,
    /// This kind is not taken.
    Refused,
}

fn look<T: DeserializeOwned>(way: &mut Vec<Step>) -> Shape {
    let seen = RefCell::new(Seen::default());
    // It never gets a value; what it asks for is the answer.
    let _ = T::deserialize(Probe { way, seen: &seen });
    let Seen { asked, optional, required } = seen.into_inner();
    let mut under = |step: Step| {
        if way.len() >= DEPTH_MAX {
            return Shape::Any;
        }
        way.push(step);
        let shape = look::<T>(way);
        way.pop();
        shape
    };
    let shape = match asked {
        None | Some(Asked::Any) => Shape::Any,
        Some(Asked::Word | Asked::Refused) => NOTHING,
        Some(Asked::Text) => Shape::Text,
        Some(Asked::Truth) => Shape::Truth,
        Some(Asked::Number) => Shape::Number,
        Some(Asked::List) => Shape::List(Box::new(under(Step::Element))),
        Some(Asked::Names) => Shape::Names(Box::new(under(Step::Name))),
        Some(Asked::Keys(keys)) => {
            let fields = keys.iter().map(|key| ((*key).to_owned(), under(Step::Field(key)))).collect();
            Shape::Keys(fields, required.map(str::to_owned))
        }
        Some(Asked::Words(words)) => {
            Shape::Words(words.iter().map(|word| ((*word).to_owned(), content(under(Step::Variant(word))))).collect())
        }
        Some(Asked::Open) => {
            let forms = [Form::Text, Form::Number, Form::Truth, Form::List, Form::Map].map(|form| under(Step::As(form)));
            several(forms.into_iter().filter(|shape| *shape != NOTHING).collect())
        }
    };
    if optional { Shape::Optional(Box::new(shape)) } else { shape }
}

/// What a word holds; none where it stands alone.
fn content(shape: Shape) -> Option<Shape> {
    (shape != NOTHING).then_some(shape)
}

fn several(mut shapes: Vec<Shape>) -> Shape {
    if shapes.contains(&Shape::Any) || shapes.len() == 5 {
        return Shape::Any;
    }
    // Whoever looks at what he is given sees a number as one.
    for shape in shapes.iter_mut().filter(|shape| **shape == Shape::Text) {
        *shape = Shape::Word;
    }
    if shapes.len() == 1 { shapes.remove(0) } else { Shape::OneOf(shapes) }
}

/// The end of a look: it is no value.
#[derive(Debug)]
struct Stop {
    /// The visitor does not take this kind.
    kind: bool,
    keys: Option<&'static [&'static str]>,
    missing: Option<&'static str>,
}

const STOP: Stop = Stop { kind: false, keys: None, missing: None };

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only asked what it is")
    }
}
impl std::error::Error for Stop {}
impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        STOP
    }
    fn invalid_type(_: de::Unexpected, _: &dyn de::Expected) -> Self {
        Stop { kind: true, ..STOP }
    }
    fn unknown_field(_: &str, keys: &'static [&'static str]) -> Self {
        Stop { keys: Some(keys), ..STOP }
    }
    fn missing_field(key: &'static str) -> Self {
        Stop { missing: Some(key), ..STOP }
    }
}

#[derive(Clone, Copy)]
struct Probe<'p> {
    way: &'p [Step],
    seen: &'p RefCell<Seen>,
}

impl<'p> Probe<'p> {
    fn asked(&self, asked: Asked) -> Stop {
        self.seen.borrow_mut().asked = Some(asked);
        STOP
    }
    fn past(&self) -> Probe<'p> {
        Probe { way: self.way.get(1..).unwrap_or_default(), seen: self.seen }
    }
    /// Goes on where the way goes, or writes down that this was asked.
    fn here<'de, V: Visitor<'de>>(self, asked: Asked, visitor: V) -> Result<V::Value, Stop> {
        match (self.way.first(), asked) {
            (None, Asked::Keys(_)) => {
                let empty = visitor.visit_map(OneKey { key: None, of: self });
                self.seen.borrow_mut().required = empty.err().and_then(|stop| stop.missing);
                Err(self.asked(asked))
            }
            (None, _) => Err(self.asked(asked)),
            (Some(Step::Field(key)), _) => visitor.visit_map(OneKey { key: Some(key), of: self.past() }),
            (Some(Step::Name), _) => visitor.visit_map(OneKey { key: Some("name"), of: self.past() }),
            (Some(Step::Element), _) => visitor.visit_seq(OneElement(Some(self.past()))),
            (Some(Step::Variant(word)), _) => visitor.visit_enum(OneWord { word, of: self.past() }),
            (Some(Step::As(form)), _) => self.form(*form, visitor),
        }
    }
    /// Gives a visitor that takes several kinds one of them.
    fn form<'de, V: Visitor<'de>>(self, form: Form, visitor: V) -> Result<V::Value, Stop> {
        let rest = self.past();
        let plain = |taken: Result<V::Value, Stop>, asked: Asked| match taken {
            Err(Stop { kind: true, .. }) => Err(self.asked(Asked::Refused)),
            _ => Err(self.asked(asked)),
        };
        match form {
            Form::Text => plain(visitor.visit_str(STRANGE), Asked::Text),
            Form::Number => plain(visitor.visit_u64(1), Asked::Number),
            Form::Truth => plain(visitor.visit_bool(true), Asked::Truth),
            Form::List | Form::Map if !rest.way.is_empty() => rest.here(Asked::Any, visitor),
            Form::List => plain(visitor.visit_seq(OneElement(None)), Asked::List),
            Form::Map => match visitor.visit_map(OneKey { key: Some(STRANGE), of: Probe { way: &[], seen: &RefCell::default() } }) {
                Err(Stop { keys: Some(keys), .. }) => Err(self.asked(Asked::Keys(keys))),
                taken => plain(taken, Asked::Names),
            },
        }
    }
}

macro_rules! asks {
    ($($method:ident => $asked:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> { self.here(Asked::$asked, visitor) }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    asks! {
        deserialize_any => Open, deserialize_ignored_any => Any, deserialize_bool => Truth, deserialize_char => Text,
        deserialize_str => Text, deserialize_string => Text, deserialize_identifier => Text, deserialize_seq => List, deserialize_map => Names,
        deserialize_i8 => Number, deserialize_i16 => Number, deserialize_i32 => Number, deserialize_i64 => Number, deserialize_i128 => Number,
        deserialize_u8 => Number, deserialize_u16 => Number, deserialize_u32 => Number, deserialize_u64 => Number, deserialize_u128 => Number,
        deserialize_f32 => Number, deserialize_f64 => Number, deserialize_bytes => Any, deserialize_byte_buf => Any, deserialize_unit => Any,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.way.is_empty() {
            self.seen.borrow_mut().optional = true;
        }
        visitor.visit_some(self)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.here(Asked::Any, visitor)
    }
    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.here(Asked::Any, visitor)
    }
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.here(Asked::Any, visitor)
    }
    fn deserialize_struct<V: Visitor<'de>>(self, name: &'static str, keys: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        match name {
            crate::tree::AT => visitor.visit_map(Placed { of: self, step: 0 }),
            crate::tree::VERBATIM => Err(if self.way.is_empty() { self.asked(Asked::Text) } else { STOP }),
            _ => self.here(Asked::Keys(keys), visitor),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, words: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.here(Asked::Words(words), visitor)
    }
}

/// A map of one key, or of none.
struct OneKey<'p> {
    key: Option<&'static str>,
    of: Probe<'p>,
}
impl<'de> MapAccess<'de> for OneKey<'_> {
    type Error = Stop;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let key: Option<de::value::StrDeserializer<'_, Stop>> = self.key.map(IntoDeserializer::into_deserializer);
        key.map(|key| seed.deserialize(key)).transpose()
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self.of)
    }
}

/// A list of one element, or of none.
struct OneElement<'p>(Option<Probe<'p>>);
impl<'de> SeqAccess<'de> for OneElement<'_> {
    type Error = Stop;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        self.0.take().map(|of| seed.deserialize(of)).transpose()
    }
}

/// A word of an enum, and what it holds.
struct OneWord<'p> {
    word: &'static str,
    of: Probe<'p>,
}
impl<'de, 'p> EnumAccess<'de> for OneWord<'p> {
    type Error = Stop;
    type Variant = Probe<'p>;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Probe<'p>), Stop> {
        let word: de::value::StrDeserializer<'_, Stop> = self.word.into_deserializer();
        Ok((seed.deserialize(word)?, self.of))
    }
}
impl<'de> VariantAccess<'de> for Probe<'_> {
    type Error = Stop;
    fn unit_variant(self) -> Result<(), Stop> {
        Err(self.asked(Asked::Word))
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.here(Asked::Any, visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, keys: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.here(Asked::Keys(keys), visitor)
    }
}

/// The parts of a value with its place: the value goes on where the way goes.
struct Placed<'p> {
    of: Probe<'p>,
    step: usize,
}
impl<'de> MapAccess<'de> for Placed<'_> {
    type Error = Stop;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let key: Option<de::value::StrDeserializer<'_, Stop>> = crate::tree::PLACED.get(self.step).map(|key| (*key).into_deserializer());
        self.step += 1;
        key.map(|key| seed.deserialize(key)).transpose()
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        match self.step {
            1 | 2 => {
                let place: de::value::UsizeDeserializer<Stop> = 0_usize.into_deserializer();
                seed.deserialize(place)
            }
            _ => seed.deserialize(self.of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Template;
    use crate::{At, Period, Secret};
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Plain,
        Held(Inner),
    }

    #[derive(Deserialize, PartialEq)]
    struct Inner {
        many: Vec<u32>,
        truth: Option<bool>,
    }

    #[derive(Deserialize, PartialEq)]
    struct Shop {
        #[serde(default)]
        wait: Option<At<Period>>,
        name: At<Inner>,
        word: Word,
        names: BTreeMap<String, At<Secret>>,
        text: Template,
    }

    #[test]
    fn a_struct_says_its_keys_types_and_words() {
        let inner = || {
            let fields =
                vec![("many".into(), Shape::List(Box::new(Shape::Number))), ("truth".into(), Shape::Optional(Box::new(Shape::Truth)))];
            Shape::Keys(fields, Some("many".into()))
        };
        let expected = vec![
            ("wait".into(), Shape::Optional(Box::new(Shape::Text))),
            ("name".into(), inner()),
            ("word".into(), Shape::Words(vec![("plain".into(), None), ("held".into(), Some(inner()))])),
            ("names".into(), Shape::Names(Box::new(Shape::Text))),
            ("text".into(), Shape::Text),
        ];
        assert_eq!(of::<Shop>(), Shape::Keys(expected, Some("name".into())));
    }

    #[test]
    fn a_reader_that_takes_several_kinds_says_which() {
        struct Rate;
        impl<'de> Deserialize<'de> for Rate {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize, PartialEq)]
                #[serde(deny_unknown_fields)]
                struct Spelled {
                    limit: Period,
                    burst: Option<u32>,
                }
                struct Form;
                impl<'de> Visitor<'de> for Form {
                    type Value = Rate;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a rate")
                    }
                    fn visit_str<E: de::Error>(self, _: &str) -> Result<Rate, E> {
                        Ok(Rate)
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rate, A::Error> {
                        Spelled::deserialize(de::value::MapAccessDeserializer::new(map)).map(|_| Rate)
                    }
                }
                deserializer.deserialize_any(Form)
            }
        }
        let spelled = vec![("limit".into(), Shape::Text), ("burst".into(), Shape::Optional(Box::new(Shape::Number)))];
        assert_eq!(of::<Rate>(), Shape::OneOf(vec![Shape::Word, Shape::Keys(spelled, None)]));
    }
}
