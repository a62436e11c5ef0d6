//! Ordinary Unix cron, in local time.
//!
//! The `cron` crate alone reads 1-5 as Sunday to Thursday, wants seconds, combines day of month and day of week with
//! "and", loses the firing in the hour that spring skips and doubles the one in the hour that autumn repeats. So it
//! serves here as a calendar of civil times only: `field.rs` reads the five fields, the crate gets lists of numbers,
//! and jiff turns civil times into instants. Nothing is remembered: firings are a function of the expression and
//! the zone.
//!
//! A firing inside a gap moves forward to the gap's end; several of them become one. A firing inside a fold happens
//! the first time only. So firings strictly increase, and a daily one happens exactly once on each date that exists.

mod field;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime as CronTime, Datelike, NaiveDate, Timelike, Utc};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::AmbiguousOffset;

use super::zone::Zone;
use field::{DAY, HOUR, MINUTE, MONTH, Values, WEEKDAY, some_month_has};

/// A five-field Unix cron expression: minute, hour, day of month, month, day of week.
///
/// Each field is `*`, a number, a name (`jan`, `mon`), a range, a list, and ranges and `*` may have a step. 0 and 7 are
/// Sunday. When both day fields are restricted, a day matching either fires; a field that begins with `*` is not
/// restricted, as in Vixie cron. `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually` work.
///
/// Cheap to clone. Two expressions are equal when their fields allow the same values.
#[derive(Clone, PartialEq, Eq)]
pub struct CronExpression(Arc<Parts>);

struct Parts {
    text: String,
    calendar: cron::Schedule,
    /// The second half of an expression that restricts both day fields: its days of week, on any day of month.
    or_weekday: Option<cron::Schedule>,
}

/// Why a cron expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error(
        "{found} fields in {text:?}: write five (minute, hour, day of month, month, day of week), without seconds or year"
    )]
    Fields {
        /// The expression.
        text: String,
        /// How many there are.
        found: usize,
    },
    /// An `@` word that is not known.
    #[error("unknown macro {0:?}: @hourly, @daily, @weekly, @monthly and @yearly are known")]
    Macro(String),
    /// One field is wrong.
    #[error("{field} {part:?}: {remedy}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// The part of the field that is wrong.
        part: String,
        /// What to write instead.
        remedy: String,
    },
    /// No such date exists.
    #[error("{0:?} never fires: none of its months has such a day of month")]
    Never(String),
}

impl CronExpression {
    /// The latest firing at or before `at`.
    pub fn previous_firing(&self, zone: &Zone, at: Timestamp) -> Option<Timestamp> {
        let local = local(zone, at);
        // The firings of the repeated times after this one happened already, the first time round.
        let mut from = local.time.saturating_add(local.repeated);
        loop {
            let civil = self.civil_at_or_before(from)?;
            let firing = zone.first_instant(civil)?;
            if firing <= at {
                return Some(firing);
            }
            from = civil.checked_sub(jiff::SignedDuration::from_mins(1)).ok()?;
        }
    }

    /// The earliest firing after `after`. `None` once the calendar ends, in the year 2100.
    pub fn next_firing(&self, zone: &Zone, after: Timestamp) -> Option<Timestamp> {
        let mut from = local(zone, after).time;
        loop {
            let civil = self.civil_after(from)?;
            let firing = zone.first_instant(civil)?;
            if firing > after {
                return Some(firing);
            }
            from = civil;
        }
    }

    /// The firings from `from` (included) to `to` (excluded), in order.
    pub fn firings(&self, zone: &Zone, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
        let first = match self.previous_firing(zone, from) {
            Some(firing) if firing == from => Some(firing),
            Some(_) | None => self.next_firing(zone, from),
        };
        std::iter::successors(first, |firing| self.next_firing(zone, *firing)).take_while(move |firing| *firing < to)
    }

    /// The expression as it was written, with single spaces.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    fn civil_after(&self, time: DateTime) -> Option<DateTime> {
        let from = to_cron(time)?;
        let next = |calendar: &cron::Schedule| calendar.after(&from).next();
        let weekday = self.0.or_weekday.as_ref().and_then(next);
        from_cron(next(&self.0.calendar).into_iter().chain(weekday).min()?)
    }

    fn civil_at_or_before(&self, time: DateTime) -> Option<DateTime> {
        // Firings stand on whole minutes, so "at or before" is "before one second later".
        let from = to_cron(time)?.checked_add_signed(chrono::TimeDelta::seconds(1))?;
        let previous = |calendar: &cron::Schedule| calendar.after(&from).next_back();
        let weekday = self.0.or_weekday.as_ref().and_then(previous);
        from_cron(previous(&self.0.calendar).into_iter().chain(weekday).max()?)
    }
}

