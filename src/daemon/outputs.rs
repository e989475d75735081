//! An output's section of the file: delivery's own keys, the settings of its type, and its message templates.

use super::blueprint::unknown;
use crate::deliver::section::{self, DeliverySection, Policy};
use crate::route::OutputMessage;
use ipnet::IpNet;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use switchyard_api::problem::nearest;
use switchyard_api::tls::NamedFiles;
use switchyard_api::tree::{self, Key, Value};
use switchyard_api::{AnyConfig, AnyKind, Node, Problem};

/// An output, ready to connect.
pub struct OutputPlan {
    /// Its name in the file.
    pub name: Arc<str>,
    /// The word after `type:`.
    pub kind: String,
    /// Its settings.
    pub config: Arc<dyn AnyConfig>,
    /// The PEM files it names.
    pub files: NamedFiles,
    /// How it is delivered to.
    pub policy: Arc<Policy>,
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
    for (entry, value) in node.entries().iter().filter(|(entry, _)| entry.name != "type") {
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
    let section = tree::read::<DeliverySection>(&delivery, problems);
    let policy = section.as_ref().and_then(|section| section.build(kind.defaults(), problems));
    let rate_key = section.as_ref().and_then(|section| section.rate.as_ref()?.value.key.clone());
    let order_by = section.and_then(|section| Some(section.order_by?.value.key));
    let before = problems.len();
    let config = kind.read(&settings, problems);
    for problem in problems.iter_mut().skip(before).filter(|p| p.id == "unknown-key" && p.patch.is_none()) {
        suggest(problem, &settings, &fields);
    }
    let name: Arc<str> = key.name.as_str().into();
    let message = OutputMessage {
        name: Arc::clone(&name),
        span: key.span,
        fields,
        message: templates,
        config: config.clone(),
        total: kind.total(),
        order_by,
        rate_key,
    };
    let plan = policy.zip(config).map(|(policy, config)| {
        let fingerprint = fingerprint(kind.name(), &settings, &policy, egress);
        OutputPlan { name, kind: kind.name().to_owned(), config, files: kind.files(&settings), policy: Arc::new(policy), fingerprint }
    });
    (plan, Some(message))
}

fn kind<'k>(key: &Key, node: &Node, kinds: &'k [Arc<dyn AnyKind>], problems: &mut Vec<Problem>) -> Option<&'k Arc<dyn AnyKind>> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let Some(word) = node.get("type") else {
        let title = format!("the output `{}` has no `type`", key.name);
        problems.push(
            Problem::error("missing-key", key.span, title, "of what type?").help(format!("write `type:` and one of: {}", names.join(", "))),
        );
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
