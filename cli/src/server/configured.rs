//! All that a start takes from the settings and from the files they name, before anything is started.
//! What is wrong is said at once, by a start as by `check-config`.

use std::path::{Path, PathBuf};

use mercurio_net::{ClientFiles, ClientTls, H2};
use mercurio_trace::Collector;

use super::{keys::Keys, peers, service_tokens, tls::Doors, traces};
use crate::{
    error::Failure,
    settings::{Command, Problem, Problems, Settings},
};

/// Keys and certificates, read and fit for use.
pub struct Configured {
    pub keys: Keys,
    pub doors: Doors,
    /// Where traces go.
    pub collector: Option<Collector>,
}

impl Configured {
    /// Of the settings of `serve`, `core` or `gateway`. Reads files; makes, binds and calls nothing.
    ///
    /// # Errors
    /// All that is wrong: a setting needs another, or a file can't be used.
    pub fn read(command: Command, settings: &Settings) -> Result<Self, Failure> {
        let mut problems = Vec::new();
        let mut noted = |result: Result<(), Failure>| match result {
            Ok(()) => Ok(()),
            Err(failure) => failure.note(&mut problems),
        };
        let mut keys = None;
        let read = Keys::configured(settings);
        noted(read.map(|read| keys = Some(read)))?;
        let mut doors = None;
        let read = Doors::configured(settings);
        noted(read.map(|read| doors = Some(read)))?;
        let mut collector = None;
        let read = traces::collector(settings);
        noted(read.map(|read| collector = read))?;
        if let Some(keys) = &keys {
            if command.has_core() {
                noted(peers(settings, keys, None).map(drop))?;
            } else {
                noted(service_tokens(keys).map(drop))?;
            }
        }
        if command.has_core() {
            problems.extend(log(settings));
        }
        match (keys, doors) {
            (Some(keys), Some(doors)) if problems.is_empty() => Ok(Self {
                keys,
                doors,
                collector,
            }),
            _ => Err(Problems(problems).into()),
        }
    }
}

/// What is wrong with how a shared log is reached.
fn log(settings: &Settings) -> Vec<Problem> {
    let kind = settings.text("log").unwrap_or("embedded");
    if kind == "embedded" {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if settings.is_unset("log-url") {
        problems.push(Problem::new(format!(
            "--log-url: it is needed with --log {kind}"
        )));
    }
    let path = |name: &str| settings.path(name).map(PathBuf::from);
    let own = match (path("log-cert-file"), path("log-key-file")) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            let problem = "--log-cert-file: --log-key-file is needed with it";
            problems.push(Problem::new(problem));
            None
        }
        (None, Some(_)) => {
            let problem = "--log-key-file: --log-cert-file is needed with it";
            problems.push(Problem::new(problem));
            None
        }
    };
    let ca = path("log-ca-file");
    if ca.is_some() || own.is_some() {
        // As the log's own client will read them, but all at once and before it connects.
        if let Err(error) = ClientTls::load(ClientFiles { ca, own }, H2) {
            problems.push(Problem::new(format!(
                "--log-ca-file, --log-cert-file: {error}"
            )));
        }
    }
    if let Some(path) = settings.path("log-credentials-file")
        && let Err(error) = std::fs::read(path)
    {
        problems.push(Problem::new(format!(
            "--log-credentials-file {}: {error}",
            path.display()
        )));
    }
    problems
}

/// What is wrong with the data directory: it can neither be used nor made.
pub fn data_dir(settings: &Settings) -> Option<Problem> {
    use rustix::fs::{Access, access};
    // The table has a default.
    let dir = settings.path("data-dir").unwrap_or(Path::new("data"));
    let said = |what: String| Problem::new(format!("--data-dir {}: {what}", dir.display()));
    let here = if dir.is_absolute() { "/" } else { "." };
    let found = dir
        .ancestors()
        .map(|dir| match dir.as_os_str().is_empty() {
            true => Path::new(here),
            false => dir,
        })
        .find(|dir| dir.symlink_metadata().is_ok())
        .unwrap_or(Path::new(here));
    let needed = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if !found.is_dir() {
        return Some(said(format!("{} is no directory", found.display())));
    }
    let error = access(found, needed).err()?;
    let error = std::io::Error::from(error);
    let what = match found == dir {
        true => format!("it can't be read and written: {error}"),
        false => format!("it can't be made in {}: {error}", found.display()),
    };
    Some(said(what))
}
