//! What a run did, line by line, and what its logs said.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Lines that are kept of a run nobody replays.
const TAIL: usize = 40;

/// The lines of one run; a fingerprint of everything, the quiet steps included, stands for what is not kept.
pub(super) struct Trace {
    keep_all: bool,
    lines: VecDeque<String>,
    fingerprint: u64,
}

impl Trace {
    pub fn new(keep_all: bool) -> Self {
        Self { keep_all, lines: VecDeque::new(), fingerprint: 0xcbf2_9ce4_8422_2325 }
    }

    /// Adds a line.
    pub fn line(&mut self, elapsed: Duration, text: &str) {
        let line = format!("{:>9.3} {text}", elapsed.as_secs_f64());
        self.stir(line.as_bytes());
        if !self.keep_all && self.lines.len() == TAIL {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Adds a step that is not worth a line.
    pub fn quiet(&mut self, elapsed: Duration, step: &str) {
        self.stir(&elapsed.as_nanos().to_le_bytes());
        self.stir(step.as_bytes());
    }

    fn stir(&mut self, bytes: &[u8]) {
        // FNV-1a: stable on every machine.
        for byte in bytes {
            self.fingerprint = (self.fingerprint ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The last lines, and the fingerprint of the whole.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        let _ = writeln!(text, "fingerprint {:016x}", self.fingerprint);
        text
    }
}

/// Log events of a run, until someone takes them.
#[derive(Clone, Default)]
pub(crate) struct LogEvents(Arc<Mutex<Vec<(Level, String)>>>);

impl LogEvents {
    pub fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Gives back what was taken, before what came since.
    pub fn put_back(&self, mut events: Vec<(Level, String)>) {
        let mut present = self.0.lock().unwrap();
        events.append(&mut present);
        *present = events;
    }

    /// Runs `work` with its events collected here, down to `level`.
    pub fn collect<T>(&self, level: Level, work: impl FnOnce() -> T) -> T {
        let layer = Collector { events: self.clone(), level };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work)
    }
}

struct Collector {
    events: LogEvents,
    level: Level,
}

impl<S: Subscriber> Layer<S> for Collector {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("outdial")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.events.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let gap = if self.0.is_empty() { "" } else { " " };
        if field.name() == "message" {
            self.0 = format!("{value:?}{gap}{}", self.0);
        } else {
            let _ = write!(self.0, "{gap}{}={value:?}", field.name());
        }
    }
}
