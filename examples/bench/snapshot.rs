//! What a transaction costs that somebody opened and forgot: no row that dies while it lasts can be removed, so whatever
//! reads past dead rows grows slower and slower.
//!
//! The rate wanders with whatever else the machine does; the blocks that each table's statements touch do not. Both are
//! printed, for the first and the last fifth of the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::world::{Plan, World};

/// As the lifecycles are measured.
const PLAN: Plan = Plan { factor: 20, concurrent_calls: 3_000, ring: "1..3", talk: "1..10" };

/// Leads for each second: more than the daemon dials, so that it never runs out.
const LEADS_PER_SECOND: u32 = 1_500;

/// Left out at the start: the lines fill, and the first calls have not ended.
const RAMP: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// For how many seconds the daemon dials.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(20..=3_600))]
    seconds: u32,
    /// How many leads, all due at once; by default 1,500 for each second.
    #[arg(long)]
    leads: Option<u32>,
    /// As if so many calls had ended since the snapshot was taken: a short run then tells of a long one.
    #[arg(long, default_value_t = 0)]
    dead: u32,
    /// Holds no snapshot: what the same time does to a database that is cleaned.
    #[arg(long)]
    without: bool,
}

const LEADS: &str = "
    insert into lead (lead_list_id, phone, time_zone, variables)
    select $1, '+49305' || lpad(i::text, 7, '0'), 'Europe/Berlin', jsonb_build_object('customer_name', 'Customer ' || i)
    from generate_series(0, $2 - 1) i
";

/// Rows that are born and die, as those of calls do: written, changed twice and deleted.
const CALLS_THAT_ENDED: &str = "
    insert into open_attempt (phone, attempt_id, account, campaign_id, lead_id, assistant_id, calling_group_id, priority,
        tries, owner, epoch, state, intent_at, deadline_at, poll_at)
    select '+4931' || lpad(i::text, 9, '0'), gen_random_uuid(), 'bench', campaign_id, i, '1', 1, 5, 0,
        gen_random_uuid(), 1, 'dialing', at, at, at
    from campaign, (select min(due_at) as at from due) d, generate_series(1, DEAD) i;
    update open_attempt set state = 'placed', provider_call_id = '0' where phone like '+4931%';
    update open_attempt set poll_at = poll_at + interval '1 minute' where phone like '+4931%';
    delete from open_attempt where phone like '+4931%';
    insert into inbox_pending (inbox_id, received_at, account, retry_at)
    select -i, at, 'bench', at from (select min(due_at) as at from due) d, generate_series(1, 2 * DEAD) i;
    delete from inbox_pending where inbox_id < 0;
    insert into due (campaign_id, calling_group_id, priority, due_at, lead_id, attempt_no, tries, phone)
    select s.campaign_id, s.calling_group_id, s.priority, d.at - interval '1 second', 100000000 + i, 1, 0, '+4931'
    from stratum s, (select min(due_at) as at from due) d, generate_series(1, DEAD) i;
    delete from due where lead_id > 100000000;
";

