//! `outdial schema`: what editors want to know of the files that people write.

use std::io::Write;
use std::process::ExitCode;

use crate::config;

use super::Outcome;
use super::output::line;

/// Print the JSON Schema of the configuration or of campaign files, for editors.
///
/// An editor that speaks YAML's language server completes and checks a file that begins with
/// `# yaml-language-server: $schema=PATH`. What no schema can say (what other keys, files and the provider say)
/// `outdial check` and `outdial campaign apply` find.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Of which file.
    #[arg(default_value = "config")]
    of: Document,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Document {
    /// The configuration, as given by --config.
    Config,
    /// Campaigns, as given to `campaign apply`.
    Campaign,
}

pub(super) fn run(args: Args, out: &mut dyn Write) -> Outcome {
    let schema = match args.of {
        Document::Config => config::config_schema(),
        Document::Campaign => config::campaign_schema(),
    };
    line(out, format_args!("{schema:#}"))?;
    Ok(ExitCode::SUCCESS)
}
