//! Snapshots: a copy of the view at exactly one entry, taken while the store is in use. The same
//! for a backup, and for a core that begins with what another one has.
//!
//! The writer seals the active segment between two batches ([`Store::cut`]); what is sealed is
//! packed; and packed segments never change. So a snapshot is a list of their files, with a
//! checksum each. It holds on to the segments as any reader does: what retention or merging put in
//! their place doesn't take their files away before the snapshot is dropped.
//!
//! | file | subject |
//! |---|---|
//! | `manifest` | what a snapshot is: checked when it comes from elsewhere |
//! | `import`, `incoming` | a data directory made of one |
//! | `restore` | the same from a backup on disk |

mod import;
mod incoming;
mod manifest;
mod restore;

#[cfg(test)]
pub(super) mod tests;

use std::{fs::File, io, path::Path, sync::Arc};

use uuid::Uuid;

use crate::entry::{Millis, Sequence};

use super::{
    Active, Progress, Store, StoreError, data_dir,
    files::Checksum,
    segment::{DATA, META, Segment},
};

pub use import::Import;
pub use incoming::Incoming;
pub use manifest::{Manifest, ManifestFile};
pub use restore::restore;

pub(super) use manifest::read as read_manifest;

/// Refuses a data directory that was begun to be copied, and is not all there. From now on it is its
/// own, not what it was made of.
pub(super) fn before_opening(dir: &Path) -> Result<(), StoreError> {
    if Import::is_unfinished(dir) {
        return Err(StoreError::Unfinished {
            dir: dir.to_owned(),
        });
    }
    import::clear(dir)
}

/// Where a snapshot ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Behind this entry.
    pub through: Sequence,
    /// When it was written: nothing that was not past by then is left out.
    at: Millis,
    /// How far a shared log was applied.
    progress: Progress,
}

/// A snapshot; while it lives, its files do.
pub struct Snapshot {
    manifest: Manifest,
    segments: Vec<Arc<Segment>>,
    /// Dropped last: until then nobody else opens the data directory.
    _store: Store,
}

impl Store {
    /// Seals what there is, for a snapshot to end here. Only who commits may call it, between two
    /// batches.
    ///
    /// # Errors
    /// As [`Store::roll`].
    pub fn cut(&self) -> Result<Cut, StoreError> {
        self.roll()?;
        let (through, at) = {
            let active = &self.0.state.read().active;
            (active.base, active.tally.last_at)
        };
        let journal = self.0.journal.lock();
        if journal.last() != through {
            // A commit failed halfway: it is not known yet whether its entries are there.
            return Err(Active::failed());
        }
        Ok(Cut {
            through,
            at,
            progress: journal.progress().clone(),
        })
    }

    /// Takes a snapshot. `cut` has the writer call [`Store::cut`]; publishing goes on behind it.
    /// Blocks while what is new is packed: about a second for 100,000 rows.
    ///
    /// # Errors
    /// The segment can't be sealed, or not be packed, or what is packed not be read.
    pub fn snapshot<E: From<StoreError>>(
        &self,
        cut: impl FnOnce() -> Result<Cut, E>,
    ) -> Result<Snapshot, E> {
        // Before the cut: no two segments are made one across it.
        let turn = self.0.packing.lock();
        let cut = cut()?;
        let segments = loop {
            let sealed = self.0.state.read().sealed.clone();
            let end = sealed.partition_point(|segment| segment.meta.last <= cut.through);
            let segments = &sealed[..end];
            if segments.iter().all(|segment| segment.is_packed()) {
                break segments.to_vec();
            }
            if !self.pack_next(&turn, cut.at)? {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(StoreError::io("pack for a snapshot in", &self.0.dir)(full).into());
            }
        };
        drop(turn);
        Ok(Snapshot {
            manifest: self.manifest(&cut, &segments)?,
            segments,
            _store: self.clone(),
        })
    }

    fn manifest(&self, cut: &Cut, segments: &[Arc<Segment>]) -> Result<Manifest, StoreError> {
        let mut files = Vec::with_capacity(segments.len() * 2);
        for segment in segments {
            for (name, known) in [(META, None), (DATA, segment.meta.checksum())] {
                let sum = match known {
                    Some(sum) => sum,
                    None => Checksum::of(&segment.dir().join(name))?,
                };
                files.push(ManifestFile {
                    name: format!("{}/{name}", segment.id.name()),
                    length: sum.length,
                    crc32: sum.crc,
                });
            }
        }
        let log = data_dir::bound_to(&self.0.dir)?;
        Ok(manifest::new(
            Uuid::new_v4(),
            cut.through,
            log.as_ref(),
            &cut.progress,
            files,
        ))
    }
}

impl Snapshot {
    /// What it is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Opens one of its files; `None`: it has none of this name.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn open(&self, name: &str) -> Result<Option<(ManifestFile, File)>, StoreError> {
        let known = self.manifest.files.iter().find(|file| file.name == name);
        let Some((known, (segment, file))) = known.zip(name.split_once('/')) else {
            return Ok(None);
        };
        let holds = |held: &&Arc<Segment>| held.id.name() == segment;
        let Some(segment) = self.segments.iter().find(holds) else {
            return Ok(None);
        };
        let path = segment.dir().join(file);
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        Ok(Some((known.clone(), file)))
    }
}

/// A manifest that came from elsewhere.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(manifest: &Manifest) {
    if manifest::check(manifest).is_ok() {
        let log = manifest::log(manifest).expect("it was checked");
        let _ = manifest::progress(manifest);
        assert_eq!(log.is_none(), manifest.log_id.is_empty());
        assert!(
            manifest.through.checked_add(1).is_some(),
            "an entry can follow"
        );
        for file in &manifest.files {
            assert!(
                !file.name.contains("..") && !file.name.starts_with('/'),
                "{}",
                file.name
            );
        }
    }
}
