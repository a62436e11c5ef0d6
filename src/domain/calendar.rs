//! When a campaign may ring a group of leads.
//!
//! Legality is a predicate on an instant: look at the clock on the wall in each zone where the lead may be, and ask
//! whether that time is allowed. Hours that the clock skips do not exist, hours it repeats count both times. Nothing
//! here remembers whether a window "has opened".
//!
//! Everything must hold at once: the campaign's dates, windows and runs in every zone it is judged in, and the
//! [`LEGAL_BOUND`] in every zone where the lead may be. A campaign with a fixed zone moves its own windows there, never
//! the legal bound.

mod closed;
mod place;
mod window;

use jiff::civil::{Date, Weekday};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use super::recurrence::CronExpression;
use super::zone::{GroupEvidence, Zone, tzdb_version};
use place::{NEVER, Place, Rules};

pub use closed::ClosedBy;
pub use window::{DaySet, TimeOfDayRange, WeeklyWindows, WindowsError};

/// Nobody is rung outside these local hours, on any day, whatever a campaign says.
pub const LEGAL_BOUND: TimeOfDayRange = TimeOfDayRange::hours(9, 20);

/// When a campaign dials.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The first day on which windows begin.
    pub starts_on: Option<Date>,
    /// The last day on which windows begin.
    pub ends_on: Option<Date>,
    /// Whose clock decides.
    pub zone: ScheduleZone,
    /// The windows of a week.
    pub windows: WeeklyWindows,
    /// Dialing runs; without them the windows alone decide.
    pub runs: Option<DialingRuns>,
}

impl Schedule {
    /// The last day, if it is over wherever a lead may be. Its windows may reach into the day that follows.
    pub fn over_everywhere(&self, now: Timestamp) -> Option<Date> {
        let westernmost = Offset::constant(-12).to_datetime(now).date();
        self.ends_on.filter(|day| day.tomorrow().is_ok_and(|next| next < westernmost))
    }
}

/// Whose clock a schedule is read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleZone {
    /// The lead's.
    Lead {
        /// For leads of whom no zone is known; without it they are blocked.
        default: Option<Zone>,
    },
    /// One zone for all. The lead's own zones still decide what is legal.
    Fixed(Zone),
}

/// Stretches of dialing that start at cron firings. They may overlap; a missed one is not made up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialingRuns {
    /// When runs start.
    pub cron: CronExpression,
    /// How long each lasts, in whole seconds.
    pub run_for: SignedDuration,
}

/// Why a group can never be called under a schedule, until someone changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Blocked {
    /// Nothing says where the lead is, and the schedule has no default.
    #[error("no time zone known, and the schedule has no default")]
    NoZone,
    /// What the lead's row says is no time zone.
    #[error("the lead's time zone is unusable")]
    UnusableZone,
}

/// A schedule seen from where a group of leads is. Made once per campaign and group, asked on every tick.
#[derive(Clone, Debug)]
pub struct GroupCalendar {
    rules: Rules,
    /// Every zone that is judged, those of the campaign first.
    places: Vec<Place>,
    /// Whether the zones of the lead are assumed, because nothing is known.
    assumed: bool,
    /// The windows lie outside the legal bound of the same zone.
    always_closed: bool,
}

/// Whether a group may be called now, and until or from when.
#[derive(Clone, Debug, PartialEq)]
pub enum Openness {
    /// It may.
    Open {
        /// The first later instant at which it may not. Exact: the legal bound ends every open stretch within a day.
        until: Timestamp,
    },
    /// It may not.
    Closed {
        /// The first later instant at which it may. `None`: not within [`STEPS_MAX`] changes.
        opens_at: Option<Timestamp>,
        /// The first thing that stands against it.
        why: ClosedBy,
    },
}

/// How many changes of the state of windows, runs and clocks are looked through for an opening. Windows that never
/// meet change about twice a day, so this is a year and a half; rare runs are followed to the end of the cron calendar.
pub const STEPS_MAX: usize = 1_000;

