//! What a call may be asked to be, besides whom it rings and who speaks: caller number, voice, model, length.
//!
//! Only some providers take such options, and only by their own names; so these are HappyRobot's, from its page
//! `dial/outbound`, read 2026-11-21. An account gives defaults, an assistant refines them, a campaign has the last word.

use super::document::{Cursor, Fields};

/// Longest id or word, in characters: real ones are UUIDs.
const TEXT_CHARS_MAX: usize = 200;
/// Longest `max_duration_mins`: no account's `call_max` is longer.
const DURATION_MINS_MAX: i64 = 12 * 60;

/// Options of a call. What is absent is left to the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// The provider's use case.
    pub use_case_id: Option<String>,
    /// The provider's agent.
    pub agent_id: Option<String>,
    /// The number that calls.
    pub number_id: Option<String>,
    /// The voice.
    pub voice_id: Option<String>,
    /// The prompt.
    pub prompt_id: Option<String>,
    /// The provider's word for speed against quality.
    pub model: Option<String>,
    /// The language model.
    pub model_id: Option<String>,
    /// A language tag.
    pub language: Option<String>,
    /// The provider's own campaign, which only groups calls.
    pub campaign_id: Option<String>,
    /// Minutes after which the provider ends the call.
    pub max_duration_mins: Option<u32>,
    /// Whether the request says when to call: the moment it leaves. Without it nothing is said of time.
    pub scheduled_at_departure: bool,
}

impl CallOptions {
    /// These options, and `weaker` ones where these say nothing.
    #[must_use]
    pub fn or(self, weaker: &Self) -> Self {
        let text = |own: Option<String>, other: &Option<String>| own.or_else(|| other.clone());
        Self {
            use_case_id: text(self.use_case_id, &weaker.use_case_id),
            agent_id: text(self.agent_id, &weaker.agent_id),
            number_id: text(self.number_id, &weaker.number_id),
            voice_id: text(self.voice_id, &weaker.voice_id),
            prompt_id: text(self.prompt_id, &weaker.prompt_id),
            model: text(self.model, &weaker.model),
            model_id: text(self.model_id, &weaker.model_id),
            language: text(self.language, &weaker.language),
            campaign_id: text(self.campaign_id, &weaker.campaign_id),
            max_duration_mins: self.max_duration_mins.or(weaker.max_duration_mins),
            scheduled_at_departure: self.scheduled_at_departure || weaker.scheduled_at_departure,
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose options are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsOf {
    /// An account's or one of its assistants': they say nothing about time.
    Account,
    /// A campaign's.
    Campaign,
}

/// Reads a section `call`.
pub fn read_call_options(cursor: &Cursor<'_>, whose: OptionsOf) -> Option<CallOptions> {
    let fields = cursor.fields()?;
    let text = |key| fields.or(key, None, |cursor| cursor.name(TEXT_CHARS_MAX).map(Some));
    let use_case_id = text("use_case_id");
    let agent_id = text("agent_id");
    let number_id = text("number_id");
    let voice_id = text("voice_id");
    let prompt_id = text("prompt_id");
    let model = text("model");
    let model_id = text("model_id");
    let language = text("language");
    let campaign_id = text("campaign_id");
    let max_duration_mins =
        fields.or("max_duration_mins", None, |cursor| cursor.integer(1..=DURATION_MINS_MAX).map(Some));
    let scheduled_at_departure = read_scheduled_for(&fields, whose);
    fields.close();
    Some(CallOptions {
        use_case_id: use_case_id?,
        agent_id: agent_id?,
        number_id: number_id?,
        voice_id: voice_id?,
        prompt_id: prompt_id?,
        model: model?,
        model_id: model_id?,
        language: language?,
        campaign_id: campaign_id?,
        max_duration_mins: max_duration_mins?,
        scheduled_at_departure: scheduled_at_departure?,
    })
}

/// When to call is decided here and never by the provider, so there is only one word for it.
fn read_scheduled_for(fields: &Fields<'_>, whose: OptionsOf) -> Option<bool> {
    match whose {
        OptionsOf::Account => {
            let written = fields.misplaced(
                "scheduled_for",
                "belongs to a campaign",
                "write call: { scheduled_for: at_departure } in the campaign that needs it",
            );
            (!written).then_some(false)
        }
        OptionsOf::Campaign => fields.or("scheduled_for", false, |cursor| match cursor.text()?.as_str() {
            "at_departure" => Some(true),
            _ => cursor.wrong(
                "must be at_departure",
                "outdial decides when to call: let the schedule say it; leave the key out unless the provider wants a time",
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{Node, Place, Problems, Report};
    use super::*;
    use serde_json::{Value, json};

    fn read(value: Value, whose: OptionsOf) -> Result<CallOptions, Problems> {
        let node = Node::from_json(&value, &Place::Stored("here".into()));
        let report = Report::default();
        let options = read_call_options(&Cursor::new(&node, "call", &report), whose);
        report.finish(options)
    }

    #[test]
    fn the_stronger_options_win_one_by_one() {
        let account = read(json!({"voice_id": "a", "language": "en-US", "max_duration_mins": 9}), OptionsOf::Account);
        let campaign = read(json!({"voice_id": "c", "scheduled_for": "at_departure"}), OptionsOf::Campaign);
        let merged = campaign.expect("good").or(&account.expect("good"));
        assert_eq!(merged.voice_id.as_deref(), Some("c"));
        assert_eq!(merged.language.as_deref(), Some("en-US"));
        assert_eq!(merged.max_duration_mins, Some(9));
        assert!(merged.scheduled_at_departure);
    }

    #[test]
    fn nothing_is_asked_for_unless_it_is_written() {
        assert!(read(json!({}), OptionsOf::Campaign).expect("good").is_empty());
        assert!(!read(json!({"model": "Fast"}), OptionsOf::Campaign).expect("good").is_empty());
    }

    #[test]
    fn the_provider_never_decides_when_to_call() {
        let problem = read(json!({"scheduled_for": "2026-03-02T09:00:00Z"}), OptionsOf::Campaign).unwrap_err();
        assert!(problem.to_string().contains("must be at_departure"), "{problem}");
        let problem = read(json!({"scheduled_for": "at_departure"}), OptionsOf::Account).unwrap_err();
        assert!(problem.to_string().contains("belongs to a campaign"), "{problem}");
    }

    #[test]
    fn mistakes_are_named() {
        for wrong in [json!({"voice": "x"}), json!({"max_duration_mins": 0}), json!({"model": ""}), json!([])] {
            assert!(read(wrong.clone(), OptionsOf::Campaign).is_err(), "{wrong}");
        }
    }
}
