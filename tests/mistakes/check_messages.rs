//! What `switchyard check` says to somebody who made one mistake: each wrong file with the exact place of the smallest wrong
//! piece and the help that mends it, as JSON and as text, by the real binary. No answer may show a secret (L7).

use crate::outputs::{CONSTANT, FILES, METADATA};
use crate::shop::{ENVIRONMENT, Shop};
use crate::{GOOD, MISTAKES, Mistake, marked, one_output};
use serde_json::Value;
use std::thread;

/// What is not as it should be about the answers to one mistake.
fn judge(shop: &Shop, mistake: &Mistake) -> Vec<String> {
    let Mistake(_, _, id, help) = mistake;
    let (text, place) = marked(mistake);
    let output = shop.check(&text, &["--json"]);
    let json = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let (_, told) = shop.report(&text);
    let mut wrong = vec![];
    let found: Vec<Value> = serde_json::from_str(&json).unwrap_or_default();
    match &found[..] {
        [one] => {
            let at = ["line", "column", "end_line", "end_column"].map(|key| one[key].as_u64().unwrap_or(0) as usize);
            if one["id"] != *id {
                wrong.push(format!("the rule is {}, not {id}", one["id"]));
            }
            if place.is_some_and(|place| place != at) {
                wrong.push(format!("the place is {at:?}, not {place:?}"));
            }
            let line = format!("--> routes.yaml:{}:{}\n", at[0], at[1]);
            let says = one["help"].as_str().unwrap_or_default();
            if says.is_empty() || !says.contains(help) {
                wrong.push(format!("the help is {}, without {help}", one["help"]));
            }
            let severity = one["severity"].as_str().unwrap_or_default();
            if mistake.is_a_warning() != (severity == "warning") {
                wrong.push(format!("it is only a {severity}, or more than a warning"));
            }
            // What only `check` itself finds, in files beside this one, has its text tested below.
            let beside = *id == "bad-certificate";
            let same = told.contains(&format!("{severity}[{id}]: ")) && told.contains(&line) && told.contains(says);
            if !beside && !same {
                wrong.push("the text says something else than the JSON".into());
            }
        }
        other => wrong.push(format!("{} problems are told, not one", other.len())),
    }
    for secret in ENVIRONMENT.iter().map(|(_, value)| *value).chain(["hush"]).filter(|secret| !secret.is_empty()) {
        if json.contains(secret) || told.contains(secret) {
            wrong.push(format!("`{secret}` is shown"));
        }
    }
    if wrong.is_empty() { wrong } else { [wrong, vec![told]].concat() }
}

fn all_wrong(mistakes: &[Mistake]) -> String {
    let shop = Shop::open();
    let mut wrong = String::new();
    for mistake in mistakes {
        let found = judge(&shop, mistake);
        if !found.is_empty() {
            wrong.extend(["\n######## ", mistake.1, "\n", &found.join("\n")]);
        }
    }
    wrong
}

#[test]
fn each_mistake_is_told_once_at_its_place_with_what_to_do() {
    let wrong = thread::scope(|scope| {
        let parts = MISTAKES.map(|mistakes| scope.spawn(move || all_wrong(mistakes)));
        parts.into_iter().map(|part| part.join().unwrap()).collect::<String>()
    });
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_file_without_a_mistake_is_good() {
    let shop = Shop::open();
    let output = shop.check(GOOD, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "routes.yaml is good: 4 sources, 2 routes, 3 outputs\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn names_of_headers_and_columns_are_no_secrets_and_are_shown() {
    let shop = Shop::open();
    let table = "table: { type: file, path: t.csv, format: csv, header: [event], columns: { event: \"{{ evnt }}\" } }";
    let text = format!("routes: [{{ name: all, to: table }}]\noutputs:\n  {table}\n");
    let output = shop.check(&text, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("{{ evnt }}") && said.contains("header: [event], columns: { event:"), "{said}");
}

/// Of each destination that has settings that are secret, under whatever name.
#[test]
fn a_literal_secret_of_a_destination_is_not_shown() {
    let shop = Shop::open();
    let mut tried = 0;
    for kind in switchyard_plugins::kinds() {
        for name in kind.secrets() {
            let output = format!("{{ type: {}, {name}: made-up-literal-value, colour: red }}", kind.name());
            let (json, told) = shop.report(&format!("routes: [ {{ name: a, to: far }} ]\noutputs:\n  far: {output}\n"));
            assert!(told.contains("colour: red"), "{told}");
            assert!(
                !told.contains("made-up-literal") && !json.to_string().contains("made-up-literal"),
                "{}, `{name}`: {told}",
                kind.name()
            );
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn a_file_that_run_could_not_start_with_is_told_by_check_and_by_run() {
    let shop = Shop::open();
    let wrong: String = FILES.iter().filter_map(|(kind, settings)| refused(&shop, kind, settings, "bad-certificate")).collect();
    assert!(wrong.is_empty(), "{wrong}");
    let run = shop.run("run", &[]);
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(!run.status.success() && said.contains("error[bad-certificate]: ") && said.contains("--> routes.yaml:3:"), "{said}");
}

#[test]
fn a_clouds_metadata_service_is_refused_whatever_speaks_to_it() {
    let shop = Shop::open();
    let wrong: String = METADATA.iter().filter_map(|(kind, settings)| refused(&shop, kind, settings, "metadata-url")).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

/// What is not as it should be about the refusal of an output's settings at their marked place.
fn refused(shop: &Shop, kind: &str, settings: &str, id: &str) -> Option<String> {
    let column = format!("  o: {{ type: {kind}, {settings}").chars().take_while(|c| *c != '«').count() + 1;
    let output = shop.check(&one_output(kind, settings), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    let good = !output.status.success() && said.contains(&format!("error[{id}]: ")) && said.contains(&format!("routes.yaml:3:{column}\n"));
    (!good).then(|| format!("{kind}: {settings}\n{said}\n"))
}

#[test]
fn what_is_the_same_for_every_event_and_cannot_be_sent_is_told() {
    let shop = Shop::open();
    let wrong: String = CONSTANT.iter().filter_map(|(kind, settings, id)| refused(&shop, kind, settings, id)).collect();
    assert!(wrong.is_empty(), "{wrong}");
}
