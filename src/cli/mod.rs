//! The command line: one file per command, `wire` is where everything meets.

pub mod audit;
pub mod call;
pub mod calls;
pub mod campaign;
pub mod check;
pub mod database;
pub mod demo;
pub mod desk;
pub mod explain;
pub mod leads;
pub mod migrate;
pub mod names;
pub mod output;
pub mod resolve;
pub mod run;
pub mod simulate_provider;
pub mod status;
pub mod stop;
pub mod suppress;
pub mod wire;

mod csv_file;
mod observe;
mod supervise;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Sources};

/// Runs outbound call campaigns through AI voice-assistant providers.
///
/// Nobody is rung twice for one attempt, nobody at a wrong time, no result is lost, and for every lead outdial can say
/// why it is or is not being called.
#[derive(Debug, Parser)]
#[command(name = "outdial", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// A configuration file, or a folder of them; may be given several times, later ones win.
    #[arg(long, short, global = true, env = "OUTDIAL_CONFIG", value_name = "PATH")]
    pub config: Vec<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Begin with:
  outdial demo                                         everything at work, nothing to prepare
  outdial check --config outdial.yaml                  is the configuration good, are the keys?
  outdial migrate --config outdial.yaml                make the tables
  outdial leads import leads.csv --list spring-2026    bring the leads
  outdial campaign apply campaign.yaml                 say what to dial, and when
  outdial run --config outdial.yaml                    dial

Exit codes: 0 done; 1 the world's turn, something does not answer or was not done; 2 your turn,
something must be changed.";

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a command's own words are its help")]
pub enum Command {
    /// Run the daemon.
    Run(run::Args),
    /// Show the whole system at work on this machine: nothing to prepare, nobody is rung.
    Demo(demo::Args),
    Check(check::Args),
    Migrate(migrate::Args),
    /// Everything that works on the database.
    #[command(flatten)]
    Desk(Box<DeskCommand>),
    /// Run the provider simulator alone.
    SimulateProvider(Box<simulate_provider::Args>),
}

/// What to do on the database, with or without a running daemon.
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "a command's own words are its help")]
pub enum DeskCommand {
    #[command(subcommand)]
    Campaign(campaign::CampaignCommand),
    #[command(subcommand)]
    Leads(leads::LeadsCommand),
    #[command(subcommand)]
    Suppress(suppress::SuppressCommand),
    Stop(stop::StopArgs),
    Start(stop::StartArgs),
    Call(call::Args),
    Explain(explain::Args),
    Status(status::Args),
    #[command(subcommand)]
    Calls(calls::CallsCommand),
    Resolve(resolve::Args),
    Audit(audit::Args),
}

/// Does what a command says and writes what it has to say.
pub async fn obey(command: &DeskCommand, desk: &desk::Desk, out: &mut dyn Write) -> Outcome {
    match command {
        DeskCommand::Campaign(command) => campaign::run(command, desk, out).await,
        DeskCommand::Leads(command) => leads::run(command, desk, out).await,
        DeskCommand::Suppress(command) => suppress::run(command, desk, out).await,
        DeskCommand::Stop(args) => stop::stop(args, desk, out).await,
        DeskCommand::Start(args) => stop::start(args, desk, out).await,
        DeskCommand::Call(args) => call::run(args, desk, out).await,
        DeskCommand::Explain(args) => explain::run(args, desk, out).await,
        DeskCommand::Status(args) => status::run(args, desk, out).await,
        DeskCommand::Calls(command) => calls::run(command, desk, out).await,
        DeskCommand::Resolve(args) => resolve::run(args, desk, out).await,
        DeskCommand::Audit(args) => audit::run(args, desk, out).await,
    }
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

    /// Whether the output's reader went away, as `head` does.
    fn is_closed_pipe(&self) -> bool {
        let (Self::User(error) | Self::World(error)) = self;
        error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
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
            crate::telemetry::complain(&format!("outdial: cannot start: {error}"));
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A blocking task that hangs must not keep a process that has done its work.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        // Whoever reads our output has seen enough.
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(Failure::User(error)) => {
            crate::telemetry::complain(&format!("outdial: {error:#}"));
            ExitCode::from(2)
        }
        Err(Failure::World(error)) => {
            crate::telemetry::complain(&format!("outdial: {error:#}"));
            ExitCode::from(1)
        }
    }
}

async fn dispatch(cli: Cli) -> Outcome {
    let load = || load(&cli.config);
    match cli.command {
        Command::Run(args) => run::run(args, load()?).await,
        Command::Demo(args) => demo::run(args).await,
        Command::SimulateProvider(args) => simulate_provider::run(*args).await,
        Command::Check(args) => check::run(&args, load()?, &mut std::io::stdout()).await,
        Command::Migrate(_) => migrate::run(load()?, &mut std::io::stdout()).await,
        Command::Desk(command) => desk::at_desk(load()?, &command, &mut std::io::stdout()).await,
    }
}

fn load(paths: &[PathBuf]) -> Result<Config, Failure> {
    crate::config::load(&Sources::of_process(paths.to_vec())).map_err(Failure::user)
}
