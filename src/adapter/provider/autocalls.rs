//! The Autocalls family: one application under many brands, Famulor and Sondos AI among them.
//!
//! It knows no idempotency key, and most brands answer a request for a call without the call's id. So the attempt id
//! goes along as a variable, which the assistant must declare, and comes back in webhooks. Nothing here ever asks for
//! one call twice.
//!
//! Deliberately absent: the provider's own campaigns, which dial on their own, and any matching of messages, which are
//! translated.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use reqwest::header::LOCATION;
use reqwest::{Certificate, StatusCode, Url};
use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::brand::{Brand, Paths, RosterSource};
use super::http::{Answer, ClientError, Http, ONE_BYTES_MAX, PAGE_BYTES_MAX, Timeouts};
use super::listing::{self, PAGE_ENTRIES};
use super::look::SharedLook;
use super::reply::{Meaning, Words, judge, retry_after};
use super::report::Reader;
use super::wire::{Fields, repair};
use crate::config::ApiPaths;
use crate::domain::assistant::Assistant;
use crate::domain::id::{AccountName, AssistantId, Installation, ProviderCallId};
use crate::domain::report::{CallReport, Source, Undecodable};
use crate::port::allowance::{RequestGuard, Urgency};
use crate::port::permit::{DialPermit, OutboundCall};
use crate::port::provider::{AccountStanding, CallPage, CallQuery, NotPlaced, PlaceReply, Provider, ReadError};

/// Pages of assistants read at most: ten thousand assistants are somebody's mistake.
const ROSTER_PAGES_MAX: u32 = 100;
/// A look at the balance after a refused call may take this long: the refusal is known already and waits for it.
const BALANCE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How to reach one account.
pub struct AutocallsOptions {
    /// Its name in the configuration.
    pub account: AccountName,
    /// Whose product it is.
    pub brand: &'static Brand,
    /// Where its API lives, up to and with `/api`; `None` takes the brand's.
    pub base_url: Option<String>,
    /// Where its paths differ from the brand's.
    pub paths: ApiPaths,
    /// Certificate authorities to trust besides the machine's.
    pub authorities: Vec<Certificate>,
    /// The API key.
    pub api_key: SecretString,
    /// The variable that carries the attempt id; assistants must declare it.
    pub correlation_variable: String,
    /// Whose attempt ids are ours.
    pub installation: Installation,
    /// From the start of a request to the last byte of its answer.
    pub request_timeout: Duration,
    /// Name look-up, TCP and TLS together.
    pub connect_timeout: Duration,
}

/// One account of the family.
pub struct Autocalls {
    account: AccountName,
    brand: &'static Brand,
    base_url: Url,
    paths: Paths<String>,
    /// Whether the list of assistants that the brand has first is missing, and the other one is there.
    other_roster: AtomicBool,
    http: Http,
    reader: Reader,
    words: Words,
    balance: SharedLook<Option<AccountStanding>>,
}

impl fmt::Debug for Autocalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Autocalls")
            .field("account", &self.account.as_str())
            .field("brand", &self.brand.name)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

impl Autocalls {
    /// Sets up the clients of one account. Does not touch the network.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used, or TLS cannot be set up.
    pub fn new(options: AutocallsOptions) -> Result<Self, ClientError> {
        let AutocallsOptions {
            account,
            brand,
            base_url,
            paths,
            authorities,
            api_key,
            correlation_variable,
            installation,
            request_timeout,
            connect_timeout,
        } = options;
        let base_url = match (base_url.as_deref(), brand.base_url) {
            (Some(text), _) | (None, Some(text)) => parse_base_url(text)?,
            (None, None) => return Err(ClientError::BaseUrlMissing { brand: brand.name }),
        };
        let http = Http::new(&api_key, &authorities, Timeouts { request: request_timeout, connect: connect_timeout })?;
        let reader = Reader { correlation_variable, installation };
        let words = Words::new(api_key);
        let paths = paths_of(brand, paths);
        let (other_roster, balance) = (AtomicBool::new(false), SharedLook::default());
        Ok(Self { account, brand, base_url, paths, other_roster, http, reader, words, balance })
    }

    /// The account's name.
    pub fn account(&self) -> &AccountName {
        &self.account
    }

