//! The right to place one call.
//!
//! A [`DialPermit`] is made from a [`CommittedIntent`], which only a store's committed statement yields. It is not
//! `Clone`, and [`Departure::depart`] consumes the right to send: the second request of a permit cannot be written,
//! whoever asks, a retrying HTTP library included.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::domain::call_options::CallOptions;
use crate::domain::id::{AssistantId, AttemptId};
use crate::domain::phone::PhoneNumber;

/// An intent that is durable: the database has acknowledged its commit.
#[derive(Debug, PartialEq, Eq)]
pub struct CommittedIntent {
    attempt_id: AttemptId,
}

impl CommittedIntent {
    /// For stores: call it with ids a committed statement returned, and with nothing else.
    pub fn acknowledged_by_database(attempt_id: AttemptId) -> Self {
        Self { attempt_id }
    }

    /// Which attempt.
    pub fn attempt_id(&self) -> AttemptId {
        self.attempt_id
    }
}

/// What the provider is asked to do.
#[derive(Clone, PartialEq)]
pub struct OutboundCall {
    /// Our token; goes out as the correlation variable.
    pub attempt_id: AttemptId,
    /// Whom to ring.
    pub phone: PhoneNumber,
    /// Who speaks.
    pub assistant_id: AssistantId,
    /// Campaign and lead variables, merged.
    pub variables: Map<String, Value>,
    /// What the campaign asks of the call.
    pub options: CallOptions,
    /// The moment the permit was granted, where the campaign wants the request to name a time.
    pub scheduled_for: Option<Timestamp>,
}

impl fmt::Debug for OutboundCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundCall")
            .field("attempt_id", &self.attempt_id)
            .field("phone", &self.phone)
            .field("assistant_id", &self.assistant_id)
            .field("variables", &format_args!("({} hidden)", self.variables.len()))
            .finish()
    }
}

/// Why nothing was sent although a permit was held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The permit was too old: the facts it was granted on may have changed.
    #[error("the permit expired before the request was sent")]
    PermitExpired,
    /// The account's lease may have moved to another replica.
    #[error("the account's lease ended before the request was sent")]
    LeaseEnded,
    /// A gate closed after the permit was granted.
    #[error("{0}")]
    GateClosed(String),
    /// The permit had been used.
    #[error("the permit was used before")]
    AlreadyUsed,
}

/// The last look: waits for the start's slot, checks every gate that may have closed, and returns the moment of sending.
pub type LastLook = Pin<Box<dyn Future<Output = Result<Timestamp, NotSent>> + Send>>;

/// The right to send one request.
pub struct DialPermit {
    call: OutboundCall,
    departure: Departure,
}

impl DialPermit {
    /// Makes the permit of a committed intent. `last_look` decides, at the moment the request is about to leave,
    /// whether it still may, and returns that moment.
    pub fn new(intent: &CommittedIntent, call: OutboundCall, last_look: LastLook) -> Self {
        assert_eq!(intent.attempt_id, call.attempt_id, "a permit is for the call of its own intent");
        let departure = Departure { last_look: Some(last_look), sent_at: Arc::new(OnceLock::new()) };
        Self { call, departure }
    }

    /// What to ask for, and the gate the request passes when its first body byte is about to be written.
    pub fn into_parts(self) -> (OutboundCall, Departure) {
        (self.call, self.departure)
    }

    /// A look at when the request left; it outlives the permit.
    pub fn record(&self) -> DepartureRecord {
        DepartureRecord { sent_at: Arc::clone(&self.departure.sent_at) }
    }
}

/// The gate at the door; opens once at most.
pub struct Departure {
    last_look: Option<LastLook>,
    sent_at: Arc<OnceLock<Timestamp>>,
}

impl Departure {
    /// Takes the last look. `Ready(Ok)` means: write the request now.
    ///
    /// # Errors
    /// When a gate has closed or the permit has been used. Nothing may be sent then.
    pub fn poll_depart(&mut self, cx: &mut Context<'_>) -> Poll<Result<Timestamp, NotSent>> {
        let Some(last_look) = &mut self.last_look else {
            return Poll::Ready(Err(NotSent::AlreadyUsed));
        };
        let verdict = std::task::ready!(last_look.as_mut().poll(cx));
        self.last_look = None;
        if let Ok(at) = &verdict {
            self.sent_at.set(*at).expect("a departure opens once at most");
        }
        Poll::Ready(verdict)
    }

    /// [`Self::poll_depart`], for those who can wait.
    ///
    /// # Errors
    /// As there.
    pub async fn depart(&mut self) -> Result<Timestamp, NotSent> {
        std::future::poll_fn(|cx| self.poll_depart(cx)).await
    }
}

/// What became of a permit.
#[derive(Clone)]
pub struct DepartureRecord {
    sent_at: Arc<OnceLock<Timestamp>>,
}

impl DepartureRecord {
    /// When the request's first body byte was released, if it was.
    pub fn sent_at(&self) -> Option<Timestamp> {
        self.sent_at.get().copied()
    }
}
