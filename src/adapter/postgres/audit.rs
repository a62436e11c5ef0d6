//! The invariants of ARCHITECTURE.md, asked of live data.
//!
//! Every question is one statement, so that it sees all tables at one moment and a daemon at work is no violation; checks
//! that are told in one pass over the same tables share a question. What is legitimately in between (leads whose change is
//! to be followed up, lists being walked, attempts that are open) is
//! none either. Nothing is written: each statement has a read-only transaction of its own, on connections apart from the
//! pool, with limits of its own that end with the transaction.
//!
//! Invariant 8, what must never be logged, cannot be asked here: logs are not in the database.

mod check;
mod evidence;
mod question;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use sqlx::pool::PoolConnection;
use sqlx::postgres::types::PgInterval;
use sqlx::types::Uuid;
use sqlx::{Connection, Executor, PgConnection, PgPool, query, query_file, query_file_as};

pub use check::{About, Check, Population};
use question::Question;

use super::failure::{acquire, reading};
use crate::adapter::clock::ScaledClock;
use crate::domain::campaign::{Day, Pacing};
use crate::domain::definition::parse_stored_definition;
use crate::domain::id::{AccountName, CampaignId};
use crate::domain::outcome::UnknownWord;
use crate::domain::person::PersonLimits;
use crate::domain::phone::PhoneNumber;
use crate::port::clock::Clock;
use crate::port::store::StoreError;

/// Violations of one check are counted up to here: beyond it the number says nothing more.
pub const COUNT_MAX: u64 = 10_000;
/// Violations that are shown of each check.
pub const SHOWN_MAX: i64 = 10;
/// Different evidence of wrong times that is looked up again for the attempts behind it.
const EVIDENCE_MAX: usize = 200;

/// Every statement's own limit, for its transaction only: a whole table of tens of millions of rows is read in it, and
/// what takes longer would keep the vacuum from clearing up behind the daemon.
const TRANSACTION: &str = "begin read only; set local statement_timeout = '60s'; set local work_mem = '96MB'";
/// The connection's own price of a random page, which suits looking rows up by key, would have whole tables read through
/// their indexes, page by page.
const WHOLE_TABLES: &str = "set local random_page_cost = 4";

/// How long a permit is good for, real time.
const PERMIT: Duration = Duration::from_secs(1);
/// How long a request may leave after its intent, real time: the permit, and the statements between the look at the clock
/// and the permit, each of which is cut off after ten seconds.
const INTENT_TO_REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long before its intent a lead was judged, real time: in between lie the statements that read about leads and persons,
/// each of which is cut off after ten seconds.
const JUDGED_BEFORE_MAX: Duration = Duration::from_secs(30);
/// How far the clocks of two machines that dial may lie apart, real time.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(1);
/// How far they may for limits on starts, which only one machine has at a time.
const RATE_SLACK: Duration = Duration::from_millis(100);
/// When a new entry of the do-not-call list is in effect, real time: created_at is the begin of its transaction, which is
/// cut off after ten seconds; then come a permit, and a second between the clocks.
const SUPPRESSION_KNOWN_AFTER: Duration = Duration::from_secs(12);
/// When the moment of sending is noted at the latest, real time: a request's own timeout is at most five minutes.
const SENT_NOTED_WITHIN: Duration = Duration::from_secs(10 * 60);
/// When an event that belongs nowhere has been put aside: 48 hours, and one for the pass that does it.
const EVENT_MAX: SignedDuration = SignedDuration::from_hours(49);
/// How far back an earlier call to the same phone is looked for when only what is new is judged. One that was held for
/// longer is found while it is open.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24);

