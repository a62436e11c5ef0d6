//! Which variables a text for an assistant names.
//!
//! A name stands in braces, one pair or two, with or without spaces inside: `{first_name}`, `{{ first_name }}`. Other
//! braces, those of an example in JSON say, name nothing.

use std::collections::BTreeSet;

/// Longest name taken, in characters.
const NAME_CHARS_MAX: usize = 100;

/// The names, each once, in the order of the alphabet.
pub fn variables_named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        rest = after.trim_start_matches('{');
        // What comes next may begin inside of braces that name nothing: only the brace itself is behind us.
        let Some((inside, _)) = rest.split_once(['{', '}']) else { break };
        let closed = rest[inside.len()..].starts_with('}');
        let name = inside.trim();
        if closed && is_name(name) {
            names.insert(name.to_owned());
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    let inner = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
    text.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && text.chars().all(inner)
        && text.chars().count() <= NAME_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, names: &[&str]) {
        assert_eq!(variables_named(text).iter().map(String::as_str).collect::<Vec<_>>(), names, "{text:?}");
    }

    #[test]
    fn names_stand_in_one_pair_of_braces_or_two() {
        check("Hello {{first_name}}, this is {company}.", &["company", "first_name"]);
        check("{{ first_name }} { last-name } {{{order.id}}}", &["first_name", "last-name", "order.id"]);
        check("{a}{a}{{a}}", &["a"]);
        check("{größe} {_x}", &["_x", "größe"]);
    }

    #[test]
    fn other_braces_name_nothing() {
        check("", &[]);
        check("no braces", &[]);
        check("{} {{}} { } {1} {a b} {\"a\": {\"b\": 1}}", &[]);
        check("{open {inner} and {never closed", &["inner"]);
        check(&format!("{{{}}}", "x".repeat(101)), &[]);
    }
}
