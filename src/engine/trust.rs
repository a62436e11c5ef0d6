//! How far each assistant is trusted.
//!
//! What the provider answers for an assistant that is inactive, blocked or without a number is documented nowhere. So
//! calls go to an assistant one at a time until one was placed, and again from the first refusal on: at most
//! [`REFUSALS_MAX`] leads are put back before it is put aside, however fast calls start.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::id::AssistantId;

/// Undocumented refusals in a row that put an assistant aside.
pub(super) const REFUSALS_MAX: u32 = 3;
/// Numbers refused in a row from which on the numbers are not to blame.
pub(super) const NUMBERS_REFUSED_MAX: u32 = 5;
/// For how long an assistant is put aside, civil.
const ASIDE_FOR: SignedDuration = SignedDuration::from_mins(15);

/// What is known of each assistant that was asked for since the start.
#[derive(Debug, Default)]
pub(super) struct Trusts(BTreeMap<AssistantId, Trust>);

/// What is known of one.
#[derive(Debug, Default)]
struct Trust {
    /// A call was placed since the last doubt.
    proven: bool,
    /// Undocumented refusals in a row.
    refusals: u32,
    /// Numbers refused in a row.
    numbers_refused: u32,
    aside_until: Option<Timestamp>,
    /// Starts whose answer is not known.
    under_way: u32,
    doubts: Doubts,
}

/// How often an assistant has been doubted. A start that was granted before the last doubt tells nothing new of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubts(u64);

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is one of several starts that were under way when the first of them was refused.
    KnownBefore,
    /// It counts.
    Counted,
    /// It was one too many: the assistant is put aside.
    Aside,
}

impl Trusts {
    /// How many more starts may be granted to an assistant.
    pub fn room(&self, assistant: &AssistantId, now: Timestamp) -> u32 {
        let Some(trust) = self.0.get(assistant) else { return 1 };
        match (trust.is_aside(now), trust.proven) {
            (true, _) => 0,
            (false, true) => u32::MAX,
            (false, false) => 1u32.saturating_sub(trust.under_way),
        }
    }

    /// Whether an assistant is put aside.
    pub fn is_aside(&self, assistant: &AssistantId, now: Timestamp) -> bool {
        self.0.get(assistant).is_some_and(|trust| trust.is_aside(now))
    }

    /// Starts whose answer is not known, of all assistants.
    pub fn under_way(&self) -> u32 {
        self.0.values().map(|trust| trust.under_way).sum()
    }

    /// A start is granted; until [`Self::end`] it is under way.
    pub fn begin(&mut self, assistant: &AssistantId) -> Doubts {
        let trust = self.0.entry(assistant.clone()).or_default();
        trust.under_way += 1;
        trust.doubts
    }

    /// Its answer is known.
    pub fn end(&mut self, assistant: &AssistantId) {
        let trust = self.0.entry(assistant.clone()).or_default();
        trust.under_way = trust.under_way.saturating_sub(1);
    }

    /// Whether a granted start may still leave.
    pub fn may_leave(&self, assistant: &AssistantId, granted: Doubts, now: Timestamp) -> bool {
        self.0.get(assistant).is_none_or(|trust| trust.doubts == granted && !trust.is_aside(now))
    }

    /// A call was placed.
    pub fn placed(&mut self, assistant: &AssistantId, granted: Doubts) {
        let trust = self.0.entry(assistant.clone()).or_default();
        if trust.doubts == granted {
            trust.proven = true;
            trust.refusals = 0;
            trust.numbers_refused = 0;
        }
    }

    /// A call was refused for a reason that nobody documents.
    pub fn refused(&mut self, assistant: &AssistantId, granted: Doubts, now: Timestamp) -> Refusal {
        let trust = self.0.entry(assistant.clone()).or_default();
        if trust.doubts != granted {
            return Refusal::KnownBefore;
        }
        trust.refusals += 1;
        trust.doubt();
        if trust.refusals < REFUSALS_MAX {
            return Refusal::Counted;
        }
        trust.put_aside(now);
        Refusal::Aside
    }

    /// A number was refused. Answers whether so many were in a row that the assistant is put aside, and whether that is
    /// news.
    pub fn number_refused(&mut self, assistant: &AssistantId, now: Timestamp) -> (bool, bool) {
        let trust = self.0.entry(assistant.clone()).or_default();
        trust.numbers_refused = trust.numbers_refused.saturating_add(1);
        let too_many = trust.numbers_refused >= NUMBERS_REFUSED_MAX;
        (too_many, too_many && trust.put_aside(now))
    }

    /// Uses an assistant no more for a while. Answers whether that is news.
    pub fn put_aside(&mut self, assistant: &AssistantId, now: Timestamp) -> bool {
        self.0.entry(assistant.clone()).or_default().put_aside(now)
    }
}

impl Trust {
    fn is_aside(&self, now: Timestamp) -> bool {
        self.aside_until.is_some_and(|until| now < until)
    }

