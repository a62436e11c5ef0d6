//! What `check` says about an account's assistants: which there are, and what would make a campaign with them go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::Value;
use sqlx::PgPool;

use crate::adapter::postgres::inquiry::{FilledCount, filled_counts};
use crate::cli::Failure;
use crate::cli::output::{grouped, line, show, table};
use crate::config::AccountConfig;
use crate::domain::assistant::Assistant;
use crate::domain::campaign::{CampaignState, Definition};
use crate::domain::definition::parse_stored_definition;
use crate::domain::document::show_duration;
use crate::port::store::{Control, StoreError};

/// Leads of each list whose variables are looked at: the newest ones tell how leads come in.
const LEADS_MAX: u32 = 2_000;
/// Variables looked at for one campaign, and named in one line.
const VARIABLES_MAX: usize = 200;
const NAMED_MAX: usize = 8;

/// A campaign that dials, or may.
pub(super) struct Campaign {
    pub(super) name: String,
    pub(super) definition: Definition,
}

/// The campaigns whose definitions can be read; what is wrong with the others, `campaign show` says.
pub(super) fn campaigns(control: Control) -> Vec<Campaign> {
    let dials = |state| matches!(state, CampaignState::Draft | CampaignState::Active | CampaignState::Paused);
    control
        .campaigns
        .into_iter()
        .filter(|row| dials(row.state))
        .filter_map(|row| {
            let definition = parse_stored_definition(&row.name, &row.definition).ok()?;
            Some(Campaign { name: row.name, definition })
        })
        .collect()
}

impl Campaign {
    /// Variables that its assistants ask for and that neither it nor all of its leads have. One line for each assistant.
    pub(super) async fn warnings(
        &self,
        pool: &PgPool,
        assistants: &[Assistant],
        correlation_variable: &str,
    ) -> Result<Vec<String>, StoreError> {
        let eligible = self.definition.assistants.eligible(assistants);
        if eligible.is_empty() {
            return Ok(vec![format!("campaign {}: no active assistant matches it", self.name)]);
        }
        let given = |name: &&String| {
            *name == correlation_variable
                || self.definition.variables.get(*name).is_some_and(|value| !is_nothing(value))
        };
        let asked = |assistant: &Assistant| -> BTreeSet<String> {
            let all = assistant.details.named_variables.iter().chain(&assistant.variables);
            all.filter(|name| !given(name)).cloned().collect()
        };
        let all: BTreeSet<String> = eligible.iter().flat_map(|assistant| asked(assistant)).collect();
        let all: Vec<String> = all.into_iter().take(VARIABLES_MAX).collect();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let counts = filled_counts(pool, &self.definition.lead_lists, &all, LEADS_MAX).await?;
        let lacking: BTreeMap<&str, &FilledCount> = counts
            .iter()
            .filter(|count| count.filled < count.leads)
            .map(|count| (count.variable.as_str(), count))
            .collect();
        let mut warnings = Vec::new();
        for assistant in eligible {
            let lacks: Vec<String> = asked(assistant)
                .iter()
                .filter_map(|name| lacking.get(name.as_str()))
                .map(|count| lack(count, assistant.details.filled_variables.contains(&count.variable)))
                .collect();
            if lacks.is_empty() {
                continue;
            }
            let more = lacks.len().saturating_sub(NAMED_MAX);
            let more = if more == 0 { String::new() } else { format!(", and {more} more") };
            let named = lacks.into_iter().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
            let (id, name) = (&assistant.assistant_id, &assistant.name);
            warnings.push(format!("campaign {}: assistant {id} ({name}) asks for {named}{more}", self.name));
        }
        Ok(warnings)
    }
}

fn lack(count: &FilledCount, own_value: bool) -> String {
    let who = match count.leads - count.filled {
        missing if missing == count.leads => "no lead has it".to_owned(),
        missing => format!("{} of {} leads lack it", grouped(missing), grouped(count.leads)),
    };
    let instead = if own_value { "; its own value stands in" } else { "" };
    format!("{} ({who}{instead})", count.variable)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}

pub(super) fn write_table(assistants: &[Assistant], out: &mut dyn Write) -> Result<(), Failure> {
    if assistants.is_empty() {
        return line(out, "  assistants: none for outbound calls");
    }
    let mut sorted: Vec<_> = assistants.iter().collect();
    sorted.sort_by(|a, b| b.active.cmp(&a.active).then_with(|| a.name.cmp(&b.name)));
    let mut table = table(&["assistant", "name", "active", "status", "mode", "language", "longest call"]);
    for assistant in sorted {
        table.add_row([
            assistant.assistant_id.to_string(),
            assistant.name.clone(),
            if assistant.active { "yes" } else { "no" }.to_owned(),
            assistant.status.clone(),
            assistant.mode.clone().unwrap_or_default(),
            assistant.language_id.map_or_else(String::new, |id| id.to_string()),
            assistant.details.call_max.map_or_else(String::new, show_duration),
        ]);
    }
    show(out, &table)
}

/// What would make results late, lose their way or come after all patience; only of assistants that dial. `ours` is the
/// whole address of our webhook, if there is one.
pub(super) fn warnings(assistants: &[Assistant], account: &AccountConfig, ours: Option<&str>) -> Vec<String> {
    let correlation_variable = &account.correlation_variable;
    let mut warnings = Vec::new();
    for assistant in assistants.iter().filter(|assistant| assistant.active) {
        let (id, name) = (&assistant.assistant_id, &assistant.name);
        if let Some(call_max) = assistant.details.call_max.filter(|call_max| *call_max > account.call_max) {
            warnings.push(format!(
                "assistant {id} ({name}) may talk for {}, longer than call_max ({}): such a call would be held before it ends",
                show_duration(call_max),
                show_duration(account.call_max)
            ));
        }
        if !assistant.variables.contains(correlation_variable) {
            warnings.push(format!(
                "assistant {id} ({name}) does not declare the variable {correlation_variable}: results may lose their attempt"
            ));
        }
        let Some(ours) = ours else { continue };
        match assistant.webhook_url.as_deref().map(str::trim).filter(|url| !url.is_empty()) {
            None if assistant.details.webhook_off => {
                warnings.push(format!("assistant {id} ({name}) has its webhook switched off: its results are polled"));
            }
            None => warnings.push(format!("assistant {id} ({name}) has no webhook: its results are polled")),
            Some(url) if url.trim_end_matches('/') != ours => {
                // Of a foreign address only the host is shown: its path may be a secret of someone else's.
                let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
                let host = host.unwrap_or_else(|| "somewhere else".to_owned());
                warnings.push(format!("assistant {id} ({name}) sends its results to another address, at {host}"));
            }
            Some(_) => {}
        }
    }
    warnings
}
