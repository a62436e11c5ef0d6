//! Whose API is spoken: one shape for each brand or version, one family for each API.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::rate::{Burst, RateLimit};

/// Whose paths, types and words are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Famulor: a call id in the answer, transcripts as arrays, money as strings, instants without a zone, `[]` for no
    /// variables.
    #[default]
    #[serde(rename = "famulor")]
    Famulor,
    /// Sondos: no call id in the answer, transcripts as text, money as numbers, `[]` for no variables, instants with a
    /// zone, English messages.
    #[serde(rename = "sondos")]
    Sondos,
    /// Any other white label: no call id in the answer, transcripts as text, money as numbers, instants with a zone,
    /// localised messages.
    #[serde(rename = "white-label")]
    WhiteLabel,
    /// HappyRobot's first API: `POST /dial/outbound`.
    #[serde(rename = "happyrobot-v1")]
    HappyRobotV1,
    /// HappyRobot's second API: a run of a workflow, with sessions.
    #[serde(rename = "happyrobot-v2")]
    HappyRobotV2,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 5] = [Self::Famulor, Self::Sondos, Self::WhiteLabel, Self::HappyRobotV1, Self::HappyRobotV2];

    /// Its word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Famulor => "famulor",
            Self::Sondos => "sondos",
            Self::WhiteLabel => "white-label",
            Self::HappyRobotV1 => "happyrobot-v1",
            Self::HappyRobotV2 => "happyrobot-v2",
        }
    }

    /// The limit its brand documents, not enforced. Only Famulor does: 100 requests a minute, bursts of 20 in 10 seconds
    /// (authentication guide, read 2026-11-21).
    pub fn documented_rate(self) -> Option<RateLimit> {
        let burst = Some(Burst { requests: 20, seconds: 10 });
        match self {
            Self::Famulor => Some(RateLimit { per_minute: 100, burst, enforced: false }),
            Self::Sondos | Self::WhiteLabel | Self::HappyRobotV1 | Self::HappyRobotV2 => None,
        }
    }

    pub(super) const fn family(self) -> Family {
        match self {
            Self::Famulor => Family::Autocalls(Brand::Famulor),
            Self::Sondos => Family::Autocalls(Brand::Sondos),
            Self::WhiteLabel => Family::Autocalls(Brand::WhiteLabel),
            Self::HappyRobotV1 => Family::HappyRobotV1,
            Self::HappyRobotV2 => Family::HappyRobotV2,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Not a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a wire shape: famulor, sondos, white-label, happyrobot-v1 or happyrobot-v2")]
pub struct UnknownShape(String);

impl FromStr for Shape {
    type Err = UnknownShape;

    /// Reads a word; `_` stands for `-`, too.
    fn from_str(word: &str) -> Result<Self, UnknownShape> {
        let dashed = word.replace('_', "-");
        Self::ALL.into_iter().find(|shape| shape.as_str() == dashed).ok_or_else(|| UnknownShape(word.to_owned()))
    }
}

/// One API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Autocalls(Brand),
    HappyRobotV1,
    HappyRobotV2,
}

/// Whose copy of the one API of the Autocalls family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brand {
    Famulor,
    Sondos,
    WhiteLabel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_with_either_dash() {
        for shape in Shape::ALL {
            assert_eq!(shape.as_str().parse(), Ok(shape));
            assert_eq!(shape.as_str().replace('-', "_").parse(), Ok(shape));
            assert_eq!(serde_json::to_value(shape).unwrap(), shape.as_str());
        }
        assert!("vapi".parse::<Shape>().is_err());
    }
}
