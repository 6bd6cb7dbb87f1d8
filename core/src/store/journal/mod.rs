//! The journal: the entries that were applied, in the order of their sequences, appended to files.
//!
//! sled, which holds the view of it, is written behind and never waited for: what it does not have
//! after a crash is applied again from here (`recover.rs`). So the journal reaches back as far as the
//! oldest segment that sled holds, and what stands before that in packed segments is cut off.
//!
//! Embedded, it is the log itself: a commit is safe once its frame is synced. Where cores share a
//! log elsewhere, it is this core's copy of what it applied of that, and not synced with each
//! commit: what a power cut takes of it is fetched again.
//!
//! ```text
//! log/00000000000000000001.log   frames; named after the first entry that it may hold
//! high-water                     the last entry known to be safe
//!
//! frame: length (u32), CRC-32 of the payload (u32), payload (a `Frame`); big-endian
//! ```
//!
//! The first frame of a file says how far a shared log had been applied (`progress.rs`).
//!
//! Behind the last frame a file holds zeros, written and synced ahead, so that a commit's write
//! is of data only: no file size, and no extent that has to be marked as written. ext4 does the
//! latter after the data, and a sync that it fails in is told of no error. How a commit is written:
//! `output.rs`.

mod appenders;
mod entry;
mod examine;
mod frames;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod high_water;
mod output;
mod progress;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crate::entry::Sequence;

use super::{StoreError, files::sync_dir};

pub(crate) use appenders::Appenders;
pub(crate) use entry::{Appender, LogEntry};
pub(crate) use progress::Progress;

use entry::HEAD;
pub(super) use entry::{Frame, StoredDeletion};
#[cfg(feature = "fuzzing")]
pub(super) use fuzzing::fuzz;

use frames::{FRAME_MAX, Frames, Stretch, Tail};
use high_water::HighWater;
use output::{AHEAD_BYTES, Output};

/// Whether what is appended has to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is, when [`Journal::append`] returns.
    Here,
    /// A log elsewhere has it.
    Elsewhere,
}

/// The journal, open for appending.
pub(super) struct Journal {
    dir: PathBuf,
    /// The first sequence of each file, ascending; the last one is appended to.
    files: Vec<Sequence>,
    output: Output,
    next: Sequence,
    /// A sync failed: what the file holds behind the output's end is not known.
    failed: bool,
    frame: Vec<u8>,
    high_water: HighWater,
    durability: Durability,
    progress: Progress,
}

impl Journal {
    /// Opens the journal of a data directory; where there is none, it begins behind `applied`.
    ///
    /// # Errors
    /// It can't be read, is damaged, or ends before what was known to be safe.
    pub fn open(
        data_dir: &Path,
        applied: Sequence,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        let dir = data_dir.join("log");
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        let mut files = list(&dir)?;
        if files.is_empty() {
            create(&dir, applied + 1, &Progress::default(), durability)?;
            files.push(applied + 1);
        }
        // It was pushed in the line before if there was none.
        let newest = *files.last().expect("one at least");
        let path = path(&dir, newest);
        let mut frames = Frames::open(&path, newest)?;
        while frames.next_frame()?.is_some() {}
        let Frames {
            end,
            next,
            progress,
            ..
        } = frames;
        let output = Output::open(&path, end, durability).map_err(StoreError::io("open", &path))?;
        let high_water = HighWater::open(data_dir, next - 1)?;
        let mut journal = Self {
            dir,
            files,
            output,
            next,
            failed: true,
            frame: Vec::new(),
            high_water,
            durability,
            progress,
        };
        journal.repair()?;
        journal.high_water.note(journal.last());
        Ok(journal)
    }

    /// The first entry that it may hold.
    pub fn first(&self) -> Sequence {
        self.files.first().copied().unwrap_or(self.next)
    }

    /// The last entry; the one before its first where it is empty.
    pub fn last(&self) -> Sequence {
        self.next - 1
    }

    /// Begins the journal of a data directory that has none: a copy of another one's, up to
    /// `applied`.
    ///
    /// # Errors
    /// It can't be written.
    pub fn begin(
        data_dir: &Path,
        applied: Sequence,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let dir = data_dir.join("log");
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        create(&dir, applied + 1, progress, Durability::Elsewhere).map(drop)
    }

    /// How far a shared log was applied.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Appends what was applied, and returns when it is as safe as it has to be.
    ///
    /// # Errors
    /// Nothing of it is there, and [`Journal::repair`] has to be called before the next attempt.
    pub fn append(&mut self, frame: &Frame) -> Result<(), StoreError> {
        self.check_failed()?;
        if !frame.is_next(self.next) {
            let message = format!(
                "entry {} is not the next one, which is {}",
                frame.first, self.next
            );
            return Err(damaged(&self.dir, message));
        }
        let mut buffer = std::mem::take(&mut self.frame);
        frame.write_to(&mut buffer);
        let length = buffer.len();
        let written = match length > HEAD + FRAME_MAX {
            // Whoever reads it would take it for damage.
            true => Err(io::Error::other(format!(
                "{length} bytes at once are too many"
            ))),
            false => self.output.append(&buffer),
        };
        self.failed = written.is_err();
        buffer.clear();
        // A rare large batch is not kept in memory.
        buffer.shrink_to(AHEAD_BYTES as usize);
        self.frame = buffer;
        written.map_err(|error| StoreError::io("write", &self.path())(error))?;
        self.next = frame.through() + 1;
        self.progress.note(frame);
        if self.durability == Durability::Here {
            self.high_water.note(self.last());
        }
        Ok(())
    }

