//! The layers of a configuration: what is compiled in, files in their order, the environment.
//!
//! The `config` crate merges the values; this module reads each layer with the place of every value, and afterwards
//! looks each merged value up in the layer it came from, so that problems point to a line or a variable.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use config::{Map, Source, Value, ValueKind};

use super::yaml::parse_yaml;
use crate::domain::document::{Content, Entry, Node, Place, Problem, Report, closest};

/// The sections a configuration has.
pub(super) const SECTIONS: [&str; 10] =
    ["database", "accounts", "webhooks", "person", "http", "log", "metrics", "daemon", "retention", "clock"];

/// The reference: every key with its default.
pub(super) const DEFAULT: &str = include_str!("../../config/default.yaml");
pub(super) const DEFAULT_NAME: &str = "config/default.yaml (built in)";

const ENVIRONMENT_PREFIX: &str = "OUTDIAL__";
/// Largest file read, in bytes: a configuration has a few KiB.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads and merges all layers. `None` means that the problems are in the report.
pub(super) fn merged(paths: &[PathBuf], environment: &[(OsString, OsString)], report: &Report) -> Option<Node> {
    let mut layers = vec![parse_yaml(DEFAULT, DEFAULT_NAME, report)];
    for file in files(paths, report) {
        layers.push(file_layer(&file, report));
    }
    layers.push(Some(environment_layer(environment, report)));
    let layers: Vec<Layer> =
        layers.into_iter().map(|node| Some(Layer(shaped(node?, report)?))).collect::<Option<_>>()?;
    if !report.is_clean() {
        return None;
    }
    let mut builder = config::Config::builder();
    for layer in &layers {
        builder = builder.add_source(layer.clone());
    }
    let merged = builder.build().and_then(|merged| merged.collect()).expect("reading from memory cannot fail");
    let root = Value::new(None, ValueKind::Table(merged));
    Some(placed(&root, &mut Vec::new(), &layers))
}

/// The configuration files: a folder stands for its `*.yaml` and `*.yml` files by name.
fn files(paths: &[PathBuf], report: &Report) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut found: Vec<PathBuf> = match entries {
            Ok(entries) => entries.iter().map(fs::DirEntry::path).filter(|path| is_yaml(path)).collect(),
            Err(error) => {
                report.add(unreadable(path, &error.to_string()));
                continue;
            }
        };
        if found.is_empty() {
            report.add(unreadable(path, "the folder holds no *.yaml file"));
        }
        found.sort();
        files.extend(found);
    }
    files
}

fn is_yaml(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let extension = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    extension && !hidden && path.is_file()
}

fn file_layer(path: &Path, report: &Report) -> Option<Node> {
    match read_bounded(path, FILE_BYTES_MAX) {
        Ok(text) => parse_yaml(&text, &path.display().to_string(), report),
        Err(error) => {
            report.add(unreadable(path, &error));
            None
        }
    }
}

