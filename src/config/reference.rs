//! The documented files: every key under the comment that explains it. The one place where keys are described.
//!
//! A line of prose begins with `# `, a key that is switched off with `#` alone. Switched on, such a file is also a
//! document in which every key is written, with which the reader can be asked what it accepts.

use std::collections::BTreeMap;

use super::yaml::parse_yaml;
use crate::domain::document::{Content, Node, Place, Report};

/// A documented file, all keys switched on.
pub(super) struct Reference {
    /// The whole document.
    pub root: Node,
    /// What stands above each key that begins a line, by the keys that lead there.
    pub comments: BTreeMap<Vec<String>, Comment>,
}

/// What is said of a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Comment {
    /// Where the key stands; keys are shown in this order.
    pub line: u32,
    /// The prose above it; empty where there is none.
    pub text: String,
    /// Whether the key is in force, not just shown.
    pub in_force: bool,
}

impl Reference {
    /// Reads a documented file.
    ///
    /// # Panics
    /// When it is no YAML once all keys are switched on; the files are compiled in.
    pub(super) fn read(text: &str) -> Self {
        let report = Report::default();
        let switched_on: String = text.lines().map(|line| switch_on(line) + "\n").collect();
        let root = parse_yaml(&switched_on, "reference", &report).filter(|_| report.is_clean());
        let root = root.expect("the compiled-in files are YAML, with all keys switched on, too");
        let mut comments = BTreeMap::new();
        let lines: Vec<&str> = text.lines().collect();
        collect(&root, &mut Vec::new(), &lines, &mut comments);
        Self { root, comments }
    }
}

fn is_prose(line: &str) -> bool {
    let line = line.trim_start();
    line == "#" || line.starts_with("# ")
}

/// The line as it would stand there if the key on it were in force.
fn switch_on(line: &str) -> String {
    let is_key = line.trim_start().starts_with('#') && !is_prose(line);
    line.replacen('#', "", usize::from(is_key))
}

fn collect(node: &Node, path: &mut Vec<String>, lines: &[&str], comments: &mut BTreeMap<Vec<String>, Comment>) {
    match &node.content {
        Content::Map(entries) => {
            for entry in entries {
                path.push(entry.key.clone());
                if let Some(Place::Line { line, column, .. }) = &entry.place {
                    comments.insert(path.clone(), comment(*line, *column, lines));
                }
                collect(&entry.node, path, lines, comments);
                path.pop();
            }
        }
        Content::List(items) => {
            for item in items {
                path.push(ITEM.to_owned());
                collect(item, path, lines, comments);
                path.pop();
            }
        }
        Content::Null | Content::Boolean(_) | Content::Number(_) | Content::Text(_) | Content::Untyped(_) => {}
    }
}

/// Stands in a path for the items of a list.
pub(super) const ITEM: &str = "[]";

/// The prose above a key, if the key is the first on its line.
fn comment(line: u32, column: u32, lines: &[&str]) -> Comment {
    let index = line as usize - 1;
    let switched_on = switch_on(lines[index]);
    let first = switched_on.chars().take(column as usize - 1).all(|char| char == ' ' || char == '-');
    let prose: Vec<&str> = if first {
        let above = lines[..index].iter().rev().take_while(|line| is_prose(line));
        above.map(|line| line.trim_start().trim_start_matches('#').trim()).collect()
    } else {
        Vec::new()
    };
    let text = prose.into_iter().rev().collect::<Vec<_>>().join(" ");
    Comment { line, text, in_force: switched_on == lines[index] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_prose_above_it() {
        let reference = Reference::read(
            "# About the file.\n\nlog:\n  # How it looks,\n  # in words.\n  format: json\n  # Off.\n  #level: { a: 1 }\n  \
             #list:\n    # Each.\n    #- one: 1\n      #two: 2\n",
        );
        let comment = |path: &str| {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            reference.comments[&path].clone()
        };
        assert_eq!(comment("log").text, "");
        assert_eq!(
            comment("log.format"),
            Comment { line: 6, text: "How it looks, in words.".to_owned(), in_force: true }
        );
        assert_eq!(comment("log.level"), Comment { line: 8, text: "Off.".to_owned(), in_force: false });
        assert_eq!(comment("log.level.a").text, "", "it is not the first on its line");
        assert_eq!(comment("log.list.[].one").text, "Each.");
        assert_eq!(comment("log.list.[].two").text, "");
    }
}
