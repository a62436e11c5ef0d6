//! `outdial call`: one test call, through the same gates and the same daemon as every other call.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::adapter::postgres::command::Applied;
use crate::adapter::postgres::command::{NewLead, apply_campaign, copy_leads, find_or_make_list, requeue};
use crate::adapter::postgres::views::{CallFilter, CallLogRow, recent_calls};
use crate::adapter::postgres::whereabouts::{Whereabouts, find_lead};
use crate::domain::campaign::CampaignState;
use crate::domain::document::parse_duration;
use crate::domain::id::{AccountName, CampaignId};
use crate::domain::lead::Place;
use crate::domain::outcome::Disposition;
use crate::domain::phone::PhoneNumber;
use crate::domain::zone::Zone;

use super::calls::standing;
use super::desk::Desk;
use super::output::{line, utc};
use super::{Failure, Outcome, explain, names};

/// Campaigns of test calls are called this and the account's name.
pub const TEST_CAMPAIGN: &str = "outdial-test-calls-";
/// How often progress is read, real time.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the gates are asked while nothing happens, in looks.
const GATES_EVERY: u32 = 4;

/// Make one test call, through all gates; the daemon dials it.
///
/// The number is queued in a campaign of its own, outdial-test-calls-ACCOUNT, with one try, and nobody is called outside
/// of 09:00-20:00 of their own time. If a gate holds the call for longer than `--within`, it is given up.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Whom to call, with the country code.
    #[arg(long, value_name = "PHONE")]
    to: String,
    /// The account that dials.
    #[arg(long, value_name = "ACCOUNT")]
    account: String,
    /// The assistant that speaks; otherwise any active one of the account.
    #[arg(long, value_name = "ID")]
    assistant: Option<String>,
    /// Where the person is, such as Europe/Berlin. Without it, the zone that an earlier test call to this number had.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// How long the call may wait for its gates to open.
    #[arg(long, default_value = "15m", value_name = "DURATION", value_parser = span)]
    within: SignedDuration,
    /// Queue it, say what holds it, and do not wait for the call.
    #[arg(long)]
    no_wait: bool,
}

fn span(text: &str) -> Result<SignedDuration, String> {
    let span = parse_duration(text).map_err(|problem| format!("{problem}: write 15m or 1h30m"))?;
    if span.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(span) }
}

/// A queued test call.
struct TestCall<'a> {
    desk: &'a Desk,
    campaign: String,
    campaign_id: CampaignId,
    phone: PhoneNumber,
    account: AccountName,
}

pub(super) async fn run(args: &Args, desk: &Desk, out: &mut dyn Write) -> Outcome {
    let account = names::account(desk, &args.account)?;
    let phone = names::phone(&args.to, None)?;
    let zone = args.zone.as_deref().map(Zone::parse).transpose().map_err(Failure::user)?;
    let call = queue(args, desk, account, phone, zone).await?;
    let until = desk.now + args.within;
    line(
        out,
        format_args!("Queued a test call to {phone} by account {}, good until {} UTC", call.account, utc(until)),
    )?;
    if args.no_wait {
        match explain::holding_gate(desk, &call.campaign, &phone, desk.now).await? {
            Some(gate) => line(out, format_args!("Held for now by {gate}"))?,
            None => line(out, "Nothing holds it")?,
        }
        line(out, format_args!("`outdial explain --campaign {} --phone {}` tells more", call.campaign, phone.e164()))?;
        return Ok(ExitCode::SUCCESS);
    }
    call.watch(until, out).await
}

async fn queue<'a>(
    args: &Args,
    desk: &'a Desk,
    account: AccountName,
    phone: PhoneNumber,
    zone: Option<Zone>,
) -> Result<TestCall<'a>, Failure> {
    let campaign = format!("{TEST_CAMPAIGN}{account}");
    let definition = definition(&account, &campaign, args.assistant.as_deref());
    let applied = apply_campaign(&desk.pool, &campaign, &definition, CampaignState::Active, desk.now)
        .await
        .context("write the campaign of test calls")?;
    let (Applied::Created(campaign_id) | Applied::Changed(campaign_id) | Applied::Unchanged(campaign_id)) = applied;
    let (_, state, _) = names::campaign(desk, &campaign).await?;
    if state != CampaignState::Active {
        return Err(Failure::user(anyhow!(
            "campaign {campaign} is {state}, so no test call goes out; `outdial campaign resume {campaign}` changes that"
        )));
    }
    let call = TestCall { desk, campaign, campaign_id, phone, account };
    let known = call.lead().await?;
    if let Some(Whereabouts { open: Some((attempt, state, _)), .. }) = &known {
        let state = state.as_str().replace('_', " ");
        return Err(Failure::user(anyhow!("a test call to {phone} is {state} already: attempt {attempt}")));
    }
    let known_zone = known.as_ref().and_then(|found| found.row.as_ref()?.time_zone.clone());
    let Some(time_zone) = zone.map(|zone| zone.name().to_owned()).or(known_zone) else {
        return Err(Failure::user(anyhow!(
            "say where the person is, for example --zone Europe/Berlin: nobody is called where nobody knows the hour"
        )));
    };
    let list = find_or_make_list(&desk.pool, &call.campaign).await.context("make the list of test calls")?;
    let lead = NewLead {
        phone: phone.e164().to_owned(),
        time_zone: Some(time_zone),
        not_after: Some(desk.now + args.within),
        external_ref: Some(phone.e164().to_owned()),
        variables: Map::new(),
        ..NewLead::default()
    };
    copy_leads(&desk.pool, list, &[lead]).await.context("write the test call")?;
    if matches!(known.map(|found| found.place), Some(Place::Disposed { .. })) {
        requeue(&desk.pool, campaign_id, Disposition::ALL, Some(&phone), desk.now)
            .await
            .context("queue the test call")?;
    }
    Ok(call)
}

