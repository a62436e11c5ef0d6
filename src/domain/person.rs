//! What binds a person, whatever the campaign and the account.

use jiff::{SignedDuration, Timestamp};

use super::campaign::Day;
use super::id::{AttemptId, CampaignId};

/// What binds a person across campaigns and accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonFacts {
    /// A do-not-call entry that applies to this campaign now.
    pub suppression: Option<Suppression>,
    /// The phone's open attempt, if it is not the one that asks.
    pub open: Option<AttemptId>,
    /// Attempts since the asked moment that rang or may have, newest first, the one that asks left out.
    pub contacts: Vec<Contact>,
}

/// One attempt that rang or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// When: sent, or intended where that is unknown.
    pub at: Timestamp,
    /// By which campaign.
    pub campaign_id: CampaignId,
}

/// A do-not-call entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Why.
    pub reason: String,
    /// Until when; for good if absent.
    pub expires_at: Option<Timestamp>,
}

/// The largest limit of calls per person and day: a store reads no more contacts than this.
pub const CALLS_PER_DAY_MAX: u32 = 50;

/// How often a person may be called, across campaigns and accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonLimits {
    /// Attempts that rang or may have, in a day.
    pub calls_per_day: Option<u32>,
    /// What a day is.
    pub day: Day,
    /// Between an attempt of one campaign and one of another.
    pub min_gap_between_campaigns: SignedDuration,
}

/// How far back a rolling day reaches.
const ROLLING_DAY: SignedDuration = SignedDuration::from_hours(24);

impl PersonLimits {
    /// From when on contacts matter at `now`.
    pub fn since(&self, now: Timestamp) -> Timestamp {
        self.day.begins_at(now).min(now - self.min_gap_between_campaigns)
    }

    /// When the person may be called by `campaign_id` again; `None` means now. `contacts` reach back to [`Self::since`].
    pub fn next_allowed(&self, contacts: &[Contact], campaign_id: CampaignId, now: Timestamp) -> Option<PersonWait> {
        let gap = contacts
            .iter()
            .filter(|contact| contact.campaign_id != campaign_id)
            .map(|contact| contact.at + self.min_gap_between_campaigns)
            .filter(|until| *until > now)
            .max()
            .map(|until| PersonWait { until, limit: "min_gap_between_campaigns" });
        let day = self.calls_per_day.and_then(|limit| {
            let begins_at = self.day.begins_at(now);
            let mut today: Vec<_> = contacts.iter().map(|contact| contact.at).filter(|at| *at > begins_at).collect();
            today.sort_unstable();
            let excess = today.len().checked_sub(limit as usize)?;
            let until = match &self.day {
                Day::Rolling => today.get(excess).map_or(now + ROLLING_DAY, |at| *at + ROLLING_DAY),
                Day::Civil(_) => self.day.ends_at(now),
            };
            Some(PersonWait { until, limit: "calls_per_day" })
        });
        gap.into_iter().chain(day).max_by_key(|wait| wait.until)
    }
}

/// Which limit holds a person back, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PersonWait {
    /// First allowed instant.
    pub until: Timestamp,
    /// The limit's name in the configuration.
    pub limit: &'static str,
}

impl Day {
    /// When the day that `now` belongs to began.
    pub fn begins_at(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Rolling => now - ROLLING_DAY,
            Self::Civil(zone) => {
                let now = now.to_zoned(zone.tz().clone());
                now.start_of_day().map_or(now.timestamp() - ROLLING_DAY, |start| start.timestamp())
            }
        }
    }

    /// When the day that `now` belongs to ends; of a rolling day, the latest instant at which all of it is past.
    pub fn ends_at(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Rolling => now + ROLLING_DAY,
            Self::Civil(zone) => {
                let now = now.to_zoned(zone.tz().clone());
                now.tomorrow()
                    .and_then(|tomorrow| tomorrow.start_of_day())
                    .map_or(now.timestamp() + ROLLING_DAY, |start| start.timestamp())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn limits() -> PersonLimits {
        PersonLimits {
            calls_per_day: Some(2),
            day: Day::Rolling,
            min_gap_between_campaigns: SignedDuration::from_hours(4),
        }
    }

    #[track_caller]
    fn check(limits: &PersonLimits, contacts: &[(i64, i64)], now: i64, expected: Option<(i64, &str)>) {
        let contacts: Vec<_> = contacts
            .iter()
            .map(|(minutes, campaign)| Contact { at: at(*minutes), campaign_id: CampaignId(*campaign) })
            .collect();
        let found = limits.next_allowed(&contacts, CampaignId(1), at(now));
        assert_eq!(found.map(|wait| (wait.until, wait.limit)), expected.map(|(until, limit)| (at(until), limit)));
    }

    #[test]
    fn a_person_is_called_so_often_and_no_oftener() {
        check(&limits(), &[], 0, None);
        check(&limits(), &[(0, 1)], 10, None);
        check(&limits(), &[(0, 1), (10, 1)], 20, Some((1440, "calls_per_day")));
        check(&limits(), &[(0, 1), (10, 1)], 1440, None);
        check(&limits(), &[(0, 1), (10, 1), (20, 1)], 30, Some((1450, "calls_per_day")));
        check(&limits(), &[(0, 2)], 10, Some((240, "min_gap_between_campaigns")));
        check(&limits(), &[(0, 2)], 240, None);
        check(&limits(), &[(0, 1), (1300, 2)], 1310, Some((1540, "min_gap_between_campaigns")));
        check(&PersonLimits { calls_per_day: None, ..limits() }, &[(0, 1); 50], 1, None);
    }

    #[test]
    fn a_civil_day_ends_at_midnight_in_its_zone() {
        let zone = crate::domain::zone::Zone::parse("America/New_York").expect("bundled");
        let limits = PersonLimits { day: Day::Civil(zone), ..limits() };
        // 1970-01-01 00:00Z is 19:00 in New York, midnight there is 05:00Z.
        check(&limits, &[(0, 1), (10, 1)], 20, Some((300, "calls_per_day")));
        check(&limits, &[(0, 1), (10, 1)], 301, None);
    }
}
