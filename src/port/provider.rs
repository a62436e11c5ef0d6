//! What the engine asks of a provider.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::assistant::Assistant;
use crate::domain::id::ProviderCallId;
use crate::domain::phone::PhoneNumber;
use crate::domain::report::{CallReport, Source, Undecodable};

use super::allowance::RequestGuard;
use super::permit::{DialPermit, NotSent};

/// One account at one provider.
pub trait Provider: Send + Sync + 'static {
    /// Whom to ask before each request that places no call, and to tell what answers say about limits. Given once, before
    /// anything else; without it, as for a command that looks at an account, nothing is limited.
    fn attach(&self, guard: Arc<dyn RequestGuard>);

    /// Asks for one call, once. Must call the permit's departure gate right before the first byte of the request body is
    /// written, must send nothing when the gate refuses, and must never send twice.
    ///
    /// The future may be dropped at any time; what was asked for is then in doubt.
    fn place(&self, permit: DialPermit) -> impl Future<Output = PlaceReply> + Send;

    /// Reads one call, raw; decode it with [`Provider::decode`].
    fn read_call(&self, id: &ProviderCallId) -> impl Future<Output = Result<Bytes, ReadError>> + Send;

    /// Reads one page of the account's outbound calls, newest first.
    fn list_calls(&self, query: &CallQuery) -> impl Future<Output = Result<CallPage, ReadError>> + Send;

    /// All assistants the account may use for outbound calls, active and inactive.
    fn assistants(&self) -> impl Future<Output = Result<Vec<Assistant>, ReadError>> + Send;

    /// Whether the account can place calls, as far as the provider tells.
    fn health(&self) -> impl Future<Output = Result<AccountStanding, ReadError>> + Send;

    /// Takes back a call that has not begun. May be repeated.
    fn cancel(&self, id: &ProviderCallId) -> impl Future<Output = Result<(), CancelError>> + Send {
        let _ = id;
        std::future::ready(Err(CancelError::NotSupported))
    }

    /// What this provider can and cannot do. Never changes.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// Reads a webhook's or a call object's raw bytes. Pure.
    ///
    /// # Errors
    /// When the bytes are not what the provider documents; they are then quarantined, not dropped.
    fn decode(&self, source: Source, body: &[u8]) -> Result<CallReport, Undecodable>;

    /// The id in a call object's raw bytes, without reading the rest; `None` where it cannot be read. Pure.
    fn call_id(&self, body: &[u8]) -> Option<ProviderCallId> {
        self.decode(Source::Call, body).ok()?.call_id
    }
}

/// In what providers differ, beyond how they write things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Whether the entries of its list show the number or our token, so that a list without a call can prove that there
    /// is none. Where they show neither, [`CallQuery::phone`] has no effect either.
    pub list_proves_absence: bool,
    /// Whether how its list is asked for is documented, so that one which has never shown a call is empty for want of calls.
    pub empty_list_is_believed: bool,
    /// How it tells what became of a call.
    pub results: ResultReads,
    /// Requests behind one [`Provider::read_call`].
    pub read_requests: u32,
    /// Requests behind one [`Provider::list_calls`].
    pub list_requests: u32,
    /// Whether a campaign may have a section `call`.
    pub takes_call_options: bool,
    /// Whether [`Provider::cancel`] does anything.
    pub cancels: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            list_proves_absence: true,
            empty_list_is_believed: true,
            results: ResultReads::CallOrList,
            read_requests: 1,
            list_requests: 1,
            takes_call_options: false,
            cancels: false,
        }
    }
}

/// What a provider must be asked to learn what became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultReads {
    /// Either the call or its entry in the list.
    CallOrList,
    /// The call: entries of the list do not tell how calls ended.
    Call,
    /// The list: nothing else is documented.
    List,
}

/// Why a call was not taken back.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The provider documents no way to.
    #[error("the provider documents no way to take back a call")]
    NotSupported,
    /// It is too late, or the provider does not want to.
    #[error("the provider does not take the call back: HTTP {status}: {reason}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The provider's words, shortened.
        reason: String,
    },
    /// It may be tried again.
    #[error("the provider could not be asked to take the call back")]
    Read(#[from] ReadError),
}

