//! Reads pages of calls and lists of assistants.
//!
//! Some brands answer with a Laravel paginator, some with a bare list; documentation and examples disagree within one
//! page even (`assistants/outbound` of three brands: a `data` field is described, a bare list is shown; read 2026-11-21).

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use jiff::SignedDuration;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::wire::{Fields, kind, repair};
use crate::domain::assistant::{Assistant, AssistantDetails, Fingerprint};
use crate::domain::id::AssistantId;
use crate::domain::prompt::variables_named;
use crate::domain::report::Undecodable;
use crate::port::provider::CallPage;

/// Entries asked for in one page; the documented maximum.
pub(super) const PAGE_ENTRIES: usize = 100;

/// One page of anything.
struct Page<'a> {
    entries: Vec<&'a RawValue>,
    more: bool,
}

/// Reads page `number` of the calls.
pub(super) fn calls(body: &[u8], number: u32) -> Result<CallPage, Undecodable> {
    let document = repair(body);
    let page = page(&document, number)?;
    let calls = page.entries.iter().map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).collect();
    Ok(CallPage { calls, more: page.more })
}

/// Reads page `number` of the assistants that may call out, and whether there are more pages.
pub(super) fn assistants(body: &[u8], number: u32) -> Result<(Vec<Assistant>, bool), Undecodable> {
    let document = repair(body);
    let page = page(&document, number)?;
    let mut assistants = Vec::with_capacity(page.entries.len());
    for (index, raw) in page.entries.iter().enumerate() {
        assistants.extend(assistant(&Fields::read_at(format!("[{index}]"), raw)?)?);
    }
    Ok((assistants, page.more))
}

fn page(document: &str, number: u32) -> Result<Page<'_>, Undecodable> {
    if document.trim_start().starts_with('[') {
        let entries: Vec<&RawValue> = serde_json::from_str(document).map_err(|error| Undecodable {
            field: ".".to_owned(),
            problem: format!("not JSON at line {} column {}", error.line(), error.column()),
        })?;
        let more = entries.len() == PAGE_ENTRIES;
        return Ok(Page { entries, more });
    }
    let fields = Fields::read(document)?;
    let entries: Vec<&RawValue> = match fields.get("data") {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| Undecodable {
            field: "data".to_owned(),
            problem: format!("expected a list, found {}", kind(raw.get())),
        })?,
        None => {
            return Err(Undecodable { field: "data".to_owned(), problem: "expected a list, found nothing".to_owned() });
        }
    };
    let more = more(&fields, number)?.unwrap_or(entries.len() == PAGE_ENTRIES);
    Ok(Page { entries, more })
}

/// Whether the paginator says that there is more. It is written at the top, or under `meta` by API resources.
fn more(fields: &Fields<'_>, number: u32) -> Result<Option<bool>, Undecodable> {
    let meta = fields.object("meta")?;
    for place in [Some(fields), meta.as_ref()].into_iter().flatten() {
        if let Some(last) = place.integer("last_page")? {
            return Ok(Some(i64::from(number) < last));
        }
    }
    Ok(fields.text("next_page_url")?.map(|_| true))
}

/// One assistant; `None` when it cannot call out.
///
/// Only the id must be readable: flags come as booleans, 0 and 1, numbers as text, and one odd setting of one assistant
/// must not keep all the others from dialing. Fields: seed of `assistants/get` and Famulor docs, `assistants/list`, read
/// 2026-11-21.
fn assistant(fields: &Fields<'_>) -> Result<Option<Assistant>, Undecodable> {
    if fields.plain("type").is_some_and(|kind| !kind.trim().eq_ignore_ascii_case("outbound")) {
        return Ok(None);
    }
    let assistant_id = fields.id("id")?.ok_or_else(|| Undecodable {
        field: fields.path_of("id"),
        problem: "expected an id, found nothing".to_owned(),
    })?;
    let status = fields.plain("status").unwrap_or_default();
    let deleted = fields.plain("deleted_at").is_some_and(|at| !at.is_empty());
    let webhook_active = fields.flag("is_webhook_active").ok().flatten().unwrap_or(true);
    let webhook_url = fields.plain("webhook_url").filter(|url| !url.trim().is_empty());
    let webhook_off = webhook_url.is_some() && !webhook_active;
    Ok(Some(Assistant {
        assistant_id: AssistantId::new(assistant_id),
        name: fields.plain("name").unwrap_or_default(),
        active: matches!(status.trim().to_ascii_lowercase().as_str(), "active" | "1" | "true") && !deleted,
        status,
        mode: fields.plain("mode"),
        language_id: fields.integer("language_id").ok().flatten(),
        webhook_url: webhook_url.filter(|_| webhook_active),
        variables: fields.names("variables"),
        details: details(fields, webhook_off),
    }))
}

