//! The database's twin in memory: it carries simulation and forecasts, and passes the same suite as Postgres.
//!
//! All tables are ordered maps behind one lock, so a run repeats exactly. Each method waits once before its effect and
//! once after it: a future that is dropped is cut on either side of the commit, never inside it. A hook injects what a
//! network does to a database. It has no clock and no randomness: lease times come from an injected database clock.

mod campaign;
mod control;
mod dial;
mod due;
mod enrolment;
mod inbox;
mod invariant;
mod replica;
mod retention;
mod settle;
mod user;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::assistant::Assistant;
use crate::domain::campaign::CampaignState;
use crate::domain::id::{AccountName, AttemptId, CampaignId, InboxId, Installation, LeadId, OwnerId};
use crate::port::permit::CommittedIntent;
use crate::port::store::{
    AccountState, AssistantChange, AssistantUse, Backlog, Beat, Binding, CallKey, CallMatch, CampaignLists, Candidate,
    Control, DialIntent, DueKey, EnrolmentDone, EnrolmentStep, InboxEvent, InboxMark, LateResult, LeadChange, Lease,
    LeaseRequest, ListPage, LostAttempt, OpenAttempt, OpenChange, OpenCount, PastAttempt, PendingEvent, PersonFacts,
    Probe, Pulse, Reconciliation, ReplyRecord, Restored, RetainReport, RetentionPolicy, Settlement, StartsOf, Store,
    StoreError, Verdict,
};

pub use user::NewLead;
pub use world::{
    AttemptEnd, AttemptRecord, CampaignListRecord, CampaignRecord, DispositionRecord, DuePosition, DueRecord,
    InboxRecord, LeadRecord, LeaseRecord, PendingRecord, ReplicaRecord, ResultRecord, World,
};

/// A database in memory. Clones share it, as replicas do.
#[derive(Clone)]
pub struct MemoryStore {
    world: Arc<Mutex<World>>,
    installation: Installation,
    database_clock: DatabaseClock,
    network: Option<Arc<dyn Network>>,
}

