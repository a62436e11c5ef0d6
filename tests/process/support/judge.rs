//! Judges of what daemons did: the provider's log says which phones rang, the tables say what was meant and recorded.
//!
//! Instants are judged exactly where the daemon wrote them down (`sent_at`). The provider sees a request later, by as
//! long as it travels; in civil time that is real time multiplied, so its own instants are judged with [`ARRIVAL_MAX`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::Timestamp as Stored;
use outdial::adapter::simulator::{CallRecord, Fate, Fault, Record, Shape, SimulatorHandle, oracle};
use sqlx::types::Uuid;

use super::world::{ACCOUNT, World};

/// The longest, real, that a request may travel on a busy machine before the provider has it.
pub const ARRIVAL_MAX: Duration = Duration::from_secs(2);
/// How far, real, two processes' readings of one clock may lie apart.
const CLOCKS_APART_MAX: Duration = Duration::from_millis(100);
/// What carries an attempt's id to the provider.
const TOKEN: &str = "outdial_ref";
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// One attempt, as `call_log` shows it.
#[derive(Clone, Debug, sqlx::FromRow)]
#[expect(dead_code, reason = "some columns are there to be shown when something is wrong")]
pub struct Attempt {
    pub attempt_id: Uuid,
    pub campaign: String,
    pub lead_id: i64,
    attempt_no: i32,
    pub phone: String,
    time_zone: Option<String>,
    intent_at: Stored,
    sent_at: Option<Stored>,
    ended_at: Option<Stored>,
    pub open_state: Option<String>,
    pub outcome: Option<String>,
    reason: Option<String>,
    provider_call_id: Option<String>,
    pub has_result: bool,
}

impl Attempt {
    pub fn intent_at(&self) -> Timestamp {
        self.intent_at.to_jiff()
    }

    pub fn sent_at(&self) -> Option<Timestamp> {
        self.sent_at.map(Stored::to_jiff)
    }

    /// When it was sent, unless that is the intent's moment, put down because whoever sent it was killed.
    fn sent_exactly_at(&self) -> Option<Timestamp> {
        self.sent_at().filter(|at| *at != self.intent_at())
    }

    /// Whether it says that a phone rang.
    pub fn rang(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| !["not_placed", "rejected"].contains(&outcome))
    }
}

/// When a campaign may call: the same windows on the same days, local time.
#[derive(Clone, Debug)]
pub struct Windows {
    pub days: Vec<Weekday>,
    /// Minutes after midnight, from and until.
    pub minutes: Vec<(i64, i64)>,
    pub default_zone: &'static str,
}

/// Nobody may be called outside 09:00 to 20:00 local, whatever the campaign says.
const LEGAL_MINUTES: (i64, i64) = (9 * 60, 20 * 60);

impl Windows {
    /// Whether the instant is allowed, minute by minute and without any of the code under test.
    pub fn allow(&self, zone: Option<&str>, at: Timestamp) -> bool {
        let local = at.to_zoned(TimeZone::get(zone.unwrap_or(self.default_zone)).unwrap());
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let within = |(from, until): (i64, i64)| from <= minute && minute < until;
        self.days.contains(&local.weekday()) && within(LEGAL_MINUTES) && self.minutes.iter().copied().any(within)
    }
}

/// What was configured.
#[derive(Clone, Debug)]
pub struct Limits {
    pub per_minute: usize,
    pub per_second: usize,
    pub lines: usize,
}

/// Everything that is known when it is over.
pub struct Evidence {
    pub attempts: Vec<Attempt>,
    pub calls: Vec<CallRecord>,
    /// The attempt each call is said to belong to, by the call's id as the provider writes it.
    pub bound: BTreeMap<String, Vec<Uuid>>,
    /// Since when whom not to call is known, civil.
    suppressed: BTreeMap<String, Timestamp>,
    /// Civil spans in which a request may have been held up for as long as they last: its sender or its way stood still.
    pub held_up: Vec<(Timestamp, Timestamp)>,
    factor: u32,
    faults: Vec<String>,
}

impl Evidence {
    /// What is known of a test's only account.
    pub async fn of(world: &World) -> Self {
        Self::of_account(world, ACCOUNT).await
    }

