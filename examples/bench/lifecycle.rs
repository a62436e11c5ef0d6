//! Whole call lifecycles a second: due lead, request, webhook, the reads a result needs, disposition.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::world::{Plan, World};

/// Enough lines that the daemon, not the phones, is what takes the time: calls last a quarter of a second to one and a
/// half. Civil time runs as slowly as that allows, since passes and permits live in real time.
const PLAN: Plan = Plan { factor: 20, concurrent_calls: 3_000, ring: "1..3", talk: "1..10" };

/// How often progress is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// No progress for so long: something is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// How many leads, all due at once.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    leads: u32,
    /// Prints the process ids of daemon, simulator and Postgres at the start of the dialing, for a profiler.
    #[arg(long)]
    ids: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { leads: 20_000, ids: false }
    }
}

const LEADS: &str = "
    insert into lead (lead_list_id, phone, time_zone, variables)
    select $1, '+4930555' || lpad(i::text, 5, '0'), 'Europe/Berlin', jsonb_build_object('customer_name', 'Customer ' || i)
    from generate_series(0, $2 - 1) i
";

/// Runs it and prints the figures; gives the lifecycles a second.
pub(super) async fn run(options: &Options) -> anyhow::Result<f64> {
    let world = World::start(&PLAN, LEADS, options.leads).await?;
    if options.ids {
        println!("daemon, simulator, postgres: {:?}", world.ids());
    }
    let commits = "select xact_commit from pg_stat_database where datname = current_database()";
    let committed = world.count(commits).await?;
    let before = world.cpu_seconds();
    let started = Instant::now();
    world.activate().await?;
    let marks = watch(&world, i64::from(options.leads), started).await?;
    let used: Vec<f64> = world.cpu_seconds().iter().zip(before).map(|(after, before)| after - before).collect();
    let wall = marks.last;
    let committed = world.count(commits).await? - committed;
    let attempts = world.count("select count(*) from attempt").await?;
    let placed = world.count("select count(*) from provider_call").await?;
    let events = world.count("select count(*) from inbox").await?;
    let outcomes: Vec<(String, i64)> =
        sqlx::query_as("select coalesce(outcome, 'open'), count(*) from attempt group by 1 order by 2 desc")
            .fetch_all(&world.server.pool)
            .await?;
    let memory = world.memory_peak_mib();
    world.stop().await?;

    let leads = f64::from(options.leads);
    let rate = leads / wall;
    println!(
        "lifecycle: {leads} leads in {wall:.1} s: {rate:.0} lifecycles/s over all, {:.0}/s between 10 % and 90 %",
        0.8 * leads / (marks.ninety - marks.ten)
    );
    println!(
        "  disposed: the first after {:.1} s, 10 % after {:.1} s, 90 % after {:.1} s, 99 % after {:.1} s",
        marks.first, marks.ten, marks.ninety, marks.ninety_nine
    );
    println!(
        "  CPU seconds: daemon {:.1}, simulator {:.1}, Postgres {:.1}; per lifecycle {:.2} ms, {:.2} ms, {:.2} ms",
        used[0],
        used[1],
        used[2],
        1e3 * used[0] / leads,
        1e3 * used[1] / leads,
        1e3 * used[2] / leads
    );
    println!(
        "  attempts {attempts}, calls {placed}, inbox events {events}, commits {:.2} per lifecycle, \
         daemon's memory {memory:.0} MiB; {outcomes:?}",
        committed as f64 / leads
    );
    Ok(rate)
}

/// Seconds since the start at which so many of the leads, in percent where not said, had their disposition.
#[derive(Default)]
struct Marks {
    first: f64,
    ten: f64,
    ninety: f64,
    ninety_nine: f64,
    last: f64,
}

async fn watch(world: &World, leads: i64, started: Instant) -> anyhow::Result<Marks> {
    let mut marks = Marks::default();
    let (mut known, mut progress_at) = (0, Instant::now());
    loop {
        let disposed = world.count("select count(*) from disposition").await?;
        let at = started.elapsed().as_secs_f64();
        if disposed != known {
            (known, progress_at) = (disposed, Instant::now());
        }
        for (mark, percent) in
            [(&mut marks.first, 0), (&mut marks.ten, 10), (&mut marks.ninety, 90), (&mut marks.ninety_nine, 99)]
        {
            if *mark == 0.0 && disposed > 0 && disposed * 100 >= leads * percent {
                *mark = at;
            }
        }
        if disposed >= leads {
            marks.last = at;
            return Ok(marks);
        }
        ensure!(progress_at.elapsed() < STUCK_AFTER, "{disposed} of {leads} leads disposed, and nothing moves");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
