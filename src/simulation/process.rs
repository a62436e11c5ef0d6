//! A replica's process as its machine's kernel sees it: it runs, is stopped and goes on as if nothing had happened, or is
//! dead. Whatever a replica does waits here before and after each step and each sleep.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::domain::id::OwnerId;

/// How far a machine's clock on the wall is ahead, real time. It outlives the machine's processes.
#[derive(Clone, Default)]
pub(super) struct Wall(Arc<Mutex<SignedDuration>>);

impl Wall {
    pub fn set(&self, ahead: SignedDuration) {
        *self.0.lock().unwrap() = ahead;
    }

    fn ahead(&self) -> SignedDuration {
        *self.0.lock().unwrap()
    }
}

/// One boot of a replica.
pub(super) struct Process {
    /// Which machine.
    pub machine: usize,
    /// Its first boot is 1.
    pub boot: u32,
    pub owner: OwnerId,
    wall: Wall,
    run: Mutex<Run>,
}

#[derive(Clone, Copy)]
enum Run {
    Runs,
    Stopped { until: Instant },
    Dead,
}

impl Process {
    pub fn new(machine: usize, boot: u32, owner: OwnerId, wall: Wall) -> Self {
        Self { machine, boot, owner, wall, run: Mutex::new(Run::Runs) }
    }

    /// What traces call it.
    pub fn name(&self) -> String {
        format!("r{}.{}", self.machine, self.boot)
    }

    pub fn wall_ahead(&self) -> SignedDuration {
        self.wall.ahead()
    }

    /// Nothing of it goes on from here.
    pub fn die(&self) {
        *self.run.lock().unwrap() = Run::Dead;
    }

    /// Nothing of it goes on for so long, real time.
    pub fn stop(&self, span: Duration) {
        let mut run = self.run.lock().unwrap();
        if !matches!(*run, Run::Dead) {
            *run = Run::Stopped { until: Instant::now() + span };
        }
    }

    pub fn is_dead(&self) -> bool {
        matches!(*self.run.lock().unwrap(), Run::Dead)
    }

    pub fn is_stopped(&self) -> bool {
        matches!(*self.run.lock().unwrap(), Run::Stopped { until } if Instant::now() < until)
    }

    /// Returns at once while it runs, when it goes on if it is stopped, and never if it is dead.
    pub async fn goes_on(&self) {
        loop {
            let run = *self.run.lock().unwrap();
            match run {
                Run::Runs => return,
                Run::Stopped { until } if until <= Instant::now() => return,
                Run::Stopped { until } => tokio::time::sleep_until(until).await,
                Run::Dead => std::future::pending().await,
            }
        }
    }
}
