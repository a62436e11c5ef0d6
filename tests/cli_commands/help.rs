//! Help that needs no manual.

use clap::{Command, CommandFactory};
use outdial::cli::Cli;

fn pages(command: &mut Command, path: &str, text: &mut String) {
    text.push_str(&format!("##### {path} --help\n{}\n", command.render_long_help()));
    for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        pages(sub, &path, text);
    }
}

#[test]
fn every_command_explains_itself() {
    let mut text = String::new();
    let mut command = Cli::command().term_width(100);
    command.build();
    pages(&mut command, "outdial", &mut text);
    let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    // Global to all; it reads the environment.
    let text = text.replace("OUTDIAL_CONFIG=]", "OUTDIAL_CONFIG]");
    insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("cli_help", text)
    });
}

#[test]
fn nothing_is_left_unexplained() {
    fn check(command: &Command) {
        let name = command.get_name();
        assert!(name == "help" || command.get_about().is_some(), "{name} has no description");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {} has no description", argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
    Cli::command().debug_assert();
}
