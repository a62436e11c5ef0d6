//! The passes: load facts, decide purely, apply.
//!
//! Each pass is bounded, idempotent and safe to run at any time; [`driver`] gives it a period and wakes it early. What
//! the engine keeps in memory is either a copy of rows, refreshed all the time, or how fast it has been sending; a crash
//! at any point loses nothing that the next start does not read again.

pub mod campaign;
pub mod cancel;
pub mod clock;
pub mod collect;
pub mod dispatch;
pub mod driver;
pub mod enrol;
pub mod finish;
mod health;
pub mod lease;
pub mod observe;
pub mod pacer;
pub mod place;
pub mod poll;
mod reconcile;
pub mod record;
pub mod resolve;
pub mod roster;
pub mod settings;
mod trust;
pub mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::domain::assistant::Assistant;
use crate::domain::calibration::Calibration;
use crate::domain::campaign::Definition;
use crate::domain::id::{AccountName, AttemptId, CampaignId, ProviderCallId};
use crate::domain::person::PersonLimits;
use crate::domain::phone::PhoneNumber;
use crate::port::clock::Clock;
use crate::port::provider::{CallPage, Provider};
use crate::port::store::{RetentionPolicy, Store};

use clock::AgreedClock;
use health::{Guard, Health};
use lease::HeldLease;
use pacer::{Pacer, RequestBudget};
use record::Record;
use settings::{AccountSettings, Live, Settings};
use trust::Trusts;
use view::View;

/// Everything the passes share.
pub struct Engine<S, P, C> {
    /// The database.
    pub store: S,
    /// Time, as far as the machine's clock and the database's agree on it.
    pub clock: AgreedClock<C>,
    settings: Live<Settings>,
    /// Every account of the configuration.
    pub accounts: BTreeMap<AccountName, Account<P>>,
    view: RwLock<Arc<View>>,
    draining: AtomicBool,
    in_flight: Mutex<BTreeMap<AttemptId, AccountName>>,
    /// Attempts that were begun here, perhaps durably, and certainly never permitted; since when that is so.
    unpermitted: Mutex<BTreeMap<AttemptId, (AccountName, Instant)>>,
    replica: Mutex<lease::Replica>,
    /// Wakes the pass that takes leases: one is free.
    lease_wake: Notify,
    tasks: TaskTracker,
    tallies: Mutex<observe::Tallies>,
    /// Whether what an older version could not read has been looked at again since the start.
    reread_done: AtomicBool,
}

/// One account at work.
pub struct Account<P> {
    /// Its name in the configuration.
    pub name: AccountName,
    settings: Live<AccountSettings>,
    /// Its provider.
    pub provider: P,
    pacer: Mutex<Pacer>,
    requests: Mutex<RequestBudget>,
    lease: Mutex<Option<HeldLease>>,
    /// Whether the lease is to be given to another replica as soon as nothing is under way.
    handing_over: AtomicBool,
    roster: Mutex<Roster>,
    newest_call: Mutex<Option<ProviderCallId>>,
    hold: Mutex<Hold>,
    health: Mutex<Health>,
    reserved: Mutex<BTreeMap<CampaignId, u32>>,
    known_phone: Mutex<Option<(PhoneNumber, Timestamp)>>,
    turn: AtomicU64,
    wakes: Wakes,
    records: mpsc::UnboundedSender<Record>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Record>>>,
    dispatch_memory: Mutex<dispatch::Memory>,
    collect_memory: Mutex<collect::Memory>,
    words_seen: Mutex<BTreeSet<String>>,
    /// Attempts whose call the provider was asked to take back.
    canceled: Mutex<BTreeSet<AttemptId>>,
    calibration: Mutex<Calibration>,
    poll_memory: Mutex<poll::Memory>,
    reconcile_memory: Mutex<reconcile::Memory>,
    /// Whether the provider's filter by phone number has found a call once.
    phone_filter_works: AtomicBool,
    /// Whether the provider's list has shown a call once.
    list_shows_calls: AtomicBool,
}

/// Early wake-ups; they carry no data.
#[derive(Default)]
struct Wakes {
    dispatch: Notify,
    collect: Notify,
    poll: Notify,
    roster: Notify,
}

/// The account's assistants as last read.
#[derive(Debug, Default)]
struct Roster {
    /// `None` until the first read.
    assistants: Option<Arc<Vec<Assistant>>>,
    trusts: Trusts,
}

