//! Logs: JSON or text lines on standard output, where journald or the kubelet keeps them.
//!
//! Under the journal each line begins with its priority as `<N>` (sd-daemon(3), read 2026-11-21), which journald takes
//! off again: `journalctl -p warning` then shows warnings and errors, whatever the format of the lines.

pub mod repeat;

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// What is written at this level of ours. What libraries say below a warning is noise, and may hold what no line of ours
/// does: the one that reads phone numbers writes them out, so it is not heard at all.
fn filter(level: &str) -> EnvFilter {
    let libraries = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(format!("{libraries},outdial={level},rlibphonenumber=off"))
}

/// Starts logging. Without a configuration, warnings go to standard error as text: the output belongs to the command.
pub fn start(log: Option<&LogConfig>) {
    let registry = tracing_subscriber::registry();
    let Some(log) = log else {
        let lines = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
        // A second start, in a test say, keeps the first.
        let _ = registry.with(filter("warn")).with(lines.with_target(false).without_time()).try_init();
        return;
    };
    let registry = registry.with(filter(log.level.as_str())).with(repeat::Repeats);
    let output = Output { journal: is_journal(io::stdout()) };
    let _ = match log.format {
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
