//! Where a reading writes down what it finds.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Problem, Problems};

/// What a reading has found so far.
#[derive(Debug, Default)]
pub struct Report {
    problems: RefCell<Vec<Problem>>,
    known: RefCell<BTreeSet<String>>,
}

impl Report {
    /// Adds a problem.
    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Whether nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub(super) fn know(&self, path: String) {
        self.known.borrow_mut().insert(path);
    }

    /// Every path that was asked for, whether it was written or not: the keys that exist.
    pub fn known_paths(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
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
