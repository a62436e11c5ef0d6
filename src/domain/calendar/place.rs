//! One zone of a calendar, judged by its clock in whole seconds.
//!
//! A local second is the number of seconds from 1970-01-01 00:00 on the wall. Between two changes of the clock it runs
//! along with time, so a boundary on the wall is a boundary in time as long as no change lies in between; each stretch
//! therefore ends at the next change of the clock at the latest, and is judged anew there.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::closed::{ClosedBy, OnDate};
use super::window::{TimeOfDayRange, WeeklyWindows};
use super::{DialingRuns, LEGAL_BOUND, Schedule, Stretch};
use crate::domain::zone::Zone;

/// Beyond every instant.
pub(super) const NEVER: i64 = i64::MAX;

const DAY: i64 = 86_400;

/// What a schedule asks, with dates as days from 1970-01-01.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    windows: WeeklyWindows,
    runs: Option<DialingRuns>,
    starts_on: Option<Date>,
    ends_on: Option<Date>,
    first_day: i64,
    last_day: i64,
}

/// A zone, and what must hold there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub zone: Zone,
    /// The campaign's own dates, windows and runs are judged here.
    pub campaign: bool,
    /// The lead may be here, so the legal bound holds here.
    pub legal: bool,
    /// The second from which every window of the campaign has passed here; [`NEVER`] without a last day.
    pub over_from: i64,
}

/// A zone's offset, known to hold until the clock changes.
pub(super) struct Clock {
    offset: i64,
    until: i64,
}

impl Rules {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self {
            windows: schedule.windows.clone(),
            runs: schedule.runs.clone(),
            starts_on: schedule.starts_on,
            ends_on: schedule.ends_on,
            first_day: schedule.starts_on.map_or(i64::MIN, day_number),
            last_day: schedule.ends_on.map_or(i64::MAX, day_number),
        }
    }

    /// The windows that begin on a day, none outside the campaign's dates.
    fn windows_on(&self, day: i64) -> &[TimeOfDayRange] {
        if (self.first_day..=self.last_day).contains(&day) { self.windows.on(weekday(day)) } else { &[] }
    }

    /// The window that is open at a local second, and the day it began on.
    fn window_at(&self, local: i64) -> Option<TimeOfDayRange> {
        let (day, second) = split(local);
        let within = |range: &&TimeOfDayRange, second| range.start_second() <= second && second < range.end_second();
        let today = self.windows_on(day).iter().find(|range| within(range, second));
        today.or_else(|| self.windows_on(day - 1).iter().find(|range| within(range, second + DAY))).copied()
    }

    /// Whether a window is open at a local second, and a local second until which that stays so.
    fn window_stretch(&self, local: i64) -> Stretch {
        let open = self.window_at(local).is_some();
        let (day, second) = split(local);
        if day < self.first_day {
            return Stretch { open, end: self.first_day * DAY };
        }
        let yesterday = self.windows_on(day - 1).iter().map(|range| range.end_second() - DAY);
        let today = self.windows_on(day).iter().flat_map(|range| [range.start_second(), range.end_second()]);
        if let Some(edge) = yesterday.chain(today).filter(|edge| (second + 1..=DAY).contains(edge)).min() {
            return Stretch { open, end: day * DAY + edge };
        }
        if open {
            return Stretch { open, end: (day + 1) * DAY };
        }
        // Closed for the rest of the day: the next window begins within a week, or the campaign is over.
        let starts_on = |day: i64| self.windows_on(day).first().map(|range| day * DAY + range.start_second());
        Stretch { open, end: (day + 1..=day + 7).find_map(starts_on).unwrap_or((day + 7) * DAY) }
    }
}

impl Place {
    pub(super) fn new(rules: &Rules, zone: Zone, campaign: bool, legal: bool) -> Self {
        let over_from = rules.ends_on.and_then(|ends_on| {
            let last = rules.windows_on(rules.last_day).iter().map(|range| range.end_second()).max();
            let over = jiff::SignedDuration::from_secs(last.unwrap_or(DAY).max(DAY));
            zone.last_instant(ends_on.at(0, 0, 0, 0).checked_add(over).ok()?)
        });
        Self { campaign, legal, over_from: over_from.map_or(NEVER, Timestamp::as_second), zone }
    }

    /// The local second at a second.
    pub(super) fn local(&self, second: i64) -> i64 {
        second + self.offset(second)
    }

    pub(super) fn clock(&self, second: i64) -> Clock {
        let change = self.zone.tz().following(super::timestamp(second)).next();
        Clock { offset: self.offset(second), until: change.map_or(NEVER, |change| change.timestamp().as_second()) }
    }

    /// Everything but the runs.
    pub(super) fn is_open(&self, rules: &Rules, second: i64, local: i64) -> bool {
        (!self.legal || is_legal(local))
            && (!self.campaign || (second < self.over_from && rules.window_at(local).is_some()))
    }

    /// Hands out the state of the legal bound and of the windows here.
    pub(super) fn stretches(&self, rules: &Rules, second: i64, clock: &mut Clock, mut part: impl FnMut(Stretch)) {
        if second >= clock.until {
            *clock = self.clock(second);
        }
        let local = second + clock.offset;
        let in_time =
            |stretch: Stretch| Stretch { end: (stretch.end - clock.offset).min(clock.until), open: stretch.open };
        if self.legal {
            part(in_time(legal_stretch(local)));
        }
        if self.campaign {
            let over = second >= self.over_from;
            part(if over { Stretch { open: false, end: NEVER } } else { in_time(rules.window_stretch(local)) });
        }
    }

