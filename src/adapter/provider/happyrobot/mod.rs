//! HappyRobot, in both versions of its API: v1 dials (`dial/outbound`), v2 runs workflows that dial.
//!
//! Neither knows an idempotency key, so nothing here asks for one call twice; HappyRobot's own client libraries do, on 429
//! and 5xx, which is why none is used. The attempt id goes along, in v1 under `metadata`, in v2 in the payload. There is
//! no list of assistants to read: the configuration declares them.
//!
//! Sources: HappyRobot docs, `api-reference/dial` and `api-reference/calls` (v1) and `webhook-payload-contract`; the
//! OpenAPI document of the platform API (v2); all read 2026-11-21. Error bodies, limits and the paths of single calls of
//! v1 are documented nowhere; what a workflow calls its number, nobody but the workflow's author knows.

mod reply;
mod status;
mod token;
mod v1;
mod v2;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use reqwest::{Certificate, StatusCode, Url};
use secrecy::SecretString;

use super::autocalls::parse_base_url;
use super::http::{Answer, ClientError, Http, ONE_BYTES_MAX, Timeouts};
use super::reply::{Words, retry_after};
use super::wire::{Fields, repair};
use crate::config::{DeclaredAssistant, HappyRobotApi, HappyRobotConfig};
use crate::domain::assistant::{Assistant, AssistantDetails};
use crate::domain::id::{AccountName, Installation, ProviderCallId};
use crate::domain::report::{CallReport, Source, Undecodable};
use crate::port::allowance::RequestGuard;
use crate::port::permit::{DialPermit, OutboundCall};
use crate::port::provider::{
    Abilities, AccountStanding, CallPage, CallQuery, CancelError, PlaceReply, Provider, ReadError, ResultReads,
};

use token::Tokens;

/// How to reach one account.
pub struct HappyRobotOptions {
    /// Its name in the configuration.
    pub account: AccountName,
    /// Which API, and whom it knows.
    pub config: HappyRobotConfig,
    /// Where the API lives, up to and with `/api/v1` or `/api/v2`.
    pub base_url: String,
    /// Certificate authorities to trust besides the machine's.
    pub authorities: Vec<Certificate>,
    /// The API key.
    pub api_key: SecretString,
    /// The name under which the attempt id goes along.
    pub correlation_variable: String,
    /// Whose attempt ids are ours.
    pub installation: Installation,
    /// The longest call: no call is asked to be longer.
    pub call_max: SignedDuration,
    /// From the start of a request to the last byte of its answer.
    pub request_timeout: Duration,
    /// Name look-up, TCP and TLS together.
    pub connect_timeout: Duration,
}

/// One account.
pub struct HappyRobot {
    account: AccountName,
    api: HappyRobotApi,
    assistants: Vec<DeclaredAssistant>,
    base_url: Url,
    http: Http,
    tokens: Tokens,
    words: Words,
    call_max: SignedDuration,
}

impl fmt::Debug for HappyRobot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HappyRobot")
            .field("account", &self.account.as_str())
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

impl HappyRobot {
    /// Sets up the clients of one account. Does not touch the network.
    ///
    /// # Errors
    /// When the base URL or the key cannot be used, or TLS cannot be set up.
    pub fn new(options: HappyRobotOptions) -> Result<Self, ClientError> {
        let HappyRobotOptions {
            account,
            config,
            base_url,
            authorities,
            api_key,
            correlation_variable,
            installation,
            call_max,
            request_timeout,
            connect_timeout,
        } = options;
        let base_url = parse_base_url(&base_url)?;
        let http = Http::new(&api_key, &authorities, Timeouts { request: request_timeout, connect: connect_timeout })?;
        let tokens = Tokens { variable: correlation_variable, installation };
        let words = Words::new(api_key);
        let HappyRobotConfig { api, assistants } = config;
        Ok(Self { account, api, assistants, base_url, http, tokens, words, call_max })
    }

    /// What the configuration says about the assistant of a call; `None` once it is no longer declared.
    fn declared(&self, call: &OutboundCall) -> Option<&DeclaredAssistant> {
        self.assistants.iter().find(|declared| declared.assistant_id == call.assistant_id)
    }

