//! Where the live rows of `open_attempt` begin.
//!
//! The table is small and its rows live for minutes, so it is read whole, again and again. While somebody holds a snapshot
//! (an export, a forgotten psql, a standby's feedback) no row that dies can be removed, and reading it whole grows slower
//! with each call. So a reader remembers a floor: which attempts below some number are open, by id, and that number, above
//! which it reads on. Ids are looked up one by one, numbers are a range of an index; both touch few dead rows.
//!
//! Numbers commit in order within an account, since only the holder of its lease writes, one statement after the other, and
//! who takes the lease over waits for the statement. The exception is a statement whose connection broke: it may commit
//! later. It makes no permit, so no call can come of it, and the whole read, made now and then, finds it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::types::Uuid;

use crate::domain::id::AccountName;

/// What looking up one id costs, in numbers of a range; those of other accounts are in the range, too.
const LOOK_UP_COST: i64 = 4;
/// So many reads of an account use its floor before one reads all again: half a minute of an account that is polled.
const READS_MAX: u32 = 120;

/// Where to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Floor {
    /// Attempts with larger numbers are read as a range.
    pub(super) above: i64,
    /// Those of smaller or this number that were open; no others can be.
    pub(super) below: Vec<Uuid>,
}

impl Floor {
    /// The cheapest floor under these open attempts, given by number and in its order.
    fn under(open: &[(i64, Uuid)]) -> Self {
        let Some((last, _)) = open.last() else { return Self::default() };
        // Right below the next one that is open; looking up all of them leaves a range for those to come.
        let floors = open.iter().map(|(number, _)| number - 1).chain([*last]).enumerate();
        let (looked_up, above) = floors
            .min_by_key(|(looked_up, above)| LOOK_UP_COST * (*looked_up as i64) + (last - above))
            .expect("there is at least one");
        Self { above, below: open[..looked_up].iter().map(|(_, id)| *id).collect() }
    }
}

/// The floors of all accounts. Losing them costs time, never correctness.
#[derive(Debug, Default)]
pub(super) struct Floors(Mutex<BTreeMap<AccountName, (Floor, u32)>>);

impl Floors {
    /// Where to begin reading this account's open attempts.
    pub(super) fn of(&self, account: &AccountName) -> Floor {
        self.lock().get(account).map(|(floor, _)| floor.clone()).unwrap_or_default()
    }

    /// As [`Floors::of`], but from the very beginning now and then: for the reader that learns.
    pub(super) fn of_learner(&self, account: &AccountName) -> Floor {
        match self.lock().get_mut(account) {
            Some((floor, reads)) if *reads < READS_MAX => {
                *reads += 1;
                floor.clone()
            }
            Some((_, reads)) => {
                *reads = 0;
                Floor::default()
            }
            None => Floor::default(),
        }
    }

    /// All open attempts of the account, by number, as a reader found them.
    pub(super) fn learn(&self, account: &AccountName, mut open: Vec<(i64, Uuid)>) {
        open.sort_unstable();
        let mut floors = self.lock();
        let (floor, _) = floors.entry(account.clone()).or_default();
        // None left: the old range may as well stay as far as it was.
        let learnt = Floor::under(&open);
        *floor = if open.is_empty() { Floor { above: floor.above, below: Vec::new() } } else { learnt };
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccountName, (Floor, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(numbers: &[i64]) -> Vec<(i64, Uuid)> {
        numbers.iter().map(|number| (*number, Uuid::from_u128(*number as u128))).collect()
    }

    #[track_caller]
    fn check(numbers: &[i64], above: i64, below: usize) {
        let floor = Floor::under(&open(numbers));
        assert_eq!((floor.above, floor.below.len()), (above, below), "{numbers:?}");
    }

    #[test]
    fn old_ones_are_looked_up_and_the_rest_is_a_range() {
        check(&[], 0, 0);
        check(&[1, 2, 3, 4], 0, 0);
        check(&[1_000, 1_001, 1_002], 999, 0);
        // One that was held long ago, and many that are young.
        check(&[7, 100_000, 100_001, 100_002, 100_005], 99_999, 1);
        check(&[7, 9, 100_000], 99_999, 2);
    }

    #[test]
    fn every_open_attempt_is_looked_up_or_in_the_range() {
        let numbers: Vec<i64> = (0..200).map(|index| index * index % 7_919 + index).collect();
        let open = {
            let mut open = open(&numbers);
            open.sort_unstable();
            open.dedup();
            open
        };
        for length in 1..open.len() {
            let floor = Floor::under(&open[..length]);
            for (number, id) in &open[..length] {
                assert_eq!(*number <= floor.above, floor.below.contains(id), "{number}");
            }
        }
    }

    #[test]
    fn the_learner_reads_all_now_and_then() {
        let (floors, account) = (Floors::default(), AccountName::new("main"));
        assert_eq!(floors.of_learner(&account), Floor::default());
        floors.learn(&account, open(&[5_000]));
        let whole = (0..=READS_MAX).filter(|_| floors.of_learner(&account) == Floor::default()).count();
        assert_eq!(whole, 1);
        assert_eq!(floors.of(&account).above, 4_999);
        floors.learn(&account, Vec::new());
        assert_eq!(floors.of(&account), Floor { above: 4_999, below: Vec::new() });
    }
}
