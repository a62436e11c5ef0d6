//! What the simulated provider knows: assistants, balance, and every call it ever placed.
//!
//! One lock guards all of it; nothing in here waits. Calls lie in the order of their ids and of their acceptance at
//! once, so every read is a binary search or a walk over one page. Only listing by `status` without a phone number
//! looks at every call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::{CallRecord, OutcomeMix, Plan, Request, Status, Timing};
use super::dice::Dice;
use super::fault::{Fault, Faults};

/// The id of the first call. Any number that no other table of a test uses will do.
const FIRST_CALL_ID: u64 = 480_001;

/// One assistant of the account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assistant {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it calls out; the others are only listed among all assistants.
    pub outbound: bool,
    /// Whether it may be used.
    pub active: bool,
    /// `pipeline` or `multimodal`.
    pub mode: String,
    /// The provider's number for its language.
    pub language_id: u64,
    /// Its IANA zone.
    pub timezone: String,
    /// The variables it declares, with their defaults.
    pub variables: Map<String, Value>,
    /// Where results are sent.
    pub webhook_url: Option<String>,
    /// Whether only completed calls are reported. The vendor's default is true.
    pub send_webhook_only_on_completed: bool,
}

impl Assistant {
    /// An active outbound assistant without a webhook.
    pub fn new(id: u64, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            outbound: true,
            active: true,
            mode: "pipeline".to_owned(),
            language_id: 1,
            timezone: "America/New_York".to_owned(),
            variables: Map::from_iter([("company_name".to_owned(), "Harbour Energy".into())]),
            webhook_url: None,
            send_webhook_only_on_completed: true,
        }
    }
}

/// Why a well-formed request places nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuchAssistant,
    AssistantInactive,
    NumberRefused,
    NoBalance,
}

/// Which calls a list shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub status: Option<String>,
    /// False where a type or a campaign was asked for that no simulated call has.
    pub nothing: bool,
    pub phone: Option<String>,
    pub assistant_id: Option<u64>,
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    pub per_page: usize,
    /// Counted from 1.
    pub page: usize,
}

/// What is fixed when the simulator starts.
pub(super) struct Nature {
    pub seed: u64,
    pub mix: OutcomeMix,
    pub timing: Timing,
}

pub(super) struct World {
    nature: Nature,
    pub assistants: BTreeMap<u64, Assistant>,
    pub balance_micros: i64,
    faults: Faults,
    calls: Vec<Arc<CallRecord>>,
    by_phone: HashMap<String, Phone>,
    by_assistant: HashMap<u64, Vec<usize>>,
    /// The longest list lag that was ever set: every call older than that is in the list.
    lag_max: SignedDuration,
    reads: u64,
    throttle: Throttle,
}

/// What is known about one number.
#[derive(Default)]
struct Phone {
    calls: Vec<usize>,
    /// How many valid requests named it.
    asked: u64,
}

