//! Where an API has its subscriptions, and how they are made and removed: found by name and by what its types say.
//!
//! Does: says clearly what is not there, and with which flag to name it. Never: guesses a name that the API does not have.

use super::schema::{Field, Input, Type};
use switchyard_api::problem::nearest;

/// What APIs call the address that events are posted to.
pub const URL: [&str; 9] = ["url", "callbackUrl", "endpoint", "endpointUrl", "address", "targetUrl", "webhookUrl", "callback", "uri"];
/// What they call the kinds of events.
pub const EVENTS: [&str; 8] = ["events", "topics", "event", "topic", "eventTypes", "eventType", "types", "type"];
/// And the shape that events have.
pub const TEMPLATE: [&str; 2] = ["template", "payloadTemplate"];

/// A query or mutation by the name that was given, or by what it most likely is.
pub fn root<'t>(of: &'t Type, what: &str, flag: &str, name: &str, verbs: &[&str]) -> anyhow::Result<&'t Field> {
    if let Some(field) = of.fields().iter().find(|field| field.name == name) {
        return Ok(field);
    }
    let about = |field: &&Field| field.name.to_lowercase().contains("webhook") || field.name.to_lowercase().contains("subscription");
    let does = |field: &&Field| verbs.is_empty() || verbs.iter().any(|verb| field.name.to_lowercase().contains(verb));
    let near: Vec<&Field> = of.fields().iter().filter(about).collect();
    let fits: Vec<&Field> = near.iter().copied().filter(|field| does(field)).collect();
    if let [only] = fits[..] {
        return Ok(only);
    }
    let names = |fields: &[&Field]| fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>().join(", ");
    let has = match (&fits[..], &near[..]) {
        ([], []) => {
            let near = nearest(name, of.fields().iter().map(|field| field.name.as_str()));
            near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
        }
        ([], near) => format!("; it has {}", names(near)),
        (fits, _) => format!("; it could be {}", names(fits)),
    };
    anyhow::bail!("not found: {what}. The API has no `{name}`{has}: name it with {flag}")
}

/// How one of these is found among the inputs: by the name that was given, or by the first of the usual ones.
pub fn input<'i>(inputs: &'i [Input], given: Option<&str>, usual: &[&str], flag: &str, what: &str) -> anyhow::Result<Option<&'i Input>> {
    if let Some(name) = given {
        let found = inputs.iter().find(|input| input.name == name);
        return found.map(Some).ok_or_else(|| anyhow::anyhow!("not found: {flag} {name}, {what}; there are: {}", names(inputs)));
    }
    Ok(usual.iter().find_map(|name| inputs.iter().find(|input| input.name.eq_ignore_ascii_case(name))))
}

/// As [`input`], of one without which nothing can be made.
pub fn needed<'i>(inputs: &'i [Input], given: Option<&str>, usual: &[&str], flag: &str, what: &str) -> anyhow::Result<&'i Input> {
    input(inputs, given, usual, flag, what)?
        .ok_or_else(|| anyhow::anyhow!("not found: {what}; there are: {}: name it with {flag}", names(inputs)))
}

pub fn names(inputs: &[Input]) -> String {
    inputs.iter().map(|input| format!("{} ({})", input.name, input.of)).collect::<Vec<_>>().join(", ")
}

/// Whether each of these is a word of the API.
pub fn check_words(words: &[&str], asked: &[String], what: &str) -> anyhow::Result<()> {
    for word in asked {
        if words.contains(&word.as_str()) {
            continue;
        }
        let near = nearest(word, words.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        anyhow::bail!("`{word}` is no {what} of this API{near}; there are: {}", words.join(", "));
    }
    Ok(())
}
