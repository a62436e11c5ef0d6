//! What follows an attempt.

use jiff::{SignedDuration, Timestamp};

use super::campaign::{RetryPolicy, RetryRule};
use super::id::{AttemptId, LeadId};
use super::outcome::{Disposition, Outcome};

/// Where a lead goes after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPlace {
    /// Due again, with the next number.
    Due {
        /// When.
        due_at: Timestamp,
        /// Number of the attempt it becomes.
        attempt_no: u16,
        /// Tries so far.
        tries: u16,
    },
    /// Done with.
    Disposed {
        /// The verdict.
        verdict: Verdict,
        /// Number the next attempt would have.
        attempt_no: u16,
        /// Tries so far.
        tries: u16,
    },
}

impl NextPlace {
    /// The same in a campaign that has finished: nobody would ever dial a due lead there.
    #[must_use]
    pub fn in_finished_campaign(self) -> Self {
        match self {
            Self::Due { attempt_no, tries, .. } => {
                Self::Disposed { verdict: Verdict::of_finished_campaign(), attempt_no, tries }
            }
            disposed @ Self::Disposed { .. } => disposed,
        }
    }
}

/// A verdict on a lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict.
    pub disposition: Disposition,
    /// A sentence for people.
    pub reason: String,
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastAttempt {
    /// Key; campaign, lead and number are in it.
    pub attempt_id: AttemptId,
    /// Tries before it.
    pub tries: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the goal was met, where there is one.
    pub goal_met: Option<bool>,
    /// Whether the provider refused the request for a reason nobody documents.
    pub refused: bool,
}

/// The first wait after a refusal nobody documents, or a withdrawn call; doubles with each further one.
pub const REFUSED_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// Refusals and withdrawn calls in a row after which the attempt counts as failed.
pub const REFUSED_MAX: usize = 5;

/// The end of an attempt, as far as the rules care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// Which attempt.
    pub attempt_id: AttemptId,
    /// Tries before it.
    pub tries: u16,
    /// When the call ended; when we learnt it where nothing was placed.
    pub ended_at: Timestamp,
    /// How it ended.
    pub ending: Ending,
}

/// How an attempt ended, with what each way needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing rang, for a reason that is not the lead's: due again then.
    NotPlaced {
        /// When the cause may be gone.
        retry_at: Timestamp,
    },
    /// Nothing rang: the provider refused for a reason nobody documents.
    Refused,
    /// The provider refuses this number.
    Rejected(Verdict),
    /// The call was withdrawn before it rang.
    Canceled,
    /// A person took part; the goal, where there is one, was met or not.
    Answered {
        /// `None` when the campaign has no goal.
        goal_met: Option<bool>,
    },
    /// `voicemail`, `no_answer`, `busy` or `failed`.
    Unreached(Outcome),
    /// Nobody will ever know.
    Unknown,
}

/// What follows an attempt: its outcome, and the lead's next place.
///
/// `past` are the lead's ended attempts in this campaign, oldest first, without this one.
pub fn after_attempt(policy: &RetryPolicy, past: &[PastAttempt], end: &AttemptEnd) -> (Outcome, NextPlace) {
    let series = current_series(past, end.tries);
    match &end.ending {
        Ending::NotPlaced { retry_at } => (Outcome::NotPlaced, end.again(*retry_at, end.tries)),
        Ending::Canceled => after_refusal(policy, series, end, Outcome::Canceled),
        Ending::Refused => after_refusal(policy, series, end, Outcome::NotPlaced),
        Ending::Rejected(verdict) => (Outcome::Rejected, end.done(verdict.clone(), end.tries)),
        Ending::Answered { goal_met: None } => {
            (Outcome::Answered, end.done(Verdict::new(Disposition::Reached, "a person was reached"), end.tries + 1))
        }
        Ending::Answered { goal_met: Some(true) } => {
            (Outcome::Answered, end.done(Verdict::new(Disposition::GoalMet, "the goal was met"), end.tries + 1))
        }
        Ending::Answered { goal_met: Some(false) } => {
            let rule = policy.goal.as_ref().and_then(|goal| goal.retry);
            let same = series.iter().filter(|attempt| attempt.outcome == Outcome::Answered).count();
            (Outcome::Answered, by_rule(policy, rule, same, "answered without the goal", end))
        }
        Ending::Unreached(outcome) => (*outcome, after_try(policy, series, end, *outcome)),
        Ending::Unknown => {
            let verdict =
                Verdict::new(Disposition::Exhausted, "the last attempt may have rung and its result is unknown");
            (Outcome::Unknown, end.done(verdict, end.tries + 1))
        }
    }
}

