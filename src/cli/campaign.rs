//! `outdial campaign`: campaigns are planned, applied, listed, paused, resumed and finished.

mod difference;
mod outlook;
mod plan;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::adapter::postgres::command::{Applied, apply_campaign, set_campaign_state};
use crate::adapter::postgres::inquiry::existing_lists;
use crate::adapter::postgres::views::{CampaignProgress, campaign_progress, outcome_counts};
use crate::config::parse_campaign_file;
use crate::domain::campaign::{CampaignState, Definition};

use super::call::TEST_CAMPAIGN;
use super::desk::Desk;
use super::output::{
    Format, Listing, count, counted, grouped, json as write_json, line, numbers, show as show_table, table, utc,
};
use super::{Failure, Outcome, names};

/// Plan, apply, look at and steer campaigns.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "what is flattened brings its own help")]
pub enum CampaignCommand {
    /// Write campaigns from YAML files to the database.
    ///
    /// May be repeated: what is the same stays as it is. A new campaign begins to dial at once, unless `--draft` is given;
    /// one that exists keeps its state, and its leads follow the new definition at once. When anything is wrong with any
    /// file, nothing is written.
    Apply {
        /// Files; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write new campaigns as drafts: `campaign resume` starts them.
        #[arg(long)]
        draft: bool,
    },
    /// Show what applying campaign files would change, and what that means for leads.
    ///
    /// Compares the files with the database, key by key, and judges every lead of the lists that are dialed now or would
    /// be by the rules the daemon follows. Changes nothing. Where nothing differs it says so, which also tells whether
    /// somebody has changed a campaign in the database since its file was applied.
    Plan(plan::PlanArgs),
    /// List all campaigns with their leads.
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one campaign: where its leads are, how its attempts ended, what it says.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Dial nothing more for a campaign until it is resumed.
    ///
    /// Calls under way end by themselves; no lead is lost.
    Pause {
        /// Its name.
        name: String,
    },
    /// Let a paused campaign, or a draft, dial.
    ///
    /// If it was paused because an assistant was changed at the provider, it goes on with the assistants as they are now.
    Resume {
        /// Its name.
        name: String,
    },
    /// End a campaign for good.
    ///
    /// Leads that wait are taken out as removed, calls under way end by themselves. This cannot be undone.
    Finish {
        /// Its name.
        name: String,
    },
}

pub(super) async fn run(command: &CampaignCommand, desk: &Desk, out: &mut dyn Write) -> Outcome {
    match command {
        CampaignCommand::Apply { files, draft } => apply(files, *draft, desk, out).await,
        CampaignCommand::Plan(args) => plan::plan(args, desk, out).await,
        CampaignCommand::List { listing } => list(listing.output, desk, out).await,
        CampaignCommand::Show { name, listing } => show(name, listing.output, desk, out).await,
        CampaignCommand::Pause { name } => steer(name, &PAUSE, desk, out).await,
        CampaignCommand::Resume { name } => steer(name, &RESUME, desk, out).await,
        CampaignCommand::Finish { name } => steer(name, &FINISH, desk, out).await,
    }
}

// ---- apply ---------------------------------------------------------------------------------------------------------

struct Given {
    file: String,
    name: String,
    written: Value,
    definition: Definition,
}

