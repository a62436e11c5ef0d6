//! One lead: where it is, what every gate says, and when it may be dialed.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::adapter::postgres::views::{CallFilter, CallLogRow, recent_calls};
use crate::adapter::postgres::whereabouts::{Whereabouts, find_lead};
use crate::adapter::postgres::{inquiry, views};
use crate::cli::calls::standing;
use crate::cli::desk::Desk;
use crate::cli::output::{Format, Phones, json as write_json, line, show, table, utc};
use crate::cli::{Failure, Outcome};
use crate::domain::attempt::OpenState;
use crate::domain::calendar::GroupCalendar;
use crate::domain::campaign::Definition;
use crate::domain::enrolment::{EnrolmentFacts, decide};
use crate::domain::gate::{Finding, Gate, GateVerdict, examine};
use crate::domain::id::AttemptId;
use crate::domain::lead::{DueKey, EnrolmentAction, LeadPlace, Place};
use crate::domain::outcome::Disposition;
use crate::domain::phone::PhoneNumber;
use crate::domain::zone::{GroupEvidence, Zone};

use super::next::{Case, Next, next, remedy, verdict_word};
use super::picture::{LeadSide, Picture};

/// Attempts of the lead that are shown.
const ATTEMPTS_SHOWN: u32 = 10;

/// What is told about a lead, for people and for programs.
struct Story {
    lines: Vec<String>,
    gates: Option<Gates>,
    json: Map<String, Value>,
}

struct Gates {
    findings: Vec<Finding>,
    next: Next,
    zone: Option<Zone>,
}

