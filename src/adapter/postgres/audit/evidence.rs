//! Whether a request left at a time that its own evidence allows.
//!
//! The evidence is read as a person would read it, and judged by the clock on the wall: of the code that judges windows
//! when it dials, nothing is used here but the zones.

use jiff::civil::{DateTime, Time};
use jiff::{SignedDuration, Timestamp};

use crate::domain::zone::Zone;

/// Evidence names the minute it was judged in.
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
/// Nobody may be called outside of these hours, local time.
const LEGAL: Range = Range { from: 9 * 60, to: 20 * 60 };

/// What is wrong with a request that left at `sent_at`, intended at `intent_at` and judged at most `judged_before` it, by
/// its evidence.
pub(super) fn wrong(
    evidence: &str,
    judged_before: SignedDuration,
    intent_at: Timestamp,
    sent_at: Timestamp,
) -> Option<String> {
    if evidence.is_empty() {
        return Some("sent without a word on the local time".to_owned());
    }
    let Some(places) = read(evidence) else {
        return Some(format!("the evidence cannot be read: {evidence}"));
    };
    if !places.iter().any(|place| place.legal) {
        return Some(format!("no legal hours were judged: {evidence}"));
    }
    places
        .iter()
        .find_map(|place| place.wrong(judged_before, intent_at, sent_at))
        .map(|wrong| format!("{wrong}; judged by: {evidence}"))
}

/// What is said of one zone.
struct Place {
    zone: Zone,
    judged: DateTime,
    window: Option<Range>,
    legal: bool,
    closed: bool,
}

/// Minutes of the day; an end before the begin is on the next day.
#[derive(Clone, Copy)]
struct Range {
    from: i32,
    to: i32,
}

/// `Mon 2026-03-02 10:14 in America/New_York, window 09:00-18:00, legal 09:00-20:00; tzdb 2026a`, one part for each zone.
fn read(evidence: &str) -> Option<Vec<Place>> {
    let mut parts: Vec<&str> = evidence.split("; ").collect();
    parts.pop().filter(|last| last.starts_with("tzdb "))?;
    parts.into_iter().map(Place::read).collect()
}

impl Place {
    fn read(text: &str) -> Option<Self> {
        let text = text.strip_suffix(" (zone assumed)").unwrap_or(text);
        let mut clauses = text.split(", ");
        let (judged, zone) = clauses.next()?.split_once(" in ")?;
        let (_, judged) = judged.split_once(' ')?;
        let mut place = Self {
            zone: Zone::parse(zone).ok()?,
            judged: DateTime::strptime("%Y-%m-%d %H:%M", judged).ok()?,
            window: None,
            legal: false,
            closed: false,
        };
        for clause in clauses {
            match clause.split_once(' ')? {
                ("window", range) => place.window = Some(Range::read(range)?),
                ("legal", range) => {
                    Range::read(range)?;
                    place.legal = true;
                }
                ("run", _) => {}
                ("no", "window" | "run") => place.closed = true,
                ("not", _) => {
                    place.legal = true;
                    place.closed = true;
                }
                _ => return None,
            }
        }
        Some(place)
    }

    fn wrong(&self, judged_before: SignedDuration, intent_at: Timestamp, sent_at: Timestamp) -> Option<String> {
        let local = |at: Timestamp| self.zone.tz().to_datetime(at);
        let sent = local(sent_at);
        let shown = sent.strftime("%a %Y-%m-%d %H:%M:%S").to_string();
        if self.closed {
            return Some(format!("sent although {} was closed", self.zone));
        }
        let since = local(intent_at).duration_since(self.judged);
        if since < SignedDuration::ZERO || since >= MINUTE + judged_before {
            return Some(format!("intended {}, in {} not when it was judged", intent_at, self.zone));
        }
        let minute = minute_of(sent.time());
        if self.legal && !LEGAL.holds(minute) {
            return Some(format!("sent {shown} in {}, outside of the legal hours", self.zone));
        }
        if self.window.is_some_and(|window| !window.holds(minute)) {
            return Some(format!("sent {shown} in {}, outside of the window", self.zone));
        }
        None
    }
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let minutes = |text: &str| {
            let (hour, minute) = text.split_once(':')?;
            Some(hour.parse::<i32>().ok()? * 60 + minute.parse::<i32>().ok()?)
        };
        Some(Self { from: minutes(from)?, to: minutes(to)? })
    }

    fn holds(self, minute: i32) -> bool {
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

fn minute_of(time: Time) -> i32 {
    i32::from(time.hour()) * 60 + i32::from(time.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: &str = "Mon 2026-03-02 10:14 in Europe/Berlin, window 09:00-12:00, legal 09:00-20:00; tzdb 2026a";
    const TWO: &str = "Fri 2026-03-06 15:30 in Europe/Berlin, window 09:00-18:00, run of 09:00 for 8h; \
                       Fri 2026-03-06 09:30 in America/New_York, legal 09:00-20:00 (zone assumed); tzdb 2026a";
    const NIGHT: &str = "Tue 2026-03-03 01:30 in Europe/Berlin, window 22:00-02:00; \
                         Mon 2026-03-02 19:30 in America/New_York, legal 09:00-20:00; tzdb 2026a";

    #[track_caller]
    fn check(evidence: &str, intent_at: &str, sent_at: &str, expected: Option<&str>) {
        let found = wrong(evidence, SignedDuration::from_secs(2), intent_at.parse().unwrap(), sent_at.parse().unwrap());
        match expected {
            None => assert_eq!(found, None),
            Some(part) => assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{found:?}"),
        }
    }

    #[test]
    fn evidence_is_read_as_it_is_written() {
        check(BERLIN, "2026-03-02T09:14:05Z", "2026-03-02T09:14:06Z", None);
        check(TWO, "2026-03-06T14:30:00Z", "2026-03-06T14:30:00Z", None);
        check(NIGHT, "2026-03-03T00:30:59Z", "2026-03-03T00:31:00Z", None);
    }

    #[test]
    fn wrong_times_are_found() {
        check(BERLIN, "2026-03-02T09:14:05Z", "2026-03-02T11:00:00Z", Some("outside of the window"));
        check(BERLIN, "2026-03-02T09:15:01Z", "2026-03-02T09:15:06Z", None);
        check(BERLIN, "2026-03-02T09:15:02Z", "2026-03-02T09:15:06Z", Some("not when it was judged"));
        check(BERLIN, "2026-03-02T09:13:59Z", "2026-03-02T09:14:00Z", Some("not when it was judged"));
        check(TWO, "2026-03-06T14:30:00Z", "2026-03-06T13:59:00Z", Some("outside of the legal hours"));
        check(NIGHT, "2026-03-03T00:30:30Z", "2026-03-03T01:00:00Z", Some("outside of the window"));
        let closed = BERLIN.replace("window 09:00-12:00", "no window");
        check(&closed, "2026-03-02T09:14:05Z", "2026-03-02T09:14:06Z", Some("was closed"));
        let illegal = BERLIN.replace("legal", "not legal");
        check(&illegal, "2026-03-02T09:14:05Z", "2026-03-02T09:14:06Z", Some("was closed"));
        check("", "2026-03-02T09:14:05Z", "2026-03-02T09:14:06Z", Some("without a word"));
        check("Europe/Berlin 10:14", "2026-03-02T09:14:05Z", "2026-03-02T09:14:06Z", Some("cannot be read"));
    }
}
