//! An output's section of the file: delivery's own keys, the settings of its type, and its message templates.

use super::blueprint::unknown;
use crate::deliver::section::{self, DeliverySection, Policy};
use crate::hours::Hours;
use crate::route::{By, DIGESTED, Digested, Line, OutputMessage};
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use switchyard_api::problem::nearest;
use switchyard_api::tls::NamedFiles;
use switchyard_api::tree::{self, Key, Template, Value};
use switchyard_api::{AnyConfig, AnyKind, Field, Node, Problem, Span};

/// An output, ready to connect.
pub struct OutputPlan {
    /// Its name in the file.
    pub name: Arc<str>,
    /// Where that stands.
    pub at: Span,
    /// The word after `type:`.
    pub kind: String,
    /// Its settings.
    pub config: Arc<dyn AnyConfig>,
    /// The PEM files it names.
    pub files: NamedFiles,
    /// How it is delivered to.
    pub policy: Arc<Policy>,
    /// When its deliveries may go; `None`: always.
    pub hours: Option<Arc<Hours>>,
    /// How late a delivery may be before people are told.
    pub late_after: Duration,
    /// Changes when the settings change: a new connection is needed.
    pub fingerprint: u64,
}

/// Reads one output. The message comes back even where the rest is wrong, so that routes to it are checked all the same.
pub fn read(
    key: &Key,
    node: &Node,
    kinds: &[Arc<dyn AnyKind>],
    egress: &[IpNet],
    problems: &mut Vec<Problem>,
) -> (Option<OutputPlan>, Option<OutputMessage>) {
    if !matches!(node.value, Value::Map(_)) {
        let title = format!("the output `{}` holds {}, not its settings", key.name, node.kind());
        let problem = Problem::error("wrong-type", node.span, title, "here");
        problems.push(problem.help(format!("write `{}: {{ type: file, path: … }}`", key.name)));
        return (None, None);
    }
    let Some(kind) = kind(key, node, kinds, problems) else { return (None, None) };
    let fields = kind.fields();
    let (mut delivery, mut settings, mut templates) = (vec![], vec![], vec![]);
    for (entry, value) in node.entries().iter().filter(|(entry, _)| !["type", "hours"].contains(&entry.name.as_str())) {
        let pair = (entry.clone(), value.clone());
        if section::KEYS.contains(&entry.name.as_str()) {
            delivery.push(pair);
        } else if fields.iter().any(|field| field.name == entry.name) {
            templates.push(pair);
        } else {
            settings.push(pair);
        }
    }
    let of = |entries| Node { span: node.span, value: Value::Map(entries) };
    let (delivery, settings) = (of(delivery), of(settings));
    let hours = node.get("hours").map(|hours| Hours::read(hours, problems));
    let section = tree::read::<DeliverySection>(&delivery, problems);
    let late_after = section.as_ref().map(|section| section.late_after(problems));
    let rate_key = section.as_ref().and_then(|section| section.rate.as_ref()?.value.key.clone());
    let before = problems.len();
    let config = kind.read(&settings, problems);
    for problem in problems.iter_mut().skip(before).filter(|p| p.id == "unknown-key" && p.patch.is_none()) {
        suggest(problem, &settings, &fields);
    }
    let defaults = config.as_ref().map(|config| config.defaults()).unwrap_or_default();
    let policy = section.as_ref().and_then(|section| section.build(defaults, problems));
    let on_dead = section.as_ref().and_then(|section| section.on_dead.clone());
    let line = section.and_then(|section| line(section, &fields, key, policy.as_ref(), problems));
    let name: Arc<str> = key.name.as_str().into();
    let message = OutputMessage {
        name: Arc::clone(&name),
        span: key.span,
        fields,
        message: templates,
        config: config.clone(),
        total: kind.total(),
        line,
        rate_key,
        on_dead,
    };
    let plan = hours.map_or(Some(None), |hours| hours.map(|hours| Some(Arc::new(hours))));
    let plan = plan.zip(policy.zip(late_after)).zip(config).map(|((hours, (policy, late_after)), config)| {
        let fingerprint = fingerprint(kind.name(), &settings, &policy, egress);
        let (files, policy) = (kind.files(&settings), Arc::new(policy));
        OutputPlan { name, at: key.span, kind: kind.name().to_owned(), config, files, policy, hours, late_after, fingerprint }
    });
    (plan, Some(message))
}

/// A key that is a value of the event without its braces: one line for all events, and not what was meant.
fn bare_value(what: &str, written: &Template) -> Option<Problem> {
    let bare = ["data.", "headers.", "query."].iter().any(|root| written.text.starts_with(root)) && !written.text.contains(['{', ' ']);
    bare.then(|| {
        let title = format!("`{what}` is the same for every event");
        let problem = Problem::error("constant-key", written.span, title, "not a value of the event");
        problem.help(format!("write `\"{{{{ {} }}}}\"`", written.text))
    })
}

