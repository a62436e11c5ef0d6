//! Cron expressions against croner, which reads them as Unix does.

#![cfg(test)]

use chrono::{DateTime as CronTime, NaiveDate, Utc};
use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use outdial::domain::recurrence::CronExpression;
use outdial::domain::zone::Zone;
use proptest::prelude::*;

fn cron(text: &str) -> CronExpression {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn to_cron(time: DateTime) -> CronTime<Utc> {
    let second = time.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
    CronTime::from_timestamp(second, 0).unwrap()
}

fn from_cron(time: CronTime<Utc>) -> DateTime {
    TimeZone::UTC.to_datetime(Timestamp::from_second(time.timestamp()).unwrap())
}

/// What croner says, on a day without a change of the clock.
fn oracle(text: &str, from: DateTime, to: DateTime) -> Vec<DateTime> {
    let oracle: croner::Cron = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let from = to_cron(from);
    oracle.iter_from(from, croner::Direction::Forward).map(from_cron).take_while(|time| *time < to).collect()
}

fn ours(text: &str, from: DateTime, to: DateTime) -> Vec<DateTime> {
    let (utc, instant) =
        (Zone::parse("UTC").unwrap(), |time: DateTime| time.to_zoned(TimeZone::UTC).unwrap().timestamp());
    let firings = cron(text).firings(&utc, instant(from), instant(to)).collect::<Vec<_>>();
    firings.into_iter().map(|firing| utc.tz().to_datetime(firing)).collect()
}

/// Fields that mean the same to croner. Left out: a day field such as `*/2` beside a restricted one, which croner
/// takes as restricted ("or") and Vixie cron does not ("and").
fn expression() -> impl Strategy<Value = String> {
    let minute = prop_oneof![Just("*/15".to_owned()), (0..60u8).prop_map(|m| m.to_string()), Just("5-50/9".to_owned())];
    let hour = prop_oneof![Just("*".to_owned()), (0..24u8).prop_map(|h| h.to_string()), Just("9-17/2,22".to_owned())];
    let day = prop_oneof![
        3 => Just("*".to_owned()),
        1 => (1..29u8).prop_map(|d| d.to_string()),
        1 => Just("1-7,31".to_owned())
    ];
    let month = prop_oneof![3 => Just("*".to_owned()), 1 => Just("2,jul-sep".to_owned()), 1 => Just("*/5".to_owned())];
    let weekday = prop_oneof![
        3 => Just("*".to_owned()),
        1 => (0..=7u8).prop_map(|d| d.to_string()),
        1 => Just("mon-fri".to_owned()),
        1 => Just("5-7".to_owned()),
    ];
    (minute, hour, day, month, weekday).prop_map(|(m, h, d, mo, w)| format!("{m} {h} {d} {mo} {w}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn without_a_clock_change_croner_agrees(text in expression(), start in 0..1_400i32) {
        let from = date(2024, 1, 1).checked_add(start.days()).unwrap().at(0, 0, 0, 0);
        let to = from.checked_add(35.days()).unwrap();
        prop_assert_eq!(ours(&text, from, to), oracle(&text, from, to));
    }
}

/// Over a clock change the two differ, and these are all the differences: croner repeats what runs by intervals in
/// the fold, and what falls into a gap by intervals is dropped rather than moved.
#[test]
fn over_a_clock_change_croner_differs_as_written_here() {
    fn oracle_zoned(text: &str, from: &str, to: &str) -> Vec<String> {
        let oracle: croner::Cron = text.parse().unwrap();
        let zone = NewYork2026;
        let from: CronTime<Utc> = from.parse().unwrap();
        let to: CronTime<Utc> = to.parse().unwrap();
        oracle
            .iter_from(from.with_timezone(&zone), croner::Direction::Forward)
            .map(|time| time.with_timezone(&Utc))
            .take_while(|time| *time < to)
            .map(|time| time.format("%H:%MZ").to_string())
            .collect()
    }
    fn ours_zoned(text: &str, from: &str, to: &str) -> Vec<String> {
        let zone = Zone::parse("America/New_York").unwrap();
        cron(text)
            .firings(&zone, from.parse().unwrap(), to.parse().unwrap())
            .map(|firing| firing.strftime("%H:%MZ").to_string())
            .collect()
    }
    let (gap, gap_end) = ("2026-03-08T06:00:00Z", "2026-03-08T08:00:00Z");
    let (fold, fold_end) = ("2026-11-01T05:00:00Z", "2026-11-01T07:30:00Z");

    // At a fixed time they agree: after the gap, and the first time of two.
    assert_eq!(ours_zoned("30 2 * * *", gap, gap_end), ["07:00Z"]);
    assert_eq!(oracle_zoned("30 2 * * *", gap, gap_end), ["07:00Z"]);
    assert_eq!(ours_zoned("30 1 * * *", fold, fold_end), ["05:30Z"]);
    assert_eq!(oracle_zoned("30 1 * * *", fold, fold_end), ["05:30Z"]);
    // By intervals they do not.
    assert_eq!(ours_zoned("30 * * * *", gap, gap_end), ["06:30Z", "07:00Z", "07:30Z"]);
    assert_eq!(oracle_zoned("30 * * * *", gap, gap_end), ["06:30Z", "07:30Z"]);
    assert_eq!(ours_zoned("30 * * * *", fold, fold_end), ["05:30Z"]);
    assert_eq!(oracle_zoned("30 * * * *", fold, fold_end), ["05:30Z", "06:30Z"]);
}

/// New York in 2026 as a chrono zone, so that croner can be asked without a second zone database.
#[derive(Clone, Copy, Debug)]
struct NewYork2026;

impl NewYork2026 {
    fn offset(hours: i32) -> chrono::FixedOffset {
        chrono::FixedOffset::east_opt(hours * 3_600).unwrap()
    }
}

impl chrono::TimeZone for NewYork2026 {
    type Offset = chrono::FixedOffset;

    fn from_offset(_: &chrono::FixedOffset) -> Self {
        Self
    }

    fn offset_from_local_date(&self, _: &NaiveDate) -> chrono::LocalResult<chrono::FixedOffset> {
        chrono::LocalResult::None
    }

    fn offset_from_local_datetime(&self, time: &chrono::NaiveDateTime) -> chrono::LocalResult<chrono::FixedOffset> {
        let at = |month, day, hour| NaiveDate::from_ymd_opt(2026, month, day).unwrap().and_hms_opt(hour, 0, 0).unwrap();
        let (summer, winter) = (Self::offset(-4), Self::offset(-5));
        if (at(3, 8, 2)..at(3, 8, 3)).contains(time) {
            chrono::LocalResult::None
        } else if (at(11, 1, 1)..at(11, 1, 2)).contains(time) {
            chrono::LocalResult::Ambiguous(summer, winter)
        } else if (at(3, 8, 3)..at(11, 1, 1)).contains(time) {
            chrono::LocalResult::Single(summer)
        } else {
            chrono::LocalResult::Single(winter)
        }
    }

    fn offset_from_utc_date(&self, _: &NaiveDate) -> chrono::FixedOffset {
        Self::offset(-5)
    }

    fn offset_from_utc_datetime(&self, time: &chrono::NaiveDateTime) -> chrono::FixedOffset {
        let at = |month, day, hour| NaiveDate::from_ymd_opt(2026, month, day).unwrap().and_hms_opt(hour, 0, 0).unwrap();
        Self::offset(if (at(3, 8, 7)..at(11, 1, 6)).contains(time) { -4 } else { -5 })
    }
}
