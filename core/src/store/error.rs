//! What can go wrong in the store.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::Retention;

/// An error of the store. Each says what to do where something can be done.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error(
        "{} is damaged: {message}. Stop the service, and restore the data directory from a backup; \
         without one, move this directory away to go on without what it holds",
        dir.display()
    )]
    Corrupt {
        /// Where.
        dir: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A stored value can't be decoded.
    #[error(
        "a stored {what} can't be decoded: the data directory is damaged; restore it from a backup"
    )]
    Unreadable {
        /// Which kind of value.
        what: &'static str,
    },
    /// sled refused for another reason.
    #[error("{}: {message}", dir.display())]
    Engine {
        /// Which database.
        dir: PathBuf,
        /// What sled said.
        message: String,
    },
    /// The data directory was written by another version.
    #[error(
        "{} has format {found}, and this version knows format {known}: start the version that \
         wrote it",
        dir.display()
    )]
    OtherFormat {
        /// Which data directory.
        dir: PathBuf,
        /// Its format.
        found: String,
        /// The format known here.
        known: u32,
    },
    /// The data is of another log.
    #[error("{} is the data of {found}, and not of {wanted}: {advice}", dir.display())]
    OtherLog {
        /// Which data directory.
        dir: PathBuf,
        /// Whose data it is.
        found: String,
        /// Which log it was opened for.
        wanted: String,
        /// What can be done.
        advice: &'static str,
    },
    /// Decisions on the data were made by another retention.
    #[error(
        "{} is a view of a shared log with {found}, and was started with {wanted}: start every \
         core of a log with the same; docs/cluster.md says how it is changed",
        dir.display()
    )]
    OtherRetention {
        /// Which data directory.
        dir: PathBuf,
        /// By which it was made.
        found: Retention,
        /// Which is asked for.
        wanted: Retention,
    },
    /// What came is not a whole snapshot.
    #[error("{}: the snapshot can't be used: {message}", dir.display())]
    BadSnapshot {
        /// Where it was found out.
        dir: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// There is data where none may be.
    #[error(
        "{} has data already: a copy goes into an empty directory; name another one, or move this \
         one away",
        dir.display()
    )]
    NotEmpty {
        /// Which data directory.
        dir: PathBuf,
    },
    /// There is nothing of ours.
    #[error("{} is no data directory", dir.display())]
    NoData {
        /// Which directory.
        dir: PathBuf,
    },
    /// Something was begun to be copied there, and is not all there.
    #[error(
        "{} has part of a copy only: run what was copying it again, and it goes on; or remove the \
         directory `import` in it, to begin without data",
        dir.display()
    )]
    Unfinished {
        /// Which data directory.
        dir: PathBuf,
    },
    /// Another process has the data directory open.
    #[error("{} is in use by process {holder}: only one process opens a data directory", dir.display())]
    Held {
        /// Which data directory.
        dir: PathBuf,
        /// The holder's process id, as it wrote it down.
        holder: String,
    },
    /// Entries that were safely stored are no longer there.
    #[error(
        "{} ends at entry {found}, though entry {written} was safely stored: its newest files are \
         damaged or were replaced by older ones. Restore the data directory from a backup; to go on \
         without what is missing, remove the file `high-water` in it",
        dir.display()
    )]
    Truncated {
        /// Which data directory.
        dir: PathBuf,
        /// The last entry there is.
        found: u64,
        /// The last entry that was known to be safe.
        written: u64,
    },
}

impl StoreError {
    /// To be used with `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// A file of a snapshot can't be read.
    pub(crate) fn of_snapshot(error: io::Error) -> Self {
        Self::io("read", Path::new("a snapshot's file"))(error)
    }

    /// Whether what is stored is damaged, rather than out of reach.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Unreadable { .. } | Self::Truncated { .. }
        )
    }

    /// What is damaged, without what to do: for damage that is healed.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Corrupt { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ))
    }
}
