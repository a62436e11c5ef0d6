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
use tokio::sync::watch::Sender;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::adapter::http::Tokens;
use crate::config::{self, Applies, Change, Config, Setting, Sources};
use crate::domain::document::Problems;
use crate::lifecycle::notify::Supervisor;
use crate::port::clock::Clock;

use super::Failure;
use super::observe::{fingerprint, tell_config};
use super::wire::{self, Engine};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What follows the configuration.
pub(super) struct Reloader {
    /// Where it comes from.
    pub sources: Sources,
    /// What the daemon runs with; whoever wants to know hears of it.
    pub running: Sender<Arc<Config>>,
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

    async fn follow(self, mut hangup: Option<Signal>) {
        let mut obeyed = Seen::Good(config::settings(&self.running.borrow()));
        let mut before = obeyed.clone();
        let mut reload = 0;
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
            if let Some(read) = self.read().await {
                let seen = Seen::of(&read);
                if asked || (seen == before && seen != obeyed) {
                    reload += 1;
                    self.obey(read, reload);
                    obeyed = seen.clone();
                }
                before = seen;
            }
            // Also when it could not be used: what ran before runs on.
            if asked {
                self.supervisor.ready();
            }
        }
    }

    /// Files may lie on something slow. `None` when the runtime ends.
    async fn read(&self) -> Option<Result<Config, Problems>> {
        let sources = self.sources.clone();
        tokio::task::spawn_blocking(move || config::load(&sources)).await.ok()
    }

    /// Takes over what can be, and tells it. The number keeps the lines of two reloads in a minute from being taken for one
    /// storm.
    fn obey(&self, read: Result<Config, Problems>, reload: u64) {
        let running = Arc::clone(&self.running.borrow());
        let wanted = match read {
            Ok(wanted) => wanted,
            Err(problems) => {
                error!(
                    event = "configuration_refused",
                    reload,
                    config.hash = %fingerprint(&running),
                    "Configuration: it cannot be used, and the one from before stays in force. {problems}"
                );
                return;
            }
        };
        let changes = config::changes(&running, &wanted);
        let next = config::taken_over(&running, &wanted);
        if let Err(Failure::User(problem) | Failure::World(problem)) = wire::follow(&self.engine, &running, &next) {
            error!(reload, "Configuration: a part of what has changed cannot be used: {problem:#}");
        }
        let tokens = next.accounts.iter().filter_map(|(name, account)| Some((name, account.webhook_token.as_ref()?)));
        self.tokens.replace(tokens);
        crate::telemetry::follow(&next.log);
        tell_config(Some(&running), &next);
        tell(&changes, reload, &next);
        self.running.send_replace(Arc::new(next));
    }
}

/// A line for each change, one for what waits, and one that sums it up.
fn tell(changes: &[Change], reload: u64, next: &Config) {
    for Change { key, from, to, applies } in changes {
        let (from, to) = (word(from), word(to));
        match applies {
            Applies::AtOnce => info!(reload, key, from, to, "Configuration: {key} is {to}, it was {from}"),
            Applies::AfterRestart => {
                info!(reload, key, from, to, "Configuration: {key} is {from}, it will be {to} after a restart");
            }
        }
    }
    let keys_of = |wanted: Applies| -> Vec<&str> {
        changes.iter().filter(|change| change.applies == wanted).map(|change| change.key.as_str()).collect()
    };
    let (at_once, later) = (keys_of(Applies::AtOnce).len(), keys_of(Applies::AfterRestart));
    if !later.is_empty() {
        warn!(reload, "Configuration: these changes need a restart: {}", later.join(", "));
    }
    let hash = fingerprint(next);
    info!(
        event = "configuration_read",
        reload,
        config.hash = %hash,
        changed = at_once,
        waiting = later.len(),
        "Configuration: read again; taken over: {at_once}, waiting for a restart: {}, configuration {hash}",
        later.len()
    );
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