pub(super) async fn explain(
    picture: &Picture,
    phone: PhoneNumber,
    phones: Phones,
    format: Format,
    desk: &Desk,
    out: &mut dyn Write,
) -> Outcome {
    let filter = CallFilter { campaign_id: Some(picture.campaign_id), phone: Some(phone), ..CallFilter::default() };
    let attempts = recent_calls(&desk.pool, &filter, ATTEMPTS_SHOWN).await.context("read the attempts")?;
    let story = tell(picture, &phone, desk).await?;
    let shown = phones.show(&phone);
    match format {
        Format::Json => write_json(out, &as_json(picture, story, &shown, &attempts))?,
        Format::Table => write_table(picture, &story, &shown, &attempts, out)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The first gate that holds a lead at this moment, in words; `None` when nothing does.
pub(in crate::cli) async fn holding_gate(
    desk: &Desk,
    campaign: &str,
    phone: &PhoneNumber,
    now: Timestamp,
) -> Result<Option<String>, Failure> {
    let picture = Picture::read(desk, campaign, now).await?;
    let story = tell(&picture, phone, desk).await?;
    let Some(gates) = story.gates else {
        let waits = story.json.get("state").and_then(Value::as_str) == Some("not_enrolled");
        let account = picture.account_problem.map(|problem| format!("account: {problem}"));
        return Ok(waits.then(|| account.unwrap_or_else(|| "the daemon, which takes leads in".to_owned())));
    };
    let closed = gates.findings.iter().find(|finding| finding.verdict != GateVerdict::Pass);
    Ok(closed.map(|finding| format!("{}: {}", finding.gate, finding.evidence)))
}

async fn tell(picture: &Picture, phone: &PhoneNumber, desk: &Desk) -> Result<Story, Failure> {
    let since = picture.person_limits.since(picture.now);
    let found = find_lead(&desk.pool, picture.campaign_id, phone, picture.now, since).await.context("find the lead")?;
    let mut story = Story { lines: Vec::new(), gates: None, json: Map::new() };
    let Some(found) = found else {
        story.json.insert("state".to_owned(), json!("not_enrolled"));
        story.lines = stranger(picture, phone, desk).await?;
        return Ok(story);
    };
    story.json.insert("lead_id".to_owned(), json!(found.lead_id));
    match &found.place {
        Place::Due(due) => due_lead(picture, &found, due, &mut story),
        Place::Open => open_lead(&found, desk, &mut story).await?,
        Place::Disposed { disposition, .. } => disposed_lead(picture, &found, *disposition, &mut story),
        Place::Nowhere => unplaced_lead(picture, &found, desk, &mut story).await?,
    }
    Ok(story)
}

fn due_lead(picture: &Picture, found: &Whereabouts, due: &DueKey, story: &mut Story) {
    let tries = match (&picture.definition, due.tries) {
        (Ok(definition), made) => format!("{made} of {} tries made", definition.retry.max_attempts),
        (Err(_), made) => format!("{made} tries made"),
    };
    let since = if due.due_at <= picture.now { "since" } else { "only at" };
    story.lines.push(format!("Due {since} {} UTC, for attempt {}; {tries}", utc(due.due_at), due.attempt_no));
    story.json.extend([
        ("state".to_owned(), json!("due")),
        ("due_at".to_owned(), json!(due.due_at)),
        ("attempt_no".to_owned(), json!(due.attempt_no)),
        ("tries".to_owned(), json!(due.tries)),
        ("priority".to_owned(), json!(due.stratum.priority)),
    ]);
    ask_gates(picture, found, due.tries, due.due_at, story);
}

/// What every gate says of a lead that waits, or would.
fn ask_gates(picture: &Picture, found: &Whereabouts, tries: u16, due_at: Timestamp, story: &mut Story) {
    let definition = match &picture.definition {
        Ok(definition) => definition,
        Err(problem) => {
            story.lines.push(format!("Not dialed: the campaign's definition is invalid\n{problem}"));
            story.json.insert("problem".to_owned(), json!(problem));
            return;
        }
    };
    let evidence = GroupEvidence::from_lead(found.row.as_ref().and_then(|row| row.time_zone.as_deref()));
    let calendar = GroupCalendar::new(&definition.schedule, &evidence);
    let case = Case { lead: found.facts.as_ref(), tries, person: &found.person, calendar: &calendar };
    let window = case.window(picture.now);
    let side =
        LeadSide { lead: case.lead, tries, person: case.person, window: &window, budget: picture.budget.as_ref() };
    let findings = examine(&picture.facts(definition, side), picture.now);
    let next = next(picture, definition, &case, due_at);
    let zone = match &evidence {
        GroupEvidence::Zones(zones) => zones.first().cloned(),
        GroupEvidence::Absent | GroupEvidence::Unusable => {
            calendar.as_ref().ok().and_then(|calendar| calendar.zones().next().cloned())
        }
    };
    story.gates = Some(Gates { findings, next, zone });
}

async fn open_lead(found: &Whereabouts, desk: &Desk, story: &mut Story) -> Result<(), Failure> {
    story.json.insert("state".to_owned(), json!("open"));
    let Some((id, state, reason)) = &found.open else {
        story.lines.push("An attempt was open a moment ago; ask again".to_owned());
        return Ok(());
    };
    let row = views::call(&desk.pool, *id).await.context("read the attempt")?;
    story.json.extend([
        ("attempt_id".to_owned(), json!(id.to_string())),
        ("open_state".to_owned(), json!(state)),
        ("reason".to_owned(), json!(reason)),
        ("intent_at".to_owned(), json!(row.as_ref().map(|row| row.intent_at))),
    ]);
    let since = row.as_ref().map_or_else(String::new, |row| format!(", begun {} UTC", utc(row.intent_at)));
    let what = match state {
        OpenState::Dialing => "the provider is being asked to call",
        OpenState::Placed => "the provider took the call; its result is awaited",
        OpenState::InDoubt => "nobody knows yet whether the phone rang; evidence is being looked for",
        OpenState::Held => {
            "nobody can know whether the phone rang, so no campaign calls this person until it is settled"
        }
    };
    story.lines.push(format!("Attempt {id} is open, {}{since}:\n  {what}", state.as_str().replace('_', " ")));
    story.lines.extend(reason.iter().map(|reason| format!("Because: {reason}")));
    if *state == OpenState::Held {
        story.lines.push(format!("Settle it: outdial resolve {id} --as placed|not-placed --reason \"how you know\""));
    }
    Ok(())
}

fn disposed_lead(picture: &Picture, found: &Whereabouts, disposition: Disposition, story: &mut Story) {
    let (reason, at) = found.disposed.clone().unwrap_or_else(|| ("no reason is kept".to_owned(), picture.now));
    story.lines.push(format!("Done with since {} UTC as {disposition}: {reason}", utc(at)));
    let requeue = |verdict: &str| {
        format!(
            "`outdial leads requeue --campaign {} --disposition {verdict} --phone …` gives it fresh tries",
            picture.name
        )
    };
    let back = match disposition {
        Disposition::Reached | Disposition::GoalMet | Disposition::Exhausted => {
            format!("It stays so.\n{}", requeue(disposition.as_str()))
        }
        Disposition::Suppressed => match found.person.suppression.as_ref().map(|entry| entry.expires_at) {
            Some(Some(until)) => {
                format!("It is due again when the entry expires, {} UTC, or is removed: `outdial suppress remove`", utc(until))
            }
            Some(None) => "It is due again when the entry is removed: `outdial suppress remove`".to_owned(),
            None => format!("No do-not-call entry is left, so the provider refused the number.\n{}", requeue("suppressed")),
        },
        Disposition::InvalidNumber => "It is due again when the lead gets another phone".to_owned(),
        Disposition::Expired => {
            "It is due again when the lead's not_after or the campaign's ends_on is moved".to_owned()
        }
        Disposition::Removed => {
            "It is due again when the lead is written anew in a list that the campaign dials, or when the campaign dials its list again"
                .to_owned()
        }
        Disposition::Duplicate => "It is due again when the lead that holds the phone gives it up".to_owned(),
    };
    story.lines.push(back);
    story.json.extend([
        ("state".to_owned(), json!("disposed")),
        ("disposition".to_owned(), json!(disposition)),
        ("reason".to_owned(), json!(reason)),
        ("disposed_at".to_owned(), json!(at)),
        ("final".to_owned(), json!(disposition.is_final())),
    ]);
}

/// In a list of the campaign, but not enrolled.
async fn unplaced_lead(picture: &Picture, found: &Whereabouts, desk: &Desk, story: &mut Story) -> Result<(), Failure> {
    story.json.insert("state".to_owned(), json!("not_enrolled"));
    let list = match &found.row {
        Some(row) => inquiry::list_name(&desk.pool, row.lead_list_id).await.context("read the lead's list")?,
        None => None,
    };
    let wanted = match (&picture.definition, &list) {
        (Ok(Definition { lead_lists, .. }), Some(list)) => lead_lists.contains(list),
        (Err(_), _) | (Ok(_), None) => false,
    };
    let place = LeadPlace { campaign_id: picture.campaign_id, wanted, place: Place::Nowhere };
    let facts = EnrolmentFacts { state: picture.state, over: false, due_group_key: None };
    let name = &picture.name;
    match decide(found.row.as_ref(), &place, facts, picture.now) {
        Some(EnrolmentAction::Due { due_at, .. }) => {
            let line = "Not enrolled yet: a daemon takes it in within a second. If this stays so, no daemon runs";
            story.lines.push(line.to_owned());
            ask_gates(picture, found, 0, due_at, story);
        }
        Some(EnrolmentAction::Dispose { verdict, .. }) => {
            story.lines.push(format!("Not enrolled yet; it will be {}: {}", verdict.disposition, verdict.reason));
        }
        Some(EnrolmentAction::Move { .. }) | None if !wanted => {
            story
                .lines
                .push(format!("Never enrolled: campaign {name} does not dial its list {:?}", list.unwrap_or_default()));
        }
        Some(EnrolmentAction::Move { .. }) | None => {
            story.lines.push(format!("Never enrolled: campaign {name} is {}, and nothing new comes in", picture.state));
        }
    }
    Ok(())
}

/// Neither enrolled nor in a list of the campaign.
async fn stranger(picture: &Picture, phone: &PhoneNumber, desk: &Desk) -> Result<Vec<String>, Failure> {
    let mut lines = vec![format!("Campaign {} has never seen this number", picture.name)];
    let holders = inquiry::holders_of(&desk.pool, phone).await.context("look for the number")?;
    let wanted: &[String] = picture.definition.as_ref().map_or(&[], |definition| definition.lead_lists.as_slice());
    for (lead_id, list) in &holders {
        if wanted.contains(list) {
            lines.push(format!("Lead {lead_id} of its list {list:?} has it: a daemon takes it in within a second"));
        } else {
            lines.push(format!("Lead {lead_id} has it, in list {list:?}, which the campaign does not dial"));
        }
    }
    if holders.is_empty() {
        lines.push(format!("No lead has it; the campaign dials the lists {}", wanted.join(", ")));
    }
    let existing = inquiry::existing_lists(&desk.pool, wanted).await.context("read the lists")?;
    for list in wanted.iter().filter(|list| !existing.contains(list)) {
        lines.push(format!("There is no list {list:?}"));
    }
    Ok(lines)
}

// ---- writing -------------------------------------------------------------------------------------------------------

fn write_table(
    picture: &Picture,
    story: &Story,
    phone: &str,
    attempts: &[CallLogRow],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    line(out, format_args!("{phone} in campaign {}, asked {} UTC", picture.name, utc(picture.now)))?;
    for text in &story.lines {
        line(out, text)?;
    }
    if let Some(gates) = &story.gates {
        let mut table = table(&["gate", "says", "because"]);
        for finding in &gates.findings {
            let says = match &finding.verdict {
                GateVerdict::Pass => "pass".to_owned(),
                GateVerdict::Defer(until) => format!("not before {} UTC", utc(*until)),
                GateVerdict::Wait if finding.gate == Gate::Budget => "waits for a line".to_owned(),
                GateVerdict::Wait => "waits for a change".to_owned(),
                GateVerdict::Dispose(verdict) => format!("takes it out as {}", verdict.disposition),
            };
            table.add_row([finding.gate.to_string(), says, finding.evidence.to_string()]);
        }
        show(out, &table)?;
        for text in next_lines(gates, picture) {
            line(out, text)?;
        }
    }
    if !attempts.is_empty() {
        let mut table = table(&["attempt", "begun (UTC)", "result", "why"]);
        for row in attempts {
            table.add_row([
                row.attempt_no.to_string(),
                utc(row.intent_at),
                standing(row),
                row.reason.clone().unwrap_or_default(),
            ]);
        }
        show(out, &table)?;
    }
    Ok(())
}

fn next_lines(gates: &Gates, picture: &Picture) -> Vec<String> {
    match &gates.next {
        Next::At { at, besides } => {
            let when = if *at <= picture.now { "now".to_owned() } else { both_clocks(*at, gates.zone.as_ref()) };
            let besides = if besides.is_empty() { String::new() } else { format!(", once {}", besides.join(" and ")) };
            vec![format!("May be dialed: {when}{besides}")]
        }
        Next::AfterChange(closed) => {
            let mut lines = vec!["May be dialed: only after a change".to_owned()];
            for finding in closed {
                lines.push(format!("  {}: {}", finding.gate, finding.evidence));
                lines.extend(remedy(finding, &picture.name).map(|text| format!("    {text}")));
            }
            lines
        }
        Next::NotBefore(at) => {
            vec![format!(
                "May be dialed: not before {}; what follows was not looked at",
                both_clocks(*at, gates.zone.as_ref())
            )]
        }
    }
}

/// The lead's own clock, then UTC.
fn both_clocks(at: Timestamp, zone: Option<&Zone>) -> String {
    match zone {
        Some(zone) if zone.name() != "UTC" => {
            let local = at.to_zoned(zone.tz().clone()).strftime("%a %Y-%m-%d %H:%M:%S");
            format!("{local} {zone} ({} UTC)", utc(at))
        }
        Some(_) | None => format!("{} UTC", utc(at)),
    }
}

fn as_json(picture: &Picture, story: Story, phone: &str, attempts: &[CallLogRow]) -> Value {
    let mut value = json!({ "campaign": picture.name, "phone": phone, "at": picture.now });
    let Some(object) = value.as_object_mut() else { return value };
    object.extend(story.json);
    object.insert("told".to_owned(), json!(story.lines));
    if let Some(gates) = &story.gates {
        let findings: Vec<_> = gates
            .findings
            .iter()
            .map(|finding| {
                let until = match &finding.verdict {
                    GateVerdict::Defer(until) => Some(*until),
                    GateVerdict::Pass | GateVerdict::Wait | GateVerdict::Dispose(_) => None,
                };
                json!({
                    "gate": finding.gate,
                    "verdict": verdict_word(&finding.verdict),
                    "until": until,
                    "evidence": finding.evidence.to_string(),
                })
            })
            .collect();
        object.insert("gates".to_owned(), Value::Array(findings));
        let next = match &gates.next {
            Next::At { at, besides } => json!({ "at": at, "besides": besides }),
            Next::AfterChange(closed) => {
                json!({ "after_change_of": closed.iter().map(|finding| finding.gate).collect::<Vec<_>>() })
            }
            Next::NotBefore(at) => json!({ "not_before": at }),
        };
        object.insert("next".to_owned(), next);
    }
    let attempts: Vec<_> = attempts
        .iter()
        .map(|row| {
            let id: AttemptId = row.attempt_id;
            json!({
                "attempt_id": id.to_string(),
                "attempt_no": row.attempt_no,
                "intent_at": row.intent_at,
                "outcome": row.outcome,
                "open_state": row.open_state,
                "reason": row.reason,
            })
        })
        .collect();
    object.insert("attempts".to_owned(), Value::Array(attempts));
    value
}
