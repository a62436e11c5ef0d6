//! Keeps the supervisor of a running daemon informed: ready once it can dial, a status every few seconds, a sign of life
//! while every pass makes progress.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::adapter::postgres::status::{AccountStatus, account_statuses};
use crate::lifecycle::notify::Supervisor;
use crate::port::clock::Clock;

use super::run::Daemon;
use super::wire::Engine;

/// Between two status lines.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How long the database may take for one: a status is no reason to wait.
const STATUS_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks whether the daemon can dial yet.
const READY_EVERY: Duration = Duration::from_millis(50);

/// The supervisor of a running daemon, if it has one.
pub(super) struct Supervision {
    supervisor: Arc<Supervisor>,
    tasks: Vec<JoinHandle<()>>,
}

impl Supervision {
    /// Begins to tell how a daemon is.
    pub(super) fn start(daemon: &Daemon, pool: PgPool) -> Self {
        let supervisor = Arc::new(Supervisor::of_process());
        let mut tasks = Vec::new();
        if supervisor.listens() {
            tasks.push(tokio::spawn(tell(Arc::clone(&supervisor), Arc::clone(&daemon.engine), pool)));
        }
        if let Some(every) = supervisor.alive_every() {
            let (supervisor, freshness, engine) =
                (Arc::clone(&supervisor), daemon.freshness(), Arc::clone(&daemon.engine));
            tasks.push(tokio::spawn(async move {
                loop {
                    if freshness.stale(engine.clock.monotonic()).is_none() {
                        supervisor.alive();
                    }
                    engine.clock.sleep(every).await;
                }
            }));
        }
        Self { supervisor, tasks }
    }

    /// Whom to tell of a reload.
    pub(super) fn supervisor(&self) -> Arc<Supervisor> {
        Arc::clone(&self.supervisor)
    }

    /// Says that the end has begun; the signs of life go on until this is dropped.
    pub(super) fn stopping(&self) {
        self.supervisor.stopping();
        self.supervisor.status("Draining: no new dials, running requests finish and are recorded");
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn tell(supervisor: Arc<Supervisor>, engine: Arc<Engine>, pool: PgPool) {
    // What the engine began with is no view; the first one that was read is.
    let began_with = engine.view().read_at();
    while engine.view().read_at() == began_with {
        engine.clock.sleep(READY_EVERY).await;
    }
    supervisor.ready();
    while !engine.draining() {
        let statuses = match timeout(STATUS_WITHIN, account_statuses(&pool)).await {
            Ok(Ok(statuses)) => Some(statuses),
            Ok(Err(_)) | Err(_) => None,
        };
        if !engine.draining() {
            supervisor.status(&Line::of(&engine, statuses.as_deref()).to_string());
        }
        engine.clock.sleep(STATUS_EVERY).await;
    }
}

/// What `systemctl status` shows.
struct Line {
    accounts: usize,
    /// `None` while the database does not answer.
    known: Option<Known>,
}

#[derive(Default)]
struct Known {
    dialed_here: usize,
    stopped: usize,
    calls: i64,
    in_doubt: i64,
    held: i64,
}

impl Line {
    fn of(engine: &Engine, statuses: Option<&[AccountStatus]>) -> Self {
        let owner = engine.settings().owner;
        let known = statuses.map(|statuses| {
            statuses.iter().fold(Known::default(), |sum, status| Known {
                dialed_here: sum.dialed_here + usize::from(status.holder.is_some_and(|(holder, _)| holder == owner)),
                stopped: sum.stopped + usize::from(status.stopped.is_some()),
                calls: sum.calls + status.dialing + status.placed,
                in_doubt: sum.in_doubt + status.in_doubt,
                held: sum.held + status.held,
            })
        });
        Self { accounts: engine.accounts.len(), known }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(known) = &self.known else {
            return write!(f, "The database does not answer; nothing is dialed");
        };
        write!(f, "Dialing {} of {} accounts", known.dialed_here, self.accounts)?;
        if known.stopped > 0 {
            write!(f, " ({} stopped)", known.stopped)?;
        }
        write!(
            f,
            ", {} calls open, {} in doubt, {} held; the database answers",
            known.calls, known.in_doubt, known.held
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_matters_most_first() {
        let known = Known { dialed_here: 2, stopped: 0, calls: 14, in_doubt: 1, held: 3 };
        let line = |known| Line { accounts: 3, known }.to_string();
        assert_eq!(
            line(Some(known)),
            "Dialing 2 of 3 accounts, 14 calls open, 1 in doubt, 3 held; the database answers"
        );
        assert_eq!(
            line(Some(Known { stopped: 1, ..Known::default() })),
            "Dialing 0 of 3 accounts (1 stopped), 0 calls open, 0 in doubt, 0 held; the database answers"
        );
        assert_eq!(line(None), "The database does not answer; nothing is dialed");
    }
}
