//! Which assistant speaks.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::campaign::{AssistantChoice, Pick};
use super::id::{AssistantId, LeadId};

/// An assistant as its provider describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assistant {
    /// Its id.
    pub assistant_id: AssistantId,
    /// Its name.
    pub name: String,
    /// Only active assistants are ever used.
    pub active: bool,
    /// The provider's own status word.
    pub status: String,
    /// Engine mode, `pipeline` or `multimodal` in the Autocalls family.
    pub mode: Option<String>,
    /// The provider's id of its language.
    pub language_id: Option<i64>,
    /// Where the provider sends post-call webhooks, if it does.
    pub webhook_url: Option<String>,
    /// Variables it declares.
    pub variables: Vec<String>,
    /// What only some providers, and some of their lists, tell.
    pub details: AssistantDetails,
}

/// What else a provider tells of an assistant; absent where it does not. Prompts and messages are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssistantDetails {
    /// The longest call it makes.
    pub call_max: Option<SignedDuration>,
    /// Whether it hangs up on a machine.
    pub ends_on_voicemail: Option<bool>,
    /// Whether it has an address for webhooks and they are switched off.
    pub webhook_off: bool,
    /// Whether webhooks come for completed calls only.
    pub webhook_only_completed: Option<bool>,
    /// Its own IANA zone, as written at the provider.
    pub time_zone: Option<String>,
    /// The provider's id of the number it calls from.
    pub phone_number_id: Option<String>,
    /// Those of its variables that have a value of their own.
    pub filled_variables: Vec<String>,
    /// Variables that its prompt or first message names, declared or not.
    pub named_variables: Vec<String>,
    /// What it says and how, in short.
    pub fingerprint: Option<Fingerprint>,
}

/// A digest of everything that decides what an assistant says and how: two readings with the same digest are the same
/// assistant to the person who is called. Its name and whether it is active are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Takes a digest as it is.
    pub fn new(digest: impl Into<String>) -> Self {
        Self(digest.into())
    }

    /// The digest.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Assistant {
    /// Whether the end of each of its calls is reported to an address that begins with `address`, answered or not. Then
    /// reading calls is only a precaution.
    pub fn reports_every_end(&self, address: Option<&str>) -> bool {
        let ours = |url: &str| address.is_some_and(|address| url.trim().starts_with(address));
        self.details.webhook_only_completed == Some(false) && self.webhook_url.as_deref().is_some_and(ours)
    }
}

impl AssistantChoice {
    /// The active assistants this choice allows, in the order of their ids.
    pub fn eligible<'a>(&self, roster: &'a [Assistant]) -> Vec<&'a Assistant> {
        let mut eligible: Vec<_> =
            roster.iter().filter(|assistant| assistant.active && self.allows(assistant)).collect();
        eligible.sort_by(|a, b| a.assistant_id.cmp(&b.assistant_id));
        eligible
    }

    fn allows(&self, assistant: &Assistant) -> bool {
        (self.ids.is_empty() || self.ids.contains(&assistant.assistant_id))
            && (self.names.is_empty() || self.names.iter().any(|pattern| name_matches(pattern, &assistant.name)))
            && self.language_id.is_none_or(|id| assistant.language_id == Some(id))
            && self.mode.as_ref().is_none_or(|mode| assistant.mode.as_ref() == Some(mode))
    }
}

/// What a pick depends on besides the assistants themselves.
#[derive(Clone, Copy, Debug)]
pub struct PickFacts<'a> {
    /// Who is called.
    pub lead_id: LeadId,
    /// Who spoke with this lead before, if anyone.
    pub last: Option<&'a AssistantId>,
    /// Counts picks; the engine advances it.
    pub turn: u64,
    /// Open attempts of each assistant.
    pub busy: &'a BTreeMap<AssistantId, u32>,
}

/// Picks one of the eligible assistants; `None` when there is none.
pub fn pick<'a>(how: Pick, eligible: &[&'a Assistant], facts: PickFacts<'_>) -> Option<&'a Assistant> {
    if eligible.is_empty() {
        return None;
    }
    let in_turn = |turn: u64| eligible[(turn % eligible.len() as u64) as usize];
    Some(match how {
        Pick::RoundRobin => in_turn(facts.turn),
        Pick::LeastBusy => eligible
            .iter()
            .min_by_key(|assistant| facts.busy.get(&assistant.assistant_id).copied().unwrap_or(0))
            .copied()
            .expect("checked not to be empty"),
        Pick::Sticky => eligible
            .iter()
            .find(|assistant| Some(&assistant.assistant_id) == facts.last)
            .copied()
            .unwrap_or_else(|| in_turn(facts.lead_id.0.unsigned_abs())),
    })
}

