//! What a campaign says: the definition a person writes, already checked.
//!
//! Values of these types cannot hold nonsense; [`super::document`] tells people what is wrong with what they wrote.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use jiff::SignedDuration;
use serde_json::{Map, Value};

use super::calendar::Schedule;
use super::call_options::CallOptions;
use super::id::{AccountName, AssistantId, CampaignId};
use super::notice::Notify;
use super::outcome::{Outcome, words};
use super::zone::Zone;

words!(
    /// Where a campaign is in its life.
    CampaignState {
        /// Written down, not yet dialing.
        Draft = "draft",
        /// Dials.
        Active = "active",
        /// Keeps everything, dials nothing.
        Paused = "paused",
        /// Nothing enrols or becomes due any more; open attempts end.
        Finishing = "finishing",
        /// Nothing but held attempts is left.
        Finished = "finished",
    }
);

/// A campaign as the engine knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// Its key.
    pub campaign_id: CampaignId,
    /// Its name, unique.
    pub name: String,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Grows with each change of the definition.
    pub version: i64,
    /// What to dial, when and how.
    pub definition: Definition,
}

/// The content of a campaign file.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The account that dials.
    pub account: AccountName,
    /// Which assistants may speak.
    pub assistants: AssistantChoice,
    /// What follows when one of them says something else than it did when the campaign began to use it.
    pub on_assistant_change: OnAssistantChange,
    /// Names of the lead lists to dial.
    pub lead_lists: Vec<String>,
    /// When.
    pub schedule: Schedule,
    /// How fast.
    pub pacing: Pacing,
    /// What follows each outcome.
    pub retry: RetryPolicy,
    /// Which variable of a result suppresses the person everywhere.
    pub opt_out: Option<VariableTest>,
    /// Whether the campaign finishes by itself once nothing is due or open.
    pub finish_when_done: bool,
    /// What the call is for; free text until rule packs are built, kept for the record.
    pub purpose: Option<String>,
    /// Variables of every call; a lead's own win.
    pub variables: Map<String, Value>,
    /// What every call is asked to be; empty unless the account's provider takes such options.
    pub call: CallOptions,
    /// What another system is told of it; `None` tells nobody.
    pub notify: Option<Notify>,
}

/// Which active assistants of the account a campaign may use. Empty conditions match everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssistantChoice {
    /// Exactly these.
    pub ids: Vec<AssistantId>,
    /// Patterns over names; `*` stands for any text, letter case does not count.
    pub names: Vec<String>,
    /// The provider's id of a language.
    pub language_id: Option<i64>,
    /// The provider's engine mode.
    pub mode: Option<String>,
    /// How one is picked among those that match.
    pub pick: Pick,
}

words!(
    /// How one assistant is picked among several.
    #[derive(Default)]
    Pick {
        /// Each in turn.
        #[default]
        RoundRobin = "round_robin",
        /// The one with the fewest open attempts.
        LeastBusy = "least_busy",
        /// The same lead hears the same assistant for as long as it is active.
        Sticky = "sticky",
    }
);

words!(
    /// What follows when an assistant in use was changed at the provider.
    #[derive(Default)]
    OnAssistantChange {
        /// Tell people, and go on with it as it is.
        #[default]
        Warn = "warn",
        /// Pause the campaign until a person resumes it.
        Pause = "pause",
        /// Go on with it as it is.
        Follow = "follow",
    }
);

/// Limits on starts and lines; what is absent is not limited here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Starts in any second.
    pub calls_per_second: Option<NonZeroU32>,
    /// Starts in any minute.
    pub calls_per_minute: Option<NonZeroU32>,
    /// Calls at once.
    pub concurrent_calls: Option<NonZeroU32>,
    /// Requests sent in a day.
    pub calls_per_day: Option<NonZeroU32>,
    /// What a day is, for `calls_per_day`.
    pub day: Day,
}

/// What a limit per day means by a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Day {
    /// Any 24 hours.
    #[default]
    Rolling,
    /// A date in this zone.
    Civil(Zone),
}

/// What follows each outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, at least 1.
    pub max_attempts: u16,
    /// One rule for each retryable outcome that has one.
    pub on: BTreeMap<Outcome, RetryRule>,
    /// Answered without the goal is retried so.
    pub goal: Option<GoalRule>,
}

/// When the next try comes after an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// From the end of the call to the next try.
    pub after: SignedDuration,
    /// Tries that may end with this outcome; the campaign's `max_attempts` when absent.
    pub max: Option<u16>,
    /// At most this much is added to `after`, evenly spread, so that a burst does not come back as a burst.
    pub jitter: SignedDuration,
}

/// A campaign's goal, and what follows an answered call that missed it.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalRule {
    /// Met when this holds for the extracted variables.
    pub test: VariableTest,
    /// What follows when it does not hold; absent means no retry.
    pub retry: Option<RetryRule>,
}

/// A condition on the variables a provider extracted from a call.
#[derive(Clone, Debug, PartialEq)]
pub struct VariableTest {
    /// The variable's name.
    pub variable: String,
    /// The value it must have.
    pub equals: Value,
}

impl VariableTest {
    /// Whether the variables satisfy the condition. `"true"` and `true`, `"1"` and `1` are equal: providers deliver
    /// extracted booleans and numbers as text as often as not.
    pub fn holds(&self, variables: &Map<String, Value>) -> bool {
        let Some(found) = variables.get(&self.variable) else {
            return false;
        };
        found == &self.equals || plain(found).is_some_and(|text| Some(text) == plain(&self.equals))
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Bool(bool) => Some(bool.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.trim().to_ascii_lowercase()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(equals: Value, found: Value, holds: bool) {
        let test = VariableTest { variable: "booked".to_owned(), equals };
        let mut variables = Map::new();
        variables.insert("booked".to_owned(), found);
        assert_eq!(test.holds(&variables), holds);
    }

    #[test]
    fn extracted_variables_are_compared_as_people_mean_them() {
        check(json!(true), json!(true), true);
        check(json!(true), json!("true"), true);
        check(json!(true), json!("True "), true);
        check(json!("true"), json!(true), true);
        check(json!(1), json!("1"), true);
        check(json!("Yes"), json!("yes"), true);
        check(json!(true), json!(false), false);
        check(json!(true), Value::Null, false);
        check(Value::Null, Value::Null, true);
        check(json!(["a"]), json!(["a"]), true);
    }
}
