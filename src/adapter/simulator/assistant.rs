//! The account's assistants, and what can be changed about them while calls are made.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One assistant of the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assistant {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it calls out; the others are only listed among all assistants.
    pub outbound: bool,
    /// Whether it may be used.
    pub active: bool,
    /// `pipeline` or `multimodal`.
    pub mode: String,
    /// The provider's number for its language.
    pub language_id: u64,
    /// Its IANA zone.
    pub timezone: String,
    /// The variables it declares, with their defaults.
    pub variables: Map<String, Value>,
    /// What it says first.
    pub initial_message: String,
    /// How it behaves.
    pub system_prompt: String,
    /// The provider's number for its voice.
    pub voice_id: u64,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
    /// Where results are sent.
    pub webhook_url: Option<String>,
    /// Headers sent along with them. Only HappyRobot has such.
    pub webhook_headers: BTreeMap<String, String>,
    /// Whether only completed calls are reported. The vendor's default is true. HappyRobot reports all.
    pub send_webhook_only_on_completed: bool,
}

impl Assistant {
    /// An active outbound assistant without a webhook.
    pub fn new(id: u64, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            outbound: true,
            active: true,
            mode: "pipeline".to_owned(),
            language_id: 1,
            timezone: "America/New_York".to_owned(),
            variables: Map::from_iter([("company_name".to_owned(), "Harbour Energy".into())]),
            initial_message: "Good day, do you have a minute?".to_owned(),
            system_prompt: "Speak politely, ask for an appointment.".to_owned(),
            voice_id: 8,
            updated_at: Timestamp::constant(1_770_741_000, 0),
            deleted_at: None,
            webhook_url: None,
            webhook_headers: BTreeMap::new(),
            send_webhook_only_on_completed: true,
        }
    }
}

/// What can be changed about an assistant; what is left out stays.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AssistantChange {
    /// Whether it may be used.
    pub active: Option<bool>,
    /// Whether it is deleted. What it did before is still reported.
    pub deleted: Option<bool>,
    /// Its name.
    pub name: Option<String>,
    /// What it says first.
    pub initial_message: Option<String>,
    /// How it behaves.
    pub system_prompt: Option<String>,
    /// The provider's number for its voice.
    pub voice_id: Option<u64>,
    /// Where results are sent; empty for nowhere.
    pub webhook_url: Option<String>,
    /// Headers sent along with results.
    pub webhook_headers: Option<BTreeMap<String, String>>,
    /// Whether only completed calls are reported.
    pub send_webhook_only_on_completed: Option<bool>,
}

impl AssistantChange {
    /// Changes it at this instant.
    pub(super) fn apply(&self, assistant: &mut Assistant, now: Timestamp) {
        fn set<T: Clone>(field: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut assistant.active, &self.active);
        set(&mut assistant.name, &self.name);
        set(&mut assistant.initial_message, &self.initial_message);
        set(&mut assistant.system_prompt, &self.system_prompt);
        set(&mut assistant.voice_id, &self.voice_id);
        set(&mut assistant.webhook_headers, &self.webhook_headers);
        set(&mut assistant.send_webhook_only_on_completed, &self.send_webhook_only_on_completed);
        if let Some(url) = &self.webhook_url {
            assistant.webhook_url = Some(url.clone()).filter(|url| !url.is_empty());
        }
        if let Some(deleted) = self.deleted {
            assistant.deleted_at = deleted.then_some(now);
        }
        assistant.updated_at = now;
    }
}
