//! v1: `dial/outbound`, the list of calls, and the hooks of a use case.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::http::{ONE_BYTES_MAX, PAGE_BYTES_MAX};
use super::super::wire::{Fields, kind, repair};
use super::token::Tokens;
use super::{HappyRobot, status, unreadable};
use crate::domain::call_options::CallOptions;
use crate::domain::id::ProviderCallId;
use crate::domain::report::{CallReport, Hints, Phase, Source, Undecodable};
use crate::port::permit::OutboundCall;
use crate::port::provider::{CallPage, CallQuery, ReadError};

/// Calls asked for in one page. The documented default is 2000; a call has some kilobytes.
const PAGE_CALLS: usize = 100;
/// Calls among which a single one is looked for when no path of single calls is configured.
const LOOK_BACK_CALLS: usize = 500;

/// Body of `dial/outbound`, in the order of its page. What is absent is not sent.
#[derive(Serialize)]
struct DialOutbound<'a> {
    assistant_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    use_case_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    phone_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    params: &'a Map<String, Value>,
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration_mins: Option<u32>,
}

/// What asks for a call. The campaign has the last word, then the assistant, then the account.
pub(super) fn dial_body(account: &HappyRobot, defaults: &CallOptions, call: &OutboundCall) -> Bytes {
    let of_assistant = account.declared(call).map(|declared| declared.call.clone()).unwrap_or_default();
    let options = call.options.clone().or(&of_assistant).or(defaults);
    let params = account.variables(call);
    let token = Value::String(call.attempt_id.to_string());
    let body = DialOutbound {
        assistant_id: call.assistant_id.as_str(),
        voice_id: options.voice_id.as_deref(),
        model: options.model.as_deref(),
        number_id: options.number_id.as_deref(),
        prompt_id: options.prompt_id.as_deref(),
        use_case_id: options.use_case_id.as_deref(),
        agent_id: options.agent_id.as_deref(),
        model_id: options.model_id.as_deref(),
        phone_number: call.phone.e164(),
        language: options.language.as_deref(),
        params: &params,
        metadata: Map::from_iter([(account.tokens.variable.clone(), token)]),
        campaign_id: options.campaign_id.as_deref(),
        scheduled_for: call.scheduled_for.map(|at| Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()),
        max_duration_mins: max_duration(&options, account.call_max.as_mins()),
    };
    serde_json::to_vec(&body).expect("strings, numbers and JSON values can be written").into()
}

/// A line is taken to be free after `call_max`, so no call may be longer; less than a minute cannot be said.
fn max_duration(options: &CallOptions, call_mins_max: i64) -> Option<u32> {
    let mins = options.max_duration_mins?.min(u32::try_from(call_mins_max).unwrap_or(u32::MAX));
    (mins > 0).then_some(mins)
}

/// The id in the answer to `dial/outbound`; it has no status.
pub(super) fn placed_id(answer: &Fields<'_>) -> Option<ProviderCallId> {
    answer.id("id").ok().flatten().map(ProviderCallId::new)
}

/// One call: by the configured path, else among the newest of the list.
pub(super) async fn read_call(
    account: &HappyRobot,
    call_path: Option<&str>,
    id: &ProviderCallId,
) -> Result<Bytes, ReadError> {
    if let Some(path) = call_path {
        let body = account.read(account.url_of(path, id), ONE_BYTES_MAX).await?;
        Fields::read(&repair(&body)).map_err(unreadable)?;
        return Ok(body);
    }
    let page = read_list(account, None, LOOK_BACK_CALLS, 1, None).await?;
    let is_it = |body: &Bytes| {
        let document = repair(body);
        Fields::read(&document).is_ok_and(|call| matches!(call.id("id"), Ok(Some(found)) if found == id.as_str()))
    };
    page.calls.into_iter().find(is_it).ok_or(ReadError::NotFound)
}

