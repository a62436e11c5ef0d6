//! How many due leads each gate holds now.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::adapter::postgres::inquiry::{LaneCount, lane_counts};
use crate::cli::desk::Desk;
use crate::cli::output::{Format, count, grouped, json as write_json, line, numbers, show, table, utc};
use crate::cli::{Failure, Outcome, wire};
use crate::domain::campaign::Definition;
use crate::domain::gate::{Gate, GateVerdict, first_closed};
use crate::port::store::{Candidate, Probe, Store};

use super::picture::{LeadSide, Picture};

/// Due leads that are looked at in all; beyond that the answer is a sample, and says so.
const EXAMINED_MAX: u32 = 20_000;

/// What one gate holds.
#[derive(Default)]
struct Held {
    leads: u64,
    /// What it says of the first of them.
    example: String,
    /// When the first of them may pass, as far as this gate goes.
    earliest: Option<Timestamp>,
}

pub(super) async fn explain(picture: &Picture, format: Format, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let lanes = lane_counts(&desk.pool, picture.campaign_id, picture.now).await.context("count the due leads")?;
    let due: u64 = lanes.iter().map(|lane| lane.due).sum();
    let later: u64 = lanes.iter().map(|lane| lane.later).sum();
    let (examined, held) = match &picture.definition {
        Ok(definition) => examine(picture, definition, &lanes).await?,
        Err(_) => (0, BTreeMap::new()),
    };
    let closed: u64 = held.values().map(|held| held.leads).sum();
    let free = examined - closed;
    if format == Format::Json {
        let gates: serde_json::Map<_, _> = held
            .iter()
            .map(|(gate, held)| {
                let value = json!({ "leads": held.leads, "example": held.example, "earliest": held.earliest });
                (gate.to_string(), value)
            })
            .collect();
        let value = json!({
            "campaign": picture.name,
            "state": picture.state,
            "at": picture.now,
            "problem": picture.definition.as_ref().err().or(picture.paused_because.as_ref()),
            "due": due,
            "due_later": later,
            "examined": examined,
            "is_sample": examined < due,
            "gates": Value::Object(gates),
            "free": free,
        });
        write_json(out, &value)?;
        return Ok(ExitCode::SUCCESS);
    }
    line(out, format_args!("Campaign {} is {}, asked {} UTC", picture.name, picture.state, utc(picture.now)))?;
    if let Err(problem) = &picture.definition {
        line(out, format_args!("It is not dialed: its definition is invalid\n{problem}"))?;
    }
    if let Some(reason) = &picture.paused_because {
        line(
            out,
            format_args!(
                "It was paused: {reason}\n`outdial campaign resume {}` goes on with it as it is",
                picture.name
            ),
        )?;
    }
    let is = count(due, "lead is due", "leads are due");
    line(out, format_args!("{is} now, {} later (retries, not_before)", grouped(later)))?;
    if examined == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    if examined < due {
        line(
            out,
            format_args!("A sample: {} of them were looked at, those that have waited longest", grouped(examined)),
        )?;
    }
    let mut table = table(&["held by", "leads", "first may pass (UTC)", "for example"]);
    numbers(&mut table, [1]);
    for (gate, held) in &held {
        let earliest = held.earliest.map_or_else(|| "after a change".to_owned(), utc);
        table.add_row([gate.to_string(), grouped(held.leads), earliest, held.example.clone()]);
    }
    table.add_row(["nothing".to_owned(), grouped(free), "now".to_owned(), "dialed as pacing allows".to_owned()]);
    show(out, &table)?;
    line(out, "Each lead is counted at the first gate that holds it; `--phone` shows them all for one lead")?;
    Ok(ExitCode::SUCCESS)
}

/// Looks at the head of every lane, as the daemon does.
async fn examine(
    picture: &Picture,
    definition: &Definition,
    lanes: &[LaneCount],
) -> Result<(u64, BTreeMap<Gate, Held>), Failure> {
    let view = wire::view(&picture.store).await.context("read the calling groups")?;
    let person_since = picture.person_limits.since(picture.now);
    let with_due: Vec<_> = lanes.iter().filter(|lane| lane.due > 0).collect();
    let lanes = u32::try_from(with_due.len()).unwrap_or(u32::MAX).max(1);
    let limit = (EXAMINED_MAX / lanes).max(1);
    let mut examined = 0;
    let mut held: BTreeMap<Gate, Held> = BTreeMap::new();
    for lane in with_due {
        if examined >= u64::from(EXAMINED_MAX) {
            break;
        }
        let probe = Probe { stratum: lane.stratum, not_before: Timestamp::UNIX_EPOCH, limit };
        let candidates =
            picture.store.peek_due(picture.now, person_since, &[probe]).await.context("read the due leads")?;
        let Some(window) = view.window(picture.campaign_id, lane.stratum.calling_group_id, picture.now) else {
            continue;
        };
        for candidate in &candidates {
            examined += 1;
            let Candidate { due, lead, person, .. } = candidate;
            let side = LeadSide {
                lead: lead.as_ref(),
                tries: due.tries,
                person,
                window: &window,
                budget: picture.budget.as_ref(),
            };
            let Some(finding) = first_closed(&picture.facts(definition, side), picture.now) else { continue };
            let entry = held.entry(finding.gate).or_default();
            entry.leads += 1;
            if entry.example.is_empty() {
                entry.example = finding.evidence.to_string();
            }
            if let GateVerdict::Defer(until) = finding.verdict {
                entry.earliest = Some(entry.earliest.map_or(until, |earliest| earliest.min(until)));
            }
        }
    }
    Ok((examined, held))
}
