//! Keeps a storm out of the log: the same warning about the same thing is written once a minute, and then how many like
//! it were left out.
//!
//! The same warning is the same place in the code; the same thing is the same account, campaign, assistant, pass, webhook,
//! list of rows and reload of the configuration.
//! Warnings about single attempts and events are each about another thing, and still one storm: ten a minute are written.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, warn};
use tracing_subscriber::layer::{Context, Layer};

/// How long a warning stands for the ones like it.
const WINDOW: Duration = Duration::from_secs(60);
/// Warnings about single attempts and events that are written in this time.
const SINGLE_MAX: u32 = 10;
/// Fields that say what a warning is about.
const THING: [&str; 7] = ["provider.account", "campaign.id", "assistant.id", "pass", "ids", "webhook", "reload"];
/// Fields of warnings about single attempts and events.
const SINGLE: [&str; 3] = ["attempt.id", "lead.id", "inbox.id"];
/// Warnings that are remembered at once; what does not fit is written.
const REMEMBERED_MAX: usize = 1_000;
/// Most characters of a message that are repeated.
const MESSAGE_CHARS_MAX: usize = 300;

static MEMORY: Mutex<Option<Memory>> = Mutex::new(None);

/// The layer that leaves lines out. Errors count as warnings; everything below is never left out.
pub(super) struct Repeats;

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if *event.metadata().level() > Level::WARN {
            return true;
        }
        let mut seen = Seen::default();
        event.record(&mut seen);
        let place = event.metadata().callsite();
        seen.tells_of_repeats || memory().get_or_insert_default().may_be_written(place, seen, Instant::now())
    }
}

/// Writes how many lines were left out in minutes that are over, or in all, at the end.
pub fn tell(at_the_end: bool) {
    let told = memory().as_mut().map(|memory| memory.take_over(Instant::now(), at_the_end));
    for Left { count, last } in told.unwrap_or_default() {
        warn!(event = "left_out", count, "{count} more lines of this kind were left out, the last: {last}");
    }
}

fn memory() -> MutexGuard<'static, Option<Memory>> {
    // Whoever panicked with it has left it whole: nothing in here is done in two steps.
    MEMORY.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Default)]
struct Memory {
    told: HashMap<(Identifier, String), Told>,
    /// Of minutes that were over when the next line came.
    over: Vec<Left>,
}

struct Told {
    since: Instant,
    written: u32,
    left_out: u64,
    last: String,
}

/// Lines that were left out.
#[derive(Debug, PartialEq)]
struct Left {
    count: u64,
    last: String,
}

impl Told {
    fn left(&mut self) -> Option<Left> {
        let count = std::mem::take(&mut self.left_out);
        (count > 0).then(|| Left { count, last: std::mem::take(&mut self.last) })
    }
}

impl Memory {
    fn may_be_written(&mut self, place: Identifier, seen: Seen, now: Instant) -> bool {
        let most = if seen.single { SINGLE_MAX } else { 1 };
        let key = (place, seen.thing);
        if !self.told.contains_key(&key) && self.told.len() >= REMEMBERED_MAX {
            return true;
        }
        let fresh = || Told { since: now, written: 0, left_out: 0, last: String::new() };
        let told = self.told.entry(key).or_insert_with(fresh);
        if now.duration_since(told.since) >= WINDOW {
            self.over.extend(told.left());
            *told = fresh();
        }
        if told.written < most {
            told.written += 1;
            return true;
        }
        told.left_out += 1;
        told.last = seen.message;
        false
    }

    fn take_over(&mut self, now: Instant, at_the_end: bool) -> Vec<Left> {
        let mut left = std::mem::take(&mut self.over);
        self.told.retain(|_, told| {
            let over = at_the_end || now.duration_since(told.since) >= WINDOW;
            if over {
                left.extend(told.left());
            }
            !over
        });
        left.sort_by(|a, b| a.last.cmp(&b.last));
        left
    }
}

/// What of an event matters here.
#[derive(Default)]
struct Seen {
    thing: String,
    single: bool,
    tells_of_repeats: bool,
    message: String,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}").chars().take(MESSAGE_CHARS_MAX).collect(),
            "event" => self.tells_of_repeats = format!("{value:?}").trim_matches('"') == "left_out",
            name if THING.contains(&name) => {
                // Writing into a string cannot fail.
                let _ = write!(self.thing, "{value:?} ");
            }
            name if SINGLE.contains(&name) => self.single = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::{Callsite, DefaultCallsite};
    use tracing::metadata::{Kind, Metadata};

    static HERE: DefaultCallsite = DefaultCallsite::new(&META);
    static META: Metadata<'static> = Metadata::new(
        "a warning",
        "test",
        Level::WARN,
        None,
        None,
        None,
        tracing::field::FieldSet::new(&[], tracing::callsite::Identifier(&HERE)),
        Kind::EVENT,
    );

    fn seen(thing: &str, single: bool, message: &str) -> Seen {
        Seen { thing: thing.to_owned(), single, tells_of_repeats: false, message: message.to_owned() }
    }

    #[test]
    fn the_same_warning_about_the_same_thing_is_written_once_a_minute_and_counted() {
        let place = || HERE.metadata().callsite();
        let (start, mut memory) = (Instant::now(), Memory::default());
        let mut warn = |thing: &str, message: &str, seconds| {
            memory.may_be_written(place(), seen(thing, false, message), start + Duration::from_secs(seconds))
        };
        assert!(warn("main", "the first", 0));
        assert!(warn("other", "of another account", 0));
        assert!(!warn("main", "the second", 1) && !warn("main", "the third", 59));
        assert!(warn("main", "a minute later", 60));
        let over = |memory: &mut Memory, seconds, end| memory.take_over(start + Duration::from_secs(seconds), end);
        assert_eq!(over(&mut memory, 61, false), [Left { count: 2, last: "the third".to_owned() }]);
        assert_eq!(over(&mut memory, 62, false), []);
        assert!(!memory.may_be_written(place(), seen("main", false, "again"), start + Duration::from_secs(63)));
        assert_eq!(over(&mut memory, 64, true), [Left { count: 1, last: "again".to_owned() }], "told at the end");
    }

    #[test]
    fn of_warnings_about_single_attempts_ten_are_written() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let mut warn = || memory.may_be_written(HERE.metadata().callsite(), seen("main", true, "in doubt"), start);
        assert_eq!((0..1_000).filter(|_| warn()).count(), 10);
        assert_eq!(memory.take_over(start, true), [Left { count: 990, last: "in doubt".to_owned() }]);
    }
}