/// What is judged, and by what.
#[derive(Clone, Debug)]
pub struct Subject {
    /// This moment, civil.
    pub now: Timestamp,
    /// Only attempts begun since; everything if absent.
    pub since: Option<Timestamp>,
    /// From when on starts, lines and persons are judged by the limits below.
    pub limits_since: Timestamp,
    /// Leaves out the checks that read whole tables however little happened.
    pub recent_only: bool,
    /// Civil time.
    pub clock: ScaledClock,
    /// Limits of the accounts, and how long a phone rings at most.
    pub accounts: Vec<(AccountName, Pacing, SignedDuration)>,
    /// Limits of the campaigns.
    pub campaigns: Vec<(CampaignId, Pacing)>,
    /// Limits of a person.
    pub person: PersonLimits,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How many there were to look at.
    pub looked_at: u64,
    /// Violations, counted up to [`COUNT_MAX`].
    pub violations: u64,
    /// The first of them.
    pub offences: Vec<Offence>,
    /// How long the statements took that ask it; some ask others in the same pass.
    pub elapsed: Duration,
    /// Why it could not be asked.
    pub unanswered: Option<String>,
}

/// One violation: whose it is, as far as it is anybody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Which attempt.
    pub attempt_id: Option<Uuid>,
    /// Of which campaign.
    pub campaign_id: Option<i64>,
    /// Of which lead.
    pub lead_id: Option<i64>,
    /// To which phone, masked.
    pub phone: Option<String>,
    /// What is wrong.
    pub detail: String,
}

/// A campaign's limits on starts and lines, and the version they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignLimits {
    /// Which.
    pub campaign_id: CampaignId,
    /// Grows with each change of the definition.
    pub version: i64,
    /// The limits.
    pub pacing: Pacing,
}

/// Limits of all campaigns whose definition can be read.
///
/// # Errors
/// When the database cannot be read.
pub async fn campaign_limits(pool: &PgPool) -> Result<Vec<CampaignLimits>, StoreError> {
    let rows = query!("select campaign_id, name, version, definition from campaign order by campaign_id")
        .fetch_all(pool)
        .await
        .map_err(reading)?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let definition = parse_stored_definition(&row.name, &row.definition).ok()?;
            Some(CampaignLimits {
                campaign_id: CampaignId(row.campaign_id),
                version: row.version,
                pacing: definition.pacing,
            })
        })
        .collect())
}

/// Asks every check, in the order of the invariants. What cannot be answered says so and holds up no other.
///
/// # Errors
/// When the database cannot be reached.
pub async fn audit(pool: &PgPool, subject: &Subject) -> Result<Vec<Finding>, StoreError> {
    // Apart from the pool: a long question keeps nobody waiting, and a cancelled one ends with its connection.
    let first = acquire(pool).await?.detach();
    let mut others = Vec::new();
    if !subject.recent_only {
        // Somebody waits for the answer. A server that has no more connections is asked one thing after the other.
        others.extend(acquire(pool).await.map(PoolConnection::detach).ok());
    }
    let left = Mutex::new(Question::all(subject.recent_only));
    let ((sizes, some), rest) = join(
        count_and_ask(first, &left, subject),
        join_all(others.into_iter().map(|it| ask_what_is_left(it, &left, subject))),
    )
    .await;
    let (sizes, mut answers) = (sizes?, some);
    answers.extend(rest.into_iter().flatten());
    let asked = Check::ALL.iter().copied().filter(|check| !(subject.recent_only && check.about().whole_table));
    Ok(asked.map(|check| Finding::of(check, &sizes, &answers)).collect())
}

/// What came of a question.
struct Answered {
    question: Question,
    violations: Result<Vec<Violation>, String>,
    elapsed: Duration,
}

async fn count_and_ask(
    mut connection: PgConnection,
    left: &Mutex<VecDeque<Question>>,
    subject: &Subject,
) -> (Result<Sizes, StoreError>, Vec<Answered>) {
    let sizes = Sizes::read(&mut connection, subject).await;
    let answers = match sizes {
        Ok(_) => ask_what_is_left(connection, left, subject).await,
        Err(_) => Vec::new(),
    };
    (sizes, answers)
}

async fn ask_what_is_left(
    mut connection: PgConnection,
    left: &Mutex<VecDeque<Question>>,
    subject: &Subject,
) -> Vec<Answered> {
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut answers = Vec::new();
    while let Some(question) = next() {
        let started = subject.clock.monotonic();
        let violations = answer(&mut connection, question, subject).await.map_err(|error| error.to_string());
        let elapsed = subject.clock.monotonic().duration_since(started);
        answers.push(Answered { question, violations, elapsed });
    }
    // Nothing is left to be told; a failure to say goodbye is none.
    let _ = connection.close().await;
    answers
}

