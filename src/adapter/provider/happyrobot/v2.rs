//! v2: runs of workflows, and the sessions in them that are the calls.
//!
//! A run is what we asked for, so its id is the call's id; a session is one connection of it. The list of runs shows
//! neither number nor attempt, unless the workflow's runs table was given a column with it; those columns, what was learnt
//! in the conversation among them, are shown by the list alone.
//!
//! Nothing is over before the run is: until then it may ring again, and what was learnt is not yet written down.

use std::cmp::Reverse;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::http::{ONE_BYTES_MAX, PAGE_BYTES_MAX};
use super::super::wire::{Fields, kind, repair};
use super::status::{RunPhase, of_call, of_run};
use super::token::Tokens;
use super::{HappyRobot, is_plain, status, unreadable};
use crate::domain::id::ProviderCallId;
use crate::domain::outcome::Outcome;
use crate::domain::phone::PhoneNumber;
use crate::domain::report::{AnsweredBy, CallReport, Hints, Phase, Source, Undecodable};
use crate::port::permit::OutboundCall;
use crate::port::provider::{CallPage, CallQuery, ReadError};

/// Runs asked for in one page; up to 2000 are documented.
const PAGE_RUNS: usize = 100;
/// Sessions asked for; the documented maximum. A run that dials one person has one or a few.
const PAGE_SESSIONS: usize = 100;

/// What the fields of a payload are called.
pub(super) struct PayloadNames<'a> {
    pub(super) environment: Option<&'a str>,
    pub(super) phone: &'a str,
    pub(super) variables: Option<&'a str>,
}

/// Body of `workflows/{id}/runs`.
#[derive(Serialize)]
struct TriggerRun<'a> {
    payload: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'a str>,
}

/// What starts a run. Number and token win over variables of the same name.
pub(super) fn run_body(account: &HappyRobot, names: &PayloadNames<'_>, call: &OutboundCall) -> Bytes {
    let variables = account.variables(call);
    let mut payload = match names.variables {
        Some(name) => Map::from_iter([(name.to_owned(), Value::Object(variables))]),
        None => variables,
    };
    payload.insert(names.phone.to_owned(), Value::String(call.phone.e164().to_owned()));
    payload.insert(account.tokens.variable.clone(), Value::String(call.attempt_id.to_string()));
    let body = TriggerRun { payload, environment: names.environment };
    serde_json::to_vec(&body).expect("strings and JSON values can be written").into()
}

/// The run that was started, or the one that was queued. Of several queued ones nobody says which is ours.
pub(super) fn placed_id(answer: &Fields<'_>) -> Option<ProviderCallId> {
    if let Some(id) = answer.id("run_id").ok().flatten() {
        return Some(ProviderCallId::new(id));
    }
    match answer.value("queued_run_ids").ok().flatten() {
        Some(Value::Array(ids)) => match ids.as_slice() {
            [Value::String(id)] if is_plain(id) => Some(ProviderCallId::new(id)),
            _ => None,
        },
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | None => None,
    }
}

/// A run with its sessions and, once it is over, its entry in the list, as one document:
/// `{"run": …, "sessions": […], "entry": …}`.
pub(super) async fn read_run(account: &HappyRobot, id: &ProviderCallId) -> Result<Bytes, ReadError> {
    let body = account.read(account.url(&["runs", id.as_str()]), ONE_BYTES_MAX).await?;
    let run = repair(&body);
    let fields = Fields::read(&run).and_then(unwrapped).map_err(unreadable)?;
    let entry = match fields.text("status").map_err(unreadable)?.as_deref().map(of_run) {
        Some(RunPhase::Done | RunPhase::BrokenOff(_)) => entry_of(account, &fields).await?,
        Some(RunPhase::Waiting | RunPhase::Running | RunPhase::Unrecognised) | None => None,
    };
    let mut url = account.url(&["runs", id.as_str(), "sessions"]);
    url.query_pairs_mut()
        .append_pair("page", "1")
        .append_pair("page_size", &PAGE_SESSIONS.to_string())
        .append_pair("sort", "asc");
    let sessions = account.read(url, ONE_BYTES_MAX).await?;
    composed(&run, &sessions, entry.as_deref()).map_err(unreadable)
}

