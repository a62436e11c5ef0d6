//! A database that is away for long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::stage::{Plan, rehearse};
use crate::engine::driver::Drained;
use crate::port::clock::Clock;

/// A watchdog must not kill a daemon for it: answers that wait to be recorded would be lost.
#[test]
fn passes_that_find_no_database_are_alive() {
    rehearse(Plan { leads: 0, ..Plan::default() }, async |stage| {
        let driver = stage.start();
        let alive = || driver.freshness.stale(stage.clock.monotonic());
        stage.wait(Duration::from_secs(10)).await;
        assert!(stage.engine.view_is_fresh(&stage.engine.view()));

        stage.away.store(true, Ordering::Relaxed);
        for _ in 0..120 {
            stage.wait(Duration::from_secs(5)).await;
            assert_eq!(alive(), None);
            assert!(!stage.engine.view_is_fresh(&stage.engine.view()), "but it is not ready");
        }

        stage.away.store(false, Ordering::Relaxed);
        stage.wait(Duration::from_secs(5)).await;
        assert_eq!(alive(), None);
        assert!(stage.engine.view_is_fresh(&stage.engine.view()));
        assert_eq!(driver.drain(&stage.engine).await, Drained::Fully);
    });
}
