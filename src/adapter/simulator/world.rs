//! What the simulated provider knows: assistants, balance, and every call it ever placed.
//!
//! One lock guards all of it; nothing in here waits. Calls lie in the order of their ids and of their acceptance at
//! once, so every read is a binary search or a walk over one page. Only listing by `status` without a phone number
//! looks at every call.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::assistant::Assistant;
use super::call::{CallRecord, Plan, Request, Status, Timing};
use super::dialect::Dialect;
use super::dice::Dice;
use super::fault::{Fault, Faults};
use super::mix::OutcomeMix;
use super::rate::{RateLimit, Throttle, Throttled};
use super::request::{CallRequest, is_e164};
use super::shape::Family;
use super::span::Span;
use super::webhook::{Due, Event};

/// The id of the first call. Any number that no other table of a test uses will do.
const FIRST_CALL_ID: u64 = 480_001;

/// The id of the first call where ids are beyond what a double holds: readers that use one get its neighbour.
const FIRST_LARGE_CALL_ID: u64 = (1 << 53) + 1;

/// How long the daily cap looks back, civil.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Why a well-formed request places nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuchAssistant,
    AssistantInactive,
    NumberRefused,
    NoBalance,
    CapReached,
}

/// Which calls a list shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub statuses: Option<Vec<Status>>,
    /// True where something was asked for that no simulated call has.
    pub nothing: bool,
    pub phone: Option<String>,
    pub assistant_id: Option<u64>,
    /// From this instant on.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
    pub oldest_first: bool,
    /// How many to leave out at the beginning.
    pub skip: usize,
    /// How many to show at most.
    pub limit: usize,
}

/// What is fixed when the simulator starts.
pub(super) struct Nature {
    pub family: Family,
    pub seed: u64,
    pub mix: OutcomeMix,
    pub timing: Timing,
    pub queue: Span,
}