impl Finding {
    /// Puts together what all questions say that have to do with the check.
    fn of(check: Check, sizes: &Sizes, answers: &[Answered]) -> Self {
        let mut finding = Self {
            check,
            looked_at: sizes.of(check.about().population),
            violations: 0,
            offences: Vec::new(),
            elapsed: Duration::ZERO,
            unanswered: None,
        };
        for answer in answers.iter().filter(|answer| answer.question.checks().contains(&check)) {
            finding.elapsed += answer.elapsed;
            match &answer.violations {
                Ok(violations) => {
                    let mut own = violations.iter().filter(|violation| violation.check == check).peekable();
                    finding.violations += own.peek().map_or(0, |violation| violation.total);
                    finding.offences.extend(own.map(|violation| violation.offence.clone()));
                }
                Err(why) => finding.unanswered = Some(why.clone()),
            }
        }
        finding.violations = finding.violations.min(COUNT_MAX);
        finding.offences.truncate(SHOWN_MAX as usize);
        finding
    }
}

/// How much there is to look at.
struct Sizes {
    attempts: i64,
    starts: i64,
    open: i64,
    events: i64,
    leads: i64,
}

impl Sizes {
    async fn read(connection: &mut PgConnection, subject: &Subject) -> Result<Self, StoreError> {
        connection.execute(TRANSACTION).await.map_err(reading)?;
        let row = query!(
            r#"
            select (select count(*) from attempt where intent_at >= $1) as "attempts!",
                (select count(*) from attempt where intent_at >= $2 and sent_at is not null) as "starts!",
                (select count(*) from open_attempt) as "open!", (select count(*) from inbox_pending) as "events!",
                case when $3 then (select count(*) from enrolment)
                    else (select count(*) from (
                        select distinct campaign_id, lead_id from attempt where intent_at >= $1
                    ) attempted) end as "leads!"
            "#,
            since(subject).to_sqlx(),
            subject.limits_since.to_sqlx(),
            subject.since.is_none(),
        )
        .fetch_one(&mut *connection)
        .await
        .map_err(reading)?;
        connection.execute("rollback").await.map_err(reading)?;
        Ok(Self { attempts: row.attempts, starts: row.starts, open: row.open, events: row.events, leads: row.leads })
    }

    fn of(&self, population: Population) -> u64 {
        let count = match population {
            Population::Attempts => self.attempts,
            Population::Starts => self.starts,
            Population::Open => self.open,
            Population::Events => self.events,
            Population::Leads => self.leads,
        };
        count.unsigned_abs()
    }
}

/// A violation, and how many of its check the statement found.
struct Violation {
    check: Check,
    offence: Offence,
    total: u64,
}

/// A violation as the statements of one check tell it.
struct Row {
    attempt_id: Option<Uuid>,
    campaign_id: Option<i64>,
    lead_id: Option<i64>,
    phone: Option<String>,
    detail: String,
    total: i64,
}

impl Row {
    fn of(self, check: Check) -> Violation {
        let masked = |phone: String| match PhoneNumber::from_stored(&phone) {
            Ok(phone) => phone.to_string(),
            // Whatever stands there may still be somebody's.
            Err(_) => "*****".to_owned(),
        };
        let offence = Offence {
            attempt_id: self.attempt_id,
            campaign_id: self.campaign_id,
            lead_id: self.lead_id,
            phone: self.phone.map(masked),
            detail: self.detail,
        };
        Violation { check, offence, total: self.total.unsigned_abs() }
    }
}

/// A violation as the statements of several checks tell it: `check_name` is a check's word.
struct SharedRow {
    check_name: String,
    attempt_id: Option<Uuid>,
    campaign_id: Option<i64>,
    lead_id: Option<i64>,
    phone: Option<String>,
    detail: String,
    total: i64,
}

impl SharedRow {
    fn violation(self) -> Result<Violation, StoreError> {
        let check = self.check_name.parse().map_err(|error: UnknownWord| StoreError::Refused(Box::new(error)))?;
        let Self { check_name: _, attempt_id, campaign_id, lead_id, phone, detail, total } = self;
        Ok(Row { attempt_id, campaign_id, lead_id, phone, detail, total }.of(check))
    }
}

