//! What the engine says of itself while it works: counts of what it did, numbers for whoever watches, a line for each
//! minute. Nothing here decides anything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tracing::info;

use crate::domain::calendar::Openness;
use crate::domain::campaign::CampaignState;
use crate::domain::gate::WindowFacts;
use crate::domain::id::{AccountName, CampaignId};
use crate::domain::outcome::Outcome;
use crate::port::clock::Clock;
use crate::port::metric;
use crate::port::provider::{NotPlaced, PlaceReply, Provider};
use crate::port::reading::{LaneDue, Readings};
use crate::port::store::Store;

use super::driver::Freshness;
use super::view::{LiveCampaign, View};
use super::{Account, Engine, lock};

/// A line that says nothing new is written each so many minutes.
const SAME_LINE_EVERY: u32 = 15;

/// What this process did for a campaign by an account since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests whose first byte has left.
    pub starts: u64,
    /// Attempts that ended.
    pub outcomes: BTreeMap<Outcome, u64>,
}

/// What this process did since it started.
pub type Tallies = BTreeMap<(AccountName, CampaignId), Tally>;

impl Tally {
    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else { return self.clone() };
        let outcomes = self.outcomes.iter().filter_map(|(outcome, count)| {
            let grown = count - before.outcomes.get(outcome).copied().unwrap_or(0);
            (grown > 0).then_some((*outcome, grown))
        });
        Self { starts: self.starts - before.starts, outcomes: outcomes.collect() }
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }
}

/// What due leads wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitsFor {
    /// Rates, lines, or a gate of their own.
    Ready,
    /// Their calling window.
    Window,
    /// A change: nobody can say what time it is where they are.
    Blocked,
    /// Their campaign, which is not active or not valid.
    Campaign,
    /// Their account.
    Account,
}

impl WaitsFor {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Window, Self::Blocked, Self::Campaign, Self::Account];

    /// The word in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Window => "window",
            Self::Blocked => "blocked",
            Self::Campaign => "campaign",
            Self::Account => "account",
        }
    }
}

/// Why nothing starts, or less than one might think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One of the words in `docs/logs.md`.
    pub reason: &'static str,
    /// A sentence.
    pub text: String,
}

