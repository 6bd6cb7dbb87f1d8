//! `mercurio verify`: checks all that a data directory holds.

use std::path::Path;

use mercurio_core::store::verify;
use serde_json::json;

use super::client;
use crate::{error::Failure, settings::Settings};

pub fn run(settings: &Settings) -> Result<(), Failure> {
    // The table has a default.
    let dir = settings.path("data-dir").unwrap_or(Path::new(""));
    let report = verify(dir).map_err(Failure::other)?;
    client::print(&json!({
        "cursor": report.through,
        "sharedLog": report.log.map(|log| log.id.to_string()),
        "isBackup": report.is_backup,
        "segments": report.segments,
        "segmentsFromJournal": report.live,
        "rows": report.rows,
        "bodiesApart": report.bodies,
        "idempotencyKeys": report.keys,
        "revocations": report.revocations,
        "deletions": report.deletions,
        "journalEntries": report.journal_entries,
        "bytes": report.bytes,
        "problems": report.problems.len(),
    }))?;
    match report.problems.as_slice() {
        [] => Ok(()),
        problems => Err(Failure::other(format!(
            "{} is damaged:\n  {}\nrestore it from a backup",
            dir.display(),
            problems.join("\n  ")
        ))),
    }
}
