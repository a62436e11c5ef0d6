//! Two HTTP clients: one that asks for calls, once, and one that reads.
//!
//! Both speak HTTP/1.1 only, follow no redirect, use no proxy from the environment, and bound time and size. The asking
//! client answers one question with certainty: did the request's body leave? The pool may hand it a connection the
//! server is just closing; the gated body makes that safe, so connections are reused.

use std::fmt;
use std::sync::{Arc, Once, OnceLock, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use super::gate::{Fate, gated};
use super::quota::quota;
use crate::adapter::causes::with_causes;
use crate::port::allowance::{RequestGuard, Urgency};
use crate::port::permit::{Departure, NotSent};

/// Largest answer to a request for a call: documented answers have some hundred bytes.
const PLACE_BYTES_MAX: usize = 64 * 1024;
/// Largest answer about one thing: a call of 20 minutes with its transcript has some hundred kilobytes.
pub(super) const ONE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Largest page: a hundred such calls, or a hundred assistants with long prompts.
pub(super) const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Idle connections are kept this long: shorter than common servers keep them (nginx 75 s, Apache 5 s, proxies 60 s
/// mostly), so that few requests meet a connection that is just being closed.
const IDLE_FOR_MAX: Duration = Duration::from_secs(20);
/// Idle connections kept; a pass starts a batch of calls at once, and each that finds none idle opens one.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// Why a read was not even sent.
pub(super) const NOT_SENT: &str = "the account has no request left to send now";

/// Why a provider client cannot be made. Says nothing secret.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is not one.
    #[error("base URL {text:?} {problem}")]
    BaseUrl {
        /// What was given, without user and password.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The brand has no default and none was configured.
    #[error("provider {brand} needs a base URL")]
    BaseUrlMissing {
        /// The brand.
        brand: &'static str,
    },
    /// The key cannot be sent as a header.
    #[error("the API key is empty or has characters that cannot be sent")]
    ApiKey,
    /// TLS cannot be set up, say because the machine has no root certificates.
    #[error("cannot set up HTTPS: {reason}")]
    Tls {
        /// What the library says.
        reason: String,
    },
}

/// Limits on one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// From start to the last byte of the answer.
    pub(super) request: Duration,
    /// Name look-up, TCP and TLS.
    pub(super) connect: Duration,
}

/// What came of a request for a call.
#[derive(Debug)]
pub(super) enum Sent {
    /// The last look refused: no body byte was written.
    Unsent(NotSent),
    /// No body byte was written, for want of a connection.
    Unreachable { reason: String },
    /// The body was released and a status came. The rest may be missing.
    Answered(Answer),
    /// The body was released, and nothing is known of what followed.
    Lost { reason: String },
}

/// A status and what followed.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, String>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The two clients of an account. Every request that places no call passes the account's guard, and every answer's limits
/// are told to it.
pub(super) struct Http {
    placing: Client,
    reading: Client,
    /// The key as it is sent.
    bearer: RwLock<HeaderValue>,
    guard: OnceLock<Arc<dyn RequestGuard>>,
}

impl Http {
    pub(super) fn new(
        api_key: &SecretString,
        authorities: &[Certificate],
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        let bearer = bearer(api_key)?;
        // Keeps Laravel from answering errors with HTML or a redirect to its login page.
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let build =
            |builder: ClientBuilder| builder.build().map_err(|error| ClientError::Tls { reason: sentence(error) });
        Ok(Self {
            placing: build(bounded(headers.clone(), authorities, timeouts))?,
            reading: build(bounded(headers, authorities, timeouts))?,
            bearer: RwLock::new(bearer),
            guard: OnceLock::new(),
        })
    }

    /// Sends another key from the next request on; those under way end with theirs, and connections stay.
    pub(super) fn set_key(&self, api_key: &SecretString) -> Result<(), ClientError> {
        *self.bearer.write().expect("no reader panics") = bearer(api_key)?;
        Ok(())
    }

    fn bearer(&self) -> HeaderValue {
        self.bearer.read().expect("no writer panics").clone()
    }

    /// Asks `guard` before each further request. The first one given stays.
    pub(super) fn attach(&self, guard: Arc<dyn RequestGuard>) {
        // A second guard would be a second engine on the same account; the first one's budget is the one that counts.
        let _ = self.guard.set(guard);
    }

    /// Posts `json` once. The departure gate is passed right before the body is written.
    ///
    /// When the future is dropped, a body that has not been released never will be.
    pub(super) async fn post_once(&self, url: Url, json: Bytes, departure: Departure) -> Sent {
        let (gate, body) = gated(json, departure);
        let request = self.placing.post(url).header(AUTHORIZATION, self.bearer());
        let request = request.header(CONTENT_TYPE, "application/json").body(reqwest::Body::wrap(body)).send();
        let answer = match request.await {
            Ok(response) => Ok(self.receive(response, PLACE_BYTES_MAX).await),
            Err(error) => Err(sentence(error)),
        };
        match (gate.close(), answer) {
            (Fate::Refused(reason), _) => Sent::Unsent(reason),
            (Fate::NeverAsked, Err(reason)) => Sent::Unreachable { reason },
            (Fate::NeverAsked, Ok(answer)) => {
                Sent::Unreachable { reason: format!("HTTP {} before the request was written", answer.status.as_u16()) }
            }
            (Fate::Released, Ok(answer)) => Sent::Answered(answer),
            (Fate::Released, Err(reason)) => Sent::Lost { reason },
        }
    }

    /// Asks, without a body, for what may be repeated: a cancellation, say. Never for a call.
    pub(super) async fn post(&self, url: Url, bytes_max: usize) -> Result<Answer, String> {
        self.send(Urgency::Read, self.reading.post(url), bytes_max).await
    }

    /// Reads. May be repeated at will.
    pub(super) async fn get(&self, url: Url, bytes_max: usize) -> Result<Answer, String> {
        self.get_as(Urgency::Read, url, bytes_max).await
    }

    /// Reads, for a purpose that may be worth more than other reads.
    pub(super) async fn get_as(&self, urgency: Urgency, url: Url, bytes_max: usize) -> Result<Answer, String> {
        self.send(urgency, self.reading.get(url), bytes_max).await
    }

    async fn send(&self, urgency: Urgency, request: RequestBuilder, bytes_max: usize) -> Result<Answer, String> {
        if self.guard.get().is_some_and(|guard| !guard.take(urgency)) {
            return Err(NOT_SENT.to_owned());
        }
        match request.header(AUTHORIZATION, self.bearer()).send().await {
            Ok(response) => Ok(self.receive(response, bytes_max).await),
            Err(error) => Err(sentence(error)),
        }
    }

    async fn receive(&self, response: Response, bytes_max: usize) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(guard) = self.guard.get() {
            guard.told(quota(status, &headers));
        }
        Answer { status, headers, body: collect(response, bytes_max).await }
    }
}

fn bounded(headers: HeaderMap, authorities: &[Certificate], timeouts: Timeouts) -> ClientBuilder {
    static PROVIDER: Once = Once::new();
    // An error means that one was installed before, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder()
        .default_headers(headers)
        .user_agent(concat!("outdial/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .tls_certs_merge(authorities.iter().cloned())
        .timeout(timeouts.request)
        .connect_timeout(timeouts.connect)
        .pool_idle_timeout(IDLE_FOR_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
}

fn bearer(api_key: &SecretString) -> Result<HeaderValue, ClientError> {
    let api_key = api_key.expose_secret().trim();
    if api_key.is_empty() {
        return Err(ClientError::ApiKey);
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {api_key}")).map_err(|_| ClientError::ApiKey)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

async fn collect(mut response: Response, bytes_max: usize) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(sentence)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(format!("the answer is longer than {bytes_max} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The error with its causes, without the URL, which may hold a phone number.
fn sentence(error: reqwest::Error) -> String {
    let error = error.without_url();
    let happened = if error.is_timeout() { "timed out".to_owned() } else { error.to_string() };
    with_causes(happened, &error)
}
