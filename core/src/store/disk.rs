//! The disk that a store is on.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::StoreError;

/// The disk that a store is on. It holds nothing open.
#[derive(Clone, Debug)]
pub struct Disk {
    dir: PathBuf,
    reserve: Option<u64>,
}

impl Disk {
    pub(super) fn of(dir: &Path, reserve: Option<u64>) -> Self {
        Self {
            dir: dir.to_owned(),
            reserve,
        }
    }

    /// Bytes free, and bytes of them that publishing leaves alone.
    ///
    /// # Errors
    /// The file system can't be asked.
    pub fn room(&self) -> Result<(u64, u64), StoreError> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(io::Error::from)
            .map_err(StoreError::io("ask for free space on", &self.dir))?;
        let usual = (stat.f_blocks * stat.f_frsize / 8).min(64 << 20);
        Ok((stat.f_bavail * stat.f_frsize, self.reserve.unwrap_or(usual)))
    }
}
