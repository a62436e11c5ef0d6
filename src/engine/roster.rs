//! Which assistants may speak, and whether the account can place calls.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tracing::{debug, info, warn};

use crate::domain::assistant::Assistant;
use crate::domain::campaign::OnAssistantChange;
use crate::domain::id::{AccountName, AssistantId, ProviderCallId};
use crate::port::clock::Clock;
use crate::port::provider::{CallQuery, Provider};
use crate::port::store::{AssistantUse, Store, StoreError};

use super::{Account, Engine, lock};

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Reads the account's assistants; until that has worked once, the account does not dial. Answers whether it has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read_roster(&self, name: &AccountName) -> Result<bool, StoreError> {
        let account = &self.accounts[name];
        let now = self.clock.now();
        let ready = || lock(&account.roster).assistants.is_some();
        if !self.knows_campaigns() {
            // An assistant that was changed while nobody looked must not speak before that is noticed.
            return Ok(false);
        }
        self.recheck_account(name).await?;
        if self.held_lease(account).is_none() {
            // Whoever does not dial it does not look; it is read anew by whoever takes it over.
            return Ok(false);
        }
        if !account.may_read(now) {
            return Ok(ready());
        }
        let assistants = match account.provider.assistants().await {
            Ok(assistants) => assistants,
            Err(error) => {
                if !ready() {
                    warn!(provider.account = %name, "The assistants of account {name} cannot be read: {error}");
                }
                self.note_read_error(name, &error).await;
                return Ok(ready());
            }
        };
        if !ready() && lock(&account.newest_call).is_none() && account.may_read(now) {
            // Calls made before ours must not be taken for ours.
            let query = CallQuery { phone: None, since: now, until: now, page: 1 };
            if let Ok(page) = account.provider.list_calls(&query).await {
                account.saw_list(&page);
                let reports = page
                    .calls
                    .iter()
                    .filter_map(|body| account.provider.decode(crate::domain::report::Source::Call, body).ok());
                for call_id in reports.filter_map(|report| report.call_id) {
                    account.saw_call(&call_id);
                }
                if page.calls.is_empty() && !page.more {
                    // None was ever made, so whatever number the first one gets is newer.
                    account.saw_call(&ProviderCallId::new("0"));
                }
            }
        }
        self.store.save_roster(name, &assistants, now).await?;
        self.watch_for_changes(name, &assistants, now).await?;
        let active = assistants.iter().filter(|assistant| assistant.active).count();
        let before = {
            let mut roster = lock(&account.roster);
            let before = roster.assistants.replace(Arc::new(assistants));
            before.map(|before| before.iter().filter(|assistant| assistant.active).count())
        };
        match (before, active) {
            (None | Some(1..), 0) => {
                warn!(provider.account = %name, "Account {name} dials nothing: none of its assistants is active")
            }
            (None, _) => info!(provider.account = %name, "Account {name} has {active} active assistants"),
            (Some(0), _) => {
                info!(provider.account = %name, "Account {name} dials again: {active} assistants are active")
            }
            (Some(_), _) => {}
        }
        Ok(true)
    }

    /// Tells people, or pauses campaigns, when an assistant in use says something else than it did. Whether it is active
    /// makes no difference: one that is not is simply not used.
    async fn watch_for_changes(
        &self,
        name: &AccountName,
        assistants: &[Assistant],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let view = self.view();
        let mut uses = Vec::new();
        for campaign in view.campaigns() {
            let Some(definition) = campaign.dials(name) else { continue };
            let read = definition.assistants.eligible(assistants).into_iter();
            uses.extend(read.filter_map(|assistant| {
                Some(AssistantUse {
                    campaign_id: campaign.campaign_id,
                    assistant_id: assistant.assistant_id.clone(),
                    fingerprint: assistant.details.fingerprint.clone()?,
                    on_change: definition.on_assistant_change,
                    reason: format!("assistant {} ({}) was changed", assistant.assistant_id, assistant.name),
                })
            }));
        }
        if uses.is_empty() {
            return Ok(());
        }
        for change in self.store.pin_assistants(name, &uses, now).await? {
            let campaign = self.campaign_name(change.campaign_id);
            let of = |used: &&AssistantUse| {
                used.campaign_id == change.campaign_id && used.assistant_id == change.assistant_id
            };
            let (id, since) = (&change.assistant_id, change.pinned_at);
            let campaign_id = change.campaign_id;
            match uses.iter().find(of).map(|used| used.on_change) {
                Some(OnAssistantChange::Pause) if change.paused => warn!(
                    campaign.id = %campaign_id, assistant.id = %id,
                    "Campaign {campaign} is paused: assistant {id} is not what it was on {since}; \
                     `outdial campaign resume` goes on with it as it is"
                ),
                Some(OnAssistantChange::Pause) => debug!(
                    campaign.id = %campaign_id, assistant.id = %id,
                    "Assistant {id} is not what it was on {since}, and campaign {campaign} does not dial anyway"
                ),
                Some(OnAssistantChange::Warn) => warn!(
                    campaign.id = %campaign_id, assistant.id = %id,
                    "Assistant {id} of campaign {campaign} is not what it was on {since}: somebody changed it"
                ),
                Some(OnAssistantChange::Follow) | None => info!(
                    campaign.id = %campaign_id, assistant.id = %id,
                    "Campaign {campaign} goes on with assistant {id}, which was changed since {since}"
                ),
            }
        }
        Ok(())
    }

    /// How long an attempt by an assistant may occupy a line at most.
    pub(super) fn line_max(&self, account: &Account<P>, assistant_id: &AssistantId) -> SignedDuration {
        // Requests take real time, which a scaled clock makes long.
        let reading = self.clock.real_to_civil(self.settings.request_timeout);
        account.with_assistant(assistant_id, |assistant| account.settings.line_max_with(assistant, reading))
    }
}

impl<P: Provider> Account<P> {
    /// When a call just placed is read first.
    pub(super) fn first_read_after(&self, assistant_id: &AssistantId) -> SignedDuration {
        self.with_assistant(assistant_id, |assistant| self.settings.first_read_after(assistant))
    }

    fn with_assistant<T>(&self, assistant_id: &AssistantId, ask: impl FnOnce(Option<&Assistant>) -> T) -> T {
        let assistants = lock(&self.roster).assistants.clone();
        let found = assistants.iter().flat_map(|all| all.iter()).find(|known| known.assistant_id == *assistant_id);
        ask(found)
    }
}
