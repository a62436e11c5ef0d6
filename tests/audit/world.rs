//! The world of `examples/bench/audit.sql`, and what it is judged by.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::clock::ScaledClock;
use outdial::adapter::postgres::audit::{Subject, campaign_limits};
use outdial::domain::campaign::{Day, Pacing};
use outdial::domain::id::{AccountName, CampaignId};
use outdial::domain::person::PersonLimits;
use sqlx::{Executor, PgPool};

/// Half an hour after the last attempt could be.
const NOW: &str = "2026-03-11T18:30:00Z";

/// Makes a world of so many attempts.
pub async fn fill(pool: &PgPool, attempts: u32) {
    let text = include_str!("../../examples/bench/audit.sql");
    let sql = format!(
        "update installation set number = 7; set audit.attempts = '{attempts}'; {text}; analyze; reset audit.attempts"
    );
    // One connection for all of it: the number is a setting of the session.
    let mut connection = pool.acquire().await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    let limits = campaign_limits(pool).await.unwrap();
    assert_eq!(limits.len(), 4, "its campaigns can be read");
}

/// Everything is judged, and by limits that are just kept.
pub fn subject() -> Subject {
    let now: Timestamp = NOW.parse().unwrap();
    let pacing = |second, minute, lines, day| Pacing {
        calls_per_second: NonZeroU32::new(second),
        calls_per_minute: NonZeroU32::new(minute),
        concurrent_calls: NonZeroU32::new(lines),
        calls_per_day: NonZeroU32::new(day),
        day: Day::Rolling,
    };
    Subject {
        now,
        since: None,
        limits_since: now - SignedDuration::from_hours(24),
        recent_only: false,
        clock: ScaledClock::identity(),
        accounts: vec![(AccountName::new("audited"), pacing(3, 10, 10, 2_100), SignedDuration::from_secs(60))],
        campaigns: (1..=4).map(|id| (CampaignId(id), pacing(3, 10, 10, 2_100))).collect(),
        person: PersonLimits {
            calls_per_day: Some(1),
            day: Day::Rolling,
            min_gap_between_campaigns: SignedDuration::from_hours(4),
        },
    }
}
