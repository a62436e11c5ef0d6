//! What one seed plays: accounts with their quirks, campaigns, leads, faults, and how often replicas die.
//!
//! Civil spans are counted in units of one real second, so that a scaled clock changes nothing but the rules' own fixed
//! spans: a run of a few real minutes then covers hours of windows and retries.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::domain::campaign::{Day, Pacing};
use crate::domain::id::AccountName;
use crate::domain::person::PersonLimits;
use crate::engine::settings::AccountSettings;

/// How long a request may be on its way when its sender is dead, real time.
pub(super) const ON_THE_WIRE_MAX: Duration = Duration::from_secs(10);

/// Everything that is decided before the run begins.
pub(super) struct Scenario {
    pub factor: u32,
    pub origin: Timestamp,
    pub accounts: Vec<AccountPlan>,
    pub campaigns: Vec<CampaignPlan>,
    pub leads: Vec<LeadPlan>,
    pub lists: Vec<String>,
    pub person: PersonLimits,
    pub faults: Faults,
    pub replicas: usize,
    /// The longest a process is stopped, real time; zero: none is.
    pub stop_max: Duration,
    /// How long after a process vanished a request of its may still arrive, as the daemon is told.
    pub zombie_horizon: Duration,
    /// How long faults, crashes and people go on, real time.
    pub chaos_for: Duration,
    /// How long what is left may then take, real time.
    pub calm_for: Duration,
}

/// One account at the provider.
#[derive(Clone)]
pub(super) struct AccountPlan {
    pub settings: AccountSettings,
    /// Answers carry the call's id.
    pub ids: bool,
    /// Reports carry our token.
    pub echo: bool,
    /// Reports say when the call was made, with a zone.
    pub dated: bool,
    /// Calls of former days are listed.
    pub former_calls: bool,
    pub page_size: usize,
    pub assistants: u32,
}

/// One campaign, in a form that the judge reads as easily as the definition is written from it.
#[derive(Clone, Debug)]
pub(super) struct CampaignPlan {
    pub name: String,
    pub account: usize,
    pub lists: Vec<usize>,
    /// One zone for all, or the lead's own with this default.
    pub fixed_zone: Option<&'static str>,
    pub default_zone: Option<&'static str>,
    /// Minutes of the day; an end before the begin lies on the next day.
    pub windows: Vec<(i64, i64)>,
    /// Every so many minutes of the hour, for so many minutes.
    pub runs: Option<(i64, i64)>,
    pub per_second: Option<u32>,
    pub per_minute: Option<u32>,
    pub lines: Option<u32>,
    pub per_day: Option<u32>,
    pub retry_units: i64,
    pub max_attempts: u16,
    pub goal: bool,
    pub finish_when_done: bool,
    pub pick: &'static str,
    /// The definition is broken; nothing may be dialed.
    pub invalid: bool,
}

/// One lead as its owner writes it.
#[derive(Clone, Debug)]
pub(super) struct LeadPlan {
    pub list: usize,
    pub phone: String,
    pub zone: Option<&'static str>,
    pub priority: u8,
    /// Civil seconds after the origin.
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
}

/// How likely each fault is, in each place where it can strike.
#[derive(Clone, Copy)]
pub(super) struct Faults {
    pub store: f64,
    pub place: f64,
    pub read: f64,
    pub webhook: f64,
    pub user: f64,
    /// A statement takes some time.
    pub late: f64,
    /// Some statements take seconds.
    pub slow: bool,
    /// A machine's clock is set to another time.
    pub clock_set: f64,
    /// The database goes back to what it was.
    pub goes_back: f64,
    /// Boots of each machine that end by force or by a drain.
    pub boots: u32,
}

pub(super) const ZONES: [Option<&str>; 12] = [
    Some("Europe/Berlin"),
    Some("Europe/Berlin"),
    Some("Europe/Berlin"),
    Some("Europe/Paris"),
    Some("Africa/Lagos"),
    Some("Africa/Lagos"),
    Some("Europe/London"),
    Some("Asia/Kolkata"),
    Some("America/New_York"),
    None,
    None,
    Some("Mars/Olympus"),
];

