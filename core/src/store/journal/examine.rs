//! A journal read from its beginning to its end, and left as it is.

use std::path::Path;

use crate::entry::Sequence;

use super::{
    super::StoreError,
    Journal, damaged,
    frames::{Frames, Tail},
    high_water::HighWater,
    list, path,
};

/// What a journal holds.
pub(in crate::store) struct Examined {
    /// The first entry that it may hold.
    pub first: Sequence,
    /// The last entry; the one before its first where it is empty.
    pub last: Sequence,
    /// The last entry that was known to be safe, where that was noted.
    pub safe: Option<Sequence>,
    pub entries: u64,
    /// Of its frames.
    pub bytes: u64,
}

impl Journal {
    /// Reads all of it.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn examine(data_dir: &Path) -> Result<Examined, StoreError> {
        let dir = data_dir.join("log");
        let files = list(&dir)?;
        let (Some(first), Some(newest)) = (files.first(), files.last()) else {
            return Err(damaged(&dir, "it has no file".into()));
        };
        // What is behind the last whole frame was being written, or never was.
        let mut frames = Frames::open(&path(&dir, *newest), *newest)?;
        while frames.next_frame()?.is_some() {}
        let last = frames.next - 1;
        let mut entries = 0;
        for stretch in Tail::new(&dir, &files, last) {
            entries += stretch?.entries.len() as u64;
        }
        Ok(Examined {
            first: *first,
            last,
            safe: HighWater::read(data_dir),
            entries,
            bytes: frames.end,
        })
    }
}
