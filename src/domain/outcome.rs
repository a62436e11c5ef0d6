//! How an attempt ends, and how a lead ends.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in tables, logs and configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::outcome::UnknownWord;

            fn from_str(word: &str) -> Result<Self, $crate::domain::outcome::UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::domain::outcome::UnknownWord { kind: stringify!($name), word: word.to_owned() }),
                }
            }
        }
    };
}
pub(crate) use words;

/// A word that is none of a closed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a known {kind}")]
pub struct UnknownWord {
    /// The vocabulary.
    pub kind: &'static str,
    /// What was found.
    pub word: String,
}

words!(
    /// The normalised result of an attempt.
    Outcome {
        /// A person spoke with the assistant.
        Answered = "answered",
        /// A machine answered.
        Voicemail = "voicemail",
        /// It rang and nobody answered.
        NoAnswer = "no_answer",
        /// The line was busy.
        Busy = "busy",
        /// The provider or the network could not complete the call.
        Failed = "failed",
        /// The provider refuses this number; nothing rang.
        Rejected = "rejected",
        /// The call was withdrawn before it rang.
        Canceled = "canceled",
        /// Nothing left the building, or nothing was placed: the try is given back.
        NotPlaced = "not_placed",
        /// A person settled a held attempt as placed; its true result will never be known.
        Unknown = "unknown",
    }
);

impl Outcome {
    /// Whether the attempt counts against `max_attempts`.
    pub const fn counts_as_try(self) -> bool {
        match self {
            Self::Answered | Self::Voicemail | Self::NoAnswer | Self::Busy | Self::Failed | Self::Unknown => true,
            Self::Rejected | Self::Canceled | Self::NotPlaced => false,
        }
    }

    /// Whether the phone rang or may have, so that the person's limits count the attempt.
    pub const fn may_have_rung(self) -> bool {
        self.counts_as_try()
    }

    /// Whether a retry rule may name this outcome.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Voicemail | Self::NoAnswer | Self::Busy | Self::Failed => true,
            Self::Answered | Self::Rejected | Self::Canceled | Self::NotPlaced | Self::Unknown => false,
        }
    }
}

words!(
    /// The verdict on a lead in a campaign.
    Disposition {
        /// A person was reached and the campaign has no goal.
        Reached = "reached",
        /// The campaign's goal was met.
        GoalMet = "goal_met",
        /// No retry rule gives another try.
        Exhausted = "exhausted",
        /// On a do-not-call list.
        Suppressed = "suppressed",
        /// Not a phone number, or one the provider refuses.
        InvalidNumber = "invalid_number",
        /// The lead's or the campaign's last moment has passed.
        Expired = "expired",
        /// Deleted, moved to another list, or the campaign was finished.
        Removed = "removed",
        /// The phone is already enrolled in this campaign, under another lead.
        Duplicate = "duplicate",
    }
);

impl Disposition {
    /// Final dispositions stay; the others are undone when their cause goes away, with the lead's numbering kept.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Reached | Self::GoalMet | Self::Exhausted => true,
            Self::Suppressed | Self::InvalidNumber | Self::Expired | Self::Removed | Self::Duplicate => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for outcome in Outcome::ALL {
            assert_eq!(outcome.as_str().parse(), Ok(*outcome));
            assert_eq!(serde_json::to_value(outcome).ok(), Some(outcome.as_str().into()));
        }
        for disposition in Disposition::ALL {
            assert_eq!(disposition.as_str().parse(), Ok(*disposition));
            assert_eq!(serde_json::to_value(disposition).ok(), Some(disposition.as_str().into()));
        }
        assert!("ANSWERED".parse::<Outcome>().is_err());
    }

    #[test]
    fn only_what_rang_is_a_try_and_only_tries_are_retried() {
        for outcome in Outcome::ALL {
            assert!(!outcome.retryable() || outcome.counts_as_try(), "{outcome}");
        }
    }
}
