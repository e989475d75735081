//! What a row of the table must be, told as the first mistake in it: names that exist and are used, one server, paths made of
//! names alone (L8), tests that can hold.

use super::*;

use crate::lookup::Lookup;
use crate::template::{self, ENVELOPE};
use switchyard_api::http::answer::is_pointer;

impl Preset {
    /// Finds what in the row cannot be meant.
    ///
    /// # Errors
    /// The first mistake.
    fn proofread(&self, file: &str) -> Result<(), String> {
        if self.name != file {
            return Err(format!("its name is `{}`", self.name));
        }
        let bodies = [self.body.is_some(), self.form.is_some(), self.text.is_some(), self.cloudevents.is_some()];
        if bodies.iter().filter(|is| **is).count() > 1 {
            return Err("it has several bodies: `body`, `form`, `text` and `cloudevents` are one of".into());
        }
        let mut used = vec![];
        self.urls().try_for_each(|url| self.proofread_url(url, &mut used))?;
        self.used(&mut used);
        let base = self.base();
        let known =
            |name: &str| self.field(name).is_some() || self.setting(name).is_some() || ENVELOPE.contains(&name) || base == Some(name);
        if let Some(slot) = used.iter().find(|slot| !known(&slot.name)) {
            return Err(format!("it uses `{}`, which is no field, no setting and no part of a delivery", slot.name));
        }
        let unused = |name: &str| !used.iter().any(|slot| slot.name == name);
        let action = |name: &str| name == "action" && !self.actions.is_empty();
        if let Some(field) = self.fields.iter().find(|field| unused(&field.name) && !action(&field.name)) {
            return Err(format!("it does not use the field `{}`", field.name));
        }
        if let Some(setting) = self.settings.iter().find(|setting| unused(&setting.name)) {
            return Err(format!("it does not use the setting `{}`", setting.name));
        }
        let unset = self.fields.iter().flat_map(|field| field.unset.iter().flat_map(Text::slots));
        if let Some(slot) = unset.into_iter().find(|slot| !ENVELOPE.contains(&slot.name.as_str())) {
            return Err(format!("`unset` holds `{}`, which is no part of a delivery", slot.name));
        }
        if let Some(field) = self.fields.iter().find(|field| field.unset.is_some() && (field.required || field.default.is_some())) {
            return Err(format!("`{}` has `unset`, which nothing ever needs", field.name));
        }
        if let Some(field) = self.fields.iter().find(|field| field.texts.is_some() && field.escape.within_json().is_none()) {
            return Err(format!("`{}` has `texts`, and its `escape` says nothing of the texts in a JSON", field.name));
        }
        let constant = |field: &&PresetField| field.default.as_ref().is_some_and(|text| !text.contains("{{"));
        let rules = crate::field::rules(Some(self));
        for field in self.fields.iter().filter(constant) {
            let rule = rules.get(&field.name).map_or(Ok(()), |rule| rule.judge(field.default.as_deref().unwrap_or_default()));
            rule.map_err(|misfit| format!("the default of `{}` {}", field.name, misfit.what))?;
        }
        if self.on_unknown == Some(OnUnknown::Hold) && self.otherwise == Means::Retry {
            return Err("it holds what was not answered, and repeats a 2xx that is not `ok`: say what that is in `otherwise`".into());
        }
        if !self.actions.is_empty() && !self.field("action").is_some_and(|f| f.required || f.default.is_some()) {
            return Err("it has actions and no field `action` with a default".into());
        }
        self.proofread_lookups()?;
        self.proofread_tests()
    }

    /// What is asked by is there; and what is not looked up is held.
    fn proofread_lookups(&self) -> Result<(), String> {
        for lookup in &self.lookup.0 {
            // Of one for some settings alone `check` asks, where an output has those.
            let asked = |field: &&PresetField| lookup.of.is_empty() && lookup.slots().any(|slot| slot.name == field.name);
            if let Some(field) = self.fields.iter().filter(asked).find(|field| !field.required) {
                return Err(format!("its lookup asks for `{}`, which nobody has to set", field.name));
            }
            if let Some(name) = lookup.of.keys().find(|name| self.setting(name).is_none()) {
                return Err(format!("its lookup is of `{name}`, which is no setting"));
            }
        }
        let holds = self.on_unknown == Some(OnUnknown::Hold);
        let always = self.lookup.0.iter().any(|lookup| lookup.of.is_empty());
        match (self.lookup.0.is_empty(), always, holds) {
            (false, true, true) => Err("it looks up what it holds: leave out `on_unknown`".into()),
            (false, false, false) => Err("what its lookup is not for is sent twice: write `on_unknown: hold`".into()),
            _ => Ok(()),
        }
    }

