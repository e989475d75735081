//! The subscriptions of an account: listed, made and removed, by what its API says that it has.

use super::There;
use super::api::{Api, NoAnswer};
use super::found::{self, EVENTS, TEMPLATE, URL, check_words, needed, root};
use super::schema::{self, Field, Input, Operation, Type, operation, type_of};
use serde_json::{Map, Value, json};

/// Subscriptions asked for at a time, and how often: no account has more than 5,000.
const PAGE: u32 = 100;
const PAGES_MAX: usize = 50;
/// Where a list may stand that is none of the queries themselves.
const HOLDERS: [&str; 6] = ["account", "viewer", "me", "shop", "app", "currentAccount"];

/// An account at an API.
pub struct Account<'t> {
    api: Api,
    there: &'t There,
    queries: Type,
    mutations: Type,
}

/// A subscription as it is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    pub id: String,
    pub url: Option<String>,
    pub events: Vec<String>,
    /// All that the API shows of it.
    pub whole: Value,
}

/// What is to be subscribed to.
#[derive(Debug)]
pub struct Wanted<'w> {
    pub url: &'w str,
    pub events: &'w [String],
    pub template: Option<&'w str>,
    /// More inputs, by name.
    pub more: &'w [(String, String)],
}

/// A change that is ready to be made.
#[derive(Debug)]
pub struct Change {
    field: String,
    /// The id of the subscription that it removes because another takes its place.
    pub replaced: Option<String>,
    pub operation: Operation,
    /// The list in its answer that says what was wrong, and what else it is asked for.
    errors: Option<String>,
}

impl Change {
    /// The removal of a subscription because another takes its place.
    pub fn replacing(self, id: &str) -> Self {
        Change { replaced: Some(id.to_owned()), ..self }
    }
}

impl<'t> Account<'t> {
    pub async fn open(api: Api, there: &'t There) -> anyhow::Result<Self> {
        let (queries, mutations) = schema::roots(&api).await?;
        Ok(Account { api, there, queries, mutations })
    }

    /// All subscriptions.
    pub async fn list(&self) -> anyhow::Result<Vec<Subscription>> {
        let (holder, field) = self.list_field().await?;
        let listed = type_of(&self.api, field.of.named()).await?;
        let inner = |name: &str| listed.fields().iter().find(|field| field.name == name);
        let (path, node): (&[&str], Type) = match (inner("nodes"), inner("edges")) {
            (Some(nodes), _) => (&["nodes"], type_of(&self.api, nodes.of.named()).await?),
            (None, Some(edges)) => {
                let edge = type_of(&self.api, edges.of.named()).await?;
                let node = edge.fields().iter().find(|field| field.name == "node").map(|node| node.of.named().to_owned());
                let node = node.ok_or_else(|| anyhow::anyhow!("not found: what `{}` lists", field.name))?;
                (&["edges", "node"], type_of(&self.api, &node).await?)
            }
            (None, None) => (&[], listed.clone()),
        };
        let leaves = node.leaves().join(" ");
        let pages = if inner("pageInfo").is_some() { " pageInfo { hasNextPage endCursor }" } else { "" };
        let selection = match path {
            [] => format!("{{ {leaves} }}"),
            ["nodes"] => format!("{{ nodes {{ {leaves} }}{pages} }}"),
            _ => format!("{{ edges {{ node {{ {leaves} }} }}{pages} }}"),
        };
        let (mut found, mut after) = (vec![], Value::Null);
        for _ in 0..PAGES_MAX {
            let mut said = self.page(holder.as_deref(), &field, &selection, &after).await?;
            let (items, info) = if path.is_empty() { (said.take(), Value::Null) } else { (said[path[0]].take(), said["pageInfo"].take()) };
            let items = if let Value::Array(items) = items { items } else { vec![items] };
            found.extend(items.into_iter().map(|item| if path.len() == 2 { item["node"].clone() } else { item }).filter(Value::is_object));
            after = info["endCursor"].clone();
            if info["hasNextPage"] != true || after.is_null() {
                break;
            }
        }
        Ok(found.into_iter().map(|whole| self.subscription(whole)).collect())
    }

