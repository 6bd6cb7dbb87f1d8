//! The `mercurio` binary: it reads the settings, wires the parts, and runs one command.

mod commands;
mod error;
mod server;
mod settings;

use std::process::ExitCode;

/// What a request allocates on one thread, the writer and the connections free on theirs: glibc's
/// allocator took a fifth of a publish for that (ARCHITECTURE.md, "Choices that the benchmark made").
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
