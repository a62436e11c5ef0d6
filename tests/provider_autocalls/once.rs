//! On the wire: a call is asked for once at most, and what is said about it is true.

use std::future::pending;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use outdial::port::permit::NotSent;
use outdial::port::provider::{NotPlaced, PlaceReply, Provider};

use super::support::{Peer, patient_provider, permit, permit_for, permit_looking, provider, server};

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const ACCEPTED: &str = r#"{"message":"ok","call_id":1}"#;

#[track_caller]
fn assert_in_doubt(reply: &PlaceReply, with_2xx: bool) {
    assert!(matches!(reply, PlaceReply::Unknown { accepted, .. } if *accepted == with_2xx), "{reply:?}");
}

#[tokio::test]
async fn a_refused_permit_puts_no_body_byte_on_the_wire() {
    for refusal in [NotSent::PermitExpired, NotSent::LeaseEnded, NotSent::GateClosed("outside the window".to_owned())] {
        let (url, received) = server(|mut peer, _| async move { peer.read_to_end().await }).await;
        let (permit, record) = permit_for(1, "123", Err(refusal.clone()));
        let reply = provider(&url).place(permit).await;
        assert_eq!(reply, PlaceReply::NotPlaced(NotPlaced::Unsent(refusal.clone())));
        assert_eq!(received.first_body(), b"");
        assert_eq!(received.connections().len(), 1, "tried once");
        assert_eq!(record.sent_at(), None);
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_client_usable() {
    let (url, received) = server(|mut peer, _| async move {
        while peer.read_request().await {
            peer.answer("200 OK", ACCEPTED).await;
        }
    })
    .await;
    let provider = provider(&url);
    for (attempt_no, verdict) in [(1, Ok(())), (2, Err(NotSent::PermitExpired)), (3, Ok(()))] {
        let (permit, _) = permit_for(attempt_no, "123", verdict.clone());
        let placed = matches!(provider.place(permit).await, PlaceReply::Placed { .. });
        assert_eq!(placed, verdict.is_ok());
        assert_eq!(received.whole_bodies(attempt_no), usize::from(placed));
    }
}

#[tokio::test]
async fn accepted_then_reset_is_in_doubt() {
    let (url, received) = server(|mut peer, _| async move {
        peer.read_request().await;
        peer.reset();
    })
    .await;
    let (permit, record) = permit(1);
    assert_in_doubt(&provider(&url).place(permit).await, false);
    assert!(record.sent_at().is_some());
    assert_eq!(received.whole_bodies(1), 1, "not sent again");
}

#[tokio::test]
async fn accepted_then_closed_is_in_doubt() {
    let (url, received) = server(|mut peer, _| async move {
        peer.read_request().await;
    })
    .await;
    let (permit, _) = permit(1);
    assert_in_doubt(&provider(&url).place(permit).await, false);
    assert_eq!(received.whole_bodies(1), 1);
}

#[tokio::test]
async fn closed_after_the_head_is_in_doubt_since_the_body_was_released() {
    let (url, _) = server(|mut peer, _| async move {
        peer.read_head().await;
        peer.reset();
    })
    .await;
    let (permit, record) = permit(1);
    let reply = provider(&url).place(permit).await;
    assert_eq!(matches!(reply, PlaceReply::Unknown { accepted: false, .. }), record.sent_at().is_some(), "{reply:?}");
}

#[tokio::test]
async fn no_answer_in_time_is_in_doubt() {
    let (url, received) = server(|mut peer, _| async move {
        peer.read_request().await;
        pending::<()>().await;
    })
    .await;
    let (permit, _) = permit(1);
    let reply = provider(&url).place(permit).await;
    assert_in_doubt(&reply, false);
    assert!(matches!(&reply, PlaceReply::Unknown { reason, .. } if reason.contains("timed out")), "{reply:?}");
    assert_eq!(received.whole_bodies(1), 1);
}

#[tokio::test]
async fn a_server_that_never_reads_leaves_us_in_doubt() {
    let (url, _) = server(|peer: Peer, _| async move {
        pending::<()>().await;
        drop(peer);
    })
    .await;
    let (permit, record) = permit(1);
    assert_in_doubt(&provider(&url).place(permit).await, false);
    assert!(record.sent_at().is_some());
}

/// The status line says 2xx, and then the answer stops in the way `end` says.
async fn broken_2xx(end: fn(Peer) -> Option<Peer>) -> PlaceReply {
    let (url, _) = server(move |mut peer, _| async move {
        peer.read_request().await;
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{\"call_id\":1").await;
        if let Some(peer) = end(peer) {
            pending::<()>().await;
            drop(peer);
        }
    })
    .await;
    let (permit, _) = permit(1);
    provider(&url).place(permit).await
}

#[tokio::test]
async fn a_2xx_cut_short_is_in_doubt_but_accepted() {
    let stalled = broken_2xx(Some).await;
    assert_in_doubt(&stalled, true);
    let closed = broken_2xx(|peer| {
        drop(peer);
        None
    })
    .await;
    assert_in_doubt(&closed, true);
}

#[tokio::test]
async fn garbage_instead_of_http_is_in_doubt() {
    let (url, _) = server(|mut peer, _| async move {
        peer.read_request().await;
        peer.write("SMTP ready\r\n\r\n").await;
    })
    .await;
    let (permit, _) = permit(1);
    assert_in_doubt(&provider(&url).place(permit).await, false);
}

#[tokio::test]
async fn connections_are_reused() {
    let (url, received) = server(|mut peer, _| async move {
        while peer.read_request().await {
            peer.answer("200 OK", ACCEPTED).await;
        }
    })
    .await;
    let provider = provider(&url);
    for attempt_no in 1..=5 {
        let (permit, _) = permit(attempt_no);
        assert!(matches!(provider.place(permit).await, PlaceReply::Placed { .. }));
    }
    assert_eq!(received.connections().len(), 1);
}

/// How a server ends a kept-alive connection on which a second request is about to arrive.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Right after the first answer, unannounced.
    AfterAnswer,
    /// The same, with a reset.
    ResetAfterAnswer,
    /// When the second request's first bytes are there, unread ones with them.
    AtFirstBytes,
    /// When its head is there, with a reset.
    AfterHead,
    /// When it is there as a whole: the call was placed.
    AfterRequest,
}

async fn ending_server(end: End) -> (String, super::support::Received) {
    server(move |mut peer, connection| async move {
        if !peer.read_request().await {
            return;
        }
        peer.answer("200 OK", ACCEPTED).await;
        if connection > 0 {
            // Only the first connection is hostile: a fresh one serves.
            while peer.read_request().await {
                peer.answer("200 OK", ACCEPTED).await;
            }
            return;
        }
        match end {
            End::AfterAnswer => {}
            End::ResetAfterAnswer => peer.reset(),
            End::AtFirstBytes => {
                let mut first = [0; 1];
                drop(peer.stream.peek(&mut first).await);
                peer.reset();
            }
            End::AfterHead => {
                peer.read_head().await;
                peer.reset();
            }
            End::AfterRequest => {
                peer.read_request().await;
                peer.reset();
            }
        }
    })
    .await
}

/// Races of each kind; eight different moments, twice.
const ROUNDS: u32 = 16;

/// Races the closing of a kept-alive connection against the next request on it, many times: the pool may notice in time,
/// or not. Either way at most one whole request arrives, and the reply is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_under_the_second_request_never_sends_it_twice() {
    for end in [End::AfterAnswer, End::ResetAfterAnswer, End::AtFirstBytes, End::AfterHead, End::AfterRequest] {
        let mut in_doubt = 0;
        for round in 0..ROUNDS {
            let (url, received) = ending_server(end).await;
            let provider = patient_provider(&url);
            let (first, _) = permit(1);
            assert!(matches!(provider.place(first).await, PlaceReply::Placed { .. }), "{end:?}");
            // Shifts the moment of the second request against the close.
            for _ in 0..round % 8 {
                tokio::task::yield_now().await;
            }
            let (second, record) = permit(2);
            let reply = provider.place(second).await;
            let arrived = received.whole_bodies(2);
            assert!(arrived <= 1, "{end:?}: {arrived} requests for one permit");
            match reply {
                PlaceReply::Placed { .. } => {
                    assert_eq!(
                        (arrived, received.connections().len()),
                        (1, 2),
                        "{end:?}: only a fresh connection answers"
                    );
                }
                PlaceReply::NotPlaced(NotPlaced::Unreachable { .. }) => {
                    assert_eq!((arrived, record.sent_at()), (0, None), "{end:?}");
                }
                PlaceReply::Unknown { accepted: false, .. } => {
                    in_doubt += 1;
                    assert!(record.sent_at().is_some(), "{end:?}");
                }
                other @ (PlaceReply::NotPlaced(_) | PlaceReply::Unknown { .. }) => panic!("{end:?}: {other:?}"),
            }
        }
        // Now and then the pool opens a second connection, which serves; the hostile one must have been met, though.
        if matches!(end, End::AtFirstBytes | End::AfterHead | End::AfterRequest) {
            assert!(in_doubt > 0, "{end:?}: no request was begun on the connection that closes");
        }
    }
}