/// Around what is asked for, on both sides: how the bounds are read is not documented, and clocks differ.
const BOUND_MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// One page of the outbound calls, newest first.
pub(super) async fn list_calls(account: &HappyRobot, query: &CallQuery) -> Result<CallPage, ReadError> {
    // `search` looks through numbers and extractions alike, so more may come than was asked for.
    let phone = query.phone.as_ref().map(|phone| phone.e164());
    read_list(account, Some(bounds(query)), PAGE_CALLS, query.page, phone).await
}

/// Reads one call, whichever: only whether it may be read matters.
pub(super) async fn look(account: &HappyRobot) -> Result<(), ReadError> {
    read_list(account, None, 1, 1, None).await.map(drop)
}

async fn read_list(
    account: &HappyRobot,
    bounds: Option<(String, String)>,
    limit: usize,
    page: u32,
    search: Option<&str>,
) -> Result<CallPage, ReadError> {
    let skip = limit * (page.max(1) as usize - 1);
    let mut url = account.url(&["calls"]);
    url.query_pairs_mut()
        .append_pair("type", "Outbound")
        .append_pair("limit", &limit.to_string())
        .append_pair("skip", &skip.to_string())
        .append_pair("sort", "desc");
    if let Some((from, to)) = bounds {
        url.query_pairs_mut().append_pair("from", &from).append_pair("to", &to);
    }
    if let Some(text) = search {
        url.query_pairs_mut().append_pair("search", text);
    }
    let body = account.read(url, PAGE_BYTES_MAX).await?;
    page_of(&body, limit, skip).map_err(unreadable)
}

/// Reads `{calls, count, limit, offset}`. Whether `count` counts this page or all calls is not said, so a full page is
/// taken to have a next one whatever `count` says.
fn page_of(body: &[u8], limit: usize, skip: usize) -> Result<CallPage, Undecodable> {
    let document = repair(body);
    let fields = Fields::read(&document)?;
    let found = fields.get("calls").map_or("nothing", |raw| kind(raw.get()));
    let entries: Vec<&RawValue> = fields
        .get("calls")
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or_else(|| Undecodable { field: "calls".to_owned(), problem: format!("expected a list, found {found}") })?;
    let number = |name| fields.integer(name).ok().flatten().and_then(|number| usize::try_from(number).ok());
    let page_max = number("limit").filter(|granted| *granted > 0).unwrap_or(limit).min(limit);
    let more = entries.len() >= page_max || number("count").is_some_and(|count| skip + entries.len() < count);
    let calls = entries.iter().map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).collect();
    Ok(CallPage { calls, more })
}

/// What a hook announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Start,
    End,
}

/// Reads a call object, or a hook with one in it.
pub(super) fn report(tokens: &Tokens, source: Source, body: &[u8]) -> Result<CallReport, Undecodable> {
    let document = repair(body);
    let document = Fields::read(&document)?;
    let (hook, call) = unwrapped(document)?;
    let word = call.text("status")?;
    let (phase, answered_by) = match (word.as_deref().map(status::of_call), hook) {
        // The hook says that it is over, the call not how: a read tells.
        (Some((Phase::Live | Phase::Queued, _)) | None, Some(Hook::End)) => (Phase::PartOver, None),
        (None, Some(Hook::Start)) => (Phase::Live, None),
        (Some(known), _) => known,
        (None, None) => {
            return Err(Undecodable {
                field: call.path_of("status"),
                problem: "expected a string, found nothing".to_owned(),
            });
        }
    };
    let word = word.or_else(|| hook.map(|hook| if hook == Hook::End { "end" } else { "start" }.to_owned()));
    let metadata = call.object("metadata").ok().flatten();
    let inbound = call.text("type")?.is_some_and(|kind| kind.eq_ignore_ascii_case("inbound"));
    let phone = metadata.as_ref().and_then(|metadata| metadata.phone("to")).filter(|_| !inbound);
    // The example of an answer has free data under `custom`; what was sent as `metadata` may come back as it was, too.
    let places = [
        metadata.as_ref().and_then(|metadata| metadata.named_values("custom").ok().flatten()),
        call.named_values("metadata").ok().flatten(),
        call.named_values("params").ok().flatten(),
    ];
    Ok(CallReport {
        source,
        call_id: call.id("id")?.map(ProviderCallId::new),
        token: tokens.among(places.iter().flatten()),
        phone,
        phase,
        status: status::kept(&word.unwrap_or_default()),
        answered_by,
        duration_seconds: call.seconds("duration").ok().flatten(),
        created_at: call.instant("created"),
        finished_at: None,
        cost: None,
        transcript: None,
        recording_url: None,
        extracted: extracted(&call)?,
        hints: Hints::default(),
    })
}

