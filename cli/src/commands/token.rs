//! `mercurio token`: prints a token for the configured secret.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use mercurio_auth::Issuer;

use super::client;
use crate::{error::Failure, server::keys, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Prints a token")
        .arg(
            Arg::new("sub")
                .long("sub")
                .value_name("ID")
                .required(true)
                .help("The user's id"),
        )
        .arg(
            Arg::new("scope")
                .long("scope")
                .value_name("S")
                .action(ArgAction::Append)
                .help(
                    "notifications:publish, notifications:any, notifications:admin; again for more",
                ),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("TIME")
                .default_value("1h")
                .value_parser(humantime::parse_duration)
                .help("How long it is valid"),
        )
}

pub fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let key = keys::signing_or_dev(settings)?;
    let issuer = Issuer::new(key, &keys::rules(settings)?);
    let user = matches.get_one::<String>("sub").map_or("", String::as_str);
    let scopes = matches.get_many::<String>("scope").into_iter().flatten();
    let scopes: Vec<&str> = scopes
        .flat_map(|scopes| scopes.split_whitespace())
        .collect();
    let ttl = matches
        .get_one::<Duration>("ttl")
        .copied()
        .unwrap_or(Duration::from_secs(3600));
    let token = issuer
        .issue(user, &scopes, ttl)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    client::print(&token)?;
    Ok(())
}