pub(super) struct World {
    nature: Nature,
    first_call_id: u64,
    pub dialect: Arc<Dialect>,
    pub assistants: BTreeMap<u64, Assistant>,
    pub balance_micros: i64,
    pub key_revoked: bool,
    /// How many calls a rolling day may have.
    pub calls_per_day: Option<u32>,
    faults: Faults,
    calls: Vec<Arc<CallRecord>>,
    by_phone: HashMap<String, Phone>,
    by_assistant: HashMap<u64, Vec<usize>>,
    /// The longest list lag that was ever set: every call older than that is in the list.
    lag_max: SignedDuration,
    reads: u64,
    /// How many answers were written; what types drift in the next one depends on it.
    answers: u64,
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
        dialect: Dialect,
        assistants: impl IntoIterator<Item = Assistant>,
        faults: Faults,
    ) -> Self {
        let large = matches!(nature.family, Family::Autocalls(_)) && dialect.quirks.type_drift > 0.0;
        Self {
            nature,
            first_call_id: if large { FIRST_LARGE_CALL_ID } else { FIRST_CALL_ID },
            dialect: Arc::new(dialect),
            assistants: assistants.into_iter().map(|assistant| (assistant.id, assistant)).collect(),
            balance_micros: i64::MAX,
            key_revoked: false,
            calls_per_day: None,
            lag_max: faults.list_lag.longest(),
            faults,
            calls: Vec::new(),
            by_phone: HashMap::new(),
            by_assistant: HashMap::new(),
            reads: 0,
            answers: 0,
            throttle: Throttle::new(None),
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

    /// The assistant that goes by this name in requests. A deleted one does not.
    pub(super) fn assistant(&self, key: &str) -> Option<&Assistant> {
        let mut living = self.assistants.values().filter(|assistant| assistant.deleted_at.is_none());
        living.find(|assistant| self.nature.family.names(assistant, key))
    }

    /// Whether this request may place a call at all, and by which assistant.
    pub(super) fn admit(&self, request: &CallRequest, now: Timestamp) -> Result<u64, Refusal> {
        let refused = || self.nature.family.checks_numbers() && self.refuses(&request.phone);
        match self.assistant(&request.assistant).filter(|assistant| assistant.outbound) {
            None => Err(Refusal::NoSuchAssistant),
            Some(assistant) if !assistant.active => Err(Refusal::AssistantInactive),
            Some(_) if refused() => Err(Refusal::NumberRefused),
            Some(_) if self.balance_micros <= 0 => Err(Refusal::NoBalance),
            Some(_) if self.cap_reached(now) => Err(Refusal::CapReached),
            Some(assistant) => Ok(assistant.id),
        }
    }

    fn refuses(&self, phone: &str) -> bool {
        self.nature.mix.refuses(self.nature.seed, phone)
    }

    fn cap_reached(&self, now: Timestamp) -> bool {
        let within_a_day = |cap| {
            let before = self.calls.partition_point(|call| call.accepted_at + DAY <= now);
            self.calls.len() - before >= usize::try_from(cap).unwrap_or(usize::MAX)
        };
        self.calls_per_day.is_some_and(within_a_day)
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

    /// A die for the next answer.
    pub(super) fn next_answer(&mut self) -> Dice {
        self.answers += 1;
        Dice::new(self.nature.seed, "answer", "", self.answers)
    }

    /// What goes wrong with this webhook, and by how much.
    pub(super) fn fate_of_webhook(&self, call: &CallRecord, event: &Event) -> (Option<Fault>, SignedDuration) {
        let mut dice = self.dice_of(call, event, "webhook");
        let fault = self.faults.of_webhook(&mut dice);
        (fault, self.faults.webhook_late_by.draw(&mut dice))
    }

    /// Chance about one webhook. The last of a call keeps the topic's own name, so that families with one and with
    /// several agree about it.
    pub(super) fn dice_of(&self, call: &CallRecord, event: &Event, topic: &str) -> Dice {
        let before_the_last = (!event.is_last).then(|| format!("{topic} {}", event.name));
        Dice::new(self.nature.seed, before_the_last.as_deref().unwrap_or(topic), &call.phone, call.rung_before)
    }

    /// Places a call; its whole cost is taken from the balance at once.
    pub(super) fn place(
        &mut self,
        asked: CallRequest,
        assistant_id: u64,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Arc<CallRecord> {
        let index = self.calls.len();
        let unreachable = !is_e164(&asked.phone) || self.refuses(&asked.phone);
        let history = self.by_phone.entry(asked.phone.clone()).or_default();
        let rung_before = history.calls.len() as u64;
        history.calls.push(index);
        self.by_assistant.entry(assistant_id).or_default().push(index);
        let Nature { family, seed, mix, timing, queue } = &self.nature;
        let plan = Plan { seed: *seed, mix, timing, queue: *queue, list_lag: self.faults.list_lag };
        let call_id = self.first_call_id + index as u64;
        let request = Request { call_id, wire_id: family.wire_id(call_id), assistant_id, asked, unreachable, fault };
        let call = Arc::new(plan.call(request, rung_before, now));
        self.balance_micros = self.balance_micros.saturating_sub(call.cost_micros());
        self.calls.push(call.clone());
        call
    }

    /// Cancels a call that has not rung; its cost is given back.
    pub(super) fn cancel(&mut self, call_id: u64, now: Timestamp) -> Option<Arc<CallRecord>> {
        let index = self.index(call_id)?;
        let canceled = Arc::new(self.calls.get(index)?.canceled(now)?);
        self.balance_micros = self.balance_micros.saturating_add(self.calls[index].cost_micros());
        self.calls[index] = canceled.clone();
        Some(canceled)
    }

    /// The webhooks of a call, and when each is due.
    pub(super) fn webhooks_of(&self, call: &CallRecord) -> Vec<Due> {
        let due = |event: Event| {
            let delay = self.nature.timing.webhook_delay.draw(&mut self.dice_of(call, &event, "webhook delay"));
            Due { at: event.at + delay, call_id: call.call_id, event }
        };
        self.nature.family.events(call).into_iter().map(due).collect()
    }

    /// A call as it is, with the assistant that reports it, if this event is still one of its own and is reported.
    pub(super) fn reported(&self, call_id: u64, event: &Event) -> Option<(Arc<CallRecord>, Assistant)> {
        let family = self.nature.family;
        let call = self.call(call_id)?;
        let assistant = self.assistants.get(&call.assistant_id)?;
        let stands =
            assistant.webhook_url.is_some() && family.reports(assistant, call) && family.events(call).contains(event);
        stands.then(|| (call.clone(), assistant.clone()))
    }

    fn index(&self, call_id: u64) -> Option<usize> {
        usize::try_from(call_id.checked_sub(self.first_call_id)?).ok()
    }

    pub(super) fn call(&self, call_id: u64) -> Option<&Arc<CallRecord>> {
        self.calls.get(self.index(call_id)?)
    }

    /// Every call, in the order of acceptance.
    pub(super) fn calls(&self) -> &[Arc<CallRecord>] {
        &self.calls
    }

    /// One page of the list, and how many calls the filter matches.
    pub(super) fn list(&self, filter: &Filter, now: Timestamp) -> (Vec<Arc<CallRecord>>, usize) {
        if filter.nothing {
            return (Vec::new(), 0);
        }
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
        let mut fresh: Vec<usize> = (settled..high).filter(|position| at(*position).listed_at <= now).collect();
        let exact = filter.statuses.is_none() && (filter.phone.is_none() || filter.assistant_id.is_none());
        if exact {
            let total = fresh.len() + (settled - low);
            let page: Vec<usize> = if filter.oldest_first {
                (low..settled).chain(fresh).skip(filter.skip).take(filter.limit).collect()
            } else {
                fresh.reverse();
                fresh.into_iter().chain((low..settled).rev()).skip(filter.skip).take(filter.limit).collect()
            };
            return (page.into_iter().map(|position| at(position).clone()).collect(), total);
        }
        let mut matching: Vec<&Arc<CallRecord>> = (low..settled)
            .chain(fresh)
            .map(at)
            .filter(|call| filter.assistant_id.is_none_or(|id| call.assistant_id == id))
            .filter(|call| filter.statuses.as_ref().is_none_or(|statuses| statuses.contains(&call.status(now))))
            .collect();
        if !filter.oldest_first {
            matching.reverse();
        }
        (matching.iter().skip(filter.skip).take(filter.limit).copied().cloned().collect(), matching.len())
    }

    /// Counts a request against the limit.
    pub(super) fn throttle(&mut self, now: Timestamp) -> Option<Throttled> {
        self.throttle.count(now)
    }

    /// Replaces the limit of requests; counting begins anew.
    pub(super) fn set_rate_limit(&mut self, limit: Option<RateLimit>) {
        self.throttle = Throttle::new(limit);
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
    use jiff::tz::TimeZone;

    use super::super::mix::Fate;
    use super::super::quirk::Quirks;
    use super::super::shape::Shape;
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn world(list_lag: Span) -> World {
        let (seed, mix, timing) = (1, OutcomeMix::only(Fate::NoAnswer), Timing::default());
        let nature = Nature { family: Shape::Famulor.family(), seed, mix, timing, queue: Span::ZERO };
        let dialect = Dialect {
            shape: Shape::Famulor,
            seed,
            quirks: Quirks::default(),
            zone: TimeZone::UTC,
            echo_variables: true,
            goal_variable: "booked".to_owned(),
            opt_out_variable: "opt_out".to_owned(),
        };
        let assistants = [Assistant::new(1, "one"), Assistant::new(2, "two")];
        World::new(nature, dialect, assistants, Faults { list_lag, ..Faults::default() })
    }

    fn place(world: &mut World, phone: &str, assistant_id: u64, at: Timestamp) {
        world.place(CallRequest::to(phone, &assistant_id.to_string()), assistant_id, None, at);
    }

    #[test]
    fn lists_agree_with_looking_at_every_call() {
        let mut world = world(Span::seconds(0, 30));
        for number in 0..200 {
            place(&mut world, &format!("+1202555010{}", number % 7), 1 + number % 2, second(number as i64));
        }
        let mut compared = 0;
        for now in [0, 40, 150, 199, 500] {
            for phone in [None, Some("+12025550103")] {
                for assistant_id in [None, Some(2)] {
                    for status in [None, Some(Status::NoAnswer)] {
                        for (from, until, oldest_first) in [(None, None, true), (Some(20), Some(120), false)] {
                            let filter = Filter {
                                statuses: status.map(|status| vec![status]),
                                phone: phone.map(str::to_owned),
                                assistant_id,
                                from: from.map(second),
                                until: until.map(second),
                                oldest_first,
                                skip: 10,
                                limit: 10,
                                nothing: false,
                            };
                            let now = second(now);
                            let mut expected: Vec<u64> = world
                                .calls
                                .iter()
                                .filter(|call| call.listed_at <= now)
                                .filter(|call| phone.is_none_or(|phone| call.phone == phone))
                                .filter(|call| assistant_id.is_none_or(|id| call.assistant_id == id))
                                .filter(|call| status.is_none_or(|status| call.status(now) == status))
                                .filter(|call| filter.from.is_none_or(|from| call.accepted_at >= from))
                                .filter(|call| filter.until.is_none_or(|until| call.accepted_at < until))
                                .map(|call| call.call_id)
                                .collect();
                            if !oldest_first {
                                expected.reverse();
                            }
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
        place(&mut world, "+12025550100", 1, second(0));
        world.set_faults(Faults::default());
        place(&mut world, "+12025550101", 1, second(1));
        let filter = Filter { limit: 10, ..Filter::default() };
        assert_eq!(world.list(&filter, second(50)).1, 1);
        assert_eq!(world.list(&filter, second(100)).1, 2);
    }

    #[test]
    fn requests_are_refused_for_the_first_reason_that_holds() {
        let mut world = world(Span::ZERO);
        let admit =
            |world: &World, assistant: &str, at| world.admit(&CallRequest::to("+12025550100", assistant), second(at));
        assert_eq!(admit(&world, "1", 0), Ok(1));
        assert_eq!(admit(&world, "9", 0), Err(Refusal::NoSuchAssistant));
        world.calls_per_day = Some(1);
        assert_eq!(admit(&world, "1", 0), Ok(1));
        place(&mut world, "+12025550100", 1, second(0));
        assert_eq!(admit(&world, "1", 0), Err(Refusal::CapReached));
        assert_eq!(admit(&world, "1", 24 * 3_600 - 1), Err(Refusal::CapReached));
        assert_eq!(admit(&world, "1", 24 * 3_600), Ok(1));
        world.balance_micros = 0;
        assert_eq!(admit(&world, "1", 0), Err(Refusal::NoBalance));
        world.nature.mix.refused_numbers = 1.0;
        assert_eq!(admit(&world, "1", 0), Err(Refusal::NumberRefused));
        world.assistants.get_mut(&1).unwrap().active = false;
        assert_eq!(admit(&world, "1", 0), Err(Refusal::AssistantInactive));
        world.assistants.get_mut(&1).unwrap().deleted_at = Some(second(0));
        assert_eq!(admit(&world, "1", 0), Err(Refusal::NoSuchAssistant));
    }
}
