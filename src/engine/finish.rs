//! Attempts end: the retry rules decide where their leads go, one guarded statement writes it, one line tells it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, AssistantId, AttemptId, CampaignId, InboxId};
use crate::domain::outcome::Outcome;
use crate::domain::phone::PhoneNumber;
use crate::domain::retry::{AttemptEnd, Ending, NextPlace, PastAttempt, after_attempt};
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{CallResult, DialIntent, OpenAttempt, Settlement, Store, StoreError};

use super::view::LiveCampaign;
use super::{Engine, not_before};

/// An attempt that has ended, with everything that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which attempt.
    pub attempt_id: AttemptId,
    /// Whom it was to.
    pub phone: PhoneNumber,
    /// Who spoke or would have.
    pub assistant_id: AssistantId,
    /// The campaign's name, for the log.
    pub campaign_name: String,
    /// Tries before it.
    pub tries: u16,
    /// When the request left.
    pub sent_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How.
    pub ending: Ending,
    /// A sentence for people.
    pub reason: String,
    /// What the provider knows.
    pub result: Option<CallResult>,
    /// Suppresses the person everywhere, for this reason.
    pub suppress: Option<String>,
    /// Pending events this applies.
    pub inbox: Vec<InboxId>,
}

impl Ended {
    /// The end of an attempt that was not placed.
    pub fn unsent(
        intent: &DialIntent,
        campaign: &LiveCampaign,
        ending: Ending,
        ended_at: Timestamp,
        reason: String,
    ) -> Self {
        Self {
            attempt_id: intent.attempt_id,
            phone: intent.due.phone,
            assistant_id: intent.assistant_id.clone(),
            campaign_name: campaign.name.clone(),
            tries: intent.due.tries,
            sent_at: None,
            ended_at,
            ending,
            reason,
            result: None,
            suppress: None,
            inbox: Vec::new(),
        }
    }

    /// The end of an open attempt.
    pub fn of_open(
        open: &OpenAttempt,
        campaign_name: String,
        ending: Ending,
        ended_at: Timestamp,
        reason: String,
    ) -> Self {
        Self {
            attempt_id: open.attempt_id,
            phone: open.phone,
            assistant_id: open.assistant_id.clone(),
            campaign_name,
            tries: open.tries,
            sent_at: open.sent_at,
            ended_at,
            ending,
            reason,
            result: None,
            suppress: None,
            inbox: Vec::new(),
        }
    }
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Ends attempts. Those whose campaign has no valid definition wait, unless nothing rang.
    ///
    /// # Errors
    /// When the database does not answer; running it again is safe.
    pub async fn finish(&self, account: &AccountName, ended: &[Ended]) -> Result<usize, StoreError> {
        if ended.is_empty() {
            return Ok(0);
        }
        let view = self.view();
        let now = self.clock.now();
        let leads: BTreeSet<_> =
            ended.iter().map(|end| (end.attempt_id.key().campaign_id, end.attempt_id.key().lead_id)).collect();
        // A first attempt that settles without a rule to count needs no history, which is most of them.
        let first = ended.iter().all(|end| end.attempt_id.key().attempt_no == 1);
        let history = if first { Vec::new() } else { self.store.history(&Vec::from_iter(leads)).await? };
        let mut past: BTreeMap<_, Vec<PastAttempt>> = BTreeMap::new();
        for attempt in history {
            let key = attempt.attempt_id.key();
            past.entry((key.campaign_id, key.lead_id)).or_default().push(attempt);
        }
        let mut settlements = Vec::with_capacity(ended.len());
        for end in ended {
            let key = end.attempt_id.key();
            let policy = match view.campaign(key.campaign_id) {
                Some(campaign) => match &campaign.definition {
                    Some(definition) => definition.retry.clone(),
                    None if needs_no_rules(&end.ending) => no_rules(),
                    None => {
                        let id = end.attempt_id;
                        warn!(attempt.id = %id, "Attempt {id} waits to end: its campaign has no valid definition");
                        continue;
                    }
                },
                // Finished since: nothing follows.
                None => no_rules(),
            };
            let closed =
                view.campaign(key.campaign_id).is_none_or(|campaign| campaign.state == CampaignState::Finished);
            let past = past.get(&(key.campaign_id, key.lead_id)).map_or(&[][..], Vec::as_slice);
            let earlier: Vec<_> = past.iter().filter(|attempt| attempt.attempt_id < end.attempt_id).cloned().collect();
            let attempt_end = AttemptEnd {
                attempt_id: end.attempt_id,
                tries: end.tries,
                ended_at: end.ended_at,
                ending: end.ending.clone(),
            };
            let (outcome, next) = after_attempt(&policy, &earlier, &attempt_end);
            settlements.push(Settlement {
                attempt_id: end.attempt_id,
                outcome,
                ended_at: end.ended_at,
                sent_at: end.sent_at,
                refused: end.ending == Ending::Refused,
                reason: end.reason.clone(),
                result: end.result.clone(),
                next: if closed { next.in_finished_campaign() } else { clamp(next, now) },
                suppress: end.suppress.clone(),
                inbox: end.inbox.clone(),
            });
        }
        let settled: BTreeSet<AttemptId> = self.store.settle(&settlements).await?.into_iter().collect();
        let ends: BTreeMap<AttemptId, &Ended> = ended.iter().rev().map(|end| (end.attempt_id, end)).collect();
        for settlement in settlements.iter().filter(|settlement| settled.contains(&settlement.attempt_id)) {
            if let Some(end) = ends.get(&settlement.attempt_id) {
                tell(account, end, settlement);
                self.note_ended(account, end.attempt_id.key().campaign_id, settlement.outcome);
            }
        }
        if !settled.is_empty() {
            self.accounts[account].wakes.dispatch.notify_one();
        }
        Ok(settled.len())
    }

