//! What is known of a receiver: whether it takes events, and how soon it is asked again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};

use super::sender::NotTaken;
use super::{IDLE, PAUSE_MAX, SENDING_MAX};

/// How a receiver has behaved lately.
#[derive(Default)]
pub(super) struct Standing {
    /// Rounds in a row in which nothing arrived.
    failed: u32,
    /// When the first of them ended; real.
    failing_since: Option<Timestamp>,
}

impl Standing {
    /// Takes in a round, tells what has changed, and says how long to wait before the next.
    pub(super) fn after(
        &mut self,
        name: &str,
        now: Timestamp,
        taken: usize,
        delivered: usize,
        problem: Option<&NotTaken>,
    ) -> Duration {
        if delivered > 0 {
            if self.failed > 0 {
                info!(webhook = %name, "Webhook {name} takes events again");
            }
            *self = Self::default();
            return if taken >= SENDING_MAX as usize { Duration::ZERO } else { IDLE };
        }
        if self.failed == 0
            && let Some(problem) = problem
        {
            warn!(webhook = %name, "Webhook {name} takes no events; they are sent again for a day: {problem}");
        }
        self.failed = self.failed.saturating_add(1);
        self.failing_since.get_or_insert(now);
        (IDLE * 2_u32.saturating_pow(self.failed)).min(PAUSE_MAX)
    }

    /// For how long nothing has arrived that was sent.
    pub(super) fn failing_for(&self, now: Timestamp) -> SignedDuration {
        self.failing_since.map_or(SignedDuration::ZERO, |since| now.duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_is_down_is_asked_ever_more_rarely() {
        let problem = NotTaken { problem: "down".to_owned(), retry_after: None };
        let at = |minute| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        let mut standing = Standing::default();
        assert_eq!(standing.failing_for(at(9)), SignedDuration::ZERO);
        let pauses: Vec<_> =
            (0..8).map(|minute| standing.after("crm", at(minute), 16, 0, Some(&problem)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(standing.failing_for(at(60)), SignedDuration::from_hours(1));
        assert_eq!(standing.after("crm", at(61), 16, 1, Some(&problem)), Duration::ZERO, "there may be more");
        assert_eq!(standing.failing_for(at(62)), SignedDuration::ZERO);
        assert_eq!(standing.after("crm", at(62), 3, 3, None), IDLE);
    }
}
