//! The calendar against a slow oracle that looks at every minute of the days around a change of the clock.
//!
//! The oracle knows no boundaries, no stretches and no offsets: it asks jiff what each minute looks like on the wall
//! and applies the rules literally. Nights matter most, because that is when clocks change, while the legal bound
//! forbids nights; so most schedules have a fixed zone where it is night, and leads in another one where it is day.

#![cfg(test)]

use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use outdial::domain::calendar::{
    DialingRuns, GroupCalendar, LEGAL_BOUND, Openness, Schedule, ScheduleZone, WeeklyWindows,
};
use outdial::domain::zone::{GroupEvidence, Zone};
use proptest::prelude::*;

/// Days looked at before and after each change, sparsely.
const DAYS: i64 = 3;
/// Seconds before and after each change within which every minute is looked at.
const NEAR: i64 = 26 * 3_600;
const MINUTE: i64 = 60;

/// The same windows twice: as the calendar reads them, and as the oracle does.
struct Windows {
    text: &'static [(&'static str, &'static str)],
    /// Days from Monday as 0, minutes from midnight.
    plain: &'static [(&'static [i8], i32, i32)],
}

const OFFICE: Windows = Windows {
    text: &[("mon-fri", "09:00-12:00"), ("mon-fri", "13:00-18:00"), ("sat", "10:00-14:00")],
    plain: &[(&[0, 1, 2, 3, 4], 540, 720), (&[0, 1, 2, 3, 4], 780, 1080), (&[5], 600, 840)],
};
const SMALL_HOURS: Windows = Windows { text: &[("daily", "00:30-03:30")], plain: &[(&[0, 1, 2, 3, 4, 5, 6], 30, 210)] };
const OVER_MIDNIGHT: Windows = Windows {
    text: &[("thu-sat", "22:00-04:15"), ("sun", "01:30-02:20"), ("mon", "23:30-00:30")],
    plain: &[(&[3, 4, 5], 1320, 1695), (&[6], 90, 140), (&[0], 1410, 1470)],
};
const ALWAYS: Windows = Windows { text: &[("daily", "00:00-24:00")], plain: &[(&[0, 1, 2, 3, 4, 5, 6], 0, 1440)] };
const EVENING_TO_MORNING: Windows = Windows { text: &[("sat-sun", "19:00-10:00")], plain: &[(&[5, 6], 1140, 2040)] };

/// Runs: as the calendar reads them, the civil minutes the oracle fires at, and how long they last in minutes.
struct Runs {
    cron: &'static str,
    fires: fn(DateTime) -> bool,
    minutes: i64,
}

const EVERY_20: Runs = Runs { cron: "*/20 * * * *", fires: |time| time.minute() % 20 == 0, minutes: 7 };
const HALF_PAST: Runs =
    Runs { cron: "30 1,2 * * *", fires: |time| time.minute() == 30 && [1, 2].contains(&time.hour()), minutes: 45 };
const MIDNIGHTS: Runs = Runs { cron: "0 0 * * *", fires: |time| time.minute() == 0 && time.hour() == 0, minutes: 90 };
const WEEKEND_15: Runs = Runs {
    cron: "15 0-3 * * 6,7",
    fires: |time| time.minute() == 15 && time.hour() < 4 && time.weekday().to_monday_zero_offset() >= 5,
    minutes: 60,
};

struct Case {
    name: &'static str,
    windows: Windows,
    runs: Option<Runs>,
    /// Judged in the changing zone, with the leads where it is day; otherwise the leads are in the changing zone.
    fixed: bool,
    /// The leads may also be in the other zone.
    both: bool,
    /// Days around the date of the change.
    dates: Option<(i32, i32)>,
}

