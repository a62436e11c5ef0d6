//! What every family needs to write calls down: the shape, the quirks, and what the assistants find out.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::call::{CallRecord, Status};
use super::dice::Dice;
use super::message::{Language, Message};
use super::mix::Fate;
use super::quirk::{InvalidQuirks, Quirks};
use super::shape::{Family, Shape};

/// The assistant's own number.
pub(super) const ASSISTANT_PHONE: &str = "+12025550199";

/// How the provider speaks.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    pub shape: Shape,
    pub seed: u64,
    pub quirks: Quirks,
    /// The zone of [`Quirks::naive_zone`].
    pub zone: TimeZone,
    pub echo_variables: bool,
    pub goal_variable: String,
    pub opt_out_variable: String,
}

impl Dialect {
    pub(super) fn family(&self) -> Family {
        self.shape.family()
    }

    /// The same with other quirks.
    pub(super) fn with_quirks(&self, quirks: Quirks) -> Result<Self, InvalidQuirks> {
        quirks.validate()?;
        Ok(Self { zone: quirks.zone()?, quirks, ..self.clone() })
    }

    /// A message in the language of the shape, or in the one that was asked for.
    pub(super) fn text(&self, message: Message) -> &'static str {
        let own = match self.shape {
            Shape::WhiteLabel => Language::De,
            Shape::Famulor | Shape::Sondos | Shape::HappyRobotV1 | Shape::HappyRobotV2 => Language::En,
        };
        message.text(self.quirks.language.unwrap_or(own))
    }

    /// A status nobody documented, shown instead of the true one while the call has no complete result.
    pub(super) fn odd_status(&self, call: &CallRecord, now: Timestamp) -> Option<&'static str> {
        const WORDS: [&str; 3] = ["connecting", "warming_up", "in_review"];
        let mut dice = Dice::new(self.seed, "odd status", &call.phone, call.rung_before);
        let odd = now < call.completed_at && dice.chance(self.quirks.odd_status);
        odd.then(|| WORDS[usize::try_from(dice.between(0, 2)).expect("it is at most 2")])
    }

    /// What the evaluation found in a conversation.
    pub(super) fn extracted(&self, call: &CallRecord) -> Map<String, Value> {
        let (goal_met, opted_out, summary) = match call.fate {
            Fate::GoalMet => (true, false, "The customer agreed to an appointment."),
            Fate::Declined => (false, false, "The customer is not interested at the moment."),
            Fate::OptOut => (false, true, "The customer does not want to be called again."),
            Fate::Voicemail | Fate::NoAnswer | Fate::Busy | Fate::Failed => return Map::new(),
        };
        if call.status(call.completed_at) != Status::Completed {
            return Map::new();
        }
        Map::from_iter([
            (self.goal_variable.clone(), goal_met.into()),
            (self.opt_out_variable.clone(), opted_out.into()),
            ("summary".to_owned(), summary.into()),
        ])
    }
}

/// Who says something in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    Assistant,
    Customer,
}

/// What was said, the assistant first.
pub(super) fn lines(call: &CallRecord) -> Vec<(Speaker, &'static str)> {
    let answer = match call.fate {
        Fate::GoalMet => "Tuesday at ten would suit me.",
        Fate::Declined => "No, thank you.",
        Fate::OptOut => "Please take me off your list.",
        Fate::Voicemail => "Please leave a message after the tone.",
        Fate::NoAnswer | Fate::Busy | Fate::Failed => return Vec::new(),
    };
    if call.answered_at.is_none() {
        return Vec::new();
    }
    vec![
        (Speaker::Assistant, "Good day, do you have a minute?"),
        (Speaker::Customer, answer),
        (Speaker::Assistant, "Thank you, goodbye."),
    ]
}

/// Where the recording would be.
pub(super) fn recording_url(call: &CallRecord) -> String {
    format!("https://recordings.example/call-{}.mp3", call.call_id)
}

/// An instant in UTC.
pub(super) fn utc(at: Timestamp, format: &str) -> String {
    zoned(at, &TimeZone::UTC, format)
}

/// An instant as a clock in this zone shows it.
pub(super) fn zoned(at: Timestamp, zone: &TimeZone, format: &str) -> String {
    at.to_zoned(zone.clone()).strftime(format).to_string()
}

/// Adds the fields of `more` to an object.
pub(super) fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
