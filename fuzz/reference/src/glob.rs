//! The meaning of a topic glob: `*` within dots, `**` across them, `?` one character that is no dot, all else itself.

/// Whether the topic is one that the glob means: every rest of the glob is tried at every rest of the topic, from the last to the first.
pub fn matches(glob: &str, topic: &str) -> bool {
    let (glob, topic): (Vec<char>, Vec<char>) = (glob.chars().collect(), topic.chars().collect());
    let mut fits = vec![vec![false; topic.len() + 1]; glob.len() + 1];
    for from in (0..=glob.len()).rev() {
        for at in (0..=topic.len()).rev() {
            let next = topic.get(at);
            let longer = at < topic.len() && fits[from][at + 1];
            fits[from][at] = match &glob[from..] {
                [] => next.is_none(),
                ['*', '*', ..] => fits[from + 2][at] || longer,
                ['*', ..] => fits[from + 1][at] || (next != Some(&'.') && longer),
                ['?', ..] => next.is_some_and(|next| *next != '.') && fits[from + 1][at + 1],
                [letter, ..] => next == Some(letter) && fits[from + 1][at + 1],
            };
        }
    }
    fits[0][0]
}