/// The narrowest gap of all: the peer resets the connection after the pool has chosen it, between the last look and the
/// write. The body is released then, so the call is in doubt, although nobody received it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_reset_during_the_last_look_is_in_doubt_and_not_tried_again() {
    let (close, mut closing) = tokio::sync::mpsc::unbounded_channel::<()>();
    let (closed, wait_closed) = mpsc::channel::<()>();
    let closing = Arc::new(tokio::sync::Mutex::new(Some((async move { closing.recv().await }, closed))));
    let (url, received) = server(move |mut peer, _| {
        let closing = Arc::clone(&closing);
        async move {
            if !peer.read_request().await {
                return;
            }
            peer.answer("200 OK", ACCEPTED).await;
            let taken = closing.lock().await.take();
            let Some((signal, closed)) = taken else {
                peer.read_to_end().await;
                return;
            };
            signal.await;
            peer.reset();
            closed.send(()).expect("the last look waits");
        }
    })
    .await;
    let provider = provider(&url);
    let (first, _) = permit(1);
    assert!(matches!(provider.place(first).await, PlaceReply::Placed { .. }));
    let (second, record) = permit_looking(
        2,
        Box::new(move || {
            close.send(()).expect("the server waits");
            // A look must not wait in earnest; the runtime is told, since the server may be queued on this very thread.
            tokio::task::block_in_place(|| wait_closed.recv_timeout(PATIENCE)).expect("the server closes");
            Ok(Timestamp::UNIX_EPOCH)
        }),
    );
    assert_in_doubt(&provider.place(second).await, false);
    assert!(record.sent_at().is_some());
    assert_eq!(received.whole_bodies(2), 0);
    assert_eq!(received.connections().len(), 1, "not tried on another connection");
}

#[tokio::test]
async fn a_dropped_request_stays_unsent_or_was_sent_once() {
    let (url, received) = server(|mut peer, _| async move {
        while peer.read_request().await {
            peer.answer("200 OK", ACCEPTED).await;
        }
    })
    .await;
    let provider = provider(&url);
    let (dropped, record) = permit(1);
    // Dropped when it first waits: it is connecting then, so nothing has left and nothing may leave later.
    assert_eq!(provider.place(dropped).now_or_never(), None, "no answer comes without waiting");
    let (next, _) = permit(2);
    assert!(matches!(provider.place(next).await, PlaceReply::Placed { .. }));
    assert_eq!((received.whole_bodies(1), record.sent_at()), (0, None));
    assert_eq!(received.whole_bodies(2), 1);
}
