//! A file of a snapshot as it comes: written behind what has come, and checked when it is whole.

use std::{fs::File, io::Write, path::PathBuf};

use super::{
    super::{StoreError, files},
    import::corrupt,
    manifest::ManifestFile,
};

/// A file as it comes.
pub struct Incoming {
    path: PathBuf,
    file: File,
    crc: crc32fast::Hasher,
    offset: u64,
    expected: ManifestFile,
}

impl Incoming {
    /// Reads what has come before.
    pub(super) fn open(path: PathBuf, expected: &ManifestFile) -> Result<Self, StoreError> {
        let file = files::open_kept(&path)?;
        let mut crc = crc32fast::Hasher::new();
        let offset = files::hash_rest(&file, &mut crc).map_err(StoreError::io("read", &path))?;
        Ok(Self {
            path,
            file,
            crc,
            offset,
            expected: expected.clone(),
        })
    }

    /// How much has come, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether no more is to come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.offset >= self.expected.length
    }

    /// What follows.
    ///
    /// # Errors
    /// It can't be written, or is more than the file has.
    pub fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        if self.offset + data.len() as u64 > self.expected.length {
            return Err(corrupt(&self.path, "more has come than it has"));
        }
        let written = self.file.write_all(data);
        written.map_err(StoreError::io("write", &self.path))?;
        self.crc.update(data);
        self.offset += data.len() as u64;
        Ok(())
    }

    /// Makes it safe. `false`: it is not what it should be, and none of it is there any more.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// It can't be synced, or not be emptied.
    pub fn finish(self) -> Result<bool, StoreError> {
        let Self { expected, .. } = self;
        if self.offset == expected.length && self.crc.finalize() == expected.crc32 {
            let synced = self.file.sync_all();
            synced.map_err(StoreError::io("sync", &self.path))?;
            return Ok(true);
        }
        let emptied = self.file.set_len(0).and_then(|()| self.file.sync_all());
        emptied.map_err(StoreError::io("empty", &self.path))?;
        Ok(false)
    }
}
