//! Reproducible chance: a small generator, seeded from what a decision is about and never from when it is made.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and three xor-multiplies a number; good enough for odds.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// A generator for one decision: the same `seed`, `topic`, `subject` and `number` always give the same numbers.
    pub fn new(seed: u64, topic: &str, subject: &str, number: u64) -> Self {
        // FNV-1a over what tells the decisions apart; a zero byte keeps ("ab", "c") and ("a", "bc") different.
        let bytes = topic.bytes().chain([0]).chain(subject.bytes()).chain([0]).chain(number.to_le_bytes());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut dice = Self { state: hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        dice.number();
        dice
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn share(&mut self) -> f64 {
        // 53 bits: what an f64 holds exactly.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let choices = high.saturating_sub(low).saturating_add(1);
        low + ((u128::from(self.number()) * u128::from(choices)) >> 64) as u64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    /// The value whose weight is hit; none where the weights add up to less than the die shows.
    ///
    /// With probabilities as weights and a total of 1, none means "nothing happens".
    pub fn pick<T: Copy>(&mut self, weights: &[(T, f64)], total: f64) -> Option<T> {
        let mut left = self.share() * total;
        for (value, weight) in weights {
            if left < *weight {
                return Some(*value);
            }
            left -= weight;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_decision_gives_the_same_numbers_and_another_does_not() {
        let numbers = |seed, topic, subject, number| {
            let mut dice = Dice::new(seed, topic, subject, number);
            [dice.number(), dice.number()]
        };
        let first = numbers(1, "outcome", "+1", 0);
        assert_eq!(first, numbers(1, "outcome", "+1", 0));
        for other in [
            numbers(2, "outcome", "+1", 0),
            numbers(1, "fault", "+1", 0),
            numbers(1, "outcome", "+2", 0),
            numbers(1, "outcome", "+1", 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn odds_are_kept_across_neighbouring_subjects() {
        let weights = [("a", 0.2), ("b", 0.3)];
        let mut seen = [0_u32; 3];
        for number in 0..10_000 {
            let mut dice = Dice::new(7, "odds", &format!("+1202555{number:04}"), 0);
            seen[match dice.pick(&weights, 1.0) {
                Some("a") => 0,
                Some(_) => 1,
                None => 2,
            }] += 1;
        }
        assert!(seen[0].abs_diff(2_000) < 200 && seen[1].abs_diff(3_000) < 200, "{seen:?}");
    }

    #[test]
    fn between_reaches_both_ends_and_no_further() {
        let mut dice = Dice::new(3, "range", "", 0);
        let mut seen = [false; 4];
        for _ in 0..1_000 {
            seen[usize::try_from(dice.between(5, 8) - 5).unwrap()] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(dice.between(9, 9), 9);
    }
}
