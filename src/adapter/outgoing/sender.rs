//! Posts one event to one receiver. Follows no redirect, asks no proxy, and connects to no address that is not public
//! unless the receiver may be private: a name is looked up here, and the connection goes to the very address that was
//! judged. What the receiver answers besides its status is not read, but for what keeps the connection usable.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use super::letter::signature;
use crate::adapter::causes::with_causes;
use crate::config::{WebhookConfig, is_public};
use crate::domain::notice::NoticeKind;

/// From the beginning to the status of the answer: a receiver is to write down what it gets and act on it later.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Name look-up, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As much of an answer is read, so that its connection can be used again; one with more is closed.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// So long is waited for that much.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections are kept so long, and so many.
const IDLE_FOR_MAX: Duration = Duration::from_secs(20);
const IDLE_CONNECTIONS_MAX: usize = 4;
/// Longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Why a receiver did not take an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(super) struct NotTaken {
    /// What went wrong; without the address, which may hold a secret.
    pub(super) problem: String,
    /// How long the receiver asks us to wait.
    pub(super) retry_after: Option<Duration>,
}

/// Why nothing can be sent to a webhook.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The address was checked with the configuration; this one was not.
    #[error("its address is not a URL")]
    Url,
    /// TLS cannot be set up, say because the machine has no root certificates.
    #[error("cannot set up HTTPS: {0}")]
    Tls(String),
}

/// The client of one webhook, with connections of its own.
pub(super) struct Sender {
    client: Client,
    url: Url,
    secret: SecretString,
    allow_private: bool,
}

impl Sender {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, SenderError> {
        static PROVIDER: Once = Once::new();
        // An error means that one was installed before, which is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let url = Url::parse(config.url.expose_secret()).map_err(|_| SenderError::Url)?;
        let client = Client::builder()
            .user_agent(concat!("outdial/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .tls_certs_merge(config.authorities.iter().flat_map(|it| it.certificates.iter().cloned()))
            .dns_resolver(Vetted { allow_private: config.allow_private })
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_FOR_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build()
            .map_err(|error| SenderError::Tls(sentence(error)))?;
        Ok(Self { client, url, secret: config.secret.clone(), allow_private: config.allow_private })
    }

    /// Sends an event; `now` is real time.
    pub(super) async fn send(&self, id: Uuid, kind: NoticeKind, body: Bytes, now: Timestamp) -> Result<(), NotTaken> {
        // Addresses that are written as numbers are not looked up, so they are judged here.
        if !self.allow_private && literal(&self.url).is_some_and(|address| !is_public(address)) {
            return Err(not_taken(NOT_PUBLIC));
        }
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-Outdial-Event", kind.as_str())
            .header("X-Outdial-Event-Id", id.to_string())
            .header("X-Outdial-Signature", signature(&self.secret, now, &body))
            .body(body);
        let response = request.send().await.map_err(|error| not_taken(&sentence(error)))?;
        let status = response.status();
        let retry_after = retry_after(&response);
        // Whatever comes of it: the status has said what counts.
        _ = tokio::time::timeout(ANSWER_TIMEOUT, read_some(response)).await;
        if status.is_success() {
            return Ok(());
        }
        let what = if status.is_redirection() { ", and redirects are not followed" } else { "" };
        Err(NotTaken { problem: format!("it answered HTTP {}{what}", status.as_u16()), retry_after })
    }
}

const NOT_PUBLIC: &str = "its address is not public, and allow_private is not set";

fn not_taken(problem: &str) -> NotTaken {
    NotTaken { problem: problem.to_owned(), retry_after: None }
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// In seconds; dates are not understood, and our own pace then holds.
fn retry_after(response: &Response) -> Option<Duration> {
    let asks = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let seconds = response.headers().get(RETRY_AFTER).filter(|_| asks)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

async fn read_some(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// Looks names up and keeps back the addresses that must not be connected to.
struct Vetted {
    allow_private: bool,
}

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(vetted(found, allow_private)?.into_iter()) as Addrs)
        })
    }
}

fn vetted(mut found: Vec<SocketAddr>, allow_private: bool) -> Result<Vec<SocketAddr>, io::Error> {
    if !allow_private {
        found.retain(|address| is_public(address.ip()));
    }
    if found.is_empty() { Err(io::Error::other(NOT_PUBLIC)) } else { Ok(found) }
}

/// The error with its causes, without the URL.
fn sentence(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    with_causes(error.to_string(), &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
    }

    #[test]
    fn a_name_that_leads_home_is_not_followed_there() {
        let mixed = addresses(&["10.0.0.1", "93.184.215.14", "::1", "::ffff:127.0.0.1"]);
        assert_eq!(vetted(mixed.clone(), false).unwrap(), addresses(&["93.184.215.14"]));
        assert_eq!(vetted(mixed.clone(), true).unwrap(), mixed);
        assert!(vetted(addresses(&["127.0.0.1", "fd00::1"]), false).is_err());
        assert!(vetted(Vec::new(), true).is_err());
    }

    fn config(url: &str, allow_private: bool) -> WebhookConfig {
        let (url, secret) = (SecretString::from(url), SecretString::from("a-secret-of-sixteen"));
        WebhookConfig { url, secret, allow_private, authorities: None }
    }

    /// Sends to a server that counts who connects to it.
    async fn refused(url: &str) -> String {
        let sender = Sender::new(&config(url, false)).unwrap();
        let sent = sender.send(Uuid::nil(), NoticeKind::LeadDisposed, Bytes::new(), Timestamp::UNIX_EPOCH).await;
        sent.unwrap_err().problem
    }

    #[tokio::test]
    async fn nobody_connects_to_a_private_address_however_it_is_written() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "localhost"] {
            let problem = refused(&format!("http://{host}:{port}/token")).await;
            assert!(problem.contains("not public"), "{host}: {problem}");
            assert!(!problem.contains("token"), "{problem}");
        }
        let waited = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(waited.is_err(), "somebody connected");
    }
}