/// The database's own clock: time since any fixed moment, never going back.
pub type DatabaseClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Decides what the network does to a method's call, before its effect and after it.
pub type FaultHook = Arc<dyn Fn(&'static str, Point) -> Fault + Send + Sync>;

/// A network between the store and its database that takes its time: what it carries may come late or never.
pub trait Network: Send + Sync {
    /// Carries a method's call to its effect, or the answer back.
    fn carry(&self, method: &'static str, point: Point) -> Pin<Box<dyn Future<Output = Fault> + Send + '_>>;
}

/// A network that takes no time.
struct Instant(FaultHook);

impl Network for Instant {
    fn carry(&self, method: &'static str, point: Point) -> Pin<Box<dyn Future<Output = Fault> + Send + '_>> {
        Box::pin(std::future::ready((self.0)(method, point)))
    }
}

/// Everything a database held at some moment.
#[derive(Clone)]
pub struct Snapshot(World);

/// Where in a call a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Nothing has happened yet.
    Before,
    /// The effect is durable, the answer is on its way.
    After,
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The database cannot be reached. After a write this is [`Fault::CommitUnknown`], since the caller may take
    /// `Unavailable` to mean that nothing was written.
    Unavailable,
    /// The connection breaks under a write. For a read this is [`Fault::Unavailable`].
    CommitUnknown,
}

/// The injected reason of a failure.
#[derive(Debug, thiserror::Error)]
#[error("injected {point:?} {method}")]
struct Injected {
    method: &'static str,
    point: Point,
}

impl MemoryStore {
    /// An empty database.
    pub fn new(installation: Installation, database_clock: DatabaseClock) -> Self {
        let world = Arc::new(Mutex::new(World::new(installation)));
        Self { world, installation, database_clock, network: None }
    }

    /// The same database, reached through a network with faults.
    pub fn with_faults(&self, fault_hook: FaultHook) -> Self {
        self.through(Arc::new(Instant(fault_hook)))
    }

    /// The same database, reached through a network.
    pub fn through(&self, network: Arc<dyn Network>) -> Self {
        Self { network: Some(network), ..self.clone() }
    }

    /// What a copy of the database would hold that was made at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.locked().clone())
    }

    /// Goes back to what a copy held, as a failover to a server that lags behind does; keys are given out again.
    pub fn go_back_to(&self, snapshot: &Snapshot) {
        *self.locked() = snapshot.0.clone();
    }

    /// Looks at the tables. The look must not call the store.
    pub fn inspect<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.locked())
    }

    /// The invariants that are broken, as far as the database can tell; a sentence each.
    pub fn check_invariants(&self) -> Vec<String> {
        self.inspect(invariant::broken)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().expect("a broken constraint ends the run")
    }

    async fn read<T>(&self, method: &'static str, effect: impl FnOnce(&World) -> T + Send) -> Result<T, StoreError> {
        self.consult_for_read(method, Point::Before).await?;
        tokio::task::yield_now().await;
        let answer = effect(&self.locked());
        self.consult_for_read(method, Point::After).await?;
        tokio::task::yield_now().await;
        Ok(answer)
    }

    async fn write<T>(
        &self,
        method: &'static str,
        effect: impl FnOnce(&mut World) -> T + Send,
    ) -> Result<T, StoreError> {
        self.consult_for_write(method, Point::Before).await?;
        tokio::task::yield_now().await;
        let answer = effect(&mut self.locked());
        self.consult_for_write(method, Point::After).await?;
        tokio::task::yield_now().await;
        Ok(answer)
    }

    async fn fault(&self, method: &'static str, point: Point) -> Fault {
        match &self.network {
            None => Fault::None,
            Some(network) => network.carry(method, point).await,
        }
    }

    async fn consult_for_read(&self, method: &'static str, point: Point) -> Result<(), StoreError> {
        match self.fault(method, point).await {
            Fault::None => Ok(()),
            Fault::Unavailable | Fault::CommitUnknown => {
                Err(StoreError::Unavailable(Box::new(Injected { method, point })))
            }
        }
    }

    async fn consult_for_write(&self, method: &'static str, point: Point) -> Result<(), StoreError> {
        let injected = Box::new(Injected { method, point });
        match (self.fault(method, point).await, point) {
            (Fault::None, _) => Ok(()),
            (Fault::Unavailable, Point::Before) => Err(StoreError::Unavailable(injected)),
            (Fault::Unavailable, Point::After) | (Fault::CommitUnknown, _) => Err(StoreError::CommitUnknown(injected)),
        }
    }
}

impl Store for MemoryStore {
    fn installation(&self) -> Installation {
        self.installation
    }

    async fn database_now(&self) -> Result<Timestamp, StoreError> {
        let clock = &self.database_clock;
        self.read("database_now", |_| Timestamp::UNIX_EPOCH + clock()).await
    }

    async fn beat(&self, beat: &Beat<'_>) -> Result<Pulse, StoreError> {
        let clock = &self.database_clock;
        self.write("beat", |world| replica::beat(world, beat, clock())).await
    }

    async fn renew_leases(&self, request: &LeaseRequest<'_>) -> Result<Vec<Lease>, StoreError> {
        let clock = &self.database_clock;
        self.write("renew_leases", |world| control::renew_leases(world, request, clock())).await
    }

    async fn release_leases(&self, owner: OwnerId, accounts: &[AccountName]) -> Result<(), StoreError> {
        let clock = &self.database_clock;
        self.write("release_leases", |world| control::release_leases(world, owner, accounts, clock())).await
    }

    async fn leave(&self, owner: OwnerId) -> Result<(), StoreError> {
        let clock = &self.database_clock;
        self.write("leave", |world| replica::leave(world, owner, clock())).await
    }

    async fn restore_attempt(&self, lease: &Lease, lost: &LostAttempt, now: Timestamp) -> Result<Restored, StoreError> {
        let clock = &self.database_clock;
        self.write("restore_attempt", |world| replica::restore(world, lease, lost, now, clock())).await
    }

    async fn end_reconciliation(
        &self,
        reconciliation: &Reconciliation,
        stop: Option<&str>,
    ) -> Result<bool, StoreError> {
        self.write("end_reconciliation", |world| replica::end_reconciliation(world, reconciliation, stop)).await
    }

