//! The windows of a week, as people write them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The windows of each day of a week, in local time. At least one.
///
/// A window belongs to the day it begins on, also where it crosses midnight. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WeeklyWindows {
    /// From Monday; each day sorted, merged where the union is one window again.
    days: Arc<[Vec<TimeOfDayRange>; 7]>,
}

/// Why windows cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowsError {
    /// Not days.
    #[error("unknown days {0:?}: write mon to sun, a range such as mon-fri, a list such as mon,wed, or daily")]
    Days(String),
    /// Not a range of times.
    #[error("unknown window {0:?}: write two times such as 09:00-17:30; the second may be 24:00")]
    Range(String),
    /// Begins and ends at the same time.
    #[error("empty window {0:?}: it ends when it begins; write 00:00-24:00 for a whole day")]
    EmptyRange(String),
    /// Nothing is ever open.
    #[error("no windows: write at least one, such as mon-fri: \"09:00-17:30\"")]
    None,
}

/// A span of local time that begins on one day and lasts up to 24 hours; the end is not part of it.
///
/// `22:00-06:00` crosses midnight and belongs to the day it begins on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDayRange {
    /// Minutes from midnight, below 1440.
    start: u16,
    /// Minutes from the midnight before the start, above `start`; beyond 1440 it is the next day.
    end: u16,
}

/// Some of the seven days; possibly none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DaySet {
    /// One bit for each day, from Monday.
    bits: u8,
}

pub(super) const DAY_MINUTES: u16 = 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAYS_IN_FULL: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl WeeklyWindows {
    /// Puts windows on days. Windows that overlap or touch become one; a day may be named more than once, or have none.
    ///
    /// # Errors
    /// [`WindowsError::None`] when no day has a window.
    pub fn new(windows: Vec<(DaySet, Vec<TimeOfDayRange>)>) -> Result<Self, WindowsError> {
        let mut days: [Vec<TimeOfDayRange>; 7] = Default::default();
        for (set, ranges) in &windows {
            for (_, day) in days.iter_mut().enumerate().filter(|(index, _)| set.contains(*index)) {
                day.extend(ranges);
            }
        }
        for day in &mut days {
            merge(day);
        }
        if days.iter().all(Vec::is_empty) {
            return Err(WindowsError::None);
        }
        Ok(Self { days: Arc::new(days) })
    }

    /// Whether any window meets `bound`, a range within one day, on some day, in the same zone.
    pub fn meets(&self, bound: TimeOfDayRange) -> bool {
        self.days.iter().flatten().any(|range| {
            let overlaps = |shift: u16| range.start < bound.end + shift && bound.start + shift < range.end;
            overlaps(0) || overlaps(DAY_MINUTES)
        })
    }

    /// The windows that begin on a day (0 is Monday), in order.
    pub(super) fn on(&self, weekday: usize) -> &[TimeOfDayRange] {
        &self.days[weekday]
    }
}

/// Joins what overlaps or touches, as long as one range can say it: no range is longer than a day, and the whole day
/// is `00:00-24:00`.
fn merge(day: &mut Vec<TimeOfDayRange>) {
    day.sort_unstable();
    day.dedup_by(|later, earlier| {
        let joined = TimeOfDayRange { start: earlier.start, end: earlier.end.max(later.end) };
        let joins = later.end <= earlier.end || (later.start <= earlier.end && joined.can_be_written());
        if joins {
            *earlier = joined;
        }
        joins
    });
}

impl TimeOfDayRange {
    /// A range of whole hours within one day.
    pub(super) const fn hours(start: u16, end: u16) -> Self {
        assert!(start < end && end <= 24, "a range within a day");
        Self { start: start * 60, end: end * 60 }
    }

    /// Seconds from the midnight its day begins with.
    pub(super) const fn start_second(self) -> i64 {
        self.start as i64 * 60
    }

    /// Seconds from the midnight its day begins with; beyond 86,400 where it crosses the next one.
    pub(super) const fn end_second(self) -> i64 {
        self.end as i64 * 60
    }

    fn can_be_written(self) -> bool {
        self.end - self.start < DAY_MINUTES || (self.start, self.end) == (0, DAY_MINUTES)
    }
}

impl FromStr for TimeOfDayRange {
    type Err = WindowsError;

    fn from_str(text: &str) -> Result<Self, WindowsError> {
        let wrong = || WindowsError::Range(shortened(text));
        let (start, end) = text.split_once('-').ok_or_else(wrong)?;
        let (start, end) = (minute_of_day(start).ok_or_else(wrong)?, minute_of_day(end).ok_or_else(wrong)?);
        if start == DAY_MINUTES {
            return Err(wrong());
        }
        if start == end {
            return Err(WindowsError::EmptyRange(shortened(text)));
        }
        Ok(Self { start, end: if end < start { end + DAY_MINUTES } else { end } })
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |digits: &str, lengths: std::ops::RangeInclusive<usize>| {
        (lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| digits.parse::<u16>().ok())
            .flatten()
    };
    let (hour, minute) = (number(hour, 1..=2)?, number(minute, 2..=2)?);
    (minute < 60 && hour * 60 + minute <= DAY_MINUTES).then_some(hour * 60 + minute)
}

impl DaySet {
    /// Every day.
    pub const DAILY: Self = Self { bits: 0b111_1111 };

