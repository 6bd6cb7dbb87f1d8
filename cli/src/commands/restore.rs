//! `mercurio restore`: makes a data directory of a backup.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command};
use mercurio_core::store::{Import, restore};
use serde_json::json;

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn arguments(command: Command) -> Command {
    command
        .about("Makes a data directory of a backup, and checks every byte of it")
        .arg(
            Arg::new("backup")
                .value_name("BACKUP")
                .required(true)
                .value_parser(clap::value_parser!(PathBuf))
                .help("What `mercurio backup` made"),
        )
}

pub fn run(settings: &Settings, matches: &ArgMatches) -> Result<(), Failure> {
    let empty = Path::new("");
    // clap has seen to it that it is there, and the table has a default.
    let backup = matches.get_one::<PathBuf>("backup");
    let backup = backup.map_or(empty, PathBuf::as_path);
    let dir = settings.path("data-dir").unwrap_or(empty);
    if dir.exists() && !Import::is_unfinished(dir) && !is_empty(dir) {
        return Err(Failure::Usage(format!(
            "--data-dir {} is not empty: name a directory that is, or that is not there",
            dir.display()
        )));
    }
    let restored = restore(backup, dir).map_err(Failure::other)?;
    client::print(&json!({
        "cursor": restored.through,
        "files": restored.files.len(),
        "bytes": restored.files.iter().map(|file| file.length).sum::<u64>(),
    }))?;
    Ok(())
}

/// What a file system, and an attempt that failed, leave are nothing.
fn is_empty(dir: &Path) -> bool {
    let names = fs::read_dir(dir).map(|names| names.flatten().collect::<Vec<_>>());
    names.is_ok_and(|names| {
        let mut names = names.iter().map(fs::DirEntry::file_name);
        names.all(|name| name == "LOCK" || name == "lost+found")
    })
}
