//! One look at something for everybody who asks while it is being looked at.
//!
//! A look counts for whoever asked before it began: what it saw is newer than what made them ask. So many refusals at
//! once cost two looks at most, the one under way and the one after it.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// The looks at one thing, and what the last one saw.
pub(super) struct SharedLook<T> {
    /// Looks begun so far.
    begun: AtomicU64,
    /// The last one that ended, by its number, and what it saw.
    last: Mutex<(u64, T)>,
}

impl<T: Default> Default for SharedLook<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), last: Mutex::new((0, T::default())) }
    }
}

impl<T: Clone> SharedLook<T> {
    /// Looks, or takes what another look sees that begins from here on.
    pub(super) async fn take<F: Future<Output = T>>(&self, look: impl FnOnce() -> F) -> T {
        let begun_before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if last.0 > begun_before {
            return last.1.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = look().await;
        *last = (number, seen);
        last.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn looks_are_shared_by_those_who_asked_before_they_began() {
        let shared = Arc::new(SharedLook::<u64>::default());
        let looks = Arc::new(AtomicU64::new(0));
        let ask = || {
            let (shared, looks) = (Arc::clone(&shared), Arc::clone(&looks));
            async move {
                let look = || async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    looks.fetch_add(1, Ordering::SeqCst) + 1
                };
                shared.take(look).await
            }
        };
        let first = tokio::spawn(ask());
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..20).map(|_| tokio::spawn(ask())).collect();
        assert_eq!(first.await.expect("it ends"), 1);
        for other in others {
            assert_eq!(other.await.expect("it ends"), 2, "the look under way began before they asked");
        }
        assert_eq!(ask().await, 3, "later questions get later answers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_given_up_is_taken_again() {
        let shared = SharedLook::<Option<u64>>::default();
        let never = shared.take(std::future::pending);
        assert!(tokio::time::timeout(Duration::from_secs(5), never).await.is_err());
        assert_eq!(shared.take(|| async { Some(7) }).await, Some(7));
    }
}