    pub async fn of_account(world: &World, account: &str) -> Self {
        let calls = world.provider(account).calls();
        let attempts: Vec<Attempt> = sqlx::query_as(
            "select c.attempt_id, c.campaign, c.lead_id, c.attempt_no, c.phone, l.time_zone, c.intent_at, c.sent_at,
                c.ended_at, c.open_state, c.outcome, c.reason, c.provider_call_id, c.provider_status is not null as has_result
             from call_log c left join lead l on l.lead_id = c.lead_id
             where c.account = $1
             order by c.intent_at, c.attempt_id",
        )
        .bind(account)
        .fetch_all(&world.database.pool)
        .await
        .unwrap();
        let rows: Vec<(String, Uuid)> =
            sqlx::query_as("select provider_call_id, attempt_id from provider_call where account = $1")
                .bind(account)
                .fetch_all(&world.database.pool)
                .await
                .unwrap();
        let mut bound: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
        for (call_id, attempt_id) in rows {
            bound.entry(call_id).or_default().push(attempt_id);
        }
        // The column's default is real time.
        let suppressed: Vec<(String, Stored)> =
            sqlx::query_as("select phone, created_at from suppression").fetch_all(&world.database.pool).await.unwrap();
        let (civil, real, factor) = (world.clock.civil_origin(), world.clock.real_origin(), world.clock.factor());
        let suppressed = suppressed
            .into_iter()
            .map(|(phone, at)| (phone, civil + at.to_jiff().duration_since(real) * i32::try_from(factor).unwrap()))
            .collect();
        let factor = world.clock.factor();
        Self { attempts, calls, bound, suppressed, held_up: Vec::new(), factor, faults: Vec::new() }
    }

    /// The attempt a call was placed for, as the request itself said.
    pub fn token(call: &CallRecord) -> Option<Uuid> {
        Uuid::parse_str(call.variables.get(TOKEN)?.as_str()?).ok()
    }

    fn civil(&self, real: Duration) -> SignedDuration {
        SignedDuration::try_from(real).unwrap() * i32::try_from(self.factor).unwrap()
    }

    fn find(&mut self, faults: impl IntoIterator<Item = String>) {
        self.faults.extend(faults);
    }

    /// Nobody was rung twice: no phone has two live calls, no attempt two calls.
    pub fn nobody_twice(&mut self) -> &mut Self {
        let live = oracle::double_live(&self.calls);
        let twice = oracle::same_token(&self.calls, TOKEN);
        self.find(live.iter().map(|found| format!("two live calls: {found:?}")));
        self.find(twice.iter().map(|found| format!("an attempt rung twice: {found:?}")));
        self
    }

    /// Each call is one attempt's, by the request's own token, and nothing that rang is said not to have.
    pub fn each_call_has_its_attempt(&mut self) -> &mut Self {
        let attempts: BTreeMap<Uuid, &Attempt> = self.attempts.iter().map(|it| (it.attempt_id, it)).collect();
        let mut faults = Vec::new();
        let mut called = BTreeSet::new();
        for call in &self.calls {
            let id = call.call_id;
            let Some(attempt) = Self::token(call).and_then(|token| attempts.get(&token)) else {
                faults.push(format!("call {id} belongs to no attempt"));
                continue;
            };
            called.insert(attempt.attempt_id);
            if attempt.phone != call.phone {
                faults.push(format!("call {id} went to another phone than {attempt:?} says"));
            }
            match self.bound.get(&call.wire_id).map(Vec::as_slice) {
                Some([bound]) if *bound == attempt.attempt_id => {}
                None if attempt.open_state.is_some() => {}
                other => faults.push(format!("call {id} of {attempt:?} is bound to {other:?}")),
            }
            if attempt.outcome.is_some() && !attempt.rang() {
                faults.push(format!("call {id} rang, and its attempt says otherwise: {attempt:?}"));
            }
        }
        let unrung = self.attempts.iter().filter(|it| it.rang() && !called.contains(&it.attempt_id));
        faults.extend(unrung.map(|attempt| format!("nothing rang, and the attempt says so: {attempt:?}")));
        self.find(faults);
        self
    }