    pub(super) fn run_open(&self, rules: &Rules, second: i64) -> bool {
        match &rules.runs {
            Some(runs) if self.campaign => self.run_end(runs, second).is_some(),
            Some(_) | None => true,
        }
    }

    pub(super) fn run_stretch(&self, rules: &Rules, second: i64) -> Option<Stretch> {
        let runs = rules.runs.as_ref().filter(|_| self.campaign)?;
        Some(match self.run_end(runs, second) {
            Some(end) => Stretch { open: true, end },
            None => {
                let next = runs.cron.next_firing(&self.zone, super::timestamp(second));
                Stretch { open: false, end: next.map_or(NEVER, Timestamp::as_second) }
            }
        })
    }

    pub(super) fn closed_by_date(&self, rules: &Rules, second: i64) -> Option<ClosedBy> {
        let (zone, local) = self.campaign.then(|| self.wall(second))?;
        match (rules.starts_on, rules.ends_on) {
            (Some(starts_on), _) if local.date() < starts_on => Some(ClosedBy::NotStarted { zone, local, starts_on }),
            (_, Some(ends_on)) if second >= self.over_from => Some(ClosedBy::Over { zone, local, ends_on }),
            (_, _) => None,
        }
    }

    pub(super) fn closed_by_window(&self, rules: &Rules, second: i64) -> Option<ClosedBy> {
        let closed = self.campaign && rules.window_at(self.local(second)).is_none();
        closed.then(|| {
            let (zone, local) = self.wall(second);
            ClosedBy::OutsideWindow { zone, local, windows: rules.windows.clone() }
        })
    }

    pub(super) fn closed_by_run(&self, rules: &Rules, second: i64) -> Option<ClosedBy> {
        let runs = rules.runs.as_ref().filter(|_| !self.run_open(rules, second))?;
        let (zone, local) = self.wall(second);
        Some(ClosedBy::OutsideRun { zone, local, cron: runs.cron.clone(), run_for: runs.run_for })
    }

    pub(super) fn closed_by_law(&self, _: &Rules, second: i64) -> Option<ClosedBy> {
        (self.legal && !is_legal(self.local(second))).then(|| {
            let (zone, local) = self.wall(second);
            ClosedBy::LegalBound { zone, local }
        })
    }

    /// `Mon 2026-03-02 10:14 in America/New_York, window 09:00-18:00, legal 09:00-20:00`
    pub(super) fn evidence(&self, rules: &Rules, second: i64) -> String {
        let (zone, wall) = self.wall(second);
        let mut text = OnDate(&zone, wall).to_string();
        if self.campaign {
            match rules.window_at(self.local(second)).filter(|_| second < self.over_from) {
                Some(window) => text.push_str(&format!(", window {window}")),
                None => text.push_str(", no window"),
            }
            if let Some(runs) = &rules.runs {
                let previous = runs.cron.previous_firing(&zone, super::timestamp(second));
                match previous.filter(|_| self.run_end(runs, second).is_some()) {
                    Some(start) => {
                        let start = zone.tz().to_datetime(start);
                        text.push_str(&format!(", run of {} for {:#}", start.strftime("%H:%M"), runs.run_for));
                    }
                    None => text.push_str(", no run"),
                }
            }
        }
        if self.legal {
            text.push_str(&format!(
                ", {} {LEGAL_BOUND}",
                if is_legal(self.local(second)) { "legal" } else { "not legal" }
            ));
        }
        text
    }

    /// The second at which the run that is going on ends.
    fn run_end(&self, runs: &DialingRuns, second: i64) -> Option<i64> {
        let start = runs.cron.previous_firing(&self.zone, super::timestamp(second))?;
        let end = start.as_second().saturating_add(runs.run_for.as_secs());
        (second < end).then_some(end)
    }

    fn offset(&self, second: i64) -> i64 {
        self.zone.tz().to_offset(super::timestamp(second)).seconds().into()
    }

    fn wall(&self, second: i64) -> (Zone, DateTime) {
        (self.zone.clone(), self.zone.tz().to_datetime(super::timestamp(second)))
    }
}

fn is_legal(local: i64) -> bool {
    let (_, second) = split(local);
    LEGAL_BOUND.start_second() <= second && second < LEGAL_BOUND.end_second()
}

fn legal_stretch(local: i64) -> Stretch {
    let (day, second) = split(local);
    let open = is_legal(local);
    let edge = match open {
        true => LEGAL_BOUND.end_second(),
        false if second < LEGAL_BOUND.start_second() => LEGAL_BOUND.start_second(),
        false => DAY + LEGAL_BOUND.start_second(),
    };
    Stretch { open, end: day * DAY + edge }
}

/// The day and the second of the day.
fn split(local: i64) -> (i64, i64) {
    (local.div_euclid(DAY), local.rem_euclid(DAY))
}

/// 0 is Monday; 1970-01-01 was a Thursday.
fn weekday(day: i64) -> usize {
    usize::try_from((day + 3).rem_euclid(7)).expect("a remainder of seven is small")
}

fn day_number(date: Date) -> i64 {
    date.duration_since(jiff::civil::date(1970, 1, 1)).as_hours() / 24
}