    fn contains(self, weekday: usize) -> bool {
        self.bits & (1 << weekday) != 0
    }
}

impl FromStr for DaySet {
    type Err = WindowsError;

    fn from_str(text: &str) -> Result<Self, WindowsError> {
        let wrong = || WindowsError::Days(shortened(text));
        if text.trim().eq_ignore_ascii_case("daily") {
            return Ok(Self::DAILY);
        }
        let mut bits = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (weekday(first).ok_or_else(wrong)?, weekday(last).ok_or_else(wrong)?);
            let count = (last + 7 - first) % 7;
            bits = (0..=count).fold(bits, |bits, step| bits | 1 << ((first + step) % 7));
        }
        Ok(Self { bits })
    }
}

fn weekday(text: &str) -> Option<usize> {
    let is = |name: &str| text.trim().eq_ignore_ascii_case(name);
    DAYS.iter().position(|name| is(name)).or_else(|| DAYS_IN_FULL.iter().position(|name| is(name)))
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The canonical form: `Mon-Fri 09:00-12:00, 13:00-18:00; Sat 10:00-14:00`.
impl fmt::Display for WeeklyWindows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (index, ranges) in self.days.iter().enumerate() {
            if ranges.is_empty() || self.days[..index].contains(ranges) {
                continue;
            }
            let bits = (0..7).filter(|day| self.days[*day] == *ranges).fold(0, |bits, day| bits | 1 << day);
            write!(f, "{separator}{} ", DaySet { bits })?;
            for (position, range) in ranges.iter().enumerate() {
                write!(f, "{}{range}", if position == 0 { "" } else { ", " })?;
            }
            separator = "; ";
        }
        Ok(())
    }
}

impl fmt::Display for TimeOfDayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.end > DAY_MINUTES { self.end - DAY_MINUTES } else { self.end };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.start / 60, self.start % 60, end / 60, end % 60)
    }
}

impl fmt::Display for DaySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::DAILY {
            return f.write_str("daily");
        }
        // A run begins where the day before is not in the set, so that Saturday to Monday is one run.
        let begins = |day: &usize| self.contains(*day) && !self.contains((day + 6) % 7);
        for (position, first) in (0..7).filter(begins).enumerate() {
            let length = (1..7).take_while(|step| self.contains((first + step) % 7)).count();
            f.write_str(if position == 0 { "" } else { "," })?;
            f.write_str(DAYS[first])?;
            if length > 0 {
                write!(f, "-{}", DAYS[(first + length) % 7])?;
            }
        }
        Ok(())
    }
}

macro_rules! debug_as_display {
    ($($type:ty),+) => {
        $(impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        })+
    };
}

