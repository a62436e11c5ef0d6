//! What `outdial audit` says of a world's database.

use jiff::SignedDuration;
use outdial::adapter::postgres::audit::{Finding, Subject, audit};
use outdial::domain::campaign::Day;
use outdial::domain::person::PersonLimits;

use super::world::World;

/// Checks that found something, or that could not be asked. Limits are left out: a killed daemon's moments of sending are
/// not those of the phones, which the simulator's log tells.
pub async fn violations(world: &World) -> Vec<Finding> {
    let now = world.clock.now();
    let person =
        PersonLimits { calls_per_day: None, day: Day::Rolling, min_gap_between_campaigns: SignedDuration::ZERO };
    let subject = Subject {
        now,
        since: None,
        limits_since: now,
        recent_only: false,
        clock: world.clock,
        accounts: Vec::new(),
        campaigns: Vec::new(),
        person,
    };
    let findings = audit(&world.database.pool, &subject).await.unwrap();
    findings.into_iter().filter(|finding| finding.violations > 0 || finding.unanswered.is_some()).collect()
}
