//! How a configuration differs from the one that a daemon runs with, and what of it can be taken over at once.

use std::collections::BTreeSet;

use super::{AccountConfig, Config, Setting, settings};

/// One key that has another value, or an account that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key as people write it, `person.calls_per_day`.
    pub key: String,
    /// What it was; `None` when it was not there.
    pub from: Option<String>,
    /// What it is to be; `None` when it is gone.
    pub to: Option<String>,
    /// When.
    pub applies: Applies,
}

/// When a change takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Without a restart.
    AtOnce,
    /// With the next start.
    AfterRestart,
}

/// Everything in which `wanted` differs from `running`, in the order of the reference; what is gone comes last.
pub fn changes(running: &Config, wanted: &Config) -> Vec<Change> {
    let (before, after) = (settings(running), settings(wanted));
    let mut told = BTreeSet::new();
    let mut changes = Vec::new();
    for Setting { path, .. } in after.iter().chain(&before) {
        if !told.insert(path.clone()) {
            continue;
        }
        if let [section, name, ..] = path.as_slice()
            && section == "accounts"
            && let Some(change) = account_came_or_went(running, wanted, name)
        {
            if !changes.contains(&change) {
                changes.push(change);
            }
            continue;
        }
        let value = |settings: &[Setting]| {
            settings.iter().find(|setting| setting.path == *path).map(|setting| setting.value.clone())
        };
        let (from, to) = (value(&before), value(&after));
        if from != to {
            let applies = if takes_over(running, wanted, path) { Applies::AtOnce } else { Applies::AfterRestart };
            changes.push(Change { key: path.join("."), from, to, applies });
        }
    }
    changes
}

fn account_came_or_went(running: &Config, wanted: &Config, name: &str) -> Option<Change> {
    let is_there = |config: &Config| config.accounts.keys().any(|known| known.as_str() == name);
    let word = |there: bool| there.then(|| "an account".to_owned());
    let (before, after) = (is_there(running), is_there(wanted));
    (before != after).then(|| Change {
        key: format!("accounts.{name}"),
        from: word(before),
        to: word(after),
        applies: Applies::AfterRestart,
    })
}

/// Whether a running daemon takes the key over.
fn takes_over(running: &Config, wanted: &Config, path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["person" | "retention", ..] | ["log", "level" | "targets", ..] => true,
        ["accounts", name, "limits" | "api_key" | "webhook_token", ..] => {
            let of = |config: &Config| {
                config.accounts.iter().find(|(known, _)| known.as_str() == *name).map(|(_, account)| account.clone())
            };
            of(running).zip(of(wanted)).is_some_and(|(running, wanted)| is_the_same_service(&running, &wanted))
        }
        _ => false,
    }
}

/// Whether two versions of an account speak to the same service. A key for another one must not be shown to this one.
fn is_the_same_service(running: &AccountConfig, wanted: &AccountConfig) -> bool {
    running.provider == wanted.provider && running.base_url == wanted.base_url
}

/// What runs once everything that can be taken over is.
pub fn taken_over(running: &Config, wanted: &Config) -> Config {
    let mut result = running.clone();
    result.person = wanted.person.clone();
    result.retention = wanted.retention;
    result.log.level = wanted.log.level;
    result.log.targets = wanted.log.targets.clone();
    for (name, account) in &mut result.accounts {
        if let Some(wanted) = wanted.accounts.get(name).filter(|wanted| is_the_same_service(account, wanted)) {
            account.limits = wanted.limits.clone();
            account.limit_origins = wanted.limit_origins.clone();
            account.api_key = wanted.api_key.clone();
            account.webhook_token = wanted.webhook_token.clone();
        }
    }
    result
}