    fn doubt(&mut self) {
        self.proven = false;
        self.doubts.0 += 1;
    }

    fn put_aside(&mut self, now: Timestamp) -> bool {
        let news = !self.is_aside(now);
        if news {
            self.aside_until = Some(now + ASIDE_FOR);
            // When it is tried again, one refusal is enough.
            self.refusals = REFUSALS_MAX - 1;
            self.doubt();
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn ann() -> AssistantId {
        AssistantId::new("1")
    }

    /// Trusts with Ann, to whom a call was placed.
    fn proven() -> Trusts {
        let mut trusts = Trusts::default();
        let granted = trusts.begin(&ann());
        trusts.placed(&ann(), granted);
        trusts.end(&ann());
        trusts
    }

    #[test]
    fn an_assistant_proves_itself_with_its_first_call() {
        let mut trusts = Trusts::default();
        assert_eq!(trusts.room(&ann(), at(0)), 1);
        let granted = trusts.begin(&ann());
        assert_eq!(trusts.room(&ann(), at(0)), 0);
        trusts.end(&ann());
        assert_eq!(trusts.room(&ann(), at(0)), 1, "an answer that never came proves nothing");
        trusts.placed(&ann(), granted);
        assert_eq!(trusts.room(&ann(), at(0)), u32::MAX);
    }

    #[test]
    fn many_refusals_at_once_count_once() {
        let mut trusts = proven();
        let granted: Vec<Doubts> = (0..20).map(|_| trusts.begin(&ann())).collect();
        assert_eq!(trusts.refused(&ann(), granted[0], at(0)), Refusal::Counted);
        trusts.end(&ann());
        assert!(!trusts.may_leave(&ann(), granted[1], at(0)), "what has not left stays");
        for granted in &granted[1..] {
            assert_eq!(trusts.room(&ann(), at(0)), 0);
            assert_eq!(trusts.refused(&ann(), *granted, at(0)), Refusal::KnownBefore);
            trusts.end(&ann());
        }
        for expected in [Refusal::Counted, Refusal::Aside] {
            assert_eq!(trusts.room(&ann(), at(1)), 1);
            let granted = trusts.begin(&ann());
            assert_eq!(trusts.room(&ann(), at(1)), 0);
            assert_eq!(trusts.refused(&ann(), granted, at(1)), expected);
            trusts.end(&ann());
        }
        assert_eq!(trusts.room(&ann(), at(2)), 0);
        assert_eq!(trusts.room(&ann(), at(1) + ASIDE_FOR), 1, "tried again, one at a time");
        let granted = trusts.begin(&ann());
        assert_eq!(trusts.refused(&ann(), granted, at(1) + ASIDE_FOR), Refusal::Aside, "and refused once");
    }

    #[test]
    fn a_call_that_was_placed_clears_an_assistant_unless_it_left_before_the_doubt() {
        let mut trusts = proven();
        let (early, refused) = (trusts.begin(&ann()), trusts.begin(&ann()));
        assert_eq!(trusts.refused(&ann(), refused, at(0)), Refusal::Counted);
        trusts.placed(&ann(), early);
        trusts.end(&ann());
        trusts.end(&ann());
        assert_eq!(trusts.room(&ann(), at(0)), 1);
        let probe = trusts.begin(&ann());
        trusts.placed(&ann(), probe);
        trusts.end(&ann());
        assert_eq!(trusts.room(&ann(), at(0)), u32::MAX);
        assert!(trusts.may_leave(&ann(), probe, at(0)));
    }

    #[test]
    fn five_numbers_in_a_row_put_an_assistant_aside_and_it_is_said_once() {
        let mut trusts = proven();
        let told: Vec<_> = (0..7).map(|_| trusts.number_refused(&ann(), at(0))).collect();
        assert_eq!(told[3..], [(false, false), (true, true), (true, false), (true, false)]);
        assert!(trusts.is_aside(&ann(), at(0)));
        assert!(!trusts.put_aside(&ann(), at(1)));
    }

    proptest! {
        /// However many starts are under way and in whatever order they are answered, an assistant that refuses
        /// everything costs three counted refusals until it is put aside.
        #[test]
        fn an_assistant_that_refuses_everything_costs_three(
            picks in prop::collection::vec((any::<bool>(), any::<u16>()), 1..200),
        ) {
            let mut trusts = proven();
            let (mut under_way, mut counted) = (Vec::new(), 0);
            for (starts, which) in picks {
                if starts && trusts.room(&ann(), at(0)) > 0 {
                    under_way.push(trusts.begin(&ann()));
                } else if !under_way.is_empty() {
                    let granted = under_way.swap_remove(usize::from(which) % under_way.len());
                    counted += u32::from(trusts.refused(&ann(), granted, at(0)) != Refusal::KnownBefore);
                    trusts.end(&ann());
                }
            }
            prop_assert!(counted <= REFUSALS_MAX, "{counted}");
            prop_assert_eq!(counted == REFUSALS_MAX, trusts.is_aside(&ann(), at(0)));
        }
    }
}
