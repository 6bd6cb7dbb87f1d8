//! A data directory looked through to its last byte, without changing what it holds.
//!
//! What is packed is checked here, and so is the journal. What sled holds beyond that stands in the
//! journal too: each start counts it, and makes it again from there where it is not as it should be.
//! So it is not opened, which would write to it.

mod segment;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::{entry::Sequence, log::LogId};

use super::{
    StoreError, data_dir, data_dir::DirLock, deletions::Deletions, files::Checksum,
    journal::Journal, recover::list_segments, snapshot,
};

/// So many problems are described; the rest are counted.
const DESCRIBED: usize = 100;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The last entry.
    pub through: Sequence,
    /// The shared log that it is a view of; `None`: its own.
    pub log: Option<LogId>,
    /// It is a backup, or was restored from one, and not opened since.
    pub is_backup: bool,
    /// Packed segments.
    pub segments: u64,
    /// Segments that are not packed: a start makes them again from the journal where it has to.
    pub live: u64,
    /// Rows in packed segments: a notification for ten recipients has ten.
    pub rows: u64,
    /// Bodies in them that stand apart from their rows.
    pub bodies: u64,
    /// Idempotency keys in them.
    pub keys: u64,
    /// Revocations of tokens in them.
    pub revocations: u64,
    /// Deletions in them.
    pub deletions: u64,
    /// Entries in the journal.
    pub journal_entries: u64,
    /// Bytes of what was looked through.
    pub bytes: u64,
    /// What is wrong; at most about a hundred are described.
    pub problems: Vec<String>,
    more: u64,
}

impl Report {
    /// Notes what is wrong.
    fn wrong(&mut self, place: &Path, what: impl std::fmt::Display) {
        if self.problems.len() < DESCRIBED {
            self.problems.push(format!("{}: {what}", place.display()));
        } else {
            self.more += 1;
        }
    }

    /// The value, where there is one, or else what is wrong is noted.
    fn check<T>(&mut self, place: &Path, found: Result<T, StoreError>) -> Option<T> {
        found
            .map_err(|error| self.wrong(place, error.reason()))
            .ok()
    }

    fn finish(mut self) -> Self {
        if self.more > 0 {
            self.problems.push(format!("and {} more", self.more));
        }
        self
    }
}

/// Looks through a data directory, or a backup. What is wrong is in the report.
///
/// # Errors
/// It is none, is in use, or has another format.
pub fn verify(dir: &Path) -> Result<Report, StoreError> {
    if !dir.join("segments").is_dir() {
        return Err(match snapshot::Import::is_unfinished(dir) {
            true => StoreError::Unfinished { dir: dir.into() },
            false => StoreError::NoData { dir: dir.into() },
        });
    }
    let _lock = DirLock::take(dir)?;
    data_dir::check_format(dir)?;
    let mut report = Report::default();
    report.log = report.check(dir, data_dir::bound_to(dir)).flatten();
    let manifest = report.check(dir, snapshot::read_manifest(dir)).flatten();
    report.is_backup = manifest.is_some();
    let segments = dir.join("segments");
    let mut packed_end = 0;
    if let Some((packed, live)) = report.check(&segments, list_segments(&segments)) {
        report.segments = packed.len() as u64;
        report.live = live.len() as u64;
        let mut deletions = Deletions::default();
        for one in &packed {
            let standing = report.check(one.dir(), one.deletions()).unwrap_or_default();
            standing.into_iter().for_each(|it| deletions.add(it));
        }
        for one in packed {
            packed_end = one.meta.last;
            segment::check(&one, &deletions, &mut report);
        }
    }
    journal(dir, packed_end, &mut report);
    if let Some(manifest) = manifest {
        of_manifest(dir, &manifest, &mut report);
    }
    Ok(report.finish())
}

fn journal(dir: &Path, packed_end: Sequence, report: &mut Report) {
    let place = dir.join("log");
    report.through = packed_end;
    let Some(found) = report.check(&place, Journal::examine(dir)) else {
        return;
    };
    report.journal_entries = found.entries;
    report.bytes += found.bytes;
    report.through = found.last.max(packed_end);
    if found.first > packed_end + 1 {
        let (first, missing) = (found.first, packed_end + 1);
        let what = format!("it begins with entry {first}, and {missing} is missing");
        report.wrong(&place, what);
    }
    let safe = found.safe.unwrap_or(0).max(packed_end);
    if found.last < safe {
        let last = found.last;
        let what = format!("it ends at entry {last}, though entry {safe} was safely stored");
        report.wrong(&place, what);
    }
}

fn of_manifest(dir: &Path, manifest: &snapshot::Manifest, report: &mut Report) {
    for file in &manifest.files {
        let path = dir.join("segments").join(&file.name);
        let expected = Checksum {
            length: file.length,
            crc: file.crc32,
        };
        if let Some(found) = report.check(&path, Checksum::of(&path))
            && found != expected
        {
            report.wrong(&path, "it is not what was backed up");
        }
    }
    if report.through != manifest.through {
        let (found, expected) = (report.through, manifest.through);
        report.wrong(
            dir,
            format!("it ends at entry {found}, and the backup at {expected}"),
        );
    }
    if (report.segments * 2, report.live) != (manifest.files.len() as u64, 0) {
        report.wrong(dir, "its segments are not those of the backup");
    }
}
