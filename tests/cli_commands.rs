//! The command line as people meet it: help, tables, explanations and errors, on a real Postgres.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

#[path = "cli_commands/scene.rs"]
mod scene;

#[path = "cli_commands/auditing.rs"]
mod auditing;
#[path = "cli_commands/campaigns.rs"]
mod campaigns;
#[path = "cli_commands/checking.rs"]
mod checking;
#[path = "cli_commands/explaining.rs"]
mod explaining;
#[path = "cli_commands/help.rs"]
mod help;
#[path = "cli_commands/importing.rs"]
mod importing;
#[path = "cli_commands/looking.rs"]
mod looking;
#[path = "cli_commands/planning.rs"]
mod planning;
