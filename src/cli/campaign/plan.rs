//! `outdial campaign plan`: what applying campaign files would change, and what that means for leads. Changes nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use crate::adapter::postgres::inquiry::{existing_lists, roster};
use crate::adapter::postgres::outlook::{StoredCampaign, compare};
use crate::cli::desk::Desk;
use crate::cli::output::{
    Format, Listing, count, grouped, json as write_json, line, numbers, show as show_table, table,
};
use crate::cli::{Failure, Outcome};
use crate::domain::campaign::{CampaignState, Definition};
use crate::domain::definition::parse_stored_definition;
use crate::domain::id::CampaignId;

use super::difference::{Difference, differences, shown};
use super::outlook::{Change, Effect, Outlook, Standing, look_ahead};
use super::{Given, read};

/// Exit code that says that there are changes, where it is asked for.
const CHANGES: u8 = 2;

/// What is to be planned.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Exit with 2 when there are changes, 0 when there are none, and 1 when a file is wrong or something fails.
    #[arg(long)]
    exit_code: bool,
    /// How many leads to name for each effect.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    examples: u16,
    #[command(flatten)]
    listing: Listing,
}

pub(super) async fn plan(args: &PlanArgs, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let changed = match plan_all(args, desk, out).await {
        Ok(changed) => changed,
        // With this option the code of a user's mistake has another meaning.
        Err(Failure::User(problem)) if args.exit_code => return Err(Failure::World(problem)),
        Err(failure) => return Err(failure),
    };
    Ok(if changed && args.exit_code { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

/// Answers whether there are changes.
async fn plan_all(args: &PlanArgs, desk: &Desk, out: &mut dyn Write) -> Result<bool, Failure> {
    let given = read(&args.files, desk)?;
    let mut plans = Vec::new();
    for one in &given {
        let plan = plan_one(one, args, desk).await?;
        if args.listing.output == Format::Table {
            plan.write(out)?;
        }
        plans.push(plan);
    }
    let changes = plans.iter().filter(|plan| plan.change != Kind::None).count();
    match args.listing.output {
        Format::Json => {
            let campaigns: Vec<_> = plans.iter().map(Plan::as_json).collect();
            write_json(out, &json!({ "changes": changes, "campaigns": campaigns }))?;
        }
        Format::Table if changes == 0 => line(out, "No changes: the database has what the files say")?,
        Format::Table => {
            let campaigns = count(changes as u64, "campaign", "campaigns");
            line(out, format_args!("{campaigns} would change; nothing was. `outdial campaign apply` does it"))?;
        }
    }
    Ok(changes > 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    New,
    Changed,
    None,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::None => "none",
        }
    }
}

/// What applying one campaign would do.
struct Plan {
    name: String,
    stored: Option<(CampaignId, CampaignState)>,
    change: Kind,
    differences: Vec<Difference>,
    /// What else is worth knowing.
    remarks: Vec<String>,
    /// `None` where no lead can be affected.
    outlook: Option<Outlook>,
}

async fn plan_one(given: &Given, args: &PlanArgs, desk: &Desk) -> Result<Plan, Failure> {
    let Given { name, written, definition, .. } = given;
    let stored = compare(&desk.pool, name, written).await.context("read the campaign")?;
    let change = match &stored {
        None => Kind::New,
        Some(stored) if stored.differs => Kind::Changed,
        Some(_) => Kind::None,
    };
    let mut plan = Plan {
        name: name.clone(),
        stored: stored.as_ref().map(|stored| (stored.campaign_id, stored.state)),
        change,
        differences: Vec::new(),
        remarks: Vec::new(),
        outlook: None,
    };
    if change == Kind::None {
        return Ok(plan);
    }
    let now = stored.as_ref().map(|stored| parse_stored_definition(name, &stored.definition));
    if let Some(stored) = &stored {
        plan.differences = differences(&stored.definition, written);
        plan.remarks.extend(remark_on_state(stored));
        if matches!(now, Some(Err(_))) {
            plan.remarks.push("Its stored definition is invalid, so it is not dialed".to_owned());
        }
    }
    let now = now.and_then(Result::ok);
    plan.remarks.extend(remark_on_assistants(now.as_ref(), definition, desk).await?);
    let found = existing_lists(&desk.pool, &definition.lead_lists).await.context("read the lead lists")?;
    for list in definition.lead_lists.iter().filter(|list| !found.contains(list)) {
        plan.remarks.push(format!("There is no lead list {list:?} yet"));
    }
    if stored.as_ref().is_some_and(|stored| stored.state == CampaignState::Finished) {
        return Ok(plan);
    }
    let change = Change {
        campaign_id: stored.as_ref().map_or(CampaignId(0), |stored| stored.campaign_id),
        state: stored.as_ref().map_or(CampaignState::Active, |stored| stored.state),
        now: now.as_ref(),
        new: stored.is_none(),
        then: definition,
        examples: usize::from(args.examples),
    };
    let outlook = look_ahead(&change, desk).await?;
    if outlook.over_then && change.state == CampaignState::Active {
        plan.remarks.push("Its last day would be over: it finishes, and leads that wait expire".to_owned());
    }
    plan.outlook = Some(outlook);
    Ok(plan)
}

fn remark_on_state(stored: &StoredCampaign) -> Option<String> {
    match stored.state {
        CampaignState::Active => None,
        CampaignState::Draft | CampaignState::Paused => Some(format!(
            "It is {}: nobody is called until it is resumed, and leads are judged as if it were",
            stored.state
        )),
        CampaignState::Finishing => Some("It is finishing: nobody new comes in".to_owned()),
        CampaignState::Finished => Some("It is finished: no lead follows".to_owned()),
    }
}

/// Said where it changes or where nobody could speak.
async fn remark_on_assistants(
    now: Option<&Definition>,
    then: &Definition,
    desk: &Desk,
) -> Result<Option<String>, Failure> {
    let Some((seen, _)) = roster(&desk.pool, &then.account).await.context("read the assistants")? else {
        return Ok(Some(format!("No daemon has read the assistants of account {} yet", then.account)));
    };
    let after = then.assistants.eligible(&seen).len();
    let before = match now {
        Some(now) if now.account == then.account => Some(now.assistants.eligible(&seen).len()),
        Some(_) | None => None,
    };
    let matching = |number: usize| count(number as u64, "active assistant matches", "active assistants match");
    Ok(match before {
        Some(before) if before != after => Some(format!("{} now, {} then", matching(before), grouped(after as u64))),
        Some(_) if after > 0 => None,
        None if after > 0 => None,
        Some(_) | None => Some("No active assistant matches it: nobody could be called".to_owned()),
    })
}

// ---- writing -------------------------------------------------------------------------------------------------------

impl Plan {
    fn write(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let name = &self.name;
        match (self.change, self.stored) {
            (Kind::None, _) => return line(out, format_args!("Campaign {name}: no changes")),
            (_, Some((id, state))) => line(out, format_args!("Campaign {name} (number {id}, {state}) would change:"))?,
            (_, None) => line(out, format_args!("Campaign {name} would be new"))?,
        }
        if !self.differences.is_empty() {
            let mut table = table(&["key", "in the database", "in the file"]);
            for difference in &self.differences {
                table.add_row([
                    difference.key.clone(),
                    shown(difference.stored.as_ref()),
                    shown(difference.written.as_ref()),
                ]);
            }
            show_table(out, &table)?;
        }
        for remark in &self.remarks {
            line(out, format_args!("  {remark}"))?;
        }
        if let Some(outlook) = &self.outlook {
            write_outlook(outlook, out)?;
        }
        line(out, "")
    }

    fn as_json(&self) -> Value {
        let differences: Vec<_> = self
            .differences
            .iter()
            .map(|difference| {
                json!({ "key": difference.key, "stored": difference.stored, "written": difference.written })
            })
            .collect();
        json!({
            "name": self.name,
            "campaign_id": self.stored.map(|(id, _)| id),
            "state": self.stored.map(|(_, state)| state),
            "change": self.change.word(),
            "differences": differences,
            "remarks": self.remarks,
            "leads": self.outlook.as_ref().map(outlook_json),
        })
    }
}

fn write_outlook(outlook: &Outlook, out: &mut dyn Write) -> Result<(), Failure> {
    if outlook.leads() == 0 {
        return line(out, "No lead is affected: its lists are empty");
    }
    let mut table = table(&["leads now", "then", "leads", "for example", "because"]);
    numbers(&mut table, [2]);
    for ((now, then), way) in &outlook.ways {
        let examples: Vec<_> = way.examples.iter().map(ToString::to_string).collect();
        let then = if now == then { "the same".to_owned() } else { then.to_string() };
        table.add_row([now.to_string(), then, grouped(way.leads), examples.join(", "), way.why.clone()]);
    }
    show_table(out, &table)?;
    let effects: Vec<_> =
        Effect::ALL.iter().map(|effect| format!("{} {}", grouped(outlook.effect(*effect)), effect.words())).collect();
    line(out, format_args!("In all: {}", effects.join(", ")))?;
    if outlook.tries_now != outlook.tries_then || outlook.tries_lost > 0 {
        line(
            out,
            format_args!(
                "Tries left: {} now, {} then; {} lost",
                grouped(outlook.tries_now),
                grouped(outlook.tries_then),
                grouped(outlook.tries_lost)
            ),
        )?;
    }
    Ok(())
}

fn outlook_json(outlook: &Outlook) -> Value {
    let word = |standing: Standing| standing.to_string();
    let ways: Vec<_> = outlook
        .ways
        .iter()
        .map(|((now, then), way)| {
            json!({
                "now": word(*now),
                "then": word(*then),
                "effect": Effect::of(*now, *then).key(),
                "leads": way.leads,
                "for_example": way.examples,
                "because": way.why,
            })
        })
        .collect();
    let mut value = json!({ "leads": outlook.leads(), "ways": ways });
    for effect in Effect::ALL {
        value[effect.key()] = json!(outlook.effect(effect));
    }
    value["tries_left"] = json!({ "now": outlook.tries_now, "then": outlook.tries_then, "lost": outlook.tries_lost });
    value
}
