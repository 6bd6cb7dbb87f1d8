//! The data directory: one process at a time, and a known format.
//!
//! ```text
//! <data-dir>/LOCK         held with flock; says who holds it
//! <data-dir>/FORMAT       the version of all of this
//! <data-dir>/LOG          which shared log it is a view of, and that log's retention; not there: its own
//! <data-dir>/LOG.next     the one that it is being made the beginning of
//! <data-dir>/MANIFEST     what it was made of, until it is opened: see `snapshot`
//! <data-dir>/import/      what comes from elsewhere, until it is all there: see `snapshot`
//! <data-dir>/log/, high-water   see `journal`
//! <data-dir>/segments/    see `segment.rs`
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::log::LogId;

use super::{
    Import, Retention, StoreError,
    files::{self, sync_dir},
};

/// The format that this version reads and writes. 1, of before the first release, had no log of
/// its own.
pub(super) const FORMAT: u32 = 2;
const FORMAT_NAME: &str = "mercurio";

/// Checks the directory's format, or makes it this one where there is nothing yet.
pub(super) fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let version = text
                .trim()
                .strip_prefix(FORMAT_NAME)
                .map(|version| version.trim().parse::<u32>());
            match version {
                Some(Ok(FORMAT)) => Ok(()),
                _ => Err(other_format(dir, &text)),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join("segments").exists() {
                return Err(StoreError::Corrupt {
                    dir: dir.to_owned(),
                    message: "its file `FORMAT` is missing".into(),
                });
            }
            write_format(dir)
        }
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

/// From now on it has the format of this version.
pub(super) fn write_format(dir: &Path) -> Result<(), StoreError> {
    write_whole(dir, "FORMAT", &format!("{FORMAT_NAME} {FORMAT}"))
}

pub(super) fn other_format(dir: &Path, found: &str) -> StoreError {
    StoreError::OtherFormat {
        dir: dir.to_owned(),
        found: found.trim().chars().take(40).collect(),
        known: FORMAT,
    }
}

/// The shared log that the directory's data is of. Of part of a copy there is no data.
pub(super) fn bound_to(dir: &Path) -> Result<Option<LogId>, StoreError> {
    if Import::is_unfinished(dir) {
        return Ok(None);
    }
    Ok(read_log(dir, "LOG")?.map(|(log, _)| log))
}

/// By which retention decisions were made on its data; `None`: not noted.
pub(super) fn bound_retention(dir: &Path) -> Result<Option<Retention>, StoreError> {
    Ok(read_log(dir, "LOG")?.and_then(|(_, retention)| retention))
}

/// From now on its data is of this log.
pub(super) fn bind(
    dir: &Path,
    log: &LogId,
    retention: Option<Retention>,
) -> Result<(), StoreError> {
    let mut lines = log.to_string();
    if let Some(retention) = retention {
        lines.push('\n');
        lines.push_str(&retention.to_text());
    }
    write_whole(dir, "LOG", &lines)
}

const NEXT: &str = "LOG.next";

/// The log that its data, as it is, was to be made the beginning of.
pub(super) fn next_log(dir: &Path) -> Result<Option<LogId>, StoreError> {
    Ok(read_log(dir, NEXT)?.map(|(log, _)| log))
}

pub(super) fn set_next_log(dir: &Path, log: &LogId) -> Result<(), StoreError> {
    write_whole(dir, NEXT, &log.to_string())
}

pub(super) fn forget_next_log(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(NEXT);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

fn read_log(dir: &Path, name: &str) -> Result<Option<(LogId, Option<Retention>)>, StoreError> {
    let path = dir.join(name);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    let unreadable = |()| StoreError::Corrupt {
        dir: dir.to_owned(),
        message: format!("its file `{name}` can't be read"),
    };
    let mut lines = text.lines();
    let log = lines.next().unwrap_or_default().parse();
    let retention = lines.next().map(str::parse).transpose();
    Ok(Some((
        log.map_err(unreadable)?,
        retention.map_err(unreadable)?,
    )))
}

/// The refusal of data that is of another log than it is wanted for.
pub(super) fn other_log(dir: &Path, found: Option<&LogId>, wanted: Option<&LogId>) -> StoreError {
    let name = |log: &LogId| format!("the shared log {}", log.id);
    StoreError::OtherLog {
        dir: dir.to_owned(),
        found: found.map_or("a log of its own".into(), name),
        wanted: match (found, wanted) {
            (_, Some(log)) => name(log),
            (Some(_), None) => "a log of its own".into(),
            (None, None) => "a shared one".into(),
        },
        advice: match (found, wanted) {
            (Some(_), None) => "start with the `--log` that it was started with before",
            (None, _) => "`mercurio migrate` makes a shared log of it; or take another directory",
            (Some(_), Some(_)) => {
                "check `--log-url` and `--log-name`; if that log was made anew, start with an \
                 empty directory"
            }
        },
    }
}

/// Writes a file that is whole when it has its name.
fn write_whole(dir: &Path, name: &str, line: &str) -> Result<(), StoreError> {
    let path = dir.join(name);
    let new = dir.join(format!("{name}.new"));
    let made = File::create(&new).and_then(|mut file| {
        writeln!(file, "{line}")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_dir(dir)
    });
    made.map_err(StoreError::io("write", &path))
}

/// The data directory's lock, held as long as this lives.
pub(super) struct DirLock(#[expect(dead_code, reason = "held, not used")] File);

impl DirLock {
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("LOCK");
        let mut file = files::open_kept(&path)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(StoreError::io("lock", &path)(error.into()));
            }
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "(unknown)".into(),
                holder => holder.to_owned(),
            };
            return Err(StoreError::Held {
                dir: dir.to_owned(),
                holder,
            });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(StoreError::io("write", &path))?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{Store, StoreSettings};
    use super::*;

    #[test]
    fn only_its_owner_looks_into_a_directory_that_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let data = dir.path().join("a/data");
        Store::open(&data, StoreSettings::default(), Retention::default()).unwrap();
        assert_eq!(mode(&data), 0o700);
        let backup = dir.path().join("backup");
        Import::open(&backup).unwrap();
        assert_eq!(mode(&backup), 0o700);
        // One that is there stays as who made it wants it.
        let made = dir.path().join("made");
        fs::create_dir(&made).unwrap();
        fs::set_permissions(&made, fs::Permissions::from_mode(0o750)).unwrap();
        Store::open(&made, StoreSettings::default(), Retention::default()).unwrap();
        assert_eq!(mode(&made), 0o750);
    }
}