/// What its deliveries stand in line by. What goes together is shown as one text.
fn line(section: DeliverySection, fields: &[Field], output: &Key, policy: Option<&Policy>, problems: &mut Vec<Problem>) -> Option<Line> {
    if let Some(order) = section.order_by {
        problems.extend(bare_value("order_by.key", &order.value.key));
        return Some(Line { by: By::Template("order_by.key", order.value.key), digest: None });
    }
    let digest = section.digest?;
    if !fields.iter().any(|field| field.name == DIGESTED) {
        let title = format!("`{}` has no `text` in which several deliveries could stand", output.name);
        let problem = Problem::error("delivery-digest", digest.span, title, "for chats, mails and the like");
        problems.push(problem.help("take `digest` out; `rate` slows an output down"));
        return None;
    }
    problems.extend(digest.value.by.as_ref().and_then(|by| bare_value("digest.by", by)));
    let by = digest.value.by.map_or(By::All, |by| By::Template("digest.by", by));
    let how = policy.and_then(|policy| policy.digest).map(|digest| Digested { first: digest.first, max: digest.max });
    Some(Line { by, digest: how })
}

fn kind<'k>(key: &Key, node: &Node, kinds: &'k [Arc<dyn AnyKind>], problems: &mut Vec<Problem>) -> Option<&'k Arc<dyn AnyKind>> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let Some(word) = node.get("type") else {
        let title = format!("the output `{}` has no `type`", key.name);
        let other = node.entries().iter().find(|(key, _)| ["kind", "provider", "driver"].contains(&key.name.as_str()));
        let help = match other {
            Some((other, _)) => format!("write `type` for `{}`", other.name),
            None => format!("write `type:` and one of: {}", names.join(", ")),
        };
        problems.push(Problem::error("missing-key", key.span, title, "of what type?").help(help));
        return None;
    };
    let found = word.as_text().and_then(|text| kinds.iter().find(|kind| kind.name() == text));
    if found.is_none() {
        let key = Key { span: word.span, name: word.as_text().unwrap_or_default().to_owned() };
        problems.push(Problem { id: "unknown-word", label: "no such type".into(), ..unknown("type of output", &key, &names) });
    }
    found
}

/// A key that no setting is near to may be one of delivery's own or of the message.
fn suggest(problem: &mut Problem, settings: &Node, fields: &[switchyard_api::Field]) {
    let Some((key, _)) = settings.entries().iter().find(|(key, _)| key.span == problem.at) else { return };
    let all = section::KEYS.iter().copied().chain(fields.iter().map(|field| field.name.as_ref())).chain(["type"]);
    if let Some(name) = nearest(&key.name, all) {
        problem.help = Some(format!("did you mean `{name}`?"));
        problem.patch = Some(name.to_owned());
    }
}

fn fingerprint(kind: &str, settings: &Node, policy: &Policy, egress: &[IpNet]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    add(&mut hash, settings);
    hash.update(format!("{:?}{:?}{:?}{egress:?}", policy.retry_on, policy.reject, policy.timeout));
    let digest = hash.finalize();
    u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
}

fn add(hash: &mut Sha256, node: &Node) {
    match &node.value {
        Value::Text(text) => {
            hash.update([1]);
            hash.update((text.get().len() as u64).to_be_bytes());
            hash.update(text.get());
        }
        Value::List(items) => {
            hash.update([2]);
            hash.update((items.len() as u64).to_be_bytes());
            for item in items {
                add(hash, item);
            }
        }
        Value::Map(entries) => {
            hash.update([3]);
            hash.update((entries.len() as u64).to_be_bytes());
            for (key, value) in entries {
                hash.update((key.name.len() as u64).to_be_bytes());
                hash.update(&key.name);
                add(hash, value);
            }
        }
        plain => hash.update(format!("{plain:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::OnUnknown;

    fn on_unknown(settings: &[(&str, &str)]) -> OnUnknown {
        let span = Span { start: 0, end: 0 };
        let key = |name: &str| Key { span, name: name.to_owned() };
        let entries = settings.iter().map(|(name, text)| (key(name), Node::text(*text))).collect();
        let mut problems = vec![];
        let (plan, _) = read(&key("books"), &Node { span, value: Value::Map(entries) }, &switchyard_plugins::kinds(), &[], &mut problems);
        plan.unwrap_or_else(|| panic!("{problems:?}")).policy.on_unknown
    }

    #[test]
    fn what_a_kind_suggests_is_for_the_settings_that_the_output_has() {
        let vouchers = [("type", "fortnox"), ("client_id", "made-up"), ("client_secret", "made-up"), ("entity", "vouchers")];
        assert_eq!(on_unknown(&vouchers), OnUnknown::Hold);
        assert_eq!(on_unknown(&vouchers[..3]), OnUnknown::Retry);
        assert_eq!(on_unknown(&[&vouchers[..3], &[("on_unknown", "hold")]].concat()), OnUnknown::Hold);
    }
}
