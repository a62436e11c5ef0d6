//! `outdial resolve`: a person settles attempts that no evidence settles.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::adapter::postgres::status::{OpenQuestion, open_questions};
use crate::adapter::postgres::views;
use crate::domain::attempt::OpenState;
use crate::domain::campaign::{CampaignState, RetryPolicy};
use crate::domain::id::AttemptId;
use crate::domain::retry::{AttemptEnd, Ending, NextPlace, after_attempt};
use crate::port::store::{OpenAttempt, Settlement, Store};

use super::desk::Desk;
use super::output::{Format, Listing, Phones, json as write_json, line, show, table, unbroken, utc};
use super::{Failure, Outcome, wire};

/// Attempts that are listed at most.
const LISTED_MAX: u32 = 1_000;

/// List attempts that are in doubt or held, or settle held ones by hand.
///
/// Held means that nobody can know from the provider whether the phone rang. Until it is settled, no campaign calls this
/// person. Look into the provider's dashboard or ask the person, then say what you found. `--as placed` ends the attempt
/// as `unknown` and counts the try; `--as not-placed` gives the try back, and the lead is due again.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The attempts to settle; without any, those that wait are listed.
    #[arg(value_name = "ATTEMPT", requires = "verdict", requires = "reason")]
    attempts: Vec<Uuid>,
    /// What you found out.
    #[arg(long = "as", value_enum, value_name = "VERDICT", requires = "attempts")]
    verdict: Option<Found>,
    /// How you know; kept with the attempt.
    #[arg(long, value_name = "TEXT", requires = "attempts")]
    reason: Option<String>,
    #[command(flatten)]
    phones: Phones,
    #[command(flatten)]
    listing: Listing,
}

/// What a person found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Found {
    /// The phone rang.
    Placed,
    /// It certainly did not ring.
    NotPlaced,
}

pub(super) async fn run(args: &Args, desk: &Desk, out: &mut dyn Write) -> Outcome {
    match (args.verdict, &args.reason) {
        (Some(found), Some(reason)) if !args.attempts.is_empty() => {
            settle(&args.attempts, found, reason.trim(), args.phones, desk, out).await
        }
        _ => list(args, desk, out).await,
    }
}

async fn list(args: &Args, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let questions = open_questions(&desk.pool, LISTED_MAX).await.context("read the open attempts")?;
    match args.listing.output {
        Format::Json => {
            let rows = questions.iter().map(|question| as_json(question, &args.phones.show(&question.phone)));
            write_json(out, &Value::Array(rows.collect()))?;
        }
        Format::Table if questions.is_empty() => line(out, "No attempt is in doubt or held")?,
        Format::Table => {
            let mut table = table(&["attempt", "state", "whom", "why"]);
            unbroken(&mut table, [0]);
            for question in &questions {
                table.add_row([
                    format!("{}\nbegun {} UTC", question.attempt_id, utc(question.intent_at)),
                    question.state.as_str().replace('_', " "),
                    format!("{}\n{}", args.phones.show(&question.phone), question.campaign.as_deref().unwrap_or("")),
                    format!("{}\naccount {}", question.reason, question.account),
                ]);
            }
            show(out, &table)?;
            line(out, "What is in doubt settles by itself or becomes held. Settle what is held with:")?;
            line(out, "  outdial resolve ATTEMPT --as placed|not-placed --reason \"how you know\"")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_json(question: &OpenQuestion, phone: &str) -> Value {
    json!({
        "attempt_id": question.attempt_id.to_string(),
        "state": question.state,
        "intent_at": question.intent_at,
        "sent_at": question.sent_at,
        "account": question.account,
        "campaign": question.campaign,
        "phone": phone,
        "reason": question.reason,
        "provider_call_id": question.provider_call_id,
    })
}

/// Looks at all of them before it settles any.
async fn settle(ids: &[Uuid], found: Found, reason: &str, phones: Phones, desk: &Desk, out: &mut dyn Write) -> Outcome {
    if reason.is_empty() {
        return Err(Failure::user(anyhow!("--reason is empty: say how you know, it is kept with the attempt")));
    }
    let store = desk.store().await?;
    let mut held: Vec<OpenAttempt> = Vec::new();
    let mut problems = Vec::new();
    for id in ids {
        let id = AttemptId::from_stored(*id);
        if held.iter().any(|open| open.attempt_id == id) {
            continue;
        }
        match find(id, &store, desk).await? {
            Ok(open) => held.push(open),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::user(anyhow!("{}; nothing was settled", problems.join("; "))));
    }
    let view = wire::view(&store).await.context("read the campaigns")?;
    let settlements: Vec<_> = held
        .iter()
        .map(|open| {
            let campaign = view.campaign(open.attempt_id.key().campaign_id);
            let finished = campaign.is_none_or(|campaign| campaign.state == CampaignState::Finished);
            settlement(open, found, reason, finished, desk)
        })
        .collect();
    let settled = store.settle(&settlements).await.context("settle the attempts")?;
    let mut missed = false;
    for (open, settlement) in held.iter().zip(&settlements) {
        let (id, phone) = (open.attempt_id, phones.show(&open.phone));
        if !settled.contains(&id) {
            missed = true;
            line(out, format_args!("Attempt {id} to {phone} was settled by evidence just now"))?;
            continue;
        }
        let next = match &settlement.next {
            NextPlace::Due { .. } => "the try is given back and the lead is due again".to_owned(),
            NextPlace::Disposed { verdict, .. } => format!("the lead is {}", verdict.disposition),
        };
        line(out, format_args!("Attempt {id} to {phone} ended as {}: {next}", settlement.outcome))?;
    }
    Ok(if missed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// The held attempt, or why it cannot be settled.
async fn find(id: AttemptId, store: &impl Store, desk: &Desk) -> Result<Result<OpenAttempt, String>, Failure> {
    let Some(row) = views::call(&desk.pool, id).await.context("read the attempt")? else {
        return Ok(Err(format!("there is no attempt {id}")));
    };
    let open = store.open_attempts(&row.account).await.context("read the open attempts")?;
    let Some(open) = open.into_iter().find(|open| open.attempt_id == id) else {
        let how = row.outcome.map_or_else(String::new, |outcome| format!(" as {outcome}"));
        return Ok(Err(format!("attempt {id} has ended{how}")));
    };
    Ok(match open.state {
        OpenState::Held => Ok(open),
        OpenState::Dialing | OpenState::Placed | OpenState::InDoubt => {
            let state = open.state.as_str().replace('_', " ");
            Err(format!("attempt {id} is {state}, not held: it settles by itself or becomes held"))
        }
    })
}

fn settlement(open: &OpenAttempt, found: Found, reason: &str, finished: bool, desk: &Desk) -> Settlement {
    let (ending, word) = match found {
        Found::Placed => (Ending::Unknown, "placed"),
        Found::NotPlaced => (Ending::NotPlaced { retry_at: desk.now }, "not placed"),
    };
    let end = AttemptEnd { attempt_id: open.attempt_id, tries: open.tries, ended_at: desk.now, ending };
    // Neither ending looks at the retry rules or the history.
    let policy = RetryPolicy { max_attempts: 1, on: std::collections::BTreeMap::new(), goal: None };
    let (outcome, next) = after_attempt(&policy, &[], &end);
    Settlement {
        attempt_id: open.attempt_id,
        outcome,
        ended_at: desk.now,
        sent_at: open.sent_at,
        refused: false,
        reason: format!("settled by hand as {word}: {reason}"),
        result: None,
        next: if finished { next.in_finished_campaign() } else { next },
        suppress: None,
        inbox: Vec::new(),
    }
}
