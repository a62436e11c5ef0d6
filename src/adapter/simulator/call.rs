//! What happens to one call: decided as a whole when it is accepted, from the seed, the phone and how often that
//! phone was rung before. Its status at any later moment is then a pure function of time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::dice::Dice;
use super::fault::Fault;
use super::mix::{Fate, OutcomeMix};
use super::request::CallRequest;
use super::span::Span;

/// One call the simulator placed, with its whole life; all instants are civil.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The number that orders the calls; the provider's id in the Autocalls family.
    pub call_id: u64,
    /// The id as the API writes it: `call_id`, 24 hexadecimal digits (HappyRobot v1), or the run's UUID (v2).
    pub wire_id: String,
    /// Who was rung, E.164. HappyRobot v2 takes what is no number, too, and rings nobody.
    pub phone: String,
    /// Which assistant called.
    pub assistant_id: u64,
    /// The variables of the request; for HappyRobot its `params` and `metadata`, or the rest of its payload.
    pub variables: Map<String, Value>,
    /// Everything else the request said. Nothing in the Autocalls family.
    pub options: Map<String, Value>,
    /// How many calls to this phone came before.
    pub rung_before: u64,
    /// When the request was accepted. From here the call is live.
    pub accepted_at: Timestamp,
    /// When the provider began to dial; until then the call waited.
    pub starts_at: Timestamp,
    /// When the phone began to ring, if it did.
    pub ringing_at: Option<Timestamp>,
    /// When somebody or something answered.
    pub answered_at: Option<Timestamp>,
    /// When the call was over. From here it is not live.
    pub ended_at: Timestamp,
    /// When its result was complete; until then an answered call is only `ended…`.
    pub completed_at: Timestamp,
    /// When the list first shows it.
    pub listed_at: Timestamp,
    /// When it was canceled, before it rang.
    pub canceled_at: Option<Timestamp>,
    /// How it ended; of a canceled call, how it would have.
    pub fate: Fate,
    /// What went wrong with the answer to its request.
    pub fault: Option<Fault>,
}

/// How long the parts of a call take, civil.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// From beginning to dial until the phone rings (or is busy, or fails).
    pub setup: Span,
    /// Ringing until somebody answers.
    pub ring: Span,
    /// Ringing until the provider gives up. The vendor's default is 30 s (assistant settings, read 2026-11-21).
    pub ring_out: Span,
    /// A conversation.
    pub talk: Span,
    /// From the end of a conversation until its result is complete.
    pub evaluation: Span,
    /// From the complete result until the webhook is sent.
    pub webhook_delay: Span,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            setup: Span::milliseconds(500, 3_000),
            ring: Span::seconds(3, 25),
            ring_out: Span::seconds(30, 30),
            talk: Span::seconds(15, 180),
            evaluation: Span::seconds(2, 10),
            webhook_delay: Span::milliseconds(200, 2_000),
        }
    }
}

/// What a call is decided from.
pub(super) struct Plan<'a> {
    pub seed: u64,
    pub mix: &'a OutcomeMix,
    pub timing: &'a Timing,
    pub queue: Span,
    pub list_lag: Span,
}

impl Plan<'_> {
    /// Decides the whole life of a call that is accepted at `accepted_at`.
    pub(super) fn call(&self, request: Request, rung_before: u64, accepted_at: Timestamp) -> CallRecord {
        let Request { call_id, wire_id, assistant_id, asked, unreachable, fault } = request;
        let mut dice = Dice::new(self.seed, "call", &asked.phone, rung_before);
        let fate = self.mix.draw(&mut dice);
        let fate = if unreachable { Fate::Failed } else { fate };
        let timing = self.timing;
        let [setup, ring, ring_out, talk, evaluation] =
            [timing.setup, timing.ring, timing.ring_out, timing.talk, timing.evaluation]
                .map(|span| span.draw(&mut dice));
        let lag = self.list_lag.draw(&mut dice);
        let queued_until = accepted_at + self.queue.draw(&mut dice);
        let starts_at = asked.not_before.map_or(queued_until, |at| at.max(queued_until));
        let rings_at = starts_at + setup;
        let (ringing_at, answered_at, ended_at, completed_at) = match fate {
            Fate::GoalMet | Fate::Declined | Fate::OptOut | Fate::Voicemail => {
                let answered_at = rings_at + ring;
                let ended_at = answered_at + asked.talk_max.map_or(talk, |longest| longest.min(talk));
                (Some(rings_at), Some(answered_at), ended_at, ended_at + evaluation)
            }
            Fate::NoAnswer => (Some(rings_at), None, rings_at + ring_out, rings_at + ring_out),
            Fate::Busy | Fate::Failed => (None, None, rings_at, rings_at),
        };
        CallRecord {
            call_id,
            wire_id,
            phone: asked.phone,
            assistant_id,
            variables: asked.variables,
            options: asked.options,
            rung_before,
            accepted_at,
            starts_at,
            ringing_at,
            answered_at,
            ended_at,
            completed_at,
            listed_at: accepted_at + lag,
            canceled_at: None,
            fate,
            fault,
        }
    }
}