    /// Each call has its result, and the right one. `lost_halves`: the call object may have been unreadable, and without
    /// it nobody can tell a machine from a person.
    pub fn each_call_has_its_result(&mut self, lost_halves: bool) -> &mut Self {
        let attempts: BTreeMap<Uuid, &Attempt> = self.attempts.iter().map(|it| (it.attempt_id, it)).collect();
        let mut faults = Vec::new();
        for call in &self.calls {
            let Some(attempt) = Self::token(call).and_then(|token| attempts.get(&token)) else { continue };
            let expected = match call.fate {
                Fate::GoalMet | Fate::Declined | Fate::OptOut => "answered",
                Fate::Voicemail => "voicemail",
                Fate::NoAnswer => "no_answer",
                Fate::Busy => "busy",
                Fate::Failed => "failed",
            };
            let half = lost_halves && expected == "voicemail" && attempt.outcome.as_deref() == Some("answered");
            if !attempt.has_result || (attempt.outcome.as_deref() != Some(expected) && !half) {
                faults.push(format!("call {} ended as {expected}; recorded: {attempt:?}", call.call_id));
            }
        }
        self.find(faults);
        self
    }

    /// No request left outside its lead's windows, by the attempt's own record; none arrived much later than that.
    pub fn nobody_at_a_wrong_time(&mut self, windows: &BTreeMap<&str, Windows>) -> &mut Self {
        let (travel, apart) = (self.civil(ARRIVAL_MAX), self.civil(CLOCKS_APART_MAX));
        let mut faults = Vec::new();
        let attempts: BTreeMap<Uuid, &Attempt> = self.attempts.iter().map(|it| (it.attempt_id, it)).collect();
        let allow = |attempt: &Attempt, at| windows[attempt.campaign.as_str()].allow(attempt.time_zone.as_deref(), at);
        for attempt in &self.attempts {
            if let Some(at) = attempt.sent_at()
                && !allow(attempt, at)
            {
                faults.push(format!("sent outside of its windows: {attempt:?}"));
            }
        }
        for call in &self.calls {
            let Some(attempt) = Self::token(call).and_then(|token| attempts.get(&token)) else { continue };
            // Without sent_at, because its sender was killed, the request left between intent and arrival.
            let from = attempt.sent_exactly_at().unwrap_or_else(|| attempt.intent_at());
            let late = call.accepted_at.duration_since(from);
            let permit = if attempt.sent_exactly_at().is_none() {
                self.civil(SECOND.unsigned_abs())
            } else {
                SignedDuration::ZERO
            };
            let held_up = || self.held_up.iter().any(|(since, until)| from <= *until && *since <= call.accepted_at);
            if late < -apart || (late > travel + permit && !held_up()) {
                faults.push(format!("call {} arrived {late:#} after it was sent: {attempt:?}", call.call_id));
            }
            let earliest = call.accepted_at - travel;
            let minutes = travel.as_secs() / 60 + 1;
            let moments =
                (0..=minutes).map(|minute| (earliest + MINUTE * i32::try_from(minute).unwrap()).min(call.accepted_at));
            if !moments.chain([from]).any(|at| allow(attempt, at)) {
                faults.push(format!(
                    "call {} at {} is far outside of its windows: {attempt:?}",
                    call.call_id, call.accepted_at
                ));
            }
        }
        self.find(faults);
        self
    }

    /// The moment each request left is known: nobody was killed.
    pub fn each_moment_is_known(&mut self) -> &mut Self {
        let unknown = self.attempts.iter().filter(|it| it.rang() && it.sent_exactly_at().is_none());
        let faults: Vec<_> = unknown.map(|attempt| format!("when it was sent is not known: {attempt:?}")).collect();
        self.find(faults);
        self
    }