/// Reads a text file that must not be larger than `bytes_max`; the error is for people.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > bytes_max {
        return Err(format!("it has {length} bytes, {bytes_max} are the most"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem {
        place: Some(Place::File(path.display().to_string().into())),
        path: String::new(),
        found: None,
        message: format!("cannot be read: {why}"),
        remedy: Some("check the path given by --config and its permissions".to_owned()),
    }
}

/// The variables `OUTDIAL__SECTION__KEY` as a tree of untyped values. An empty one counts as not written.
fn environment_layer(environment: &[(OsString, OsString)], report: &Report) -> Node {
    let mut root = Node { content: Content::Map(Vec::new()), place: None };
    let mut variables: Vec<_> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect();
    variables.sort();
    for (name, value) in variables {
        let place = Place::Environment(name.into());
        let refuse = |message: &str, remedy: &str| {
            report.add(Problem {
                place: Some(place.clone()),
                path: String::new(),
                found: None,
                message: message.to_owned(),
                remedy: Some(remedy.to_owned()),
            });
        };
        let Some(value) = value.to_str() else {
            refuse("holds bytes that are not UTF-8", "check its value");
            continue;
        };
        let path = environment_path(&name[ENVIRONMENT_PREFIX.len()..]);
        if path.iter().any(String::is_empty) {
            refuse("does not name a key", "write it as OUTDIAL__SECTION__KEY, for example OUTDIAL__LOG__LEVEL");
            continue;
        }
        let content = if value.is_empty() { Content::Null } else { Content::Untyped(value.to_owned()) };
        if insert(&mut root, &path, &place, content).is_none() {
            refuse("names a key below one that another variable sets", "remove one of the two");
        }
    }
    root
}

fn environment_path(name: &str) -> Vec<String> {
    let mut path: Vec<String> = name.to_lowercase().split("__").map(str::to_owned).collect();
    if let [section, account, ..] = path.as_mut_slice()
        && section == "accounts"
    {
        *account = account.replace('_', "-");
    }
    path
}

/// Puts a value into the tree; `None` when something else stands in its way.
fn insert(node: &mut Node, path: &[String], place: &Place, content: Content) -> Option<()> {
    let Some((key, rest)) = path.split_first() else {
        if let Content::Map(entries) = &node.content
            && entries.is_empty()
        {
            node.content = content;
            return Some(());
        }
        return None;
    };
    let Content::Map(entries) = &mut node.content else {
        return None;
    };
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *key) {
        return insert(&mut entry.node, rest, place, content);
    }
    let mut node = Node { content: Content::Map(Vec::new()), place: Some(place.clone()) };
    insert(&mut node, rest, place, content)?;
    entries.push(Entry { key: key.clone(), place: Some(place.clone()), node });
    Some(())
}

/// Checks the outermost shape of a layer: a map of known sections. A section without a value is left out, since people
/// comment out everything below a heading.
fn shaped(node: Node, report: &Report) -> Option<Node> {
    let Content::Map(entries) = node.content else {
        report.add(Problem {
            place: node.place,
            path: String::new(),
            found: None,
            message: "is not a configuration".to_owned(),
            remedy: Some(format!("write sections with keys below them: {}", SECTIONS.join(", "))),
        });
        return None;
    };
    for entry in entries.iter().filter(|entry| !SECTIONS.contains(&entry.key.as_str())) {
        let remedy = match (entry.key.as_str(), closest(&entry.key, SECTIONS.into_iter())) {
            ("campaigns", _) => "campaigns live in a file of their own: outdial campaign apply FILE".to_owned(),
            (_, Some(section)) => format!("did you mean {section}?"),
            (_, None) => format!("known here: {}", SECTIONS.join(", ")),
        };
        report.add(Problem {
            place: entry.place.clone(),
            path: entry.key.clone(),
            found: None,
            message: "is not a known section".to_owned(),
            remedy: Some(remedy),
        });
    }
    let entries =
        entries.into_iter().filter(|entry| SECTIONS.contains(&entry.key.as_str()) && !entry.node.is_null()).collect();
    Some(Node { content: Content::Map(entries), place: node.place })
}

/// One layer as the `config` crate sees it.
#[derive(Clone, Debug)]
struct Layer(Node);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(table(match &self.0.content {
            Content::Map(entries) => entries,
            Content::Null
            | Content::Boolean(_)
            | Content::Number(_)
            | Content::Text(_)
            | Content::Untyped(_)
            | Content::List(_) => &[],
        }))
    }
}

fn table(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.key.clone(), value(&entry.node))).collect()
}

