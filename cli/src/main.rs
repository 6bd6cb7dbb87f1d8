//! The `mercurio` binary: it reads the settings, wires the parts, and runs one command.

mod commands;
mod error;
mod server;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = commands::arguments(std::env::args_os());
    let matches = commands::clap().get_matches_from(arguments);
    match commands::run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mercurio: {failure}");
            failure.exit_code()
        }
    }
}
