//! A data directory made of a snapshot.
//!
//! ```text
//! <data-dir>/import/MANIFEST    which snapshot
//! <data-dir>/import/segments/   its files as they come
//! ```
//!
//! When all are whole and safe, what else a data directory has is written beside, and
//! `import/segments` gets its place by one rename: before it there is no data, and what has come is
//! kept for who goes on; behind it there is all.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{entry::Sequence, log::LogId};

use super::{
    super::{
        StoreError,
        data_dir::{self, DirLock},
        files::{self, sync_dir},
        journal::Journal,
        recover::list_segments,
    },
    incoming::Incoming,
    manifest::{self, Manifest, ManifestFile},
};

const STAGING: &str = "import";
const SEGMENTS: &str = "segments";

/// Removes what an import leaves that is of no use once its data directory is opened.
pub(super) fn clear(dir: &Path) -> Result<(), StoreError> {
    let staging = dir.join(STAGING);
    if staging.exists() {
        fs::remove_dir_all(&staging).map_err(StoreError::io("remove", &staging))?;
    }
    remove_if_there(&dir.join(manifest::NAME))
}

/// A data directory into which a snapshot is copied. Nobody else opens it meanwhile.
pub struct Import {
    dir: PathBuf,
    staging: PathBuf,
    manifest: Option<Manifest>,
    _lock: DirLock,
}

impl Import {
    /// Whether something was begun to be copied into a directory, and is not all there.
    #[must_use]
    pub fn is_unfinished(dir: &Path) -> bool {
        dir.join(STAGING).exists() && !dir.join(SEGMENTS).exists()
    }

