//! Everything goes wrong, again and again, while providers do everything wrong that they can.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::civil::Weekday;
use outdial::adapter::simulator::{
    CallRecord, Fault, Faults, OutcomeMix, Record, Shape, SimulatorOptions, Span, oracle,
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::fleet::{Accounts, Fleet, Held, REPLICAS};
use super::plan::{Harm, Kind, Step, Whom, draw};
use super::proxy::{Link, Mode, Way};
use super::servers::{CONNECTIONS_MAX, ROLE};
use crate::support::audited::violations;
use crate::support::judge::{Evidence, Limits, Windows, misplaced};
use crate::support::world::{ACCOUNT, Lead, Stage};

/// Three of one family, so that the list of each can prove that nothing rang.
const ACCOUNTS: Accounts = &[(ACCOUNT, Shape::Famulor), ("sondos", Shape::Sondos), ("white-label", Shape::WhiteLabel)];
/// How likely each fault of the providers is, by itself.
const FAULT: f64 = 0.05;
/// Civil seconds in a real one: a day takes five minutes.
const FACTOR: u32 = 300;
/// So far apart that somebody may be called at every moment of the day; the last is for leads without a zone.
const ZONES: [Option<&str>; 5] =
    [Some("Europe/London"), Some("America/Chicago"), Some("Pacific/Auckland"), Some("Asia/Dhaka"), None];
/// What a short storm replays unless told otherwise.
const SEED: u64 = 20_261_121;
/// Everything open has to end within this: what a lost process left counts as gone after 25 s, lists lag, budgets bind.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

/// How long and how hard.
struct Storm {
    seed: u64,
    lasts: Duration,
    /// Leads of each account.
    leads: usize,
    limits: Limits,
    steps: Vec<Step>,
    /// At least so many calls, and each kind of fault so often.
    calls_min: usize,
    faults_min: usize,
    each_min: usize,
}

impl Storm {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
        let seed = number("OUTDIAL_CHAOS_SEED").unwrap_or(SEED);
        match number("OUTDIAL_CHAOS_MINUTES") {
            // Half a second a lead at least, and always more leads than can be dialed.
            Some(minutes) => Self {
                seed,
                lasts: Duration::from_secs(minutes * 60),
                leads: usize::try_from(minutes).unwrap() * 900,
                // Refused starts halve the rate, and one in twenty is refused: about a third of this is reached.
                limits: Limits { per_minute: 8, per_second: 1, lines: 120 },
                // Rests in which the daemons get to work again: three rounds of all kinds, and some more, in a quarter of an hour.
                steps: draw(seed, &Kind::all(), 40, 3_000, 2_800..5_600),
                // What fifteen minutes are to show, in proportion.
                calls_min: usize::try_from(minutes).unwrap() * 20_000 / 15,
                faults_min: usize::try_from(minutes).unwrap() * 100 / 15,
                each_min: usize::try_from(minutes).unwrap() * 3 / 15,
            },
            None => Self {
                seed,
                // As long as its steps take.
                lasts: Duration::MAX,
                leads: 200,
                limits: Limits { per_minute: 1, per_second: 1, lines: 60 },
                steps: draw(seed, &Kind::important(), 1, 1_500, 500..2_500),
                calls_min: 200,
                faults_min: Kind::important().len(),
                each_min: 1,
            },
        }
    }
}

fn provider(shape: Shape) -> SimulatorOptions {
    let faults = Faults {
        // Longer than the daemons wait.
        slow_for_ms: 3_000,
        list_lag: Span::seconds(5, 60),
        retry_after: 30,
        ..Faults::all(FAULT).with_reads(FAULT)
    };
    let mix = OutcomeMix { refused_numbers: 0.0, ..OutcomeMix::default() };
    SimulatorOptions { shape, faults, mix, log_records_max: 5_000_000, ..SimulatorOptions::default() }
}

