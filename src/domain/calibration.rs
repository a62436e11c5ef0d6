//! What a provider's times without a zone mean.
//!
//! Some brands write when a call was made as `2025-08-04 14:30:00` and say nowhere in which zone. Calls that are known to
//! be ours tell: we know when they were asked for. Until enough of them agree, such a time means nothing and is never
//! guessed; and since zones have summer times, what was learnt is forgotten when a call contradicts it, and is not used
//! long after the last call that agreed.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Calls that must agree.
const SAMPLES_MIN: u32 = 3;
/// Offsets are whole quarters of an hour.
const STEP: SignedDuration = SignedDuration::from_mins(15);
/// How far from a whole quarter the distance may be: a call is made within seconds of its request.
const NOISE_MAX: SignedDuration = SignedDuration::from_mins(2);
/// Between the offsets that exist, `-12:00` and `+14:00`.
const OFFSETS: (SignedDuration, SignedDuration) = (SignedDuration::from_hours(-12), SignedDuration::from_hours(14));
/// How long after the last call that agreed an offset is used: zones change theirs on the hour.
const FRESH_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What an account's calls have told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calibration {
    seen: Option<Seen>,
}

/// Calls in a row that agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    offset: SignedDuration,
    samples: u32,
    last_at: Timestamp,
}

impl Calibration {
    /// A call that was asked for at `sent_at` says that it was made at `written`. Answers whether that changed what times
    /// mean.
    pub fn observe(&mut self, sent_at: Timestamp, written: DateTime) -> bool {
        let Some(offset) = offset_of(sent_at, written) else { return false };
        let before = self.offset();
        let seen = match self.seen {
            Some(seen) if seen.offset == offset => {
                Seen { samples: seen.samples.saturating_add(1), last_at: seen.last_at.max(sent_at), ..seen }
            }
            Some(_) | None => Seen { offset, samples: 1, last_at: sent_at },
        };
        self.seen = Some(seen);
        self.offset() != before
    }

    /// How far the provider's times are ahead of UTC, once enough calls agree.
    pub fn offset(&self) -> Option<SignedDuration> {
        self.seen.filter(|seen| seen.samples >= SAMPLES_MIN).map(|seen| seen.offset)
    }

    /// The moment a time without a zone means, as far as that is known for moments near it.
    pub fn instant(&self, written: DateTime) -> Option<Timestamp> {
        let at = as_utc(written)?.checked_sub(self.offset()?).ok()?;
        let last_at = self.seen?.last_at;
        (at.duration_since(last_at).abs() <= FRESH_FOR).then_some(at)
    }
}

/// The offset one call speaks for; `None` where it was not made at once, or the two have nothing to do with each other.
fn offset_of(sent_at: Timestamp, written: DateTime) -> Option<SignedDuration> {
    let ahead = as_utc(written)?.duration_since(sent_at);
    let half = STEP.as_secs() / 2;
    let steps = (ahead.as_secs() + half).div_euclid(STEP.as_secs());
    let offset = SignedDuration::from_secs(steps * STEP.as_secs());
    let noise = ahead.checked_sub(offset)?.abs();
    (noise <= NOISE_MAX && (OFFSETS.0..=OFFSETS.1).contains(&offset)).then_some(offset)
}

