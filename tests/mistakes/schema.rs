//! The JSON Schema of routes.yaml against the reader of routes.yaml, by a validator as editors have one: what the reader takes fits,
//! and where the reader finds an unknown key, a wrong type or an unknown word the schema does too.

use crate::{GOOD, MISTAKES, Mistake, marked};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use switchyard::config::rules;
use switchyard_api::{Node, tree};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| switchyard::daemon::schema::schema(&switchyard_plugins::kinds()));
static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| jsonschema::draft7::new(&SCHEMA).unwrap());

/// A file as an editor's server sees it: YAML, before `${…}`; `None` where it is no YAML.
fn seen(text: &str) -> Option<Value> {
    let mut problems = vec![];
    let tree = switchyard::config::parse::parse(text, &mut problems)?;
    problems.is_empty().then(|| value(&tree))
}

fn value(node: &Node) -> Value {
    match &node.value {
        tree::Value::Null => Value::Null,
        tree::Value::Bool(truth) => json!(truth),
        tree::Value::Int(number) => json!(*number as i64),
        tree::Value::Float(number) => json!(number.value),
        tree::Value::Text(text) => json!(text.written),
        tree::Value::List(items) => items.iter().map(value).collect(),
        tree::Value::Map(entries) => Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), value(node))).collect()),
    }
}

/// Why a file does not fit.
fn misfits(text: &str) -> Vec<String> {
    let seen = seen(text).unwrap_or_else(|| panic!("no YAML: {text}"));
    VALIDATOR.iter_errors(&seen).map(|error| format!("{} at {}", error, error.instance_path())).collect()
}

#[test]
fn good_files_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = vec![root.join("routes.yaml"), root.join("tests/data/routes.yaml")];
    let examples = std::fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path().join("routes.yaml"));
    files.extend(examples.filter(|path| path.exists()));
    assert!(files.len() > 6, "{files:?}");
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap());
    let right = rules::all().iter().filter_map(|rule| rule.right.clone());
    let wrong: String = texts
        .chain(right)
        .chain([GOOD.to_owned()])
        .filter_map(|text| Some(misfits(&text)).filter(|found| !found.is_empty()).map(|found| format!("######## {text}\n{found:#?}\n")))
        .collect();
    assert!(wrong.is_empty(), "{wrong}");
}

/// What the reader finds by hand, where the schema leaves it open: message fields of a route's target, among which a misspelt `output` cannot be told,
/// and how small a number may be.
const OPEN: &[&str] = &["      - «outptu»: chat\n", "concurrency: «-1»"];

#[test]
fn what_has_unknown_keys_words_or_types_does_not_fit() {
    let told = ["unknown-key", "wrong-type", "unknown-word", "unknown-operator", "unknown-preset"];
    let told = |mistake: &&Mistake| told.contains(&mistake.2) || mistake.2 == "unknown-path" && mistake.0.starts_with("data.");
    let (mut tried, mut wrong) = (0, String::new());
    for mistake in MISTAKES.into_iter().flatten().filter(|mistake| told(mistake) && !OPEN.contains(&mistake.1)) {
        tried += 1;
        if misfits(&marked(mistake).0).is_empty() {
            wrong.extend(["\n", mistake.2, ": ", mistake.1]);
        }
    }
    assert!(tried > 70, "{tried}");
    assert!(wrong.is_empty(), "these fit: {wrong}");
}

#[test]
fn the_schema_is_one_and_the_command_prints_it() {
    jsonschema::meta::validate(&SCHEMA).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_switchyard")).arg("schema").output().unwrap();
    assert!(output.status.success());
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), *SCHEMA);
    assert!(output.stdout.len() < 2 << 20, "{} bytes are much for an editor", output.stdout.len());
}
