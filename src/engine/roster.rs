//! Which assistants may speak, and whether the account can place calls.

use std::sync::Arc;

use tracing::{info, warn};

use crate::domain::id::{AccountName, ProviderCallId};
use crate::port::clock::Clock;
use crate::port::provider::{CallQuery, Provider};
use crate::port::store::{Store, StoreError};

use super::{Engine, lock};

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Reads the account's assistants; until that has worked once, the account does not dial. Answers whether it has.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn read_roster(&self, name: &AccountName) -> Result<bool, StoreError> {
        let account = &self.accounts[name];
        let now = self.clock.now();
        let ready = || lock(&account.roster).assistants.is_some();
        self.recheck_account(name).await?;
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
}
