//! The two lists of assistants.

use serde_json::{Value, json};

use crate::adapter::simulator::assistant::Assistant;
use crate::adapter::simulator::dialect::{extend, utc};

/// The list of outbound assistants, active and inactive ones (seed pages, read 2026-11-21). That a deleted one is left
/// out is undocumented.
pub(super) fn outbound<'a>(assistants: impl Iterator<Item = &'a Assistant>) -> Value {
    assistants.filter(|assistant| assistant.outbound && assistant.deleted_at.is_none()).map(entry).collect()
}

/// A page of all assistants. A deleted one shows when it was deleted, since the documents have a field for that.
pub(super) fn page(all: &[&Assistant], per_page: usize, page: usize) -> Value {
    let skip = per_page.saturating_mul(page - 1);
    let data: Vec<Value> = all.iter().skip(skip).take(per_page).map(|assistant| full(assistant)).collect();
    let last_page = all.len().div_ceil(per_page).max(1);
    json!({"data": data, "current_page": page, "per_page": per_page, "total": all.len(), "last_page": last_page})
}

const INSTANT: &str = "%Y-%m-%dT%H:%M:%S.000000Z";

fn entry(assistant: &Assistant) -> Value {
    json!({
        "id": assistant.id,
        "user_id": 1,
        "name": assistant.name,
        "type": if assistant.outbound { "outbound" } else { "inbound" },
        "mode": assistant.mode,
        "status": if assistant.active { "active" } else { "inactive" },
        "voice_id": assistant.voice_id,
        "language_id": assistant.language_id,
        "timezone": assistant.timezone,
        "initial_message": assistant.initial_message,
        "system_prompt": assistant.system_prompt,
        "variables": assistant.variables,
        "webhook_url": assistant.webhook_url,
        "is_webhook_active": assistant.webhook_url.is_some(),
        "created_at": "2026-01-05T09:00:00.000000Z",
        "updated_at": utc(assistant.updated_at, INSTANT),
    })
}

/// An entry of the paginated list: every documented field, some booleans as 0/1 and some numbers as text.
fn full(assistant: &Assistant) -> Value {
    let mut entry = entry(assistant);
    extend(
        &mut entry,
        json!({
            "phone_number_id": 11, "engine_id": 1, "synthesizer_id": 1, "transcriber_id": 1, "instance_id": null,
            "post_call_evaluation": true, "fillers": 0, "tools": [], "inbound_webhook_url": null,
            "post_call_schema": [{"name": "summary", "type": "string", "description": "What was said"}],
            "language": "English", "max_duration": 600, "record": true, "flows_platform_id": null,
            "max_silence_duration": 40, "reengagement_interval": 30, "end_call_on_voicemail": 1,
            "deleted_at": assistant.deleted_at.map(|at| utc(at, INSTANT)),
            "llm_temperature": "0.70", "voice_stability": "0.50", "voice_similarity": "0.75",
            "allow_interruptions": true, "enable_noise_cancellation": true, "endpoint_sensitivity": 0.5,
            "speech_speed": "1.00", "endpoint_type": "vad", "wait_for_customer": false,
        }),
    );
    extend(
        &mut entry,
        json!({
            "transcriber_provider_id": 1, "synthesizer_provider_id": 2, "llm_model_id": 3, "multimodal_model_id": null,
            "ambient_sound": null, "ambient_sound_volume": "0.50",
            "uuid": format!("00000000-0000-4000-8000-{:012}", assistant.id),
            "send_webhook_only_on_completed": assistant.send_webhook_only_on_completed,
            "include_recording_in_webhook": true, "interrupt_sensitivity": 0.5, "min_interrupt_words": 2,
            "filler_config": {"neutral": ["Hm."], "negative": [], "positive": [], "question": []},
            "knowledgebase_id": null, "knowledgebase_mode": null, "widget_settings": {},
        }),
    );
    entry
}
