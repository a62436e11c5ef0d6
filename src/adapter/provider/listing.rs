//! Reads pages of calls and lists of assistants.
//!
//! Some brands answer with a Laravel paginator, some with a bare list; documentation and examples disagree within one
//! page even (`assistants/outbound` of three brands: a `data` field is described, a bare list is shown; read 2026-11-21).

use bytes::Bytes;
use serde_json::value::RawValue;

use super::wire::{Fields, kind, repair};
use crate::domain::assistant::Assistant;
use crate::domain::id::AssistantId;
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
fn assistant(fields: &Fields<'_>) -> Result<Option<Assistant>, Undecodable> {
    if fields.text("type")?.is_some_and(|kind| kind != "outbound") {
        return Ok(None);
    }
    let assistant_id = fields.id("id")?.ok_or_else(|| Undecodable {
        field: fields.path_of("id"),
        problem: "expected an id, found nothing".to_owned(),
    })?;
    let status = fields.text("status")?.unwrap_or_default();
    let deleted = fields.get("deleted_at").is_some();
    let webhook_active = fields.flag("is_webhook_active")?.unwrap_or(true);
    let webhook_url = fields.text("webhook_url")?.filter(|url| webhook_active && !url.is_empty());
    Ok(Some(Assistant {
        assistant_id: AssistantId::new(assistant_id),
        name: fields.text("name")?.unwrap_or_default(),
        active: status.eq_ignore_ascii_case("active") && !deleted,
        status,
        mode: fields.text("mode")?,
        language_id: fields.integer("language_id")?,
        webhook_url,
        variables: fields.names("variables"),
    }))
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
}
