//! What holds, and who says so: every key with its value and where that comes from.

use std::io::Write;

use crate::cli::Failure;
use crate::cli::output::line;
use crate::config::{Config, Origins, settings};

/// Widest column of values; longer ones push their origin to the right.
const VALUE_COLUMN_MAX: usize = 56;

/// Writes the configuration as it is understood. Secrets are shown by their fingerprints.
///
/// # Errors
/// When the output cannot be written.
pub fn print(config: &Config, origins: &Origins, out: &mut dyn Write) -> Result<(), Failure> {
    let settings = settings(config);
    let mut lines: Vec<(String, Option<String>)> = Vec::new();
    let mut above: &[String] = &[];
    for setting in &settings {
        let (key, sections) = setting.path.split_last().expect("a setting has a key");
        let same = above.iter().zip(sections).take_while(|(one, other)| one == other).count();
        for (depth, section) in sections.iter().enumerate().skip(same) {
            lines.push((format!("{}{}:", "  ".repeat(depth), quoted(section)), None));
        }
        above = sections;
        let text = format!("{}{}: {}", "  ".repeat(sections.len()), quoted(key), setting.value);
        lines.push((text, Some(origins.of(config, &setting.path))));
    }
    let fits =
        |(text, origin): &&(String, Option<String>)| origin.is_some() && text.chars().count() <= VALUE_COLUMN_MAX;
    let width = lines.iter().filter(fits).map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    for (text, origin) in lines {
        match origin {
            Some(origin) => line(out, format_args!("{text:width$}  # {origin}"))?,
            None => line(out, text)?,
        }
    }
    Ok(())
}

/// A key as YAML writes it.
fn quoted(key: &str) -> String {
    if key.contains(':') { format!("{key:?}") } else { key.to_owned() }
}