fn stage(limits: &Limits) -> Stage {
    Stage {
        civil_origin: "2026-01-12T09:00:00Z",
        factor: FACTOR,
        simulator: provider(Shape::Famulor),
        account: json!({
            "limits": {
                "calls_per_second": limits.per_second, "calls_per_minute": limits.per_minute,
                "concurrent_calls": limits.lines, "calls_per_day": 100_000,
                "requests_per_minute": limits.per_minute * 4,
            },
            "list_lag_max": "3m",
            "settle_after": "5m",
            "call_max": "40m",
        }),
        person: json!({"calls_per_day": 4, "min_gap_between_campaigns": "10m"}),
        daemon: json!({
            "request_timeout": "2s", "connect_timeout": "1s", "drain_max": "15s", "lease_ttl": "2s",
            // Longer than any process is stopped.
            "zombie_horizon": "25s",
        }),
    }
}

fn definition(account: &str) -> Value {
    json!({
        "account": account,
        "lead_lists": [account],
        "schedule": {"time_zone": "lead", "default_time_zone": "Europe/London", "windows": {"mon-sun": "08:00-21:00"}},
        "retry": {
            "max_attempts": 2,
            "on": {
                "no_answer": {"after": "10m"}, "busy": {"after": "5m"}, "voicemail": {"after": "10m"},
                "failed": {"after": "5m"},
            },
            "goal": {"variable": "appointment_booked", "equals": true},
        },
        "opt_out": {"variable": "do_not_call", "equals": true},
    })
}

/// Leads of the account with this number; every tenth person is in every account's list.
fn leads(account: usize, count: usize) -> Vec<Lead> {
    let phone = |index: usize| match index % 10 {
        7 => format!("+493055900{index:06}"),
        _ => format!("+49305590{}{index:06}", account + 1),
    };
    let lead = |index| Lead { phone: phone(index), time_zone: ZONES[index % ZONES.len()], priority: 5 };
    (0..count).map(lead).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_nobody_is_rung_twice_and_nothing_is_lost() {
    let storm = Storm::from_environment();
    println!("OUTDIAL_CHAOS_SEED={}, {} steps at most:", storm.seed, storm.steps.len());
    for step in &storm.steps {
        println!("  {step}");
    }
    let mut fleet = Fleet::set(stage(&storm.limits), ACCOUNTS, provider).await;
    for (number, (account, _)) in ACCOUNTS.iter().enumerate() {
        fleet.add_campaign(account, &leads(number, storm.leads), &definition(account)).await;
    }
    fleet.start_all().await;
    fleet.calls_reach(20, Duration::from_secs(180)).await;

    let began = Instant::now();
    let mut played: BTreeMap<Kind, usize> = BTreeMap::new();
    for step in &storm.steps {
        if began.elapsed() > storm.lasts {
            break;
        }
        let connections: Vec<usize> = fleet.database.iter().map(Link::connections).collect();
        println!(
            "{:6.1} s, {} calls, {connections:?} connections: {step}",
            began.elapsed().as_secs_f64(),
            fleet.calls()
        );
        play(&mut fleet, step).await;
        *played.entry(step.kind).or_default() += 1;
        tokio::time::sleep(step.rest).await;
    }
    let dialed_for = began.elapsed();
    let calls = fleet.calls();
    // What is held is searched in the provider's list, phone by phone, within the requests it grants.
    fleet.settle(SETTLED_WITHIN + dialed_for).await;
    for replica in REPLICAS {
        fleet.stop(replica).await;
    }

    let held = fleet.held().await;
    let mut evidence = Vec::new();
    for (account, _, _) in fleet.simulators() {
        evidence.push(Evidence::of_account(&fleet.world, account).await);
    }
    let met = http_faults(&fleet);
    let summary = Summary::of(&evidence);
    summary.tell(&played, &met, &held, dialed_for);
    for evidence in &mut evidence {
        judge(&fleet, evidence, &storm.limits);
    }
    assert_eq!((summary.doubles, summary.lost), (0, 0), "doubles and lost results");
    assert_eq!(misplaced(&fleet.world).await, Vec::<String>::new());
    assert_eq!(violations(&fleet.world).await, []);
    assert_eq!(fleet.world.alarms(), Vec::<String>::new());
    for fault in Fault::ALL {
        assert!(met.get(fault.as_str()).is_some_and(|count| *count > 0), "{fault} never happened");
    }
    assert!(calls >= storm.calls_min, "{calls} calls are too few");
    assert!(played.values().sum::<usize>() >= storm.faults_min, "too few faults: {played:?}");
    assert!(played.values().all(|count| *count >= storm.each_min), "some kind is missing: {played:?}");
    fleet.strike().await;
}

#[track_caller]
fn judge(fleet: &Fleet, evidence: &mut Evidence, limits: &Limits) {
    let windows = Windows {
        days: Weekday::Monday.cycle_forward().take(7).collect(),
        minutes: vec![(480, 1260)],
        default_zone: "Europe/London",
    };
    let campaigns = ACCOUNTS.iter().map(|(name, _)| (*name, windows.clone())).collect();
    evidence.held_up.clone_from(&fleet.held_up);
    evidence
        .nobody_twice()
        .each_call_has_its_attempt()
        .each_call_has_its_result(true)
        .nobody_at_a_wrong_time(&campaigns)
        .within(limits, None)
        .opt_outs_are_kept()
        .verdict();
}

/// What the providers did wrong, by fault.
fn http_faults(fleet: &Fleet) -> BTreeMap<&'static str, usize> {
    let mut met = BTreeMap::new();
    for (_, _, simulator) in fleet.simulators() {
        for record in simulator.log() {
            let fault = match record {
                Record::Request(request) => request.fault,
                Record::Webhook(webhook) => webhook.fault,
                Record::Call(_) => None,
            };
            if let Some(fault) = fault {
                *met.entry(fault.as_str()).or_default() += 1;
            }
        }
    }
    met
}

