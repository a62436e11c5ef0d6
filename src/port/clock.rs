//! Two kinds of time: civil time, which rules are about, and real time, which processes and networks live in.

use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The daemon's only source of time.
///
/// In production both times are the same. A scaled clock lets civil days pass in real seconds: windows, retries, caps,
/// pacing, ring, talk, settle and list lag follow civil time; permits, leases, HTTP timeouts and pass periods stay real.
pub trait Clock: Clone + Send + Sync + 'static {
    /// Civil time, truncated to microseconds as Postgres keeps it.
    fn now(&self) -> Timestamp;

    /// What the machine's clock shows, real time: what civil time is made from. It may be wrong, and be set.
    fn wall(&self) -> Timestamp;

    /// Monotonic real time.
    fn monotonic(&self) -> Instant;

    /// How much civil time passes in a real span.
    fn real_to_civil(&self, span: Duration) -> SignedDuration;

    /// How much real time a civil span takes; zero for negative spans.
    fn civil_to_real(&self, span: SignedDuration) -> Duration;

    /// Sleeps in real time.
    fn sleep(&self, span: Duration) -> impl Future<Output = ()> + Send;
}