/// The entry of a run in the list, found by when it was made; `None` where the list does not have it. A list that cannot
/// be read for the moment is an error: somebody may have asked not to be called again.
async fn entry_of(account: &HappyRobot, run: &Fields<'_>) -> Result<Option<String>, ReadError> {
    let text = |name| run.id(name).ok().flatten();
    let (Some(id), Some(workflow), Some(made_at)) =
        (text("id"), text("workflow_id").or_else(|| text("use_case_id")), run.instant("timestamp"))
    else {
        return Ok(None);
    };
    let second = |offset: i64| Timestamp::from_second(made_at.as_second() + offset).unwrap_or(made_at).to_string();
    let mut url = account.url(&["workflows", &workflow, "runs"]);
    url.query_pairs_mut()
        .append_pair("page", "1")
        .append_pair("page_size", &PAGE_RUNS.to_string())
        .append_pair("start_date", &second(-1))
        .append_pair("end_date", &second(2));
    let body = match account.read(url, PAGE_BYTES_MAX).await {
        Ok(body) => body,
        Err(ReadError::NotFound | ReadError::Unreadable { .. }) => return Ok(None),
        Err(error @ (ReadError::RateLimited { .. } | ReadError::AccountStopped(_) | ReadError::Unavailable { .. })) => {
            return Err(error);
        }
    };
    let document = repair(&body);
    let page = page_of(&document, PAGE_RUNS).map_err(unreadable)?;
    let is_it = |raw: &&&RawValue| {
        Fields::read(raw.get()).is_ok_and(|entry| matches!(entry.id("id"), Ok(Some(found)) if found == id))
    };
    Ok(page.entries.iter().find(is_it).map(|raw| raw.get().to_owned()))
}

fn composed(run: &str, sessions: &[u8], entry: Option<&str>) -> Result<Bytes, Undecodable> {
    let sessions = repair(sessions);
    let page = page_of(&sessions, PAGE_SESSIONS)?;
    if page.more {
        // Which of them is the person's would be a guess.
        let problem = format!("more than {PAGE_SESSIONS} sessions");
        return Err(Undecodable { field: "data".to_owned(), problem });
    }
    let sessions: Vec<&str> = page.entries.iter().map(|raw| raw.get()).collect();
    let (run, sessions, entry) = (run.trim(), sessions.join(","), entry.unwrap_or("null"));
    Ok(Bytes::from(format!("{{\"run\":{run},\"sessions\":[{sessions}],\"entry\":{entry}}}")))
}

/// One page of the runs of every declared workflow, newest first, in the seconds asked for and the one after. The number
/// asked for is not looked at: runs show none.
pub(super) async fn list_runs(account: &HappyRobot, query: &CallQuery) -> Result<CallPage, ReadError> {
    let second = |at: Timestamp, offset: i64| Timestamp::from_second(at.as_second() + offset).unwrap_or(at).to_string();
    let (start, end) = (second(query.since, 0), second(query.until, 1));
    let mut runs: Vec<(Option<Timestamp>, Bytes)> = Vec::new();
    let mut more = false;
    let mut readable = false;
    for assistant in &account.assistants {
        let mut url = account.url(&["workflows", assistant.assistant_id.as_str(), "runs"]);
        url.query_pairs_mut()
            .append_pair("page", &query.page.to_string())
            .append_pair("page_size", &PAGE_RUNS.to_string())
            .append_pair("sort", "desc")
            .append_pair("start_date", &start)
            .append_pair("end_date", &end);
        let body = match account.read(url, PAGE_BYTES_MAX).await {
            Ok(body) => body,
            // One that is gone does not hide the runs of the others.
            Err(ReadError::NotFound) => continue,
            Err(error) => return Err(error),
        };
        readable = true;
        let document = repair(&body);
        let page = page_of(&document, PAGE_RUNS).map_err(unreadable)?;
        more |= page.more;
        for raw in page.entries {
            let made_at = Fields::read(raw.get()).ok().and_then(|run| run.instant("timestamp"));
            runs.push((made_at, Bytes::copy_from_slice(raw.get().as_bytes())));
        }
    }
    if !readable {
        return Err(ReadError::NotFound);
    }
    runs.sort_by_key(|(made_at, _)| Reverse(*made_at));
    Ok(CallPage { calls: runs.into_iter().map(|(_, run)| run).collect(), more })
}

