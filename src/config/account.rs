//! Accounts: credentials at a provider, with their limits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use jiff::SignedDuration;
use reqwest::Url;
use secrecy::SecretString;

use super::ProviderKind;
use super::happyrobot::{self, HappyRobotApi, HappyRobotConfig};
use super::secret::{self, Secret};
use crate::domain::call_options::CallOptions;
use crate::domain::campaign::Day;
use crate::domain::definition::read_day;
use crate::domain::document::{Cursor, show_duration};
use crate::domain::id::AccountName;

/// Longest account name: it appears in webhook addresses and in every log line.
const NAME_CHARS_MAX: usize = 40;
/// Shortest webhook token: it is all that protects the address.
const WEBHOOK_TOKEN_CHARS_MIN: usize = 16;

/// One set of credentials at one provider.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// Whose API it is.
    pub provider: ProviderKind,
    /// The address of the API, without a slash at the end.
    pub base_url: String,
    /// Whether that address is this machine itself.
    pub loopback: bool,
    /// The API key.
    pub api_key: SecretString,
    /// The secret part of the webhook's address; always there when `http.public_url` is.
    pub webhook_token: Option<SecretString>,
    /// What the account may do, over all campaigns.
    pub limits: AccountLimits,
    /// How late the provider's list may show a call; `None`: absence from it proves nothing.
    pub list_lag_max: Option<SignedDuration>,
    /// The longest a phone rings.
    pub ring_max: SignedDuration,
    /// The longest call.
    pub call_max: SignedDuration,
    /// How long to wait for the other half of a result.
    pub settle_after: SignedDuration,
    /// The variable that carries our attempt id.
    pub correlation_variable: String,
    /// How often the assistants are read.
    pub roster_period: SignedDuration,
    /// What HappyRobot must be told besides; always there for that provider, and for no other.
    pub happyrobot: Option<HappyRobotConfig>,
}

impl AccountConfig {
    /// Why a campaign may not ask for these options here; `None` when it may.
    pub fn call_options_problem(&self, options: &CallOptions) -> Option<String> {
        if options.is_empty() {
            return None;
        }
        if !self.happyrobot.as_ref().is_some_and(|config| matches!(config.api, HappyRobotApi::V1 { .. })) {
            return Some("the provider of its account takes no call options: remove the section call".to_owned());
        }
        let mins = i64::from(options.max_duration_mins?);
        (mins > self.call_max.as_mins()).then(|| {
            format!(
                "max_duration_mins ({mins}) is longer than the account's call_max ({}): lower it, or raise call_max",
                show_duration(self.call_max)
            )
        })
    }
}

/// What an account may do. Nothing is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLimits {
    /// Starts in any second.
    pub calls_per_second: NonZeroU32,
    /// Starts in any minute.
    pub calls_per_minute: NonZeroU32,
    /// Calls at once.
    pub concurrent_calls: NonZeroU32,
    /// Call requests sent in a day.
    pub calls_per_day: NonZeroU32,
    /// What a day is, for `calls_per_day`.
    pub day: Day,
    /// Requests of any kind in any minute.
    pub requests_per_minute: NonZeroU32,
}