/// Whether a name matches a pattern in which `*` stands for any text; letter case does not count.
fn name_matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_lowercase();
    let name = name.to_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((tail, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assistant(id: &str, name: &str, active: bool) -> Assistant {
        Assistant {
            assistant_id: AssistantId::new(id),
            name: name.to_owned(),
            active,
            status: if active { "active" } else { "inactive" }.to_owned(),
            mode: Some("pipeline".to_owned()),
            language_id: Some(1),
            webhook_url: None,
            variables: Vec::new(),
            details: AssistantDetails::default(),
        }
    }

    #[track_caller]
    fn check_reports(webhook_url: Option<&str>, only_completed: Option<bool>, address: Option<&str>, expected: bool) {
        let details = AssistantDetails { webhook_only_completed: only_completed, ..AssistantDetails::default() };
        let webhook_url = webhook_url.map(str::to_owned);
        let assistant = Assistant { webhook_url, details, ..assistant("1", "A", true) };
        assert_eq!(assistant.reports_every_end(address), expected, "{assistant:?}");
    }

    #[test]
    fn only_a_webhook_of_ours_for_every_call_reports_every_end() {
        const OURS: Option<&str> = Some("https://dial.example.org/webhook/main/");
        check_reports(Some("https://dial.example.org/webhook/main/token"), Some(false), OURS, true);
        check_reports(Some("https://dial.example.org/webhook/main/token"), Some(true), OURS, false);
        check_reports(Some("https://dial.example.org/webhook/main/token"), None, OURS, false);
        check_reports(Some("https://elsewhere.example.org/"), Some(false), OURS, false);
        check_reports(Some("https://dial.example.org/webhook/main/token"), Some(false), None, false);
        check_reports(None, Some(false), OURS, false);
    }

    #[track_caller]
    fn check(pattern: &str, name: &str, matches: bool) {
        assert_eq!(name_matches(pattern, name), matches, "{pattern:?} against {name:?}");
    }

    #[test]
    fn patterns_match_names() {
        check("Sales *", "sales Outbound", true);
        check("Sales *", "Presales x", false);
        check("*sales*", "Presales x", true);
        check("a*b*c", "axxbyyc", true);
        check("a*b*c", "axxbyy", false);
        check("a*a", "a", false);
        check("*", "", true);
        check("exact", "EXACT", true);
        check("exact", "exactly", false);
    }

    #[test]
    fn inactive_assistants_are_never_eligible() {
        let roster =
            [assistant("2", "Sales B", true), assistant("1", "Sales A", true), assistant("3", "Sales C", false)];
        let choice = AssistantChoice { names: vec!["Sales *".to_owned()], ..AssistantChoice::default() };
        let ids: Vec<_> = choice.eligible(&roster).iter().map(|a| a.assistant_id.as_str()).collect();
        assert_eq!(ids, ["1", "2"]);
        let by_id = AssistantChoice { ids: vec![AssistantId::new("3")], ..AssistantChoice::default() };
        assert!(by_id.eligible(&roster).is_empty());
        let by_mode = AssistantChoice { mode: Some("multimodal".to_owned()), ..AssistantChoice::default() };
        assert!(by_mode.eligible(&roster).is_empty());
    }

    #[test]
    fn picks_follow_their_rule() {
        let roster = [assistant("1", "A", true), assistant("2", "B", true)];
        let eligible: Vec<_> = roster.iter().collect();
        let two = AssistantId::new("2");
        let busy = BTreeMap::from([(AssistantId::new("1"), 3)]);
        let facts = PickFacts { lead_id: LeadId(4), last: Some(&two), turn: 0, busy: &busy };
        let id = |how, facts| pick(how, &eligible, facts).map(|a| a.assistant_id.as_str());
        assert_eq!(id(Pick::RoundRobin, facts), Some("1"));
        assert_eq!(id(Pick::RoundRobin, PickFacts { turn: 1, ..facts }), Some("2"));
        assert_eq!(id(Pick::LeastBusy, facts), Some("2"));
        assert_eq!(id(Pick::Sticky, facts), Some("2"));
        assert_eq!(id(Pick::Sticky, PickFacts { last: None, ..facts }), Some("1"));
        assert_eq!(pick(Pick::RoundRobin, &[], facts), None);
    }
}
