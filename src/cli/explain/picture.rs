//! What the gates ask about a campaign and its account, read once.

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};

use crate::adapter::postgres::status::account_statuses;
use crate::adapter::postgres::{PostgresStore, inquiry};
use crate::cli::desk::Desk;
use crate::cli::{Failure, names, wire};
use crate::domain::attempt::OpenState;
use crate::domain::campaign::{CampaignState, Day, Definition, Pacing};
use crate::domain::definition::parse_stored_definition;
use crate::domain::gate::{BudgetWait, CampaignFacts, Facts, WindowFacts};
use crate::domain::id::{AccountName, CampaignId};
use crate::domain::lead::LeadFacts;
use crate::domain::person::{PersonFacts, PersonLimits};
use crate::port::store::{OpenAttempt, StartsOf, Store};

/// How exactly the end of a rolling day is looked for.
const DAY_SEARCH_GRAIN: SignedDuration = SignedDuration::from_secs(1);

/// A campaign and its account at one instant.
pub(super) struct Picture {
    pub store: PostgresStore,
    pub campaign_id: CampaignId,
    pub name: String,
    pub state: CampaignState,
    /// The definition, or why it cannot be used.
    pub definition: Result<Definition, String>,
    /// Why the daemon paused the campaign, if it did.
    pub paused_because: Option<String>,
    pub person_limits: PersonLimits,
    pub account_problem: Option<String>,
    pub assistants: usize,
    pub budget: Option<BudgetWait>,
    pub now: Timestamp,
}

/// What the gates ask about one lead.
#[derive(Clone, Copy)]
pub(super) struct LeadSide<'a> {
    pub lead: Option<&'a LeadFacts>,
    pub tries: u16,
    pub person: &'a PersonFacts,
    pub window: &'a WindowFacts,
    pub budget: Option<&'a BudgetWait>,
}

impl Picture {
    pub(super) async fn read(desk: &Desk, name: &str, now: Timestamp) -> Result<Self, Failure> {
        let (campaign_id, state, stored) = names::campaign(desk, name).await?;
        let store = desk.store().await?;
        let mut picture = Self {
            store,
            campaign_id,
            name: name.to_owned(),
            state,
            definition: parse_stored_definition(name, &stored)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
            paused_because: inquiry::paused_because(&desk.pool, campaign_id).await.context("read the campaign")?,
            person_limits: wire::person_limits(&desk.config),
            account_problem: None,
            assistants: 0,
            budget: None,
            now,
        };
        if let Ok(definition) = &picture.definition {
            let account = &definition.account;
            let roster = inquiry::roster(&desk.pool, account).await.context("read the assistants")?;
            picture.assistants = roster.map_or(0, |(roster, _)| definition.assistants.eligible(&roster).len());
            picture.account_problem = account_problem(&picture.store, account, desk, now).await?;
            picture.budget = budget(&picture.store, campaign_id, definition, desk, now).await?;
        }
        Ok(picture)
    }

    /// The facts of one lead.
    pub(super) fn facts<'a>(&'a self, definition: &Definition, side: LeadSide<'a>) -> Facts<'a> {
        Facts {
            lead: side.lead,
            tries: side.tries,
            person: side.person,
            person_limits: &self.person_limits,
            campaign: CampaignFacts {
                campaign_id: self.campaign_id,
                state: self.state,
                problem: self.paused_because.as_deref(),
                max_attempts: definition.retry.max_attempts,
            },
            window: side.window,
            assistants: self.assistants,
            account_problem: self.account_problem.as_deref(),
            budget: side.budget,
        }
    }
}

async fn account_problem(
    store: &PostgresStore,
    account: &AccountName,
    desk: &Desk,
    now: Timestamp,
) -> Result<Option<String>, Failure> {
    if !desk.config.accounts.contains_key(account) {
        return Ok(Some(format!("account {account} is not in the configuration")));
    }
    let view = wire::view(store).await.context("read what stops dialing")?;
    if let Some(problem) = view.account_problem(account, now) {
        return Ok(Some(problem));
    }
    let statuses = account_statuses(&desk.pool).await.context("read the accounts")?;
    let dialed = statuses.iter().any(|status| status.account == *account && status.holder.is_some());
    Ok((!dialed).then(|| format!("no daemon dials account {account}: is `outdial run` running?")))
}

/// The limit that is used up, if one is. Rates per second and minute are left out: they free by themselves within a minute.
async fn budget(
    store: &PostgresStore,
    campaign_id: CampaignId,
    definition: &Definition,
    desk: &Desk,
    now: Timestamp,
) -> Result<Option<BudgetWait>, Failure> {
    let account = &definition.account;
    let open = store.open_attempts(account).await.context("read the open attempts")?;
    let of_campaign: Vec<_> =
        open.iter().filter(|open| open.attempt_id.key().campaign_id == campaign_id).cloned().collect();
    let of_account = desk.config.accounts.get(account).map(|account| wire::pacing(&account.limits)).unwrap_or_default();
    let sides = [
        ("the account", StartsOf::Account(account), &of_account, &open),
        ("the campaign", StartsOf::Campaign(campaign_id), &definition.pacing, &of_campaign),
    ];
    let mut waits = Vec::new();
    for (whose, starts, pacing, open) in sides {
        waits.extend(lines(whose, pacing, open));
        waits.extend(day(whose, starts, pacing, store, now).await?);
    }
    // A wait whose end is known tells more; of those the longest counts.
    Ok(waits.into_iter().max_by_key(|wait| wait.until))
}

fn lines(whose: &str, pacing: &Pacing, open: &[OpenAttempt]) -> Option<BudgetWait> {
    let limit = pacing.concurrent_calls?.get();
    let used = open.iter().filter(|open| OpenState::occupies_line(open.state)).count();
    (used >= limit as usize)
        .then(|| BudgetWait { limit: format!("concurrent_calls of {whose} ({used} of {limit})"), until: None })
}

async fn day(
    whose: &str,
    starts: StartsOf<'_>,
    pacing: &Pacing,
    store: &PostgresStore,
    now: Timestamp,
) -> Result<Option<BudgetWait>, Failure> {
    let Some(cap) = pacing.calls_per_day.map(std::num::NonZeroU32::get) else { return Ok(None) };
    let begins_at = pacing.day.begins_at(now);
    if store.starts_since(starts, begins_at, cap).await.context("count the starts")? < cap {
        return Ok(None);
    }
    let until = match &pacing.day {
        Day::Civil(_) => pacing.day.ends_at(now),
        // Looks for the moment after which fewer than the cap were sent; a day later the limit frees.
        Day::Rolling => {
            let (mut full, mut free) = (begins_at, now);
            while free.duration_since(full) > DAY_SEARCH_GRAIN {
                let middle = full + free.duration_since(full) / 2;
                if store.starts_since(starts, middle, cap).await.context("count the starts")? < cap {
                    free = middle;
                } else {
                    full = middle;
                }
            }
            pacing.day.ends_at(free)
        }
    };
    Ok(Some(BudgetWait { limit: format!("calls_per_day of {whose} ({cap})"), until: Some(until) }))
}
