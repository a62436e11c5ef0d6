//! The benchmark: how fast the whole daemon is, how fast its statements are alone, how late a call leaves, how long an
//! audit takes.
//!
//! `bench lifecycle`, `bench sql`, `bench lateness`, `bench audit`, `bench snapshot`, or `bench all`, which leaves the last
//! two out: they take minutes. Everything runs on this machine: a private Postgres server with every promise of durability,
//! the provider simulator, and the daemon, each a process of its own.

mod audit;
mod lateness;
mod lifecycle;
mod snapshot;
mod sql;
mod usage;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set for child processes that are `outdial` itself: one program then holds everything a run needs.
const AS_OUTDIAL: &str = "OUTDIAL_BENCH_AS_OUTDIAL";

#[derive(Debug, Parser)]
#[command(name = "bench", about = "Measures the daemon on this machine")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Whole call lifecycles a second, limits out of the way.
    Lifecycle(lifecycle::Options),
    /// The statements of a lifecycle, driven by pgbench.
    Sql(sql::Options),
    /// How long after they are due calls leave, with free capacity.
    Lateness(lateness::Options),
    /// How long `outdial audit` takes.
    Audit(audit::Options),
    /// Whether the daemon keeps its pace while one idle transaction holds a snapshot.
    Snapshot(snapshot::Options),
    /// All of them, with the ratio of the first two.
    All,
}

fn main() -> ExitCode {
    if std::env::var_os(AS_OUTDIAL).is_some() {
        return outdial::cli::main();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(Arguments::parse().what)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(what: What) -> anyhow::Result<()> {
    println!("{}", usage::machine());
    match what {
        What::Lifecycle(options) => lifecycle::run(&options).await.map(drop),
        What::Sql(options) => sql::run(&options).await.map(drop),
        What::Lateness(options) => lateness::run(&options).await,
        What::Audit(options) => audit::run(&options).await,
        What::Snapshot(options) => snapshot::run(&options).await,
        What::All => {
            let whole = lifecycle::run(&lifecycle::Options::default()).await?;
            let statements = sql::run(&sql::Options::default()).await?;
            println!("the daemon reaches {:.0} % of its statements alone", 100.0 * whole / statements);
            lateness::run(&lateness::Options::default()).await?;
            audit::run(&audit::Options::default()).await
        }
    }
}
