//! What the engine is told at its start; checked elsewhere, trusted here.

use std::time::Duration;

use jiff::SignedDuration;

use crate::domain::assistant::Assistant;
use crate::domain::campaign::Pacing;
use crate::domain::id::{AccountName, OwnerId};
use crate::domain::person::PersonLimits;
use crate::port::store::RetentionPolicy;

/// What concerns the daemon as a whole. `Duration`s are real time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This replica, random for each boot.
    pub owner: OwnerId,
    /// What people call this replica: host and process.
    pub name: String,
    /// How long a lease lasts without renewal; also how long others wait after this replica dies.
    pub lease_ttl: Duration,
    /// How long after a replica vanished a request of its may still leave: bounds a stopped and continued process.
    pub zombie_horizon: Duration,
    /// The longest a request to place a call may take, connection included.
    pub request_timeout: Duration,
    /// The longest a drain may take.
    pub drain_max: Duration,
    /// How often a person may be called.
    pub person: PersonLimits,
    /// How long what is kept.
    pub retention: RetentionPolicy,
    /// How often the passes run.
    pub periods: Periods,
}

/// How often each pass runs when nothing wakes it.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// Control tables: bounds how late a pause, a stop or an edit takes effect.
    pub control: Duration,
    /// Due leads.
    pub dispatch: Duration,
    /// Inbox.
    pub collect: Duration,
    /// Open attempts: reads, doubts, deadlines.
    pub poll: Duration,
    /// Lead changes.
    pub enrol: Duration,
    /// Campaigns opening and closing.
    pub campaign: Duration,
    /// Partitions and old payloads.
    pub retain: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            control: Duration::from_millis(200),
            dispatch: Duration::from_millis(40),
            collect: Duration::from_millis(50),
            poll: Duration::from_millis(250),
            enrol: Duration::from_millis(200),
            campaign: Duration::from_millis(500),
            retain: Duration::from_secs(60),
        }
    }
}

/// What concerns one account. `SignedDuration`s are civil time.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Its name in the configuration.
    pub name: AccountName,
    /// Limits on starts and lines.
    pub limits: Pacing,
    /// All requests to the provider in any minute.
    pub requests_per_minute: Option<u32>,
    /// At most so many of them in any time of this length.
    pub requests_burst: Option<(u32, SignedDuration)>,
    /// How the addresses begin at which the account's webhooks are received, if they are.
    pub webhook_address: Option<String>,
    /// How late the provider's list may show a call; `None`: absence from it proves nothing.
    pub list_lag_max: Option<SignedDuration>,
    /// How long a phone may ring.
    pub ring_max: SignedDuration,
    /// How long a call may last.
    pub call_max: SignedDuration,
    /// How long to wait for the other half of a result.
    pub settle_after: SignedDuration,
    /// How often the assistants are read, real time.
    pub roster_period: Duration,
}

/// When a placed call is read first, civil: calls that are not answered are over by then, and most get no webhook.
const FIRST_READ_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// The same where the end of every call is reported: the read finds what a lost webhook would have said.
const FIRST_READ_AFTER_WEBHOOK: SignedDuration = SignedDuration::from_mins(2);
/// How long after a call's end the provider may still say that it goes on, civil: it sums up transcript and variables.
const ENDING_MAX: SignedDuration = SignedDuration::from_mins(1);

impl AccountSettings {
    /// How long an attempt may occupy a line at most.
    pub fn line_max(&self) -> SignedDuration {
        self.line_max_with(None, SignedDuration::ZERO)
    }

    /// How long an attempt by an assistant may occupy a line at most: its own longest call counts where it is shorter
    /// than the account's. `reading` is the longest that a read of the result may take.
    pub fn line_max_with(&self, assistant: Option<&Assistant>, reading: SignedDuration) -> SignedDuration {
        let own = assistant.and_then(|assistant| assistant.details.call_max);
        let own = own.map(|call_max| call_max + ENDING_MAX + reading);
        let call_max = own.map_or(self.call_max, |own| own.min(self.call_max));
        self.ring_max + call_max + self.list_lag_max.unwrap_or(SignedDuration::ZERO)
    }

    /// When a call that an assistant has just placed is read first. Never put off for a webhook that may not come.
    pub fn first_read_after(&self, assistant: Option<&Assistant>) -> SignedDuration {
        match assistant.is_some_and(|assistant| assistant.reports_every_end(self.webhook_address.as_deref())) {
            true => FIRST_READ_AFTER_WEBHOOK,
            false => FIRST_READ_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assistant::AssistantDetails;
    use crate::domain::id::AssistantId;

    const ADDRESS: &str = "https://dial.example.org/webhook/main/";

    fn account(list_lag_max: Option<SignedDuration>) -> AccountSettings {
        AccountSettings {
            name: AccountName::new("main"),
            limits: Pacing::default(),
            requests_per_minute: None,
            requests_burst: None,
            webhook_address: Some(ADDRESS.to_owned()),
            list_lag_max,
            ring_max: SignedDuration::from_secs(60),
            call_max: SignedDuration::from_mins(20),
            settle_after: SignedDuration::from_secs(30),
            roster_period: Duration::from_secs(60),
        }
    }

    fn assistant(details: AssistantDetails) -> Assistant {
        Assistant {
            assistant_id: AssistantId::new("1"),
            name: "A".to_owned(),
            active: true,
            status: "active".to_owned(),
            mode: None,
            language_id: None,
            webhook_url: Some(format!("{ADDRESS}token")),
            variables: Vec::new(),
            details,
        }
    }

    #[test]
    fn a_line_is_held_no_longer_than_the_assistant_can_talk() {
        let minutes = SignedDuration::from_mins;
        let with = |call_max| assistant(AssistantDetails { call_max: Some(call_max), ..AssistantDetails::default() });
        let (settings, reading) = (account(Some(minutes(2))), minutes(3));
        assert_eq!(settings.line_max_with(None, reading), minutes(23));
        assert_eq!(settings.line_max_with(Some(&assistant(AssistantDetails::default())), reading), minutes(23));
        assert_eq!(settings.line_max_with(Some(&with(minutes(5))), reading), minutes(1 + 5 + 1 + 3 + 2));
        assert_eq!(
            settings.line_max_with(Some(&with(minutes(30))), reading),
            minutes(23),
            "the account's bound holds as well"
        );
        assert_eq!(account(None).line_max_with(Some(&with(minutes(5))), reading), minutes(10));
    }

    #[test]
    fn only_where_every_end_is_reported_the_first_read_waits_longer() {
        let with = |only| assistant(AssistantDetails { webhook_only_completed: only, ..AssistantDetails::default() });
        let settings = account(None);
        assert_eq!(settings.first_read_after(Some(&with(Some(false)))), FIRST_READ_AFTER_WEBHOOK);
        assert_eq!(settings.first_read_after(Some(&with(Some(true)))), FIRST_READ_AFTER);
        assert_eq!(settings.first_read_after(Some(&with(None))), FIRST_READ_AFTER);
        let silent = Assistant { webhook_url: None, ..with(Some(false)) };
        assert_eq!(settings.first_read_after(Some(&silent)), FIRST_READ_AFTER);
        assert_eq!(settings.first_read_after(None), FIRST_READ_AFTER);
    }
}