async fn answer(
    connection: &mut PgConnection,
    question: Question,
    subject: &Subject,
) -> Result<Vec<Violation>, StoreError> {
    connection.execute(TRANSACTION).await.map_err(reading)?;
    if subject.since.is_none() && question.reads_tables() {
        connection.execute(WHOLE_TABLES).await.map_err(reading)?;
    }
    let violations = ask(connection, question, subject).await;
    // A statement that was cut off leaves the transaction failed: the next one begins anew either way.
    connection.execute("rollback").await.map_err(reading)?;
    violations
}

/// Runs a file whose first parameters are how many violations are counted and shown.
macro_rules! found {
    ($row:ident, $connection:ident, $file:literal $(, $argument:expr)*) => {
        query_file_as!($row, $file, COUNT_MAX as i64, SHOWN_MAX $(, $argument)*)
            .fetch_all(&mut *$connection)
            .await
            .map_err(reading)
    };
}

async fn ask(
    connection: &mut PgConnection,
    question: Question,
    subject: &Subject,
) -> Result<Vec<Violation>, StoreError> {
    let since = since(subject).to_sqlx();
    let everything = subject.since.is_none();
    let civil = |real: Duration| interval(subject.clock.real_to_civil(real));
    let early = |real: Duration| subject.now - subject.clock.real_to_civil(real);
    let rows = match question {
        Question::Attempts => {
            let rows = found!(
                SharedRow,
                connection,
                "src/adapter/postgres/audit/attempts.sql",
                since,
                civil(INTENT_TO_REQUEST_MAX),
                early(SENT_NOTED_WITHIN).to_sqlx()
            )?;
            return rows.into_iter().map(SharedRow::violation).collect();
        }
        Question::Numbers => {
            let rows = found!(SharedRow, connection, "src/adapter/postgres/audit/numbers.sql", since, everything)?;
            return rows.into_iter().map(SharedRow::violation).collect();
        }
        Question::OpenRows => found!(Row, connection, "src/adapter/postgres/audit/open_rows.sql"),
        Question::TwoCalls => found!(Row, connection, "src/adapter/postgres/audit/two_calls.sql", since),
        Question::UnknownCall => found!(Row, connection, "src/adapter/postgres/audit/unknown_call.sql"),
        Question::Overlap => found!(
            Row,
            connection,
            "src/adapter/postgres/audit/overlap.sql",
            since,
            interval(if everything { SignedDuration::ZERO } else { LOOK_BACK }),
            civil(INTENT_TO_REQUEST_MAX),
            civil(CLOCKS_APART_MAX)
        ),
        Question::BegunWhileOpen => found!(Row, connection, "src/adapter/postgres/audit/begun_while_open.sql"),
        Question::Evidence => wrong_times(connection, subject).await,
        Question::Suppressed => found!(
            Row,
            connection,
            "src/adapter/postgres/audit/suppressed.sql",
            since,
            subject.clock.civil_origin().to_sqlx(),
            subject.clock.real_origin().to_sqlx(),
            f64::from(subject.clock.factor()),
            civil(SUPPRESSION_KNOWN_AFTER + PERMIT)
        ),
        Question::Person => too_often(connection, subject).await,
        Question::Starts => starts(connection, subject).await,
        Question::Lines => lines(connection, subject).await,
        Question::OrphanResult => {
            found!(Row, connection, "src/adapter/postgres/audit/orphan_result.sql", since, everything)
        }
        Question::Events => {
            found!(Row, connection, "src/adapter/postgres/audit/events.sql", (subject.now - EVENT_MAX).to_sqlx())
        }
        Question::LostLeads => found!(Row, connection, "src/adapter/postgres/audit/lost_leads.sql"),
        Question::FinishedDue => found!(Row, connection, "src/adapter/postgres/audit/finished_due.sql"),
        Question::Unenrolled => {
            found!(Row, connection, "src/adapter/postgres/audit/unenrolled.sql", since, everything)
        }
    }?;
    Ok(rows.into_iter().map(|row| row.of(question.checks()[0])).collect())
}