/// Reads all accounts, and what holds between them. `with_webhooks` says that a public URL is set.
pub(super) fn read_all(cursor: &Cursor<'_>, with_webhooks: bool) -> Option<BTreeMap<AccountName, AccountConfig>> {
    let entries = cursor.entries()?;
    if entries.is_empty() {
        return cursor.problem("names no account", "add one: config/example.yaml shows how");
    }
    let mut accounts = BTreeMap::new();
    let mut secrets: Vec<(&str, Secret<'_>)> = Vec::new();
    let mut complete = true;
    for (name, cursor) in entries {
        let name_fits = check_name(name, &cursor).is_some();
        let mut own = Vec::new();
        match read(&cursor, with_webhooks, &mut own) {
            Some(account) if name_fits => {
                accounts.insert(AccountName::new(name), account);
            }
            Some(_) | None => complete = false,
        }
        for secret in own {
            if let Some((other, _)) = secrets.iter().find(|(_, known)| known.expose() == secret.expose()) {
                complete = false;
                secret.cursor.problem::<()>(
                    format_args!("is the same secret as that of account {other}"),
                    "two accounts with one key would each use its whole limits; keep one of them",
                );
            }
            secrets.push((name, secret));
        }
    }
    complete.then_some(accounts)
}

fn check_name(name: &str, cursor: &Cursor<'_>) -> Option<()> {
    let fits = !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits {
        return Some(());
    }
    cursor.key_problem(
        "is not a usable account name",
        format_args!("use lower case letters, digits and `-`, at most {NAME_CHARS_MAX}"),
    )
}

fn read<'a>(cursor: &Cursor<'a>, with_webhooks: bool, secrets: &mut Vec<Secret<'a>>) -> Option<AccountConfig> {
    let fields = cursor.fields()?;
    let provider = fields.required_like("provider", "provider: famulor", read_provider);
    let happyrobot = happyrobot::read(&fields, provider);
    let base_url = match fields.cursor("base_url") {
        Some(cursor) => read_base_url(&cursor),
        None => match (provider, provider.and_then(ProviderKind::default_base_url)) {
            (_, Some(url)) => Some((url.to_owned(), false)),
            (Some(ProviderKind::Happyrobot), None) => {
                let config = happyrobot.as_ref().and_then(Option::as_ref);
                config.map(|config| (config.api.default_base_url().to_owned(), false))
            }
            (Some(ProviderKind::Famulor | ProviderKind::Sondos | ProviderKind::Autocalls), None) => {
                fields.missing("base_url").problem(
                    "is missing",
                    "autocalls has no fixed address: write your white label's, for example https://app.example.org/api",
                )
            }
            (None, None) => None,
        },
    };
    let api_key = secret::required(&fields, "api_key", "api_key_file");
    let webhook_token = if with_webhooks {
        secret::required(&fields, "webhook_token", "webhook_token_file")
    } else {
        secret::optional(&fields, "webhook_token", "webhook_token_file")
    };
    let token_fits = webhook_token.as_ref().is_none_or(|token| check_token(token).is_some());
    let limits = match fields.cursor("limits") {
        Some(cursor) => read_limits(&cursor),
        None => Some(AccountLimits::default()),
    };
    let list_lag_max = fields.optional("list_lag_max", |cursor| cursor.duration(seconds(1)..=hours(24)));
    let ring_max = fields.or("ring_max", seconds(60), |cursor| cursor.duration(seconds(1)..=seconds(600)));
    let call_max = fields.or("call_max", seconds(20 * 60), |cursor| cursor.duration(seconds(1)..=hours(12)));
    let settle_after = fields.or("settle_after", seconds(30), |cursor| cursor.duration(seconds(0)..=hours(1)));
    let correlation_variable =
        fields.or("correlation_variable", "outdial_ref".to_owned(), |cursor| read_variable_name(&cursor));
    let roster_period = fields.or("roster_period", seconds(60), |cursor| cursor.duration(seconds(1)..=hours(1)));
    let happyrobot_fits = match &happyrobot {
        Some(Some(config)) => happyrobot::check(&fields, config, call_max, correlation_variable.as_deref()),
        Some(None) | None => Some(()),
    };
    fields.close();
    let key = api_key.as_ref().map(|key| key.value.clone());
    let token = webhook_token.as_ref().map(|token| token.value.clone());
    secrets.extend(api_key.into_iter().chain(webhook_token));
    if let (Some(settle), Some(call)) = (settle_after, call_max)
        && settle > call
    {
        return cursor.problem(
            format_args!("settle_after ({}) is longer than call_max ({})", show_duration(settle), show_duration(call)),
            "results would wait longer than a call lasts; shorten settle_after",
        );
    }
    let (base_url, loopback) = base_url?;
    let account = AccountConfig {
        provider: provider?,
        base_url,
        loopback,
        api_key: key?,
        webhook_token: token,
        limits: limits?,
        list_lag_max,
        ring_max: ring_max?,
        call_max: call_max?,
        settle_after: settle_after?,
        correlation_variable: correlation_variable?,
        roster_period: roster_period?,
        happyrobot: happyrobot?,
    };
    happyrobot_fits?;
    token_fits.then_some(account)
}