async fn apply(files: &[PathBuf], draft: bool, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let given = read(files, desk)?;
    let state = if draft { CampaignState::Draft } else { CampaignState::Active };
    for Given { name, written, definition, .. } in &given {
        let applied = apply_campaign(&desk.pool, name, written, state, desk.now).await.context("write the campaign")?;
        let over = definition.schedule.over_everywhere(desk.now);
        let (id, what) = match applied {
            Applied::Created(id) if draft => (id, "created as a draft"),
            Applied::Created(id) if over.is_some() => (id, "created"),
            Applied::Created(id) => (id, "created; it dials as soon as its windows are open"),
            Applied::Changed(id) => (id, "changed; its leads follow at once"),
            Applied::Unchanged(id) => (id, "unchanged"),
        };
        line(out, format_args!("Campaign {name} (number {id}): {what}"))?;
        if let Some(day) = over {
            line(out, format_args!("  its last day, {day}, is over: nobody is called"))?;
        }
        let found = existing_lists(&desk.pool, &definition.lead_lists).await.context("read the lead lists")?;
        for list in definition.lead_lists.iter().filter(|list| !found.contains(list)) {
            line(out, format_args!("  there is no lead list {list:?} yet: `outdial leads import FILE --list {list}`"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads and checks everything before anything is written.
fn read(files: &[PathBuf], desk: &Desk) -> Result<Vec<Given>, Failure> {
    let mut problems: Vec<String> = Vec::new();
    let mut given: Vec<Given> = Vec::new();
    for path in files {
        let file = path.display().to_string();
        let text = match text_of(path) {
            Ok(text) => text,
            Err(problem) => {
                problems.push(format!("{file}\n  cannot be read: {problem}"));
                continue;
            }
        };
        match parse_campaign_file(&text, &file) {
            Ok(campaigns) => {
                given.extend(campaigns.into_iter().map(|(name, written, definition)| Given {
                    file: file.clone(),
                    name,
                    written,
                    definition,
                }));
            }
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    for (index, one) in given.iter().enumerate() {
        if let Some(other) = given[..index].iter().find(|other| other.name == one.name) {
            let (file, name) = (&one.file, &one.name);
            problems.push(format!("{file}  campaigns[{name}]\n  the name is used in {} too: rename one", other.file));
        }
        if one.name.starts_with(TEST_CAMPAIGN) {
            let (file, name) = (&one.file, &one.name);
            problems.push(format!("{file}  campaigns[{name}]\n  names in {TEST_CAMPAIGN}… belong to `outdial call`"));
        }
        let (file, name) = (&one.file, &one.name);
        if let Some(notify) = &one.definition.notify
            && !desk.config.webhooks.contains_key(&notify.webhook)
        {
            let known: Vec<_> = desk.config.webhooks.keys().cloned().collect();
            let (Failure::User(problem) | Failure::World(problem)) = names::unknown("webhook", &notify.webhook, &known);
            problems.push(format!(
                "{file}  campaigns[{name}].notify.webhook\n  {problem}\n  webhooks are named in the configuration"
            ));
        }
        match names::account(desk, one.definition.account.as_str()) {
            Ok(account) => {
                if let Some(problem) = desk.config.accounts[&account].call_options_problem(&one.definition.call) {
                    problems.push(format!("{file}  campaigns[{name}].call\n  {problem}"));
                }
            }
            Err(Failure::User(problem) | Failure::World(problem)) => {
                problems.push(format!("{file}  campaigns[{name}].account\n  {problem}"));
            }
        }
    }
    if problems.is_empty() {
        return Ok(given);
    }
    let total = count(problems.len() as u64, "problem", "problems");
    Err(Failure::user(anyhow!("{}\n\n{total}; nothing was changed", problems.join("\n\n"))))
}

fn text_of(path: &Path) -> std::io::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

// ---- list and show -------------------------------------------------------------------------------------------------

async fn list(format: Format, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let campaigns = campaign_progress(&desk.pool, None).await.context("read the campaigns")?;
    match format {
        Format::Json => write_json(out, &Value::Array(campaigns.iter().map(as_json).collect()))?,
        Format::Table if campaigns.is_empty() => {
            line(out, "There are no campaigns. `outdial campaign apply FILE` writes one.")?;
        }
        Format::Table => show_table(out, &overview(&campaigns))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Campaigns and where their leads are, as a table.
pub(super) fn overview(campaigns: &[CampaignProgress]) -> comfy_table::Table {
    let mut table = table(&["campaign", "state", "due", "open", "held", "done", "note"]);
    numbers(&mut table, 2..=5);
    for campaign in campaigns {
        let done: i64 = campaign.disposed.iter().map(|(_, count)| count).sum();
        let note = match (&campaign.note, campaign.enrolling) {
            (Some(note), _) => note.lines().next().unwrap_or_default().to_owned(),
            (None, true) => "leads are being taken in".to_owned(),
            (None, false) => String::new(),
        };
        table.add_row([
            campaign.name.clone(),
            campaign.state.to_string(),
            grouped(counted(campaign.due)),
            grouped(counted(campaign.open)),
            grouped(counted(campaign.held)),
            grouped(counted(done)),
            note,
        ]);
    }
    table
}

/// A campaign's progress for programs.
pub(super) fn as_json(campaign: &CampaignProgress) -> Value {
    let disposed: serde_json::Map<_, _> =
        campaign.disposed.iter().map(|(disposition, count)| (disposition.to_string(), json!(count))).collect();
    json!({
        "campaign_id": campaign.campaign_id,
        "name": campaign.name,
        "state": campaign.state,
        "note": campaign.note,
        "version": campaign.version,
        "due": campaign.due,
        "open": campaign.open,
        "held": campaign.held,
        "disposed": disposed,
        "enrolling": campaign.enrolling,
        "changed_at": campaign.changed_at,
        "finished_at": campaign.finished_at,
    })
}

async fn show(name: &str, format: Format, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let (id, _, definition) = names::campaign(desk, name).await?;
    let Some(progress) = campaign_progress(&desk.pool, Some(name)).await.context("read the campaign")?.pop() else {
        return Err(Failure::user(anyhow!("campaign {name:?} was deleted just now")));
    };
    let outcomes = outcome_counts(&desk.pool, id).await.context("read the attempts")?;
    let word = |outcome: Option<crate::domain::outcome::Outcome>| {
        outcome.map_or_else(|| "still open".to_owned(), |outcome| outcome.to_string())
    };
    if format == Format::Json {
        let mut value = as_json(&progress);
        let counts: serde_json::Map<_, _> =
            outcomes.iter().map(|(outcome, count)| (word(*outcome).replace(' ', "_"), json!(count))).collect();
        value["attempts"] = Value::Object(counts);
        value["definition"] = definition;
        write_json(out, &value)?;
        return Ok(ExitCode::SUCCESS);
    }
    line(out, format_args!("Campaign {name} (number {id}, version {}) is {}", progress.version, progress.state))?;
    if let Some(note) = &progress.note {
        line(out, format_args!("It is not dialed: {note}"))?;
    }
    line(out, format_args!("Last change {} UTC", utc(progress.changed_at)))?;
    let mut leads = table(&["leads", "count"]);
    numbers(&mut leads, [1]);
    for (what, number) in [("due", progress.due), ("open", progress.open), ("held", progress.held)] {
        leads.add_row([what.to_owned(), grouped(counted(number))]);
    }
    for (disposition, number) in progress.disposed.iter().filter(|(_, number)| *number > 0) {
        leads.add_row([disposition.to_string(), grouped(counted(*number))]);
    }
    show_table(out, &leads)?;
    if !outcomes.is_empty() {
        let mut attempts = table(&["attempts", "count"]);
        numbers(&mut attempts, [1]);
        for (outcome, number) in outcomes {
            attempts.add_row([word(outcome), grouped(counted(number))]);
        }
        show_table(out, &attempts)?;
    }
    line(out, format_args!("Definition:\n{definition:#}"))?;
    Ok(ExitCode::SUCCESS)
}

// ---- pause, resume, finish -----------------------------------------------------------------------------------------

/// A way a person may move a campaign.
struct Move {
    verb: &'static str,
    from: &'static [CampaignState],
    to: CampaignState,
}

const PAUSE: Move = Move { verb: "paused", from: &[CampaignState::Active], to: CampaignState::Paused };
const RESUME: Move =
    Move { verb: "resumed", from: &[CampaignState::Draft, CampaignState::Paused], to: CampaignState::Active };
const FINISH: Move = Move {
    verb: "finished",
    from: &[CampaignState::Draft, CampaignState::Active, CampaignState::Paused],
    to: CampaignState::Finishing,
};

async fn steer(name: &str, way: &Move, desk: &Desk, out: &mut dyn Write) -> Outcome {
    // Names the near ones when there is none.
    names::campaign(desk, name).await?;
    let before =
        set_campaign_state(&desk.pool, name, way.from, way.to, desk.now).await.context("change the campaign")?;
    let before = before.ok_or_else(|| Failure::user(anyhow!("campaign {name:?} was deleted just now")))?;
    if before == way.to || (way.to == CampaignState::Finishing && before == CampaignState::Finished) {
        line(out, format_args!("Campaign {name} is {before} already"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !way.from.contains(&before) {
        let from: Vec<_> = way.from.iter().map(|state| state.as_str()).collect();
        return Err(Failure::user(anyhow!(
            "campaign {name} is {before}: only a campaign that is {} can be {}",
            from.join(" or "),
            way.verb
        )));
    }
    let progress = campaign_progress(&desk.pool, Some(name)).await.context("read the campaign")?.pop();
    let (due, open, held) =
        progress.map_or((0, 0, 0), |found| (counted(found.due), counted(found.open), counted(found.held)));
    line(out, format_args!("Campaign {name} was {before} and is {}", way.to))?;
    match way.to {
        CampaignState::Paused => {
            let due = count(due, "due lead waits", "due leads wait");
            line(out, format_args!("  {due} until it is resumed"))?;
        }
        CampaignState::Active => {
            let due = count(due, "due lead", "due leads");
            line(out, format_args!("  {due}, dialed as soon as every gate is open"))?;
        }
        CampaignState::Finishing => {
            let due = count(due, "due lead is", "due leads are");
            line(out, format_args!("  {due} taken out as removed; this cannot be undone"))?;
        }
        CampaignState::Draft | CampaignState::Finished => {}
    }
    if open > 0 && way.to != CampaignState::Active {
        let calls = count(open, "call under way ends by itself", "calls under way end by themselves");
        line(out, format_args!("  {calls}"))?;
    }
    if held > 0 {
        line(
            out,
            format_args!(
                "  {} for evidence or `outdial resolve`",
                count(held, "held attempt waits", "held attempts wait")
            ),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
