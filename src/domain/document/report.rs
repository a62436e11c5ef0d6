//! Where a reading writes down what it finds.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::shape::{Known, KnownPlaces};
use super::{Problem, Problems};

/// What a reading has found so far.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
    /// What would be accepted; only kept where somebody wants to know.
    known: Option<RefCell<KnownPlaces>>,
}

impl Report {
    /// A report that also keeps what the reading functions say they accept.
    pub fn recording() -> Self {
        Self { problems: RefCell::default(), known: Some(RefCell::default()) }
    }

    /// Adds a problem.
    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn is_recording(&self) -> bool {
        self.known.is_some()
    }

    /// Notes something about a place, if anybody wants to know.
    pub(super) fn note(&self, path: impl FnOnce() -> String, note: impl FnOnce(&mut Known)) {
        if let Some(known) = &self.known {
            note(known.borrow_mut().entry(path()).or_default());
        }
    }

    /// Every path that was asked for, whether it was written or not: the keys that exist. Empty unless this is recording.
    pub fn known_paths(&self) -> BTreeSet<String> {
        let known = self.known_places();
        known.into_iter().filter(|(_, known)| known.asked).map(|(path, _)| path).collect()
    }

    /// Everything that was said about what is accepted. Empty unless this is recording.
    pub fn known_places(&self) -> KnownPlaces {
        self.known.as_ref().map(|known| known.borrow().clone()).unwrap_or_default()
    }

    /// The value if nothing was wrong.
    ///
    /// # Errors
    /// All problems.
    ///
    /// # Panics
    /// When there is neither a value nor a problem: a reading function kept its reason to itself.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            Some(_) | None => Err(Problems::new(problems)),
        }
    }
}