debug_as_display!(WeeklyWindows, TimeOfDayRange, DaySet);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(days: &[(&str, &[&str])]) -> Result<WeeklyWindows, WindowsError> {
        let parse = |(set, ranges): &(&str, &[&str])| {
            (set.parse().unwrap(), ranges.iter().map(|range| range.parse().unwrap()).collect())
        };
        WeeklyWindows::new(days.iter().map(parse).collect())
    }

    #[track_caller]
    fn reads_days(text: &str, canonical: &str) {
        assert_eq!(text.parse::<DaySet>().unwrap().to_string(), canonical);
    }

    #[track_caller]
    fn reads_range(text: &str, canonical: &str) {
        assert_eq!(text.parse::<TimeOfDayRange>().unwrap().to_string(), canonical);
    }

    #[track_caller]
    fn prints(days: &[(&str, &[&str])], canonical: &str) {
        assert_eq!(windows(days).unwrap().to_string(), canonical);
    }

    #[test]
    fn days_are_read_as_people_write_them() {
        reads_days("mon-fri", "Mon-Fri");
        reads_days("sat", "Sat");
        reads_days("sat-mon", "Sat-Mon");
        reads_days("mon,wed", "Mon,Wed");
        reads_days(" Mon , WED - fri ", "Mon,Wed-Fri");
        reads_days("monday", "Mon");
        reads_days("mon-sun", "daily");
        reads_days("wed-tue", "daily");
        reads_days("Daily", "daily");
        reads_days("fri-fri", "Fri");
        reads_days("sun,sat,mon", "Sat-Mon");
        for text in ["", "mo", "weekdays", "mon-", "mon,,tue", "mon-wed-fri", "1-5", "daily,mon"] {
            assert_eq!(text.parse::<DaySet>(), Err(WindowsError::Days(text.to_owned())));
        }
    }

    #[test]
    fn ranges_are_read_as_people_write_them() {
        reads_range("09:00-12:00", "09:00-12:00");
        reads_range(" 9:00 - 12:30 ", "09:00-12:30");
        reads_range("00:00-24:00", "00:00-24:00");
        reads_range("22:00-06:00", "22:00-06:00");
        reads_range("22:00-00:00", "22:00-24:00");
        for text in
            ["", "09:00", "9-12", "09:00-25:00", "09:60-10:00", "24:00-06:00", "09:00-24:01", "+9:00-10:00", "a-b"]
        {
            assert_eq!(text.parse::<TimeOfDayRange>(), Err(WindowsError::Range(text.to_owned())));
        }
        for text in ["09:00-09:00", "00:00-00:00"] {
            assert_eq!(text.parse::<TimeOfDayRange>(), Err(WindowsError::EmptyRange(text.to_owned())));
        }
    }

    #[test]
    fn windows_print_in_one_form() {
        prints(
            &[("mon-fri", &["13:00-18:00", "09:00-12:00"]), ("sat", &["10:00-14:00"])],
            "Mon-Fri 09:00-12:00, 13:00-18:00; Sat 10:00-14:00",
        );
        prints(&[("mon", &["09:00-12:00"]), ("daily", &["11:00-13:00"])], "Mon 09:00-13:00; Tue-Sun 11:00-13:00");
        prints(&[("mon", &["09:00-12:00", "12:00-13:00", "09:30-10:00"])], "Mon 09:00-13:00");
        prints(&[("mon", &["20:00-23:00", "22:00-06:00"])], "Mon 20:00-06:00");
        prints(&[("mon", &["00:00-12:00", "12:00-24:00"])], "Mon 00:00-24:00");
        prints(&[("mon", &["01:00-12:00", "12:00-00:30"])], "Mon 01:00-00:30");
        prints(&[("mon", &[]), ("tue", &["09:00-10:00"])], "Tue 09:00-10:00");
        assert_eq!(windows(&[]), Err(WindowsError::None));
        assert_eq!(windows(&[("mon", &[])]), Err(WindowsError::None));
    }

    #[test]
    fn a_union_longer_than_a_day_stays_apart() {
        prints(&[("mon", &["00:00-02:00", "01:00-00:30"])], "Mon 00:00-02:00, 01:00-00:30");
        prints(&[("mon", &["01:00-13:00", "13:00-00:00", "20:00-01:00"])], "Mon 01:00-24:00, 20:00-01:00");
    }

    #[test]
    fn windows_meet_a_bound_on_either_day() {
        let bound = TimeOfDayRange::hours(9, 20);
        let meets = |range: &str| windows(&[("mon", &[range])]).unwrap().meets(bound);
        assert!(meets("08:00-09:01") && meets("19:59-21:00") && meets("21:00-09:01") && meets("00:00-24:00"));
        assert!(!meets("08:00-09:00") && !meets("20:00-21:00") && !meets("20:00-09:00"));
    }

    proptest! {
        /// Printing and reading again changes nothing, and merging changes no minute.
        #[test]
        fn canonical_form_round_trips(
            input in prop::collection::vec((1..128u8, prop::collection::vec((0..1440u16, 1..1440u16), 0..4)), 1..4)
        ) {
            let input: Vec<_> = input
                .into_iter()
                .map(|(bits, ranges)| {
                    let range = |(start, length)| TimeOfDayRange { start, end: start + length };
                    (DaySet { bits }, ranges.into_iter().map(range).collect::<Vec<_>>())
                })
                .collect();
            let Ok(made) = WeeklyWindows::new(input.clone()) else {
                prop_assert!(input.iter().all(|(_, ranges)| ranges.is_empty()));
                return Ok(());
            };
            let again = WeeklyWindows::new(
                made.to_string()
                    .split("; ")
                    .map(|group| {
                        let (days, ranges) = group.split_once(' ').unwrap();
                        (days.parse().unwrap(), ranges.split(", ").map(|range| range.parse().unwrap()).collect())
                    })
                    .collect(),
            );
            prop_assert_eq!(again.as_ref(), Ok(&made), "{}", made);
            for day in 0..7 {
                for minute in (0..2 * DAY_MINUTES).step_by(7) {
                    let within = |range: &TimeOfDayRange| range.start <= minute && minute < range.end;
                    let wanted = input.iter().any(|(set, ranges)| set.contains(day) && ranges.iter().any(within));
                    prop_assert_eq!(made.on(day).iter().any(within), wanted);
                }
            }
        }
    }
}