/// What it comes to, over all accounts: persons are protected, not leads.
struct Summary {
    calls: usize,
    phones: usize,
    attempts: usize,
    /// Phones with two live calls, attempts with two calls.
    doubles: usize,
    /// Calls whose result is not recorded.
    lost: usize,
}

impl Summary {
    fn of(evidence: &[Evidence]) -> Self {
        let calls: Vec<CallRecord> = evidence.iter().flat_map(|evidence| evidence.calls.clone()).collect();
        let attempts = evidence.iter().flat_map(|evidence| &evidence.attempts);
        let known: BTreeSet<_> = attempts.filter(|attempt| attempt.has_result).map(|it| it.attempt_id).collect();
        let is_known = |call: &&CallRecord| Evidence::token(call).is_some_and(|token| known.contains(&token));
        Self {
            phones: calls.iter().map(|call| call.phone.as_str()).collect::<BTreeSet<_>>().len(),
            attempts: evidence.iter().map(|evidence| evidence.attempts.len()).sum(),
            doubles: oracle::double_live(&calls).len() + oracle::same_token(&calls, "outdial_ref").len(),
            lost: calls.len() - calls.iter().filter(is_known).count(),
            calls: calls.len(),
        }
    }

    fn tell(&self, played: &BTreeMap<Kind, usize>, met: &BTreeMap<&str, usize>, held: &[Held], dialed_for: Duration) {
        let line = |what: &str, count: usize| println!("{what:<40} {count:>8}");
        println!();
        line("calls", self.calls);
        line("calls a minute in the storm", self.calls * 60 / usize::try_from(dialed_for.as_secs().max(1)).unwrap());
        line("phones", self.phones);
        line("attempts", self.attempts);
        line("held", held.len());
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for held in held {
            *reasons.entry(&held.reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            line(&format!("  {reason}"), count);
        }
        line("doubles", self.doubles);
        line("lost results", self.lost);
        line("faults", played.values().sum());
        for (kind, count) in played {
            line(&format!("  {kind}"), *count);
        }
        line("faults of the providers", met.values().sum());
        for (fault, count) in met {
            line(&format!("  {fault}"), *count);
        }
    }
}

async fn play(fleet: &mut Fleet, step: &Step) {
    let replica = step.replica;
    match step.kind {
        Kind::Kill => {
            fleet.kill(replica).await;
            tokio::time::sleep(step.lasts).await;
            fleet.start(replica).await;
        }
        Kind::RollingRestart => {
            for replica in REPLICAS {
                fleet.stop(replica).await;
                fleet.start(replica).await;
            }
        }
        Kind::Pause => fleet.pause(replica, step.lasts).await,
        Kind::Crash => {
            fleet.server.crash().await;
            tokio::time::sleep(step.lasts).await;
            fleet.server.restart().await;
        }
        Kind::Terminate => fleet.server.terminate().await,
        Kind::Exhaust if step.coin => {
            fleet.server.administer(&format!("alter role {ROLE} connection limit 2")).await;
            fleet.server.terminate().await;
            tokio::time::sleep(step.lasts).await;
            fleet.server.administer(&format!("alter role {ROLE} connection limit -1")).await;
        }
        Kind::Exhaust => {
            let hogs = hog(fleet).await;
            tokio::time::sleep(step.lasts).await;
            for hog in hogs {
                hog.close().await.unwrap();
            }
        }
        Kind::ReadOnly => {
            let set = |on| format!("alter database outdial set default_transaction_read_only = {on}");
            fleet.server.administer(&set("on")).await;
            fleet.server.terminate().await;
            tokio::time::sleep(step.lasts).await;
            fleet.server.administer(&set("off")).await;
            fleet.server.terminate().await;
        }
        Kind::Lock => {
            let mut admin = fleet.server.pool().acquire().await.unwrap().detach();
            // One table: two would be a deadlock with whoever takes them in another order, and the person loses it.
            let lock = "begin; lock table open_attempt in access exclusive mode; select pg_sleep(3); commit";
            sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut admin).await.unwrap();
            admin.close().await.unwrap();
        }
        Kind::Database(harm, whom) => {
            let links = fleet.database.iter().enumerate();
            let links = links.filter(|(number, _)| whom == Whom::All || *number == replica).map(|(_, link)| link);
            harm_all(&links.collect::<Vec<_>>(), harm, step.lasts).await;
        }
        Kind::Provider(harm, whom) => {
            let links = fleet.provider.iter().enumerate();
            let links = links.filter(|(number, _)| whom == Whom::All || *number == replica);
            harm_all(&links.flat_map(|(_, links)| links).collect::<Vec<_>>(), harm, step.lasts).await;
        }
    }
}

