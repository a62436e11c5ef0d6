//! Logs: JSON or text lines on standard output, where journald or the kubelet keeps them.
//!
//! Under the journal each line begins with its priority as `<N>` (sd-daemon(3), read 2026-11-21), which journald takes
//! off again: `journalctl -p warning` then shows warnings and errors, whatever the format of the lines.

pub mod repeat;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use nix::sys::stat::fstat;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogConfig, LogFormat, LogLevel, UNHEARD_TARGET};

/// Which lines are written; replaced when the configuration changes.
static LEVELS: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. Without a configuration, warnings go to standard error as text: the output belongs to the command.
pub fn start(log: Option<&LogConfig>) {
    let registry = tracing_subscriber::registry();
    let Some(log) = log else {
        let lines = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
        // A second start, in a test say, keeps the first.
        let filter = EnvFilter::new(directives(LogLevel::Warn, &BTreeMap::new()));
        let _ = registry.with(filter).with(lines.with_target(false).without_time()).try_init();
        return;
    };
    let (levels, handle) = reload::Layer::new(EnvFilter::new(directives(log.level, &log.targets)));
    let registry = registry.with(levels).with(repeat::Repeats);
    let output = Output { journal: is_journal(io::stdout()) };
    let started = match log.format {
        LogFormat::Json => registry
            .with(
                fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(false)
                    .with_span_list(false)
                    .with_writer(output),
            )
            .try_init(),
        LogFormat::Text => registry
            .with(fmt::layer().with_ansi(io::stdout().is_terminal()).with_target(false).with_writer(output))
            .try_init(),
    };
    if started.is_ok() {
        // Whoever starts it first is the only one to get here.
        let _ = LEVELS.set(handle);
    }
}

/// Takes over the levels of a changed configuration; its format stays what it was.
pub fn follow(log: &LogConfig) {
    if let Some(handle) = LEVELS.get() {
        // Fails only where logging has ended.
        let _ = handle.reload(EnvFilter::new(directives(log.level, &log.targets)));
    }
}

/// Which lines are written. What libraries say below a warning is noise, and may hold what no line of ours does, so it is
/// heard only where their names are written; the one that reads phone numbers writes them out, and is never heard.
fn directives(level: LogLevel, targets: &BTreeMap<String, LogLevel>) -> String {
    // Where only errors are wanted, they are wanted of libraries, too.
    let libraries = if level == LogLevel::Error { LogLevel::Error } else { LogLevel::Warn };
    let mut levels = BTreeMap::from([("outdial", level)]);
    levels.extend(targets.iter().map(|(target, level)| (target.as_str(), *level)));
    let levels: String = levels.iter().map(|(target, level)| format!(",{target}={level}")).collect();
    format!("{libraries}{levels},{UNHEARD_TARGET}=off")
}

/// Says on standard error why the process ends.
pub fn complain(message: &str) {
    let message = format!("{message}\n");
    let priority = is_journal(io::stderr()).then(|| priority(Level::ERROR));
    // There is nobody left to tell when this fails.
    let _ = io::stderr().write_all(&with_priority(message.as_bytes(), priority));
}

/// Standard output, perhaps the journal's.
struct Output {
    journal: bool,
}

/// What one event is written to.
struct EventOutput {
    priority: Option<&'static str>,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = EventOutput;

    fn make_writer(&'a self) -> EventOutput {
        EventOutput { priority: self.journal.then(|| priority(Level::INFO)) }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> EventOutput {
        EventOutput { priority: self.journal.then(|| priority(*event.level())) }
    }
}

impl Write for EventOutput {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        io::stdout().write_all(&with_priority(text, self.priority))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// The numbers of syslog; there is nothing below its debug.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Each line with its priority; a line without one would count as information.
fn with_priority(text: &[u8], priority: Option<&'static str>) -> Vec<u8> {
    let Some(priority) = priority else { return text.to_owned() };
    text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [priority.as_bytes(), line].concat()).collect()
}

/// Whether a stream is the one that journald gave this process: the environment is inherited, the stream may have been
/// led elsewhere since.
fn is_journal(stream: impl AsFd) -> bool {
    is_named(std::env::var_os("JOURNAL_STREAM").as_deref(), stream)
}

/// `JOURNAL_STREAM` is `device:inode` (systemd.exec(5), read 2026-11-21).
fn is_named(named: Option<&OsStr>, stream: impl AsFd) -> bool {
    let Some((device, inode)) = named.and_then(OsStr::to_str).and_then(|named| named.split_once(':')) else {
        return false;
    };
    fstat(stream).is_ok_and(|stat| device.parse() == Ok(stat.st_dev) && inode.parse() == Ok(stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_target_goes_before_what_is_known_of_libraries() {
        let shown = |level, targets: &[(&str, LogLevel)]| {
            directives(level, &targets.iter().map(|(target, level)| ((*target).to_owned(), *level)).collect())
        };
        assert_eq!(
            shown(LogLevel::Info, &[("sqlx", LogLevel::Debug), ("outdial::engine::poll", LogLevel::Trace)]),
            "warn,outdial=info,outdial::engine::poll=trace,sqlx=debug,rlibphonenumber=off"
        );
        assert_eq!(shown(LogLevel::Error, &[]), "error,outdial=error,rlibphonenumber=off");
        let filter = EnvFilter::new(shown(LogLevel::Warn, &[("outdial::cli", LogLevel::Info)]));
        assert_eq!(filter.max_level_hint(), Some(tracing::level_filters::LevelFilter::INFO));
    }

    #[test]
    fn each_line_has_its_priority_under_the_journal_only() {
        let shown = |text: &str, level| {
            String::from_utf8(with_priority(text.as_bytes(), Some(priority(level)))).expect("it was text")
        };
        assert_eq!(shown("{\"a\":1}\n", Level::ERROR), "<3>{\"a\":1}\n");
        assert_eq!(shown("two\nlines\n", Level::WARN), "<4>two\n<4>lines\n");
        assert_eq!(shown("x\n", Level::INFO), "<6>x\n");
        assert_eq!(shown("x\n", Level::DEBUG), "<7>x\n");
        assert_eq!(shown("x\n", Level::TRACE), "<7>x\n");
        assert_eq!(with_priority(b"x\n", None), b"x\n");
    }

    #[test]
    fn the_journal_is_told_by_device_and_inode() {
        let (file, other) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
        let stat = fstat(&file).expect("its device and inode");
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_named(Some(OsStr::new(&named)), &file));
        assert!(!is_named(Some(OsStr::new(&named)), &other), "the output was led elsewhere");
        assert!(!is_named(Some(OsStr::new("journal")), &file));
        assert!(!is_named(None, &file));
    }
}