impl GroupCalendar {
    /// Brings a schedule and what is known about a group together.
    ///
    /// # Errors
    /// [`Blocked`] when nobody can say what time it is where these leads are.
    pub fn new(schedule: &Schedule, evidence: &GroupEvidence) -> Result<Self, Blocked> {
        let fallback = match &schedule.zone {
            ScheduleZone::Lead { default } => default.as_ref(),
            ScheduleZone::Fixed(zone) => Some(zone),
        };
        let (lead_zones, assumed) = match evidence {
            GroupEvidence::Zones(zones) => (zones.as_slice(), false),
            GroupEvidence::Absent => (fallback.map(std::slice::from_ref).ok_or(Blocked::NoZone)?, true),
            GroupEvidence::Unusable => return Err(Blocked::UnusableZone),
        };
        let rules = Rules::new(schedule);
        let place = |zone: &Zone, campaign, legal| Place::new(&rules, zone.clone(), campaign, legal);
        let places: Vec<Place> = match &schedule.zone {
            ScheduleZone::Lead { .. } => lead_zones.iter().map(|zone| place(zone, true, true)).collect(),
            ScheduleZone::Fixed(fixed) => {
                let others = lead_zones.iter().filter(|zone| *zone != fixed).map(|zone| place(zone, false, true));
                std::iter::once(place(fixed, true, lead_zones.contains(fixed))).chain(others).collect()
            }
        };
        let always_closed =
            places.iter().any(|place| place.campaign && place.legal) && !schedule.windows.meets(LEGAL_BOUND);
        Ok(Self { rules, places, assumed, always_closed })
    }

    /// Whether the group may be called at this instant: [`judge`](Self::judge) without the why and when.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let second = floor_second(now);
        let local_open = |place: &Place| place.is_open(&self.rules, second, place.local(second));
        !self.always_closed
            && self.places.iter().all(local_open)
            && self.places.iter().all(|place| place.run_open(&self.rules, second))
    }

    /// Whether the group may be called, until or from when, and why not.
    pub fn judge(&self, now: Timestamp) -> Openness {
        let second = floor_second(now);
        match self.closed_by(second) {
            None => Openness::Open { until: timestamp(self.search(second, false).unwrap_or(NEVER)) },
            Some(why) => Openness::Closed { opens_at: self.search(second, true).map(timestamp), why },
        }
    }

    /// The first instant from `from` on at which the group may be called: `from` itself when it may be called then.
    pub fn first_open(&self, from: Timestamp) -> Option<Timestamp> {
        if self.is_open(from) { Some(from) } else { self.search(floor_second(from), true).map(timestamp) }
    }

    /// Whether the last window has passed in every zone the campaign is judged in, so that nothing will ever open.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let second = floor_second(now);
        self.places.iter().filter(|place| place.campaign).all(|place| place.over_from <= second)
    }

    /// What the clocks showed, in one line to keep with an attempt: for each zone the local time, the window it lies
    /// in, and the version of the zone database.
    pub fn evidence(&self, now: Timestamp) -> String {
        let second = floor_second(now);
        let mut text = String::new();
        for place in &self.places {
            text.push_str(&place.evidence(&self.rules, second));
            text.push_str(if self.assumed && place.legal { " (zone assumed); " } else { "; " });
        }
        text.push_str("tzdb ");
        text.push_str(tzdb_version());
        text
    }

    /// The zones that are judged.
    pub fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.places.iter().map(|place| &place.zone)
    }

    /// The first second from `second` on at which the state is `open`.
    fn search(&self, mut second: i64, open: bool) -> Option<i64> {
        if open && self.always_closed {
            return None;
        }
        let mut clocks: Vec<_> = self.places.iter().map(|place| place.clock(second)).collect();
        for _ in 0..STEPS_MAX {
            let stretch = self.stretch(second, &mut clocks);
            if stretch.open == open {
                return Some(second);
            }
            if stretch.end == NEVER {
                return None;
            }
            second = stretch.end;
        }
        None
    }

    /// The state at a second, and a second until which it stays so. While several conditions fail, the one that stays
    /// failing longest says how far to look ahead.
    fn stretch(&self, second: i64, clocks: &mut [place::Clock]) -> Stretch {
        let mut all = Stretch { open: true, end: NEVER };
        for (place, clock) in self.places.iter().zip(clocks) {
            place.stretches(&self.rules, second, clock, |part| all = all.and(part));
        }
        if all.open {
            for place in &self.places {
                if let Some(run) = place.run_stretch(&self.rules, second) {
                    all = all.and(run);
                }
            }
        }
        all
    }

    fn closed_by(&self, second: i64) -> Option<ClosedBy> {
        let first = |test: fn(&Place, &Rules, i64) -> Option<ClosedBy>| {
            self.places.iter().find_map(|place| test(place, &self.rules, second))
        };
        first(Place::closed_by_date)
            .or_else(|| first(Place::closed_by_window))
            .or_else(|| first(Place::closed_by_run))
            .or_else(|| first(Place::closed_by_law))
    }
}