/// The call itself, and what kind of hook it stands in, if it does.
fn unwrapped(document: Fields<'_>) -> Result<(Option<Hook>, Fields<'_>), Undecodable> {
    let hook = match document.text("type")?.map(|word| word.to_ascii_lowercase()).as_deref() {
        Some("start") => Some(Hook::Start),
        Some("end") => Some(Hook::End),
        Some(_) | None => None,
    };
    if document.get("status").is_some() {
        return Ok((hook, document));
    }
    match document.object("call")? {
        Some(call) => Ok((hook, call)),
        None => Ok((hook, document)),
    }
}

/// What was learnt from the conversation: `extraction`, the tag of `classification`, and the older `questions`.
fn extracted(call: &Fields<'_>) -> Result<Map<String, Value>, Undecodable> {
    let mut extracted = Map::new();
    if let Some(Value::Array(questions)) = call.value("questions").ok().flatten() {
        for question in &questions {
            if let (Some(asked), Some(answer)) = (question["question"].as_str(), question.get("answer")) {
                extracted.insert(asked.to_owned(), answer.clone());
            }
        }
    }
    if let Some(Value::Object(classification)) = call.value("classification").ok().flatten()
        && let Some(tag) = classification.get("tag").filter(|tag| tag.is_string())
    {
        extracted.insert("classification".to_owned(), tag.clone());
    }
    extracted.extend(call.named_values("extraction")?.unwrap_or_default());
    Ok(extracted)
}

/// The bounds of a search, wider than asked for, in whole seconds of UTC.
fn bounds(query: &CallQuery) -> (String, String) {
    let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    let since = query.since.checked_sub(BOUND_MARGIN).unwrap_or(query.since);
    let until = query.until.checked_add(BOUND_MARGIN).unwrap_or(query.until);
    (whole(since), whole(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_page(body: &str, limit: usize, skip: usize, calls: usize, more: bool) {
        let page = page_of(body.as_bytes(), limit, skip).expect("a page");
        assert_eq!((page.calls.len(), page.more), (calls, more), "{body}");
    }

    #[test]
    fn a_page_is_the_last_one_only_when_everything_says_so() {
        check_page(r#"{"calls":[{}],"count":1,"limit":100,"offset":0}"#, 100, 0, 1, false);
        check_page(r#"{"calls":[{}],"count":300,"limit":100,"offset":0}"#, 100, 0, 1, true);
        check_page(r#"{"calls":[{}],"count":101,"limit":100,"offset":100}"#, 100, 100, 1, false);
        check_page(r#"{"calls":[{},{}],"count":2}"#, 2, 0, 2, true);
        check_page(r#"{"calls":[{},{}],"count":2,"limit":2}"#, 100, 0, 2, true);
        check_page(r#"{"calls":[]}"#, 100, 0, 0, false);
        let problem = page_of(b"{\"calls\":{}}", 100, 0).expect_err("unreadable").to_string();
        assert_eq!(problem, "cannot read field calls: expected a list, found an object");
    }

    #[test]
    fn no_call_is_asked_to_be_longer_than_the_account_holds_a_line() {
        let of = |mins| CallOptions { max_duration_mins: mins, ..CallOptions::default() };
        assert_eq!(max_duration(&of(Some(30)), 20), Some(20));
        assert_eq!(max_duration(&of(Some(5)), 20), Some(5));
        assert_eq!(max_duration(&of(Some(5)), 0), None);
        assert_eq!(max_duration(&of(None), 20), None);
    }
}