/// Reads one run of the first workflow, whichever: only whether it may be read matters.
pub(super) async fn look(account: &HappyRobot) -> Result<(), ReadError> {
    let Some(assistant) = account.assistants.first() else { return Ok(()) };
    let mut url = account.url(&["workflows", assistant.assistant_id.as_str(), "runs"]);
    url.query_pairs_mut().append_pair("page", "1").append_pair("page_size", "1");
    account.read(url, ONE_BYTES_MAX).await.map(drop)
}

struct Page<'a> {
    entries: Vec<&'a RawValue>,
    more: bool,
}

/// Reads `{data, pagination}`. Runs count their pages in camel case, sessions in snake case.
fn page_of(document: &str, size: usize) -> Result<Page<'_>, Undecodable> {
    let fields = Fields::read(document)?;
    let found = fields.get("data").map_or("nothing", |raw| kind(raw.get()));
    let entries: Vec<&RawValue> = fields
        .get("data")
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or_else(|| Undecodable { field: "data".to_owned(), problem: format!("expected a list, found {found}") })?;
    let told = match fields.object("pagination")? {
        Some(pagination) => match pagination.flag("hasNextPage")? {
            Some(more) => Some(more),
            None => pagination.flag("has_next_page")?,
        },
        None => None,
    };
    let more = told.unwrap_or(entries.len() >= size);
    Ok(Page { entries, more })
}

/// Reads `session.status_changed`. It names a session by an id only, and a run may have several (a transfer has its own
/// end), so what is over is a part of the call until the run has been read.
pub(super) fn webhook_report(body: &[u8]) -> Result<CallReport, Undecodable> {
    let document = repair(body);
    let event = Fields::read(&document)?;
    let missing = |field: String| Undecodable { field, problem: "expected a string, found nothing".to_owned() };
    let data = event.object("data")?.ok_or_else(|| missing("data".to_owned()))?;
    let change = data.object("status")?.ok_or_else(|| missing(data.path_of("status")))?;
    let word = change.text("current")?.ok_or_else(|| missing(change.path_of("current")))?;
    let phase = match of_call(&word).0 {
        Phase::AnsweredOver | Phase::NotReached(_) | Phase::PartOver => Phase::PartOver,
        open @ (Phase::Queued | Phase::Live | Phase::Unrecognised) => open,
    };
    Ok(CallReport {
        call_id: data.id("run_id")?.map(ProviderCallId::new),
        phase,
        status: status::kept(&word),
        ..nothing_but(Source::Webhook)
    })
}

/// One connection of a run.
struct Session {
    number: Option<PhoneNumber>,
    phase: Phase,
    answered_by: Option<AnsweredBy>,
    word: String,
    duration_seconds: Option<u32>,
    begun_at: Option<Timestamp>,
    connected_at: Option<Timestamp>,
}