/// An instant as the clock on the wall shows it.
struct Local {
    /// Without fractions of a second.
    time: DateTime,
    /// How long the clock was set back, when this is the second time it shows this time; otherwise zero.
    repeated: jiff::SignedDuration,
}

fn local(zone: &Zone, at: Timestamp) -> Local {
    let offset = zone.tz().to_offset(at);
    let time = offset.to_datetime(at);
    let repeated = match zone.tz().to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Fold { before, after } if offset == after => after.duration_until(before),
        AmbiguousOffset::Fold { .. } | AmbiguousOffset::Gap { .. } | AmbiguousOffset::Unambiguous { .. } => {
            jiff::SignedDuration::ZERO
        }
    };
    Local { time: time.with().subsec_nanosecond(0).build().unwrap_or(time), repeated }
}

fn to_cron(time: DateTime) -> Option<CronTime<Utc>> {
    let unsigned = |value: i8| u32::try_from(value).ok();
    NaiveDate::from_ymd_opt(time.year().into(), unsigned(time.month())?, unsigned(time.day())?)?
        .and_hms_opt(unsigned(time.hour())?, unsigned(time.minute())?, unsigned(time.second())?)
        .map(|civil| civil.and_utc())
}

fn from_cron(time: CronTime<Utc>) -> Option<DateTime> {
    let small = |value: u32| i8::try_from(value).ok();
    let (year, month, day) = (i16::try_from(time.year()).ok()?, small(time.month())?, small(time.day())?);
    DateTime::new(year, month, day, small(time.hour())?, small(time.minute())?, 0, 0).ok()
}

impl FromStr for CronExpression {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let written: Vec<&str> = text.split_whitespace().collect();
        let text = written.join(" ");
        let expanded = match text.strip_prefix('@') {
            Some(_) => macro_fields(&text).ok_or_else(|| CronError::Macro(text.clone()))?,
            None => &text,
        };
        let fields: Vec<&str> = expanded.split(' ').filter(|field| !field.is_empty()).collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields { text: text.clone(), found: fields.len() });
        };
        let (minute, hour) = (MINUTE.read(minute)?, HOUR.read(hour)?);
        let (day, month, weekday) = (DAY.read(day)?, MONTH.read(month)?, WEEKDAY.read(weekday)?.with_one_sunday());

        let either = !day.star && !weekday.star;
        if !either && !some_month_has(&month, &day) {
            return Err(CronError::Never(text));
        }
        let calendar = |day: &Values, weekday: &Values| {
            let (minute, hour, month) = (minute.list(0), hour.list(0), month.list(0));
            // The crate counts weekdays from Sunday as 1.
            cron::Schedule::from_str(&format!("0 {minute} {hour} {} {month} {}", day.list(0), weekday.list(1)))
                .expect("lists of numbers within their fields are what the crate reads")
        };
        let parts = if either {
            Parts { text, calendar: calendar(&day, &WEEKDAY.all()), or_weekday: Some(calendar(&DAY.all(), &weekday)) }
        } else {
            Parts { text, calendar: calendar(&day, &weekday), or_weekday: None }
        };
        Ok(Self(Arc::new(parts)))
    }
}

fn macro_fields(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => return None,
    })
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.text)
    }
}

impl fmt::Debug for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronExpression({self})")
    }
}

impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        // The text is left out: `1-5` and `mon-fri` are the same.
        self.calendar == other.calendar && self.or_weekday == other.or_weekday
    }
}

