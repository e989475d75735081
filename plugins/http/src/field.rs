//! What a row says of the text of a field beside its template: the words there are, what it looks like, what stands there where
//! nobody sets it. `check` asks it of constants, sending of what was rendered.

use std::borrow::Cow;
use std::collections::BTreeMap;
use switchyard_api::escape::Escape;
use switchyard_api::http::answer::Pattern;

use crate::preset::{Preset, PresetField};
use crate::template::Text;
use crate::texts::TextCaps;

/// For what is made of settings alone.
pub static NO_FIELDS: BTreeMap<String, FieldRule> = BTreeMap::new();

/// The rule of one field.
#[derive(Debug, Clone, Default)]
pub struct FieldRule {
    /// What it is, for people.
    pub docs: String,
    /// The only words there are; empty: any.
    pub one_of: Vec<String>,
    /// What the whole text looks like.
    pub pattern: Option<Pattern>,
    /// Whether it must be set: else an empty text is none.
    pub required: bool,
    /// What stands there where nobody sets it, if that is more than a template knows.
    pub unset: Option<Text>,
    /// The limits of the texts within its JSON, and how those are read.
    pub texts: Option<(TextCaps, Escape)>,
}

/// Why a text is not one, in two parts: what is wrong, and what to write. Neither holds the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Behind the field's name.
    pub what: &'static str,
    /// What to write.
    pub help: String,
}

impl FieldRule {
    /// The text as it fits the far side.
    pub fn fitted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let fitted = self.texts.as_ref().and_then(|(caps, escape)| caps.fit(text, *escape));
        fitted.map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Whether a text is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, text: &str) -> Result<(), Misfit> {
        if text.is_empty() && !self.required {
            return Ok(());
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|word| word == text) {
            return Err(Misfit { what: "is none of its words", help: format!("write one of: {}", self.one_of.join(", ")) });
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_whole(text)) {
            return Err(Misfit { what: "does not look like one", help: format!("it is: {}", self.docs.trim_end_matches('.')) });
        }
        Ok(())
    }
}

/// The fields of a row that have a rule. Those of `action` are the actions.
pub fn rules(preset: Option<&Preset>) -> BTreeMap<String, FieldRule> {
    let rule = |preset: &Preset, field: &PresetField| {
        let actions = || preset.actions.keys().cloned().collect();
        let one_of = if field.name == "action" && field.one_of.is_empty() { actions() } else { field.one_of.clone() };
        let ruled = !one_of.is_empty() || field.pattern.is_some() || field.unset.is_some() || field.texts.is_some();
        let (docs, pattern, unset) = (field.docs.clone(), field.pattern.clone(), field.unset.clone());
        let texts = field.texts.clone().zip(field.escape.within_json());
        ruled.then(|| (field.name.clone(), FieldRule { docs, one_of, pattern, required: field.required, unset, texts }))
    };
    preset.iter().flat_map(|preset| preset.fields.iter().filter_map(|field| rule(preset, field))).collect()
}
