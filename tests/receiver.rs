//! What a client of the receiver may take, over plain TCP: time, connections, heads, bodies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outdial::adapter::clock::ScaledClock;
use outdial::adapter::http::{self, ReceiverLimits, ReceiverOptions};
use outdial::adapter::memory::MemoryStore;
use outdial::domain::id::{AccountName, Installation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

const TOKEN: &str = "a-token-of-this-test";
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is still open after this is taken to stay open.
const A_WHILE: Duration = Duration::from_millis(300);

struct Receiver {
    address: std::net::SocketAddr,
    _running: DropGuard,
}

impl Receiver {
    async fn with(limits: ReceiverLimits) -> Self {
        let listener = http::bind("http.listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = ReceiverOptions {
            tokens: BTreeMap::from([(AccountName::new("main"), TOKEN.into())]),
            body_max: 1_000,
            limits,
            stored: Box::new(|_| {}),
            ready: Box::new(|| true),
            live: Box::new(|| true),
        };
        let store = Arc::new(MemoryStore::new(Installation::new(1), Arc::new(|| Duration::ZERO)));
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, store, ScaledClock::identity(), options, stop.clone()));
        Self { address, _running: stop.drop_guard() }
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The first bytes of what comes back; empty when the connection was closed without a word.
async fn hear(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 1_000];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("it was answered or closed");
    String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
}

async fn closed(stream: &mut TcpStream) {
    let rest = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    // A reset is an end, too.
    let _ = rest.expect("it was closed");
}

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";

#[tokio::test]
async fn who_says_nothing_or_too_slowly_is_shut_out() {
    let limits = ReceiverLimits { first_request_within: A_WHILE, ..ReceiverLimits::default() };
    let receiver = Receiver::with(limits).await;
    let (mut silent, mut slow) = (receiver.client().await, receiver.client().await);
    say(&mut slow, "GET /livez HTTP/1.1\r\nhost").await;
    assert_eq!(hear(&mut silent).await, "");
    assert_eq!(hear(&mut slow).await, "");
}

#[tokio::test]
async fn who_has_asked_is_kept_until_it_rests_too_long() {
    let limits = ReceiverLimits { first_request_within: A_WHILE, idle_max: A_WHILE * 4, ..ReceiverLimits::default() };
    let receiver = Receiver::with(limits).await;
    let mut client = receiver.client().await;
    for _ in 0..2 {
        say(&mut client, LIVEZ).await;
        assert!(hear(&mut client).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(A_WHILE * 2).await;
    }
    closed(&mut client).await;
}

#[tokio::test]
async fn one_client_too_many_waits_for_its_turn() {
    let limits = ReceiverLimits { connections_max: 1, kept_percent: 100, ..ReceiverLimits::default() };
    let receiver = Receiver::with(limits).await;
    let (mut first, mut second) = (receiver.client().await, receiver.client().await);
    say(&mut first, LIVEZ).await;
    assert!(hear(&mut first).await.starts_with("HTTP/1.1 200"));
    say(&mut second, LIVEZ).await;
    let mut byte = [0];
    assert!(timeout(A_WHILE, second.read(&mut byte)).await.is_err(), "the only place is taken");
    drop(first);
    assert!(hear(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn when_places_are_scarce_nobody_keeps_one_without_asking() {
    let limits = ReceiverLimits { connections_max: 4, kept_percent: 50, ..ReceiverLimits::default() };
    let receiver = Receiver::with(limits).await;
    let mut clients = Vec::new();
    for expected in ["kept", "kept", "closed", "closed"] {
        let mut client = receiver.client().await;
        say(&mut client, LIVEZ).await;
        let answer = hear(&mut client).await;
        assert_eq!(if answer.contains("connection: close") { "closed" } else { "kept" }, expected, "{answer}");
        if expected == "closed" {
            closed(&mut client).await;
        }
        clients.push(client);
    }
}

#[tokio::test]
async fn a_head_is_bounded() {
    let receiver = Receiver::with(ReceiverLimits::default()).await;
    let mut client = receiver.client().await;
    say(&mut client, &format!("GET /livez HTTP/1.1\r\nhost: here\r\nx: {}\r\n\r\n", "y".repeat(20_000))).await;
    assert!(hear(&mut client).await.starts_with("HTTP/1.1 431"));
    let mut client = receiver.client().await;
    say(&mut client, &format!("GET /livez HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(65))).await;
    assert!(hear(&mut client).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_body_is_read_only_with_the_right_token_and_only_so_far() {
    let receiver = Receiver::with(ReceiverLimits::default()).await;
    let post = |token: &str, length: usize| {
        format!("POST /webhook/main/{token} HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n")
    };
    // The body never comes, and is not waited for.
    let mut stranger = receiver.client().await;
    say(&mut stranger, &post("another-token-for-it", 900)).await;
    assert!(hear(&mut stranger).await.starts_with("HTTP/1.1 404"));
    let mut greedy = receiver.client().await;
    say(&mut greedy, &post(TOKEN, 1_001)).await;
    say(&mut greedy, &"x".repeat(1_001)).await;
    assert!(hear(&mut greedy).await.starts_with("HTTP/1.1 413"));
    let mut good = receiver.client().await;
    say(&mut good, &post(TOKEN, 1_000)).await;
    say(&mut good, &"x".repeat(1_000)).await;
    assert!(hear(&mut good).await.starts_with("HTTP/1.1 200"));
}