impl Eq for Parts {}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use jiff::civil::date;
    use proptest::prelude::*;

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    fn cron(text: &str) -> CronExpression {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The local times at which an expression fires on `days` days from a date, with their offsets.
    fn fires(text: &str, place: &str, from: jiff::civil::Date, days: i32) -> Vec<String> {
        let zone = zone(place);
        let start = from.to_zoned(zone.tz().clone()).unwrap();
        let end = from.checked_add(days.days()).unwrap().to_zoned(zone.tz().clone()).unwrap();
        cron(text)
            .firings(&zone, start.timestamp(), end.timestamp())
            .map(|firing| firing.to_zoned(zone.tz().clone()).strftime("%d %H:%M %Z").to_string())
            .collect()
    }

    #[track_caller]
    fn refuses(text: &str, message: &str) {
        assert_eq!(text.parse::<CronExpression>().unwrap_err().to_string(), message);
    }

    #[test]
    fn weekdays_are_those_of_unix() {
        let monday = date(2026, 6, 1);
        let week =
            |text: &str| fires(text, "UTC", monday, 7).iter().map(|time| time[..2].to_owned()).collect::<Vec<_>>();
        assert_eq!(week("0 9 * * 1-5"), ["01", "02", "03", "04", "05"]);
        assert_eq!(week("0 9 * * mon-FRI"), ["01", "02", "03", "04", "05"]);
        assert_eq!(week("0 9 * * 0"), ["07"]);
        assert_eq!(week("0 9 * * 7"), ["07"]);
        assert_eq!(week("0 9 * * sun"), ["07"]);
        assert_eq!(week("0 9 * * 5-7"), ["05", "06", "07"]);
        assert_eq!(week("0 9 * * sat-sun"), ["06", "07"]);
        assert_eq!(week("0 9 * * 0-6/2"), ["02", "04", "06", "07"]);
        assert_eq!(week("0 9 * * 0,3"), ["03", "07"]);
        assert_eq!(week("0 9 * * 0-7").len(), 7);
    }

    #[test]
    fn two_restricted_day_fields_mean_either() {
        assert_eq!(fires("0 9 13 * fri", "UTC", date(2026, 2, 1), 28).len(), 4, "13 February 2026 is a Friday");
        assert_eq!(fires("0 9 14 * fri", "UTC", date(2026, 2, 1), 28).len(), 5);
        // A field that begins with a star does not restrict: both must hold.
        assert_eq!(fires("0 9 */2 * fri", "UTC", date(2026, 2, 1), 28), ["13 09:00 UTC", "27 09:00 UTC"]);
    }

    #[test]
    fn macros_expand() {
        for (word, fields) in [
            ("@hourly", "0 * * * *"),
            ("@Daily", "0 0 * * *"),
            ("@midnight", "0 0 * * *"),
            ("@weekly", "0 0 * * 7"),
            ("@monthly", "0 0 1 * *"),
            ("@yearly", "0 0 1 jan *"),
            ("@annually", " 0  0 1 1 * "),
        ] {
            assert_eq!(cron(word), cron(fields), "{word}");
        }
        refuses("@reboot", r#"unknown macro "@reboot": @hourly, @daily, @weekly, @monthly and @yearly are known"#);
    }

    #[test]
    fn errors_name_the_field_and_the_remedy() {
        let five = "write five (minute, hour, day of month, month, day of week), without seconds or year";
        refuses("", &format!(r#"0 fields in "": {five}"#));
        refuses("0 0 9 * * 1-5", &format!(r#"6 fields in "0 0 9 * * 1-5": {five}"#));
        refuses("60 9 * * *", r#"minute "60": write 0 to 59"#);
        refuses("0 24 * * *", r#"hour "24": write 0 to 23"#);
        refuses("0 9 0 * *", r#"day of month "0": write 1 to 31"#);
        refuses("0 9 L * *", r#"day of month "L": write 1 to 31; ?, #, L and W are not Unix cron"#);
        refuses("0 9 * 13 *", r#"month "13": write 1 to 12 or jan to dec"#);
        refuses("0 9 * * 8", r#"day of week "8": write 0 to 7 (0 and 7 are Sunday) or mon to sun"#);
        refuses("0 9 ? * mon", r#"day of month "?": write 1 to 31; ?, #, L and W are not Unix cron"#);
        refuses(
            "0 9 * * fri-mon",
            r#"day of week "fri-mon": the range runs backwards: write two ranges separated by a comma"#,
        );
        refuses("5/10 9 * * *", r#"minute "5/10": a step needs a range: write 5-59/10"#);
        refuses("*/0 9 * * *", r#"minute "*/0": a step is a number from 1"#);
        refuses("*/90 9 * * *", r#"minute "*/90": the step leaves the range (at most 59), so it would fire once only"#);
        refuses("1,,2 9 * * *", r#"minute "": write 0 to 59"#);
        refuses("+5 9 * * *", r#"minute "+5": write 0 to 59"#);
        refuses("0 9 31 2 *", r#""0 9 31 2 *" never fires: none of its months has such a day of month"#);
        refuses("0 9 31 4,6,9,11 *", r#""0 9 31 4,6,9,11 *" never fires: none of its months has such a day of month"#);
    }

    #[test]
    fn a_leap_day_waits_for_its_year() {
        let next = cron("0 9 29 2 *").next_firing(&zone("UTC"), "2026-03-01T00:00:00Z".parse().unwrap());
        assert_eq!(next, Some("2028-02-29T09:00:00Z".parse().unwrap()));
        // Impossible as a date, but its Mondays fire.
        assert_eq!(fires("0 9 31 2 mon", "UTC", date(2026, 2, 1), 28).len(), 4);
    }

    #[test]
    fn a_firing_in_the_gap_moves_to_its_end() {
        let gap = date(2026, 3, 8);
        assert_eq!(fires("30 2 * * *", "America/New_York", gap, 1), ["08 03:00 EDT"]);
        assert_eq!(fires("*/20 2 * * *", "America/New_York", gap, 1), ["08 03:00 EDT"]);
        assert_eq!(
            fires("*/30 1-3 * * *", "America/New_York", gap, 1),
            ["08 01:00 EST", "08 01:30 EST", "08 03:00 EDT", "08 03:30 EDT"]
        );
        // Midnight itself is skipped in Cairo, half an hour on Lord Howe, a whole day in Apia.
        assert_eq!(fires("0 0 * * *", "Africa/Cairo", date(2026, 4, 24), 1), ["24 01:00 EEST"]);
        assert_eq!(fires("15 2 * * *", "Australia/Lord_Howe", date(2026, 10, 4), 1), ["04 02:30 +11"]);
        assert_eq!(fires("0 9 30 12 *", "Pacific/Apia", date(2011, 12, 29), 3), ["31 00:00 +14"]);
    }

    #[test]
    fn a_firing_in_the_fold_happens_once() {
        let fold = date(2026, 11, 1);
        assert_eq!(fires("30 1 * * *", "America/New_York", fold, 1), ["01 01:30 EDT"]);
        assert_eq!(
            fires("*/30 1-2 * * *", "America/New_York", fold, 1),
            ["01 01:00 EDT", "01 01:30 EDT", "01 02:00 EST", "01 02:30 EST"]
        );
        assert_eq!(fires("45 1 * * *", "Australia/Lord_Howe", date(2026, 4, 5), 1), ["05 01:45 +11"]);
        assert_eq!(fires("30 23 * * *", "America/Santiago", date(2026, 4, 4), 1), ["04 23:30 -03"]);
    }

    #[test]
    fn in_the_second_half_of_a_fold_the_previous_firing_is_that_of_the_first() {
        let zone = zone("America/New_York");
        let second_1_20: Timestamp = "2026-11-01T06:20:00Z".parse().unwrap();
        let first_1_45: Timestamp = "2026-11-01T05:45:00Z".parse().unwrap();
        let next: Timestamp = "2026-11-01T07:15:00Z".parse().unwrap();
        let quarterly = cron("15,45 * * * *");
        assert_eq!(quarterly.previous_firing(&zone, second_1_20), Some(first_1_45));
        assert_eq!(quarterly.next_firing(&zone, second_1_20), Some(next));
    }

    fn expression() -> impl Strategy<Value = String> {
        let minute = prop::sample::select(vec!["*", "*/15", "5-50/9", "0", "30", "59"]);
        let hour = prop::sample::select(vec!["*", "*/2", "0", "1", "2", "3", "9-17/2,22"]);
        let day = prop::sample::select(vec!["*", "*", "*/2", "13", "1-7,31"]);
        let weekday = prop::sample::select(vec!["*", "*", "mon-fri", "5-7", "0"]);
        (minute, hour, day, weekday)
            .prop_map(|(minute, hour, day, weekday)| format!("{minute} {hour} {day} * {weekday}"))
    }

    /// Clock changes: New York, and Lord Howe with its half hour.
    fn moment() -> impl Strategy<Value = Timestamp> {
        prop_oneof![
            (0..40_000_000i64).prop_map(|s| 1_767_225_600 + s),
            (-20_000..20_000i64).prop_map(|s| 1_772_953_200 + s),
            (-20_000..20_000i64).prop_map(|s| 1_793_512_800 + s),
            (-20_000..20_000i64).prop_map(|s| 1_775_314_800 + s),
            (-20_000..20_000i64).prop_map(|s| 1_791_041_400 + s),
        ]
        .prop_map(|second| Timestamp::from_second(second).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn previous_and_next_enclose(text in expression(), at in moment(), place in prop_oneof![
            Just("America/New_York"), Just("Australia/Lord_Howe"), Just("UTC")
        ]) {
            let (zone, cron) = (zone(place), cron(&text));
            let previous = cron.previous_firing(&zone, at).unwrap();
            let next = cron.next_firing(&zone, at).unwrap();
            prop_assert!(previous <= at && at < next);
            prop_assert_eq!(cron.next_firing(&zone, previous), Some(next), "nothing in between");
            prop_assert_eq!(cron.previous_firing(&zone, previous), Some(previous));
            prop_assert_eq!(cron.previous_firing(&zone, next), Some(next));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-z*/,@? -]{0,20}") {
            let _ = text.parse::<CronExpression>();
        }
    }
}