fn value(node: &Node) -> Value {
    let kind = match &node.content {
        Content::Null => ValueKind::Nil,
        Content::Boolean(boolean) => ValueKind::Boolean(*boolean),
        Content::Number(number) => match number.as_i64() {
            Some(integer) => ValueKind::I64(integer),
            None => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Content::Text(text) | Content::Untyped(text) => ValueKind::String(text.clone()),
        Content::List(items) => ValueKind::Array(items.iter().map(value).collect()),
        Content::Map(entries) => ValueKind::Table(table(entries)),
    };
    Value::new(node.place.as_ref().map(ToString::to_string).as_ref(), kind)
}

/// The merged values with their places: tables as merged, everything else as the last layer that holds it wrote it.
fn placed(value: &Value, path: &mut Vec<String>, layers: &[Layer]) -> Node {
    let origin = |layers: &[Layer]| layers.iter().rev().find_map(|layer| at(&layer.0, path).cloned());
    let ValueKind::Table(table) = &value.kind else {
        return origin(layers).expect("a merged value comes from a layer");
    };
    // What is missing from a section is missing from the operator's file, not from the compiled-in one.
    let place = origin(&layers[1..]).and_then(|node| node.place);
    let mut keys: Vec<&String> = table.keys().collect();
    keys.sort();
    let entries = keys
        .into_iter()
        .map(|key| {
            let place = layers.iter().rev().find_map(|layer| at(&layer.0, path)?.entry(key)?.place.clone());
            path.push(key.clone());
            let node = placed(&table[key], path, layers);
            path.pop();
            Entry { key: key.clone(), place, node }
        })
        .collect();
    Node { content: Content::Map(entries), place }
}

fn at<'n>(root: &'n Node, path: &[String]) -> Option<&'n Node> {
    path.iter().try_fold(root, |node, key| node.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn the_environment_is_a_tree_of_untyped_values() {
        let report = Report::default();
        let node = environment_layer(
            &variables(&[
                ("OUTDIAL__ACCOUNTS__FAMULOR_MAIN__API_KEY", "12345"),
                ("OUTDIAL__ACCOUNTS__FAMULOR_MAIN__LIST_LAG_MAX", ""),
                ("OUTDIAL__LOG__LEVEL", "debug"),
                ("OUTDIAL_CONFIG", "not a setting"),
                ("PATH", "/bin"),
            ]),
            &report,
        );
        assert!(report.is_clean());
        assert_eq!(
            node.to_json(),
            json!({"accounts": {"famulor-main": {"api_key": "12345", "list_lag_max": null}}, "log": {"level": "debug"}})
        );
    }

    #[test]
    fn variables_that_name_no_key_are_problems() {
        let report = Report::default();
        environment_layer(
            &variables(&[("OUTDIAL__", "x"), ("OUTDIAL__LOG", "x"), ("OUTDIAL__LOG__LEVEL", "debug")]),
            &report,
        );
        insta::assert_snapshot!(report.finish(None::<()>).unwrap_err(), @r"
        environment variable OUTDIAL__
          does not name a key
          write it as OUTDIAL__SECTION__KEY, for example OUTDIAL__LOG__LEVEL

        environment variable OUTDIAL__LOG__LEVEL
          names a key below one that another variable sets
          remove one of the two

        2 problems; nothing was changed
        ");
    }

    #[test]
    fn later_layers_win_key_by_key_and_keep_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let paths = [
            file("a.yaml", "log:\n  level: warn\n  format: text\nperson:\n"),
            file("b.yaml", "log: { level: error }\n"),
        ];
        let report = Report::default();
        let merged = merged(&paths, &variables(&[("OUTDIAL__PERSON__CALLS_PER_DAY", "5")]), &report).unwrap();
        let place = |section: &str, key: &str| {
            let place = merged.get(section).and_then(|node| node.get(key)).unwrap().place.clone().unwrap();
            place.to_string().replace(&format!("{}/", folder.path().display()), "")
        };
        assert_eq!(merged.get("log").unwrap().to_json(), json!({"format": "text", "level": "error"}));
        assert_eq!(place("log", "level"), "b.yaml:1:15");
        assert_eq!(place("log", "format"), "a.yaml:3:11");
        assert_eq!(place("person", "calls_per_day"), "environment variable OUTDIAL__PERSON__CALLS_PER_DAY");
        assert!(place("person", "day").starts_with(DEFAULT_NAME), "an empty section changes nothing");
    }

    #[test]
    fn a_folder_stands_for_its_yaml_files_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", ".hidden.yaml", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("c.yaml")).unwrap();
        let report = Report::default();
        let names: Vec<_> = files(&[folder.path().to_owned()], &report)
            .iter()
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a.yml", "b.yaml"]);
        assert!(report.is_clean());
    }
}