/// One accepted request.
pub(super) struct Request {
    pub call_id: u64,
    pub wire_id: String,
    pub assistant_id: u64,
    pub asked: CallRequest,
    /// Whether the number cannot be rung at all.
    pub unreachable: bool,
    pub fault: Option<Fault>,
}

/// Where a call is in its life. Every family has words of its own for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Accepted; the provider does not dial yet.
    Waiting,
    Initiated,
    Ringing,
    InProgress,
    /// Over after somebody or something answered; the result is not complete.
    Ended,
    /// Over after somebody or something answered.
    Completed,
    NoAnswer,
    Busy,
    Failed,
    Canceled,
}

impl CallRecord {
    pub(super) fn status(&self, now: Timestamp) -> Status {
        let reached = |at: Option<Timestamp>| at.is_some_and(|at| now >= at);
        if reached(self.canceled_at) {
            return Status::Canceled;
        }
        if now >= self.completed_at {
            return match self.fate {
                Fate::GoalMet | Fate::Declined | Fate::OptOut | Fate::Voicemail => Status::Completed,
                Fate::NoAnswer => Status::NoAnswer,
                Fate::Busy => Status::Busy,
                Fate::Failed => Status::Failed,
            };
        }
        if now >= self.ended_at {
            Status::Ended
        } else if reached(self.answered_at) {
            Status::InProgress
        } else if reached(self.ringing_at) {
            Status::Ringing
        } else if now >= self.starts_at {
            Status::Initiated
        } else {
            Status::Waiting
        }
    }

    /// The same call, canceled; none where it has rung, or is over.
    pub(super) fn canceled(&self, now: Timestamp) -> Option<Self> {
        let rung = self.ringing_at.unwrap_or(self.ended_at) <= now;
        if rung || self.canceled_at.is_some() {
            return None;
        }
        Some(Self {
            starts_at: self.starts_at.min(now),
            ringing_at: None,
            answered_at: None,
            ended_at: now,
            completed_at: now,
            canceled_at: Some(now),
            ..self.clone()
        })
    }

    /// The last moment at which the provider changed it, as far as `now` knows.
    pub(super) fn updated_at(&self, now: Timestamp) -> Timestamp {
        [Some(self.completed_at), Some(self.ended_at), self.answered_at, self.ringing_at]
            .into_iter()
            .flatten()
            .find(|at| *at <= now)
            .unwrap_or(self.accepted_at)
    }

    /// How long the conversation was, or is so far.
    pub(super) fn talked(&self, now: Timestamp) -> SignedDuration {
        let talked = self.answered_at.map(|from| now.min(self.ended_at).duration_since(from));
        talked.unwrap_or_default().max(SignedDuration::ZERO)
    }

    /// What the whole call costs, in millionths: two cents a started minute of conversation.
    pub(super) fn cost_micros(&self) -> i64 {
        let seconds = self.talked(self.ended_at).as_secs();
        20_000 * ((seconds + 59) / 60)
    }

