use std::process::ExitCode;

fn main() -> ExitCode {
    outdial::cli::main()
}