/// A state that holds from some second until `end`.
#[derive(Clone, Copy)]
struct Stretch {
    open: bool,
    end: i64,
}

impl Stretch {
    fn and(self, other: Self) -> Self {
        match (self.open, other.open) {
            (true, true) => Self { open: true, end: self.end.min(other.end) },
            (true, false) => other,
            (false, true) => self,
            (false, false) => Self { open: false, end: self.end.max(other.end) },
        }
    }
}

/// Windows, runs and clock changes stand on whole seconds, so within one nothing changes.
fn floor_second(now: Timestamp) -> i64 {
    now.as_second() - i64::from(now.subsec_nanosecond() < 0)
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

fn weekday_name(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    fn windows(days: &str, range: &str) -> WeeklyWindows {
        WeeklyWindows::new(vec![(days.parse().unwrap(), vec![range.parse().unwrap()])]).unwrap()
    }

    fn office() -> Schedule {
        Schedule {
            starts_on: Some(date(2026, 3, 2)),
            ends_on: Some(date(2026, 3, 31)),
            zone: ScheduleZone::Lead { default: None },
            windows: windows("mon-fri", "09:00-18:00"),
            runs: None,
        }
    }

    fn at(zone: &str, time: &str) -> Timestamp {
        format!("{time}[{zone}]").parse::<jiff::Zoned>().unwrap().timestamp()
    }

    fn known(names: &[&str]) -> GroupEvidence {
        GroupEvidence::from_zones(names.iter().map(|name| zone(name)).collect())
    }

    /// What stands against calling leads in New York at a local time there, and from when nothing does.
    #[track_caller]
    fn closed(schedule: &Schedule, time: &str, why: &str, opens_at: Option<&str>) {
        const NEW_YORK: &str = "America/New_York";
        let calendar = GroupCalendar::new(schedule, &known(&[NEW_YORK])).unwrap();
        match calendar.judge(at(NEW_YORK, time)) {
            Openness::Open { until } => panic!("open until {until}"),
            Openness::Closed { opens_at: found, why: because } => {
                assert_eq!(because.to_string(), why);
                assert_eq!(found, opens_at.map(|time| at(NEW_YORK, time)));
            }
        }
    }

    #[test]
    fn the_first_thing_that_stands_against_a_call_is_named() {
        let mut schedule = office();
        let next = Some("2026-03-02T09:00");
        closed(&schedule, "2026-03-01T12:00", "Sun 2026-03-01 12:00 in America/New_York, starts on 2026-03-02", next);
        closed(&schedule, "2026-04-01T12:00", "Wed 2026-04-01 12:00 in America/New_York, ended on 2026-03-31", None);
        closed(&schedule, "2026-03-31T18:00", "Tue 18:00 in America/New_York, windows Mon-Fri 09:00-18:00", None);
        closed(
            &schedule,
            "2026-03-06T21:14:59.5",
            "Fri 21:14 in America/New_York, windows Mon-Fri 09:00-18:00",
            Some("2026-03-09T09:00"),
        );
        schedule.windows = windows("daily", "08:00-21:00");
        let legal = "calls are legal daily 09:00-20:00";
        closed(
            &schedule,
            "2026-03-06T20:00",
            &format!("Fri 20:00 in America/New_York, {legal}"),
            Some("2026-03-07T09:00"),
        );
        let run_for = SignedDuration::from_mins(150);
        schedule.runs = Some(DialingRuns { cron: "0 10 * * 1-5".parse().unwrap(), run_for });
        closed(
            &schedule,
            "2026-03-06T12:30",
            "Fri 12:30 in America/New_York, runs start at \"0 10 * * 1-5\" and last 2h 30m",
            Some("2026-03-09T10:00"),
        );
    }

    #[test]
    fn an_open_stretch_ends_when_anything_closes() {
        let until = |schedule: &Schedule| {
            let calendar = GroupCalendar::new(schedule, &known(&["America/New_York"])).unwrap();
            match calendar.judge(at("America/New_York", "2026-03-06T10:30")) {
                Openness::Open { until } => {
                    until.to_zoned(zone("America/New_York").tz().clone()).strftime("%H:%M").to_string()
                }
                Openness::Closed { why, .. } => panic!("{why}"),
            }
        };
        let mut schedule = office();
        assert_eq!(until(&schedule), "18:00");
        schedule.windows = windows("fri", "10:00-09:00");
        assert_eq!(until(&schedule), "20:00");
        let mut runs = DialingRuns { cron: "0 10 * * *".parse().unwrap(), run_for: SignedDuration::from_hours(1) };
        schedule.runs = Some(runs.clone());
        assert_eq!(until(&schedule), "11:00");
        // Runs that overlap are one.
        runs.cron = "*/30 10-12 * * *".parse().unwrap();
        schedule.runs = Some(runs);
        assert_eq!(until(&schedule), "13:30");
    }

    #[test]
    fn every_zone_where_the_lead_may_be_must_agree() {
        let calendar = GroupCalendar::new(&office(), &known(&["America/New_York", "America/Los_Angeles"])).unwrap();
        let opens = at("America/Los_Angeles", "2026-03-06T09:00");
        assert_eq!(calendar.first_open(at("America/New_York", "2026-03-06T09:00")), Some(opens));
        assert_eq!(calendar.judge(opens), Openness::Open { until: at("America/New_York", "2026-03-06T18:00") });
        assert_eq!(calendar.zones().count(), 2);
    }

    #[test]
    fn a_fixed_zone_moves_the_windows_but_never_the_legal_bound() {
        let mut schedule = office();
        schedule.zone = ScheduleZone::Fixed(zone("Europe/Berlin"));
        let calendar = GroupCalendar::new(&schedule, &known(&["America/New_York"])).unwrap();
        let opens = at("America/New_York", "2026-03-06T09:00");
        assert_eq!(calendar.first_open(at("Europe/Berlin", "2026-03-06T09:00")), Some(opens));
        assert_eq!(calendar.judge(opens), Openness::Open { until: at("Europe/Berlin", "2026-03-06T18:00") });

        // Berlin's office hours are Honolulu's night.
        let calendar = GroupCalendar::new(&schedule, &known(&["Pacific/Honolulu"])).unwrap();
        assert_eq!(calendar.first_open(opens), None);
        // Of a lead of whom nothing is known, the fixed zone is assumed for the legal bound, too.
        schedule.windows = windows("daily", "00:00-24:00");
        let calendar = GroupCalendar::new(&schedule, &GroupEvidence::Absent).unwrap();
        assert!(!calendar.is_open(at("Europe/Berlin", "2026-03-06T08:59:59")));
        assert!(calendar.is_open(at("Europe/Berlin", "2026-03-06T09:00")));
    }

    #[test]
    fn nobody_is_called_where_the_time_is_unknown() {
        let mut schedule = office();
        let blocked = |schedule: &Schedule, evidence| GroupCalendar::new(schedule, &evidence).err();
        assert_eq!(blocked(&schedule, GroupEvidence::Absent), Some(Blocked::NoZone));
        assert_eq!(blocked(&schedule, GroupEvidence::Unusable), Some(Blocked::UnusableZone));
        for zones in
            [ScheduleZone::Lead { default: Some(zone("Europe/Berlin")) }, ScheduleZone::Fixed(zone("Europe/Berlin"))]
        {
            schedule.zone = zones;
            assert_eq!(blocked(&schedule, GroupEvidence::Absent), None);
            assert_eq!(blocked(&schedule, GroupEvidence::Unusable), Some(Blocked::UnusableZone));
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_began() {
        let mut schedule = office();
        schedule.windows = windows("mon,tue", "21:00-10:00");
        let calendar = GroupCalendar::new(&schedule, &known(&["Europe/Berlin"])).unwrap();
        let open = |time: &str| calendar.is_open(at("Europe/Berlin", time));
        assert!(!open("2026-03-02T09:30"), "Monday morning belongs to Sunday, and to the day before the first");
        assert!(open("2026-03-03T09:30"));
        assert!(open("2026-03-04T09:30"));
        assert!(!open("2026-03-05T09:30"));
        assert!(open("2026-04-01T09:30"), "the last day's window ends on the next");
        let over = |time: &str| calendar.is_over(at("Europe/Berlin", time));
        assert!(!over("2026-04-01T09:59:59"));
        assert!(over("2026-04-01T10:00"));
    }

    #[test]
    fn a_campaign_is_over_when_it_is_over_everywhere() {
        let calendar = GroupCalendar::new(&office(), &known(&["America/New_York", "America/Los_Angeles"])).unwrap();
        let midnight = at("America/Los_Angeles", "2026-04-01T00:00");
        assert!(!calendar.is_over(midnight - SignedDuration::from_micros(1)));
        assert!(calendar.is_over(midnight));
        let endless = GroupCalendar::new(&Schedule { ends_on: None, ..office() }, &known(&["UTC"])).unwrap();
        assert!(!endless.is_over(Timestamp::MAX));
    }

    #[test]
    fn a_day_is_over_everywhere_when_its_last_window_has_closed_in_the_far_west() {
        // The night that began on the 31st ends on the 1st of April, which ends twelve hours after midnight in UTC.
        let noon: Timestamp = "2026-04-02T12:00:00Z".parse().unwrap();
        assert_eq!(office().over_everywhere(noon - SignedDuration::from_micros(1)), None);
        assert_eq!(office().over_everywhere(noon), Some(date(2026, 3, 31)));
        assert_eq!(Schedule { ends_on: None, ..office() }.over_everywhere(Timestamp::MAX), None);
    }

    #[test]
    fn windows_outside_the_legal_bound_never_open() {
        let schedule = Schedule { ends_on: None, windows: windows("daily", "20:00-09:00"), ..office() };
        let legal = "windows daily 20:00-09:00";
        closed(&schedule, "2026-03-06T12:00", &format!("Fri 12:00 in America/New_York, {legal}"), None);
    }

    #[test]
    fn rare_runs_are_found_however_far_away() {
        let runs = DialingRuns { cron: "0 9 29 2 *".parse().unwrap(), run_for: SignedDuration::from_hours(2) };
        let schedule = Schedule { ends_on: None, windows: windows("mon", "09:00-18:00"), runs: Some(runs), ..office() };
        let calendar = GroupCalendar::new(&schedule, &known(&["UTC"])).unwrap();
        let monday = "2044-02-29T09:00:00Z".parse().unwrap();
        assert_eq!(calendar.first_open(at("UTC", "2026-03-06T12:00")), Some(monday));
    }

    #[test]
    fn evidence_fits_in_a_line() {
        let mut schedule = office();
        schedule.zone = ScheduleZone::Fixed(zone("Europe/Berlin"));
        let runs = DialingRuns { cron: "0 9 * * *".parse().unwrap(), run_for: SignedDuration::from_hours(8) };
        schedule.runs = Some(runs);
        let calendar = GroupCalendar::new(&schedule, &known(&["America/New_York"])).unwrap();
        assert_eq!(
            calendar.evidence(at("America/New_York", "2026-03-06T09:30")),
            format!(
                "Fri 2026-03-06 15:30 in Europe/Berlin, window 09:00-18:00, run of 09:00 for 8h; \
                 Fri 2026-03-06 09:30 in America/New_York, legal 09:00-20:00; tzdb {}",
                tzdb_version()
            )
        );
        schedule.runs = None;
        let calendar = GroupCalendar::new(&schedule, &GroupEvidence::Absent).unwrap();
        assert_eq!(
            calendar.evidence(at("Europe/Berlin", "2026-03-06T08:30")),
            format!(
                "Fri 2026-03-06 08:30 in Europe/Berlin, no window, not legal 09:00-20:00 (zone assumed); tzdb {}",
                tzdb_version()
            )
        );
    }
}
