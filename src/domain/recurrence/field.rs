//! The five fields of a cron expression, read into the values they allow.

use super::CronError;

/// A field of an expression.
pub(super) struct Field {
    name: &'static str,
    min: u8,
    max: u8,
    /// Names of the values, beginning with that of `min`.
    words: &'static [&'static str],
}

pub(super) const MINUTE: Field = Field { name: "minute", min: 0, max: 59, words: &[] };
pub(super) const HOUR: Field = Field { name: "hour", min: 0, max: 23, words: &[] };
pub(super) const DAY: Field = Field { name: "day of month", min: 1, max: 31, words: &[] };
pub(super) const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
pub(super) const WEEKDAY: Field =
    Field { name: "day of week", min: 0, max: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"] };

/// The values a field allows.
pub(super) struct Values {
    /// One bit each.
    bits: u64,
    /// Whether the field begins with `*`.
    pub star: bool,
    /// Whether every value of the field is allowed.
    all: bool,
}

impl Field {
    /// What `*` allows.
    pub(super) fn all(&self) -> Values {
        let bits = (self.min..=self.max).fold(0, |bits, value| bits | 1_u64 << value);
        Values { bits, star: true, all: true }
    }

    /// What a field allows, or which part of it is wrong and what to write instead.
    pub(super) fn read(&self, text: &str) -> Result<Values, CronError> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (part, None),
            };
            let (first, last) = self.range(part, range, step.is_some())?;
            let step = step.map_or(Ok(1), |step| self.step(part, step, last - first))?;
            bits = (first..=last).step_by(step.into()).fold(bits, |bits, value| bits | 1 << value);
        }
        let all = self.all().bits;
        Ok(Values { bits, star: text.starts_with('*'), all: bits & all == all })
    }

    fn range(&self, part: &str, range: &str, stepped: bool) -> Result<(u8, u8), CronError> {
        if range == "*" {
            // Seven is a second name of Sunday, not an eighth day.
            return Ok((self.min, if self.max == 7 { 6 } else { self.max }));
        }
        let Some((first, last)) = range.split_once('-') else {
            if stepped {
                return Err(self
                    .wrong(part, format!("a step needs a range: write {range}-{}{}", self.max, &part[range.len()..])));
            }
            let value = self.value(part, range)?;
            return Ok((value, value));
        };
        let (first, mut last) = (self.value(part, first)?, self.value(part, last)?);
        if self.max == 7 && last == 0 && first > 0 {
            last = 7;
        }
        if first > last {
            return Err(self.wrong(part, "the range runs backwards: write two ranges separated by a comma".to_owned()));
        }
        Ok((first, last))
    }

    fn step(&self, part: &str, step: &str, span: u8) -> Result<u8, CronError> {
        let count = step.parse::<u8>().ok().filter(|_| step.bytes().all(|byte| byte.is_ascii_digit()));
        match count {
            Some(count) if count > 0 && count <= span => Ok(count),
            Some(0) | None => Err(self.wrong(part, "a step is a number from 1".to_owned())),
            Some(_) => {
                Err(self.wrong(part, format!("the step leaves the range (at most {span}), so it would fire once only")))
            }
        }
    }

    fn value(&self, part: &str, text: &str) -> Result<u8, CronError> {
        let number = text.parse::<u8>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let word = || self.words.iter().position(|word| text.eq_ignore_ascii_case(word));
        let named = || word().and_then(|position| u8::try_from(position).ok()).map(|position| self.min + position);
        number.or_else(named).filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
            let names = match self.words {
                [first, .., last] if self.max != 7 => format!(" or {first} to {last}"),
                [_, first, ..] => format!(" (0 and 7 are Sunday) or {first} to sun"),
                _ => String::new(),
            };
            let foreign = text.contains(['?', '#', 'L', 'W']);
            let extension = if foreign { "; ?, #, L and W are not Unix cron" } else { "" };
            self.wrong(part, format!("write {} to {}{names}{extension}", self.min, self.max))
        })
    }

    fn wrong(&self, part: &str, remedy: String) -> CronError {
        CronError::Field { field: self.name, part: part.to_owned(), remedy }
    }
}

impl Values {
    fn contains(&self, value: u8) -> bool {
        self.bits & (1 << value) != 0
    }

    /// Both names of Sunday become 0.
    pub(super) fn with_one_sunday(self) -> Self {
        let bits = (self.bits | self.bits >> 7) & 0b111_1111;
        Self { bits, star: self.star, all: bits == 0b111_1111 }
    }

    /// The values as the cron crate reads them, each raised by `add`.
    pub(super) fn list(&self, add: u8) -> String {
        if self.all {
            return "*".to_owned();
        }
        let values = (0..60).filter(|value| self.contains(*value)).map(|value| (value + add).to_string());
        values.collect::<Vec<_>>().join(",")
    }
}

/// Whether any of the months is long enough for any of the days.
pub(super) fn some_month_has(months: &Values, days: &Values) -> bool {
    const LONGEST: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    (1_u8..).zip(LONGEST).any(|(month, length)| months.contains(month) && (1..=length).any(|day| days.contains(day)))
}