    /// The brand.
    pub fn brand(&self) -> &'static Brand {
        self.brand
    }

    /// Where its API lives.
    pub fn base_url(&self) -> &str {
        self.base_url.as_str()
    }

    /// The address of one thing, below a path. Segments are escaped, and never climb.
    fn url(&self, path: &str, below: Option<&str>) -> Url {
        let mut url = self.base_url.clone();
        let mut segments = url.path_segments_mut().expect("http URLs have a path");
        segments.pop_if_empty().extend(path.split('/')).extend(below);
        drop(segments);
        url
    }

    fn call_body(&self, call: &OutboundCall) -> Bytes {
        let mut variables = call.variables.clone();
        variables.insert(self.reader.correlation_variable.clone(), Value::String(call.attempt_id.to_string()));
        let body = MakeCall {
            phone_number: call.phone.e164(),
            assistant_id: wire_id(&call.assistant_id),
            variables: &variables,
        };
        serde_json::to_vec(&body).expect("strings, numbers and JSON values can be written").into()
    }

    async fn read(&self, url: Url, bytes_max: usize) -> Result<Bytes, ReadError> {
        self.meaning(self.http.get(url, bytes_max).await)
    }

    fn meaning(&self, answer: Result<Answer, String>) -> Result<Bytes, ReadError> {
        let answer = answer.map_err(|reason| ReadError::Unavailable { reason })?;
        if answer.status.is_success() {
            return told(answer.body.map_err(|reason| ReadError::Unavailable { reason })?);
        }
        if answer.status.is_redirection() {
            return Err(ReadError::Unreadable { reason: redirected(&answer) });
        }
        let body = answer.body.as_deref().map(repair).unwrap_or_default();
        let reason = self.words.of(Fields::read(&body).ok().as_ref());
        Err(match answer.status {
            // 405: the path is there for other methods only, so there is nothing to read.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => ReadError::NotFound,
            StatusCode::UNAUTHORIZED => ReadError::AccountStopped(AccountStanding::KeyRefused),
            StatusCode::FORBIDDEN => ReadError::AccountStopped(AccountStanding::Forbidden { reason }),
            StatusCode::TOO_MANY_REQUESTS => ReadError::RateLimited { retry_after: retry_after(&answer) },
            status => ReadError::Unavailable { reason: format!("HTTP {}: {reason}", status.as_u16()) },
        })
    }

    /// Tells a refusal for want of money from any other. Calls that are refused together share a look.
    async fn after_balance(&self, status: u16, reason: String) -> NotPlaced {
        let look = self.balance.take(|| async { self.health().await.ok() });
        match tokio::time::timeout(BALANCE_WAIT_MAX, look).await {
            Ok(Some(AccountStanding::BalanceExhausted)) => NotPlaced::AccountStopped(AccountStanding::BalanceExhausted),
            Ok(Some(
                AccountStanding::Good { .. } | AccountStanding::KeyRefused | AccountStanding::Forbidden { .. },
            ))
            | Ok(None)
            | Err(_) => NotPlaced::Refused { status, reason },
        }
    }

    async fn roster(&self, from: RosterSource) -> Result<Vec<Assistant>, ReadError> {
        match from {
            RosterSource::Outbound => {
                let body = self.read(self.url(&self.paths.assistants_outbound, None), PAGE_BYTES_MAX).await?;
                // The whole list in one answer, whatever its length.
                listing::assistants(&body, 1).map(|(assistants, _)| assistants).map_err(unreadable)
            }
            RosterSource::Get => self.assistants_by_page().await,
        }
    }

    async fn assistants_by_page(&self) -> Result<Vec<Assistant>, ReadError> {
        let mut all = Vec::new();
        for number in 1..=ROSTER_PAGES_MAX {
            let mut url = self.url(&self.paths.assistants_get, None);
            url.query_pairs_mut()
                .append_pair("per_page", &PAGE_ENTRIES.to_string())
                .append_pair("page", &number.to_string());
            let body = self.read(url, PAGE_BYTES_MAX).await?;
            let (page, more) = listing::assistants(&body, number).map_err(unreadable)?;
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
        Err(ReadError::Unreadable { reason: format!("more than {ROSTER_PAGES_MAX} pages of assistants") })
    }
}

impl Provider for Autocalls {
    fn attach(&self, guard: Arc<dyn RequestGuard>) {
        self.http.attach(guard);
    }

    async fn place(&self, permit: DialPermit) -> PlaceReply {
        let (call, departure) = permit.into_parts();
        let body = self.call_body(&call);
        let sent = self.http.post_once(self.url(&self.paths.make_call, None), body, departure).await;
        match judge(sent, &self.words) {
            Meaning::Clear(reply) => reply,
            Meaning::PerhapsBalance { status, reason } => {
                PlaceReply::NotPlaced(self.after_balance(status, reason).await)
            }
        }
    }

