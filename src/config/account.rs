//! Accounts: credentials at a provider, with their limits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use jiff::SignedDuration;
use reqwest::{Certificate, Url};
use secrecy::SecretString;

use super::effective::fingerprint;
use super::happyrobot::{self, HappyRobotApi, HappyRobotConfig};
use super::layer::read_bounded;
use super::secret::{self, Secret};
use super::{DocumentedLimits, ProviderKind};
use crate::domain::call_options::CallOptions;
use crate::domain::campaign::Day;
use crate::domain::definition::read_day;
use crate::domain::document::{Cursor, Fields, show_duration};
use crate::domain::id::AccountName;

/// Longest account name: it appears in webhook addresses and in every log line.
const NAME_CHARS_MAX: usize = 40;
/// Shortest webhook token: it is all that protects the address.
const WEBHOOK_TOKEN_CHARS_MIN: usize = 16;

/// Largest file of certificate authorities, bytes: a whole machine's bundle has 230 KB.
const AUTHORITIES_BYTES_MAX: u64 = 1 << 20;

/// Certificate authorities that are trusted besides the machine's.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// What the file holds; at least one.
    pub certificates: Vec<Certificate>,
    /// By which a change of the file is noticed.
    pub fingerprint: String,
}

/// One set of credentials at one provider.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// Whose API it is.
    pub provider: ProviderKind,
    /// The address of the API, without a slash at the end.
    pub base_url: String,
    /// Whether that address is this machine itself.
    pub loopback: bool,
    /// Where the API differs from its brand's documentation.
    pub paths: ApiPaths,
    /// Certificate authorities that are trusted for it besides the machine's.
    pub authorities: Option<Authorities>,
    /// The API key.
    pub api_key: SecretString,
    /// The secret part of the webhook's address; always there when `http.public_url` is.
    pub webhook_token: Option<SecretString>,
    /// What the account may do, over all campaigns.
    pub limits: AccountLimits,
    /// Who says so.
    pub limit_origins: LimitOrigins,
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
    /// How many of them in a shorter time.
    pub requests_burst: Option<RequestBurst>,
}

/// How many requests a provider takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestBurst {
    /// So many requests …
    pub requests: NonZeroU32,
    /// … in any time of this length, civil.
    pub within: SignedDuration,
}

/// Who says what a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitOrigin {
    /// The configuration.
    Configuration,
    /// The provider's documentation.
    Documentation,
    /// Nobody: the careful choice.
    Default,
}

/// Who says what each limit is, by its key; without those that there are not.
pub type LimitOrigins = BTreeMap<&'static str, LimitOrigin>;

