//! `mercurio check-config serve|core|gateway`: what a start would take from the settings, and all that
//! it would refuse, without a start.

use clap::{ArgMatches, Command as Clap};

use super::client;
use crate::{
    error::{EXIT_CODES, Failure},
    server::{
        self,
        configured::{Configured, data_dir},
    },
    settings::{Command, Problems, Settings},
};

/// As it is typed.
pub const NAME: &str = "check-config";

/// The commands whose settings it checks.
const CHECKED: [Command; 3] = [Command::Serve, Command::Core, Command::Gateway];

/// It takes what the command that is checked takes: stands in front of a start's own words.
pub fn command(subcommand: impl Fn(Command) -> Clap) -> Clap {
    let clap = Clap::new(NAME)
        .about("Checks the settings of a start and the files they name, and prints what holds")
        .long_about(
            "Checks the settings of a start and the files they name, and prints what holds and where it \
             is from, without secrets, as a file for --config has it. Nothing is started, made or called",
        )
        .subcommand_required(true)
        .after_help(format!(
            "Example:\n  mercurio {NAME} serve --config /etc/mercurio.toml\n\n{EXIT_CODES}"
        ));
    CHECKED
        .into_iter()
        .fold(clap, |clap, command| clap.subcommand(subcommand(command)))
}

pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let named = matches.subcommand().and_then(|(name, matches)| {
        let command = CHECKED.iter().find(|command| command.name() == name)?;
        Some((*command, matches))
    });
    let Some((command, matches)) = named else {
        return Err(Failure::Usage("serve, core or gateway is needed".into()));
    };
    let (settings, effective) = Settings::read_with_origins(command, matches);
    for line in &effective {
        if !client::print(line)? {
            break;
        }
    }
    let settings = settings?;
    // What is no mistake, but worth a word.
    server::log(&settings);
    let mut problems = Vec::new();
    if let Err(failure) = Configured::read(command, &settings) {
        failure.note(&mut problems)?;
    }
    if command.has_core() {
        problems.extend(data_dir(&settings));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Problems(problems).into()),
    }
}
