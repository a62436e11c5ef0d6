//! `outdial simulate-provider`: the provider simulator alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::adapter::clock::ScaledClock;
use crate::adapter::simulator::{
    Faults, Language, OutcomeMix, Quirks, RateLimit, Shape, Simulator, SimulatorOptions, Span,
};

use super::{Failure, Outcome};

/// Run the provider simulator: it speaks the documented APIs of the Autocalls family and of HappyRobot and rings nobody.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// How it answers: `famulor` with call ids, `sondos` and `white-label` without, `happyrobot-v1`, `happyrobot-v2`.
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
    /// How long a call waits before it is dialed, civil seconds.
    #[arg(long, value_name = "SECONDS..SECONDS")]
    queue: Option<Span>,
    /// How long a phone rings, civil seconds.
    #[arg(long, value_name = "SECONDS..SECONDS")]
    ring: Option<Span>,
    /// How long people talk, civil seconds.
    #[arg(long, value_name = "SECONDS..SECONDS")]
    talk: Option<Span>,
    /// Answer 429 beyond so many requests in a civil minute.
    #[arg(long, value_name = "COUNT", conflicts_with = "enforce_rate")]
    requests_per_minute: Option<u32>,
    /// Answer 429 beyond the limit the brand documents, which is otherwise only told in headers.
    #[arg(long)]
    enforce_rate: bool,
    /// Refuse more calls than this in any 24 civil hours.
    #[arg(long, value_name = "COUNT")]
    calls_per_day: Option<u32>,
    /// The account's money at the start.
    #[arg(long, value_name = "AMOUNT")]
    balance: Option<f64>,
    /// Do not echo the variables of a call in its results, as some brands may.
    #[arg(long)]
    no_echo: bool,
    /// The civil clock, as `outdial run` prints it at its start: CIVIL/REAL/FACTOR.
    #[arg(long, value_name = "CLOCK")]
    clock: Option<ScaledClock>,
    /// Append every request, call and webhook to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    quirks: QuirkArgs,
}

/// What a provider does that no document says.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Quirks")]
struct QuirkArgs {
    /// Probability that a value is written in another type: numbers as strings, 0 and 1 for booleans, `[]` for `{}`.
    #[arg(long, value_name = "PROBABILITY", num_args = 0..=1, require_equals = true, default_missing_value = "0.5")]
    type_drift: Option<f64>,
    /// Probability that a live call shows a status word nobody knows.
    #[arg(long, value_name = "PROBABILITY", num_args = 0..=1, require_equals = true, default_missing_value = "0.2")]
    odd_status: Option<f64>,
    /// The zone of instants that are written without one.
    #[arg(long, value_name = "ZONE")]
    naive_zone: Option<String>,
    /// The language of messages: en, de or tr.
    #[arg(long)]
    language: Option<Language>,
    /// Have no list of outbound assistants, only the paginated one of all.
    #[arg(long)]
    no_outbound_list: bool,
    /// Answer a call by an inactive assistant with this status.
    #[arg(long, value_name = "STATUS")]
    inactive_status: Option<u16>,
    /// Answer a call beyond `--calls-per-day` with this status.
    #[arg(long, value_name = "STATUS")]
    cap_status: Option<u16>,
    /// The field of a run's payload that holds the number (happyrobot-v2).
    #[arg(long, value_name = "NAME")]
    phone_field: Option<String>,
}

impl QuirkArgs {
    fn quirks(self) -> Quirks {
        let documented = Quirks::default();
        Quirks {
            type_drift: self.type_drift.unwrap_or(documented.type_drift),
            odd_status: self.odd_status.unwrap_or(documented.odd_status),
            naive_zone: self.naive_zone.unwrap_or(documented.naive_zone),
            language: self.language,
            outbound_list: !self.no_outbound_list,
            inactive_status: self.inactive_status.unwrap_or(documented.inactive_status),
            cap_status: self.cap_status.unwrap_or(documented.cap_status),
            phone_field: self.phone_field.unwrap_or(documented.phone_field),
        }
    }
}

/// The limit of requests that was asked for, or the one the brand documents.
fn rate(shape: Shape, requests_per_minute: Option<u32>, enforce: bool) -> Result<Option<RateLimit>, Failure> {
    if let Some(per_minute) = requests_per_minute {
        return Ok(Some(RateLimit::enforced(per_minute)));
    }
    match shape.documented_rate() {
        Some(documented) => Ok(Some(RateLimit { enforced: enforce, ..documented })),
        None if enforce => {
            Err(Failure::user(anyhow::anyhow!("{shape} documents no limit to enforce: give --requests-per-minute")))
        }
        None => Ok(None),
    }
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
    options.rate = rate(args.shape, args.requests_per_minute, args.enforce_rate)?;
    options.calls_per_day = args.calls_per_day;
    options.quirks = args.quirks.quirks();
    options.quirks.validate().map_err(Failure::user)?;
    if let Some(balance) = args.balance {
        options.balance = balance;
    }
    if let Some(queue) = args.queue {
        options.queue = queue;
    }
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
    println!("Simulating a provider ({}) at {} until interrupted", args.shape, simulator.base_url);
    super::run::interrupted().await;
    simulator.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
