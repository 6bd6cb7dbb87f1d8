//! `mercurio backup`: copies all that a running core has into a directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command};
use mercurio_auth::{SCOPE_ADMIN, ServiceTokens};
use mercurio_core::{
    bootstrap::{FetchError, Peers, fetch_snapshot},
    store::Import,
};
use mercurio_net::Dial;
use serde_json::json;

use super::client;
use crate::{error::Failure, server::tls, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Copies all that a running core has into a directory, which `serve` could open")
        .arg(
            Arg::new("destination")
                .value_name("DEST")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("The directory to make; where a backup into it was cut short, it goes on"),
        )
}

pub async fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    // clap has seen to it that it is there.
    let destination = matches
        .get_one::<PathBuf>("destination")
        .map_or(Path::new(""), PathBuf::as_path);
    if destination.exists() && !Import::is_unfinished(destination) {
        return Err(Failure::Usage(format!(
            "{} is there already: name a directory that is not",
            destination.display()
        )));
    }
    let tokens = ServiceTokens::fixed(client::token(settings, &[SCOPE_ADMIN])?);
    let cores = Peers {
        urls: settings.texts("core-url"),
        dial: Dial::Tcp(tls::client(settings)?),
        tokens,
    };
    match fetch_snapshot(&cores, destination, None).await {
        Ok(fetched) => {
            client::print(&json!({
                "cursor": fetched.through,
                "files": fetched.files,
                "bytes": fetched.bytes,
            }))?;
            Ok(())
        }
        Err(error) => {
            leave_nothing(destination);
            Err(failure(&error))
        }
    }
}

/// Where nothing came, there is no directory.
fn leave_nothing(destination: &Path) {
    let names = fs::read_dir(destination).map(|names| names.flatten().collect::<Vec<_>>());
    if names.is_ok_and(|names| names.iter().all(|name| name.file_name() == "LOCK")) {
        let _ = fs::remove_dir_all(destination);
    }
}

fn failure(error: &FetchError) -> Failure {
    match error.status() {
        Some(status) => tonic::Status::with_details_and_metadata(
            status.code(),
            error.to_string(),
            status.details().to_vec().into(),
            status.metadata().clone(),
        )
        .into(),
        None => Failure::other(error),
    }
}