impl Scenario {
    /// The scenario of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed ^ 0x05ce_4a51_0000_0000);
        let dice = &mut dice;
        let factor = pick(dice, &[1, 1, 4, 20]);
        // Where windows and the legal bound open and close, and in the middle of the day.
        let (hour, minute) = pick(dice, &[(8, 58), (8, 59), (10, 30), (13, 0), (15, 29), (19, 57), (6, 59)]);
        let local = date(2026, 3, 2).at(hour, minute, dice.random_range(0..60), 0);
        let origin = TimeZone::get("Europe/Berlin").unwrap().to_timestamp(local).unwrap();
        let account_count = dice.random_range(1..=2);
        let accounts: Vec<_> = (0..account_count).map(|index| account(dice, index, factor)).collect();
        let lists: Vec<String> = (0..dice.random_range(1..=3)).map(|index| format!("list-{index}")).collect();
        let campaigns = (0..dice.random_range(1..=3))
            .map(|index| campaign(dice, index, accounts.len(), lists.len(), (hour, minute), factor))
            .collect();
        let lead_count = dice.random_range(10..=30);
        let phones = dice.random_range(lead_count / 2..=lead_count);
        let leads = (0..lead_count).map(|_| lead(dice, lists.len(), phones, factor)).collect();
        let unit = i64::from(factor);
        let person = PersonLimits {
            calls_per_day: pick(dice, &[None, None, Some(2), Some(4)]),
            day: Day::Rolling,
            min_gap_between_campaigns: SignedDuration::from_secs(pick(dice, &[0, 0, 15, 40]) * unit),
        };
        let rate = |dice: &mut ChaCha8Rng, rates: &[f64]| pick(dice, rates);
        let mut faults = Faults {
            store: rate(dice, &[0.0, 0.002, 0.01, 0.05]),
            place: rate(dice, &[0.0, 0.1, 0.3, 0.6]),
            read: rate(dice, &[0.0, 0.05, 0.2]),
            webhook: rate(dice, &[0.1, 0.4, 1.0]),
            user: rate(dice, &[0.0, 0.05, 0.2]),
            late: rate(dice, &[0.0, 0.05, 0.3]),
            slow: dice.random_bool(0.3),
            clock_set: 0.0,
            goes_back: 0.0,
            boots: dice.random_range(0..=5),
        };
        let replicas = pick(dice, &[1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
        let stop_max = Duration::from_secs(pick(dice, &[0, 0, 8, 20, 60]));
        let chaos_for = Duration::from_secs(dice.random_range(45..=110));
        faults.clock_set = rate(dice, &[0.0, 0.0, 0.3, 0.7]);
        faults.goes_back = rate(dice, &[0.0, 0.0, 0.0, 0.1, 0.3]);
        Self {
            factor,
            origin,
            accounts,
            campaigns,
            leads,
            lists,
            person,
            faults,
            replicas,
            stop_max,
            zombie_horizon: stop_max + ON_THE_WIRE_MAX + Duration::from_secs(5),
            chaos_for,
            calm_for: Duration::from_secs(900),
        }
    }
}

fn account(dice: &mut ChaCha8Rng, index: usize, factor: u32) -> AccountPlan {
    let unit = i64::from(factor);
    let units = |count: i64| SignedDuration::from_secs(count * unit);
    let limits = Pacing {
        calls_per_second: NonZeroU32::new(pick(dice, &[0, 1, 2, 5])),
        calls_per_minute: NonZeroU32::new(pick(dice, &[0, 20, 60, 120])),
        concurrent_calls: NonZeroU32::new(pick(dice, &[0, 1, 2, 3, 6])),
        calls_per_day: NonZeroU32::new(pick(dice, &[0, 0, 0, 12])),
        day: Day::Rolling,
    };
    AccountPlan {
        settings: AccountSettings {
            name: AccountName::new(format!("account-{index}")),
            limits,
            requests_per_minute: pick(dice, &[None, Some(100)]),
            requests_burst: None,
            webhook_address: None,
            list_lag_max: pick(dice, &[None, Some(units(8)), Some(units(8))]),
            ring_max: units(10),
            call_max: units(30),
            settle_after: units(5),
            roster_period: Duration::from_secs(10),
        },
        ids: dice.random_bool(0.6),
        echo: dice.random_bool(0.7),
        dated: dice.random_bool(0.5),
        former_calls: dice.random_bool(0.7),
        page_size: pick(dice, &[2, 5, 100]),
        assistants: dice.random_range(1..=3),
    }
}

fn campaign(
    dice: &mut ChaCha8Rng,
    index: usize,
    accounts: usize,
    lists: usize,
    (hour, minute): (i8, i8),
    factor: u32,
) -> CampaignPlan {
    let mut lists: Vec<usize> = (0..lists).filter(|_| dice.random_bool(0.7)).collect();
    if lists.is_empty() {
        lists.push(0);
    }
    let mut plan = CampaignPlan {
        name: format!("campaign-{index}"),
        account: dice.random_range(0..accounts),
        lists,
        fixed_zone: pick(dice, &[None, None, Some("Europe/Berlin"), Some("Asia/Tokyo")]),
        default_zone: None,
        windows: Vec::new(),
        runs: pick(dice, &[None, None, None, Some((5, 3))]),
        per_second: pick(dice, &[None, Some(1), Some(3)]),
        per_minute: pick(dice, &[None, Some(30), Some(60)]),
        lines: pick(dice, &[None, Some(1), Some(2)]),
        per_day: pick(dice, &[None, None, None, Some(10)]),
        retry_units: dice.random_range(2..=20),
        max_attempts: dice.random_range(1..=4),
        goal: dice.random_bool(0.4),
        finish_when_done: dice.random_bool(0.3),
        pick: pick(dice, &["round_robin", "least_busy", "sticky"]),
        invalid: false,
    };
    if plan.fixed_zone.is_none() {
        plan.default_zone = pick(dice, &[None, Some("Europe/Berlin")]);
    }
    plan.windows = windows(dice, plan.fixed_zone, (hour, minute), factor);
    plan
}

/// Windows that open and close while the run lasts, or are open all along.
pub(super) fn windows(
    dice: &mut ChaCha8Rng,
    fixed_zone: Option<&str>,
    (hour, minute): (i8, i8),
    factor: u32,
) -> Vec<(i64, i64)> {
    if fixed_zone == Some("Asia/Tokyo") || dice.random_bool(0.4) {
        return vec![(0, 1440)];
    }
    let start = i64::from(hour) * 60 + i64::from(minute);
    let scale = i64::from(factor.div_ceil(4));
    let first = (start - scale * dice.random_range(-1..=2), start + scale * dice.random_range(2..=3));
    let second = (first.1 + scale, first.1 + scale * dice.random_range(3..=120));
    let late = |(from, to): (i64, i64)| (from.clamp(0, 1439), to.clamp(1, 1440));
    let mut windows = vec![late(first), late(second)];
    windows.retain(|(from, to)| from < to && *to > 541 && *from < 1199);
    if windows.is_empty() { vec![(0, 1440)] } else { windows }
}

pub(super) fn lead(dice: &mut ChaCha8Rng, lists: usize, phones: u32, factor: u32) -> LeadPlan {
    let unit = i64::from(factor);
    LeadPlan {
        list: dice.random_range(0..lists),
        phone: phone(dice, phones),
        zone: pick(dice, &ZONES),
        priority: dice.random_range(3..=5),
        not_before: dice.random_bool(0.1).then(|| dice.random_range(0..60) * unit),
        not_after: dice.random_bool(0.1).then(|| dice.random_range(0..200) * unit),
    }
}

/// One of `phones` numbers, written in one of several ways; rarely no number at all.
pub(super) fn phone(dice: &mut ChaCha8Rng, phones: u32) -> String {
    let number = 100_000 + dice.random_range(0..phones);
    match dice.random_range(0..30) {
        0 => "12".to_owned(),
        1..=5 => format!("+49 30 {number}"),
        6..=9 => format!("0049-30-{number}"),
        _ => format!("+4930{number}"),
    }
}

impl CampaignPlan {
    /// The definition as a person would write it.
    pub fn definition(&self, accounts: &[AccountPlan], lists: &[String], factor: u32) -> Value {
        let time = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let windows: Vec<_> = self.windows.iter().map(|(from, to)| format!("{}-{}", time(*from), time(*to))).collect();
        let after = |units: i64| format!("{}s", units * i64::from(factor));
        let mut schedule = json!({ "windows": { "daily": windows }, "time_zone": self.fixed_zone.unwrap_or("lead") });
        if let Some(zone) = self.default_zone {
            schedule["default_time_zone"] = json!(zone);
        }
        if let Some((every, minutes)) = self.runs {
            schedule["cron"] = json!(format!("*/{every} * * * *"));
            schedule["run_for"] = json!(format!("{minutes}m"));
        }
        let mut pacing = json!({});
        for (key, limit) in [
            ("calls_per_second", self.per_second),
            ("calls_per_minute", self.per_minute),
            ("concurrent_calls", self.lines),
            ("calls_per_day", self.per_day),
        ] {
            if let Some(limit) = limit {
                pacing[key] = json!(limit);
            }
        }
        let retry = self.retry_units;
        let mut rules = json!({
            "max_attempts": self.max_attempts,
            "on": {
                "no_answer": { "after": after(retry) },
                "busy": { "after": after(retry / 2 + 1), "jitter": after(2) },
                "failed": { "after": after(1), "max": 1 },
            },
        });
        if self.goal {
            rules["goal"] = json!({ "variable": "booked", "equals": true, "after": after(retry + 3) });
        }
        let names: Vec<_> = self.lists.iter().map(|list| lists[*list].as_str()).collect();
        json!({
            "account": accounts[self.account].settings.name.as_str(),
            "lead_lists": names,
            "assistants": { "pick": self.pick },
            "schedule": if self.invalid { json!("soon") } else { schedule },
            "pacing": pacing,
            "retry": rules,
            "opt_out": { "variable": "do_not_call", "equals": true },
            "finish_when_done": self.finish_when_done,
            "variables": { "company": "Example" },
        })
    }
}

pub(super) fn pick<T: Copy>(dice: &mut ChaCha8Rng, from: &[T]) -> T {
    from[dice.random_range(0..from.len())]
}