/// What is known after asking for a call. The one question is: did it leave the building?
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceReply {
    /// The provider took it. Some brands answer without a call id.
    Placed {
        /// The call's id, if the answer has one.
        call_id: Option<ProviderCallId>,
    },
    /// Certainly nothing rang.
    NotPlaced(NotPlaced),
    /// The phone may ring: timeout, reset, redirect, 408, 5xx, unreadable answer.
    Unknown {
        /// What was seen, without bodies.
        reason: String,
        /// Whether a 2xx came: absence from the provider's list then proves nothing.
        accepted: bool,
    },
}

/// Why a call was certainly not placed, and so who must change something.
#[derive(Clone, Debug, PartialEq)]
pub enum NotPlaced {
    /// Our own last look refused, or no connection came about: no body byte was written.
    Unsent(NotSent),
    /// No connection to the provider.
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// Too many requests; the account waits.
    RateLimited {
        /// How long the provider wants us to wait, in its own time: civil, as the rates it is about.
        retry_after: Option<Duration>,
    },
    /// The provider refuses this number: the lead's own reason.
    NumberRefused {
        /// The provider's words, shortened.
        reason: String,
        /// It refuses because the number is on its do-not-call list.
        suppressed: bool,
    },
    /// The account cannot place calls: wrong key, no permission, no balance.
    AccountStopped(AccountStanding),
    /// The assistant does not exist or is not ours.
    AssistantGone {
        /// The provider's words, shortened.
        reason: String,
    },
    /// A 4xx nobody documents.
    Refused {
        /// HTTP status.
        status: u16,
        /// The provider's words, shortened.
        reason: String,
    },
}

/// Whether an account can place calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountStanding {
    /// It can, as far as the provider tells.
    Good {
        /// The balance as the provider writes it, if it tells.
        balance: Option<String>,
    },
    /// 401: the key is wrong, expired or revoked.
    KeyRefused,
    /// 403: the key may not do this, or the plan is used up.
    Forbidden {
        /// The provider's words, shortened.
        reason: String,
    },
    /// No balance left.
    BalanceExhausted,
}

impl AccountStanding {
    /// Whether dialing may go on.
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Good { .. })
    }

    /// A short sentence for logs and tables.
    pub fn sentence(&self) -> String {
        match self {
            Self::Good { balance: Some(balance) } => format!("in good standing, balance {balance}"),
            Self::Good { balance: None } => "in good standing".to_owned(),
            Self::KeyRefused => "the provider refuses the API key".to_owned(),
            Self::Forbidden { reason } => format!("the provider forbids placing calls: {reason}"),
            Self::BalanceExhausted => "the account's balance is exhausted".to_owned(),
        }
    }
}

/// Which calls to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallQuery {
    /// Only calls to this number.
    pub phone: Option<PhoneNumber>,
    /// Only calls of this moment or later; providers filter by whole days, so more may come.
    pub since: Timestamp,
    /// Only calls of this moment or earlier; as above.
    pub until: Timestamp,
    /// Counts from 1.
    pub page: u32,
}

/// One page of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallPage {
    /// Each call, raw.
    pub calls: Vec<Bytes>,
    /// Whether there are more pages.
    pub more: bool,
}

/// Why a read failed. Reads may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The provider does not know it, yet or any more.
    #[error("the provider does not know it")]
    NotFound,
    /// Too many requests.
    #[error("the provider wants fewer requests")]
    RateLimited {
        /// How long it wants us to wait, in its own time: civil, as the rates it is about.
        retry_after: Option<Duration>,
    },
    /// The account cannot be used.
    #[error("the account cannot be used: {}", .0.sentence())]
    AccountStopped(AccountStanding),
    /// Anything that may pass by itself.
    #[error("the provider cannot be read: {reason}")]
    Unavailable {
        /// What was seen, without bodies.
        reason: String,
    },
    /// The answer is not what the provider documents.
    #[error("the provider's answer cannot be read: {reason}")]
    Unreadable {
        /// Which field, and what was found.
        reason: String,
    },
}
