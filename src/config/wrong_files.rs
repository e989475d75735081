//! What a person sees for each mistake: every wrong file with its whole report, judged as a beginner would.

use super::secrets::Environment;
use super::{Report, from_text};
use insta::assert_snapshot;

/// An environment with one secret and one empty variable; no files.
struct Made;
impl Environment for Made {
    fn var(&self, name: &str) -> Option<String> {
        match name {
            "ORDERCHAMP_SECRET" => Some("made-up-signing-key".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }
    fn file(&self, _: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
    fn names(&self) -> Vec<String> {
        vec!["ORDERCHAMP_SECRET".into(), "EMPTY".into()]
    }
}

fn report(text: &str) -> String {
    let file = from_text("routes.yaml", text, &Made);
    Report { file: &file, problems: &file.problems, hidden: &[] }.text(false)
}

#[test]
fn a_tab() {
    assert_snapshot!(report("routes:\n\t- name: a\n"), @r"
    error[syntax]: a tab stands where only spaces may
     --> routes.yaml:2:1
      |
    2 |     - name: a
      | ^ this is a tab
      |
      = help: indent with spaces: replace each tab by two of them

    1 error
    ");
}

#[test]
fn a_tab_before_a_block_text() {
    assert_snapshot!(report("where: >\n\t.data\n"), @r"
    error[syntax]: a tab stands where only spaces may
     --> routes.yaml:2:1
      |
    2 |     .data
      | ^ this is a tab
      |
      = help: indent with spaces: replace each tab by two of them

    1 error
    ");
}

#[test]
fn a_bracket_not_closed_before_the_next_key() {
    assert_snapshot!(report("to: [chat, mail\nname: big\n"), @r"
    error[syntax]: `[` is opened and not closed before the next key, or a comma is missing
     --> routes.yaml:1:5
      |
    1 | to: [chat, mail
      |     ^ opened here
    2 | name: big
      |     - this does not fit inside it
      |
      = help: write `]` where it ends, and commas between its entries

    1 error
    ");
}

#[test]
fn a_bracket_not_closed_at_the_end() {
    assert_snapshot!(report("server: {listen: 127.0.0.1:8080\n"), @r"
    error[syntax]: `{` is opened and never closed
     --> routes.yaml:1:9
      |
    1 | server: {listen: 127.0.0.1:8080
      |         ^ opened here
      |
      = help: write `}` where it ends; a text that begins with `{` is put in quotes

    1 error
    ");
}

#[test]
fn a_bracket_closed_by_the_other_kind() {
    assert_snapshot!(report("to: [chat, mail}\n"), @r"
    error[syntax]: `[` is closed by `}`
     --> routes.yaml:1:16
      |
    1 | to: [chat, mail}
      |     -          ^ `]` is wanted here
      |     |
      |     opened here
      |
      = help: close it with `]`, or put the text in quotes

    1 error
    ");
}

#[test]
fn a_bracket_that_closes_nothing() {
    assert_snapshot!(report("to: chat]\nfrom: ]\n"), @r"
    error[syntax]: this bracket closes nothing
     --> routes.yaml:2:7
      |
    2 | from: ]
      |       ^ no bracket is open here
      |
      = help: remove it, or put the text in quotes: '…'

    1 error
    ");
}

#[test]
fn a_semicolon_for_a_comma() {
    assert_snapshot!(report("retain: {delivered: 3d; dead: 30d}\n"), @r"
    error[syntax]: `{` is opened and not closed before the next key, or a comma is missing
     --> routes.yaml:1:9
      |
    1 | retain: {delivered: 3d; dead: 30d}
      |         ^ opened here       - this does not fit inside it
      |
      = help: write `}` where it ends, and commas between its entries

    1 error
    ");
}

#[test]
fn a_quote_not_closed() {
    assert_snapshot!(report("text: 'New order\nto: chat\n"), @r"
    error[syntax]: a quote is opened and never closed
     --> routes.yaml:1:7
      |
    1 | text: 'New order
      |       ^ opened here
      |
      = help: end the text with `'`; a `'` inside it is written `''`

    1 error
    ");
}

#[test]
fn an_apostrophe_inside_single_quotes() {
    assert_snapshot!(report("text: 'it's new'\n"), @r#"
    error[syntax]: something follows a text that was closed by its quote
     --> routes.yaml:1:11
      |
    1 | text: 'it's new'
      |           ^ the text ended before this
      |
      = help: put the whole text into one pair of quotes; within '…' a `'` is written `''`, within "…" a `"` is written `\"`

    1 error
    "#);
}

#[test]
fn a_regex_in_double_quotes() {
    assert_snapshot!(report("where: \".sku | test(\\\"^\\d+$\\\")\"\n"), @r#"
    error[syntax]: `\d` means nothing in a text in "…"
     --> routes.yaml:1:24
      |
    1 | where: ".sku | test(\"^\d+$\")"
      |                        ^^ unknown escape
      |
    help: put the text in '…', where a backslash is only a backslash; or write `\\` for one
      |
    1 | where: ".sku | test(\"^\\d+$\")"
      |                        +

    1 error
    "#);
}

#[test]
fn a_colon_inside_a_text() {
    assert_snapshot!(report("text: Order: {{ data.number }}\n"), @r"
    error[syntax]: a text with `: ` in it is not in quotes
     --> routes.yaml:1:7
      |
    1 | text: Order: {{ data.number }}
      |       ^^^^^^^^^^^^^^^^^^^^^^^^ read as a key within a value
      |
    help: put it in quotes
      |
    1 - text: Order: {{ data.number }}
    1 + text: 'Order: {{ data.number }}'
      |

    1 error
    ");
}

#[test]
fn a_key_under_a_key_that_has_a_value() {
    assert_snapshot!(report("server: on\n  listen: 127.0.0.1:8080\n"), @r"
    error[syntax]: a key begins where the value above still goes on
     --> routes.yaml:2:3
      |
    1 | server: on
      | ---------- this key has its value on its own line
    2 |   listen: 127.0.0.1:8080
      |   ^^^^^^^^^^^^^^^^^^^^^^ not a key here
      |
      = help: indent both keys alike, or leave nothing behind the upper key's `:`

    1 error
    ");
}

#[test]
fn a_line_without_a_colon_above() {
    assert_snapshot!(report("routes\n  - name: a\nto: chat\n"), @r"
    error[syntax]: a key begins where the value above still goes on
     --> routes.yaml:2:3
      |
    1 | routes
      | ------ this has no `: ` and is read as a text
    2 |   - name: a
      |   ^^^^^^^^^ not a key here
      |
      = help: write `key: value` above, with a space after the colon

    1 error
    ");
}

#[test]
fn a_missing_space_after_a_colon() {
    assert_snapshot!(report("name: a\nto:chat\nfrom: shop\n"), @r"
    error[syntax]: this line is neither `key: value` nor a list entry
     --> routes.yaml:2:1
      |
    2 | to:chat
      | ^^^^^^^ no `: ` in it
      |
    help: write a space after the `:`
      |
    2 | to: chat
      |    +

    1 error
    ");
}

#[test]
fn a_missing_space_after_a_dash() {
    assert_snapshot!(report("to:\n  - chat\n  -mail\n"), @r"
    error[syntax]: this line is neither `key: value` nor a list entry
     --> routes.yaml:3:3
      |
    3 |   -mail
      |   ^^^^^ no `: ` in it
      |
    help: write a space after the `-`
      |
    3 |   - mail
      |    +

    1 error
    ");
}

#[test]
fn a_line_that_is_nothing() {
    assert_snapshot!(report("name: a\nhello\nto: chat\n"), @r"
    error[syntax]: this line is neither `key: value` nor a list entry
     --> routes.yaml:2:1
      |
    2 | hello
      | ^^^^^ no `: ` in it
      |
      = help: write `key: value`; a text over several lines is indented deeper than its key

    1 error
    ");
}

#[test]
fn an_indentation_of_its_own() {
    assert_snapshot!(report("server:\n  listen: 127.0.0.1:8080\n max_body: 1MiB\n"), @r"
    error[syntax]: this line's indentation fits none of the lines above
     --> routes.yaml:3:2
      |
    3 |  max_body: 1MiB
      |  ^^^^^^^^^^^^^^ begins in a column of its own
      |
      = help: begin it in the same column as the keys it belongs to

    1 error
    ");
}

#[test]
fn a_key_of_an_entry_indented_wrongly() {
    assert_snapshot!(report("routes:\n  - name: a\n    to: chat\n   from: shop\n"), @r"
    error[syntax]: a key among the entries of a list
     --> routes.yaml:4:4
      |
    4 |    from: shop
      |    ^^^^^^^^^^ the lines above are list entries
      |
      = help: indent it like the other keys of its entry, or begin a new entry with `- `

    1 error
    ");
}

#[test]
fn a_list_among_keys() {
    assert_snapshot!(report("routes:\n  name: a\n  - name: b\n"), @r"
    error[syntax]: a list entry among keys
     --> routes.yaml:3:3
      |
    3 |   - name: b
      |   ^^^^^^^^^ the lines around are keys
      |
      = help: begin the list behind a key (`to:`), with its entries on the lines below it

    1 error
    ");
}

#[test]
fn a_list_on_its_keys_line() {
    assert_snapshot!(report("to: - chat\n"), @r"
    error[syntax]: a list entry can't begin here
     --> routes.yaml:1:5
      |
    1 | to: - chat
      |     ^ this `-`
      |
      = help: begin the list on the next line, each entry with `- `; a text that begins with `-` is put in quotes

    1 error
    ");
}

#[test]
fn a_dash_inside_brackets() {
    assert_snapshot!(report("to: [- chat]\n"), @r"
    error[syntax]: inside `[…]` and `{…}` entries have no `-`
     --> routes.yaml:1:6
      |
    1 | to: [- chat]
      |      ^ this `-`
      |
      = help: separate entries with commas: `[a, b]`

    1 error
    ");
}

#[test]
fn a_template_without_quotes() {
    assert_snapshot!(report("text: {{ topic }} is new\n"), @r#"
    error[syntax]: a text that begins with `{{` is not in quotes
     --> routes.yaml:1:7
      |
    1 | text: {{ topic }} is new
      |       ^^^^^^^^^^^ read as keys and values
      |
      = help: put the whole text in quotes: "{{ … }}"

    1 error
    "#);
}

#[test]
fn a_glob_that_begins_with_a_star() {
    assert_snapshot!(report("topic: *_PAID\n"), @r"
    error[alias]: `*_PAID` uses a value that no `&_PAID` above gave a name to
     --> routes.yaml:1:8
      |
    1 | topic: *_PAID
      |        ^^^^^^ unknown name
      |
    help: a text that begins with `*` is put in quotes: '*_PAID'
      |
    1 - topic: *_PAID
    1 + topic: '*_PAID'
      |

    1 error
    ");
}

#[test]
fn a_star_alone() {
    assert_snapshot!(report("topic: *\n"), @r"
    error[syntax]: a text can't begin with `*`
     --> routes.yaml:1:8
      |
    1 | topic: *
      |        ^ read as the mark of a name
      |
      = help: put the text in quotes: '*…'

    1 error
    ");
}

#[test]
fn an_operator_for_a_text() {
    assert_snapshot!(report("filter: {data.total: >1000}\n"), @r"
    error[syntax]: a text can't begin with `>`
     --> routes.yaml:1:22
      |
    1 | filter: {data.total: >1000}
      |                      ^ begins here
      |
      = help: put the text in quotes: '…'

    1 error
    ");
}

#[test]
fn an_at_sign() {
    assert_snapshot!(report("to: @duty\n"), @r"
    error[syntax]: a text can't begin with `@`
     --> routes.yaml:1:5
      |
    1 | to: @duty
      |     ^ begins here
      |
      = help: put the text in quotes: '…'

    1 error
    ");
}

#[test]
fn a_comment_inside_a_text() {
    assert_snapshot!(report("text: New # really\n  order\n"), @r"
    error[syntax]: a comment stands in the middle of a text that goes on in the next line
     --> routes.yaml:1:11
      |
    1 | text: New # really
      |           ^ the text is cut by this
      |
      = help: move the comment above the key, or put the text in quotes

    1 error
    ");
}

#[test]
fn a_text_behind_a_block_mark() {
    assert_snapshot!(report("text: |New order\n  of today\n"), @r"
    error[syntax]: behind `|` or `>` nothing may follow on the same line
     --> routes.yaml:1:7
      |
    1 | text: |New order
      |       ^ begins here
      |
      = help: begin the text on the next line, indented; to begin a text with `|` or `>`, put it in quotes

    1 error
    ");
}

#[test]
fn a_tag_for_a_secret() {
    assert_snapshot!(report("secret: !secret shop\n"), @r"
    error[syntax]: `!secret` is a tag, and there are none in this file
     --> routes.yaml:1:9
      |
    1 | secret: !secret shop
      |         ^^^^^^^ unknown tag
      |
      = help: a secret is written ${NAME} or ${file:/path}; a text that begins with `!` is put in quotes

    1 error
    ");
}

#[test]
fn a_second_document() {
    assert_snapshot!(report("name: a\n---\nname: b\n"), @r"
    error[syntax]: a second document begins here
     --> routes.yaml:2:1
      |
    2 | ---
      | ^^^ the first one ended before this
      |
      = help: one file is one configuration: remove the line `---`

    1 error
    ");
}

#[test]
fn a_control_character() {
    assert_snapshot!(report("name: \x07bell\n"), @r#"
    error[syntax]: the control character U+0007 can't stand in the file
     --> routes.yaml:1:7
      |
    1 | name: ␇bell
      |       ^ here, though it may not be seen
      |
      = help: delete it; in a text in "…" it can be written as an escape, such as `\x1b`

    1 error
    "#);
}

#[test]
fn a_merge_of_a_number() {
    assert_snapshot!(report("base: &base 3\nuse: { <<: *base }\n"), @r"
    error[syntax]: `<<` takes keys and values, and this is none
     --> routes.yaml:1:13
      |
    1 | base: &base 3
      |             ^ no keys and values
      |
      = help: merge a value that has keys: `<<: *name`, where `name` was given with `&name`

    1 error
    ");
}

#[test]
fn a_value_within_itself() {
    assert_snapshot!(report("a: &x [*x]\n"), @r"
    error[alias]: a name is used inside its own definition
     --> routes.yaml:1:8
      |
    1 | a: &x [*x]
      |    --  ^^ used here
      |    |
      |    what is used was written here
      |
      = help: a value can't contain itself: write this part out

    1 error
    ");
}

#[test]
fn a_list_as_a_key() {
    assert_snapshot!(report("? [a, b]\n: c\n"), @r"
    error[syntax]: a key must be a word
     --> routes.yaml:1:3
      |
    1 | ? [a, b]
      |   ^ not a word
      |
      = help: write `key: value`; a key that looks like something else is put in quotes

    1 error
    ");
}

#[test]
fn keys_that_stand_twice() {
    assert_snapshot!(report("sources: {shop: {verify: none}}\nroutes: []\nsources: {pay: {verify: none, verify: none}}\n"), @r"
    error[duplicate-key]: the key `sources` stands twice
     --> routes.yaml:3:1
      |
    1 | sources: {shop: {verify: none}}
      | ------- first here
    2 | routes: []
    3 | sources: {pay: {verify: none, verify: none}}
      | ^^^^^^^ again here
      |
      = help: keep one of them: rename or remove the other, or put both contents under one key

    error[duplicate-key]: the key `verify` stands twice
     --> routes.yaml:3:31
      |
    3 | sources: {pay: {verify: none, verify: none}}
      |                 ------        ^^^^^^ again here
      |                 |
      |                 first here
      |
      = help: keep one of them: rename or remove the other, or put both contents under one key

    2 errors
    ");
}

#[test]
fn no_file_content() {
    assert_snapshot!(report("# nothing yet\n"), @r"
    error[empty-file]: the file is empty
     --> routes.yaml:1:1
      |
    1 | # nothing yet
      | ^ nothing is written here
      |
      = help: `switchyard init` writes one to start from

    1 error
    ");
}

#[test]
fn a_list_as_the_file() {
    assert_snapshot!(report("- name: a\n- name: b\n"), @r"
    error[not-keys]: expected keys and values, found a list
     --> routes.yaml:1:1
      |
    1 | - name: a
      | ^ begins here
      |
      = help: begin every line at the left edge with a key, such as `routes:`

    1 error
    ");
}

#[test]
fn one_key_without_its_space() {
    assert_snapshot!(report("routes:[]\n"), @r"
    error[not-keys]: expected keys and values, found a text
     --> routes.yaml:1:1
      |
    1 | routes:[]
      | ^^^^^^^^^ no key
      |
      = help: write a space after the `:`

    1 error
    ");
}

#[test]
fn a_misspelt_variable() {
    assert_snapshot!(report("secret: ${ORDERCHAMP_SECERT}\n"), @r"
    error[unset-variable]: the variable `ORDERCHAMP_SECERT` is not set
     --> routes.yaml:1:9
      |
    1 | secret: ${ORDERCHAMP_SECERT}
      |         ^^^^^^^^^^^^^^^^^^^^ not in the environment
      |
    help: did you mean `${ORDERCHAMP_SECRET}`? that one is set
      |
    1 - secret: ${ORDERCHAMP_SECERT}
    1 + secret: ${ORDERCHAMP_SECRET}
      |

    1 error
    ");
}

#[test]
fn a_variable_that_is_not_set() {
    assert_snapshot!(report("url: 'pg://${PG_USER}:x@db'\n"), @r"
    error[unset-variable]: the variable `PG_USER` is not set
     --> routes.yaml:1:12
      |
    1 | url: 'pg://${PG_USER}:x@db'
      |            ^^^^^^^^^^ not in the environment
      |
      = help: set it where the daemon starts (`export PG_USER=…`), or write a default: `${PG_USER:-…}`

    1 error
    ");
}

#[test]
fn an_empty_variable() {
    assert_snapshot!(report("secret: ${EMPTY}\n"), @r"
    error[unset-variable]: the variable `EMPTY` is empty
     --> routes.yaml:1:9
      |
    1 | secret: ${EMPTY}
      |         ^^^^^^^^ empty in the environment
      |
      = help: set it where the daemon starts (`export EMPTY=…`), or write a default: `${EMPTY:-…}`

    1 error
    ");
}

#[test]
fn two_variables_in_a_block_text() {
    assert_snapshot!(report("a: |\n  first ${ONE}\n  second\n  third ${TWO}\nb: 1\n"), @r"
    error[unset-variable]: the variable `ONE` is not set
     --> routes.yaml:2:9
      |
    2 |   first ${ONE}
      |         ^^^^^^ not in the environment
      |
      = help: set it where the daemon starts (`export ONE=…`), or write a default: `${ONE:-…}`

    error[unset-variable]: the variable `TWO` is not set
     --> routes.yaml:4:9
      |
    4 |   third ${TWO}
      |         ^^^^^^ not in the environment
      |
      = help: set it where the daemon starts (`export TWO=…`), or write a default: `${TWO:-…}`

    2 errors
    ");
}

#[test]
fn a_variable_behind_escapes() {
    assert_snapshot!(report("a: \"caf\\u00e9\\t${ONE}\"\n"), @r#"
    error[unset-variable]: the variable `ONE` is not set
     --> routes.yaml:1:16
      |
    1 | a: "caf\u00e9\t${ONE}"
      |                ^^^^^^ not in the environment
      |
      = help: set it where the daemon starts (`export ONE=…`), or write a default: `${ONE:-…}`

    1 error
    "#);
}

#[test]
fn a_variable_used_by_name() {
    assert_snapshot!(report("base: &token 'x ${ONE}'\na: *token\n"), @r"
    error[unset-variable]: the variable `ONE` is not set
     --> routes.yaml:1:17
      |
    1 | base: &token 'x ${ONE}'
      |                 ^^^^^^ not in the environment
      |
      = help: set it where the daemon starts (`export ONE=…`), or write a default: `${ONE:-…}`

    1 error
    ");
}

#[test]
fn a_secrets_file_that_is_missing() {
    assert_snapshot!(report("secret: ${file:secrets/shop}\n"), @r"
    error[unreadable-secret]: can't read the secret's file `secrets/shop`
     --> routes.yaml:1:9
      |
    1 | secret: ${file:secrets/shop}
      |         ^^^^^^^^^^^^^^^^^^^^ there is no such file
      |
      = help: check the path and its permissions; a relative path starts from this file's folder

    1 error
    ");
}

#[test]
fn a_variable_not_closed() {
    assert_snapshot!(report("secret: ${ORDERCHAMP_SECRET\n"), @r"
    error[wrong-variable]: `${ORDERCHAMP_SECRET` is not a variable
     --> routes.yaml:1:9
      |
    1 | secret: ${ORDERCHAMP_SECRET
      |         ^^^^^^^^^^^^^^^^^^^ no `}` closes it
      |
      = help: write `${NAME}`, `${NAME:-default}` or `${file:/path}`; for a plain `${`, double the dollar: `$${`

    1 error
    ");
}

#[test]
fn a_variable_in_another_programs_form() {
    assert_snapshot!(report("secret: ${env:ORDERCHAMP_SECRET}\nport: ${ PORT:8080 }\n"), @r"
    error[wrong-variable]: `${env:ORDERCHAMP_SECRET}` is not a variable
     --> routes.yaml:1:9
      |
    1 | secret: ${env:ORDERCHAMP_SECRET}
      |         ^^^^^^^^^^^^^^^^^^^^^^^^ a name is letters, digits and `_`
      |
    help: write `${ORDERCHAMP_SECRET}`
      |
    1 - secret: ${env:ORDERCHAMP_SECRET}
    1 + secret: ${ORDERCHAMP_SECRET}
      |

    error[wrong-variable]: `${ PORT:8080 }` is not a variable
     --> routes.yaml:2:7
      |
    2 | port: ${ PORT:8080 }
      |       ^^^^^^^^^^^^^^ a name is letters, digits and `_`
      |
    help: write `${PORT:-8080}`
      |
    2 - port: ${ PORT:8080 }
    2 + port: ${PORT:-8080}
      |

    2 errors
    ");
}

#[test]
fn a_secret_in_a_template() {
    assert_snapshot!(report("text: 'Order {{ data.number }} ${ORDERCHAMP_SECRET}'\n"), @r"
    error[secret-in-template]: secrets are never reachable from templates
     --> routes.yaml:1:32
      |
    1 | text: 'Order {{ data.number }} ${ORDERCHAMP_SECRET}'
      |                                ^^^^^^^^^^^^^^^^^^^^ not replaced in a text with `{{` or `{%`
      |
      = help: use it in a setting of the output; a plain `${ORDERCHAMP_SECRET}` is written `{{ '$' }}{ORDERCHAMP_SECRET}` here

    1 error
    ");
}

#[test]
fn a_file_in_latin_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("routes.yaml");
    std::fs::write(&path, b"# chat\nname: caf\xe9 x\n").unwrap();
    let mut file = super::load(&path, &Made).unwrap();
    file.path = "routes.yaml".into();
    assert_snapshot!(Report { file: &file, problems: &file.problems, hidden: &[] }.text(false), @r#"
    error[encoding]: the file is not UTF-8
     --> routes.yaml:2:10
      |
    2 | name: caf� x
      |          ^ the byte 0xE9 (`é` in Latin-1)
      |
      = help: save the file as UTF-8 in your editor (it may be called "UTF-8 without BOM")

    1 error
    "#);
}

/// A section as a room reads it: the tree's problems in the same report.
#[derive(Debug, PartialEq, serde::Deserialize)]
struct Shop {
    name: String,
    #[serde(default)]
    wait: Option<switchyard_api::Period>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    text: Option<switchyard_api::Template>,
    #[serde(default)]
    to: Vec<String>,
}

/// Reads the map under `shops`, each entry by itself.
fn shops(text: &str) -> String {
    let mut file = from_text("routes.yaml", text, &Made);
    let tree = file.tree.clone().unwrap();
    for (_, shop) in tree.get("shops").unwrap().entries() {
        switchyard_api::tree::read::<Shop>(shop, &mut file.problems);
    }
    Report { file: &file, problems: &file.problems, hidden: &[] }.text(false)
}

#[test]
fn every_problem_of_every_section_is_told_at_once() {
    let text =
        "shops:\n  one: { nmae: a, wait: 5x }\n  two:\n    wait: 10s\n  three: { name: 1.10, port: 70000, to: [a, [b]] }\n  four: text\n";
    assert_snapshot!(shops(text), @r"
    error[unknown-key]: unknown key `nmae`
     --> routes.yaml:2:10
      |
    2 |   one: { nmae: a, wait: 5x }
      |          ^^^^ not a key here
      |
    help: did you mean `name`?
      |
    2 -   one: { nmae: a, wait: 5x }
    2 +   one: { name: a, wait: 5x }
      |

    error[wrong-value]: `5x` is not a time
     --> routes.yaml:2:25
      |
    2 |   one: { nmae: a, wait: 5x }
      |                         ^^ here
      |
      = help: write a number and its unit, such as `500ms`, `5s`, `10m`, `48h` or `3d`

    error[missing-key]: the key `name` is missing
     --> routes.yaml:4:5
      |
    4 |     wait: 10s
      |     ^^^^^^^^^ missing here
      |
      = help: add `name:` beside the keys that are here

    error[wrong-type]: expected a text, found a number
     --> routes.yaml:5:18
      |
    5 |   three: { name: 1.10, port: 70000, to: [a, [b]] }
      |                  ^^^^ here
      |
      = help: put it in quotes

    error[wrong-type]: expected a whole number up to 65535, found a whole number
     --> routes.yaml:5:30
      |
    5 |   three: { name: 1.10, port: 70000, to: [a, [b]] }
      |                              ^^^^^ here
      |
      = help: write a whole number up to 65535

    error[wrong-type]: expected a text, found a list
     --> routes.yaml:5:45
      |
    5 |   three: { name: 1.10, port: 70000, to: [a, [b]] }
      |                                             ^^^ here
      |
      = help: write a text; in quotes anything is one

    error[wrong-type]: expected keys and values, found a text
     --> routes.yaml:6:9
      |
    6 |   four: text
      |         ^^^^ here
      |
      = help: write its keys below it, indented, or as `{ key: value }`

    7 errors
    ");
}

#[test]
fn a_problem_in_a_value_used_by_name_is_told_where_it_is_used() {
    let text = "base: &base { prot: 1, wait: soon }\nshops:\n  one: { name: a, <<: *base }\n  two: *base\n";
    assert_snapshot!(shops(text), @r"
    error[unknown-key]: unknown key `prot`
     --> routes.yaml:3:23
      |
    1 | base: &base { prot: 1, wait: soon }
      |       ----- what is used was written here
    2 | shops:
    3 |   one: { name: a, <<: *base }
      |                       ^^^^^ not a key here
      |
      = help: did you mean `port`?

    error[wrong-value]: `soon` is not a time
     --> routes.yaml:3:23
      |
    1 | base: &base { prot: 1, wait: soon }
      |       ----- what is used was written here
    2 | shops:
    3 |   one: { name: a, <<: *base }
      |                       ^^^^^ here
      |
      = help: write a number and its unit, such as `500ms`, `5s`, `10m`, `48h` or `3d`

    error[unknown-key]: unknown key `prot`
     --> routes.yaml:4:8
      |
    1 | base: &base { prot: 1, wait: soon }
      |       ----- what is used was written here
    ...
    4 |   two: *base
      |        ^^^^^ not a key here
      |
      = help: did you mean `port`?

    error[wrong-value]: `soon` is not a time
     --> routes.yaml:4:8
      |
    1 | base: &base { prot: 1, wait: soon }
      |       ----- what is used was written here
    ...
    4 |   two: *base
      |        ^^^^^ here
      |
      = help: write a number and its unit, such as `500ms`, `5s`, `10m`, `48h` or `3d`

    4 errors
    ");
}

#[test]
fn a_secret_in_a_text_that_is_sent_as_it_is() {
    assert_snapshot!(shops("shops:\n  one: { name: a, text: 'pay ${ORDERCHAMP_SECRET}' }\n"), @r"
    error[secret-in-template]: secrets are never reachable from templates and jq
     --> routes.yaml:2:25
      |
    2 |   one: { name: a, text: 'pay ${ORDERCHAMP_SECRET}' }
      |                         ^^^^^^^^^^^^^^^^^^^^^^^^^^ here
      |
      = help: use it in a setting of the output; a plain `${` is written `{{ '$' }}{` in a template

    1 error
    ");
}

#[test]
fn the_value_of_a_variable_is_not_quoted() {
    assert_snapshot!(shops("shops:\n  one: { name: a, wait: '${ORDERCHAMP_SECRET}' }\n"), @r"
    error[wrong-value]: `${ORDERCHAMP_SECRET}` is not a time
     --> routes.yaml:2:25
      |
    2 |   one: { name: a, wait: '${ORDERCHAMP_SECRET}' }
      |                         ^^^^^^^^^^^^^^^^^^^^^^ here
      |
      = help: write a number and its unit, such as `500ms`, `5s`, `10m`, `48h` or `3d`

    1 error
    ");
}