impl World {
    pub(super) fn new(
        nature: Nature,
        assistants: impl IntoIterator<Item = Assistant>,
        balance_micros: i64,
        faults: Faults,
        requests_per_minute: Option<u32>,
    ) -> Self {
        Self {
            nature,
            assistants: assistants.into_iter().map(|assistant| (assistant.id, assistant)).collect(),
            balance_micros,
            lag_max: faults.list_lag.longest(),
            faults,
            calls: Vec::new(),
            by_phone: HashMap::new(),
            by_assistant: HashMap::new(),
            reads: 0,
            throttle: Throttle { limit: requests_per_minute, since: Timestamp::MIN, used: 0 },
        }
    }

    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Changes the faults of everything that comes; calls already placed keep their list lag.
    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.lag_max = self.lag_max.max(faults.list_lag.longest());
        self.faults = faults;
    }

    /// Whether this request may place a call at all.
    pub(super) fn admit(&self, phone: &str, assistant_id: u64) -> Result<(), Refusal> {
        match self.assistants.get(&assistant_id).filter(|assistant| assistant.outbound) {
            None => Err(Refusal::NoSuchAssistant),
            Some(assistant) if !assistant.active => Err(Refusal::AssistantInactive),
            Some(_) if self.nature.mix.refuses(self.nature.seed, phone) => Err(Refusal::NumberRefused),
            Some(_) if self.balance_micros <= 0 => Err(Refusal::NoBalance),
            Some(_) => Ok(()),
        }
    }

    /// What goes wrong with this admitted request, and a coin for faults that leave open whether a call was placed.
    pub(super) fn fate_of_request(&mut self, phone: &str) -> (Option<Fault>, Dice) {
        let history = self.by_phone.entry(phone.to_owned()).or_default();
        let mut dice = Dice::new(self.nature.seed, "placing", phone, history.asked);
        history.asked += 1;
        (self.faults.of_placing(&mut dice), dice)
    }

    /// What goes wrong with this read: decided by how many came before.
    pub(super) fn fate_of_read(&mut self) -> Option<Fault> {
        self.reads += 1;
        self.faults.of_reading(&mut Dice::new(self.nature.seed, "reading", "", self.reads))
    }

    /// What goes wrong with this call's webhook, and by how much.
    pub(super) fn fate_of_webhook(&self, call: &CallRecord) -> (Option<Fault>, SignedDuration) {
        let mut dice = Dice::new(self.nature.seed, "webhook", &call.phone, call.rung_before);
        let fault = self.faults.of_webhook(&mut dice);
        (fault, self.faults.webhook_late_by.draw(&mut dice))
    }

    /// Places a call; its whole cost is taken from the balance at once.
    pub(super) fn place(
        &mut self,
        phone: String,
        assistant_id: u64,
        variables: Map<String, Value>,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Arc<CallRecord> {
        let index = self.calls.len();
        let history = self.by_phone.entry(phone.clone()).or_default();
        let rung_before = history.calls.len() as u64;
        history.calls.push(index);
        self.by_assistant.entry(assistant_id).or_default().push(index);
        let Nature { seed, mix, timing } = &self.nature;
        let plan = Plan { seed: *seed, mix, timing, list_lag: self.faults.list_lag };
        let request = Request { call_id: FIRST_CALL_ID + index as u64, phone, assistant_id, variables, fault };
        let call = Arc::new(plan.call(request, rung_before, now));
        self.balance_micros -= call.cost_micros();
        self.calls.push(call.clone());
        call
    }

    /// When the webhook of a call is due.
    pub(super) fn webhook_due_at(&self, call: &CallRecord) -> Timestamp {
        let mut dice = Dice::new(self.nature.seed, "webhook delay", &call.phone, call.rung_before);
        call.completed_at + self.nature.timing.webhook_delay.draw(&mut dice)
    }

    pub(super) fn call(&self, call_id: u64) -> Option<&Arc<CallRecord>> {
        self.calls.get(usize::try_from(call_id.checked_sub(FIRST_CALL_ID)?).ok()?)
    }

    /// Every call, in the order of acceptance.
    pub(super) fn calls(&self) -> &[Arc<CallRecord>] {
        &self.calls
    }

    /// One page of the list, newest first, and how many calls the filter matches.
    pub(super) fn list(&self, filter: &Filter, now: Timestamp) -> (Vec<Arc<CallRecord>>, usize) {
        if filter.nothing {
            return (Vec::new(), 0);
        }
        let skip = filter.per_page.saturating_mul(filter.page.saturating_sub(1));
        let index = match (&filter.phone, filter.assistant_id) {
            (Some(phone), _) => Some(self.by_phone.get(phone).map_or(&[][..], |history| &history.calls)),
            (None, Some(assistant_id)) => Some(self.by_assistant.get(&assistant_id).map_or(&[][..], Vec::as_slice)),
            (None, None) => None,
        };
        let count = index.map_or(self.calls.len(), <[usize]>::len);
        let at = |position: usize| &self.calls[index.map_or(position, |index| index[position])];
        let first_where = |late: &dyn Fn(Timestamp) -> bool| partition_point(count, |p| !late(at(p).accepted_at));
        let low = filter.from.map_or(0, |from| first_where(&|accepted| accepted >= from));
        let high = filter.until.map_or(count, |until| first_where(&|accepted| accepted >= until)).max(low);
        // Below `settled` every call is in the list; above, it depends on the lag of each.
        let settled = first_where(&|accepted| accepted + self.lag_max > now).clamp(low, high);
        let fresh = (settled..high).rev().filter(|position| at(*position).listed_at <= now);
        let exact = filter.status.is_none() && (filter.phone.is_none() || filter.assistant_id.is_none());
        if exact {
            let fresh: Vec<usize> = fresh.collect();
            let total = fresh.len() + (settled - low);
            let page = fresh.iter().copied().chain((low..settled).rev()).skip(skip).take(filter.per_page);
            return (page.map(|position| at(position).clone()).collect(), total);
        }
        let matching: Vec<&Arc<CallRecord>> = fresh
            .chain((low..settled).rev())
            .map(at)
            .filter(|call| filter.assistant_id.is_none_or(|id| call.assistant_id == id))
            .filter(|call| filter.status.as_deref().is_none_or(|status| call.status(now).as_str() == status))
            .collect();
        (matching.iter().skip(skip).take(filter.per_page).copied().cloned().collect(), matching.len())
    }

    /// Counts a request against `requests_per_minute`.
    pub(super) fn throttle(&mut self, now: Timestamp) -> Option<Throttled> {
        self.throttle.count(now)
    }
}

/// Whether the result of a call is reported to its assistant's webhook, and where.
pub(super) fn webhook_target<'a>(assistant: &'a Assistant, call: &CallRecord) -> Option<&'a str> {
    let completed = call.status(call.completed_at) == Status::Completed;
    assistant.webhook_url.as_deref().filter(|_| completed || !assistant.send_webhook_only_on_completed)
}

/// The request limit: a fixed window of a civil minute that begins with its first request.
struct Throttle {
    limit: Option<u32>,
    since: Timestamp,
    used: u32,
}

/// Where a request stands in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throttled {
    pub limit: u32,
    pub remaining: u32,
    pub reset_at: Timestamp,
    /// Civil seconds to wait; none where the request is allowed.
    pub retry_after: Option<u32>,
}

