//! A request body that passes a gate when it is first asked for its bytes, and hands them out at most once.
//!
//! This is what makes "sent at most once" true whatever the HTTP library does: a second write of the same request finds
//! no bytes. The sender closes the gate when it has made up its mind, so "nothing was sent" cannot become untrue later
//! in some background task of the library.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::port::permit::{Departure, NotSent};

/// What became of a body by the time its gate was closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Its bytes were handed to the connection: they may have arrived.
    Released,
    /// The last look refused; no byte was handed out.
    Refused(NotSent),
    /// Nobody asked for it; no byte was handed out, and none ever will be.
    NeverAsked,
}

/// The sender's end. Closes the gate when dropped.
pub(super) struct Gate(Arc<Mutex<State>>);

/// The connection's end.
pub(super) struct GatedBody {
    state: Arc<Mutex<State>>,
    length: u64,
}

enum State {
    Waiting { departure: Departure, data: Bytes },
    Released,
    Refused(NotSent),
    Closed,
}

/// Makes a body of `data` behind `departure`.
///
/// # Panics
/// When `data` is empty: an empty body is never asked for, so its gate would never be passed.
pub(super) fn gated(data: Bytes, departure: Departure) -> (Gate, GatedBody) {
    assert!(!data.is_empty(), "a gated body must have bytes to hold back");
    let length = data.len() as u64;
    let state = Arc::new(Mutex::new(State::Waiting { departure, data }));
    (Gate(Arc::clone(&state)), GatedBody { state, length })
}

impl Gate {
    /// Shuts the gate for good and says what happened before.
    pub(super) fn close(&self) -> Fate {
        let mut state = lock(&self.0);
        match &*state {
            State::Released => Fate::Released,
            State::Refused(reason) => Fate::Refused(reason.clone()),
            State::Waiting { .. } | State::Closed => {
                *state = State::Closed;
                Fate::NeverAsked
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

/// Why a body gave no bytes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Shut {
    #[error("{0}")]
    Refused(NotSent),
    #[error("the sender gave up before the request was written")]
    Closed,
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = Shut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Shut>>> {
        let mut state = lock(&self.state);
        Poll::Ready(match mem::replace(&mut *state, State::Closed) {
            // If the last look panics, the state stays closed and nothing is sent.
            State::Waiting { mut departure, data } => match departure.poll_depart(cx) {
                Poll::Pending => {
                    *state = State::Waiting { departure, data };
                    return Poll::Pending;
                }
                Poll::Ready(Ok(_)) => {
                    *state = State::Released;
                    Some(Ok(Frame::data(data)))
                }
                Poll::Ready(Err(reason)) => {
                    *state = State::Refused(reason.clone());
                    Some(Err(Shut::Refused(reason)))
                }
            },
            State::Released => {
                *state = State::Released;
                None
            }
            State::Refused(reason) => {
                *state = State::Refused(reason.clone());
                Some(Err(Shut::Refused(reason)))
            }
            State::Closed => Some(Err(Shut::Closed)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(&*lock(&self.state), State::Released)
    }

    /// Always the whole length, even when nothing is left: a second write would then promise bytes it cannot deliver,
    /// and fail, rather than send an empty request.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Waker;

    use jiff::Timestamp;
    use serde_json::Map;

    use super::*;
    use crate::domain::call_options::CallOptions;
    use crate::domain::id::{AssistantId, AttemptId, AttemptKey, CampaignId, Installation, LeadId};
    use crate::domain::phone::PhoneNumber;
    use crate::port::permit::{CommittedIntent, DialPermit, OutboundCall};

    fn departure(verdict: Result<(), NotSent>) -> (Departure, Arc<AtomicU32>) {
        let key = AttemptKey { campaign_id: CampaignId(1), lead_id: LeadId(1), attempt_no: 1 };
        let attempt_id = AttemptId::derive(Installation::new(1), key);
        let call = OutboundCall {
            attempt_id,
            phone: PhoneNumber::parse("+14155550132").expect("a number"),
            assistant_id: AssistantId::new("1"),
            variables: Map::new(),
            options: CallOptions::default(),
            scheduled_for: None,
        };
        let looks = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&looks);
        let look = async move {
            counter.fetch_add(1, Ordering::SeqCst);
            verdict.map(|()| Timestamp::UNIX_EPOCH)
        };
        let intent = CommittedIntent::acknowledged_by_database(attempt_id);
        let (_, departure) = DialPermit::new(&intent, call, Box::pin(look)).into_parts();
        (departure, looks)
    }

    fn poll(body: &mut GatedBody) -> Option<Result<Bytes, String>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame.map(|frame| {
                frame.map(|frame| frame.into_data().expect("only data frames")).map_err(|shut| shut.to_string())
            }),
            Poll::Pending => panic!("this last look never waits"),
        }
    }

    #[test]
    fn bytes_come_out_once() {
        let (departure, looks) = departure(Ok(()));
        let (gate, mut body) = gated(Bytes::from_static(b"call"), departure);
        assert!(!body.is_end_stream());
        assert_eq!(poll(&mut body), Some(Ok(Bytes::from_static(b"call"))));
        assert!(body.is_end_stream());
        assert_eq!(poll(&mut body), None);
        assert_eq!(poll(&mut body), None);
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert_eq!(gate.close(), Fate::Released);
        assert_eq!(body.size_hint().exact(), Some(4));
    }

    #[test]
    fn a_refusal_is_final() {
        let (departure, looks) = departure(Err(NotSent::PermitExpired));
        let (gate, mut body) = gated(Bytes::from_static(b"call"), departure);
        let refusal = Some(Err(NotSent::PermitExpired.to_string()));
        assert_eq!(poll(&mut body), refusal);
        assert_eq!(poll(&mut body), refusal);
        assert!(!body.is_end_stream());
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert_eq!(gate.close(), Fate::Refused(NotSent::PermitExpired));
    }

    #[test]
    fn a_closed_gate_stays_closed_and_the_last_look_is_never_taken() {
        let (departure, looks) = departure(Ok(()));
        let (gate, mut body) = gated(Bytes::from_static(b"call"), departure);
        assert_eq!(gate.close(), Fate::NeverAsked);
        assert!(matches!(poll(&mut body), Some(Err(_))));
        assert!(!body.is_end_stream(), "a body that ends without bytes would look complete");
        assert_eq!(gate.close(), Fate::NeverAsked);
        assert_eq!(looks.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn dropping_the_sender_closes_the_gate() {
        let (departure, looks) = departure(Ok(()));
        let (gate, mut body) = gated(Bytes::from_static(b"call"), departure);
        drop(gate);
        assert!(matches!(poll(&mut body), Some(Err(_))));
        assert_eq!(looks.load(Ordering::SeqCst), 0);
    }
}