/// Why an account does not dial for a while, as this replica has seen it.
#[derive(Debug, Default)]
struct Hold {
    /// No starts and no reads before this.
    until: Option<Timestamp>,
    /// Why.
    reason: String,
    /// Failures to connect in a row.
    unreachable: u32,
}

impl<S: Store, P: Provider, C: Clock> Engine<S, P, C> {
    /// Makes an engine that has done nothing yet.
    pub fn new(store: S, clock: C, settings: Settings, accounts: Vec<(AccountSettings, P)>) -> Arc<Self> {
        let clock = AgreedClock::new(clock);
        let now = clock.now();
        let accounts = accounts
            .into_iter()
            .map(|(settings, provider)| (settings.name.clone(), Account::new(settings, provider, now)))
            .collect();
        let engine = Arc::new(Self {
            view: RwLock::new(Arc::new(View::empty(clock.monotonic()))),
            store,
            clock,
            settings: Live::new(settings),
            accounts,
            draining: AtomicBool::new(false),
            in_flight: Mutex::new(BTreeMap::new()),
            unpermitted: Mutex::new(BTreeMap::new()),
            replica: Mutex::new(lease::Replica::default()),
            lease_wake: Notify::new(),
            tasks: TaskTracker::new(),
            tallies: Mutex::default(),
            reread_done: AtomicBool::new(false),
        });
        for (name, account) in &engine.accounts {
            account.provider.attach(Arc::new(Guard::new(Arc::downgrade(&engine), name.clone())));
        }
        engine
    }

    /// What the daemon was told, as it stands now.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.get()
    }

    /// Takes over how often a person may be called and how long what is kept; the next look at either obeys.
    pub fn obey_policies(&self, person: PersonLimits, retention: RetentionPolicy) {
        self.settings.change(|settings| Settings { person, retention, ..settings.clone() });
    }

    /// Takes over an account's limits: its next start obeys them. Whatever is under way goes on.
    pub fn obey_limits(&self, account: &Account<P>, wanted: &AccountSettings) {
        account.settings.change(|settings| AccountSettings {
            limits: wanted.limits.clone(),
            requests_per_minute: wanted.requests_per_minute,
            requests_burst: wanted.requests_burst,
            ..settings.clone()
        });
        let settings = account.settings();
        lock(&account.pacer).set_account(&settings.limits, self.clock.now());
        lock(&account.requests).set(
            settings.requests_per_minute,
            settings.requests_burst,
            settings.starts_per_minute(),
        );
        // What a day is may have changed: its starts are counted anew.
        *lock(&account.dispatch_memory) = dispatch::Memory::default();
        account.wakes.dispatch.notify_one();
    }

    /// Looks at an account's standing and its assistants now: it has another key.
    pub fn look_again(&self, account: &Account<P>) {
        lock(&account.health).check_at(self.clock.now());
        account.wakes.roster.notify_one();
    }

    /// The control tables as last read.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().expect("no writer panics"))
    }

    fn set_view(&self, view: View) {
        *self.view.write().expect("no reader panics") = Arc::new(view);
    }

    /// Whether new dials have ended for good.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Attempts whose permit this process has given out and whose reply is not yet recorded, with their accounts.
    fn in_flight(&self) -> MutexGuard<'_, BTreeMap<AttemptId, AccountName>> {
        lock(&self.in_flight)
    }
}

impl<P: Provider> Account<P> {
    fn new(settings: AccountSettings, provider: P, now: Timestamp) -> Self {
        let (records, inbox) = mpsc::unbounded_channel();
        Self {
            pacer: Mutex::new(Pacer::new(&settings.limits, now)),
            requests: Mutex::new(RequestBudget::new(
                settings.requests_per_minute,
                settings.requests_burst,
                settings.starts_per_minute(),
            )),
            lease: Mutex::new(None),
            handing_over: AtomicBool::new(false),
            roster: Mutex::new(Roster::default()),
            newest_call: Mutex::new(None),
            hold: Mutex::new(Hold::default()),
            health: Mutex::new(Health::default()),
            reserved: Mutex::new(BTreeMap::new()),
            known_phone: Mutex::new(None),
            turn: AtomicU64::new(0),
            wakes: Wakes::default(),
            records,
            inbox: Mutex::new(Some(inbox)),
            dispatch_memory: Mutex::new(dispatch::Memory::default()),
            collect_memory: Mutex::new(collect::Memory::default()),
            words_seen: Mutex::new(BTreeSet::new()),
            canceled: Mutex::new(BTreeSet::new()),
            calibration: Mutex::new(Calibration::default()),
            poll_memory: Mutex::new(poll::Memory::default()),
            reconcile_memory: Mutex::new(reconcile::Memory::default()),
            phone_filter_works: AtomicBool::new(false),
            list_shows_calls: AtomicBool::new(false),
            name: settings.name.clone(),
            settings: Live::new(settings),
            provider,
        }
    }

