//! The rules of the configuration as data: what a problem's id means, why it is a problem, and a file that breaks it beside
//! one that does not.
//!
//! `rules.yaml` is the one list: `check --explain`, docs/problems.md and the tests read it. Proven by tests/mistakes/rules.rs: every id
//! that the code uses is in here, each wrong file breaks exactly its own rule, and each right file is good.

use serde::Deserialize;
use std::fmt::Write;
use std::sync::LazyLock;
use switchyard_api::problem::nearest;

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its stable name, as in `error[unknown-key]`.
    pub id: String,
    /// What is wrong, in one line.
    pub title: String,
    /// Why that is a problem, and what there is to know.
    pub why: String,
    /// A file that breaks it and nothing else; none where no text alone does.
    pub wrong: Option<String>,
    /// The same without the mistake.
    pub right: Option<String>,
}

/// All rules, by id.
pub fn all() -> &'static [Rule] {
    // A constant of the program, like a table in the code: a test reads it, so no reader meets a bad one.
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| serde_yaml::from_str(include_str!("rules.yaml")).unwrap_or_default());
    &RULES
}

/// The rule of an id; else the id that was most likely meant.
pub fn named(id: &str) -> Result<&'static Rule, Option<&'static str>> {
    all().iter().find(|rule| rule.id == id).ok_or_else(|| nearest(id, all().iter().map(|rule| rule.id.as_str())))
}

impl Rule {
    /// Its page, for a terminal.
    pub fn page(&self) -> String {
        let mut page = format!("{}: {}\n\n{}\n", self.id, self.title, self.why);
        for (word, file) in [("Wrong", &self.wrong), ("Right", &self.right)] {
            if let Some(file) = file {
                let _ = write!(page, "\n{word}:\n\n");
                file.lines().for_each(|line| page.extend(["    ", line, "\n"]));
            }
        }
        page
    }

    fn markdown(&self) -> String {
        let mut out = format!("## {}\n\n{}. {}\n", self.id, capital(&self.title), self.why);
        for (word, file) in [("wrong", &self.wrong), ("right", &self.right)] {
            if let Some(file) = file {
                let _ = write!(out, "\n```yaml\n# {word}\n{}\n```\n", file.trim_end());
            }
        }
        out
    }
}

/// docs/problems.md.
pub fn document() -> String {
    let intro = "# Problems, rule by rule\n\n`switchyard check` names the rule behind each problem, as in `error[unknown-key]`, and in `--json` as `id`; ids stay what they are. \
                 `switchyard check --explain ID`\nprints what stands here. A file that `check` refuses is one that `run` and a reload refuse. This page is made of \
                 `src/config/rules.yaml`.\n";
    all().iter().fold(intro.to_owned(), |page, rule| page + "\n" + &rule.markdown())
}

/// With a capital letter at its beginning, unless that is code.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_stand_in_order_and_each_once() {
        assert!(all().len() > 100);
        for pair in all().windows(2) {
            assert!(pair[0].id < pair[1].id, "`{}` stands before `{}`", pair[0].id, pair[1].id);
        }
        for rule in all() {
            assert!(rule.title.len() < 90 && !rule.title.ends_with('.') && rule.why.ends_with('.'), "{}", rule.id);
            assert_eq!(rule.wrong.is_some(), rule.right.is_some(), "{}", rule.id);
        }
    }

    #[test]
    fn a_misspelt_id_finds_its_rule() {
        assert_eq!(named("unknown-key").unwrap().id, "unknown-key");
        assert_eq!(named("unkown-key").unwrap_err(), Some("unknown-key"));
        assert_eq!(named("carrier-pigeon").unwrap_err(), None);
    }

    #[test]
    fn a_page_shows_both_files() {
        insta::assert_snapshot!(named("weak-token").unwrap().page(), @r#"
        weak-token: a token that is easily guessed

        Anybody who reaches the port can try tokens all day.

        Wrong:

            server: { admin: { token: "1234" } }

        Right:

            server: { admin: { token: "${ADMIN_TOKEN}" } }
        "#);
    }
}
