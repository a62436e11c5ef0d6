//! A provider whose certificate is of a private authority: reached with `ca_file`, and nobody is rung without it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::sync::Arc;
use std::time::Duration;

use outdial::adapter::provider::{AnyProvider, Autocalls, AutocallsOptions};
use outdial::port::provider::{NotPlaced, PlaceReply, Provider, ReadError};
use reqwest::Certificate;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::support::{options, permit};

const AUTHORITY: &[u8] = include_bytes!("../fixtures/tls/authority.pem");
const SERVER: &[u8] = include_bytes!("../fixtures/tls/server.pem");
const SERVER_KEY: &[u8] = include_bytes!("../fixtures/tls/server.key");

/// Answers every request as an account in good standing would be.
async fn private_provider() -> String {
    let certificate = CertificateDer::from_pem_slice(SERVER).unwrap();
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us goes away during the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let body = r#"{"name":"A","email":"a@example.org","total_balance":12.50}"#;
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

fn client(url: &str, authorities: Vec<Certificate>) -> AnyProvider {
    let options = AutocallsOptions { authorities, ..options(url, Duration::from_secs(10)) };
    AnyProvider::Autocalls(Box::new(Autocalls::new(options).expect("a client")))
}

#[tokio::test]
async fn with_its_authority_a_private_provider_is_reached() {
    let url = private_provider().await;
    let provider = client(&url, Certificate::from_pem_bundle(AUTHORITY).unwrap());
    assert!(provider.health().await.expect("a standing").is_good());
}

#[tokio::test]
async fn without_it_nothing_is_asked_and_nobody_rung() {
    let url = private_provider().await;
    let provider = client(&url, Vec::new());
    let Err(ReadError::Unavailable { reason, .. }) = provider.health().await else { panic!("it must not be trusted") };
    assert!(reason.contains("certificate"), "{reason}");
    let (permit, departure) = permit(1);
    let reply = provider.place(permit).await;
    assert!(matches!(reply, PlaceReply::NotPlaced(NotPlaced::Unreachable { .. })), "{reply:?}");
    assert_eq!(departure.sent_at(), None);
}