fn details(fields: &Fields<'_>, webhook_off: bool) -> AssistantDetails {
    let seconds = fields.seconds("max_duration").ok().flatten().filter(|seconds| *seconds > 0);
    let said = [fields.plain("system_prompt"), fields.plain("initial_message")];
    let named = said.iter().flatten().flat_map(|text| variables_named(text));
    let values = values(fields);
    AssistantDetails {
        call_max: seconds.map(|seconds| SignedDuration::from_secs(seconds.into())),
        ends_on_voicemail: fields.flag("end_call_on_voicemail").ok().flatten(),
        webhook_off,
        webhook_only_completed: fields.flag("send_webhook_only_on_completed").ok().flatten(),
        time_zone: fields.plain("timezone").filter(|zone| !zone.is_empty()),
        phone_number_id: fields.plain("phone_number_id"),
        named_variables: named.collect::<std::collections::BTreeSet<_>>().into_iter().collect(),
        fingerprint: said.iter().any(Option::is_some).then(|| fingerprint(fields, &said, &values)),
        filled_variables: values.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name).collect(),
    }
}

/// The variables with their own values as text, in the order of their names: both lists of assistants, and two answers of
/// one of them, may write the same in another order or type.
fn values(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let plain = |value: Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    };
    let map = fields.named_values("variables").ok().flatten().unwrap_or_default();
    map.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

