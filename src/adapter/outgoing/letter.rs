//! What a receiver gets: the body, and the signature that says it is ours. Documented in docs/webhooks.md.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::adapter::postgres::outgoing::{AttemptTold, LeadTold, OutgoingEvent};
use crate::domain::notice::{NoticeKind, NoticePart, Notify, stored_notify};

/// The body of an event. Personal particulars are in it only where the campaign, as it stands, names them.
pub(super) fn body(event: &OutgoingEvent) -> Value {
    let notify = event.notify.as_ref().and_then(stored_notify);
    let asked = Asked(notify.as_ref());
    let mut body = json!({
        "id": event.event_id,
        "event": event.kind,
        "happened_at": event.happened_at,
        "campaign": { "id": event.campaign_id, "name": event.campaign },
    });
    let Some(fields) = body.as_object_mut() else { return body };
    if let Some(lead) = &event.lead {
        fields.insert("lead".to_owned(), lead_of(lead, asked));
    }
    match event.kind {
        NoticeKind::AttemptFinished => {
            let attempt = event.attempt.as_ref().map(|attempt| attempt_of(attempt, asked));
            fields.insert("attempt".to_owned(), attempt.unwrap_or_default());
        }
        NoticeKind::LeadDisposed => {
            fields.insert("verdict".to_owned(), event.detail.clone());
        }
        NoticeKind::AccountStopped => {
            fields.insert("account".to_owned(), event.detail.clone());
        }
        NoticeKind::CampaignFinished => {}
    }
    body
}

/// What a campaign asks for.
#[derive(Clone, Copy)]
struct Asked<'a>(Option<&'a Notify>);

impl Asked<'_> {
    fn part(self, part: NoticePart) -> bool {
        self.0.is_some_and(|notify| notify.send.contains(&part))
    }

    /// Those of the variables that are named; `None` when none is.
    fn named(names: Option<&[String]>, variables: Option<&Value>) -> Option<Value> {
        let names = names.filter(|names| !names.is_empty())?;
        let found = |name: &String| Some((name.clone(), variables?.get(name)?.clone()));
        Some(Value::Object(names.iter().filter_map(found).collect::<Map<_, _>>()))
    }
}

fn lead_of(lead: &LeadTold, asked: Asked<'_>) -> Value {
    let mut value = json!({ "id": lead.lead_id, "external_ref": lead.external_ref });
    if asked.part(NoticePart::Phone) {
        value["phone"] = json!(lead.phone);
    }
    let names = asked.0.map(|notify| notify.variables.as_slice());
    if let Some(variables) = Asked::named(names, lead.variables.as_ref()) {
        value["variables"] = variables;
    }
    value
}

fn attempt_of(attempt: &AttemptTold, asked: Asked<'_>) -> Value {
    let mut value = json!({
        "id": attempt.attempt_id,
        "number": attempt.attempt_no,
        "account": attempt.account,
        "assistant_id": attempt.assistant_id,
        "provider_call_id": attempt.provider_call_id,
        "intent_at": attempt.intent_at,
        "sent_at": attempt.sent_at,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "goal_met": attempt.goal_met,
        "answered_by": attempt.answered_by,
        "duration_seconds": attempt.duration_seconds,
        "cost": attempt.cost,
    });
    if asked.part(NoticePart::RecordingUrl) {
        value["recording_url"] = json!(attempt.recording_url);
    }
    if asked.part(NoticePart::Transcript) {
        value["transcript"] = json!(attempt.transcript);
    }
    let names = asked.0.map(|notify| notify.extracted.as_slice());
    if let Some(extracted) = Asked::named(names, attempt.extracted.as_ref()) {
        value["extracted"] = extracted;
    }
    value
}

