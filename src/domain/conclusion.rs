//! What the reports about one call add up to.
//!
//! For the Autocalls family a webhook never says who answered, and it comes only for some calls; a call object says who
//! answered but may lag behind. The outcome of an answered call is the merge of both, once both are seen or the settle
//! time has passed. A call that was not answered needs no second half.
//! A webhook waits longer than a call object, which alone tells a machine from a person and is there to be read.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::id::ProviderCallId;
use super::outcome::Outcome;
use super::report::{AnsweredBy, CallReport, Phase, Source};

/// How many settle times a webhook waits for the call object: only that tells a machine from a person, and it is there
/// to be read, so its absence means that the provider cannot be read at the moment.
const UNREAD_PATIENCE: i32 = 10;

/// A report, and when we received it.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What it says.
    pub report: &'a CallReport,
    /// When it came.
    pub received_at: Timestamp,
}

/// What the reports add up to.
#[derive(Clone, Debug, PartialEq)]
pub enum Conclusion {
    /// The call goes on, as far as anybody says.
    Live,
    /// The call is over; the other half of its result may still come.
    Waiting {
        /// Until when to wait.
        until: Timestamp,
        /// Whether reading the call would bring the missing half.
        read_wanted: bool,
    },
    /// The call is over and this is its result.
    Over(Box<CallSummary>),
}

/// The merged result of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSummary {
    /// `answered`, `voicemail`, `no_answer`, `busy`, `failed` or `canceled`.
    pub outcome: Outcome,
    /// When the call ended, as far as that is known.
    pub ended_at: Timestamp,
    /// The call's id.
    pub call_id: Option<ProviderCallId>,
    /// The provider's status word.
    pub status: String,
    /// Who answered.
    pub answered_by: Option<AnsweredBy>,
    /// Seconds.
    pub duration_seconds: Option<u32>,
    /// Decimal number.
    pub cost: Option<String>,
    /// As the provider shapes it.
    pub transcript: Option<Value>,
    /// Where the recording is.
    pub recording_url: Option<String>,
    /// Extracted variables; a webhook's win over a call object's.
    pub extracted: Map<String, Value>,
}

