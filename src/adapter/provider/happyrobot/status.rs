//! The words for how far a call or a run is. Case, spaces, hyphens and underscores make no difference.

use crate::domain::outcome::Outcome;
use crate::domain::report::{AnsweredBy, Phase};

/// Longest status word kept.
const STATUS_CHARS_MAX: usize = 60;

/// A status word as it is kept.
pub(super) fn kept(status: &str) -> String {
    status.chars().take(STATUS_CHARS_MAX).collect()
}

/// A call of v1 or a session of v2, and who answered where the word says so.
///
/// v1: HappyRobot docs, `calls/list-calls`, its newer vocabulary first and the older one after it; v2: the same docs,
/// `webhook-payload-contract/session-status-change`; read 2026-11-21. A transferred call was answered, and whether its word
/// ever changes again is not said; an abandoned one was too, or its caller could not have given up.
pub(super) fn of_call(status: &str) -> (Phase, Option<AnsweredBy>) {
    let phase = match squeezed(status).as_str() {
        "scheduled" | "queued" => Phase::Queued,
        "initiated" | "ringing" | "inprogress" | "dialing" | "connected" => Phase::Live,
        "transferred" | "completed" | "ended" | "abandoned" => Phase::AnsweredOver,
        "amdterminated" | "voicemail" => return (Phase::AnsweredOver, Some(AnsweredBy::Machine)),
        "busy" => Phase::NotReached(Outcome::Busy),
        "noanswer" | "missed" => Phase::NotReached(Outcome::NoAnswer),
        "canceled" | "cancelled" => Phase::NotReached(Outcome::Canceled),
        "failed" => Phase::NotReached(Outcome::Failed),
        _ => Phase::Unrecognised,
    };
    (phase, None)
}

/// How far a run of v2 is; what became of the calls in it, its sessions tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunPhase {
    /// It has not begun.
    Waiting,
    /// It goes on.
    Running,
    /// It came to its end.
    Done,
    /// It broke off, or never began: there will be no more sessions than there are.
    BrokenOff(Outcome),
    /// Nobody documents the word.
    Unrecognised,
}

/// A run of v2. The platform API's OpenAPI document, read 2026-11-21.
pub(super) fn of_run(status: &str) -> RunPhase {
    match squeezed(status).as_str() {
        "notstarted" | "scheduled" => RunPhase::Waiting,
        "running" => RunPhase::Running,
        "succeeded" | "completed" => RunPhase::Done,
        "canceled" | "cancelled" => RunPhase::BrokenOff(Outcome::Canceled),
        // A skipped run counts as a try, so that a workflow which skips everything is not asked for ever.
        "failed" | "skipped" => RunPhase::BrokenOff(Outcome::Failed),
        _ => RunPhase::Unrecognised,
    }
}

fn squeezed(status: &str) -> String {
    status.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: Phase) {
        for word in words {
            assert_eq!(of_call(word), (expected.clone(), None), "{word}");
        }
    }

    #[test]
    fn both_vocabularies_of_v1_and_the_sessions_of_v2_are_known() {
        check(&["Scheduled", "Queued", "queued"], Phase::Queued);
        check(&["Initiated", "Ringing", "In progress", "in-progress", "IN_PROGRESS", "Dialing"], Phase::Live);
        check(&["Connected"], Phase::Live);
        check(&["Completed", "completed", "Ended", "Transferred", "Abandoned"], Phase::AnsweredOver);
        check(&["Busy", "busy"], Phase::NotReached(Outcome::Busy));
        check(&["No answer", "no-answer", "Missed", "missed"], Phase::NotReached(Outcome::NoAnswer));
        check(&["Canceled", "cancelled"], Phase::NotReached(Outcome::Canceled));
        check(&["Failed"], Phase::NotReached(Outcome::Failed));
        check(&["", "paused", "completed!"], Phase::Unrecognised);
        for machine in ["AMD Terminated", "amd_terminated", "voicemail"] {
            assert_eq!(of_call(machine), (Phase::AnsweredOver, Some(AnsweredBy::Machine)), "{machine}");
        }
    }

    #[test]
    fn runs_have_words_of_their_own() {
        for (word, expected) in [
            ("not_started", RunPhase::Waiting),
            ("scheduled", RunPhase::Waiting),
            ("running", RunPhase::Running),
            ("succeeded", RunPhase::Done),
            ("completed", RunPhase::Done),
            ("canceled", RunPhase::BrokenOff(Outcome::Canceled)),
            ("failed", RunPhase::BrokenOff(Outcome::Failed)),
            ("skipped", RunPhase::BrokenOff(Outcome::Failed)),
            ("paused", RunPhase::Unrecognised),
        ] {
            assert_eq!(of_run(word), expected, "{word}");
        }
    }
}