/// Reads a run with its sessions, or an entry of the list of runs.
pub(super) fn run_report(tokens: &Tokens, phone_field: &str, body: &[u8]) -> Result<CallReport, Undecodable> {
    let document = repair(body);
    let document = Fields::read(&document)?;
    let whole = document.object("run")?;
    let listed = whole.is_none();
    let sessions = sessions(&document)?;
    let entry = document.object("entry")?;
    let run = unwrapped(whole.unwrap_or(document))?;
    let word = run.text("status")?.ok_or_else(|| Undecodable {
        field: run.path_of("status"),
        problem: "expected a string, found nothing".to_owned(),
    })?;
    let columns = entry.as_ref().unwrap_or(&run).value("data").ok().flatten().unwrap_or_default();
    let mut report = CallReport {
        call_id: run.id("id")?.map(ProviderCallId::new),
        token: columns.as_object().and_then(|map| tokens.among([map])).or_else(|| tokens.anywhere(&columns)),
        phone: number_of(&columns, phone_field),
        phase: Phase::Live,
        status: status::kept(&word),
        created_at: run.instant("timestamp"),
        ..nothing_but(Source::Call)
    };
    if let Value::Object(columns) = columns {
        report.extracted = columns;
        report.extracted.shift_remove(&tokens.variable);
        report.extracted.retain(|_, value| tokens.anywhere(value).is_none());
    }
    let run_phase = of_run(&word);
    if listed {
        // Without its sessions a run does not tell whether anybody was reached, not even one that failed.
        report.phase = match run_phase {
            RunPhase::Waiting => Phase::Queued,
            RunPhase::Unrecognised => Phase::Unrecognised,
            RunPhase::Running | RunPhase::Done | RunPhase::BrokenOff(_) => Phase::Live,
        };
        return Ok(report);
    }
    let sessions = of_the_person(sessions, report.phone.as_ref());
    let Some(session) = deciding(&sessions, run_phase) else {
        report.phase = match run_phase {
            RunPhase::Waiting => Phase::Queued,
            // Sessions may be shown late.
            RunPhase::Running | RunPhase::Done => Phase::Live,
            RunPhase::BrokenOff(outcome) => Phase::NotReached(outcome),
            RunPhase::Unrecognised => Phase::Unrecognised,
        };
        return Ok(report);
    };
    report.phone = session.number.or(report.phone);
    report.phase = match (&session.phase, run_phase) {
        // The run broke off before this connection was begun.
        (Phase::Queued, RunPhase::BrokenOff(outcome)) => Phase::NotReached(outcome),
        (Phase::AnsweredOver | Phase::NotReached(_), RunPhase::Waiting | RunPhase::Running) => Phase::Live,
        // The run's own word stays: it is the one that somebody has to look at.
        (Phase::AnsweredOver | Phase::NotReached(_), RunPhase::Unrecognised) => return Ok(unrecognised(report)),
        // It was canceled after somebody had taken it.
        (Phase::NotReached(Outcome::Canceled), _) if session.connected_at.is_some() => {
            Phase::NotReached(Outcome::Failed)
        }
        (phase, _) => phase.clone(),
    };
    report.status = status::kept(&session.word);
    report.answered_by = session.answered_by;
    report.duration_seconds = session.duration_seconds;
    if report.phase.is_over() {
        let length = session.duration_seconds.map(|seconds| SignedDuration::from_secs(i64::from(seconds)));
        let begun_at = session.connected_at.or(session.begun_at);
        report.finished_at = begun_at.zip(length).and_then(|(at, length)| at.checked_add(length).ok());
    }
    Ok(report)
}

fn unrecognised(report: CallReport) -> CallReport {
    CallReport { phase: Phase::Unrecognised, ..report }
}

