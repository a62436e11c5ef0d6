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
            if stretch.end >= NEVER {
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