/// Judges what was sent by its own evidence: first the groups that share one, then the attempts of those that are wrong.
async fn wrong_times(connection: &mut PgConnection, subject: &Subject) -> Result<Vec<Row>, StoreError> {
    let groups = query_file!("src/adapter/postgres/audit/evidence.sql", since(subject).to_sqlx())
        .fetch_all(&mut *connection)
        .await
        .map_err(reading)?;
    let judged_before = subject.clock.real_to_civil(JUDGED_BEFORE_MAX);
    let suspicious: Vec<String> = groups
        .into_iter()
        .filter(|group| {
            let edges = [(group.first_intent_at, group.first_sent_at), (group.last_intent_at, group.last_sent_at)];
            edges.iter().any(|(intent_at, sent_at)| {
                evidence::wrong(&group.evidence, judged_before, intent_at.to_jiff(), sent_at.to_jiff()).is_some()
            })
        })
        .map(|group| group.evidence)
        .take(EVIDENCE_MAX)
        .collect();
    if suspicious.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query!(
        r#"
        select attempt_id, campaign_id, lead_id, phone, evidence, intent_at, sent_at as "sent_at!"
        from attempt
        where intent_at >= $1 and sent_at is not null and evidence = any($2)
        order by attempt_id
        limit $3
        "#,
        since(subject).to_sqlx(),
        &suspicious,
        COUNT_MAX as i64,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(reading)?;
    let wrong: Vec<Row> = rows
        .into_iter()
        .filter_map(|row| {
            let detail = evidence::wrong(&row.evidence, judged_before, row.intent_at.to_jiff(), row.sent_at.to_jiff())?;
            Some(Row {
                attempt_id: Some(row.attempt_id),
                campaign_id: Some(row.campaign_id),
                lead_id: Some(row.lead_id),
                phone: Some(row.phone),
                detail,
                total: 0,
            })
        })
        .collect();
    let total = wrong.len() as i64;
    Ok(wrong.into_iter().take(SHOWN_MAX as usize).map(|row| Row { total, ..row }).collect())
}

async fn too_often(connection: &mut PgConnection, subject: &Subject) -> Result<Vec<Row>, StoreError> {
    let limits = &subject.person;
    let day = SignedDuration::from_hours(26);
    found!(
        Row,
        connection,
        "src/adapter/postgres/audit/person.sql",
        subject.limits_since.to_sqlx(),
        interval(day.max(limits.min_gap_between_campaigns) + subject.clock.real_to_civil(INTENT_TO_REQUEST_MAX)),
        zone_of(&limits.day),
        limits.calls_per_day.map(i64::from),
        interval(limits.min_gap_between_campaigns)
    )
}

/// One limit on starts, or on lines.
#[derive(Default)]
struct Bounds {
    accounts: Vec<Option<String>>,
    campaigns: Vec<Option<i64>>,
    names: Vec<String>,
    spans: Vec<PgInterval>,
    most: Vec<i32>,
    zones: Vec<Option<String>>,
}

impl Bounds {
    fn of(
        subject: &Subject,
        limits: impl Fn(&Pacing) -> Vec<(&'static str, SignedDuration, u32, Option<String>)>,
    ) -> Self {
        let accounts = subject.accounts.iter().map(|(name, pacing, _)| (Some(name.to_string()), None, pacing));
        let campaigns = subject.campaigns.iter().map(|(id, pacing)| (None, Some(id.0), pacing));
        let mut bounds = Self::default();
        for (account, campaign, pacing) in accounts.chain(campaigns) {
            for (name, span, most, zone) in limits(pacing) {
                // More than an integer column can count is no limit.
                let Ok(most) = i32::try_from(most) else { continue };
                bounds.accounts.push(account.clone());
                bounds.campaigns.push(campaign);
                bounds.names.push(name.to_owned());
                bounds.spans.push(interval(span));
                bounds.most.push(most);
                bounds.zones.push(zone);
            }
        }
        bounds
    }
}

async fn starts(connection: &mut PgConnection, subject: &Subject) -> Result<Vec<Row>, StoreError> {
    let bounds = Bounds::of(subject, |pacing| {
        let limits = [
            ("a second", SignedDuration::from_secs(1), pacing.calls_per_second, None),
            ("a minute", SignedDuration::from_secs(60), pacing.calls_per_minute, None),
            ("a day", SignedDuration::from_hours(24), pacing.calls_per_day, zone_of(&pacing.day)),
        ];
        limits.into_iter().filter_map(|(name, span, most, zone)| Some((name, span, most?.get(), zone))).collect()
    });
    found!(
        Row,
        connection,
        "src/adapter/postgres/audit/starts.sql",
        subject.limits_since.to_sqlx(),
        &bounds.accounts as _,
        &bounds.campaigns as _,
        &bounds.names,
        &bounds.spans,
        &bounds.most,
        &bounds.zones as _,
        interval(subject.clock.real_to_civil(RATE_SLACK))
    )
}

async fn lines(connection: &mut PgConnection, subject: &Subject) -> Result<Vec<Row>, StoreError> {
    let bounds = Bounds::of(subject, |pacing| {
        pacing.concurrent_calls.iter().map(|lines| ("", SignedDuration::ZERO, lines.get(), None)).collect()
    });
    let accounts: Vec<String> = subject.accounts.iter().map(|(name, ..)| name.to_string()).collect();
    let ring_max: Vec<PgInterval> = subject.accounts.iter().map(|(.., ring_max)| interval(*ring_max)).collect();
    found!(
        Row,
        connection,
        "src/adapter/postgres/audit/lines.sql",
        subject.limits_since.to_sqlx(),
        &bounds.accounts as _,
        &bounds.campaigns as _,
        &bounds.most,
        &accounts,
        &ring_max,
        interval(subject.clock.real_to_civil(RATE_SLACK))
    )
}

/// The beginning of everything is as good as no bound: no attempt is older.
fn since(subject: &Subject) -> Timestamp {
    subject.since.unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH)
}

fn zone_of(day: &Day) -> Option<String> {
    match day {
        Day::Rolling => None,
        Day::Civil(zone) => Some(zone.name().to_owned()),
    }
}

fn interval(span: SignedDuration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(span.as_micros()).unwrap_or(i64::MAX) }
}