/// Does it to each link, for a while where it lasts.
async fn harm_all(links: &[&Link], harm: Harm, lasts: Duration) {
    let mode = match harm {
        Harm::Cut => return links.iter().for_each(|link| link.cut()),
        Harm::Reset => return links.iter().for_each(|link| link.reset()),
        Harm::BlackHole => Mode::BlackHole,
        Harm::DeafServer => Mode::HalfOpen(Way::There),
        Harm::MuteServer => Mode::HalfOpen(Way::Back),
        Harm::Delay => Mode::Delayed(Duration::from_millis(50) + lasts / 20),
    };
    links.iter().for_each(|link| link.set(mode));
    tokio::time::sleep(lasts).await;
    links.iter().for_each(|link| link.set(Mode::Open));
}

/// Takes every connection the server has to give, those of the daemons included.
async fn hog(fleet: &Fleet) -> Vec<PgConnection> {
    let options = fleet.server.options_of_daemons().application_name("hog");
    let mut taken = Vec::new();
    for end_others in [true, false] {
        while taken.len() < usize::from(CONNECTIONS_MAX) {
            let Ok(connection) = options.connect().await else { break };
            taken.push(connection);
        }
        if end_others {
            let sql = format!(
                "select pg_terminate_backend(pid) from pg_stat_activity
                 where usename = '{ROLE}' and application_name <> 'hog'"
            );
            fleet.server.administer(&sql).await;
        }
    }
    assert!(taken.len() > usize::from(CONNECTIONS_MAX) / 3, "{} connections were to be had", taken.len());
    taken
}