    /// The variables of a call: the assistant's, and over them those of campaign and lead.
    fn variables(&self, call: &OutboundCall) -> serde_json::Map<String, serde_json::Value> {
        let mut variables = self.declared(call).map(|declared| declared.variables.clone()).unwrap_or_default();
        variables.extend(call.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        variables
    }

    /// The account's name.
    pub fn account(&self) -> &AccountName {
        &self.account
    }

    /// The address of one thing. Segments are escaped, and never climb.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base_url.clone();
        url.path_segments_mut().expect("http URLs have a path").pop_if_empty().extend(segments);
        url
    }

    /// The address of a call under a configured path.
    fn url_of(&self, path: &str, id: &ProviderCallId) -> Url {
        let segments: Vec<&str> = path
            .trim_start_matches('/')
            .split('/')
            .map(|segment| if segment == "{id}" { id.as_str() } else { segment })
            .collect();
        self.url(&segments)
    }

    async fn read(&self, url: Url, bytes_max: usize) -> Result<Bytes, ReadError> {
        let answer = self.http.get(url, bytes_max).await.map_err(|reason| ReadError::Unavailable { reason })?;
        if answer.status.is_success() {
            return answer.body.map_err(|reason| ReadError::Unavailable { reason });
        }
        let reason = self.words_of(&answer);
        Err(match answer.status {
            StatusCode::NOT_FOUND => ReadError::NotFound,
            StatusCode::UNAUTHORIZED => ReadError::AccountStopped(AccountStanding::KeyRefused),
            StatusCode::FORBIDDEN => ReadError::AccountStopped(AccountStanding::Forbidden { reason }),
            StatusCode::TOO_MANY_REQUESTS => ReadError::RateLimited { retry_after: retry_after(&answer) },
            // It does not pass by itself.
            status if status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT => {
                ReadError::Unreadable { reason: format!("HTTP {}: {reason}", status.as_u16()) }
            }
            status => ReadError::Unavailable { reason: format!("HTTP {}: {reason}", status.as_u16()) },
        })
    }

    async fn post_cancel(&self, url: Url) -> Result<(), CancelError> {
        let unavailable = |reason| CancelError::Read(ReadError::Unavailable { reason });
        let answer = self.http.post(url, ONE_BYTES_MAX).await.map_err(unavailable)?;
        let reason = self.words_of(&answer);
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => Err(ReadError::AccountStopped(AccountStanding::KeyRefused).into()),
            StatusCode::TOO_MANY_REQUESTS => Err(ReadError::RateLimited { retry_after: retry_after(&answer) }.into()),
            status
                if status.is_client_error()
                    && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY) =>
            {
                Err(CancelError::Refused { status: status.as_u16(), reason })
            }
            status => Err(unavailable(format!("HTTP {}: {reason}", status.as_u16()))),
        }
    }

    fn words_of(&self, answer: &Answer) -> String {
        let body = answer.body.as_deref().map(repair).unwrap_or_default();
        self.words.of(Fields::read(&body).ok().as_ref())
    }
}

impl Provider for HappyRobot {
    fn attach(&self, guard: Arc<dyn RequestGuard>) {
        self.http.attach(guard);
    }

    async fn place(&self, permit: DialPermit) -> PlaceReply {
        let (call, departure) = permit.into_parts();
        let (url, body) = match &self.api {
            HappyRobotApi::V1 { call: defaults, .. } => {
                (self.url(&["dial", "outbound"]), v1::dial_body(self, defaults, &call))
            }
            HappyRobotApi::V2 { environment, phone_field, variables_field } => {
                let names = v2::PayloadNames {
                    environment: environment.as_deref(),
                    phone: phone_field,
                    variables: variables_field.as_deref(),
                };
                (self.url(&["workflows", call.assistant_id.as_str(), "runs"]), v2::run_body(self, &names, &call))
            }
        };
        let sent = self.http.post_once(url, body, departure).await;
        match &self.api {
            HappyRobotApi::V1 { .. } => reply::judge(sent, &self.words, v1::placed_id),
            HappyRobotApi::V2 { .. } => reply::judge(sent, &self.words, v2::placed_id),
        }
    }

