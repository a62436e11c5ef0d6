//! The committed JSON Schemas: what the program prints, complete, explained, and never stricter than the reader.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use outdial::config::{
    self, DURATION_PATTERN, Sources, campaign_schema, config_schema, parse_campaign_file, parse_yaml,
};
use outdial::domain::document::{Report, parse_duration};
use serde_json::{Map, Value, json};

#[path = "support/mutations.rs"]
mod mutations;

use mutations::{loadable, mutations, switched_on};

#[test]
fn what_is_committed_is_what_is_generated() {
    for (file, schema) in [("outdial", config_schema()), ("campaign", campaign_schema())] {
        let path = format!("config/{file}.schema.json");
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == format!("{schema:#}\n"), "{path} is not what is generated: run make schema");
    }
}

// ---- A reader of schemas: just what ours say, and a panic for anything else ----------------------------------------

/// Everything in which a value does not fit a schema.
fn misfits(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let schema = match schema {
        Value::Bool(true) => return Vec::new(),
        Value::Bool(false) => return vec![format!("{path} is not known")],
        Value::Object(schema) => schema,
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => panic!("{path}: not a schema: {schema}"),
    };
    let mut found = Vec::new();
    for (word, rule) in schema {
        match word.as_str() {
            "$schema" | "title" | "description" | "default" | "examples" => {}
            "type" => {
                let types = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !types.iter().any(|name| has_type(value, name.as_str().unwrap())) {
                    found.push(format!("{path} is not {rule}: {value}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => found.push(format!("{path} is none of {rule}")),
            "enum" => {}
            "anyOf" => {
                if rule.as_array().unwrap().iter().all(|kind| !misfits(kind, value, path).is_empty()) {
                    found.push(format!("{path} is nothing of {rule}"));
                }
            }
            "minimum" if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) => {
                found.push(format!("{path} is below {rule}"));
            }
            "maximum" if value.as_f64().is_some_and(|number| number > rule.as_f64().unwrap()) => {
                found.push(format!("{path} is above {rule}"));
            }
            "minLength" if chars(value).is_some_and(|chars| chars < rule.as_u64().unwrap()) => {
                found.push(format!("{path} is too short"));
            }
            "maxLength" if chars(value).is_some_and(|chars| chars > rule.as_u64().unwrap()) => {
                found.push(format!("{path} is too long"));
            }
            "minimum" | "maximum" | "minLength" | "maxLength" => {}
            "pattern" => {
                assert_eq!(rule, DURATION_PATTERN, "the only pattern there is");
                if value.as_str().is_some_and(|text| !is_duration(text)) {
                    found.push(format!("{path} is no duration"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(misfits(rule, item, &format!("{path}[{index}]")));
                }
            }
            "required" => {
                let missing =
                    |key: &&Value| value.as_object().is_some_and(|map| !map.contains_key(key.as_str().unwrap()));
                found.extend(rule.as_array().unwrap().iter().filter(missing).map(|key| format!("{path} lacks {key}")));
            }
            "properties" => {}
            "additionalProperties" => {
                let none = Map::new();
                let properties = schema.get("properties").map_or(&none, |properties| properties.as_object().unwrap());
                for (key, value) in value.as_object().into_iter().flatten() {
                    found.extend(misfits(properties.get(key).unwrap_or(rule), value, &format!("{path}.{key}")));
                }
            }
            _ => panic!("{path}: {word} is not known"),
        }
    }
    found
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => panic!("{name} is no type"),
    }
}

fn chars(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

/// What the pattern says, written once more: each unit once, the largest first.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim();
    for unit in ['d', 'h', 'm', 's'] {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0
            && let Some(after) = rest[digits..].strip_prefix(unit)
        {
            rest = after;
        }
    }
    rest.is_empty()
}

#[test]
fn the_reader_of_schemas_finds_what_does_not_fit() {
    let schema = config_schema();
    let misfits = |value: Value| misfits(&schema, &value, "").len();
    assert_eq!(misfits(json!({})), 0);
    assert_eq!(misfits(json!({"log": {"level": "debug"}, "person": null})), 0);
    for wrong in [
        json!([]),
        json!({"logs": {}}),
        json!({"log": {"level": "loud"}}),
        json!({"log": {"lvl": "info"}}),
        json!({"person": {"calls_per_day": 0}}),
        json!({"person": {"calls_per_day": "3"}}),
        json!({"person": {"min_gap_between_campaigns": "4 hours"}}),
        json!({"person": {"min_gap_between_campaigns": 4}}),
        json!({"person": {"day": "civil"}}),
        json!({"person": {"day": {"tz": "Europe/Berlin"}}}),
        json!({"accounts": {"main": {"provider": "famulour"}}}),
        json!({"accounts": {"main": {"limits": {"calls_per_min": 3}}}}),
        json!({"accounts": {"main": {"assistants": [{"id": "a"}]}}}),
    ] {
        assert!(misfits(wrong.clone()) > 0, "{wrong}");
    }
    let durations =
        ["90s", "15m", "2h", "1d", "1h30m", " 1d2h3m4s ", "30m1h", "1h1h", "h", "5", "-1h", "1.5h", "2 hours"];
    for text in durations {
        assert_eq!(is_duration(text), parse_duration(text).is_ok(), "{text}");
    }
}

// ---- Complete and explained ----------------------------------------------------------------------------------------

/// Every key below a schema, with the schema of its value.
fn keys(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    for kind in schema["anyOf"].as_array().into_iter().flatten() {
        keys(kind, path, visit);
    }
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        visit(&path, value);
        keys(value, &path, visit);
    }
    for (word, segment) in [("additionalProperties", ".*"), ("items", "[]")] {
        if schema[word].is_object() {
            keys(&schema[word], &format!("{path}{segment}"), visit);
        }
    }
}

#[test]
fn every_key_is_explained_and_says_what_it_takes() {
    for schema in [config_schema(), campaign_schema()] {
        keys(&schema, "", &mut |path, schema| {
            // What a day is explains its zone.
            let explained = path.ends_with(".day.zone") || schema["description"].is_string();
            // The options of an assistant's calls are those of its account, and explained there.
            assert!(explained || path.contains(".assistants[].call."), "{path} has no description");
            assert!(["type", "anyOf"].iter().any(|word| schema.get(word).is_some()), "{path} takes anything: {schema}");
        });
    }
}

/// Where a key is explained that stands in several places: what is said at the first holds for all.
fn documented(path: &str) -> String {
    if path.ends_with(".day.zone") {
        return path.trim_end_matches(".zone").to_owned();
    }
    let path = path.replace(".assistants[].call.", ".call.");
    // After which outcomes is told apart by the retry rules, which all have the same keys.
    ["busy", "failed", "voicemail"].iter().fold(path, |path, word| path.replace(&format!(".{word}."), ".no_answer."))
}

/// Every path of keys in a document, whatever its accounts are called.
fn paths(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    written(document, "", &mut found);
    let accounts = ["famulor-main", "happyrobot-v1", "happyrobot-v2", "crm"];
    let any = |path: String| accounts.iter().fold(path, |path, name| path.replace(&format!(".{name}"), ".*"));
    found.into_iter().map(any).collect()
}

/// Every path of keys in a document; items of lists are `[]`.
fn written(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{path}.{key}");
                found.insert(path.clone());
                written(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| written(item, &format!("{path}[]"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_key_of_the_schemas_stands_in_the_documented_file_which_is_read() {
    for (file, schema) in [("default", config_schema()), ("campaign.example", campaign_schema())] {
        let found = paths(&switched_on(&format!("config/{file}.yaml")));
        let mut count = 0;
        keys(&schema, "", &mut |path, _| {
            count += 1;
            assert!(found.contains(&documented(path)), "{file}.yaml lacks {path}");
        });
        assert!(count > 40, "{count} keys in {file}");
    }
    // And both are accepted as they stand there: values of every key have been read.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, loadable().to_string()).unwrap();
    config::load(&Sources { paths: vec![file], ..Sources::default() }).unwrap_or_else(|problems| panic!("{problems}"));
    let campaign = switched_on("config/campaign.example.yaml").to_string();
    parse_campaign_file(&campaign, "a.yaml").unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn every_key_of_the_schemas_is_tried_by_a_test() {
    let words = fs::read_to_string("tests/config_errors.rs").unwrap();
    for (document, schema) in
        [(loadable(), config_schema()), (switched_on("config/campaign.example.yaml"), campaign_schema())]
    {
        // Each value of these is replaced by each wrong one, and read: whatever_is_wrong_is_said_and_nothing_panics.
        let tried = paths(&document);
        let (mut swept, mut single) = (0, Vec::new());
        keys(&schema, "", &mut |path, _| {
            if tried.contains(&documented(path)) {
                swept += 1;
            } else {
                // Keys that name files: only a test that writes such a file can try them.
                let key = path.rsplit('.').next().unwrap();
                assert!(words.contains(&format!("{key}: ")), "no test tries {path}");
                single.push(path.to_owned());
            }
        });
        println!("{swept} keys are swept, and have tests of their own: {single:?}");
        assert!(single.len() <= 7, "too many keys are not swept: {single:?}");
    }
}

// ---- Never stricter than the reader --------------------------------------------------------------------------------

fn yaml(path: &Path) -> Value {
    let report = Report::default();
    let node = parse_yaml(&fs::read_to_string(path).unwrap(), &path.display().to_string(), &report);
    report.finish(node).unwrap_or_else(|problems| panic!("{problems}")).to_json()
}

#[test]
fn every_file_we_ship_fits() {
    let mut files: Vec<PathBuf> = [
        "config/default.yaml",
        "config/example.yaml",
        "config/trial.yaml",
        "config/trial-campaign.yaml",
        "config/campaign.example.yaml",
        "src/cli/demo/demo.yaml",
        "src/cli/demo/campaign.yaml",
        "deploy/systemd/outdial.yaml",
        "deploy/compose/outdial.yaml",
        "deploy/compose/campaign.yaml",
        "deploy/kubernetes/base/10-base.yaml",
    ]
    .map(PathBuf::from)
    .to_vec();
    for overlay in ["staging", "production"] {
        files.push(format!("deploy/kubernetes/overlays/{overlay}/20-{overlay}.yaml").into());
    }
    for file in files {
        let value = yaml(&file);
        let schema = if value.get("campaigns").is_some() { campaign_schema() } else { config_schema() };
        assert_eq!(misfits(&schema, &value, ""), Vec::<String>::new(), "{}", file.display());
    }
    assert_eq!(misfits(&config_schema(), &switched_on("config/default.yaml"), ""), Vec::<String>::new());
}

#[test]
fn whatever_is_accepted_fits_and_most_of_what_is_refused_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let sources = Sources { paths: vec![file.clone()], ..Sources::default() };
    let is_config = |value: &Value| {
        // JSON is YAML.
        fs::write(&file, value.to_string()).unwrap();
        config::load(&sources).is_ok()
    };
    let is_campaign = |value: &Value| parse_campaign_file(&value.to_string(), "a.yaml").is_ok();
    compare(&config_schema(), &loadable(), is_config);
    compare(&campaign_schema(), &switched_on("config/campaign.example.yaml"), is_campaign);
}

#[track_caller]
fn compare(schema: &Value, good: &Value, is_accepted: impl Fn(&Value) -> bool) {
    assert!(is_accepted(good));
    let (mut refused, mut seen) = (0, 0);
    for value in mutations(good) {
        let misfits = misfits(schema, &value, "");
        if is_accepted(&value) {
            assert_eq!(misfits, Vec::<String>::new(), "{value}");
        } else {
            refused += 1;
            seen += usize::from(!misfits.is_empty());
        }
    }
    assert!(refused > 300 && seen * 10 > refused * 7, "the schema sees {seen} of {refused} mistakes");
}