    /// Starts and lines of the attempts of one campaign, or all of them, never exceeded their limits.
    pub fn within(&mut self, limits: &Limits, campaign: Option<&str>) -> &mut Self {
        let chosen: BTreeMap<Uuid, &Attempt> = self
            .attempts
            .iter()
            .filter(|attempt| campaign.is_none_or(|campaign| attempt.campaign == campaign))
            .map(|attempt| (attempt.attempt_id, attempt))
            .collect();
        let whose = campaign.unwrap_or("the account");
        let mut sent: Vec<(Timestamp, &Attempt)> =
            chosen.values().filter_map(|attempt| Some((attempt.sent_exactly_at()?, *attempt))).collect();
        sent.sort_unstable_by_key(|(at, _)| *at);
        let mut faults = Vec::new();
        for (limit, window) in [(limits.per_minute, MINUTE), (limits.per_second, SECOND)] {
            let pairs = sent.iter().zip(sent.iter().skip(limit));
            let over = pairs.filter(|((first, _), (last, _))| last.duration_since(*first) < window);
            faults.extend(over.map(|((_, first), (_, last))| {
                format!("{whose}: more than {limit} starts in {window:#}, the first and last are {first:?} {last:?}")
            }));
        }
        let calls: Vec<CallRecord> = self
            .calls
            .iter()
            .filter(|call| Self::token(call).is_some_and(|token| chosen.contains_key(&token)))
            .cloned()
            .collect();
        let lines = oracle::lines_over(&calls, limits.lines);
        faults.extend(lines.iter().map(|over| format!("{whose}: more than {} lines: {over:?}", limits.lines)));
        // By arrival only spans much longer than the travel say anything: as many minutes as the travel takes, threefold.
        let minutes = i32::try_from(self.civil(ARRIVAL_MAX).as_secs() / 20 + 1).unwrap();
        let many = limits.per_minute * usize::try_from(minutes).unwrap() + 1;
        let over = oracle::starts_over(&calls, many, MINUTE * minutes - self.civil(ARRIVAL_MAX));
        faults.extend(
            over.iter()
                .map(|over| format!("{whose}: by arrival more than {many} starts in {minutes} minutes: {over:?}")),
        );
        self.find(faults);
        self
    }

    /// Who asked not to be called is suppressed, and not called from a second after that was known.
    pub fn opt_outs_are_kept(&mut self) -> &mut Self {
        let second = self.civil(Duration::from_secs(1));
        let mut faults = Vec::new();
        for opted_out in self.calls.iter().filter(|call| call.fate == Fate::OptOut) {
            let Some(known_at) = self.suppressed.get(&opted_out.phone) else {
                faults.push(format!("an opt-out is forgotten: {opted_out:?}"));
                continue;
            };
            let again = self.calls.iter().filter(|call| call.phone == opted_out.phone);
            let late = again.filter(|call| call.accepted_at > *known_at + second);
            faults.extend(late.map(|call| format!("rung after an opt-out that was known at {known_at}: {call:?}")));
        }
        self.find(faults);
        self
    }

    /// Ends the judgement.
    #[track_caller]
    pub fn verdict(&self) {
        let some: Vec<&String> = self.faults.iter().take(10).collect();
        assert!(self.faults.is_empty(), "{} faults, among them {some:#?}", self.faults.len());
    }
}

/// Leads of the campaigns' lists that are not in exactly one state, as text.
pub async fn misplaced(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "with place as (
            select campaign_id, lead_id from due
            union all select campaign_id, lead_id from open_attempt
            union all select campaign_id, lead_id from disposition)
         select format('lead %s of campaign %s is in %s places', l.lead_id, w.campaign_id, count(p.lead_id))
         from campaign_list w join lead l using (lead_list_id)
         left join place p on p.campaign_id = w.campaign_id and p.lead_id = l.lead_id
         group by l.lead_id, w.campaign_id having count(p.lead_id) <> 1 limit 20",
    )
    .fetch_all(&world.database.pool)
    .await
    .unwrap()
}

/// Phones that nothing can tell about: a request was answered with a page for people and status 200 although nothing was
/// placed, which says that a call was taken, and no evidence will ever come. Where the list proves no absence, every answer
/// that does not say so clearly leaves that open.
pub fn nobody_can_tell(shape: Shape, provider: &SimulatorHandle) -> BTreeSet<String> {
    let unclear = |fault| fault == Fault::Html || (shape == Shape::HappyRobotV2 && fault != Fault::RateLimited);
    let answered = |record| match record {
        Record::Request(it) if it.fault.is_some_and(unclear) && it.call_id.is_none() => it.phone,
        Record::Request(_) | Record::Call(_) | Record::Webhook(_) => None,
    };
    provider.log().into_iter().filter_map(answered).collect()
}
