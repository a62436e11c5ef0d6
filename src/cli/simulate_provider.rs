//! `outdial simulate-provider`: the provider simulator alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::adapter::clock::ScaledClock;
use crate::adapter::simulator::{Faults, OutcomeMix, Shape, Simulator, SimulatorOptions, Span};

use super::{Failure, Outcome};

/// Run the provider simulator: it speaks the documented API of the Autocalls family and rings nobody.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// How it answers: `famulor` with call ids, `white-label` without.
    #[arg(long, default_value = "famulor")]
    shape: Shape,
    /// The API key it accepts.
    #[arg(long, default_value = "simulated-key", env = "OUTDIAL_SIMULATOR_KEY", hide_env_values = true)]
    api_key: String,
    /// Decides every outcome: the same seed gives the same outcomes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to send webhooks, as printed by `outdial check`.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Weights of the outcomes, for example `goal_met=1,no_answer=3,busy=1`.
    #[arg(long, value_name = "MIX")]
    mix: Option<OutcomeMix>,
    /// Probabilities of faults, for example `all=0.02` or `webhook_lost=0.1,list_lag=5..60`.
    #[arg(long, value_name = "FAULTS")]
    faults: Option<Faults>,
    /// How long a phone rings, civil seconds.
    #[arg(long, value_name = "SECONDS..SECONDS")]
    ring: Option<Span>,
    /// How long people talk, civil seconds.
    #[arg(long, value_name = "SECONDS..SECONDS")]
    talk: Option<Span>,
    /// Answer 429 beyond so many requests in a civil minute.
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u32>,
    /// Do not echo the variables of a call in its results, as some brands may.
    #[arg(long)]
    no_echo: bool,
    /// The civil clock, as `outdial run` prints it at its start: CIVIL/REAL/FACTOR.
    #[arg(long, value_name = "CLOCK")]
    clock: Option<ScaledClock>,
    /// Append every request, call and webhook to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> Outcome {
    crate::telemetry::start(None);
    let mut options = SimulatorOptions {
        listen: args.listen,
        shape: args.shape,
        api_key: args.api_key,
        ..SimulatorOptions::default()
    };
    options.seed = args.seed;
    options.echo_variables = !args.no_echo;
    options.requests_per_minute = args.requests_per_minute;
    options.log_file = args.log;
    if let Some(mix) = args.mix {
        options.mix = mix;
    }
    if let Some(faults) = args.faults {
        options.faults = faults;
    }
    if let Some(ring) = args.ring {
        options.timing.ring = ring;
    }
    if let Some(talk) = args.talk {
        options.timing.talk = talk;
    }
    if let Some(clock) = args.clock {
        options.clock = clock;
    }
    if let Some(url) = args.webhook {
        options = options.with_webhook(&url);
    }
    let simulator = Simulator::start(options).await.map_err(Failure::world)?;
    println!("Simulating a provider at {} until interrupted", simulator.base_url);
    super::run::interrupted().await;
    simulator.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
