//! The file that `init` writes: sources for senders, outputs for types, a route that joins them.

use super::OWN;
use crate::verify::presets::preset;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use switchyard_api::AnyKind;

/// What a person chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Known senders, or one of one's own.
    pub senders: Vec<String>,
    /// Types of outputs.
    pub outputs: Vec<String>,
}

/// What an example leaves to its user.
const LEFT_OUT: &str = "{…}";

const HEAD: &str = "# Switchyard's configuration: what comes in, where it goes.
#
#   switchyard check            says what is wrong, before it runs
#   switchyard run              starts the daemon; it reloads this file when it changes
#   switchyard explain          says where an event would go, and what its far side would get
#
# Three words: an event comes in from a source, a route decides, an output gets a delivery. `${NAME}` is a variable of the environment.

server:
  listen: 127.0.0.1:8080                  # events arrive here: put what ends TLS in front, or set `tls: { cert, key }`
  admin: { listen: 127.0.0.1:8081 }       # health, metrics, and what `switchyard events`, `dead`, `replay` … talk to

journal:
  url: sqlite:data/journal.db             # every event is here, fsync'd, before its sender hears 200
  retain: { delivered: 3d, dead: 30d }
";

/// The file. All names were found to be there.
pub fn written(wanted: &Wanted, kinds: &[Arc<dyn AnyKind>]) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\nsources:\n");
    let senders = if wanted.senders.is_empty() { vec![OWN.to_owned()] } else { once(&wanted.senders) };
    for sender in &senders {
        source(sender, &mut text);
    }
    let outputs = if wanted.outputs.is_empty() { vec!["console".to_owned(), "file".to_owned()] } else { once(&wanted.outputs) };
    let _ = write!(
        text,
        "
routes:
  - name: everything                      # from any source, any topic; `from`, `topic` and `filter` take less
    to: [{}]
  - name: our-own-trouble                 # what the daemon itself has to say: an output that is down, deliveries that are dead, a full disk
    from: switchyard
    to: {}

outputs:
",
        outputs.iter().map(|output| name_of(output)).collect::<Vec<_>>().join(", "),
        name_of(&outputs[0]),
    );
    for output in &outputs {
        let Some(kind) = kinds.iter().find(|kind| kind.name() == output) else { continue };
        let _ = writeln!(text, "  # {}", kind.docs());
        if kind.example().contains(LEFT_OUT) {
            let _ =
                writeln!(text, "  # `body` is yours to write, in the words of its documentation, with values as `{{{{ data.number }}}}`.");
        }
        let _ = writeln!(text, "  {}: {}", name_of(output), kind.example().replace(LEFT_OUT, "{}"));
    }
    text
}

/// The same with a key for the credentials that change while in use.
pub fn with_vault_key(text: &str) -> String {
    let key = "journal:\n  vault_key: \"${VAULT_KEY}\"               # keeps credentials that change while in use: the output of `openssl rand -base64 32`\n";
    text.replacen("journal:\n", key, 1)
}

fn source(sender: &str, text: &mut String) {
    let name = name_of(sender);
    let variable = name.to_uppercase().replace('-', "_");
    let Some(preset) = preset(sender) else {
        let _ = writeln!(
            text,
            "  {name}:                               # POST /{name}, for a service of your own
    verify: {{ bearer: \"${{{variable}_TOKEN}}\" }}
    topic: {{ json: type }}                 # where its events say what they are about
    id: {{ json: id }}                      # by which a repeat is known"
        );
        return;
    };
    let _ =
        writeln!(text, "  {name}:                             # POST /{name}\n    verify: {sender}                    # {}", preset.docs);
    let _ = writeln!(text, "    secret: \"${{{variable}_SECRET}}\"");
    if preset.verify.signs.as_ref().is_some_and(|signs| signs.value.contains("{url}")) {
        let _ = writeln!(text, "    url: \"https://hooks.example/{name}\"   # as its sender knows it: it is part of what is signed");
    }
}

/// A sender or a type as a name.
fn name_of(word: &str) -> String {
    word.replace('_', "-")
}

/// Each one once, in their order.
fn once(names: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| seen.insert(name.as_str())).cloned().collect()
}

/// The variables that a file has no value for: `${NAME}`, and not `${NAME:-…}`.
pub fn variables(text: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let named = code.flat_map(|line| line.split("${").skip(1)).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let plain = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
    named.filter(plain).filter(|name| seen.insert((*name).to_owned())).map(str::to_owned).collect()
}