    async fn read_call(&self, id: &ProviderCallId) -> Result<Bytes, ReadError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
        // Ids come from webhooks, which are not signed: one that is a path must not become a path.
        if id.as_str().is_empty() || !id.as_str().bytes().all(plain) {
            return Err(ReadError::NotFound);
        }
        let body = self.read(self.url(&self.paths.calls, Some(id.as_str())), ONE_BYTES_MAX).await?;
        Fields::read(&repair(&body)).map_err(unreadable)?;
        Ok(body)
    }

    async fn list_calls(&self, query: &CallQuery) -> Result<CallPage, ReadError> {
        let (from, to) = day_range(query.since, query.until);
        let mut url = self.url(&self.paths.calls, None);
        url.query_pairs_mut()
            .append_pair("type", "outbound")
            .append_pair("date_from", &from.to_string())
            .append_pair("date_to", &to.to_string())
            .append_pair("per_page", &PAGE_ENTRIES.to_string())
            .append_pair("page", &query.page.to_string());
        if let Some(phone) = &query.phone {
            url.query_pairs_mut().append_pair("phone_number", phone.e164());
        }
        let body = self.read(url, PAGE_BYTES_MAX).await?;
        listing::calls(&body, query.page).map_err(unreadable)
    }

    async fn assistants(&self) -> Result<Vec<Assistant>, ReadError> {
        let swap = self.other_roster.load(Ordering::Relaxed);
        let (first, second) = match (self.brand.roster, swap) {
            (RosterSource::Get, false) | (RosterSource::Outbound, true) => (RosterSource::Get, RosterSource::Outbound),
            (RosterSource::Outbound, false) | (RosterSource::Get, true) => (RosterSource::Outbound, RosterSource::Get),
        };
        let failed = match self.roster(first).await {
            Err(failed @ (ReadError::NotFound | ReadError::Unreadable { .. })) => failed,
            done => return done,
        };
        let assistants = match self.roster(second).await {
            Ok(assistants) => assistants,
            // Neither is there: the first one's words are about the brand's own list.
            Err(ReadError::NotFound | ReadError::Unreadable { .. }) => return Err(failed),
            Err(error) => return Err(error),
        };
        if matches!(failed, ReadError::NotFound) {
            // A brand without the one list has the other: what is missing is not asked for each minute.
            self.other_roster.store(!swap, Ordering::Relaxed);
        }
        Ok(assistants)
    }

    /// A balance of nothing or less counts as exhausted, since calls are then refused with 422.
    async fn health(&self) -> Result<AccountStanding, ReadError> {
        let answer = self.http.get_as(Urgency::Verdict, self.url(&self.paths.me, None), ONE_BYTES_MAX).await;
        match self.meaning(answer) {
            Ok(body) => standing(&body).map_err(unreadable),
            Err(ReadError::AccountStopped(standing)) => Ok(standing),
            Err(error) => Err(error),
        }
    }

    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        self.reader.read(source, body)
    }

    fn call_id(&self, body: &[u8]) -> Option<ProviderCallId> {
        self.reader.call_id(body)
    }
}

/// Body of `make_call`. It has no other fields. Famulor docs, `calls/make`, read 2026-11-21.
#[derive(Serialize)]
struct MakeCall<'a> {
    phone_number: &'a str,
    assistant_id: Box<RawValue>,
    variables: &'a Map<String, Value>,
}

/// An id as the provider wants it: a number where it is one, every digit kept, else a string.
fn wire_id(id: &AssistantId) -> Box<RawValue> {
    let text = id.as_str();
    let number =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let json = if number { text.to_owned() } else { Value::from(text).to_string() };
    RawValue::from_string(json).expect("a number or an escaped string is JSON")
}

/// Whole days around two instants, a day wider on each side: the zone of the provider's days is not documented.
fn day_range(since: Timestamp, until: Timestamp) -> (Date, Date) {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let (from, to) = (day(since), day(until));
    (from.checked_sub(1.day()).unwrap_or(from), to.checked_add(1.day()).unwrap_or(to))
}

/// Reads `/user/me`. Famulor docs, `user/me`, read 2026-11-21.
fn standing(body: &[u8]) -> Result<AccountStanding, Undecodable> {
    let body = repair(body);
    let top = Fields::read(&body)?;
    let data = top.object("data").ok().flatten();
    let balance = match top.decimal("total_balance")? {
        Some(balance) => Some(balance),
        None => data.map(|data| data.decimal("total_balance")).transpose()?.flatten(),
    };
    let exhausted =
        balance.as_ref().and_then(|text| text.parse().ok()).is_some_and(|sum: Decimal| sum <= Decimal::ZERO);
    Ok(if exhausted { AccountStanding::BalanceExhausted } else { AccountStanding::Good { balance } })
}