/// Paths of an API below its base URL, without a slash at either end; those that are absent are as documented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiPaths {
    /// All assistants that call out, in one answer.
    pub assistants_outbound: Option<String>,
    /// All assistants, by page.
    pub assistants_get: Option<String>,
    /// Asks for a call.
    pub make_call: Option<String>,
    /// The list of calls; one call is below it.
    pub calls: Option<String>,
    /// The account itself.
    pub me: Option<String>,
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
    let paths = fields.or("paths", ApiPaths::default(), |cursor| read_paths(&cursor));
    let authorities = fields.or("ca_file", None, |cursor| read_authorities(&cursor).map(Some));
    let api_key = secret::required(&fields, "api_key", "api_key_file", "");
    let webhook_token = if with_webhooks {
        secret::required(&fields, "webhook_token", "webhook_token_file", "http.public_url wants it: ")
    } else {
        secret::optional(&fields, "webhook_token", "webhook_token_file")
    };
    let token_fits = webhook_token.as_ref().is_none_or(|token| check_token(token).is_some());
    let documented = provider.map_or(DocumentedLimits::NONE, ProviderKind::documented_limits);
    let limits = match fields.cursor("limits") {
        Some(cursor) => read_limits(&cursor, documented),
        None => {
            let limits = AccountLimits::documented(documented);
            let origins = limits.origins(documented, &[]);
            Some((limits, origins))
        }
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
    let (limits, limit_origins) = limits?;
    let account = AccountConfig {
        provider: provider?,
        base_url,
        loopback,
        paths: paths?,
        authorities: authorities?,
        api_key: key?,
        webhook_token: token,
        limits,
        limit_origins,
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

impl AccountLimits {
    /// The keys of the numbers, in the order of the reference.
    pub const KEYS: [&'static str; 6] = [
        "calls_per_second",
        "calls_per_minute",
        "concurrent_calls",
        "calls_per_day",
        "requests_per_minute",
        "requests_burst",
    ];

    /// What a provider documents, and the careful choice for the rest.
    fn documented(documented: DocumentedLimits) -> Self {
        let limit = |number| NonZeroU32::new(number).expect("the defaults are not zero");
        Self {
            calls_per_second: limit(1),
            calls_per_minute: limit(20),
            concurrent_calls: limit(10),
            calls_per_day: limit(documented.calls_per_day.unwrap_or(1000)),
            day: Day::Rolling,
            requests_per_minute: limit(documented.requests_per_minute.unwrap_or(100)),
            requests_burst: documented.requests_burst,
        }
    }

    /// Who says what each limit is that there is.
    fn origins(&self, documented: DocumentedLimits, written: &[&'static str]) -> LimitOrigins {
        let of = |key: &'static str| {
            let documented = match key {
                "calls_per_day" => documented.calls_per_day.is_some(),
                "requests_per_minute" => documented.requests_per_minute.is_some(),
                "requests_burst" => documented.requests_burst.is_some(),
                _ => false,
            };
            match (written.contains(&key), documented) {
                (true, _) => LimitOrigin::Configuration,
                (false, true) => LimitOrigin::Documentation,
                (false, false) => LimitOrigin::Default,
            }
        };
        let there = |key: &&'static str| *key != "requests_burst" || self.requests_burst.is_some();
        Self::KEYS.into_iter().filter(there).map(|key| (key, of(key))).collect()
    }
}

fn read_limits(cursor: &Cursor<'_>, documented: DocumentedLimits) -> Option<(AccountLimits, LimitOrigins)> {
    const STOP: &str = "to stop an account, use `outdial stop`";
    let default = AccountLimits::documented(documented);
    let fields = cursor.fields()?;
    let calls_per_second = fields.or("calls_per_second", default.calls_per_second, |cursor| cursor.limit(STOP));
    let calls_per_minute = fields.or("calls_per_minute", default.calls_per_minute, |cursor| cursor.limit(STOP));
    let concurrent_calls = fields.or("concurrent_calls", default.concurrent_calls, |cursor| cursor.limit(STOP));
    let calls_per_day = fields.or("calls_per_day", default.calls_per_day, |cursor| cursor.limit(STOP));
    let day = fields.or("day", default.day, |cursor| read_day(&cursor));
    let requests_per_minute =
        fields.or("requests_per_minute", default.requests_per_minute, |cursor| cursor.limit(STOP));
    let requests = fields.at("requests_per_minute");
    // Whoever may send more in a minute than is documented has other terms than the documented ones.
    let documented_holds =
        documented.requests_per_minute.zip(requests_per_minute).is_none_or(|(it, set)| set.get() <= it);
    let burst = default.requests_burst.filter(|_| documented_holds);
    let requests_burst = fields.or("requests_burst", burst, |cursor| read_burst(&cursor).map(Some));
    let written: Vec<_> = AccountLimits::KEYS.into_iter().filter(|key| fields.cursor(key).is_some()).collect();
    fields.close();
    if let (Some(calls), Some(limit)) = (calls_per_minute, requests_per_minute)
        && limit <= calls
    {
        return requests.problem(
            format_args!("{limit} requests a minute leave nothing besides {calls} calls a minute"),
            "starts and reads share the requests: raise requests_per_minute or lower calls_per_minute",
        );
    }
    let limits = AccountLimits {
        calls_per_second: calls_per_second?,
        calls_per_minute: calls_per_minute?,
        concurrent_calls: concurrent_calls?,
        calls_per_day: calls_per_day?,
        day: day?,
        requests_per_minute: requests_per_minute?,
        requests_burst: requests_burst?,
    };
    let origins = limits.origins(documented, &written);
    Some((limits, origins))
}

fn read_burst(cursor: &Cursor<'_>) -> Option<RequestBurst> {
    let fields = cursor.fields()?;
    let requests = fields.required_like("requests", "requests: 20", |cursor| {
        cursor.limit("to stop an account, use `outdial stop`; for no such limit, leave requests_burst out")
    });
    let within = fields.required_like("within", "within: 10s", |cursor| cursor.duration(seconds(1)..=seconds(60)));
    fields.close();
    Some(RequestBurst { requests: requests?, within: within? })
}

fn read_paths(cursor: &Cursor<'_>) -> Option<ApiPaths> {
    let fields = cursor.fields()?;
    let path = |fields: &Fields<'_>, key| fields.or(key, None, |cursor| read_path(&cursor).map(Some));
    let assistants_outbound = path(&fields, "assistants_outbound");
    let assistants_get = path(&fields, "assistants_get");
    let make_call = path(&fields, "make_call");
    let calls = path(&fields, "calls");
    let me = path(&fields, "me");
    fields.close();
    Some(ApiPaths {
        assistants_outbound: assistants_outbound?,
        assistants_get: assistants_get?,
        make_call: make_call?,
        calls: calls?,
        me: me?,
    })
}

/// A path that stays below the base URL.
fn read_path(cursor: &Cursor<'_>) -> Option<String> {
    const REMEDY: &str = "write it below base_url, for example user/make_call";
    let path = cursor.name(200)?;
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
    };
    match path.as_str() {
        text if text.contains("://") => cursor.wrong("is a whole address", REMEDY),
        text if text.starts_with('/') || text.ends_with('/') => cursor.wrong("must not begin or end with `/`", REMEDY),
        text if text.split('/').all(plain) => Some(path),
        _ => cursor.wrong("is not a plain path: letters, digits, `-`, `_`, `.`, `~`, and `/` between them", REMEDY),
    }
}

/// A URL people and providers may call: https, or http on this machine. Without a slash at the end, and whether it is
/// this machine.
pub(super) fn read_base_url(cursor: &Cursor<'_>) -> Option<(String, bool)> {
    let text = cursor.name(500)?;
    let url = match Url::parse(&text) {
        Ok(url) => url,
        Err(_) => return cursor.wrong("is not a whole address", "write it as https://host/path"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return cursor.problem("must not contain a user name or password", "remove them: the key goes into api_key");
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

/// The certificates of a PEM file.
pub(super) fn read_authorities(cursor: &Cursor<'_>) -> Option<Authorities> {
    const REMEDY: &str =
        "name a file with one or more certificates between BEGIN CERTIFICATE and END CERTIFICATE lines";
    let name = cursor.name(4096)?;
    let pem = match read_bounded(&secret::beside(cursor, &name), AUTHORITIES_BYTES_MAX) {
        Ok(pem) => pem,
        Err(error) => {
            return cursor.wrong(
                format_args!("the file cannot be read: {error}"),
                "check the path and that outdial's user may read it; a relative path starts at the folder of this file",
            );
        }
    };
    match Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(certificates) if !certificates.is_empty() => {
            Some(Authorities { certificates, fingerprint: fingerprint(&SecretString::from(pem)) })
        }
        Ok(_) => cursor.wrong("holds no certificate", REMEDY),
        Err(_) => cursor.wrong("is not a PEM file", REMEDY),
    }
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