    async fn read_call(&self, id: &ProviderCallId) -> Result<Bytes, ReadError> {
        check_id(id)?;
        match &self.api {
            HappyRobotApi::V1 { call_path, .. } => v1::read_call(self, call_path.as_deref(), id).await,
            HappyRobotApi::V2 { .. } => v2::read_run(self, id).await,
        }
    }

    async fn list_calls(&self, query: &CallQuery) -> Result<CallPage, ReadError> {
        match &self.api {
            HappyRobotApi::V1 { .. } => v1::list_calls(self, query).await,
            HappyRobotApi::V2 { .. } => v2::list_runs(self, query).await,
        }
    }

    /// The declared ones: HappyRobot documents no list to read.
    async fn assistants(&self) -> Result<Vec<Assistant>, ReadError> {
        Ok(self.assistants.iter().map(|declared| self.assistant(declared)).collect())
    }

    /// Neither version documents a look at the account, so the cheapest read there is tells whether the key works.
    async fn health(&self) -> Result<AccountStanding, ReadError> {
        let answer = match &self.api {
            HappyRobotApi::V1 { .. } => v1::look(self).await,
            HappyRobotApi::V2 { .. } => v2::look(self).await,
        };
        match answer {
            Ok(()) => Ok(AccountStanding::Good { balance: None }),
            Err(ReadError::AccountStopped(standing)) => Ok(standing),
            Err(error) => Err(error),
        }
    }

    async fn cancel(&self, id: &ProviderCallId) -> Result<(), CancelError> {
        check_id(id)?;
        match &self.api {
            HappyRobotApi::V1 { cancel_path: Some(path), .. } => self.post_cancel(self.url_of(path, id)).await,
            HappyRobotApi::V1 { cancel_path: None, .. } => Err(CancelError::NotSupported),
            // A single run. `workflows/{id}/cancel-runs` would unpublish the workflow besides.
            HappyRobotApi::V2 { .. } => self.post_cancel(self.url(&["runs", id.as_str(), "cancel"])).await,
        }
    }

    fn abilities(&self) -> Abilities {
        match &self.api {
            HappyRobotApi::V1 { call_path, cancel_path, .. } => Abilities {
                results: if call_path.is_some() { ResultReads::CallOrList } else { ResultReads::List },
                takes_call_options: true,
                cancels: cancel_path.is_some(),
                // How `type`, `from` and `to` are read is not documented.
                empty_list_is_believed: false,
                ..Abilities::default()
            },
            HappyRobotApi::V2 { .. } => Abilities {
                list_proves_absence: false,
                empty_list_is_believed: false,
                results: ResultReads::Call,
                // The run, its sessions, and its entry in the list once it is over.
                read_requests: 3,
                list_requests: u32::try_from(self.assistants.len()).unwrap_or(u32::MAX),
                takes_call_options: false,
                cancels: true,
            },
        }
    }

    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
        match &self.api {
            HappyRobotApi::V1 { .. } => v1::report(&self.tokens, source, body),
            HappyRobotApi::V2 { phone_field, .. } => match source {
                Source::Webhook => v2::webhook_report(body),
                Source::Call => v2::run_report(&self.tokens, phone_field, body),
            },
        }
    }
}

impl HappyRobot {
    fn assistant(&self, declared: &DeclaredAssistant) -> Assistant {
        Assistant {
            assistant_id: declared.assistant_id.clone(),
            name: declared.name.clone(),
            active: declared.active,
            status: if declared.active { "declared" } else { "declared inactive" }.to_owned(),
            mode: None,
            language_id: None,
            webhook_url: None,
            // The attempt id goes along beside the variables and needs no declaration at the provider.
            variables: [self.tokens.variable.clone()].into_iter().chain(declared.variables.keys().cloned()).collect(),
            // A campaign may ask for longer calls than its assistant does, so the account's `call_max` bounds the line.
            details: AssistantDetails::default(),
        }
    }
}

/// Ids come from webhooks, which are not signed: one that is a path must not become a path.
fn check_id(id: &ProviderCallId) -> Result<(), ReadError> {
    if is_plain(id.as_str()) { Ok(()) } else { Err(ReadError::NotFound) }
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    !id.is_empty() && id.bytes().all(plain)
}

fn unreadable(problem: Undecodable) -> ReadError {
    ReadError::Unreadable { reason: problem.to_string() }
}