fn cases() -> Vec<Case> {
    let case = |name, windows, runs| Case { name, windows, runs, fixed: true, both: false, dates: None };
    vec![
        Case { fixed: false, ..case("office hours of the lead", OFFICE, None) },
        Case { fixed: false, both: true, ..case("office hours in both zones", OFFICE, None) },
        Case { fixed: false, dates: Some((-2, 1)), ..case("over midnight, lead", EVENING_TO_MORNING, None) },
        case("small hours", SMALL_HOURS, None),
        Case { both: true, ..case("small hours, both legal", SMALL_HOURS, None) },
        Case { dates: Some((0, 0)), ..case("small hours on the day", SMALL_HOURS, None) },
        case("over midnight", OVER_MIDNIGHT, None),
        Case { dates: Some((-1, 1)), ..case("over midnight, three days", OVER_MIDNIGHT, None) },
        Case { dates: Some((1, 2)), ..case("over midnight, from the next day", OVER_MIDNIGHT, None) },
        Case { dates: Some((-2, -1)), ..case("over midnight, until the day before", OVER_MIDNIGHT, None) },
        case("every 20 minutes", ALWAYS, Some(EVERY_20)),
        case("half past one and two", ALWAYS, Some(HALF_PAST)),
        case("midnights", ALWAYS, Some(MIDNIGHTS)),
        case("weekend runs in windows", OVER_MIDNIGHT, Some(WEEKEND_15)),
    ]
}

/// A minute as a zone's wall shows it.
#[derive(Clone, Copy)]
struct Wall {
    time: DateTime,
    weekday: i8,
}

impl Wall {
    fn minute(self) -> i32 {
        i32::from(self.time.hour()) * 60 + i32::from(self.time.minute())
    }
}

fn wall(zone: &TimeZone, second: i64) -> Wall {
    let time = Timestamp::from_second(second).unwrap().to_zoned(zone.clone()).datetime();
    Wall { time, weekday: time.weekday().to_monday_zero_offset() }
}

fn in_window(windows: &Windows, dates: Option<(Date, Date)>, wall: Wall) -> bool {
    let within = |day: Date| dates.is_none_or(|(first, last)| first <= day && day <= last);
    let today = wall.time.date();
    windows.plain.iter().any(|(days, start, end)| {
        let begun = |weekday: i8, minute: i32| days.contains(&weekday) && *start <= minute && minute < *end;
        (within(today) && begun(wall.weekday, wall.minute()))
            || (within(today.yesterday().unwrap()) && begun((wall.weekday + 6) % 7, wall.minute() + 1440))
    })
}

/// Whether a run is going on at each minute. A firing happens at the first instant at which the clock on the wall has
/// reached its time.
fn in_run(runs: &Runs, walls: &[Wall]) -> Vec<bool> {
    let mut reached = walls[0].time;
    let mut last_firing: Option<usize> = None;
    walls
        .iter()
        .enumerate()
        .map(|(index, wall)| {
            while reached < wall.time {
                reached = reached.checked_add(1.minute()).unwrap();
                if (runs.fires)(reached) {
                    last_firing = Some(index);
                }
            }
            last_firing.is_some_and(|firing| ((index - firing) as i64) < runs.minutes)
        })
        .collect()
}

fn is_legal(wall: Wall) -> bool {
    (9 * 60..20 * 60).contains(&wall.minute())
}

fn schedule(case: &Case, zone: &str, change: Date) -> Schedule {
    let windows = case.windows.text.iter().map(|(days, range)| (days.parse().unwrap(), vec![range.parse().unwrap()]));
    let day = |offset: i32| change.checked_add(offset.days()).unwrap();
    Schedule {
        starts_on: case.dates.map(|(first, _)| day(first)),
        ends_on: case.dates.map(|(_, last)| day(last)),
        zone: if case.fixed {
            ScheduleZone::Fixed(Zone::parse(zone).unwrap())
        } else {
            ScheduleZone::Lead { default: None }
        },
        windows: WeeklyWindows::new(windows.collect()).unwrap(),
        runs: case.runs.as_ref().map(|runs| DialingRuns {
            cron: runs.cron.parse().unwrap(),
            run_for: SignedDuration::from_mins(runs.minutes),
        }),
    }
}

