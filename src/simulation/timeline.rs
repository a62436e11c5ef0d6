//! What held when: for judging a call by what was true in the second before it left.

use jiff::Timestamp;

/// A value and its changes.
#[derive(Clone, Debug)]
pub(super) struct Timeline<T>(Vec<(Timestamp, T)>);

impl<T> Timeline<T> {
    pub fn new(at: Timestamp, value: T) -> Self {
        Self(vec![(at, value)])
    }

    pub fn set(&mut self, at: Timestamp, value: T) {
        self.0.push((at, value));
    }

    pub fn last(&self) -> &T {
        &self.0.last().expect("there is a first value").1
    }

    /// The first instant from which the present value holds.
    pub fn since(&self) -> Timestamp {
        self.0.last().expect("there is a first value").0
    }

    /// Whether any value that held at some instant in `from..=to` does.
    pub fn any(&self, from: Timestamp, to: Timestamp, holds: impl Fn(&T) -> bool) -> bool {
        self.0.iter().enumerate().any(|(index, (begins, value))| {
            let ends = self.0.get(index + 1).map_or(Timestamp::MAX, |(at, _)| *at);
            *begins <= to && ends >= from && holds(value)
        })
    }
}
