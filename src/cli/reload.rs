//! A running daemon follows its configuration: on SIGHUP, and when files change.
//!
//! Files are not watched but read every few seconds, secrets included, because that sees every way in which they change:
//! an editor's rename, a mounted ConfigMap whose link is switched, a secret that was rotated. What was read must be the
//! same twice before it counts, so that a file that is just being written is not taken for a broken one.
//!
//! A configuration with a problem changes nothing. What cannot change at work is named and waits for a restart.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::adapter::http::Tokens;
use crate::config::{self, Applies, Change, Config, Setting, Sources};
use crate::domain::document::Problems;
use crate::lifecycle::notify::Supervisor;
use crate::port::clock::Clock;

use super::Failure;
use super::wire::{self, Engine};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What follows the configuration.
pub(super) struct Reloader {
    /// Where it comes from.
    pub sources: Sources,
    /// What the daemon runs with.
    pub running: Config,
    /// The passes.
    pub engine: Arc<Engine>,
    /// What webhooks must bring.
    pub tokens: Tokens,
    /// Whom to tell.
    pub supervisor: Arc<Supervisor>,
}

/// What a look at the files found: what they say, or what is wrong with them.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Good(Vec<Setting>),
    Bad(String),
}

impl Seen {
    fn of(read: &Result<Config, Problems>) -> Self {
        match read {
            Ok(config) => Self::Good(config::settings(config)),
            Err(problems) => Self::Bad(problems.to_string()),
        }
    }
}

impl Reloader {
    /// Begins to follow, until the task is ended. Without `hangup` only the files are looked at.
    pub(super) fn start(self, hangup: Option<Signal>) -> JoinHandle<()> {
        tokio::spawn(self.follow(hangup))
    }

    async fn follow(mut self, mut hangup: Option<Signal>) {
        let mut obeyed = Seen::Good(config::settings(&self.running));
        let mut before = obeyed.clone();
        loop {
            let asked = tokio::select! {
                biased;
                () = hung_up(&mut hangup) => true,
                () = self.engine.clock.sleep(LOOK_EVERY) => false,
            };
            if self.engine.draining() {
                return;
            }
            if asked {
                self.supervisor.reloading();
            }
            let sources = self.sources.clone();
            // Files may lie on something slow.
            let Ok(read) = tokio::task::spawn_blocking(move || config::load(&sources)).await else {
                warn!("The configuration could not be read: the reading task was ended");
                continue;
            };
            let seen = Seen::of(&read);
            if asked || (seen == before && seen != obeyed) {
                self.obey(read, asked);
                obeyed = seen.clone();
            }
            before = seen;
            if asked {
                self.supervisor.ready();
            }
        }
    }

    fn obey(&mut self, read: Result<Config, Problems>, asked: bool) {
        let wanted = match read {
            Ok(wanted) => wanted,
            Err(problems) => {
                error!("The configuration has changed and cannot be used, so the one from before stays.\n{problems}");
                return;
            }
        };
        let changes = config::changes(&self.running, &wanted);
        let (at_once, later): (Vec<&Change>, Vec<&Change>) =
            changes.iter().partition(|change| change.applies == Applies::AtOnce);
        let next = config::taken_over(&self.running, &wanted);
        if let Err(Failure::User(problem) | Failure::World(problem)) = wire::follow(&self.engine, &self.running, &next)
        {
            error!("Part of the changed configuration cannot be used: {problem:#}");
        }
        let tokens = next.accounts.iter().filter_map(|(name, account)| Some((name, account.webhook_token.as_ref()?)));
        self.tokens.replace(tokens);
        crate::telemetry::follow(&next.log);
        for Change { key, from, to, .. } in &at_once {
            let (from, to) = (word(from), word(to));
            info!(key, from, to, "Configuration: {key} is {to}, it was {from}");
        }
        if !later.is_empty() {
            let keys: Vec<&str> = later.iter().map(|change| change.key.as_str()).collect();
            warn!("Configuration: these changes need a restart: {}", keys.join(", "));
        }
        if changes.is_empty() {
            let when = if asked { "was read again" } else { "can be read again" };
            info!("Configuration: it {when} and says what it said");
        }
        self.running = next;
    }
}

fn word(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("not set")
}

/// Waits for SIGHUP, for ever where it is not listened to.
async fn hung_up(hangup: &mut Option<Signal>) {
    let listened = match hangup {
        Some(hangup) => hangup.recv().await.is_some(),
        None => false,
    };
    if !listened {
        std::future::pending().await
    }
}