fn changes_in_2026(zone: &TimeZone) -> Vec<Timestamp> {
    let start = date(2026, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let end = date(2027, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    zone.following(start).map(|change| change.timestamp()).take_while(|change| *change < end).collect()
}

/// Compares the days around both changes of the clock in 2026.
fn compare(name: &str, elsewhere_name: &str) {
    assert_eq!(LEGAL_BOUND.to_string(), "09:00-20:00", "the oracle has these hours, too");
    let (mut opened, mut closed) = (0, 0);
    let (zone, elsewhere) = (Zone::parse(name).unwrap(), Zone::parse(elsewhere_name).unwrap());
    let changes = changes_in_2026(zone.tz());
    assert_eq!(changes.len(), 2, "{name}");
    for change in changes {
        // Two days more at the start let runs begin before the first minute that is compared.
        let first = change.as_second() - (DAYS + 2) * 86_400;
        let seconds: Vec<i64> = (first..change.as_second() + DAYS * 86_400).step_by(MINUTE as usize).collect();
        let here: Vec<Wall> = seconds.iter().map(|second| wall(zone.tz(), *second)).collect();
        let there: Vec<Wall> = seconds.iter().map(|second| wall(elsewhere.tz(), *second)).collect();
        let on = zone.tz().to_datetime(change).date();
        for case in cases() {
            let schedule = schedule(&case, name, on);
            let dates = schedule.starts_on.zip(schedule.ends_on);
            let (lead_here, lead_there) = (!case.fixed || case.both, case.fixed || case.both);
            let zones = [lead_here.then(|| zone.clone()), lead_there.then(|| elsewhere.clone())];
            let calendar =
                GroupCalendar::new(&schedule, &GroupEvidence::from_zones(zones.into_iter().flatten().collect()))
                    .unwrap();

            let run = case.runs.as_ref().map(|runs| in_run(runs, &here));
            let open: Vec<bool> = (0..seconds.len())
                .map(|index| {
                    in_window(&case.windows, dates, here[index])
                        && (case.fixed || !case.both || in_window(&case.windows, dates, there[index]))
                        && run.as_ref().is_none_or(|run| run[index])
                        && (!lead_here || is_legal(here[index]))
                        && (!lead_there || is_legal(there[index]))
                })
                .collect();

            for index in (2 * 1440)..seconds.len() {
                let at = Timestamp::from_second(seconds[index]).unwrap();
                let label = || format!("{} in {name} at {at} ({})", case.name, here[index].time);
                let edge = open[index] != open[index - 1] || open.get(index + 1).is_some_and(|o| *o != open[index]);
                let near = (seconds[index] - change.as_second()).abs() < NEAR;
                if near || edge || index % 11 == 0 {
                    assert_eq!(calendar.is_open(at), open[index], "{}", label());
                }
                if !edge && index % 241 != 0 {
                    continue;
                }
                let turn = open[index..].iter().position(|state| *state != open[index]);
                let turn = turn.map(|later| Timestamp::from_second(seconds[index + later]).unwrap());
                // From the middle of the minute the answer is the same.
                for at in [at, at + SignedDuration::from_millis(31_416)] {
                    match calendar.judge(at) {
                        Openness::Open { until } => {
                            assert!(open[index], "{}", label());
                            assert!(turn.is_none_or(|turn| turn == until), "{}: {until}", label());
                            opened += 1;
                        }
                        Openness::Closed { opens_at, why } => {
                            assert!(!open[index], "{}: {why}", label());
                            match turn {
                                Some(turn) => assert_eq!(opens_at, Some(turn), "{}: {why}", label()),
                                None => {
                                    assert!(opens_at.is_none_or(|at| at.as_second() > seconds[seconds.len() - 1]))
                                }
                            }
                            closed += 1;
                        }
                    }
                }
                assert!(!calendar.is_over(at) || !open[index..].contains(&true), "{}", label());
            }
        }
    }
    assert!(opened > 500 && closed > 1_000, "too little was compared: {opened} open, {closed} closed");
}

#[test]
fn every_minute_agrees_in_new_york() {
    compare("America/New_York", "Asia/Tokyo");
}

#[test]
fn every_minute_agrees_in_berlin() {
    compare("Europe/Berlin", "Asia/Tokyo");
}

#[test]
fn every_minute_agrees_on_lord_howe_where_the_clock_moves_half_an_hour() {
    compare("Australia/Lord_Howe", "Europe/London");
}

#[test]
fn every_minute_agrees_in_santiago_where_the_clock_changes_at_midnight() {
    compare("America/Santiago", "Asia/Tokyo");
}

#[test]
fn every_minute_agrees_in_cairo_where_midnight_is_skipped() {
    compare("Africa/Cairo", "Pacific/Honolulu");
}

fn any_schedule() -> impl Strategy<Value = (Schedule, GroupEvidence)> {
    let places = prop::sample::subsequence(
        vec!["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "UTC"],
        0..3,
    );
    let windows = prop::sample::subsequence(
        vec![
            ("mon-fri", "09:00-12:00"),
            ("mon-fri", "11:30-18:00"),
            ("sat", "10:00-14:00"),
            ("daily", "18:30-10:30"),
            ("sun", "23:00-22:00"),
            ("daily", "00:00-24:00"),
        ],
        1..4,
    );
    let runs = prop::sample::select(vec![
        None,
        None,
        Some(("0 9 * * 1-5", 180)),
        Some(("*/30 * * * *", 20)),
        Some(("0 0 1 * *", 1_440)),
        Some(("30 12 13 * fri", 600)),
    ]);
    let fixed = prop::sample::select(vec![None, None, Some("Europe/Berlin"), Some("America/New_York")]);
    (places, windows, runs, fixed, prop::option::of((0..40i32, 0..20i32))).prop_map(
        |(places, windows, runs, fixed, dates)| {
            let zone = |name: &str| Zone::parse(name).unwrap();
            let day = |offset: i32| date(2026, 3, 1).checked_add(offset.days()).unwrap();
            let schedule = Schedule {
                starts_on: dates.map(|(first, _)| day(first)),
                ends_on: dates.map(|(first, length)| day(first + length)),
                zone: fixed.map_or(ScheduleZone::Lead { default: Some(zone("America/Santiago")) }, |fixed| {
                    ScheduleZone::Fixed(zone(fixed))
                }),
                windows: WeeklyWindows::new(
                    windows.iter().map(|(days, range)| (days.parse().unwrap(), vec![range.parse().unwrap()])).collect(),
                )
                .unwrap(),
                runs: runs.map(|(cron, minutes)| DialingRuns {
                    cron: cron.parse().unwrap(),
                    run_for: SignedDuration::from_mins(minutes),
                }),
            };
            (schedule, GroupEvidence::from_zones(places.into_iter().map(zone).collect()))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn judging_and_asking_agree(
        (schedule, evidence) in any_schedule(),
        second in 0..(400 * 86_400i64),
        micros in 0..1_000_000i64,
        between in prop::collection::vec(0.0..1.0f64, 8),
    ) {
        let calendar = GroupCalendar::new(&schedule, &evidence).unwrap();
        let tick = SignedDuration::from_micros(1);
        let now = date(2026, 1, 15).to_zoned(TimeZone::UTC).unwrap().timestamp() + SignedDuration::from_secs(second)
            + SignedDuration::from_micros(micros);
        let part = |end: Timestamp, share: f64| {
            now + SignedDuration::from_secs_f64(now.duration_until(end).as_secs_f64() * share)
        };
        match calendar.judge(now) {
            Openness::Open { until } => {
                prop_assert!(until > now && now.duration_until(until) < SignedDuration::from_hours(12));
                prop_assert!(calendar.is_open(now) && !calendar.is_open(until) && calendar.is_open(until - tick));
                prop_assert!(between.iter().all(|share| calendar.is_open(part(until, *share))));
                prop_assert_eq!(calendar.first_open(now), Some(now));
                prop_assert!(!calendar.is_over(now));
            }
            Openness::Closed { opens_at, why } => {
                prop_assert!(!calendar.is_open(now), "{}", why);
                prop_assert_eq!(calendar.first_open(now), opens_at);
                if let Some(opens_at) = opens_at {
                    prop_assert!(opens_at > now && calendar.is_open(opens_at) && !calendar.is_open(opens_at - tick));
                    prop_assert!(!between.iter().any(|share| calendar.is_open(part(opens_at, *share) - tick)));
                    prop_assert!(!calendar.is_over(now));
                } else {
                    let year = now + SignedDuration::from_hours(365 * 24);
                    prop_assert!(!between.iter().any(|share| calendar.is_open(part(year, *share))));
                }
            }
        }
    }
}
