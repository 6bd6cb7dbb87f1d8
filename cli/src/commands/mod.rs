//! The commands: what each takes, and which function runs it.

mod backup;
mod check_config;
mod client;
mod delete;
mod dev;
mod history;
mod migrate;
mod publish;
mod read;
mod restore;
mod revoke;
mod serve;
mod status;
mod streams;
mod subscribe;
mod token;
mod verify;

use std::ffi::OsString;

use clap::{ArgMatches, Command as Clap};

use crate::{
    error::{EXIT_CODES, Failure},
    settings::{self, Command, Settings},
};

/// The arguments, with `dev` for who names no command.
pub fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let first = arguments.get(1).and_then(|first| first.to_str());
    let is_bare = match first {
        None => arguments.len() < 2,
        Some(first) => {
            first.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&first)
        }
    };
    if is_bare {
        arguments.insert(1.min(arguments.len()), "dev".into());
    }
    arguments
}

/// The command line.
pub fn clap() -> Clap {
    let clap = Clap::new("mercurio")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Notifications, stored durably and streamed to browsers")
        .after_help(format!("Without a command: dev.\n\n{EXIT_CODES}"))
        .subcommand_required(true);
    Command::ALL
        .iter()
        .fold(clap, |clap, command| clap.subcommand(subcommand(*command)))
        .subcommand(check_config::command(subcommand))
}

fn subcommand(command: Command) -> Clap {
    let clap = Clap::new(command.name());
    let (clap, example) = match command {
        Command::Serve => (
            clap.about("Runs core and gateway in one process"),
            "mercurio serve --jwt-secret-file key --data-dir /var/lib/mercurio",
        ),
        Command::Core => (
            clap.about("Runs the core alone"),
            "mercurio core --jwt-secret-file key --grpc-addr 10.0.0.5:50051",
        ),
        Command::Gateway => (
            clap.about("Runs a gateway alone"),
            "mercurio gateway --jwt-secret-file key --core-url http://10.0.0.5:50051",
        ),
        Command::Dev => (
            clap.about("serve, for trying out: a key of its own, tokens and examples printed"),
            "mercurio dev",
        ),
        Command::Token => (
            token::arguments(clap),
            "mercurio token --jwt-secret-file key --sub alice --ttl 8h",
        ),
        Command::Publish => (
            publish::arguments(clap),
            "mercurio publish --to alice --topic invoice.paid --data 'Invoice 7 was paid'",
        ),
        Command::Subscribe => (
            subscribe::arguments(clap),
            "mercurio subscribe --recipient alice --after oldest",
        ),
        Command::History => (
            history::arguments(clap),
            "mercurio history --recipient alice --status unread",
        ),
        Command::Migrate => (
            clap.about("Makes a shared log of a data directory that has its own. Its core has to be stopped"),
            "mercurio migrate --data-dir /var/lib/mercurio --log nats --log-url nats://10.0.0.7:4222",
        ),
        Command::Read => (
            read::arguments(clap),
            "mercurio read --recipient alice 17 18",
        ),
        Command::Delete => (
            delete::arguments(clap),
            "mercurio delete --recipient alice --id 17",
        ),
        Command::Revoke => (
            revoke::arguments(clap),
            "mercurio revoke --jwt-secret-file key --sub alice --until 8h",
        ),
        Command::Status => (
            status::arguments(clap),
            "mercurio status --core-url http://10.0.0.5:50051 --core-url http://10.0.0.6:50051",
        ),
        Command::Streams => (
            streams::arguments(clap),
            "mercurio streams --recipient alice",
        ),
        Command::Backup => (
            backup::arguments(clap),
            "mercurio backup --jwt-secret-file key /backups/today",
        ),
        Command::Restore => (
            restore::arguments(clap),
            "mercurio restore /backups/today --data-dir /var/lib/mercurio",
        ),
        Command::Verify => (
            clap.about(
                "Checks all that a data directory or a backup holds; no service may run on it",
            ),
            "mercurio verify --data-dir /backups/today",
        ),
    };
    settings::flags(command, clap).after_help(format!("Example:\n  {example}\n\n{EXIT_CODES}"))
}

/// Runs the command.
pub fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Failure::Usage("a command is needed; see --help".into()));
    };
    if name == check_config::NAME {
        return check_config::run(matches);
    }
    let Some(command) = Command::ALL
        .iter()
        .find(|command| command.name() == name)
        .copied()
    else {
        return Err(Failure::Usage(format!("there is no command {name}")));
    };
    let settings = Settings::read(command, matches)?;
    match command {
        Command::Serve | Command::Core | Command::Gateway => serve::run(command, &settings),
        Command::Dev => dev::run(&settings),
        Command::Migrate => migrate::run(&settings),
        Command::Token => token::run(&settings, matches),
        Command::Publish => client::run(publish::run(&settings, matches)),
        Command::Subscribe => client::run(subscribe::run(&settings, matches)),
        Command::History => client::run(history::run(&settings, matches)),
        Command::Read => client::run(read::run(&settings, matches)),
        Command::Delete => client::run(delete::run(&settings, matches)),
        Command::Revoke => client::run(revoke::run(&settings, matches)),
        Command::Status => client::run(status::run(&settings, matches)),
        Command::Streams => client::run(streams::run(&settings, matches)),
        Command::Backup => client::run(backup::run(&settings, matches)),
        Command::Restore => restore::run(&settings, matches),
        Command::Verify => verify::run(&settings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_each_command_has_an_example() {
        clap().debug_assert();
        for command in Command::ALL {
            let help = subcommand(*command).render_long_help().to_string();
            assert!(
                help.contains(&format!("mercurio {}", command.name())),
                "{help}"
            );
            assert!(help.contains("Exit codes"));
        }
    }

    #[test]
    fn bare_means_dev() {
        let bare = |arguments: &[&str]| {
            self::arguments(arguments.iter().map(OsString::from))
                .get(1)
                .cloned()
        };
        assert_eq!(bare(&["mercurio"]), Some("dev".into()));
        assert_eq!(
            bare(&["mercurio", "--http-addr", "x:1"]),
            Some("dev".into())
        );
        assert_eq!(bare(&["mercurio", "--help"]), Some("--help".into()));
        assert_eq!(bare(&["mercurio", "serve"]), Some("serve".into()));
    }
}