/// Nothing rang and nobody says until when: each wait is twice the one before, and the last in a row is a failed try.
fn after_refusal(
    policy: &RetryPolicy,
    series: &[PastAttempt],
    end: &AttemptEnd,
    outcome: Outcome,
) -> (Outcome, NextPlace) {
    let refused = |attempt: &&PastAttempt| attempt.refused || attempt.outcome == Outcome::Canceled;
    let in_a_row = 1 + series.iter().rev().take_while(refused).count();
    if in_a_row >= REFUSED_MAX {
        return (Outcome::Failed, after_try(policy, series, end, Outcome::Failed));
    }
    let wait = REFUSED_WAIT * (1 << (in_a_row - 1));
    (outcome, end.again(end.ended_at + wait, end.tries))
}

fn after_try(policy: &RetryPolicy, series: &[PastAttempt], end: &AttemptEnd, outcome: Outcome) -> NextPlace {
    let same = series.iter().filter(|attempt| attempt.outcome == outcome).count();
    by_rule(policy, policy.on.get(&outcome).copied(), same, outcome.as_str(), end)
}

/// `same` counts earlier tries of the series with the same outcome.
fn by_rule(policy: &RetryPolicy, rule: Option<RetryRule>, same: usize, what: &str, end: &AttemptEnd) -> NextPlace {
    let tries = end.tries + 1;
    let exhausted = |reason: String| end.done(Verdict::new(Disposition::Exhausted, reason), tries);
    let Some(rule) = rule else {
        return exhausted(format!("no retry rule for {what}"));
    };
    if tries >= policy.max_attempts {
        return exhausted(format!("{tries} of {} tries made", policy.max_attempts));
    }
    if let Some(max) = rule.max
        && same + 1 >= usize::from(max)
    {
        return exhausted(format!("{} of {max} tries ended as {what}", same + 1));
    }
    let jitter = rule.jitter.mul_f64(end.attempt_id.fraction());
    end.again(end.ended_at + rule.after + jitter, tries)
}

/// The attempts since the lead last got fresh tries: going back, each attempt's tries are those of the one before it plus
/// its own count; where that breaks, a person had asked for fresh tries.
fn current_series(past: &[PastAttempt], tries_before: u16) -> &[PastAttempt] {
    let mut expected = tries_before;
    let mut start = past.len();
    for (index, attempt) in past.iter().enumerate().rev() {
        if attempt.tries + u16::from(attempt.outcome.counts_as_try()) != expected {
            break;
        }
        expected = attempt.tries;
        start = index;
    }
    &past[start..]
}

impl AttemptEnd {
    fn again(&self, due_at: Timestamp, tries: u16) -> NextPlace {
        match self.attempt_id.key().attempt_no.checked_add(1) {
            Some(attempt_no) => NextPlace::Due { due_at, attempt_no, tries },
            None => self.done(Verdict::new(Disposition::Exhausted, "no attempt numbers are left"), tries),
        }
    }

    fn done(&self, verdict: Verdict, tries: u16) -> NextPlace {
        NextPlace::Disposed { verdict, attempt_no: self.attempt_id.key().attempt_no.saturating_add(1), tries }
    }
}

