//! The control tables, read all the time and swapped as a whole: what may be dialed, and what stops it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::domain::calendar::{Blocked, GroupCalendar};
use crate::domain::campaign::{CampaignState, Definition};
use crate::domain::definition::parse_stored_definition;
use crate::domain::gate::WindowFacts;
use crate::domain::id::{AccountName, CallingGroupId, CampaignId};
use crate::domain::lead::Stratum;
use crate::domain::zone::GroupEvidence;
use crate::port::clock::Clock;
use crate::port::provider::Provider;
use crate::port::store::{AccountState, CampaignLists, Control, Reconciliation, Stop, Store, StoreError};

use super::{Engine, lock};

/// A view older than this opens no gate: a pause or a stop may have come since. Bounds how late a panic stop can be.
pub const VIEW_AGE_MAX: Duration = Duration::from_secs(1);

/// A consistent reading of the control tables.
pub struct View {
    read: bool,
    read_at: Instant,
    campaigns: BTreeMap<CampaignId, Arc<LiveCampaign>>,
    groups: BTreeMap<CallingGroupId, String>,
    strata: BTreeMap<CampaignId, Vec<Stratum>>,
    calendars: BTreeMap<(CampaignId, CallingGroupId), Arc<Result<GroupCalendar, Blocked>>>,
    stops: Vec<Stop>,
    account_states: BTreeMap<AccountName, AccountState>,
    reconciliations: BTreeMap<AccountName, Reconciliation>,
}

/// A campaign: one that is not finished, or one that evidence may still concern.
#[derive(Debug)]
pub struct LiveCampaign {
    /// Key.
    pub campaign_id: CampaignId,
    /// Name.
    pub name: String,
    /// Where it is in its life.
    pub state: CampaignState,
    /// Version of the row.
    pub version: i64,
    /// The last valid definition; `None` when there has been none since this daemon started.
    pub definition: Option<Arc<Definition>>,
    /// Why the row's definition is not valid.
    pub invalid: Option<String>,
}

impl LiveCampaign {
    /// Whether it has not finished.
    pub fn is_live(&self) -> bool {
        self.state != CampaignState::Finished
    }

    /// Whether leads of this campaign may be dialed by `account`, as far as the campaign goes.
    pub fn dials(&self, account: &AccountName) -> Option<&Arc<Definition>> {
        let definition = self.definition.as_ref()?;
        (self.state == CampaignState::Active && self.invalid.is_none() && definition.account == *account)
            .then_some(definition)
    }
}

impl View {
    /// A view that opens nothing.
    pub fn empty(read_at: Instant) -> Self {
        Self { read: false, ..Self::build(Control::default(), None, read_at) }
    }

    /// Reads the rows; definitions and calendars that have not changed are taken over from `before`.
    pub fn build(control: Control, before: Option<&Self>, read_at: Instant) -> Self {
        let mut campaigns = BTreeMap::new();
        for row in control.campaigns {
            let known = before.and_then(|view| view.campaigns.get(&row.campaign_id));
            let unchanged = known.filter(|known| known.version == row.version);
            let (definition, invalid) = match unchanged {
                Some(known) => (known.definition.clone(), known.invalid.clone()),
                None => match parse_stored_definition(&row.name, &row.definition) {
                    Ok(definition) => (Some(Arc::new(definition)), None),
                    Err(problems) => (known.and_then(|known| known.definition.clone()), Some(problems.to_string())),
                },
            };
            let campaign = LiveCampaign {
                campaign_id: row.campaign_id,
                name: row.name,
                state: row.state,
                version: row.version,
                definition,
                invalid,
            };
            campaigns.insert(row.campaign_id, Arc::new(campaign));
        }
        let groups: BTreeMap<_, _> = control.groups.into_iter().collect();
        let mut strata: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut calendars = BTreeMap::new();
        for stratum in control.strata {
            strata.entry(stratum.campaign_id).or_default().push(stratum);
            let key = (stratum.campaign_id, stratum.calling_group_id);
            let Some(campaign) = campaigns.get(&stratum.campaign_id) else { continue };
            if calendars.contains_key(&key) {
                continue;
            }
            let same_version = before
                .filter(|view| view.campaigns.get(&key.0).is_some_and(|known| known.version == campaign.version))
                .and_then(|view| view.calendars.get(&key));
            let calendar = match (same_version, &campaign.definition, groups.get(&stratum.calling_group_id)) {
                (Some(calendar), ..) => Arc::clone(calendar),
                (None, Some(definition), Some(evidence)) => {
                    Arc::new(GroupCalendar::new(&definition.schedule, &GroupEvidence::from_key(evidence)))
                }
                (None, ..) => continue,
            };
            calendars.insert(key, calendar);
        }
        let account_states = control.account_states.into_iter().map(|state| (state.account.clone(), state)).collect();
        let reconciliations = control.reconciliations.into_iter().map(|it| (it.account.clone(), it)).collect();
        let stops = control.stops;
        Self { read: true, read_at, campaigns, groups, strata, calendars, stops, account_states, reconciliations }
    }