    /// Whether a person spoke with the assistant.
    pub fn answered_by_person(&self) -> bool {
        match self.fate {
            Fate::GoalMet | Fate::Declined | Fate::OptOut => true,
            Fate::Voicemail | Fate::NoAnswer | Fate::Busy | Fate::Failed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(fate: Fate, rung_before: u64, accepted_at: &str) -> CallRecord {
        let plan = Plan {
            seed: 1,
            mix: &OutcomeMix::only(fate),
            timing: &Timing::default(),
            queue: Span::ZERO,
            list_lag: Span::seconds(10, 90),
        };
        plan.call(request(), rung_before, accepted_at.parse().unwrap())
    }

    fn request() -> Request {
        let asked = CallRequest::to("+12025550100", "123");
        Request { call_id: 7, wire_id: "7".to_owned(), assistant_id: 123, asked, unreachable: false, fault: None }
    }

    #[test]
    fn a_call_passes_through_its_states_in_order() {
        let answered = call(Fate::GoalMet, 0, "2026-03-02T09:00:00Z");
        let just_before = |at: Timestamp| at - SignedDuration::from_micros(1);
        for (now, status) in [
            (answered.accepted_at, Status::Initiated),
            (answered.ringing_at.unwrap(), Status::Ringing),
            (just_before(answered.answered_at.unwrap()), Status::Ringing),
            (answered.answered_at.unwrap(), Status::InProgress),
            (answered.ended_at, Status::Ended),
            (just_before(answered.completed_at), Status::Ended),
            (answered.completed_at, Status::Completed),
        ] {
            assert_eq!(answered.status(now), status, "{now}");
            assert!(answered.updated_at(now) <= now);
        }
        let missed = call(Fate::NoAnswer, 0, "2026-03-02T09:00:00Z");
        assert_eq!(missed.status(just_before(missed.ended_at)), Status::Ringing);
        assert_eq!(missed.status(missed.ended_at), Status::NoAnswer);
        assert_eq!(missed.cost_micros(), 0);
    }

    #[test]
    fn a_call_waits_and_talks_no_longer_than_it_may() {
        let at: Timestamp = "2026-03-02T09:00:00Z".parse().unwrap();
        let timing = Timing { talk: Span::seconds(100, 100), ..Timing::default() };
        let mix = OutcomeMix::only(Fate::GoalMet);
        let queue = Span::seconds(30, 30);
        let plan = Plan { seed: 1, mix: &mix, timing: &timing, queue, list_lag: Span::ZERO };
        let starts_after = |not_before: Option<Timestamp>| {
            let mut request = request();
            request.asked.not_before = not_before;
            request.asked.talk_max = Some(SignedDuration::from_secs(60));
            let call = plan.call(request, 0, at);
            assert_eq!(call.status(call.starts_at - SignedDuration::from_micros(1)), Status::Waiting);
            assert_eq!(call.status(call.starts_at), Status::Initiated);
            assert_eq!(call.talked(call.ended_at).as_secs(), 60);
            call.starts_at.duration_since(at).as_secs()
        };
        assert_eq!(starts_after(None), 30);
        assert_eq!(starts_after(Some(at)), 30);
        assert_eq!(starts_after(Some(at + SignedDuration::from_mins(2))), 120);
    }

    #[test]
    fn only_a_call_that_has_not_rung_is_canceled() {
        let answered = call(Fate::GoalMet, 0, "2026-03-02T09:00:00Z");
        let rings_at = answered.ringing_at.unwrap();
        let before = rings_at - SignedDuration::from_micros(1);
        let canceled = answered.canceled(before).unwrap();
        assert_eq!((canceled.status(before), canceled.ended_at, canceled.cost_micros()), (Status::Canceled, before, 0));
        assert_eq!((canceled.canceled(before), answered.canceled(rings_at)), (None, None));
        let busy = call(Fate::Busy, 0, "2026-03-02T09:00:00Z");
        assert!(busy.canceled(busy.accepted_at).is_some() && busy.canceled(busy.ended_at).is_none());
    }

    #[test]
    fn a_call_depends_on_seed_phone_and_count_and_not_on_its_hour() {
        let (early, late) =
            (call(Fate::GoalMet, 3, "2026-03-02T09:00:00Z"), call(Fate::GoalMet, 3, "2026-07-02T17:30:00Z"));
        let spans = |call: &CallRecord| {
            [call.ringing_at.unwrap(), call.answered_at.unwrap(), call.ended_at, call.completed_at, call.listed_at]
                .map(|at| at.duration_since(call.accepted_at))
        };
        assert_eq!(spans(&early), spans(&late));
        assert_ne!(spans(&early), spans(&call(Fate::GoalMet, 4, "2026-03-02T09:00:00Z")));
    }

    #[test]
    fn only_one_fate_is_ever_drawn_from_a_mix_of_one() {
        for fate in Fate::ALL {
            for rung_before in 0..20 {
                assert_eq!(call(*fate, rung_before, "2026-03-02T09:00:00Z").fate, *fate);
            }
        }
    }
}