/// The value of `X-Outdial-Signature` for a body that is sent at `at`: the time is signed along, so that an event that
/// somebody caught cannot be played back later.
pub(super) fn signature(secret: &SecretString, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key may have any length");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn event(kind: NoticeKind, notify: Value) -> OutgoingEvent {
        let at = |text: &str| Some(text.parse().unwrap());
        OutgoingEvent {
            key: 1,
            event_id: Uuid::nil(),
            kind,
            happened_at: "2026-03-02T09:01:30Z".parse().unwrap(),
            created_at: "2026-03-02T09:01:31Z".parse().unwrap(),
            sendings: 1,
            detail: json!({"disposition": "reached", "reason": "a person was reached", "attempt_no": 2, "tries": 1}),
            campaign_id: 7,
            campaign: Some("spring".to_owned()),
            notify: Some(notify),
            lead: Some(LeadTold {
                lead_id: 17,
                external_ref: Some("A-17".to_owned()),
                phone: Some("+4930901820".to_owned()),
                variables: Some(json!({"customer": "K-1", "iban": "DE00"})),
            }),
            attempt: Some(AttemptTold {
                attempt_id: Uuid::nil(),
                attempt_no: Some(1),
                account: Some("main".to_owned()),
                assistant_id: Some("11".to_owned()),
                intent_at: at("2026-03-02T09:00:00Z"),
                sent_at: at("2026-03-02T09:00:01Z"),
                ended_at: at("2026-03-02T09:01:30Z"),
                outcome: Some("answered".to_owned()),
                reason: Some("the call is over".to_owned()),
                goal_met: Some(true),
                provider_call_id: Some("4711".to_owned()),
                answered_by: Some("human".to_owned()),
                duration_seconds: Some(61),
                cost: "0.125".parse().ok(),
                recording_url: Some("https://recordings.example.org/1".to_owned()),
                transcript: Some(json!([{"role": "user", "text": "hello"}])),
                extracted: Some(json!({"booked": true, "illness": "flu"})),
            }),
        }
    }

    #[test]
    fn nothing_personal_is_sent_unless_it_is_named() {
        let body = body(&event(NoticeKind::AttemptFinished, json!({"webhook": "crm"}))).to_string();
        for personal in ["+4930901820", "K-1", "DE00", "hello", "recordings", "booked", "illness"] {
            assert!(!body.contains(personal), "{personal}: {body}");
        }
        assert!(body.contains("\"external_ref\":\"A-17\""), "{body}");
    }

    #[test]
    fn what_is_named_is_sent_and_nothing_beside_it() {
        let notify = json!({"webhook": "crm", "send": ["phone", "transcript", "recording_url"],
            "variables": ["customer", "absent"], "extracted": ["booked"]});
        let body = body(&event(NoticeKind::AttemptFinished, notify));
        assert_eq!(body["lead"]["phone"], "+4930901820");
        assert_eq!(body["lead"]["variables"], json!({"customer": "K-1"}));
        assert_eq!(body["attempt"]["extracted"], json!({"booked": true}));
        assert_eq!(body["attempt"]["transcript"][0]["text"], "hello");
        assert_eq!(body["attempt"]["cost"], json!("0.125"));
        assert!(!body.to_string().contains("DE00") && !body.to_string().contains("flu"), "{body}");
    }

    #[test]
    fn a_verdict_says_what_was_decided_then() {
        let body = body(&event(NoticeKind::LeadDisposed, json!({"webhook": "crm"})));
        assert_eq!(body["verdict"]["disposition"], "reached");
        assert_eq!((body.get("attempt"), &body["lead"]["id"]), (None, &json!(17)));
    }

    #[test]
    fn a_signature_is_what_openssl_says() {
        // printf '1772442090.{"id":1}' | openssl dgst -sha256 -hmac a-secret-of-sixteen
        let at = Timestamp::from_second(1_772_442_090).unwrap();
        let signature = signature(&SecretString::from("a-secret-of-sixteen"), at, br#"{"id":1}"#);
        assert_eq!(signature, "t=1772442090,v1=4f8b88b9fc85dff7f26021b4dea21955c03f3cb333fcc09f13cb2a40c71af805");
    }
}