impl Throttle {
    fn count(&mut self, now: Timestamp) -> Option<Throttled> {
        const WINDOW: SignedDuration = SignedDuration::from_secs(60);
        let limit = self.limit?;
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.used) = (now, 0);
        }
        let reset_at = self.since + WINDOW;
        let allowed = self.used < limit;
        self.used += u32::from(allowed);
        let wait = reset_at.duration_since(now).as_secs().saturating_add(1);
        let retry_after = (!allowed).then(|| u32::try_from(wait).unwrap_or(u32::MAX));
        Some(Throttled { limit, remaining: limit - self.used, reset_at, retry_after })
    }
}

/// The first position below `count` at which `is_before` is false.
fn partition_point(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::super::call::Fate;
    use super::super::span::Span;
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn world(list_lag: Span) -> World {
        let nature = Nature { seed: 1, mix: OutcomeMix::only(Fate::NoAnswer), timing: Timing::default() };
        let assistants = [Assistant::new(1, "one"), Assistant::new(2, "two")];
        World::new(nature, assistants, 1_000_000, Faults { list_lag, ..Faults::default() }, None)
    }

    #[test]
    fn lists_agree_with_looking_at_every_call() {
        let mut world = world(Span::seconds(0, 30));
        for number in 0..200 {
            world.place(format!("+1202555010{}", number % 7), 1 + number % 2, Map::new(), None, second(number as i64));
        }
        let mut compared = 0;
        for now in [0, 40, 150, 199, 500] {
            for phone in [None, Some("+12025550103")] {
                for assistant_id in [None, Some(2)] {
                    for status in [None, Some("no-answer")] {
                        for (from, until) in [(None, None), (Some(20), Some(120))] {
                            let filter = Filter {
                                status: status.map(str::to_owned),
                                phone: phone.map(str::to_owned),
                                assistant_id,
                                from: from.map(second),
                                until: until.map(second),
                                per_page: 10,
                                page: 2,
                                nothing: false,
                            };
                            let now = second(now);
                            let expected: Vec<u64> = world
                                .calls
                                .iter()
                                .rev()
                                .filter(|call| call.listed_at <= now)
                                .filter(|call| phone.is_none_or(|phone| call.phone == phone))
                                .filter(|call| assistant_id.is_none_or(|id| call.assistant_id == id))
                                .filter(|call| status.is_none_or(|status| call.status(now).as_str() == status))
                                .filter(|call| filter.from.is_none_or(|from| call.accepted_at >= from))
                                .filter(|call| filter.until.is_none_or(|until| call.accepted_at < until))
                                .map(|call| call.call_id)
                                .collect();
                            let (page, total) = world.list(&filter, now);
                            assert_eq!(total, expected.len(), "{filter:?}");
                            let page: Vec<u64> = page.iter().map(|call| call.call_id).collect();
                            assert_eq!(page, expected.into_iter().skip(10).take(10).collect::<Vec<_>>(), "{filter:?}");
                            compared += page.len();
                        }
                    }
                }
            }
        }
        assert!(compared > 100, "the cases show something");
    }

    #[test]
    fn a_shorter_lag_does_not_hide_calls_that_were_placed_under_a_longer_one() {
        let mut world = world(Span::seconds(100, 100));
        world.place("+12025550100".to_owned(), 1, Map::new(), None, second(0));
        world.set_faults(Faults::default());
        world.place("+12025550101".to_owned(), 1, Map::new(), None, second(1));
        let filter = Filter { per_page: 10, page: 1, ..Filter::default() };
        assert_eq!(world.list(&filter, second(50)).1, 1);
        assert_eq!(world.list(&filter, second(100)).1, 2);
    }

    #[test]
    fn the_throttle_counts_by_windows() {
        let mut throttle = Throttle { limit: Some(2), since: Timestamp::MIN, used: 0 };
        let retry_after = |throttled: Option<Throttled>| throttled.unwrap().retry_after;
        assert_eq!(throttle.count(second(0)).unwrap().remaining, 1);
        assert_eq!(retry_after(throttle.count(second(10))), None);
        assert_eq!(retry_after(throttle.count(second(50))), Some(11));
        assert_eq!(retry_after(throttle.count(second(60))), None);
        assert_eq!(Throttle { limit: None, since: Timestamp::MIN, used: 0 }.count(second(0)), None);
    }

    #[test]
    fn requests_are_refused_for_the_first_reason_that_holds() {
        let mut world = world(Span::ZERO);
        assert_eq!(world.admit("+12025550100", 1), Ok(()));
        assert_eq!(world.admit("+12025550100", 9), Err(Refusal::NoSuchAssistant));
        world.balance_micros = 0;
        assert_eq!(world.admit("+12025550100", 1), Err(Refusal::NoBalance));
        world.nature.mix.refused_numbers = 1.0;
        assert_eq!(world.admit("+12025550100", 1), Err(Refusal::NumberRefused));
        world.assistants.get_mut(&1).unwrap().active = false;
        assert_eq!(world.admit("+12025550100", 1), Err(Refusal::AssistantInactive));
    }
}