/// Runs it and prints the figures.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let leads = options.leads.unwrap_or(options.seconds.saturating_mul(LEADS_PER_SECOND)).min(9_999_999);
    let world = World::start(&PLAN, LEADS, leads).await?;
    let mut holder = PgConnection::connect(world.server.postgres.url()).await.context("connect for the snapshot")?;
    if !options.without {
        // On a connection without the daemon's limits, as a person at psql has it.
        sqlx::raw_sql("begin isolation level repeatable read; select count(*) from campaign")
            .execute(&mut holder)
            .await
            .context("take the snapshot")?;
    }
    if options.dead > 0 {
        let calls = CALLS_THAT_ENDED.replace("DEAD", &options.dead.to_string());
        let mut other = PgConnection::connect(world.server.postgres.url()).await.context("connect for dead rows")?;
        // Each by itself: together they would be one transaction, which reads what it wrote and kills nothing until its end.
        for statement in calls.split(';').filter(|statement| !statement.trim().is_empty()) {
            let statement = AssertSqlSafe(statement.to_owned());
            sqlx::query(statement).execute(&mut other).await.context("make dead rows")?;
        }
        other.close().await?;
    }
    world.activate().await?;
    tokio::time::sleep(RAMP).await;
    let fifth = Duration::from_secs(options.seconds.into()).saturating_sub(RAMP) / 5;
    let first = Stretch::measure(&world, fifth).await?;
    tokio::time::sleep(fifth * 3).await;
    let last = Stretch::measure(&world, fifth).await?;
    let left = world.count("select count(*) from due").await?;
    ensure!(left > 0, "all {leads} leads were dialed before the end: give more of them");
    holder.close().await.context("end the snapshot")?;
    world.stop().await?;

    let held = if options.without { "no snapshot" } else { "one snapshot held" };
    println!(
        "snapshot: {held} for {} s: {:.0} lifecycles/s in the first fifth, {:.0}/s in the last, ratio {:.2}",
        options.seconds,
        first.rate(),
        last.rate(),
        last.rate() / first.rate()
    );
    println!("  Postgres CPU per lifecycle: {:.2} ms, then {:.2} ms", first.cpu_ms(), last.cpu_ms());
    println!("  table                 blocks touched per lifecycle: first fifth, last fifth, and dead rows at the end");
    let mut tables: Vec<_> = last.tables.iter().collect();
    tables.sort_by_key(|(_, table)| std::cmp::Reverse(table.blocks));
    for (name, table) in tables.into_iter().filter(|(_, table)| table.blocks > 0) {
        let before = first.tables.get(name).map_or(0.0, |before| before.blocks as f64 / first.ended);
        println!("  {name:<20} {before:>8.1} {:>8.1} {:>9}", table.blocks as f64 / last.ended, table.dead);
    }
    Ok(())
}

/// What happened in a stretch of time.
struct Stretch {
    ended: f64,
    seconds: f64,
    cpu_seconds: f64,
    tables: BTreeMap<String, Touched>,
}

#[derive(Clone, Copy)]
struct Touched {
    /// Of the table and its indexes, found in memory or not.
    blocks: i64,
    dead: i64,
}

impl Stretch {
    async fn measure(world: &World, length: Duration) -> anyhow::Result<Self> {
        let ended = "select count(*) from disposition";
        let (before, cpu, blocks) =
            (world.count(ended).await?, world.cpu_seconds()[2], touched(&world.server.pool).await?);
        let started = Instant::now();
        tokio::time::sleep(length).await;
        let tables = touched(&world.server.pool).await?.into_iter().map(|(name, now)| {
            let before = blocks.get(&name).map_or(0, |before| before.blocks);
            (name, Touched { blocks: now.blocks - before, ..now })
        });
        let tables = tables.collect();
        let ended = world.count(ended).await? - before;
        ensure!(ended > 0, "nothing ended in {length:?}");
        Ok(Self {
            ended: ended as f64,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: world.cpu_seconds()[2] - cpu,
            tables,
        })
    }

    fn rate(&self) -> f64 {
        self.ended / self.seconds
    }

    fn cpu_ms(&self) -> f64 {
        1e3 * self.cpu_seconds / self.ended
    }
}

async fn touched(pool: &PgPool) -> anyhow::Result<BTreeMap<String, Touched>> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select s.relname::text,
            (coalesce(io.heap_blks_hit, 0) + coalesce(io.heap_blks_read, 0)
                + coalesce(io.idx_blks_hit, 0) + coalesce(io.idx_blks_read, 0))::bigint,
            s.n_dead_tup
         from pg_stat_user_tables s join pg_statio_user_tables io using (relid)",
    )
    .fetch_all(pool)
    .await
    .context("read what was touched")?;
    Ok(rows.into_iter().map(|(name, blocks, dead)| (name, Touched { blocks, dead })).collect())
}