    fn check_failed(&self) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Engine {
                dir: self.dir.clone(),
                message: "the log failed and is being opened again".into(),
            });
        }
        Ok(())
    }

    /// Makes safe what was left to the log elsewhere.
    ///
    /// # Errors
    /// It can't be synced, or failed before and was not [repaired](Self::repair).
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.durability == Durability::Elsewhere {
            self.check_failed()?;
            let synced = self.output.sync();
            self.failed = synced.is_err();
            synced.map_err(StoreError::io("sync", &self.path()))?;
            self.high_water.note(self.last());
        }
        Ok(())
    }

    /// Cuts off what is not known to be safe, after opening and after a failed append.
    ///
    /// # Errors
    /// The file can't be cut or synced.
    pub fn repair(&mut self) -> Result<(), StoreError> {
        if self.failed {
            self.output
                .cut()
                .map_err(StoreError::io("repair", &self.path()))?;
            self.failed = false;
        }
        Ok(())
    }

    /// Begins a new file, as a new segment was begun, and removes those that end before `needed`.
    ///
    /// # Errors
    /// A file can't be made or removed; what is in the log stays there.
    pub fn roll(&mut self, needed: Sequence) -> Result<(), StoreError> {
        let is_begun = self.files.last().is_some_and(|first| *first < self.next);
        if is_begun && !self.failed {
            // What is packed is safe, and the journal must not end before it.
            self.sync()?;
            let output = create(&self.dir, self.next, &self.progress, self.durability)?;
            self.output.give_back();
            self.output = output;
            self.files.push(self.next);
        }
        self.forget_before(needed)
    }

    /// Removes the files that end before `needed`.
    ///
    /// # Errors
    /// One can't be removed.
    pub fn forget_before(&mut self, needed: Sequence) -> Result<(), StoreError> {
        while self.files.get(1).is_some_and(|next| *next <= needed) {
            let path = path(&self.dir, self.files[0]);
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            self.files.remove(0);
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn known_safe(&self, data_dir: &Path) -> Option<Sequence> {
        HighWater::read(data_dir)
    }

    #[cfg(test)]
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// The entries behind `after`, in batches as they were appended, and how far each reaches.
    ///
    /// # Errors
    /// The log doesn't reach back as far, or not as far as it did. Each batch may be one.
    pub fn tail(
        &self,
        after: Sequence,
    ) -> Result<impl Iterator<Item = Result<Stretch, StoreError>> + use<>, StoreError> {
        if after > self.last() {
            let message = format!("it ends at entry {}, and the view at {after}", self.last());
            return Err(damaged(&self.dir, message));
        }
        if after + 1 < self.first() {
            let message = format!(
                "it begins with entry {}, and {} is missing",
                self.first(),
                after + 1
            );
            return Err(damaged(&self.dir, message));
        }
        let from = self.files.partition_point(|first| *first <= after + 1) - 1;
        let tail = Tail::new(&self.dir, &self.files[from..], self.last());
        Ok(tail.map(move |batch| {
            let mut batch: Stretch = batch?;
            batch.entries.retain(|(sequence, _)| *sequence > after);
            Ok(batch)
        }))
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        let files = self.files.iter().map(|first| path(&self.dir, *first));
        files
            .filter_map(|file| Some(fs::metadata(file).ok()?.len()))
            .sum()
    }

    fn path(&self) -> PathBuf {
        path(&self.dir, self.files.last().copied().unwrap_or(0))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if !self.failed {
            self.output.give_back();
        }
    }
}

fn path(dir: &Path, first: Sequence) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// A file that is whole when it has its name.
fn create(
    dir: &Path,
    first: Sequence,
    progress: &Progress,
    durability: Durability,
) -> Result<Output, StoreError> {
    let path = path(dir, first);
    let part = path.with_extension("part");
    let mut head = Vec::new();
    if !progress.is_empty() {
        let frame = Frame::new(first, first - 1, Vec::new(), progress.appenders.all());
        let last_message = progress.last_message;
        Frame {
            last_message,
            ..frame
        }
        .write_to(&mut head);
    }
    let made = File::create(&part).and_then(|file| {
        file.write_all_at(&head, 0)?;
        file.sync_all()?;
        // Opened first: once it has its name, it is what is appended to.
        let output = Output::open(&part, head.len() as u64, durability)?;
        give_name(&part, &path, dir)?;
        Ok(output)
    });
    made.map_err(StoreError::io("create", &path))
}

/// Where it fails, no file has the name: the one before goes on to be appended to, and the next start
/// would take an empty one behind it for damage.
fn give_name(part: &Path, path: &Path, dir: &Path) -> io::Result<()> {
    fs::rename(part, path)?;
    sync_dir(dir).inspect_err(|_| {
        // If even this fails, it is left to be found; made again, the file has its name anew.
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, path = %path.display(), "remove a file of the log that was not made");
        }
    })
}

fn list(dir: &Path) -> Result<Vec<Sequence>, StoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let name = entry.map_err(StoreError::io("list", dir))?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log"));
        // No entry is 0: a file of that name is none of the log's.
        let first = first.and_then(|first| first.parse::<Sequence>().ok());
        files.extend(first.filter(|first| *first > 0));
    }
    files.sort_unstable();
    Ok(files)
}

fn damaged(dir: &Path, message: String) -> StoreError {
    StoreError::Corrupt {
        dir: dir.to_owned(),
        message,
    }
}