    /// When it was read.
    pub fn read_at(&self) -> Instant {
        self.read_at
    }

    fn knows(&self, campaign: &LiveCampaign) -> bool {
        self.campaigns.contains_key(&campaign.campaign_id)
    }

    /// Every campaign that is not finished, and those that finished lately or have an open attempt.
    pub fn campaigns(&self) -> impl Iterator<Item = &Arc<LiveCampaign>> {
        self.campaigns.values()
    }

    /// One of them.
    pub fn campaign(&self, campaign_id: CampaignId) -> Option<&Arc<LiveCampaign>> {
        self.campaigns.get(&campaign_id)
    }

    /// The lanes of a campaign.
    pub fn strata(&self, campaign_id: CampaignId) -> &[Stratum] {
        self.strata.get(&campaign_id).map_or(&[], Vec::as_slice)
    }

    /// The key of a group's evidence.
    pub fn group_key(&self, group: CallingGroupId) -> Option<&str> {
        self.groups.get(&group).map(String::as_str)
    }

    /// The calendar of a campaign's group; absent for a group that has never had a due lead there.
    pub fn calendar(
        &self,
        campaign_id: CampaignId,
        group: CallingGroupId,
    ) -> Option<&Arc<Result<GroupCalendar, Blocked>>> {
        self.calendars.get(&(campaign_id, group))
    }

    /// What the calendar says of a group.
    pub fn window(&self, campaign_id: CampaignId, group: CallingGroupId, now: Timestamp) -> Option<WindowFacts> {
        Some(match self.calendar(campaign_id, group)?.as_ref() {
            Ok(calendar) => WindowFacts::Judged(calendar.judge(now)),
            Err(blocked) => WindowFacts::Blocked(*blocked),
        })
    }

    /// Whether the campaign's last day is over in every group's zone.
    pub fn is_over(&self, campaign_id: CampaignId, now: Timestamp) -> bool {
        let calendars: Vec<_> = self
            .calendars
            .range((campaign_id, CallingGroupId(i64::MIN))..=(campaign_id, CallingGroupId(i64::MAX)))
            .collect();
        let mut judged = calendars.iter().filter_map(|(_, calendar)| calendar.as_ref().as_ref().ok()).peekable();
        judged.peek().is_some() && judged.all(|calendar| calendar.is_over(now))
    }

    /// The panic stop that holds for an account, if any.
    pub fn stop(&self, account: &AccountName) -> Option<&Stop> {
        self.stops.iter().find(|stop| stop.account.as_ref().is_none_or(|stopped| stopped == account))
    }

    /// What is known of an account that cannot place calls.
    pub fn account_state(&self, account: &AccountName) -> Option<&AccountState> {
        self.account_states.get(account)
    }

    /// Why an account does not dial, as far as the tables say.
    pub fn account_problem(&self, account: &AccountName, now: Timestamp) -> Option<String> {
        if let Some(stop) = self.stop(account) {
            return Some(format!("stopped: {}", stop.reason));
        }
        if let Some(it) = self.reconciliation(account) {
            return Some(format!(
                "attempts since {} may be missing, and the provider's calls are compared first: {}",
                it.since, it.reason
            ));
        }
        if let Some(it) = self.calls_unknown(now) {
            return Some(format!(
                "calls of account {} since {} may be missing in the database and last until {}: whom they ring is to be known \
                 before anybody else is called",
                it.account, it.since, it.calls_over_at
            ));
        }
        self.account_state(account).and_then(|state| state.problem.clone())
    }

    /// What is to be compared with the provider's calls before an account dials.
    pub fn reconciliation(&self, account: &AccountName) -> Option<&Reconciliation> {
        self.reconciliations.get(account).filter(|it| !it.given_up)
    }