/// Adds up the reports about one call, in the order they came.
pub fn conclude(reports: &[Received<'_>], now: Timestamp, settle_after: SignedDuration) -> Conclusion {
    let over: Vec<_> = reports.iter().filter(|received| received.report.phase.is_over()).collect();
    let part_over = reports.iter().filter(|received| received.report.phase == Phase::PartOver);
    let part_over_at = part_over.map(|received| received.received_at).max();
    let Some(first_over_at) = over.iter().map(|received| received.received_at).min() else {
        return match part_over_at.map(|at| at + settle_after * UNREAD_PATIENCE) {
            Some(until) if now < until => Conclusion::Waiting { until, read_wanted: true },
            // Whatever ended, the call did not: it goes on until a read says otherwise.
            Some(_) | None => Conclusion::Live,
        };
    };
    let newest = |source| over.iter().rev().find(|received| received.report.source == source);
    let call = newest(Source::Call);
    let webhook = newest(Source::Webhook);
    let answered = over.iter().any(|received| received.report.phase == Phase::AnsweredOver);
    let patience = if call.is_none() { settle_after * UNREAD_PATIENCE } else { settle_after };
    let until = first_over_at + patience;
    if answered && now < until && (call.is_none() || (webhook.is_none() && part_over_at.is_none())) {
        return Conclusion::Waiting { until, read_wanted: call.is_none() };
    }
    // A call object knows more, so it leads; the webhook fills what it lacks.
    let halves: Vec<&CallReport> = call.into_iter().chain(webhook).map(|received| received.report).collect();
    let lead = halves[0];
    let answered_by = halves.iter().find_map(|report| report.answered_by);
    let outcome = match (answered, answered_by, &lead.phase) {
        (true, Some(AnsweredBy::Machine), _) => Outcome::Voicemail,
        (true, Some(AnsweredBy::Human | AnsweredBy::Unknown) | None, _) => Outcome::Answered,
        (false, _, Phase::NotReached(outcome)) => *outcome,
        (false, _, Phase::Queued | Phase::Live | Phase::PartOver | Phase::AnsweredOver | Phase::Unrecognised) => {
            Outcome::Failed
        }
    };
    let mut extracted = Map::new();
    for report in &halves {
        extracted.extend(report.extracted.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    let duration_seconds = halves.iter().find_map(|report| report.duration_seconds);
    // `canceled` means that nothing rang; what had a length did.
    let rang = outcome == Outcome::Canceled && duration_seconds.is_some_and(|seconds| seconds > 0);
    let outcome = if rang { Outcome::Failed } else { outcome };
    let by_length = || {
        let created_at = halves.iter().find_map(|report| report.created_at)?;
        Some(created_at + SignedDuration::from_secs(i64::from(duration_seconds?)))
    };
    let ended_at = halves.iter().find_map(|report| report.finished_at).or_else(by_length).unwrap_or(first_over_at);
    Conclusion::Over(Box::new(CallSummary {
        outcome,
        // A provider's clock may be ahead of ours; a retry counted from the future would come late, never early.
        ended_at: ended_at.min(now),
        call_id: halves.iter().find_map(|report| report.call_id.clone()),
        status: lead.status.clone(),
        answered_by,
        duration_seconds,
        cost: halves.iter().find_map(|report| report.cost.clone()),
        transcript: halves.iter().find_map(|report| report.transcript.clone()),
        recording_url: halves.iter().find_map(|report| report.recording_url.clone()),
        extracted,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::report::Hints;
    use super::*;
    use serde_json::json;

    const SETTLE: SignedDuration = SignedDuration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn report(source: Source, phase: Phase, answered_by: Option<AnsweredBy>) -> CallReport {
        CallReport {
            source,
            call_id: Some(ProviderCallId::new("7")),
            token: None,
            phone: None,
            phase,
            status: "completed".to_owned(),
            answered_by,
            duration_seconds: Some(60),
            created_at: None,
            finished_at: None,
            cost: None,
            transcript: None,
            recording_url: None,
            extracted: Map::new(),
            hints: Hints::default(),
        }
    }

    fn webhook() -> CallReport {
        let mut report = report(Source::Webhook, Phase::AnsweredOver, None);
        report.extracted.insert("booked".to_owned(), json!(true));
        report
    }

    #[track_caller]
    fn check(reports: &[(i64, &CallReport)], now: i64, expected: Result<Outcome, Conclusion>) {
        let received: Vec<_> =
            reports.iter().map(|(seconds, report)| Received { report, received_at: at(*seconds) }).collect();
        let found = match conclude(&received, at(now), SETTLE) {
            Conclusion::Over(summary) => Ok(summary.outcome),
            other @ (Conclusion::Live | Conclusion::Waiting { .. }) => Err(other),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn an_answered_call_waits_for_both_halves_or_the_settle_time() {
        let webhook = webhook();
        let machine = report(Source::Call, Phase::AnsweredOver, Some(AnsweredBy::Machine));
        let human = report(Source::Call, Phase::AnsweredOver, Some(AnsweredBy::Human));
        let live = report(Source::Call, Phase::Live, None);
        check(&[], 0, Err(Conclusion::Live));
        check(&[(0, &live)], 100, Err(Conclusion::Live));
        check(&[(0, &webhook)], 1, Err(Conclusion::Waiting { until: at(300), read_wanted: true }));
        check(&[(0, &human)], 1, Err(Conclusion::Waiting { until: at(30), read_wanted: false }));
        check(&[(0, &webhook)], 300, Ok(Outcome::Answered));
        check(&[(0, &human)], 30, Ok(Outcome::Answered));
        for order in [[(0, &webhook), (1, &machine)], [(0, &machine), (1, &webhook)]] {
            check(&order, 1, Ok(Outcome::Voicemail));
        }
        check(&[(0, &live), (1, &webhook), (2, &human)], 2, Ok(Outcome::Answered));
        check(&[(0, &webhook), (1, &live)], 2, Err(Conclusion::Waiting { until: at(300), read_wanted: true }));
    }

    #[test]
    fn a_call_nobody_answered_needs_no_second_half() {
        for outcome in [Outcome::NoAnswer, Outcome::Busy, Outcome::Failed, Outcome::Canceled] {
            let mut call = report(Source::Call, Phase::NotReached(outcome), None);
            call.duration_seconds = Some(0);
            check(&[(0, &call)], 0, Ok(outcome));
        }
    }

    #[test]
    fn a_canceled_call_that_lasted_has_rung() {
        let mut call = report(Source::Call, Phase::NotReached(Outcome::Canceled), None);
        call.duration_seconds = Some(4);
        check(&[(0, &call)], 0, Ok(Outcome::Failed));
        call.duration_seconds = None;
        check(&[(0, &call)], 0, Ok(Outcome::Canceled));
    }

    #[test]
    fn the_end_of_a_part_wakes_a_read_and_decides_nothing() {
        let part = report(Source::Webhook, Phase::PartOver, None);
        let live = report(Source::Call, Phase::Live, None);
        let busy = report(Source::Call, Phase::NotReached(Outcome::Busy), None);
        let human = report(Source::Call, Phase::AnsweredOver, Some(AnsweredBy::Human));
        let waiting = Conclusion::Waiting { until: at(300), read_wanted: true };
        check(&[(0, &part)], 1, Err(waiting.clone()));
        check(&[(0, &part), (1, &live)], 2, Err(waiting));
        check(&[(0, &part)], 300, Err(Conclusion::Live));
        check(&[(0, &part), (1, &busy)], 1, Ok(Outcome::Busy));
        check(&[(0, &part), (1, &human)], 1, Ok(Outcome::Answered));
    }

    #[test]
    fn both_halves_are_merged() {
        let webhook = webhook();
        let mut call = report(Source::Call, Phase::AnsweredOver, Some(AnsweredBy::Human));
        call.cost = Some("0.02".to_owned());
        call.created_at = Some(at(100));
        let received =
            [Received { report: &webhook, received_at: at(170) }, Received { report: &call, received_at: at(171) }];
        let Conclusion::Over(summary) = conclude(&received, at(171), SETTLE) else { panic!("both halves are there") };
        assert_eq!(summary.cost.as_deref(), Some("0.02"));
        assert_eq!(summary.extracted.get("booked"), Some(&json!(true)));
        assert_eq!(summary.ended_at, at(160));
    }
}