impl Why {
    fn new(reason: &'static str, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

/// What was said a minute ago.
#[derive(Debug, Default)]
pub struct Minutes {
    before: Tallies,
    campaigns: BTreeMap<CampaignId, Said>,
    accounts: BTreeMap<AccountName, Said>,
}

#[derive(Debug, Default)]
struct Said {
    content: String,
    minutes_ago: u32,
}

impl Said {
    /// Whether a line is worth writing. What says that something happened always is.
    fn is_news(&mut self, content: String, happened: bool) -> bool {
        self.minutes_ago += 1;
        let news = happened || self.content != content || self.minutes_ago >= SAME_LINE_EVERY;
        if news {
            *self = Self { content, minutes_ago: 0 };
        }
        news
    }
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// A request's first byte leaves.
    pub(super) fn note_start(&self, name: &AccountName, campaign_id: CampaignId, ready_at: Timestamp, now: Timestamp) {
        metric::STARTS.add([name.as_str()], 1);
        metric::LATENESS.record([name.as_str()], now.duration_since(ready_at).as_secs_f64().max(0.0));
        lock(&self.tallies).entry((name.clone(), campaign_id)).or_default().starts += 1;
    }

    /// The provider has answered, or has not.
    pub(super) fn note_reply(&self, name: &AccountName, sent_at: Option<Timestamp>, reply: &PlaceReply) {
        metric::REPLIES.add([name.as_str(), word(reply)], 1);
        if let Some(sent_at) = sent_at {
            let took = self.clock.civil_to_real(self.clock.now().duration_since(sent_at));
            let result = if matches!(reply, PlaceReply::Unknown { .. }) { "failed" } else { "ok" };
            metric::PROVIDER_REQUESTS.record([name.as_str(), "place", result], took.as_secs_f64());
        }
    }

    /// An attempt has ended.
    pub(super) fn note_ended(&self, name: &AccountName, campaign_id: CampaignId, outcome: Outcome) {
        metric::FINISHED.add([name.as_str(), outcome.as_str()], 1);
        let mut tallies = lock(&self.tallies);
        *tallies.entry((name.clone(), campaign_id)).or_default().outcomes.entry(outcome).or_default() += 1;
    }

    /// What this process did since it started.
    pub fn tallies(&self) -> Tallies {
        lock(&self.tallies).clone()
    }

    /// Tells the numbers that are known without the database.
    pub fn set_gauges(&self, freshness: &Freshness) {
        let now = self.clock.now();
        for (name, account) in &self.accounts {
            let name = name.as_str();
            metric::LEASE_HELD.flag([name], self.held_lease(account).is_some());
            if let Some(limit) = account.settings().limits.concurrent_calls {
                metric::LINES_LIMIT.count([name], limit.get().into());
            }
            metric::STARTS_LIMIT.set([name], lock(&account.pacer).allowed_per_minute(now));
        }
        metric::REPLICAS.count([], self.replicas_alive().into());
        metric::CLOCK_SKEW.set([], self.clock.skew().unwrap_or_default().as_secs_f64());
        for (pass, overdue) in freshness.overdue(self.clock.monotonic()) {
            let (pass, account) = pass.split_once(' ').unwrap_or((&pass, ""));
            metric::PASS_OVERDUE.set([pass, account], overdue.as_secs_f64());
        }
    }

    /// Whether this replica speaks for an account: it dials it, or nobody does.
    pub fn speaks_for(&self, name: &AccountName, readings: &Readings) -> bool {
        let holder = readings.holders.get(name);
        self.accounts.contains_key(name) && holder.is_none_or(|owner| *owner == self.settings().owner)
    }

    /// How many leads wait for what, by the accounts this replica speaks for.
    pub fn waiting(&self, readings: &Readings) -> BTreeMap<(AccountName, CampaignId, WaitsFor), u64> {
        let (view, now) = (self.view(), self.clock.now());
        let mut waiting = BTreeMap::new();
        for LaneDue { lane, due, .. } in &readings.lanes {
            let Some(campaign) = view.campaign(lane.campaign_id) else { continue };
            let Some(definition) = &campaign.definition else { continue };
            let name = &definition.account;
            let Some(account) = self.accounts.get(name).filter(|_| self.speaks_for(name, readings)) else { continue };
            let window = view.window(lane.campaign_id, lane.calling_group_id, now);
            let waits_for = match window {
                _ if campaign.dials(name).is_none() || account.misfit(definition).is_some() => WaitsFor::Campaign,
                _ if self.account_problem(&view, account, now).is_some() => WaitsFor::Account,
                Some(WindowFacts::Judged(Openness::Open { .. })) => WaitsFor::Ready,
                Some(WindowFacts::Blocked(_)) => WaitsFor::Blocked,
                Some(WindowFacts::Judged(Openness::Closed { .. })) | None => WaitsFor::Window,
            };
            *waiting.entry((name.clone(), lane.campaign_id, waits_for)).or_default() += due;
        }
        waiting
    }

    /// Writes what happened since the last call: a line for each campaign and account, unless it would say nothing new.
    pub fn tell_minute(&self, readings: &Readings, minutes: &mut Minutes) {
        let (view, now, tallies) = (self.view(), self.clock.now(), self.tallies());
        // The daemon's own end is no news of who did nothing: what was said last of them still holds.
        let ends = self.draining();
        let mut starts_of: BTreeMap<&AccountName, u64> = BTreeMap::new();
        for ((name, campaign_id), tally) in &tallies {
            let before = minutes.before.get(&(name.clone(), *campaign_id));
            *starts_of.entry(name).or_default() += tally.since(before).starts;
        }
        for campaign in view.campaigns() {
            let Some(name) = campaign.definition.as_ref().map(|definition| &definition.account) else { continue };
            let key = (name.clone(), campaign.campaign_id);
            let tally = tallies.get(&key).map(|tally| tally.since(minutes.before.get(&key))).unwrap_or_default();
            let happened = tally != Tally::default();
            let known_account = self.accounts.contains_key(name);
            if !happened && (!campaign.is_live() || known_account && !self.speaks_for(name, readings)) {
                continue;
            }
            let minute = self.minute_of(&view, campaign, name, tally, readings, now);
            let said = minutes.campaigns.entry(campaign.campaign_id).or_default();
            if said.is_news(minute.content(), happened) && (happened || !ends) {
                minute.tell();
            }
        }
        for (name, account) in self.accounts.iter().filter(|(name, _)| self.speaks_for(name, readings)) {
            let starts = starts_of.get(name).copied().unwrap_or(0);
            let lines = readings.lines(name);
            let limited =
                self.account_stop(&view, account, readings, now).or_else(|| self.account_limit(account, lines, now));
            let rate = lock(&account.pacer).allowed_per_minute(now);
            let content = format!("{lines} {rate} {:?}", limited.as_ref().map(|why| why.reason));
            if minutes.accounts.entry(name.clone()).or_default().is_news(content, starts > 0) && (starts > 0 || !ends) {
                tell_account(name, starts, lines, account, rate, limited.as_ref());
            }
        }
        minutes.before = tallies;
        minutes.campaigns.retain(|campaign_id, _| view.campaign(*campaign_id).is_some());
    }

    fn minute_of(
        &self,
        view: &View,
        campaign: &LiveCampaign,
        name: &AccountName,
        tally: Tally,
        readings: &Readings,
        now: Timestamp,
    ) -> Minute {
        let id = campaign.campaign_id;
        let lanes: Vec<&LaneDue> = readings.lanes.iter().filter(|lane| lane.lane.campaign_id == id).collect();
        let of_campaign = || readings.open.iter().filter(|group| group.campaign_id == id);
        let lines: u64 = of_campaign().filter(|group| group.state.occupies_line()).map(|group| group.count).sum();
        let open: u64 = of_campaign().map(|group| group.count).sum();
        let due = lanes.iter().map(|lane| lane.due).sum();
        let idle = (tally.starts == 0).then(|| self.why_idle(view, campaign, &lanes, lines, readings, now)).flatten();
        Minute {
            campaign_id: id,
            name: campaign.name.clone(),
            account: name.clone(),
            state: campaign.state,
            tally,
            due,
            next_due_at: lanes.iter().filter_map(|lane| lane.next_due_at).min(),
            open: lines,
            held: open - lines,
            idle,
        }
    }

    /// Why a campaign starts nothing; `None` where nobody can say it from afar.
    fn why_idle(
        &self,
        view: &View,
        campaign: &LiveCampaign,
        lanes: &[&LaneDue],
        lines: u64,
        readings: &Readings,
        now: Timestamp,
    ) -> Option<Why> {
        if let Some(problem) = &campaign.invalid {
            return Some(Why::new("definition", format!("its definition is invalid: {problem}")));
        }
        if campaign.state != CampaignState::Active {
            return Some(Why::new("state", format!("it is {}", campaign.state)));
        }
        let definition = campaign.definition.as_ref()?;
        let Some(account) = self.accounts.get(&definition.account) else {
            let text = format!("account {} is not in this daemon's configuration", definition.account);
            return Some(Why::new("account_unknown", text));
        };
        if let Some(misfit) = account.misfit(definition) {
            return Some(Why::new("definition", misfit));
        }
        let due: Vec<_> = lanes.iter().filter(|lane| lane.due > 0).collect();
        if due.is_empty() {
            return Some(match lanes.iter().filter_map(|lane| lane.next_due_at).min() {
                Some(at) => Why::new("not_due", format!("its next lead is due {at}")),
                None => Why::new("empty", "no lead waits"),
            });
        }
        if let Some(stop) = self.account_stop(view, account, readings, now) {
            return Some(stop);
        }
        let windows: Vec<_> =
            due.iter().filter_map(|lane| view.window(campaign.campaign_id, lane.lane.calling_group_id, now)).collect();
        let is_open = |window: &WindowFacts| matches!(window, WindowFacts::Judged(Openness::Open { .. }));
        if !windows.iter().any(is_open) {
            let opens_at = windows.iter().filter_map(|window| match window {
                WindowFacts::Judged(Openness::Closed { opens_at, .. }) => Some(*opens_at),
                WindowFacts::Judged(Openness::Open { .. }) | WindowFacts::Blocked(_) => None,
            });
            let opens_at: Vec<_> = opens_at.collect();
            if opens_at.is_empty() && !windows.is_empty() {
                return Some(Why::new("blocked", "nobody can say what time it is where its due leads are"));
            }
            return Some(match opens_at.into_iter().flatten().min() {
                Some(at) => Why::new("window", format!("its calling windows are closed until {at}")),
                None => Why::new("window", "its calling windows are closed"),
            });
        }
        let assistants = lock(&account.roster).assistants.clone().unwrap_or_default();
        let available = self.available(account, &assistants, now);
        if definition.assistants.eligible(&available).is_empty() {
            return Some(Why::new("assistants", "none of its assistants is active and accepted by the provider"));
        }
        if let Some(limit) = self.account_limit(account, readings.lines(&definition.account), now) {
            return Some(limit);
        }
        let pacing = &definition.pacing;
        if pacing.concurrent_calls.is_some_and(|limit| lines >= limit.get().into()) {
            return Some(Why::new("lines", "all lines of the campaign are in use"));
        }
        if pacing.calls_per_day.is_some_and(|cap| account.day_is_used(Some(campaign.campaign_id), cap.get())) {
            return Some(Why::new("day_limit", "all calls of the campaign's day are started"));
        }
        let wait = lock(&account.pacer).wait(campaign.campaign_id, now);
        if wait > jiff::SignedDuration::ZERO {
            return Some(Why::new("pacing", format!("its rate allows the next call in {wait:#}")));
        }
        Some(Why::new("gate", "its due leads wait for gates of their own: see `outdial explain`"))
    }

    /// Why an account starts nothing at all.
    fn account_stop(&self, view: &View, account: &Account<P>, readings: &Readings, now: Timestamp) -> Option<Why> {
        let name = &account.name;
        if !self.view_is_fresh(view) {
            return Some(Why::new("database", "the database has not answered for more than a second"));
        }
        if let Some(stop) = view.stop(name) {
            return Some(Why::new("stopped", format!("it is stopped: {}", stop.reason)));
        }
        if let Some(it) = view.reconciliation(name) {
            return Some(Why::new("reconciliation", format!("attempts since {} may be missing", it.since)));
        }
        if let Some(it) = view.calls_unknown(now) {
            let why = format!("calls of account {} since {} may be missing, and still ring", it.account, it.since);
            return Some(Why::new("reconciliation", why));
        }
        let standing = || lock(&account.health).problem().map(str::to_owned);
        if let Some(problem) = view.account_problem(name, now).or_else(standing) {
            return Some(Why::new("provider", problem));
        }
        if let Some(problem) = self.clock_problem() {
            return Some(Why::new("clock", problem));
        }
        if self.draining() {
            return Some(Why::new("draining", "the daemon is draining"));
        }
        if !readings.holders.contains_key(name) {
            return Some(Why::new("lease", "no daemon dials the account"));
        }
        match &lock(&account.roster).assistants {
            None => Some(Why::new("assistants", "the account's assistants have not been read yet")),
            Some(all) if !all.iter().any(|assistant| assistant.active) => {
                Some(Why::new("assistants", "none of the account's assistants is active"))
            }
            Some(_) => account.held_back(now).map(|reason| Why::new("provider_limits", reason)),
        }
    }

    /// Why an account starts less than one might think.
    fn account_limit(&self, account: &Account<P>, lines: u64, now: Timestamp) -> Option<Why> {
        let settings = account.settings();
        let limits = &settings.limits;
        if limits.calls_per_day.is_some_and(|cap| account.day_is_used(None, cap.get())) {
            return Some(Why::new("day_limit", "all calls of its day are started"));
        }
        if let Some(limit) = limits.concurrent_calls.filter(|limit| lines >= limit.get().into()) {
            return Some(Why::new("lines", format!("all {limit} lines of the account are in use")));
        }
        let pacer = lock(&account.pacer);
        pacer.is_throttled(now).then(|| {
            let rate = pacer.allowed_per_minute(now);
            Why::new(
                "provider_limits",
                format!("it starts at most {rate:.1} calls a minute, as the provider refuses more"),
            )
        })
    }
}

/// What a campaign did in a minute, and where it stands.
struct Minute {
    campaign_id: CampaignId,
    name: String,
    account: AccountName,
    state: CampaignState,
    tally: Tally,
    due: u64,
    next_due_at: Option<Timestamp>,
    open: u64,
    held: u64,
    idle: Option<Why>,
}

impl Minute {
    /// What makes it news.
    fn content(&self) -> String {
        let idle = self.idle.as_ref().map(|why| why.reason);
        format!("{} {} {} {} {idle:?}", self.state, self.due, self.open, self.held)
    }

    fn tell(&self) {
        let Self { name, tally, due, open, held, idle, .. } = self;
        let (starts, ended) = (tally.starts, tally.outcomes.values().sum::<u64>());
        let nothing_starts = idle.as_ref().map_or_else(String::new, |why| format!("; nothing starts: {}", why.text));
        info!(
            event = "campaign_summary",
            campaign.id = self.campaign_id.0,
            campaign.name = %name,
            campaign.state = self.state.as_str(),
            provider.account = %self.account,
            starts,
            answered = tally.of(Outcome::Answered),
            voicemail = tally.of(Outcome::Voicemail),
            no_answer = tally.of(Outcome::NoAnswer),
            busy = tally.of(Outcome::Busy),
            failed = tally.of(Outcome::Failed),
            rejected = tally.of(Outcome::Rejected),
            canceled = tally.of(Outcome::Canceled),
            not_placed = tally.of(Outcome::NotPlaced),
            unknown = tally.of(Outcome::Unknown),
            due,
            next_due_at = self.next_due_at.map(tracing::field::display),
            open,
            held,
            idle.reason = idle.as_ref().map(|why| why.reason),
            idle.why = idle.as_ref().map(|why| why.text.as_str()),
            "Campaign {name}: {starts} starts, {ended} ends, {due} due, {open} open, {held} held{nothing_starts}"
        );
    }
}

fn tell_account<P: Provider>(
    name: &AccountName,
    starts: u64,
    lines: u64,
    account: &Account<P>,
    rate: f64,
    limited: Option<&Why>,
) {
    let limit = account.settings().limits.concurrent_calls.map(std::num::NonZeroU32::get);
    let because = limited.map_or_else(String::new, |why| format!("; limited: {}", why.text));
    info!(
        event = "account_summary",
        provider.account = %name,
        starts,
        lines,
        lines_limit = limit,
        starts_per_minute_limit = rate,
        limited.reason = limited.map(|why| why.reason),
        limited.why = limited.map(|why| why.text.as_str()),
        "Account {name}: {starts} starts, {lines} lines in use{because}"
    );
}

fn word(reply: &PlaceReply) -> &'static str {
    match reply {
        PlaceReply::Placed { .. } => "placed",
        PlaceReply::Unknown { .. } => "in_doubt",
        PlaceReply::NotPlaced(reason) => match reason {
            NotPlaced::Unsent(_) => "unsent",
            NotPlaced::Unreachable { .. } => "unreachable",
            NotPlaced::RateLimited { .. } => "rate_limited",
            NotPlaced::NumberRefused { .. } => "number_refused",
            NotPlaced::AccountStopped(_) => "account_stopped",
            NotPlaced::AssistantGone { .. } => "assistant_gone",
            NotPlaced::Refused { .. } => "refused",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_the_difference_of_two_tallies() {
        let tally = |starts, answered, busy| Tally {
            starts,
            outcomes: BTreeMap::from([(Outcome::Answered, answered), (Outcome::Busy, busy)]),
        };
        let minute = tally(7, 4, 2).since(Some(&tally(5, 4, 1)));
        assert_eq!(minute, Tally { starts: 2, outcomes: BTreeMap::from([(Outcome::Busy, 1)]) });
        assert_eq!(tally(7, 4, 2).since(None), tally(7, 4, 2));
        assert_eq!(tally(7, 4, 2).since(Some(&tally(7, 4, 2))), Tally::default());
    }

    #[test]
    fn a_line_that_says_nothing_new_is_rare() {
        let mut said = Said::default();
        let mut lines = |content: &str, happened| said.is_news(content.to_owned(), happened);
        assert!(lines("3 due", false));
        assert_eq!((0..30).filter(|_| lines("3 due", false)).count(), 2, "each quarter of an hour");
        assert!(lines("2 due", false), "it has changed");
        assert!(lines("2 due", true) && lines("2 due", true), "something happened");
    }
}