    /// Of an account whose calls were not compared yet, or could not be: they may still ring, and no account dials.
    pub fn calls_unknown(&self, now: Timestamp) -> Option<&Reconciliation> {
        self.reconciliations.values().filter(|it| it.calls_over_at > now).max_by_key(|it| it.calls_over_at)
    }
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Reads the control tables and swaps the view.
    ///
    /// # Errors
    /// When the database does not answer; the old view stays, and grows too old to dial on.
    pub async fn refresh_view(&self) -> Result<(), StoreError> {
        let read_at = self.clock.monotonic();
        let control = self.store.control().await?;
        if control.free_leases.iter().any(|account| self.accounts.contains_key(account)) {
            self.lease_wake.notify_one();
        }
        let before = self.view();
        let view = View::build(control, Some(&before), read_at);
        self.tell_changes(&before, &view);
        let now = self.clock.now();
        for campaign in view.campaigns() {
            if let Some(definition) = &campaign.definition
                && let Some(account) = self.accounts.get(&definition.account)
            {
                lock(&account.pacer).set_campaign(campaign.campaign_id, &definition.pacing, now);
            }
        }
        self.set_view(view);
        // Words for people come last: they must not keep the tables from being followed.
        let view = self.view();
        self.note_campaigns(&before, &view).await
    }

    /// Whether the control tables have been read since the start. Before that nothing is known of any campaign, and
    /// nothing may be decided.
    pub(super) fn knows_campaigns(&self) -> bool {
        self.view().read
    }

    /// Whether the view is fresh enough to dial on.
    pub fn view_is_fresh(&self, view: &View) -> bool {
        self.clock.monotonic().duration_since(view.read_at()) <= VIEW_AGE_MAX
    }

    fn tell_changes(&self, before: &View, view: &View) {
        for campaign in view.campaigns().filter(|campaign| campaign.is_live() || before.knows(campaign)) {
            let (id, name) = (campaign.campaign_id, &campaign.name);
            let known = before.campaign(id);
            if known.is_none_or(|known| known.version != campaign.version) {
                match &campaign.invalid {
                    Some(problem) => {
                        warn!(
                            campaign.id = %id, campaign.version = campaign.version,
                            "Campaign {name} is not dialed: its definition is invalid: {problem}"
                        );
                    }
                    None => {
                        info!(campaign.id = %id, campaign.version = campaign.version, "Campaign {name} is {}", campaign.state)
                    }
                }
            } else if known.is_some_and(|known| known.state != campaign.state) {
                info!(campaign.id = %id, "Campaign {name} is {}", campaign.state);
            }
        }
        for account in self.accounts.keys() {
            match (before.stop(account), view.stop(account)) {
                (None, Some(stop)) => {
                    info!(provider.account = %account, "Account {account} is stopped: {}", stop.reason)
                }
                (Some(_), None) => info!(provider.account = %account, "Account {account} may dial again"),
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }

    /// Tells people why a campaign is not dialed, where the campaign itself is the reason.
    async fn note_campaigns(&self, before: &View, view: &View) -> Result<(), StoreError> {
        let note = |campaign: &LiveCampaign| match (&campaign.invalid, &campaign.definition) {
            (Some(problem), _) => Some(problem.clone()),
            (None, Some(definition)) => match self.accounts.get(&definition.account) {
                None => Some(format!("account {} is not in this daemon's configuration", definition.account)),
                Some(account) => account.misfit(definition),
            },
            (None, None) => None,
        };
        let first_reading = before.campaigns.is_empty();
        let notes: Vec<_> = view
            .campaigns()
            .filter(|campaign| campaign.is_live())
            .filter(|campaign| {
                first_reading || before.campaign(campaign.campaign_id).is_none_or(|known| note(known) != note(campaign))
            })
            .map(|campaign| (campaign.campaign_id, note(campaign)))
            .collect();
        if !notes.is_empty() {
            self.store.note_campaigns(&notes).await?;
        }
        Ok(())
    }

    /// The lists of every campaign whose definition is valid.
    pub(super) fn campaign_lists(view: &View) -> Vec<CampaignLists> {
        view.campaigns()
            .filter(|campaign| campaign.invalid.is_none() && campaign.state != CampaignState::Finished)
            .filter_map(|campaign| {
                let definition = campaign.definition.as_ref()?;
                Some(CampaignLists {
                    campaign_id: campaign.campaign_id,
                    version: campaign.version,
                    lead_lists: definition.lead_lists.clone(),
                })
            })
            .collect()
    }
}