/// Digests prompt, first message, voice, language, mode and variables. Only fields that both lists have: which of the two
/// answered must not look like a change.
fn fingerprint(fields: &Fields<'_>, said: &[Option<String>; 2], values: &BTreeMap<String, String>) -> Fingerprint {
    let mut digest = Sha256::new();
    // Lengths keep what moved from one text to the next from looking the same.
    let mut add = |text: Option<&str>| match text {
        Some(text) => {
            digest.update([1]);
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
        None => digest.update([0]),
    };
    for text in said {
        add(text.as_deref());
    }
    for name in ["voice_id", "language_id", "mode"] {
        add(fields.plain(name).as_deref());
    }
    for (name, value) in values {
        add(Some(name));
        add(Some(value));
    }
    let mut text = String::with_capacity(64);
    for byte in digest.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Fingerprint::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, number: u32, entries: usize, more: bool) {
        let page = calls(body.as_bytes(), number).expect("a page");
        assert_eq!((page.calls.len(), page.more), (entries, more), "{body:.80}");
    }

    #[test]
    fn pages_say_whether_there_is_more() {
        check(r#"{"current_page":1,"data":[{"id":1}],"last_page":2,"next_page_url":"u"}"#, 1, 1, true);
        check(r#"{"current_page":2,"data":[{"id":1}],"last_page":2,"next_page_url":null}"#, 2, 1, false);
        check(r#"{"data":[],"meta":{"current_page":1,"last_page":"3"}}"#, 1, 0, true);
        check(r#"{"data":[{"id":1}],"next_page_url":"u"}"#, 1, 1, true);
        check(r#"{"data":[{"id":1}]}"#, 1, 1, false);
        check("[]", 1, 0, false);
        check(r#"[{"id":1},{"id":2}]"#, 1, 2, false);
    }

    #[test]
    fn a_full_bare_list_may_have_been_cut() {
        let list = format!("[{}]", vec!["{}"; PAGE_ENTRIES].join(","));
        check(&list, 1, PAGE_ENTRIES, true);
        check(&format!(r#"{{"data":{list}}}"#), 1, PAGE_ENTRIES, true);
        check(&format!("[{}]", vec!["{}"; PAGE_ENTRIES + 50].join(",")), 1, PAGE_ENTRIES + 50, false);
    }

    #[test]
    fn a_page_without_entries_is_unreadable() {
        let problem = |body: &[u8]| calls(body, 1).expect_err("unreadable").to_string();
        assert_eq!(problem(b"{}"), "cannot read field data: expected a list, found nothing");
        assert_eq!(problem(br#"{"data":{"a":1}}"#), "cannot read field data: expected a list, found an object");
        assert_eq!(problem(b"<html>"), "cannot read field .: not JSON at line 1 column 1");
        let problem = assistants(br#"[{"id":1},{"name":"x"}]"#, 1).expect_err("unreadable").to_string();
        assert_eq!(problem, "cannot read field [1].id: expected an id, found nothing");
    }

    const PROMPTED: &str = r#"{"id":1,"system_prompt":"Sell to {{name}}.","initial_message":"Hi","voice_id":8,"language_id":1,
        "mode":"pipeline","variables":{"name":"","firm":"A"},"status":"active","name":"X"}"#;

    fn read(entry: &str) -> Assistant {
        let (assistants, _) = assistants(format!("[{entry}]").as_bytes(), 1).expect("a roster");
        assistants.into_iter().next().expect("an assistant")
    }

    #[track_caller]
    fn check_change(from: &str, to: &str, changed: bool) {
        let other = PROMPTED.replace(from, to);
        assert_ne!(other, PROMPTED, "{from} is there");
        let differs = read(&other).details.fingerprint != read(PROMPTED).details.fingerprint;
        assert_eq!(differs, changed, "{from} becomes {to}");
    }

    #[test]
    fn a_fingerprint_follows_what_is_said_and_how_and_nothing_else() {
        check_change("Sell to", "Sell it to", true);
        check_change("\"Hi\"", "\"Hello\"", true);
        check_change("\"voice_id\":8", "\"voice_id\":9", true);
        check_change("\"language_id\":1", "\"language_id\":2", true);
        check_change("pipeline", "multimodal", true);
        check_change("\"A\"", "\"B\"", true);
        check_change("\"firm\"", "\"company\"", true);
        check_change("\"firm\":\"A\"", "\"firm\":null", true);
        check_change("\"active\"", "\"inactive\"", false);
        check_change("\"name\":\"X\"", "\"name\":\"Y\"", false);
        check_change("\"voice_id\":8", "\"voice_id\":\"8\"", false);
        check_change("\"name\":\"\",\"firm\":\"A\"", "\"firm\":\"A\",\"name\":\"\"", false);
        check_change("\"id\":1", "\"max_duration\":60,\"id\":1", false);
        assert_eq!(read(r#"{"id":1,"name":"no prompt told"}"#).details.fingerprint, None);
    }

    #[test]
    fn prompts_are_kept_as_the_names_in_them_only() {
        let details = read(PROMPTED).details;
        assert_eq!(details.named_variables, ["name"]);
        assert_eq!(details.filled_variables, ["firm"]);
        assert!(!format!("{details:?}").contains("Sell"), "{details:?}");
    }

    #[test]
    fn flags_and_numbers_come_in_any_type_and_oddities_cost_nothing() {
        let odd = read(
            r#"{"id":"7","type":"OUTBOUND","status":"Active","name":5,"max_duration":"600","end_call_on_voicemail":"1",
            "send_webhook_only_on_completed":0,"is_webhook_active":1,"webhook_url":"https://x","deleted_at":"",
            "phone_number_id":11,"language_id":"3","timezone":"","variables":[],"mode":{}}"#,
        );
        assert!(odd.active);
        assert_eq!((odd.name.as_str(), odd.language_id, odd.mode), ("5", Some(3), None));
        let details = odd.details;
        assert_eq!(details.call_max, Some(SignedDuration::from_secs(600)));
        assert_eq!((details.ends_on_voicemail, details.webhook_only_completed), (Some(true), Some(false)));
        assert_eq!((details.phone_number_id.as_deref(), details.time_zone), (Some("11"), None));
        let broken =
            read(r#"{"id":8,"status":[],"max_duration":"long","end_call_on_voicemail":"perhaps","language_id":"x"}"#);
        assert!(!broken.active);
        assert_eq!((broken.details.call_max, broken.details.ends_on_voicemail), (None, None));
        assert!(!read(r#"{"id":9,"status":"active","deleted_at":"2026-01-01 00:00:00"}"#).active);
    }
}
