//! Logs: JSON or text lines on standard output, where journald or the kubelet keeps them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Libraries whose own logs are noise below this level.
const QUIET: &str = "sqlx=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn";

/// Starts logging. Without a configuration, warnings go to standard error as text: the output belongs to the command.
pub fn start(log: Option<&LogConfig>) {
    let registry = tracing_subscriber::registry();
    let Some(log) = log else {
        let filter = EnvFilter::new(format!("warn,{QUIET}"));
        let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).without_time();
        // A second start, in a test say, keeps the first.
        let _ = registry.with(filter).with(lines).try_init();
        return;
    };
    let registry = registry.with(EnvFilter::new(format!("{},{QUIET}", log.level)));
    let _ = match log.format {
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false))
            .try_init(),
        LogFormat::Text => {
            registry.with(fmt::layer().with_ansi(std::io::stdout().is_terminal()).with_target(false)).try_init()
        }
    };
}
