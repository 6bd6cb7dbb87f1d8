//! What a snapshot is, as it travels (`snapshot.proto`) and as it stands in a backup's file
//! `MANIFEST`.

use std::{collections::HashSet, path::Path};

use mercurio_proto::v1 as pb;
use prost::Message;
use uuid::Uuid;

use crate::{entry::Sequence, log::LogId};

use super::super::{
    Appender, Progress, StoreError,
    data_dir::{self, FORMAT},
    files,
    segment::{DATA, META, SegmentId},
};

/// The name of its file in a data directory.
pub(in crate::store) const NAME: &str = "MANIFEST";

/// A snapshot's files, with their checksums, and where in the log it ends.
pub type Manifest = pb::SnapshotManifest;
/// One of its files.
pub type ManifestFile = pb::SnapshotFile;

pub(super) fn new(
    id: Uuid,
    through: Sequence,
    log: Option<&LogId>,
    progress: &Progress,
    files: Vec<ManifestFile>,
) -> Manifest {
    let appender = |appender: Appender| pb::SnapshotAppender {
        id: appender.id,
        number: appender.number,
    };
    let appenders = progress.appenders.all();
    Manifest {
        snapshot_id: id.to_string(),
        format: FORMAT,
        through,
        log_id: log.map_or_else(String::new, |log| log.id.to_string()),
        log_base: log.map_or(0, |log| log.base),
        appenders: appenders.into_iter().map(appender).collect(),
        files,
        last_message_crc32: progress.last_message,
    }
}

/// How far the shared log was applied.
pub(super) fn progress(manifest: &Manifest) -> Progress {
    let appenders = manifest.appenders.iter().map(|appender| Appender {
        id: appender.id,
        number: appender.number,
    });
    Progress::new(&appenders.collect::<Vec<_>>(), manifest.last_message_crc32)
}

/// Whose data it is; `None`: a log of its own.
pub(super) fn log(manifest: &Manifest) -> Result<Option<LogId>, StoreError> {
    if manifest.log_id.is_empty() {
        return Ok(None);
    }
    let id = manifest
        .log_id
        .parse()
        .map_err(|_| unreadable("log's id"))?;
    Ok(Some(LogId {
        id,
        base: manifest.log_base,
    }))
}

/// Whether it can be made a data directory of: its names go nowhere else, and each segment is there
/// with all it has.
pub(super) fn check(manifest: &Manifest) -> Result<(), StoreError> {
    if manifest.format != FORMAT {
        return Err(data_dir::other_format(
            Path::new("the snapshot"),
            &manifest.format.to_string(),
        ));
    }
    log(manifest)?;
    if manifest.through == Sequence::MAX {
        return Err(unreadable("end"));
    }
    let mut names = HashSet::new();
    for file in &manifest.files {
        let parts = file.name.split_once('/');
        let is_usable = parts.is_some_and(|(segment, name)| {
            let id = SegmentId::parse(segment).filter(|id| id.generation > 0);
            [META, DATA].contains(&name) && id.is_some_and(|id| id.name() == segment)
        });
        if !is_usable || !names.insert(&file.name) {
            return Err(unreadable("list of files"));
        }
    }
    Ok(())
}

/// Of a data directory that was made of a snapshot and not opened since; `None`: it is no such.
pub(in crate::store) fn read(dir: &Path) -> Result<Option<Manifest>, StoreError> {
    let Some(bytes) = files::read_checked(&dir.join(NAME))? else {
        return Ok(None);
    };
    let manifest = Manifest::decode(bytes.as_slice()).map_err(|_| unreadable("manifest"))?;
    check(&manifest)?;
    Ok(Some(manifest))
}

pub(super) fn write(dir: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    files::write_checked(&dir.join(NAME), &manifest.encode_to_vec())
}

fn unreadable(what: &str) -> StoreError {
    StoreError::BadSnapshot {
        dir: NAME.into(),
        message: format!("its {what} is not one that this version writes"),
    }
}