    /// What it was told, as it stands now.
    pub fn settings(&self) -> Arc<AccountSettings> {
        self.settings.get()
    }

    /// Why the account cannot dial a campaign, as far as its definition goes.
    pub fn misfit(&self, definition: &Definition) -> Option<String> {
        let refused = !definition.call.is_empty() && !self.provider.abilities().takes_call_options;
        let name = &self.name;
        refused.then(|| format!("the provider of account {name} takes no call options: remove the section call"))
    }

    /// Wakes the pass that reads the inbox.
    pub fn wake_collect(&self) {
        self.wakes.collect.notify_one();
    }

    /// Remembers the newest call the provider has told of.
    fn saw_call(&self, call_id: &ProviderCallId) {
        let mut newest = lock(&self.newest_call);
        if newest.as_ref().is_none_or(|known| is_newer(call_id, known) == Some(true)) {
            *newest = Some(call_id.clone());
        }
    }

    /// Remembers that the provider's list shows calls, if it does.
    fn saw_list(&self, page: &CallPage) {
        if !page.calls.is_empty() {
            self.list_shows_calls.store(true, Ordering::Relaxed);
        }
    }

    /// Slots of the pacer that are given away and not yet charged: of a campaign, and of all.
    fn reserved(&self, campaign_id: CampaignId) -> (u32, u32) {
        let reserved = lock(&self.reserved);
        (reserved.get(&campaign_id).copied().unwrap_or(0), reserved.values().sum())
    }

    fn reserve(&self, campaign_id: CampaignId) {
        *lock(&self.reserved).entry(campaign_id).or_default() += 1;
    }

    fn give_back(&self, campaign_id: CampaignId) {
        let mut reserved = lock(&self.reserved);
        if let Some(count) = reserved.get_mut(&campaign_id) {
            *count = count.saturating_sub(1);
        }
    }

    /// Keeps the account quiet until then, unless it is to be quiet longer already.
    fn hold_until(&self, until: Timestamp, reason: impl Into<String>) {
        let mut hold = lock(&self.hold);
        if hold.until.is_none_or(|present| present < until) {
            hold.until = Some(until);
            hold.reason = reason.into();
        }
    }

    fn held_back(&self, now: Timestamp) -> Option<String> {
        let hold = lock(&self.hold);
        hold.until.filter(|until| now < *until).map(|until| format!("{} (until {until})", hold.reason))
    }

    /// Whether the account may send a read now; the provider's client charges it when it is sent.
    fn may_read(&self, now: Timestamp) -> bool {
        self.reads_left(now) > 0
    }

    /// Whether there is room for what one page of the list costs.
    fn may_list(&self, now: Timestamp) -> bool {
        self.reads_left(now) >= self.provider.abilities().list_requests
    }

    /// How many reads may be sent now.
    fn reads_left(&self, now: Timestamp) -> u32 {
        if self.held_back(now).is_some() { 0 } else { lock(&self.requests).left_for_reads(now) }
    }

    /// How late the list may show a call, where a call it does not show is thereby proven not to be.
    fn absence_lag(&self) -> Option<SignedDuration> {
        self.settings().list_lag_max.filter(|_| self.provider.abilities().list_proves_absence)
    }
}

/// Whether one call id is newer than another; `None` where ids do not count.
fn is_newer(call_id: &ProviderCallId, than: &ProviderCallId) -> Option<bool> {
    let number = |id: &ProviderCallId| id.as_str().parse::<u128>().ok();
    Some(number(call_id)? > number(than)?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

/// An instant that is never later than `now`: Postgres orders by it, and what lies behind now is found at once.
fn not_before(at: Timestamp, now: Timestamp) -> Timestamp {
    at.max(now)
}

/// Doubles from `first` with each failure in a row, up to `max`.
fn back_off(first: SignedDuration, failures: u32, max: SignedDuration) -> SignedDuration {
    let factor = 1i32 << failures.saturating_sub(1).min(16);
    first.checked_mul(factor).unwrap_or(max).min(max)
}

#[cfg(test)]
mod tests;