    async fn control(&self) -> Result<Control, StoreError> {
        let clock = &self.database_clock;
        self.read("control", |world| control::control(world, clock())).await
    }

    async fn open_attempts(&self, account: &AccountName) -> Result<Vec<OpenAttempt>, StoreError> {
        self.read("open_attempts", |world| control::open_attempts(world, account)).await
    }

    async fn open_among(&self, account: &AccountName, attempts: &[AttemptId]) -> Result<Vec<OpenAttempt>, StoreError> {
        self.read("open_among", |world| control::open_among(world, account, attempts)).await
    }

    async fn open_counts(&self, account: &AccountName) -> Result<Vec<OpenCount>, StoreError> {
        self.read("open_counts", |world| control::open_counts(world, account)).await
    }

    async fn starts_since(&self, whose: StartsOf<'_>, since: Timestamp, at_most: u32) -> Result<u32, StoreError> {
        self.read("starts_since", |world| control::starts_since(world, whose, since, at_most)).await
    }

    async fn peek_due(
        &self,
        now: Timestamp,
        person_since: Timestamp,
        probes: &[Probe],
    ) -> Result<Vec<Candidate>, StoreError> {
        self.read("peek_due", |world| due::peek(world, now, person_since, probes)).await
    }

    async fn begin_dials(
        &self,
        lease: &Lease,
        intents: &[DialIntent],
        witness: Option<AttemptId>,
        now: Timestamp,
    ) -> Result<Vec<CommittedIntent>, StoreError> {
        let clock = &self.database_clock;
        self.write("begin_dials", |world| dial::begin(world, lease, intents, witness, now, clock())).await
    }

    async fn confirm(
        &self,
        attempts: &[AttemptId],
        now: Timestamp,
        person_since: Timestamp,
    ) -> Result<Vec<(AttemptId, PersonFacts)>, StoreError> {
        self.read("confirm", |world| dial::confirm(world, attempts, now, person_since)).await
    }

    async fn record_replies(&self, replies: &[ReplyRecord]) -> Result<Vec<AttemptId>, StoreError> {
        self.write("record_replies", |world| dial::record_replies(world, replies)).await
    }