/// What has been told, so that it is told once.
#[derive(Debug, Default)]
pub struct Told(BTreeMap<Check, (u64, Vec<Offence>)>);

impl Told {
    /// Whether a finding is news: one that was not there, a violation that was not shown, or more of them.
    pub fn is_news(&mut self, finding: &Finding) -> bool {
        if finding.violations == 0 {
            self.0.remove(&finding.check);
            return false;
        }
        let (told, offences) = self.0.entry(finding.check).or_default();
        let same = |one: &Offence, other: &Offence| {
            (one.attempt_id, one.campaign_id, one.lead_id) == (other.attempt_id, other.campaign_id, other.lead_id)
        };
        let news = finding.violations > *told
            || finding.offences.iter().any(|new| !offences.iter().any(|known| same(known, new)));
        *told = finding.violations;
        offences.clone_from(&finding.offences);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(violations: u64, leads: &[i64]) -> Finding {
        let offence = |lead: &i64| Offence {
            attempt_id: None,
            campaign_id: Some(1),
            lead_id: Some(*lead),
            phone: None,
            detail: "due and open".to_owned(),
        };
        Finding {
            check: Check::Places,
            looked_at: 9,
            violations,
            offences: leads.iter().map(offence).collect(),
            elapsed: Duration::ZERO,
            unanswered: None,
        }
    }

    #[test]
    fn a_finding_is_told_once_until_it_changes() {
        let mut told = Told::default();
        assert!(!told.is_news(&finding(0, &[])));
        assert!(told.is_news(&finding(2, &[1, 2])));
        assert!(!told.is_news(&finding(2, &[1, 2])));
        assert!(!told.is_news(&finding(1, &[2])), "one has left the time that is looked at");
        assert!(told.is_news(&finding(1, &[3])), "another one");
        assert!(told.is_news(&finding(12, &[3])), "more of them");
        assert!(!told.is_news(&finding(0, &[])));
        assert!(told.is_news(&finding(12, &[3])), "it is back");
    }
}
