//! A person is protected, not a lead: two campaigns share phones, one list holds each phone in several spellings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outdial::adapter::simulator::{CallRecord, OutcomeMix, SimulatorOptions};
use serde_json::json;

use super::support::judge::{Evidence, misplaced};
use super::support::world::{Lead, Stage, World, eventually};

const PERSONS: usize = 60;
const CALLS_PER_DAY: usize = 2;
const GAP: SignedDuration = SignedDuration::from_hours(2);
const DAY: SignedDuration = SignedDuration::from_hours(24);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_campaigns_never_share_a_person_at_the_same_time() {
    let mut world = World::set(Stage {
        civil_origin: "2026-01-12T08:30:00Z",
        // A civil day takes fifteen seconds.
        factor: 5_760,
        simulator: SimulatorOptions {
            // Nobody is ever reached, so every try is used up.
            mix: "no_answer=3,busy=1,voicemail=1".parse::<OutcomeMix>().unwrap(),
            ..SimulatorOptions::default()
        },
        account: json!({
            "limits": {
                "calls_per_second": 5, "calls_per_minute": 100, "concurrent_calls": 200, "calls_per_day": 100_000,
                "requests_per_minute": 500,
            },
            "settle_after": "20m",
            // A second of a busy machine is an hour and a half here; no call is to count as overdue for that.
            "call_max": "12h",
        }),
        person: json!({"calls_per_day": CALLS_PER_DAY, "min_gap_between_campaigns": "2h"}),
        daemon: json!({}),
    })
    .await;
    let lead = |phone: String| Lead { phone, time_zone: Some("Europe/London"), priority: 5 };
    let plain = |person: usize| format!("+49305580{person:04}");
    let once: Vec<Lead> = (0..PERSONS).map(|person| lead(plain(person))).collect();
    let thrice = (0..PERSONS)
        .flat_map(|person| {
            let spaced = format!("+49 (30) 5580-{person:04}");
            [lead(plain(person)), lead(plain(person).replacen('+', "00", 1)), lead(spaced)]
        })
        .collect::<Vec<_>>();
    world.add_leads("once", &once).await;
    world.add_leads("thrice", &thrice).await;
    let definition = |list: &str| {
        json!({
            "account": "main", "lead_lists": [list],
            "schedule": {"time_zone": "lead", "windows": {"mon-sun": "09:00-20:00"}},
            "retry": {"max_attempts": 3, "on": {
                "no_answer": {"after": "10m"}, "busy": {"after": "10m"}, "voicemail": {"after": "10m"},
            }},
            "finish_when_done": true,
        })
    };
    world.add_campaign("first", &definition("once")).await;
    world.add_campaign("second", &definition("thrice")).await;
    world.start().await;
    let world_ref = &world;
    // Six tries a person, two a day: this takes three days and a bit.
    eventually("both campaigns are finished", Duration::from_secs(120), || async {
        assert_one_live_call_each(&world_ref.simulator.calls(), world_ref.clock.now());
        let open: Vec<(String, i64)> = sqlx::query_as(
            "select phone, count(distinct attempt_id) from attempt where ended_at is null group by phone",
        )
        .fetch_all(&world_ref.database.pool)
        .await
        .unwrap();
        let twice: Vec<_> = open.iter().filter(|(_, attempts)| *attempts > 1).collect();
        assert!(twice.is_empty(), "two open attempts on a phone: {twice:?}");
        let left: i64 = world_ref.database.value("select count(*) from campaign where state <> 'finished'").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} are not; {} calls", world_ref.simulator.calls().len())) }
    })
    .await;
    world.stop().await;

    let mut evidence = Evidence::of(&world).await;
    evidence.nobody_twice().each_call_has_its_attempt().each_call_has_its_result(false).verdict();
    let mut dialed: BTreeMap<(&str, &str), BTreeSet<i64>> = BTreeMap::new();
    let mut by_phone: BTreeMap<&str, Vec<(Timestamp, &str)>> = BTreeMap::new();
    for attempt in evidence.attempts.iter().filter(|attempt| attempt.rang()) {
        dialed.entry((&attempt.campaign, &attempt.phone)).or_default().insert(attempt.lead_id);
        let sent_at = attempt.sent_at().expect("nothing was killed");
        by_phone.entry(&attempt.phone).or_default().push((sent_at, &attempt.campaign));
    }
    assert_eq!(by_phone.len(), PERSONS, "everybody was called");
    let as_two: Vec<_> = dialed.iter().filter(|(_, leads)| leads.len() > 1).collect();
    assert!(as_two.is_empty(), "one phone as two leads of a campaign: {as_two:?}");
    let verdicts: Vec<(String, String, String, i32)> = sqlx::query_as(
        "select e.phone, d.disposition, d.reason, d.tries from disposition d join enrolment e using (campaign_id, lead_id)",
    )
    .fetch_all(&world.database.pool)
    .await
    .unwrap();
    for (phone, contacts) in &mut by_phone {
        contacts.sort_unstable();
        for (index, (at, campaign)) in contacts.iter().enumerate() {
            let day = contacts[index..].iter().take_while(|(other, _)| other.duration_since(*at) < DAY).count();
            assert!(day <= CALLS_PER_DAY, "{day} calls to {phone} in a day: {contacts:?}");
            let too_close = contacts[index..]
                .iter()
                .find(|(other_at, other)| other != campaign && other_at.duration_since(*at) < GAP);
            assert_eq!(too_close, None, "{phone} is called by two campaigns within {GAP:#}: {contacts:?}");
        }
        let why: Vec<_> = verdicts.iter().filter(|verdict| verdict.0 == *phone).collect();
        assert_eq!(contacts.len(), 6, "{phone} got three tries of each campaign: {contacts:?} {why:?}");
    }
    let duplicates: i64 =
        world.database.value("select count(*) from disposition where disposition = 'duplicate'").await;
    assert_eq!(duplicates, 2 * i64::try_from(PERSONS).unwrap());
    assert_eq!(misplaced(&world).await, Vec::<String>::new());
    assert_eq!(world.alarms(), Vec::<String>::new());
    world.strike().await;
}

#[track_caller]
fn assert_one_live_call_each(calls: &[CallRecord], now: Timestamp) {
    let mut live = BTreeSet::new();
    for call in calls.iter().filter(|call| call.accepted_at <= now && now < call.ended_at) {
        assert!(live.insert(&call.phone), "two live calls to {} at {now}", call.phone);
    }
}
