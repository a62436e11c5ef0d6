//! Campaign files.

use serde_json::Value;

use super::yaml::parse_yaml;
use crate::domain::campaign::Definition;
use crate::domain::definition::{NAME_CHARS_MAX, read_definition};
use crate::domain::document::{Cursor, Node, Problems, Report};

/// Most campaigns in one file.
const CAMPAIGNS_MAX: usize = 1_000;

/// Reads a campaign file: names with their definitions, as written (the content of `campaign.definition`) and checked.
///
/// # Errors
/// All problems of all campaigns in the file.
pub fn parse_campaign_file(text: &str, file_name: &str) -> Result<Vec<(String, Value, Definition)>, Problems> {
    let report = Report::default();
    let Some(root) = parse_yaml(text, file_name, &report) else {
        return report.finish(None);
    };
    let campaigns = read_file(&Cursor::new(&root, "", &report));
    report.finish(campaigns)
}

pub(super) fn read_file(cursor: &Cursor<'_>) -> Option<Vec<(String, Value, Definition)>> {
    let fields = cursor.fields()?;
    let items = fields.required_like("campaigns", "campaigns: [{ name: spring-renewals, … }]", |cursor| {
        let items = cursor.items()?;
        match items.len() {
            0 => cursor.problem("names no campaign", "config/campaign.example.yaml shows one"),
            1..=CAMPAIGNS_MAX => Some(items),
            _ => cursor.problem(format_args!("must not be more than {CAMPAIGNS_MAX}"), "split the file"),
        }
    });
    fields.close();
    let mut names: Vec<String> = Vec::new();
    let campaigns: Vec<_> = items?
        .into_iter()
        .map(|item| {
            // From here on the name tells people more than the position does.
            let item = match item.node().get("name").map(Node::to_json) {
                Some(Value::String(name)) if name.chars().count() <= NAME_CHARS_MAX => {
                    item.renamed(format!("campaigns[{name}]"))
                }
                Some(_) | None => item,
            };
            item.requires("name");
            let (name, definition) = read_definition(&item)?;
            let Some(name) = name else {
                return item.renamed(format!("{}.name", item.path())).problem("is missing", "give the campaign a name");
            };
            if names.contains(&name) {
                return item.problem(format_args!("the name {name:?} is used twice"), "names are unique: rename one");
            }
            names.push(name.clone());
            let mut value = item.node().to_json();
            if let Some(map) = value.as_object_mut() {
                map.shift_remove("name");
            }
            Some((name, value, definition))
        })
        .collect();
    campaigns.into_iter().collect()
}