fn read_provider(cursor: Cursor<'_>) -> Option<ProviderKind> {
    let words: Vec<&str> = ProviderKind::ALL.iter().map(|kind| kind.as_str()).collect();
    cursor.word(&words)
}

impl Default for AccountLimits {
    fn default() -> Self {
        let limit = |number| NonZeroU32::new(number).expect("the defaults are not zero");
        Self {
            calls_per_second: limit(1),
            calls_per_minute: limit(20),
            concurrent_calls: limit(10),
            calls_per_day: limit(1000),
            day: Day::Rolling,
            requests_per_minute: limit(100),
        }
    }
}

fn read_limits(cursor: &Cursor<'_>) -> Option<AccountLimits> {
    const STOP: &str = "to stop an account, use `outdial stop`";
    let default = AccountLimits::default();
    let fields = cursor.fields()?;
    let calls_per_second = fields.or("calls_per_second", default.calls_per_second, |cursor| cursor.limit(STOP));
    let calls_per_minute = fields.or("calls_per_minute", default.calls_per_minute, |cursor| cursor.limit(STOP));
    let concurrent_calls = fields.or("concurrent_calls", default.concurrent_calls, |cursor| cursor.limit(STOP));
    let calls_per_day = fields.or("calls_per_day", default.calls_per_day, |cursor| cursor.limit(STOP));
    let day = fields.or("day", default.day, |cursor| read_day(&cursor));
    let requests_per_minute =
        fields.or("requests_per_minute", default.requests_per_minute, |cursor| cursor.limit(STOP));
    let requests = fields.at("requests_per_minute");
    fields.close();
    if let (Some(calls), Some(limit)) = (calls_per_minute, requests_per_minute)
        && limit <= calls
    {
        return requests.problem(
            format_args!("{limit} requests a minute leave nothing besides {calls} calls a minute"),
            "starts and reads share the requests: raise requests_per_minute or lower calls_per_minute",
        );
    }
    Some(AccountLimits {
        calls_per_second: calls_per_second?,
        calls_per_minute: calls_per_minute?,
        concurrent_calls: concurrent_calls?,
        calls_per_day: calls_per_day?,
        day: day?,
        requests_per_minute: requests_per_minute?,
    })
}

/// A URL people and providers may call: https, or http on this machine. Without a slash at the end, and whether it is
/// this machine.
pub(super) fn read_base_url(cursor: &Cursor<'_>) -> Option<(String, bool)> {
    let text = cursor.name(500)?;
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(error) => return cursor.wrong(format_args!("is not a URL: {error}"), "write it as https://host/path"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return cursor.problem("must not contain a user name or password", "");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return cursor.wrong("must not contain `?` or `#`", "write scheme, host and path only");
    }
    let loopback = url.host_str().is_some_and(is_loopback);
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        _ => return cursor.wrong("must begin with https://", "http is for this machine itself only"),
    }
    Some((url.as_str().trim_end_matches('/').to_owned(), loopback))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn check_token(token: &Secret<'_>) -> Option<()> {
    let text = token.expose();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    if plain && text.len() >= WEBHOOK_TOKEN_CHARS_MIN {
        return Some(());
    }
    token.cursor.problem(
        format_args!("must be at least {WEBHOOK_TOKEN_CHARS_MIN} letters, digits, `-`, `.`, `_` or `~`"),
        "make one with: openssl rand -hex 24",
    )
}

pub(super) fn read_variable_name(cursor: &Cursor<'_>) -> Option<String> {
    let name = cursor.name(64)?;
    let fits = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if fits { Some(name) } else { cursor.wrong("is not a variable name", "use letters, digits and `_`") }
}

const fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

const fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}