impl Verdict {
    /// A verdict with its reason.
    pub fn new(disposition: Disposition, reason: impl Into<String>) -> Self {
        Self { disposition, reason: reason.into() }
    }

    /// The verdict on a lead that was still to be dialed when its campaign was finished.
    pub fn of_finished_campaign() -> Self {
        Self::new(Disposition::Removed, "the campaign was finished")
    }

    /// The verdict on a lead whose phone is enrolled under another lead of the campaign.
    pub fn duplicate_of(other: LeadId) -> Self {
        Self::new(Disposition::Duplicate, format!("the phone is enrolled in this campaign under lead {other}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::campaign::{GoalRule, VariableTest};
    use crate::domain::id::{AttemptKey, CampaignId, Installation};
    use std::collections::BTreeMap;

    fn id(attempt_no: u16) -> AttemptId {
        AttemptId::derive(
            Installation::new(1),
            AttemptKey { campaign_id: CampaignId(1), lead_id: LeadId(1), attempt_no },
        )
    }

    fn rule(minutes: i64, max: Option<u16>) -> RetryRule {
        RetryRule { after: SignedDuration::from_mins(minutes), max, jitter: SignedDuration::ZERO }
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 4,
            on: BTreeMap::from([
                (Outcome::NoAnswer, rule(120, None)),
                (Outcome::Busy, rule(15, Some(2))),
                (Outcome::Voicemail, rule(1440, Some(1))),
            ]),
            goal: Some(GoalRule {
                test: VariableTest { variable: "booked".to_owned(), equals: true.into() },
                retry: Some(rule(60, Some(2))),
            }),
        }
    }

    fn past(list: &[(u16, Outcome)]) -> Vec<PastAttempt> {
        list.iter()
            .enumerate()
            .map(|(index, (tries, outcome))| PastAttempt {
                attempt_id: id(index as u16 + 1),
                tries: *tries,
                outcome: *outcome,
                goal_met: None,
                refused: false,
            })
            .collect()
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[track_caller]
    fn check(past: &[PastAttempt], tries: u16, ending: Ending, expected: (Outcome, Result<i64, Disposition>, u16)) {
        let end = AttemptEnd { attempt_id: id(past.len() as u16 + 1), tries, ended_at: at(0), ending };
        let (outcome, next) = after_attempt(&policy(), past, &end);
        let (place, no, tries) = match next {
            NextPlace::Due { due_at, attempt_no, tries } => {
                (Ok(due_at.duration_since(at(0)).as_mins()), attempt_no, tries)
            }
            NextPlace::Disposed { verdict, attempt_no, tries } => (Err(verdict.disposition), attempt_no, tries),
        };
        assert_eq!(no, past.len() as u16 + 2, "numbers are never reused");
        assert_eq!((outcome, place, tries), expected);
    }

    #[test]
    fn each_outcome_follows_its_rule() {
        use Outcome::*;
        let none = past(&[]);
        check(&none, 0, Ending::Unreached(NoAnswer), (NoAnswer, Ok(120), 1));
        check(&none, 0, Ending::Unreached(Busy), (Busy, Ok(15), 1));
        check(&none, 0, Ending::Unreached(Voicemail), (Voicemail, Err(Disposition::Exhausted), 1));
        check(&none, 0, Ending::Unreached(Failed), (Failed, Err(Disposition::Exhausted), 1));
        check(&none, 0, Ending::Answered { goal_met: None }, (Answered, Err(Disposition::Reached), 1));
        check(&none, 0, Ending::Answered { goal_met: Some(true) }, (Answered, Err(Disposition::GoalMet), 1));
        check(&none, 0, Ending::Answered { goal_met: Some(false) }, (Answered, Ok(60), 1));
        check(&none, 0, Ending::Unknown, (Unknown, Err(Disposition::Exhausted), 1));
        check(&none, 0, Ending::Canceled, (Canceled, Ok(15), 0));
        check(&none, 0, Ending::NotPlaced { retry_at: at(3) }, (NotPlaced, Ok(3), 0));
        let suppressed = Verdict::new(Disposition::Suppressed, "provider's list");
        check(&none, 0, Ending::Rejected(suppressed), (Rejected, Err(Disposition::Suppressed), 0));
    }

    #[test]
    fn maxima_end_the_series() {
        use Outcome::*;
        check(&past(&[(0, Busy)]), 1, Ending::Unreached(Busy), (Busy, Err(Disposition::Exhausted), 2));
        check(&past(&[(0, Busy)]), 1, Ending::Unreached(NoAnswer), (NoAnswer, Ok(120), 2));
        check(
            &past(&[(0, NoAnswer), (1, NoAnswer), (2, NoAnswer)]),
            3,
            Ending::Unreached(NoAnswer),
            (NoAnswer, Err(Disposition::Exhausted), 4),
        );
        check(
            &past(&[(0, Answered)]),
            1,
            Ending::Answered { goal_met: Some(false) },
            (Answered, Err(Disposition::Exhausted), 2),
        );
    }

    #[test]
    fn what_never_rang_uses_up_nothing() {
        use Outcome::*;
        check(
            &past(&[(0, NotPlaced), (0, Busy), (1, NotPlaced)]),
            1,
            Ending::Unreached(NoAnswer),
            (NoAnswer, Ok(120), 2),
        );
    }

    #[test]
    fn fresh_tries_forget_what_was_before() {
        use Outcome::*;
        // Two busy tries, then a person asked for fresh tries.
        check(&past(&[(0, Busy), (1, Busy)]), 0, Ending::Unreached(Busy), (Busy, Ok(15), 1));
    }

    #[test]
    fn undocumented_refusals_double_and_end_as_failed() {
        let mut history = past(&[]);
        for minutes in [15, 30, 60, 120] {
            check(&history, 0, Ending::Refused, (Outcome::NotPlaced, Ok(minutes), 0));
            let attempt_id = id(history.len() as u16 + 1);
            history.push(PastAttempt {
                attempt_id,
                tries: 0,
                outcome: Outcome::NotPlaced,
                goal_met: None,
                refused: true,
            });
        }
        check(&history, 0, Ending::Refused, (Outcome::Failed, Err(Disposition::Exhausted), 1));
    }

    #[test]
    fn withdrawn_calls_wait_like_refusals_and_end_as_failed() {
        use Outcome::*;
        let mut history = past(&[(0, NoAnswer)]);
        for minutes in [15, 30, 60, 120] {
            check(&history, 1, Ending::Canceled, (Canceled, Ok(minutes), 1));
            let attempt_id = id(history.len() as u16 + 1);
            history.push(PastAttempt { attempt_id, tries: 1, outcome: Canceled, goal_met: None, refused: false });
        }
        check(&history, 1, Ending::Canceled, (Failed, Err(Disposition::Exhausted), 2));
        check(&history, 1, Ending::Refused, (Failed, Err(Disposition::Exhausted), 2));
        check(&past(&[(0, Canceled), (0, NotPlaced)]), 0, Ending::Canceled, (Canceled, Ok(15), 0));
        check(&past(&[(0, Canceled), (0, Busy)]), 1, Ending::Canceled, (Canceled, Ok(15), 1));
    }

    #[test]
    fn jitter_only_ever_adds_and_stays_below_its_bound() {
        let mut policy = policy();
        let jittered = RetryRule { jitter: SignedDuration::from_mins(10), ..rule(15, None) };
        policy.on.insert(Outcome::Busy, jittered);
        for no in 1..200 {
            let end =
                AttemptEnd { attempt_id: id(no), tries: 0, ended_at: at(0), ending: Ending::Unreached(Outcome::Busy) };
            let (_, NextPlace::Due { due_at, .. }) = after_attempt(&policy, &[], &end) else { panic!("due again") };
            assert!((at(15)..at(25)).contains(&due_at), "{due_at}");
        }
    }
}