    fn proofread_tests(&self) -> Result<(), String> {
        let cases = self.map.iter().chain(self.actions.values().flat_map(|action| &action.map));
        let tests = cases.map(|case| &case.when).chain([&self.ok]).chain(self.actions.values().filter_map(|action| action.ok.as_ref()));
        let tests = tests.chain(self.lookup.0.iter().flat_map(Lookup::tests)).chain(self.batch.iter().flat_map(Batch::tests));
        if let Some(mistake) = tests.into_iter().find_map(Test::mistake) {
            return Err(mistake);
        }
        if let Some(mistake) = self.batch.as_ref().and_then(Batch::mistake) {
            return Err(mistake);
        }
        let pointers = self.batch.iter().flat_map(Batch::pointers).chain(self.lookup.0.iter().flat_map(Lookup::pointers));
        pointers.into_iter().find(|pointer| !is_pointer(pointer)).map_or(Ok(()), |wrong| Err(format!("`{wrong}` is no JSON pointer")))
    }

    fn urls(&self) -> impl Iterator<Item = &Text> {
        self.url
            .iter()
            .chain(self.actions.values().filter_map(|action| action.url.as_ref()))
            .chain(self.lookup.0.iter().map(|lookup| &lookup.url))
    }

    /// L8: the host is made of settings, the path of settings, names and ids; all requests go to one server.
    fn proofread_url(&self, url: &Text, used: &mut Vec<Slot>) -> Result<(), String> {
        let (origin, path) = split(url);
        if origin != split(&self.url()).0 {
            return Err("an action or a lookup is on another server than `url`".into());
        }
        if let Some(slot) = origin.slots().find(|slot| self.setting(&slot.name).is_none() && self.base() != Some(&slot.name)) {
            return Err(format!("`{}` would decide about the server, and is no setting", slot.name));
        }
        let free = |slot: &&Slot| {
            let content = self.field(&slot.name).is_some_and(|field| field.confine == Reach::Content);
            content || slot.name.starts_with("event.") && slot.name != "event.id"
        };
        if let Some(slot) = path.slots().find(free) {
            return Err(format!("`{}` stands in a path: the field needs `confine: name`", slot.name));
        }
        if path.0.iter().any(|piece| matches!(piece, Piece::Literal(text) if text.contains(['?', '#']))) {
            return Err("a URL ends before its `?`: write `query`".into());
        }
        used.extend(url.slots().cloned());
        Ok(())
    }

    /// Every slot outside of URLs.
    fn used(&self, used: &mut Vec<Slot>) {
        let texts = |map: &BTreeMap<String, Text>| map.values().flat_map(Text::slots).cloned().collect::<Vec<_>>();
        let jsons = |json: &Json| {
            let mut found = vec![];
            json.slots(&mut found);
            found.into_iter().cloned().collect::<Vec<_>>()
        };
        used.extend(texts(&self.query).into_iter().chain(texts(&self.headers)));
        used.extend(self.form.iter().flat_map(texts).chain(self.body.iter().flat_map(jsons)));
        used.extend(self.text.iter().flat_map(Text::slots).cloned());
        for action in self.actions.values() {
            used.extend(
                texts(&action.query).into_iter().chain(action.form.iter().flat_map(texts)).chain(action.body.iter().flat_map(jsons)),
            );
        }
        used.extend(self.lookup.0.iter().flat_map(Lookup::slots).cloned());
        used.extend(self.batch.iter().filter_map(|batch| batch.id.as_ref()).flat_map(|id| id.is.slots()).cloned());
        used.extend(self.batch.iter().flat_map(|batch| batch.item.iter().flat_map(jsons)));
        if let Some(auth) = &self.auth {
            tree_slots(auth, &|name| self.setting(name).is_some(), used);
        }
    }