fn paths_of(brand: &Brand, written: ApiPaths) -> Paths<String> {
    let or = |written: Option<String>, documented: &str| written.unwrap_or_else(|| documented.to_owned());
    let documented = &brand.paths;
    Paths {
        assistants_outbound: or(written.assistants_outbound, documented.assistants_outbound),
        assistants_get: or(written.assistants_get, documented.assistants_get),
        make_call: or(written.make_call, documented.make_call),
        calls: or(written.calls, documented.calls),
        me: or(written.me, documented.me),
    }
}

/// What a 2xx says, unless it is plainly not the API that says it.
fn told(body: Bytes) -> Result<Bytes, ReadError> {
    let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body).trim_ascii_start();
    let reason = match text.first() {
        None => "the answer is empty",
        Some(b'<') => "the answer is a web page, not JSON",
        Some(_) => return Ok(body),
    };
    Err(ReadError::Unreadable { reason: reason.to_owned() })
}

/// Where a redirect leads, without what may be secret or a number.
fn redirected(answer: &Answer) -> String {
    let target = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = target.split(['?', '#']).next().unwrap_or_default();
    let host = Url::parse(plain).ok().and_then(|url| url.host_str().map(str::to_owned));
    let status = answer.status.as_u16();
    match host {
        Some(host) => format!("HTTP {status}: the answer is a redirect to {host}"),
        None => format!("HTTP {status}: the answer is a redirect"),
    }
}

pub(super) fn parse_base_url(text: &str) -> Result<Url, ClientError> {
    let bad = |text: &str, problem| ClientError::BaseUrl { text: text.to_owned(), problem };
    let url = Url::parse(text).map_err(|_| bad("(hidden)", "is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(url.host_str().unwrap_or_default(), "must not hold a user or a password"));
    }
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad(url.as_str(), "must begin with https:// (or http://) and a host"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad(url.host_str().unwrap_or_default(), "must end with its path"));
    }
    Ok(url)
}

fn unreadable(problem: Undecodable) -> ReadError {
    ReadError::Unreadable { reason: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_id(id: &str, json: &str) {
        assert_eq!(wire_id(&AssistantId::new(id)).get(), json);
    }

    #[test]
    fn numeric_ids_are_sent_as_exact_numbers() {
        check_id("123", "123");
        check_id("0", "0");
        check_id("9007199254740993", "9007199254740993");
        check_id("340282366920938463463374607431768211456", "340282366920938463463374607431768211456");
        check_id("007", "\"007\"");
        check_id("", "\"\"");
        check_id("a\"b", "\"a\\\"b\"");
        check_id("-1", "\"-1\"");
    }

    #[test]
    fn days_are_asked_for_generously() {
        let at = |text: &str| text.parse().expect("an instant");
        let (from, to) = day_range(at("2026-03-01T00:30:00Z"), at("2026-03-01T23:30:00Z"));
        assert_eq!((from.to_string(), to.to_string()), ("2026-02-28".to_owned(), "2026-03-02".to_owned()));
        let (from, to) = day_range(Timestamp::MIN, Timestamp::MAX);
        assert!(from <= to);
    }

    #[track_caller]
    fn check_url(text: &str, expected: Result<&str, &str>) {
        let found = parse_base_url(text).map(|url| url.to_string()).map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn base_urls_are_checked_and_passwords_not_repeated() {
        check_url("https://app.famulor.de/api", Ok("https://app.famulor.de/api"));
        check_url("ftp://x/api", Err("base URL \"ftp://x/api\" must begin with https:// (or http://) and a host"));
        check_url("https://u:secret@x/api", Err("base URL \"x\" must not hold a user or a password"));
        check_url("https://x/api?key=secret", Err("base URL \"x\" must end with its path"));
        check_url("x", Err("base URL \"(hidden)\" is not a URL"));
    }

    #[track_caller]
    fn check_standing(body: &str, expected: AccountStanding) {
        assert_eq!(standing(body.as_bytes()), Ok(expected), "{body}");
    }

    #[test]
    fn balances_are_read_as_numbers_or_strings() {
        let good = |balance: Option<&str>| AccountStanding::Good { balance: balance.map(str::to_owned) };
        check_standing(r#"{"name":"A","email":"a@b","total_balance":12.50}"#, good(Some("12.50")));
        check_standing(r#"{"total_balance":"0.01"}"#, good(Some("0.01")));
        check_standing(r#"{"data":{"total_balance":3}}"#, good(Some("3")));
        check_standing("{}", good(None));
        for nothing in ["0", "0.00", "-0.5", "\"0\"", "\"-1.2\""] {
            check_standing(&format!(r#"{{"total_balance":{nothing}}}"#), AccountStanding::BalanceExhausted);
        }
    }
}
