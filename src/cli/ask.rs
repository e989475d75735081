//! Asking a person before something is done that cannot be taken back.

use std::io::{BufRead, IsTerminal, Write};

/// Whether the person at the terminal says yes to `question`. Without a terminal there is nobody to ask.
///
/// # Errors
/// There is nobody: says `unasked`.
pub fn confirmed(question: &str, unasked: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("{unasked}");
    }
    let mut out = std::io::stderr();
    write!(out, "{question} [y/N] ")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