/// The run itself, where an answer wraps it in `data`; a run has a `data` of its own.
fn unwrapped(run: Fields<'_>) -> Result<Fields<'_>, Undecodable> {
    if run.get("status").is_some() {
        return Ok(run);
    }
    Ok(run.object("data").ok().flatten().unwrap_or(run))
}

fn sessions(document: &Fields<'_>) -> Result<Vec<Session>, Undecodable> {
    let Some(raw) = document.get("sessions") else { return Ok(Vec::new()) };
    let entries: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| Undecodable {
        field: "sessions".to_owned(),
        problem: format!("expected a list, found {}", kind(raw.get())),
    })?;
    let mut sessions = Vec::with_capacity(entries.len());
    for (index, raw) in entries.iter().enumerate() {
        let fields = Fields::read_at(format!("sessions[{index}]"), raw)?;
        let word = fields.text("status")?.ok_or_else(|| Undecodable {
            field: fields.path_of("status"),
            problem: "expected a string, found nothing".to_owned(),
        })?;
        if fields.text("type")?.is_some_and(|kind| is_no_call_of_ours(&kind)) {
            continue;
        }
        let (phase, answered_by) = of_call(&word);
        sessions.push(Session {
            number: fields.phone("user_number"),
            phase,
            answered_by,
            word,
            duration_seconds: fields.seconds("duration").ok().flatten(),
            begun_at: fields.instant("timestamp"),
            connected_at: fields.instant("call_connected_at"),
        });
    }
    Ok(sessions)
}

/// Whether a kind of session names something else than ringing somebody. Which kinds there are is not documented; these
/// words are those of the templates for workflows. A message that was sent must not count as a call that was answered.
fn is_no_call_of_ours(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["inbound", "chat", "sms", "whatsapp", "email"].iter().any(|word| kind.contains(word))
}

/// The sessions with the person we asked for: of the number the run shows, else of the first one rung. Whoever else was
/// rung, a colleague to transfer to say, came later.
fn of_the_person(mut sessions: Vec<Session>, shown: Option<&PhoneNumber>) -> Vec<Session> {
    sessions.sort_by_key(|session| session.begun_at);
    let known = shown.copied().filter(|shown| sessions.iter().any(|session| session.number == Some(*shown)));
    let own = known.or_else(|| sessions.iter().find_map(|session| session.number));
    sessions.retain(|session| session.number.is_none() || session.number == own);
    sessions
}

/// Which session says what became of the call: one that goes on, else one in which somebody answered, a person before a
/// machine, else the last.
fn deciding(sessions: &[Session], run: RunPhase) -> Option<&Session> {
    let find = |matches: &dyn Fn(&Session) -> bool| sessions.iter().rev().find(|session| matches(session));
    let waiting = |session: &Session| session.phase == Phase::Queued;
    find(&|session| matches!(session.phase, Phase::Live | Phase::PartOver))
        .or_else(|| find(&|session| waiting(session) && !matches!(run, RunPhase::BrokenOff(_))))
        .or_else(|| find(&|session| session.phase == Phase::AnsweredOver && session.answered_by.is_none()))
        .or_else(|| find(&|session| session.phase == Phase::AnsweredOver))
        .or_else(|| find(&|session| session.phase == Phase::Unrecognised))
        .or_else(|| {
            find(&|session| matches!(session.phase, Phase::NotReached(outcome) if outcome != Outcome::Canceled))
        })
        .or(sessions.last())
}

/// The number in a column that is called as the payload's field is, whatever stands before its name.
fn number_of(columns: &Value, phone_field: &str) -> Option<PhoneNumber> {
    let (_, value) = columns
        .as_object()?
        .iter()
        .find(|(name, _)| name.rsplit('.').next().is_some_and(|last| last == phone_field))?;
    PhoneNumber::parse(value.as_str()?.trim()).ok()
}

/// A report that says nothing yet.
fn nothing_but(source: Source) -> CallReport {
    CallReport {
        source,
        call_id: None,
        token: None,
        phone: None,
        phase: Phase::Unrecognised,
        status: String::new(),
        answered_by: None,
        duration_seconds: None,
        created_at: None,
        finished_at: None,
        cost: None,
        transcript: None,
        recording_url: None,
        extracted: Map::new(),
        hints: Hints::default(),
    }
}
