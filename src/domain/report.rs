//! What a provider says about a call, in our words.

use serde_json::{Map, Value};

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::id::ProviderCallId;
use super::outcome::{Outcome, words};
use super::phone::PhoneNumber;

words!(
    /// Where a piece of evidence came from.
    Source {
        /// The provider sent it.
        Webhook = "webhook",
        /// We read the call.
        Call = "call",
    }
);

words!(
    /// Who answered, as far as the provider can tell.
    AnsweredBy {
        /// A person.
        Human = "human",
        /// A machine.
        Machine = "machine",
        /// The provider does not know.
        Unknown = "unknown",
    }
);

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The provider has it and has not begun to dial.
    Queued,
    /// Dialing, ringing or talking.
    Live,
    /// Something of it is over, one of several connections say; only a read tells what became of the call.
    PartOver,
    /// It was answered, by a person or a machine, and is over.
    AnsweredOver,
    /// It is over and was not answered: `no_answer`, `busy`, `failed` or `canceled`.
    NotReached(Outcome),
    /// A status word nobody documents: treated as live until the call's deadline.
    Unrecognised,
}

impl Phase {
    /// Whether the provider says the call is over.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::AnsweredOver | Self::NotReached(_))
    }
}

/// One report about one call. What a report does not carry is `None`, never a guess.
#[derive(Clone, Debug, PartialEq)]
pub struct CallReport {
    /// Webhook or call object.
    pub source: Source,
    /// The call's id at the provider.
    pub call_id: Option<ProviderCallId>,
    /// The correlation token, as text, if the report echoes our variable.
    pub token: Option<String>,
    /// The number that was rung.
    pub phone: Option<PhoneNumber>,
    /// How far the call is.
    pub phase: Phase,
    /// The provider's own status word.
    pub status: String,
    /// Who answered. `None` when this kind of report never says.
    pub answered_by: Option<AnsweredBy>,
    /// Length of the call, seconds.
    pub duration_seconds: Option<u32>,
    /// When the provider made the call, if the report says so with a zone.
    pub created_at: Option<Timestamp>,
    /// When the call ended, if the report says so with a zone.
    pub finished_at: Option<Timestamp>,
    /// Cost as a decimal number in the account's currency.
    pub cost: Option<String>,
    /// The transcript, as the provider shapes it.
    pub transcript: Option<Value>,
    /// Where the recording is.
    pub recording_url: Option<String>,
    /// Variables extracted from the conversation.
    pub extracted: Map<String, Value>,
    /// What tells less than an id.
    pub hints: Hints,
}

/// What a report says besides, that proves nothing by itself and can still tell one call from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The name of the assistant that spoke; assistants may be renamed, and names be alike.
    pub assistant_name: Option<String>,
    /// When the provider made the call, written without a zone; see [`super::calibration`].
    pub created: Option<DateTime>,
}

/// The bytes are not what the provider documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read field {field}: {problem}")]
pub struct Undecodable {
    /// Path of the field; `.` for the whole.
    pub field: String,
    /// What was found, shortened, without personal data.
    pub problem: String,
}
