//! Sections, drawings of folders and shell commands in Markdown.

/// The part below a heading, up to the next of its kind.
pub fn section(text: &str, heading: &str) -> String {
    let after = text.split_once(heading).map(|(_, after)| after).unwrap_or_default();
    after.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The paths that the drawing of the house names: indented by two for each folder, several names in a line.
pub fn house(block: &str) -> Vec<String> {
    let mut folders: Vec<String> = vec![];
    let mut paths = vec![];
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        folders.truncate(depth);
        for name in line.split_whitespace().take_while(|word| word.ends_with('/') || is_file_name(word)) {
            let path = format!("{}{name}", folders[..depth.min(folders.len())].concat());
            if name.ends_with('/') && folders.len() == depth {
                folders.push(name.to_owned());
            }
            paths.push(path.trim_end_matches('/').to_owned());
        }
    }
    paths
}

fn is_file_name(word: &str) -> bool {
    ["rs", "toml", "yaml", "md"].iter().any(|ending| word.strip_suffix(ending).is_some_and(|stem| stem.ends_with('.')))
}

/// The commands in code blocks for a shell, with their lines.
pub fn commands(text: &str) -> Vec<(usize, String)> {
    let mut found = vec![];
    let (mut inside, mut shell, mut goes_on) = (false, false, false);
    for (number, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside;
            shell = inside && ["sh", "bash", "shell", "console"].contains(&language.trim());
            continue;
        }
        let command = line.trim().trim_start_matches("$ ").trim();
        if inside && shell && !goes_on && !command.is_empty() && !command.starts_with('#') {
            found.push((number + 1, command.to_owned()));
        }
        goes_on = inside && shell && command.ends_with('\\');
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_read_by_its_indentation() {
        let block = "\nCargo.toml   one\nsrc/\n  main.rs  in\n  model/   tells (presets.yaml)\n  deep/\n    x.rs  y\nplugins/\n  file/ console/   one each\n";
        assert_eq!(
            house(block).join(" "),
            "Cargo.toml src src/main.rs src/model src/deep src/deep/x.rs plugins plugins/file plugins/console"
        );
    }

    #[test]
    fn commands_are_found_in_shell_blocks() {
        let text = "```sh\n$ ./run it \\\n   --more\n# no\ncargo test\n```\n```yaml\nx: y\n```\n";
        assert_eq!(commands(text), [(2, "./run it \\".to_owned()), (5, "cargo test".to_owned())]);
    }
}