    /// One of its fields.
    pub fn field(&self, name: &str) -> Option<&PresetField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The settings in the texts of a tree.
fn tree_slots(tree: &Value, known: &dyn Fn(&str) -> bool, found: &mut Vec<Slot>) {
    match tree {
        Value::String(text) => found.extend(template::tree_slots(text, known)),
        Value::Object(entries) => entries.values().for_each(|value| tree_slots(value, known, found)),
        Value::Array(items) => items.iter().for_each(|item| tree_slots(item, known, found)),
        _ => {}
    }
}

#[test]
fn every_preset_is_well_written() {
    let presets = all().unwrap();
    assert!(presets.len() >= 3);
    for (preset, (file, _)) in presets.iter().zip(FILES) {
        preset.proofread(file).unwrap_or_else(|what| panic!("presets/{file}.yaml: {what}"));
        assert!(preset.docs.ends_with('.') && !preset.docs.contains('\n') && preset.link.starts_with("https://"), "{file}");
        assert!(preset.example.contains(&format!("type: {file}")), "{file}");
        assert!(preset.settings.iter().all(|setting| setting.docs.ends_with('.')), "{file}");
        assert!(preset.hosts.iter().all(|host| *host == host.to_lowercase()), "{file}");
    }
}

#[test]
fn a_mistake_in_a_preset_is_found() {
    const ROW: &str = "
name: shop
docs: A shop.
link: https://shop.example
example: '{ type: shop }'
settings: [ { name: token, docs: Its token., secret: true }, { name: region, docs: Where. } ]
url: https://{region}.shop.example/v1/{list}
auth: { bearer: '{token}' }
fields: [ { name: list, docs: A list., confine: name }, { name: text, docs: A text. } ]
body: { text: $text }
ok: { json: { /ok: true } }
lookup: { url: 'https://{region}.shop.example/v1/find', found: { status: 200 } }
";
    let read = |text: &str| serde_yaml::from_str::<Preset>(text).map_err(|e| e.to_string()).and_then(|preset| preset.proofread("shop"));
    assert_eq!(read(ROW), Ok(()));
    for (from, to, wrong) in [
        ("name: shop", "name: shopp", "its name is `shopp`"),
        ("$text", "$txt", "it uses `txt`"),
        ("text: $text", "text: constant", "does not use the field `text`"),
        ("'{token}'", "made-up", "does not use the setting `token`"),
        ("confine: name", "confine: content", "`list` stands in a path"),
        ("{region}.shop.example/v1/{list}", "{list}.shop.example/v1/{region}", "`list` would decide about the server"),
        ("v1/find'", "v1/find', query: { a: '{b}' }", "it uses `b`"),
        ("v1/find'", "v1/find', query: { a: '{text}' }", "asks for `text`, which nobody has to set"),
        ("v1/find'", "v1/find', body: { a: $text }", "asks for `text`, which nobody has to set"),
        ("v1/find'", "v1/find', of: { text: a }", "is of `text`, which is no setting"),
        ("v1/find'", "v1/find', of: { region: eu }", "what its lookup is not for is sent twice"),
        ("ok:", "on_unknown: hold\notherwise: unknown\nok:", "it looks up what it holds"),
        ("v1/find'", "v1/find', absent: { json: { a: 1 } }", "no JSON pointer"),
        ("https://{region}.shop.example/v1/find", "https://shop.example/v1/find", "on another server"),
        ("v1/{list}", "v1/{list}/{event.topic}", "`event.topic` stands in a path"),
        ("/ok: true", "ok: true", "no JSON pointer"),
        ("v1/{list}", "v1/{list}?a=b", "before its `?`"),
        ("ok:", "on_unknown: hold\nok:", "repeats a 2xx that is not `ok`"),
        ("fields: [ {", "fields: [ { name: text, docs: A text., default: a, one_of: [b] }, {", "the default of `text`"),
        ("docs: A text.", "docs: A text., unset: '{list}'", "`unset` holds `list`"),
        ("body:", "form: {}\nbody:", "several bodies"),
        ("ok:", "batch: { max: 2, as: form, item: { a: $text } }\nok:", "no `names` with `{n}`"),
        ("ok:", "batch: { max: 2, names: 'a.{n}.' }\nok:", "`names` is for forms"),
        ("docs: A text.", "docs: A text., texts: { most: 9, each: {} }", "`text` has `texts`"),
        ("text: $text", "text: { $if: $txt, then: $text }", "it uses `txt`"),
        ("text: $text", "text: { $if: yes, then: $text }", "`$if` takes a name"),
        ("$text", "$text|upper", "no filter `upper`"),
    ] {
        let told = read(&ROW.replacen(from, to, 1)).unwrap_err();
        assert!(told.contains(wrong), "{from} -> {to}: {told}");
    }
}

#[test]
fn a_url_is_cut_after_its_host() {
    for (url, origin, path) in [
        ("https://a.example/v1/{x}", "https://a.example", "/v1/{x}"),
        ("https://{region}.a.example/v1", "https://{region}.a.example", "/v1"),
        ("https://a.example", "https://a.example", ""),
        ("{server}/api/{x}", "{server}", "/api/{x}"),
    ] {
        let (found, rest) = split(&Text::parse(url).unwrap());
        let rest = if path.is_empty() { Text(rest.0).0.is_empty() } else { rest == Text::parse(path).unwrap() };
        assert!(found == Text::parse(origin).unwrap() && rest, "{url}");
    }
}

#[test]
fn the_row_of_the_readme_is_one() {
    let readme = include_str!("../../presets/README.md");
    let row = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("\nconversation:").next()).unwrap();
    let preset: Preset = serde_yaml::from_str(row).unwrap();
    assert_eq!(preset.proofread("parcels"), Ok(()));
}
