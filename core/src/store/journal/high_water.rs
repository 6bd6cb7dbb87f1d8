//! The last entry that was safe, noted beside the log.

use std::{fs::File, io::Read, os::unix::fs::FileExt, path::Path};

use crate::entry::Sequence;

use super::super::{StoreError, files};

/// Remembers, in a file of its own and without waiting for the disk, which entry was safe: what
/// the log lacks behind its last whole frame was a write under way, or is damage. This tells the
/// difference.
pub(super) struct HighWater(File);

impl HighWater {
    /// Of a log that ends with `last`, which is not noted: what a killed process wrote is read, and may
    /// not be safe yet.
    ///
    /// # Errors
    /// More was safe before.
    pub fn open(dir: &Path, last: Sequence) -> Result<Self, StoreError> {
        let path = dir.join("high-water");
        let mut file = files::open_kept(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StoreError::io("read", &path))?;
        if let Some(written) = Self::decode(&bytes).filter(|written| *written > last) {
            return Err(StoreError::Truncated {
                dir: dir.to_owned(),
                found: last,
                written,
            });
        }
        Ok(Self(file))
    }

    /// What was noted last; `None`: nothing that can be read.
    pub fn read(dir: &Path) -> Option<Sequence> {
        Self::decode(&std::fs::read(dir.join("high-water")).ok()?)
    }

    /// An entry is safe.
    pub fn note(&self, sequence: Sequence) {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        let sum = crc32fast::hash(&bytes[..8]);
        bytes[8..].copy_from_slice(&sum.to_be_bytes());
        // An older mark only finds less.
        if let Err(error) = self.0.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "write high-water");
        }
    }

    fn decode(bytes: &[u8]) -> Option<Sequence> {
        let (sequence, rest) = bytes.split_first_chunk::<8>()?;
        let sum: [u8; 4] = rest.try_into().ok()?;
        (crc32fast::hash(sequence).to_be_bytes() == sum).then(|| u64::from_be_bytes(*sequence))
    }
}