    async fn page(&self, holder: Option<&str>, field: &Field, selection: &str, after: &Value) -> anyhow::Result<Value> {
        let mut args = Map::new();
        let takes = |name: &str| field.args.iter().any(|arg| arg.name == name);
        if takes("first") {
            args.insert("first".into(), PAGE.into());
        }
        if takes("after") && !after.is_null() {
            args.insert("after".into(), after.clone());
        }
        let Operation { mut document, variables } = operation("query", field, args, selection);
        if let Some(holder) = holder {
            document = document.replacen("{ ", &format!("{{ {holder} {{ "), 1) + " }";
        }
        let mut said = self.api.ask(&document, &variables).await?;
        let mut held = if let Some(holder) = holder { said[holder].take() } else { said };
        Ok(held[&field.name].take())
    }

    /// The query that lists them, or the field of what the account itself is.
    async fn list_field(&self) -> anyhow::Result<(Option<String>, Field)> {
        let missing = match root(&self.queries, "the query that lists webhooks", "--list", &self.there.list, &[]) {
            Ok(field) => return Ok((None, field.clone())),
            Err(missing) => missing,
        };
        for holder in
            self.queries.fields().iter().filter(|field| HOLDERS.contains(&field.name.as_str()) && field.of.is_object() && field.is_free())
        {
            let held = type_of(&self.api, holder.of.named()).await?;
            if let Some(field) = held.fields().iter().find(|field| field.name == self.there.list) {
                return Ok((Some(holder.name.clone()), field.clone()));
            }
        }
        Err(missing)
    }

    fn subscription(&self, whole: Value) -> Subscription {
        let read = |given: Option<&str>, usual: &[&str]| {
            let named = given.into_iter().chain(usual.iter().copied());
            named.into_iter().find_map(|name| whole.get(name).filter(|value| !value.is_null())).cloned()
        };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let events = match read(self.there.events_field.as_deref(), &EVENTS) {
            Some(Value::Array(events)) => events.iter().map(text).collect(),
            Some(event) => vec![text(&event)],
            None => vec![],
        };
        let url = read(self.there.url_field.as_deref(), &URL).map(|url| text(&url));
        Subscription { id: text(&whole["id"]), url, events, whole }
    }

    /// Whether a subscription has the template that is wanted; one that the API does not show is taken for it.
    pub fn has_template(&self, one: &Subscription, template: Option<&str>) -> bool {
        let mut named = self.there.template_field.as_deref().into_iter().chain(TEMPLATE);
        let shown = named.find_map(|name| one.whole.get(name)?.as_str());
        template.zip(shown).is_none_or(|(wanted, shown)| wanted == shown)
    }

    /// What makes those subscriptions that are not `here` already, several where one takes one kind of event; and the ids of those that are.
    pub async fn create(&self, wanted: &Wanted<'_>, here: &[Subscription]) -> anyhow::Result<(Vec<Change>, Vec<String>)> {
        let there = self.there;
        let field = root(
            &self.mutations,
            "the mutation that registers a webhook",
            "--create",
            &there.create,
            &["create", "add", "register", "subscribe"],
        )?;
        let (wrapped, inputs) = self.inputs(field).await?;
        let url = needed(&inputs, there.url_field.as_deref(), &URL, "--url-field", "the input for the address")?;
        let events = needed(&inputs, there.events_field.as_deref(), &EVENTS, "--events-field", "the input for the kinds of events")?;
        self.check(events, wanted.events, "kind of event").await?;
        let (mut missing, mut as_wanted) = (vec![], vec![]);
        for set in if events.of.is_list() { vec![wanted.events] } else { wanted.events.chunks(1).collect() } {
            let is_it = |one: &&Subscription| {
                self.has_template(one, wanted.template) && is_same_set(&one.events, set) && !as_wanted.contains(&one.id)
            };
            match here.iter().find(is_it).map(|one| one.id.clone()) {
                Some(id) => as_wanted.push(id),
                None if events.of.is_list() => missing.push(json!(set)),
                None => missing.extend(set.iter().map(|event| json!(event))),
            }
        }
        let values = self.values(&field.name, &inputs, (url, events), wanted, missing.is_empty()).await?;
        let mut changes = vec![];
        for set in missing {
            let mut values = values.clone();
            values.insert(events.name.clone(), set);
            changes.push(self.change(field, wrapped.as_deref(), values).await?);
        }
        Ok((changes, as_wanted))
    }

