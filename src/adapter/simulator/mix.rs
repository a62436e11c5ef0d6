//! How calls end, and how often.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::dice::Dice;
use crate::domain::outcome::words;

words!(
    /// How a simulated call ends.
    Fate {
        /// A person answered and the goal was met.
        GoalMet = "goal_met",
        /// A person answered; the goal was not met.
        Declined = "declined",
        /// A person answered and asked never to be called again.
        OptOut = "opt_out",
        /// A machine answered.
        Voicemail = "voicemail",
        /// It rang out.
        NoAnswer = "no_answer",
        /// The line was busy.
        Busy = "busy",
        /// The network could not complete the call.
        Failed = "failed",
    }
);

/// How calls end: weights of the fates, and the share of numbers that are refused outright.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutcomeMix {
    /// Weight of [`Fate::GoalMet`].
    pub goal_met: f64,
    /// Weight of [`Fate::Declined`].
    pub declined: f64,
    /// Weight of [`Fate::OptOut`].
    pub opt_out: f64,
    /// Weight of [`Fate::Voicemail`].
    pub voicemail: f64,
    /// Weight of [`Fate::NoAnswer`].
    pub no_answer: f64,
    /// Weight of [`Fate::Busy`].
    pub busy: f64,
    /// Weight of [`Fate::Failed`].
    pub failed: f64,
    /// Share of the phone numbers, 0 to 1, that every request is refused for with a 400.
    pub refused_numbers: f64,
}

impl Default for OutcomeMix {
    /// Roughly a consumer list at working hours; made up, for demonstrations.
    fn default() -> Self {
        Self {
            goal_met: 12.0,
            declined: 24.0,
            opt_out: 2.0,
            voicemail: 20.0,
            no_answer: 30.0,
            busy: 8.0,
            failed: 4.0,
            refused_numbers: 0.01,
        }
    }
}

impl OutcomeMix {
    /// Every call ends like this, and no number is refused.
    pub fn only(fate: Fate) -> Self {
        let weight = |of: Fate| if of == fate { 1.0 } else { 0.0 };
        Self {
            goal_met: weight(Fate::GoalMet),
            declined: weight(Fate::Declined),
            opt_out: weight(Fate::OptOut),
            voicemail: weight(Fate::Voicemail),
            no_answer: weight(Fate::NoAnswer),
            busy: weight(Fate::Busy),
            failed: weight(Fate::Failed),
            refused_numbers: 0.0,
        }
    }

    /// Refuses weights that cannot be drawn from.
    ///
    /// # Errors
    /// A negative or endless weight, no weight at all, or a share that is none.
    pub fn validate(&self) -> Result<(), InvalidMix> {
        let weights = self.weights();
        if let Some((fate, weight)) = weights.iter().find(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
            return Err(InvalidMix(format!("weight {weight} of {fate} is not a number from 0 up")));
        }
        if weights.iter().map(|(_, weight)| weight).sum::<f64>() <= 0.0 {
            return Err(InvalidMix("all weights are zero".to_owned()));
        }
        if !(0.0..=1.0).contains(&self.refused_numbers) {
            return Err(InvalidMix(format!("refused_numbers {} is not between 0 and 1", self.refused_numbers)));
        }
        Ok(())
    }

    /// Whether every request for this number is refused.
    pub(super) fn refuses(&self, seed: u64, phone: &str) -> bool {
        Dice::new(seed, "refused", phone, 0).chance(self.refused_numbers)
    }

    pub(super) fn draw(&self, dice: &mut Dice) -> Fate {
        let weights = self.weights();
        let total = weights.iter().map(|(_, weight)| weight).sum();
        dice.pick(&weights, total).unwrap_or(Fate::NoAnswer)
    }

    fn weights(&self) -> [(Fate, f64); 7] {
        [
            (Fate::GoalMet, self.goal_met),
            (Fate::Declined, self.declined),
            (Fate::OptOut, self.opt_out),
            (Fate::Voicemail, self.voicemail),
            (Fate::NoAnswer, self.no_answer),
            (Fate::Busy, self.busy),
            (Fate::Failed, self.failed),
        ]
    }
}

/// Why an outcome mix cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("outcome mix: {0}")]
pub struct InvalidMix(String);

impl FromStr for OutcomeMix {
    type Err = InvalidMix;

    /// Reads `goal_met=1,no_answer=3,refused_numbers=0.05`; a weight that is not named is 0. Empty is the default.
    fn from_str(text: &str) -> Result<Self, InvalidMix> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut tree = serde_json::to_value(Self { no_answer: 0.0, ..Self::only(Fate::NoAnswer) })
            .map_err(|error| InvalidMix(error.to_string()))?;
        for (name, value) in super::settings(text).map_err(InvalidMix)? {
            tree[name.as_str()] = value;
        }
        let mix: Self = serde_json::from_value(tree).map_err(|error| InvalidMix(error.to_string()))?;
        mix.validate()?;
        Ok(mix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_are_read_and_checked() {
        let mix: OutcomeMix = "goal_met=1,no_answer=3,refused_numbers=0.5".parse().unwrap();
        assert_eq!(
            mix,
            OutcomeMix { goal_met: 1.0, no_answer: 3.0, refused_numbers: 0.5, ..OutcomeMix::only(Fate::NoAnswer) }
        );
        assert_eq!("".parse(), Ok(OutcomeMix::default()));
        for text in ["goal_met=-1", "goal=1", "goal_met=0", "goal_met=1,refused_numbers=2", "goal_met"] {
            assert!(text.parse::<OutcomeMix>().is_err(), "{text}");
        }
    }
}
