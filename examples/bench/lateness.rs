//! How long after they are due calls leave, while rates and lines have room.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::world::{Plan, World};

/// Civil time is real time here; calls are short, so that the run is.
const PLAN: Plan = Plan { factor: 1, concurrent_calls: 5_000, ring: "1..3", talk: "1..5" };

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How many leads, due at random instants.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(100..=10_000))]
    leads: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { leads: 600 }
    }
}

/// Due within half a minute that begins ten seconds after civil time does.
const LEADS: &str = "
    insert into lead (lead_list_id, phone, time_zone, not_before)
    select $1, '+4930555' || lpad(i::text, 5, '0'), 'Europe/Berlin',
        (select civil_origin + (clock_timestamp() - real_origin) from civil_clock) + interval '10 s' + random() * interval '30 s'
    from generate_series(0, $2 - 1) i
";

/// Runs it and prints the figures.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let world = World::start(&PLAN, LEADS, options.leads).await?;
    let used = world.cpu_seconds();
    world.activate().await?;
    let sent = "select count(*) from attempt where sent_at is not null";
    let deadline = Instant::now() + Duration::from_secs(90);
    while world.count(sent).await? < i64::from(options.leads) {
        ensure!(Instant::now() < deadline, "{} of {} calls have left", world.count(sent).await?, options.leads);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let used = world.cpu_seconds()[0] - used[0];
    let mut late: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from a.sent_at - l.not_before)::float8 * 1000 from attempt a join lead l using (lead_id)",
    )
    .fetch_all(&world.server.pool)
    .await?;
    world.stop().await?;
    late.sort_by(f64::total_cmp);
    ensure!(late.first().is_some_and(|first| *first >= 0.0), "a call left before it was due");
    let at = |share: f64| late[(share * (late.len() - 1) as f64).round() as usize];
    println!(
        "lateness of {} calls due at random instants of 30 s: p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms, longest {:.0} ms",
        late.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
    println!("  CPU seconds: daemon {used:.1}");
    for bucket in 0..10 {
        let (from, to) = (f64::from(bucket) * 20.0, f64::from(bucket + 1) * 20.0);
        let count = late.iter().filter(|ms| **ms >= from && (**ms < to || bucket == 9)).count();
        println!("  {from:3.0} ms {} {count}", "#".repeat(count * 60 / late.len()));
    }
    Ok(())
}
