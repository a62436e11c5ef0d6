//! The command line: one file per command, `wire` is where everything meets.

pub mod database;
pub mod demo;
pub mod output;
pub mod run;
pub mod simulate_provider;
pub mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Sources};

/// Runs outbound call campaigns through AI voice-assistant providers.
///
/// Nobody is rung twice for one attempt, nobody at a wrong time, no result is lost, and for every lead outdial can say
/// why it is or is not being called.
#[derive(Debug, Parser)]
#[command(name = "outdial", version, max_term_width = 100)]
pub struct Cli {
    /// A configuration file, or a folder of them; may be given several times, later ones win.
    #[arg(long, short, global = true, env = "OUTDIAL_CONFIG", value_name = "PATH")]
    pub config: Vec<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "made once in the life of the process")]
pub enum Command {
    /// Run the daemon.
    Run(run::Args),
    /// Show the whole system at work on this machine: nothing to prepare, nobody is rung.
    Demo(demo::Args),
    /// Run the provider simulator alone.
    SimulateProvider(simulate_provider::Args),
}

/// Why a command failed, and so whose turn it is.
#[derive(Debug)]
pub enum Failure {
    /// The user must change something: exit code 2.
    User(anyhow::Error),
    /// The world must: exit code 1.
    World(anyhow::Error),
}

impl Failure {
    /// The user's turn.
    pub fn user(error: impl Into<anyhow::Error>) -> Self {
        Self::User(error.into())
    }

    /// The world's turn.
    pub fn world(error: impl Into<anyhow::Error>) -> Self {
        Self::World(error.into())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::World(error.into())
    }
}

/// What commands return.
pub type Outcome = Result<ExitCode, Failure>;

/// Parses the command line, runs the command, prints what went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("outdial: cannot start: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A blocking task that hangs must not keep a process that has done its work.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(Failure::User(error)) => {
            eprintln!("outdial: {error:#}");
            ExitCode::from(2)
        }
        Err(Failure::World(error)) => {
            eprintln!("outdial: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn dispatch(cli: Cli) -> Outcome {
    let load = || load(&cli.config);
    match cli.command {
        Command::Run(args) => run::run(args, load()?).await,
        Command::Demo(args) => demo::run(args).await,
        Command::SimulateProvider(args) => simulate_provider::run(args).await,
    }
}

fn load(paths: &[PathBuf]) -> Result<Config, Failure> {
    crate::config::load(&Sources::of_process(paths.to_vec())).map_err(Failure::user)
}