fn definition(account: &AccountName, list: &str, assistant: Option<&str>) -> Value {
    let mut definition = json!({
        "account": account,
        "lead_lists": [list],
        "schedule": { "time_zone": "lead", "windows": { "mon-sun": "00:00-24:00" } },
        "retry": { "max_attempts": 1 },
    });
    if let Some(id) = assistant {
        definition["assistants"] = json!({ "ids": [id] });
    }
    definition
}

impl TestCall<'_> {
    async fn lead(&self) -> Result<Option<Whereabouts>, Failure> {
        let now = self.desk.clock.now();
        Ok(find_lead(&self.desk.pool, self.campaign_id, &self.phone, now, now).await.context("find the test call")?)
    }

    async fn attempt(&self) -> Result<Option<CallLogRow>, Failure> {
        let filter = CallFilter {
            campaign_id: Some(self.campaign_id),
            phone: Some(self.phone),
            since: Some(self.desk.now),
            outcome: None,
        };
        Ok(recent_calls(&self.desk.pool, &filter, 1).await.context("read the attempt")?.pop())
    }

    /// Tells what happens until the call has ended, or cannot go out.
    async fn watch(&self, until: Timestamp, out: &mut dyn Write) -> Outcome {
        let mut told = String::new();
        let mut looks = 0;
        loop {
            let now = self.desk.clock.now();
            let attempt = self.attempt().await?;
            let news = match &attempt {
                Some(row) if row.outcome.is_some() && !back_in_line(row) => {
                    line(out, ended(row))?;
                    return Ok(ExitCode::SUCCESS);
                }
                Some(row) if row.outcome.is_none() => {
                    let call = row.provider_call_id.as_ref().map_or_else(String::new, |id| format!(", call {id}"));
                    Some(format!("The call is {}{call} (attempt {})", standing(row), row.attempt_id))
                }
                Some(_) | None => {
                    if let Some(why) = self.given_up(until, now).await? {
                        line(out, why)?;
                        return Ok(ExitCode::from(1));
                    }
                    self.waiting_for(looks, now).await?
                }
            };
            if let Some(news) = news.filter(|news| *news != told) {
                line(out, &news)?;
                told = news;
            }
            looks += 1;
            tokio::select! {
                () = super::run::interrupted() => {
                    line(out, "Stopped waiting; the call itself is not withdrawn")?;
                    return Ok(ExitCode::SUCCESS);
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Why the call will not go out any more.
    async fn given_up(&self, until: Timestamp, now: Timestamp) -> Result<Option<String>, Failure> {
        let Some(found) = self.lead().await? else { return Ok(None) };
        let fresh = |at: Timestamp| at > self.desk.now;
        if let (Place::Disposed { disposition, .. }, Some((reason, at))) = (&found.place, &found.disposed)
            && fresh(*at)
        {
            return Ok(Some(format!("The call did not go out: {disposition}, {reason}")));
        }
        let waiting = matches!(found.place, Place::Due(_) | Place::Nowhere | Place::Disposed { .. });
        Ok((waiting && now > until).then(|| "The call did not go out in its time and is given up".to_owned()))
    }

    async fn waiting_for(&self, looks: u32, now: Timestamp) -> Result<Option<String>, Failure> {
        if !looks.is_multiple_of(GATES_EVERY) || looks == 0 {
            return Ok(None);
        }
        let gate = explain::holding_gate(self.desk, &self.campaign, &self.phone, now).await?;
        Ok(gate.map(|gate| format!("Waiting for {gate}")))
    }
}

/// Nothing rang and the try was given back.
fn back_in_line(row: &CallLogRow) -> bool {
    row.outcome.is_some_and(|outcome| !outcome.counts_as_try() && outcome != crate::domain::outcome::Outcome::Rejected)
}

fn ended(row: &CallLogRow) -> String {
    let reason = row.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("The call ended: {}{reason}\n`outdial calls show {}` shows all of it", standing(row), row.attempt_id)
}
