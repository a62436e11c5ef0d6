//! What holds, key by key, and where it comes from. Secrets are shown by their fingerprints only.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::layer::DEFAULT_NAME;
use super::{
    AccountConfig, AccountLimits, ApiPaths, Authorities, ClockConfig, Config, DaemonConfig, DatabaseConfig,
    DatabaseLocation, DeclaredAssistant, HappyRobotApi, HappyRobotConfig, HttpConfig, LimitOrigin, LogConfig,
    MetricsConfig, PersonConfig, RequestBurst, RetentionConfig, WebhookConfig,
};
use crate::domain::call_options::CallOptions;
use crate::domain::campaign::Day;
use crate::domain::document::{Node, Place, show_duration};

/// One key of a configuration and the value that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The keys that lead there.
    pub path: Vec<String>,
    /// The value as YAML writes it, on one line; a secret's fingerprint.
    pub value: String,
}

/// Eight hexadecimal digits of a secret's SHA-256: enough to see whether two are the same, too little to find one.
pub fn fingerprint(secret: &SecretString) -> String {
    let digest = Sha256::digest(secret.expose_secret().as_bytes());
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// Every key with the value that holds, in the order of the reference.
pub fn settings(config: &Config) -> Vec<Setting> {
    // Taken apart without `..`, so that no key can be forgotten.
    let Config { database, accounts, webhooks, person, http, log, metrics, daemon, retention, clock } = config;
    let mut list = List::default();
    list.section("database", |list| list.database(database));
    list.section("accounts", |list| {
        for (name, account) in accounts {
            list.section(name.as_str(), |list| list.account(account));
        }
    });
    list.section("webhooks", |list| {
        for (name, WebhookConfig { url, secret, allow_private, authorities }) in webhooks {
            list.section(name, |list| {
                list.secret("url", url);
                list.secret("secret", secret);
                list.plain("allow_private", &Some(allow_private));
                list.authorities(authorities.as_ref());
            });
        }
    });
    list.section("person", |list| {
        let PersonConfig { calls_per_day, day, min_gap_between_campaigns } = person;
        list.plain("calls_per_day", calls_per_day);
        list.day(day);
        list.duration("min_gap_between_campaigns", *min_gap_between_campaigns);
    });
    list.section("http", |list| {
        let HttpConfig { listen, metrics_listen, public_url, body_max } = http;
        list.text("listen", &listen.to_string());
        list.optional_text("metrics_listen", metrics_listen.map(|address| address.to_string()).as_deref());
        list.optional_text("public_url", public_url.as_deref());
        list.push("body_max", show_bytes(*body_max));
    });
    list.section("log", |list| {
        let LogConfig { format, level, targets } = log;
        list.text("format", format.as_str());
        list.text("level", level.as_str());
        list.section("targets", |list| targets.iter().for_each(|(target, level)| list.text(target, level.as_str())));
    });
    list.section("metrics", |list| {
        let MetricsConfig { per_campaign, campaigns_max } = metrics;
        list.plain("per_campaign", &Some(per_campaign));
        list.plain("campaigns_max", &Some(campaigns_max));
    });
    list.section("daemon", |list| {
        let DaemonConfig { lease_ttl, drain_max, zombie_horizon, request_timeout, connect_timeout, audit_every } =
            daemon;
        list.duration("lease_ttl", *lease_ttl);
        list.duration("drain_max", *drain_max);
        list.duration("zombie_horizon", *zombie_horizon);
        list.duration("request_timeout", *request_timeout);
        list.duration("connect_timeout", *connect_timeout);
        list.optional_duration("audit_every", *audit_every);
    });
    list.section("retention", |list| {
        let RetentionConfig { inbox_days, call_result_days, history_days } = retention;
        list.plain("inbox_days", &Some(inbox_days));
        list.plain("call_result_days", &Some(call_result_days));
        list.plain("history_days", history_days);
    });
    if let Some(ClockConfig { civil_origin, factor }) = clock {
        list.section("clock", |list| {
            list.text("civil_origin", &civil_origin.to_string());
            list.plain("factor", &Some(factor));
        });
    }
    list.settings
}

#[derive(Default)]
struct List {
    path: Vec<String>,
    settings: Vec<Setting>,
}

impl List {
    fn section(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        self.path.push(key.to_owned());
        write(self);
        self.path.pop();
    }

    fn push(&mut self, key: &str, value: String) {
        let path = self.path.iter().cloned().chain([key.to_owned()]).collect();
        self.settings.push(Setting { path, value });
    }

    fn text(&mut self, key: &str, text: &str) {
        self.push(key, show_text(text));
    }

    fn optional_text(&mut self, key: &str, text: Option<&str>) {
        self.push(key, text.map_or_else(|| "null".to_owned(), show_text));
    }

    /// A number or a truth value.
    fn plain(&mut self, key: &str, value: &Option<impl ToString>) {
        self.push(key, value.as_ref().map_or_else(|| "null".to_owned(), ToString::to_string));
    }

    fn duration(&mut self, key: &str, duration: jiff::SignedDuration) {
        self.push(key, show_duration(duration));
    }

    fn optional_duration(&mut self, key: &str, duration: Option<jiff::SignedDuration>) {
        self.push(key, duration.map_or_else(|| "null".to_owned(), show_duration));
    }

    fn secret(&mut self, key: &str, secret: &SecretString) {
        self.push(key, fingerprint(secret));
    }

    /// What is in the file counts, not its name.
    fn authorities(&mut self, authorities: Option<&Authorities>) {
        self.push("ca_file", authorities.map_or_else(|| "null".to_owned(), |it| it.fingerprint.clone()));
    }

    fn day(&mut self, day: &Day) {
        match day {
            Day::Rolling => self.text("day", "rolling"),
            Day::Civil(zone) => self.push("day", format!("{{ zone: {} }}", show_text(&zone.to_string()))),
        }
    }

    fn database(&mut self, database: &DatabaseConfig) {
        let DatabaseConfig { location, dial_connections, connections } = database;
        match location {
            DatabaseLocation::Embedded { data_dir } => {
                self.text("url", "embedded");
                self.text("data_dir", &show_path(data_dir));
            }
            DatabaseLocation::Url(url) => self.secret("url", url),
        }
        self.plain("dial_connections", &Some(dial_connections));
        self.plain("connections", &Some(connections));
    }

    fn account(&mut self, account: &AccountConfig) {
        let AccountConfig {
            provider,
            base_url,
            loopback: _,
            paths,
            authorities,
            api_key,
            webhook_token,
            limits,
            limit_origins: _,
            list_lag_max,
            ring_max,
            call_max,
            settle_after,
            correlation_variable,
            roster_period,
            happyrobot,
        } = account;
        self.text("provider", provider.as_str());
        self.text("base_url", base_url);
        let ApiPaths { assistants_outbound, assistants_get, make_call, calls, me } = paths;
        let paths = [
            ("assistants_outbound", assistants_outbound),
            ("assistants_get", assistants_get),
            ("make_call", make_call),
            ("calls", calls),
            ("me", me),
        ];
        self.section("paths", |list| {
            for (key, path) in paths {
                // What is not written depends on the brand, which knows more than one.
                if let Some(path) = path {
                    list.text(key, path);
                }
            }
        });
        self.authorities(authorities.as_ref());
        self.secret("api_key", api_key);
        match webhook_token {
            Some(token) => self.secret("webhook_token", token),
            None => self.optional_text("webhook_token", None),
        }
        self.section("limits", |list| list.limits(limits));
        self.optional_duration("list_lag_max", *list_lag_max);
        self.duration("ring_max", *ring_max);
        self.duration("call_max", *call_max);
        self.duration("settle_after", *settle_after);
        self.text("correlation_variable", correlation_variable);
        self.duration("roster_period", *roster_period);
        if let Some(config) = happyrobot {
            self.happyrobot(config);
        }
    }

    fn limits(&mut self, limits: &AccountLimits) {
        let AccountLimits {
            calls_per_second,
            calls_per_minute,
            concurrent_calls,
            calls_per_day,
            day,
            requests_per_minute,
            requests_burst,
        } = limits;
        self.plain("calls_per_second", &Some(calls_per_second));
        self.plain("calls_per_minute", &Some(calls_per_minute));
        self.plain("concurrent_calls", &Some(concurrent_calls));
        self.plain("calls_per_day", &Some(calls_per_day));
        self.day(day);
        self.plain("requests_per_minute", &Some(requests_per_minute));
        match requests_burst {
            Some(RequestBurst { requests, within }) => self.section("requests_burst", |list| {
                list.plain("requests", &Some(requests));
                list.duration("within", *within);
            }),
            None => self.optional_text("requests_burst", None),
        }
    }

    fn happyrobot(&mut self, config: &HappyRobotConfig) {
        let HappyRobotConfig { api, assistants } = config;
        match api {
            HappyRobotApi::V1 { call, call_path, cancel_path } => {
                self.text("api", "v1");
                self.push("call", show_options(call));
                self.optional_text("call_path", call_path.as_deref());
                self.optional_text("cancel_path", cancel_path.as_deref());
            }
            HappyRobotApi::V2 { environment, phone_field, variables_field } => {
                self.text("api", "v2");
                self.optional_text("environment", environment.as_deref());
                self.text("phone_field", phone_field);
                self.optional_text("variables_field", variables_field.as_deref());
            }
        }
        let items: Vec<String> = assistants.iter().map(show_assistant).collect();
        self.push("assistants", format!("[{}]", items.join(", ")));
    }
}

/// Without its variables' values: they are for the provider, and may be anything.
fn show_assistant(assistant: &DeclaredAssistant) -> String {
    let DeclaredAssistant { assistant_id, name, active, variables, call } = assistant;
    let mut text = format!("{{ id: {}, name: {}", show_text(assistant_id.as_str()), show_text(name));
    if !active {
        text.push_str(", active: false");
    }
    if !variables.is_empty() {
        let digest = SecretString::from(Value::Object(variables.clone()).to_string());
        text.push_str(&format!(", variables: {}", fingerprint(&digest)));
    }
    if !call.is_empty() {
        text.push_str(&format!(", call: {}", show_options(call)));
    }
    text + " }"
}

fn show_options(options: &CallOptions) -> String {
    let CallOptions {
        use_case_id,
        agent_id,
        number_id,
        voice_id,
        prompt_id,
        model,
        model_id,
        language,
        campaign_id,
        max_duration_mins,
        // Only campaigns say so.
        scheduled_at_departure: _,
    } = options;
    let texts = [
        ("use_case_id", use_case_id),
        ("agent_id", agent_id),
        ("number_id", number_id),
        ("voice_id", voice_id),
        ("prompt_id", prompt_id),
        ("model", model),
        ("model_id", model_id),
        ("language", language),
        ("campaign_id", campaign_id),
    ];
    let texts = texts.into_iter().filter_map(|(key, text)| Some(format!("{key}: {}", show_text(text.as_ref()?))));
    let minutes = max_duration_mins.iter().map(|minutes| format!("max_duration_mins: {minutes}"));
    let entries: Vec<String> = texts.chain(minutes).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// In quotes, unless it is plainly a word.
fn show_text(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}

fn show_bytes(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{}MiB", bytes >> 20) } else { format!("{}KiB", bytes >> 10) }
}

/// Where the values of a configuration come from.
#[derive(Clone, Debug)]
pub struct Origins(pub(super) Node);

impl Origins {
    /// Where the value of a key comes from, for people.
    pub fn of(&self, config: &Config, path: &[String]) -> String {
        let Some((key, section)) = path.split_last() else { return String::new() };
        let section = section.iter().try_fold(&self.0, |node, key| node.get(key));
        let entry = |key: &str| section.and_then(|section| section.entry(key)).filter(|entry| entry.place.is_some());
        let file = entry(&format!("{key}_file")).filter(|entry| !entry.node.is_null());
        let place = match (entry(key), file) {
            (_, Some(file)) => file.node.place.as_ref().or(file.place.as_ref()),
            (Some(entry), None) => entry.node.place.as_ref().or(entry.place.as_ref()),
            (None, None) => None,
        };
        let named = file.map(|file| file.node.to_json()).and_then(|value| value.as_str().map(str::to_owned));
        let beside = named.map_or_else(String::new, |name| format!(", file {name}"));
        match place {
            Some(Place::Line { file, .. } | Place::File(file)) if **file == *DEFAULT_NAME => "default".to_owned(),
            Some(Place::Line { file, line, .. }) => format!("{file}:{line}{beside}"),
            Some(Place::Environment(name)) => format!("environment {name}{beside}"),
            Some(place @ (Place::File(_) | Place::Stored(_))) => place.to_string(),
            None => documented(config, path).unwrap_or_else(|| "default".to_owned()),
        }
    }
}

/// Whose documentation an account's limit comes from.
fn documented(config: &Config, path: &[String]) -> Option<String> {
    let [section, name, limits, key, ..] = path else { return None };
    let account = config.accounts.iter().find(|(known, _)| known.as_str() == name).map(|(_, account)| account)?;
    let documented = section == "accounts"
        && limits == "limits"
        && account.limit_origins.get(key.as_str()) == Some(&LimitOrigin::Documentation);
    documented.then(|| format!("documented by {}", account.provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_secrets_apart_and_does_not_tell_them() {
        let shown = fingerprint(&SecretString::from("abc"));
        assert_eq!(shown, "sha256:ba7816bf", "FIPS 180-2, appendix B.1");
        assert_ne!(shown, fingerprint(&SecretString::from("abd")));
    }

    #[test]
    fn text_is_quoted_where_yaml_would_take_it_for_something_else() {
        let shown = ["info", "Europe/Berlin", "true", "12", "a b", "127.0.0.1:80", "", "a\"b"].map(show_text);
        assert_eq!(
            shown,
            ["info", "Europe/Berlin", "\"true\"", "\"12\"", "\"a b\"", "\"127.0.0.1:80\"", "\"\"", "\"a\\\"b\""]
        );
    }
}