    /// Makes the directory where there is none, and goes on where an import was cut short.
    ///
    /// # Errors
    /// It has data, is in use, or can't be written.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        files::create_private_dir(dir)?;
        let lock = DirLock::take(dir)?;
        let staging = dir.join(STAGING);
        let has_data = |dir: &Path| {
            let names = [SEGMENTS, "log", "FORMAT", "LOG", manifest::NAME];
            names.iter().any(|name| dir.join(name).exists())
        };
        if !Self::is_unfinished(dir) && has_data(dir) {
            return Err(StoreError::NotEmpty {
                dir: dir.to_owned(),
            });
        }
        let segments = staging.join(SEGMENTS);
        fs::create_dir_all(&segments).map_err(StoreError::io("create", &segments))?;
        // One that can't be read is one that was not written to its end: nothing is lost with it.
        let manifest = manifest::read(&staging).ok().flatten();
        Ok(Self {
            dir: dir.to_owned(),
            staging,
            manifest,
            _lock: lock,
        })
    }

    /// Which snapshot is being copied; `None`: none yet.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// From now on this snapshot is copied. What has come of the one before, and is the same in
    /// this one, is kept.
    ///
    /// # Errors
    /// It is of another log than `expected`, where one is; of a format that is not known here; not a
    /// snapshot; or can't be written down.
    pub fn adopt(&mut self, new: Manifest, expected: Option<&LogId>) -> Result<(), StoreError> {
        manifest::check(&new)?;
        let log = manifest::log(&new)?;
        if expected.is_some() && expected != log.as_ref() {
            return Err(data_dir::other_log(&self.dir, log.as_ref(), expected));
        }
        let before = self.manifest.take().unwrap_or_default().files;
        let kept = before.iter().filter(|file| new.files.contains(file));
        self.keep(&kept.map(|file| file.name.as_str()).collect())?;
        manifest::write(&self.staging, &new)?;
        self.manifest = Some(new);
        Ok(())
    }

    /// Removes what has come but these.
    fn keep(&self, kept: &HashSet<&str>) -> Result<(), StoreError> {
        let segments = self.staging.join(SEGMENTS);
        let list = |dir: &Path| -> Result<Vec<PathBuf>, StoreError> {
            let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let entries = entries.map_err(StoreError::io("list", dir))?;
            Ok(entries.iter().map(fs::DirEntry::path).collect())
        };
        for segment in list(&segments)? {
            for file in list(&segment)? {
                let name = file.strip_prefix(&segments).ok().and_then(Path::to_str);
                if !name.is_some_and(|name| kept.contains(name)) {
                    remove_if_there(&file)?;
                }
            }
            // Only where nothing is left in it.
            let _ = fs::remove_dir(&segment);
        }
        Ok(())
    }

    /// Opens, when called, one of the snapshot's files to go on with it, behind what has come. Blocks
    /// while that is read once; fails where it can't be opened or read.
    pub fn file(
        &self,
        file: &ManifestFile,
    ) -> impl FnOnce() -> Result<Incoming, StoreError> + Send + use<> {
        let (path, file) = (self.path(file), file.clone());
        move || {
            let segment = path.parent().unwrap_or(&path);
            fs::create_dir_all(segment).map_err(StoreError::io("create", segment))?;
            Incoming::open(path, &file)
        }
    }

    /// Makes a data directory of what has come.
    ///
    /// # Errors
    /// A file is missing, or the segments don't fit together, or it can't be written. It can be tried
    /// again.
    pub fn finish(self) -> Result<Sequence, StoreError> {
        let unfinished = || corrupt(&self.staging, "not all of it has come");
        let manifest = self.manifest.as_ref().ok_or_else(unfinished)?;
        let staged = self.staging.join(SEGMENTS);
        for file in &manifest.files {
            let path = self.path(file);
            let there = fs::metadata(&path).map_err(StoreError::io("look at", &path))?;
            if there.len() != file.length {
                return Err(unfinished());
            }
            let segment = path.parent().unwrap_or(&staged);
            sync_dir(segment).map_err(StoreError::io("sync", segment))?;
        }
        sync_dir(&staged).map_err(StoreError::io("sync", &staged))?;
        let (packed, live) = list_segments(&staged)?;
        let end = packed.last().map_or(0, |segment| segment.meta.last);
        if !live.is_empty() || end != manifest.through || packed.len() * 2 != manifest.files.len() {
            return Err(corrupt(&staged, "its segments are not the snapshot's"));
        }
        drop(packed);
        step(1)?;
        // Of an attempt that ended below.
        let log = self.dir.join("log");
        if log.exists() {
            fs::remove_dir_all(&log).map_err(StoreError::io("remove", &log))?;
        }
        for left in ["LOG", "high-water"] {
            remove_if_there(&self.dir.join(left))?;
        }
        step(2)?;
        Journal::begin(&self.dir, end, &manifest::progress(manifest))?;
        step(3)?;
        data_dir::write_format(&self.dir)?;
        if let Some(log) = manifest::log(manifest)? {
            // By which retention, its first start says.
            data_dir::bind(&self.dir, &log, None)?;
        }
        step(4)?;
        manifest::write(&self.dir, manifest)?;
        sync_dir(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
        step(5)?;
        let segments = self.dir.join(SEGMENTS);
        fs::rename(&staged, &segments).map_err(StoreError::io("create", &segments))?;
        sync_dir(&self.dir).map_err(StoreError::io("sync", &self.dir))?;
        step(6)?;
        // What is left of it is in nobody's way.
        let _ = fs::remove_dir_all(&self.staging);
        Ok(end)
    }

    fn path(&self, file: &ManifestFile) -> PathBuf {
        self.staging.join(SEGMENTS).join(&file.name)
    }
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

impl Drop for Import {
    /// Where nothing came, nothing is unfinished.
    fn drop(&mut self) {
        if self.manifest.is_none() {
            let _ = fs::remove_dir(self.staging.join(SEGMENTS));
            let _ = fs::remove_dir(&self.staging);
        }
    }
}

pub(super) fn corrupt(dir: &Path, message: &str) -> StoreError {
    StoreError::BadSnapshot {
        dir: dir.to_owned(),
        message: message.to_owned(),
    }
}

// Where tests end an import as a crash would.
#[cfg(test)]
thread_local! {
    pub(super) static CRASH_AT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Between two steps of [`Import::finish`].
fn step(_number: u32) -> Result<(), StoreError> {
    #[cfg(test)]
    if CRASH_AT.get() == _number {
        return Err(corrupt(Path::new("test"), "the process ends here"));
    }
    Ok(())
}