    async fn change_open(&self, changes: &[OpenChange]) -> Result<Vec<AttemptId>, StoreError> {
        self.write("change_open", |world| dial::change_open(world, changes)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<AttemptId>, StoreError> {
        self.write("settle", |world| settle::settle(world, settlements)).await
    }

    async fn history(&self, leads: &[(CampaignId, LeadId)]) -> Result<Vec<PastAttempt>, StoreError> {
        self.read("history", |world| settle::history(world, leads)).await
    }

    async fn defer(&self, deferrals: &[(DueKey, Timestamp)]) -> Result<u64, StoreError> {
        self.write("defer", |world| due::defer(world, deferrals)).await
    }

    async fn dispose(&self, verdicts: &[(DueKey, Verdict)], now: Timestamp) -> Result<u64, StoreError> {
        self.write("dispose", |world| due::dispose(world, verdicts, now)).await
    }

    async fn append_inbox(&self, events: &[InboxEvent], now: Timestamp) -> Result<(), StoreError> {
        self.write("append_inbox", |world| inbox::append(world, events, now)).await
    }

    async fn peek_inbox(
        &self,
        account: &AccountName,
        not_before: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<PendingEvent>, StoreError> {
        self.read("peek_inbox", |world| inbox::peek(world, account, not_before, now, limit)).await
    }

    async fn find_attempts(&self, account: &AccountName, calls: &[CallKey]) -> Result<Vec<CallMatch>, StoreError> {
        self.read("find_attempts", |world| inbox::find_attempts(world, account, calls)).await
    }

    async fn bind_calls(&self, account: &AccountName, bindings: &[Binding]) -> Result<(), StoreError> {
        self.write("bind_calls", |world| inbox::bind(world, account, bindings)).await
    }

    async fn mark_inbox(&self, marks: &[(InboxId, InboxMark)], _now: Timestamp) -> Result<(), StoreError> {
        self.write("mark_inbox", |world| inbox::mark(world, marks)).await
    }

    async fn reread_quarantined(&self, version: &str, limit: u32, now: Timestamp) -> Result<u32, StoreError> {
        self.write("reread_quarantined", |world| inbox::reread(world, version, limit, now)).await
    }

    async fn apply_late(&self, late: &[LateResult], now: Timestamp) -> Result<(), StoreError> {
        self.write("apply_late", |world| settle::apply_late(world, late, now)).await
    }

    async fn peek_lead_changes(&self, limit: u32) -> Result<Vec<LeadChange>, StoreError> {
        self.read("peek_lead_changes", |world| enrolment::peek_changes(world, limit)).await
    }

    async fn next_list_page(&self, limit: u32) -> Result<Option<ListPage>, StoreError> {
        self.read("next_list_page", |world| enrolment::next_page(world, limit)).await
    }

    async fn apply_enrolment(
        &self,
        steps: &[EnrolmentStep],
        done: EnrolmentDone,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("apply_enrolment", |world| enrolment::apply(world, steps, done, now)).await
    }

    async fn set_campaign_lists(&self, lists: &[CampaignLists]) -> Result<(), StoreError> {
        self.write("set_campaign_lists", |world| enrolment::set_campaign_lists(world, lists)).await
    }

    async fn note_campaigns(&self, notes: &[(CampaignId, Option<String>)]) -> Result<(), StoreError> {
        self.write("note_campaigns", |world| campaign::note(world, notes)).await
    }

    async fn backlog(&self, campaign_id: CampaignId) -> Result<Backlog, StoreError> {
        self.read("backlog", |world| campaign::backlog(world, campaign_id)).await
    }

    async fn dispose_all_due(
        &self,
        campaign_id: CampaignId,
        verdict: &Verdict,
        limit: u32,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write("dispose_all_due", |world| due::dispose_all(world, campaign_id, verdict, limit, now)).await
    }

    async fn finished_with_due(&self) -> Result<Vec<CampaignId>, StoreError> {
        self.read("finished_with_due", campaign::finished_with_due).await
    }

    async fn advance_campaign(
        &self,
        campaign_id: CampaignId,
        from: CampaignState,
        to: CampaignState,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write("advance_campaign", |world| campaign::advance(world, campaign_id, from, to)).await
    }

    async fn save_roster(
        &self,
        account: &AccountName,
        roster: &[Assistant],
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("save_roster", |world| campaign::save_roster(world, account, roster)).await
    }

    async fn pin_assistants(
        &self,
        account: &AccountName,
        uses: &[AssistantUse],
        now: Timestamp,
    ) -> Result<Vec<AssistantChange>, StoreError> {
        self.write("pin_assistants", |world| campaign::pin_assistants(world, account, uses, now)).await
    }

    async fn save_account_state(&self, state: &AccountState) -> Result<(), StoreError> {
        self.write("save_account_state", |world| campaign::save_account_state(world, state)).await
    }

    async fn expire_suppressions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write("expire_suppressions", |world| retention::expire_suppressions(world, now)).await
    }

    async fn retain(&self, now: Timestamp, policy: RetentionPolicy) -> Result<RetainReport, StoreError> {
        self.write("retain", |world| retention::retain(world, now, policy)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_goes_back_knows_nothing_of_what_came_since() {
        let store = MemoryStore::new(Installation::new(7), Arc::new(|| Duration::ZERO));
        let list = store.insert_list("leads");
        let first = store.insert_lead(list, NewLead { phone: "+4930100000".to_owned(), ..NewLead::default() });
        let before = store.snapshot();
        let lost = store.insert_lead(list, NewLead { phone: "+4930100001".to_owned(), ..NewLead::default() });
        store.clone().go_back_to(&before);
        let leads = store.inspect(|tables| tables.lead.keys().copied().collect::<Vec<_>>());
        assert_eq!(leads, [first], "clones see it, too");
        let again = store.insert_lead(list, NewLead { phone: "+4930100002".to_owned(), ..NewLead::default() });
        assert_eq!(again, lost, "keys are given out again, as after a failover");
    }
}
