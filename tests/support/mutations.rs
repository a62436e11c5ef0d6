//! Documents with every key written, and each of their values replaced by each wrong one.

use std::fs;

use outdial::config::parse_yaml;
use outdial::domain::document::Report;
use serde_json::{Value, json};

/// A documented file with its commented keys switched on. A line of prose begins with `# `, a key with `#` alone.
pub fn switched_on(path: &str) -> Value {
    let text = fs::read_to_string(path).expect("tests run in the package's folder");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("# ") && line.trim() != "#");
    let text: String =
        lines.map(|line| line.replacen('#', "", usize::from(line.trim_start().starts_with('#'))) + "\n").collect();
    let report = Report::default();
    let node = parse_yaml(&text, path, &report);
    report.finish(node).unwrap_or_else(|problems| panic!("{problems}")).to_json()
}

/// The reference with every key in force, as far as they go together and need no files.
pub fn loadable() -> Value {
    let mut config = switched_on("config/default.yaml");
    let database = config["database"].as_object_mut().expect("a section");
    database.remove("url_file");
    database.insert("url".to_owned(), json!("embedded"));
    let webhook = config["webhooks"]["crm"].as_object_mut().expect("a receiver");
    webhook.retain(|key, _| !key.ends_with("_file"));
    for (name, token) in [
        ("famulor-main", "0123456789abcdef0123"),
        ("happyrobot-v1", "0123456789abcdef0124"),
        ("happyrobot-v2", "0123456789abcdef0125"),
    ] {
        let account = config["accounts"][name].as_object_mut().expect("an account");
        account.retain(|key, _| !key.ends_with("_file"));
        account.insert("base_url".to_owned(), json!("http://127.0.0.1:9/api"));
        account.insert("webhook_token".to_owned(), json!(token));
    }
    config
}

/// Every value of the document in turn, replaced by each wrong one.
pub fn mutations(value: &Value) -> Vec<Value> {
    let wrong = [
        json!(null),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(true),
        json!(""),
        json!("x y"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"x": 1}),
    ];
    let mut all = wrong.to_vec();
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let mut without = map.clone();
                without.remove(key);
                all.push(Value::Object(without));
                for mutated in mutations(child) {
                    let mut map = map.clone();
                    map.insert(key.clone(), mutated);
                    all.push(Value::Object(map));
                }
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                for mutated in mutations(child) {
                    let mut items = items.clone();
                    items[index] = mutated;
                    all.push(Value::Array(items));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}