    /// All inputs of the mutation but the kinds of events.
    async fn values(
        &self,
        mutation: &str,
        inputs: &[Input],
        (url, events): (&Input, &Input),
        wanted: &Wanted<'_>,
        is_unused: bool,
    ) -> anyhow::Result<Map<String, Value>> {
        let there = self.there;
        let mut values = Map::from_iter([(url.name.clone(), Value::from(wanted.url))]);
        if let Some(template) = wanted.template {
            let input = needed(inputs, there.template_field.as_deref(), &TEMPLATE, "--template-field", "the input for --template")?;
            self.check(input, &[template.to_owned()], "template").await?;
            values.insert(input.name.clone(), template.into());
        }
        for (name, value) in wanted.more {
            let input = needed(inputs, Some(name), &[], "--set", "an input of that name")?;
            let value = if input.of.named() == "String" || input.of.named() == "ID" {
                value.as_str().into()
            } else {
                serde_json::from_str(value).unwrap_or_else(|_| value.as_str().into())
            };
            values.insert(input.name.clone(), value);
        }
        let missing: Vec<Input> = inputs
            .iter()
            .filter(|input| input.is_required() && input.name != events.name && !values.contains_key(&input.name))
            .cloned()
            .collect();
        if !missing.is_empty() && !is_unused {
            anyhow::bail!("`{mutation}` needs more: {}; give each with --set NAME=VALUE", found::names(&missing));
        }
        Ok(values)
    }

    /// What removes a subscription.
    pub async fn remove(&self, id: &str) -> anyhow::Result<Change> {
        let field = root(
            &self.mutations,
            "the mutation that removes a webhook",
            "--delete",
            &self.there.delete,
            &["delete", "remove", "unsubscribe"],
        )?;
        let (wrapped, inputs) = self.inputs(field).await?;
        let input = needed(&inputs, None, &["id", "webhookId"], "--delete", "the input for the id")?;
        let values = Map::from_iter([(input.name.clone(), Value::from(id))]);
        self.change(field, wrapped.as_deref(), values).await
    }

    /// What a mutation takes: the fields of its one input, with the argument's name, or its arguments.
    async fn inputs(&self, field: &Field) -> anyhow::Result<(Option<String>, Vec<Input>)> {
        match field.args.iter().find(|arg| arg.of.is_input()) {
            Some(arg) => Ok((Some(arg.name.clone()), type_of(&self.api, arg.of.named()).await?.inputs().to_vec())),
            None => Ok((None, field.args.clone())),
        }
    }

    async fn check(&self, input: &Input, asked: &[String], what: &str) -> anyhow::Result<()> {
        let of = type_of(&self.api, input.of.named()).await?;
        // A text may be anything: the API says what it does not know.
        if of.kind == "ENUM" { check_words(&of.words(), asked, what) } else { Ok(()) }
    }

    /// The mutation with all that its answer can say: what was wrong, and what is there now.
    async fn change(&self, field: &Field, wrapped: Option<&str>, values: Map<String, Value>) -> anyhow::Result<Change> {
        let args = match wrapped {
            Some(name) => Map::from_iter([(name.to_owned(), Value::Object(values))]),
            None => values,
        };
        let (mut parts, mut errors) = (vec![], None);
        if field.of.is_object() {
            let payload = type_of(&self.api, field.of.named()).await?;
            parts.extend(payload.leaves().iter().map(ToString::to_string));
            for inner in payload.fields().iter().filter(|inner| inner.of.is_object() && inner.is_free()) {
                let of = type_of(&self.api, inner.of.named()).await?;
                let leaves = of.leaves();
                if inner.of.is_list() && leaves.contains(&"message") {
                    errors = Some(inner.name.clone());
                } else if inner.of.is_list() || !leaves.contains(&"id") {
                    continue;
                }
                parts.push(format!("{} {{ {} }}", inner.name, leaves.join(" ")));
            }
        }
        let selection = if parts.is_empty() { String::new() } else { format!("{{ {} }}", parts.join(" ")) };
        Ok(Change { field: field.name.clone(), replaced: None, operation: operation("mutation", field, args, &selection), errors })
    }

    /// Makes a change; what the API says is there now.
    pub async fn make(&self, change: &Change) -> anyhow::Result<Value> {
        let mut said = self.api.ask(&change.operation.document, &change.operation.variables).await?;
        let mut answer = said[&change.field].take();
        let errors = change.errors.as_ref().and_then(|errors| answer.get_mut(errors)).map(Value::take);
        match errors {
            Some(Value::Array(errors)) if !errors.is_empty() => Err(NoAnswer::Said(self.api.words(&errors)).into()),
            _ => Ok(answer),
        }
    }
}

/// Whether both have the same kinds of events, in whatever order.
fn is_same_set(one: &[String], other: &[String]) -> bool {
    one.iter().all(|event| other.contains(event)) && other.iter().all(|event| one.contains(event))
}
