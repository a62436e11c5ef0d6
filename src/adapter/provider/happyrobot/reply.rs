//! What an answer to a request for a call means, in either version: did the call leave the building?
//!
//! v1 documents no error at all, v2 the statuses 401, 404, 500 and 502 with one envelope for all. So only the status
//! speaks, and a 4xx that nobody documents refuses the request, never the number.

use reqwest::StatusCode;

use super::super::http::{Answer, Sent};
use super::super::reply::{Words, retry_after};
use super::super::wire::{Fields, repair};
use crate::domain::id::ProviderCallId;
use crate::port::provider::{AccountStanding, NotPlaced, PlaceReply};

/// Judges what came of a request for a call. `placed_id` finds the call's id in an answer that took it.
pub(super) fn judge(
    sent: Sent,
    words: &Words,
    placed_id: impl FnOnce(&Fields<'_>) -> Option<ProviderCallId>,
) -> PlaceReply {
    match sent {
        Sent::Unsent(reason) => PlaceReply::NotPlaced(NotPlaced::Unsent(reason)),
        Sent::Unreachable { reason } => PlaceReply::NotPlaced(NotPlaced::Unreachable { reason }),
        Sent::Lost { reason } => PlaceReply::Unknown { reason, accepted: false },
        Sent::Answered(answer) if answer.status.is_success() => accepted(&answer, placed_id),
        Sent::Answered(answer) => refused(&answer, words),
    }
}

fn accepted(answer: &Answer, placed_id: impl FnOnce(&Fields<'_>) -> Option<ProviderCallId>) -> PlaceReply {
    let unreadable = |problem: &str| PlaceReply::Unknown {
        reason: format!("HTTP {}, but {problem}", answer.status.as_u16()),
        accepted: true,
    };
    let body = match &answer.body {
        Ok(body) => repair(body),
        Err(problem) => return unreadable(problem),
    };
    match Fields::read(&body) {
        Ok(fields) => PlaceReply::Placed { call_id: placed_id(&fields) },
        Err(_) => unreadable("the answer is not a JSON object"),
    }
}

fn refused(answer: &Answer, words: &Words) -> PlaceReply {
    let status = answer.status;
    if status == StatusCode::REQUEST_TIMEOUT || !status.is_client_error() {
        return PlaceReply::Unknown { reason: format!("HTTP {}", status.as_u16()), accepted: false };
    }
    let body = answer.body.as_deref().map(repair).unwrap_or_default();
    let fields = Fields::read(&body).ok();
    let reason = words.of(fields.as_ref());
    PlaceReply::NotPlaced(match status {
        StatusCode::UNAUTHORIZED => NotPlaced::AccountStopped(AccountStanding::KeyRefused),
        StatusCode::FORBIDDEN => NotPlaced::AccountStopped(AccountStanding::Forbidden { reason }),
        // A proxy's own page speaks for the way there, not for the assistant.
        StatusCode::NOT_FOUND if fields.is_some() => NotPlaced::AssistantGone { reason },
        StatusCode::TOO_MANY_REQUESTS => NotPlaced::RateLimited { retry_after: retry_after(answer) },
        _ => NotPlaced::Refused { status: status.as_u16(), reason },
    })
}