fn as_utc(written: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(written).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    fn written(text: &str) -> DateTime {
        text.parse().expect("a time")
    }

    #[track_caller]
    fn check(sent_at: &str, text: &str, minutes: Option<i64>) {
        assert_eq!(offset_of(at(sent_at), written(text)), minutes.map(SignedDuration::from_mins), "{text}");
    }

    #[test]
    fn a_call_speaks_for_the_quarter_of_an_hour_next_to_it() {
        check("2025-08-04T12:30:00Z", "2025-08-04 14:30:00", Some(120));
        check("2025-08-04T12:30:00.4Z", "2025-08-04 12:30:00", Some(0));
        check("2025-08-04T12:30:00Z", "2025-08-04 14:31:59", Some(120));
        check("2025-08-04T12:30:00Z", "2025-08-04 14:28:00", Some(120));
        check("2025-08-04T12:30:00Z", "2025-08-04 18:00:05", Some(330));
        check("2025-08-04T12:30:00Z", "2025-08-04 18:15:05", Some(345));
        check("2025-08-04T12:30:00Z", "2025-08-04 05:00:10", Some(-450));
        check("2025-08-04T23:30:00Z", "2025-08-05 01:30:03", Some(120));
        check("2025-08-04T12:30:00Z", "2025-08-05 02:30:00", Some(840));
        check("2025-08-04T12:30:00Z", "2025-08-05 02:45:00", None);
        check("2025-08-04T12:30:00Z", "2025-08-04 00:15:00", None);
        check("2025-08-04T12:30:00Z", "2025-08-04 14:35:00", None);
        check("2025-08-04T12:30:00Z", "2025-08-04 14:27:59", None);
    }

    /// A calibration that has seen so many calls a minute apart, of a provider so many minutes ahead of UTC.
    fn calibrated(samples: i64, minutes: i64) -> Calibration {
        let mut calibration = Calibration::default();
        for sample in 0..samples {
            observe(&mut calibration, at("2025-08-04T12:00:00Z") + SignedDuration::from_mins(sample), minutes);
        }
        calibration
    }

    fn observe(calibration: &mut Calibration, sent_at: Timestamp, minutes: i64) -> bool {
        let shown = sent_at + SignedDuration::from_mins(minutes) + SignedDuration::from_secs(2);
        calibration.observe(sent_at, shown.to_zoned(TimeZone::UTC).datetime())
    }

    #[test]
    fn three_calls_have_to_agree() {
        for samples in 0..3 {
            assert_eq!(calibrated(samples, 120).instant(written("2025-08-04 14:30:00")), None);
        }
        let calibration = calibrated(3, 120);
        assert_eq!(calibration.instant(written("2025-08-04 14:30:00")), Some(at("2025-08-04T12:30:00Z")));
        let mut calibration = calibrated(2, 120);
        assert!(observe(&mut calibration, at("2025-08-04T12:05:00Z"), 120), "the third is news");
        assert!(!observe(&mut calibration, at("2025-08-04T12:06:00Z"), 120));
    }

    #[test]
    fn a_call_that_contradicts_makes_everything_unknown_until_three_agree_again() {
        let mut calibration = calibrated(10, 120);
        let text = written("2025-08-04 14:30:00");
        assert!(observe(&mut calibration, at("2025-08-04T12:20:00Z"), 60));
        assert_eq!(calibration.instant(text), None);
        assert!(!observe(&mut calibration, at("2025-08-04T12:21:00Z"), 60));
        assert!(observe(&mut calibration, at("2025-08-04T12:22:00Z"), 60));
        assert_eq!(calibration.instant(written("2025-08-04 13:30:00")), Some(at("2025-08-04T12:30:00Z")));
    }

    #[test]
    fn a_call_that_was_made_late_says_nothing() {
        let mut calibration = calibrated(3, 120);
        assert!(!calibration.observe(at("2025-08-04T12:20:00Z"), written("2025-08-04 14:26:00")));
        assert_eq!(calibration.offset(), Some(SignedDuration::from_hours(2)));
    }

    /// Berlin leaves summer time on 2025-10-26 at 01:00 UTC: 03:00 is 02:00 again.
    #[test]
    fn the_end_of_summer_time_is_learnt_anew() {
        let zone = TimeZone::get("Europe/Berlin").expect("a zone");
        let mut calibration = Calibration::default();
        let shows = |at: Timestamp| at.to_zoned(zone.clone()).datetime();
        let start = at("2025-10-25T23:00:00Z");
        let mut changes = Vec::new();
        for minute in (0..240).step_by(10) {
            let sent_at = start + SignedDuration::from_mins(minute);
            let made = shows(sent_at);
            // What is known is right, except in the hour in which nobody has contradicted it yet.
            if let Some(instant) = calibration.instant(made) {
                let wrong = instant.duration_since(sent_at);
                assert!(wrong.is_zero() || (minute == 120 && wrong.abs() == SignedDuration::from_hours(1)), "{minute}");
            }
            if calibration.observe(sent_at, made) {
                changes.push((minute, calibration.offset().map(|offset| offset.as_hours())));
            }
        }
        assert_eq!(changes, [(20, Some(2)), (120, None), (140, Some(1))]);
    }

    #[test]
    fn what_was_learnt_is_used_for_an_hour() {
        let calibration = calibrated(3, 0);
        assert!(calibration.instant(written("2025-08-04 13:02:00")).is_some());
        assert_eq!(calibration.instant(written("2025-08-04 13:02:01")), None);
        assert_eq!(calibration.instant(written("2025-08-04 11:01:59")), None, "nor for what lies so far back");
    }
}