    /// The name of a campaign, for people.
    pub(super) fn campaign_name(&self, campaign_id: CampaignId) -> String {
        self.view().campaign(campaign_id).map_or_else(|| campaign_id.to_string(), |campaign| campaign.name.clone())
    }
}

fn needs_no_rules(ending: &Ending) -> bool {
    matches!(ending, Ending::NotPlaced { .. } | Ending::Rejected(_) | Ending::Canceled)
}

fn no_rules() -> crate::domain::campaign::RetryPolicy {
    crate::domain::campaign::RetryPolicy { max_attempts: 1, on: BTreeMap::new(), goal: None }
}

fn clamp(next: NextPlace, now: Timestamp) -> NextPlace {
    match next {
        NextPlace::Due { due_at, attempt_no, tries } => {
            NextPlace::Due { due_at: not_before(due_at, now), attempt_no, tries }
        }
        disposed @ NextPlace::Disposed { .. } => disposed,
    }
}

/// One line per finished attempt: a contract, described in `docs/logs.md`. Never a full number, never what was said.
fn tell(account: &AccountName, end: &Ended, settlement: &Settlement) {
    let key = end.attempt_id.key();
    let result = settlement.result.as_ref();
    let (next, next_due_at) = match &settlement.next {
        NextPlace::Due { due_at, .. } => ("due".to_owned(), Some(*due_at)),
        NextPlace::Disposed { verdict, .. } => (verdict.disposition.to_string(), None),
    };
    let outcome: Outcome = settlement.outcome;
    info!(
        event = "attempt_finished",
        campaign.id = key.campaign_id.0,
        campaign.name = %end.campaign_name,
        lead.id = key.lead_id.0,
        attempt.id = %end.attempt_id,
        attempt.no = key.attempt_no,
        provider.account = %account,
        provider.call_id = result.and_then(|result| result.call_id.as_ref()).map(tracing::field::display),
        assistant.id = %end.assistant_id,
        phone = %end.phone,
        outcome = outcome.as_str(),
        sent_at = settlement.sent_at.map(tracing::field::display),
        ended_at = %settlement.ended_at,
        duration_seconds = result.and_then(|result| result.duration_seconds),
        cost = result.and_then(|result| result.cost.as_deref()),
        next = %next,
        next_due_at = next_due_at.map(tracing::field::display),
        "Attempt {} of lead {} in campaign {} ended: {outcome}, then {next}",
        key.attempt_no, key.lead_id, end.campaign_name,
    );
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use jiff::SignedDuration;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::domain::id::{AttemptKey, Installation, LeadId, ProviderCallId};
    use crate::domain::outcome::Disposition;
    use crate::domain::retry::Verdict;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// The line in the log's JSON, without its time.
    fn line(end: &Ended, settlement: &Settlement) -> serde_json::Value {
        let lines = Lines::default();
        let json = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
        let subscriber = json.without_time().with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, || tell(&AccountName::new("main"), end, settlement));
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        "2026-03-02T09:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn the_line_of_a_finished_attempt_is_a_contract() {
        let key = AttemptKey { campaign_id: CampaignId(3), lead_id: LeadId(41), attempt_no: 2 };
        let attempt_id = AttemptId::derive(Installation::new(7), key);
        let end = Ended {
            attempt_id,
            phone: PhoneNumber::from_stored("+4930901820").unwrap(),
            assistant_id: AssistantId::new("12"),
            campaign_name: "spring".to_owned(),
            tries: 1,
            sent_at: Some(at(0)),
            ended_at: at(70),
            ending: Ending::Canceled,
            reason: "the reason".to_owned(),
            result: None,
            suppress: None,
            inbox: Vec::new(),
        };
        let result = CallResult {
            call_id: Some(ProviderCallId::new("8001")),
            status: "completed".to_owned(),
            duration_seconds: Some(61),
            cost: Some("0.0375".to_owned()),
            transcript: Some(serde_json::json!("what was said")),
            recording_url: Some("https://recordings.example.org/1".to_owned()),
            extracted: serde_json::json!({"name": "Ann"}).as_object().unwrap().clone(),
            ..CallResult::default()
        };
        let settled = Settlement {
            attempt_id,
            outcome: Outcome::Answered,
            ended_at: at(70),
            sent_at: Some(at(0)),
            refused: false,
            reason: "the reason".to_owned(),
            result: Some(result),
            next: NextPlace::Disposed {
                verdict: Verdict::new(Disposition::Reached, "answered"),
                attempt_no: 3,
                tries: 2,
            },
            suppress: None,
            inbox: Vec::new(),
        };
        insta::assert_json_snapshot!("attempt_finished", line(&end, &settled));
        let unsent = Settlement {
            outcome: Outcome::NotPlaced,
            sent_at: None,
            result: None,
            next: NextPlace::Due { due_at: at(90), attempt_no: 3, tries: 1 },
            ..settled
        };
        insta::assert_json_snapshot!("attempt_finished_unsent", line(&end, &unsent));
    }
}
