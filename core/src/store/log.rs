//! The embedded log: entries in the order of their sequences, appended to files and synced.
//!
//! A commit is safe once its frame is. sled, which holds the view of it, is written behind and
//! never waited for: what it does not have after a crash is applied again from here
//! (`recover.rs`). So the log reaches back as far as the oldest segment that sled holds, and what
//! stands before that in packed segments is cut off.
//!
//! ```text
//! log/00000000000000000001.log   frames; named after the first entry that it may hold
//! high-water                     the last entry known to be safe
//!
//! frame: length (u32), CRC-32 of the payload (u32), payload (a `Frame`); big-endian
//! ```
//!
//! Behind the last frame a file holds zeros, written and synced ahead, so that a commit's sync
//! writes data only: no file size, and no extent that has to be marked as written. ext4 does the
//! latter after the data, and a sync that it fails in is told of no error.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use prost::Message;

use crate::entry::{Entry, Sequence};

use super::{
    StoreError,
    engine::sync_dir,
    log_entry::{Frame, LogEntry},
};

/// Zeros are written in such steps.
const AHEAD_BYTES: u64 = 1 << 20;
/// No frame is larger: a batch ends behind 8 MiB, and the largest entry has less than 2 MiB.
const FRAME_MAX: usize = 64 << 20;
const HEAD: usize = 8;

/// The log, open for appending.
pub(super) struct Log {
    dir: PathBuf,
    /// The first sequence of each file, ascending; the last one is appended to.
    files: Vec<Sequence>,
    file: File,
    /// Where the next frame goes; all before it is safe.
    end: u64,
    /// Up to here the file has space.
    allocated: u64,
    next: Sequence,
    /// A sync failed: what the file holds behind `end` is not known.
    failed: bool,
    frame: Vec<u8>,
    high_water: HighWater,
}

impl Log {
    /// Opens the log of a data directory; where there is none, it begins behind `applied`.
    ///
    /// # Errors
    /// It can't be read, is damaged, or ends before what was known to be safe.
    pub fn open(data_dir: &Path, applied: Sequence) -> Result<Self, StoreError> {
        let dir = data_dir.join("log");
        fs::create_dir_all(&dir).map_err(StoreError::io("create", &dir))?;
        let mut files = list(&dir)?;
        if files.is_empty() {
            create(&dir, applied + 1)?;
            files.push(applied + 1);
        }
        // It was pushed in the line before if there was none.
        let newest = *files.last().expect("one at least");
        let path = path(&dir, newest);
        let mut frames = Frames::open(&path, newest)?;
        while frames.next_frame()?.is_some() {}
        let (end, next) = (frames.end, frames.next);
        let file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        let high_water = HighWater::open(data_dir, next - 1)?;
        let mut log = Self {
            dir,
            files,
            file,
            end,
            allocated: end,
            next,
            failed: true,
            frame: Vec::new(),
            high_water,
        };
        log.repair()?;
        Ok(log)
    }

    /// The first entry that it may hold.
    pub fn first(&self) -> Sequence {
        self.files.first().copied().unwrap_or(self.next)
    }

    /// The last entry; the one before its first where it is empty.
    pub fn last(&self) -> Sequence {
        self.next - 1
    }

    /// Appends entries with the sequences from `first` on, and returns when they are safe.
    ///
    /// # Errors
    /// None of them is in the log, and [`Log::repair`] has to be called before the next attempt.
    pub fn append(&mut self, first: Sequence, entries: Vec<LogEntry>) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Engine {
                dir: self.dir.clone(),
                message: "the log failed and is being opened again".into(),
            });
        }
        if first != self.next {
            let message = format!("entry {first} is not the next one, which is {}", self.next);
            return Err(damaged(&self.dir, message));
        }
        let count = entries.len() as u64;
        let mut buffer = std::mem::take(&mut self.frame);
        Frame { first, entries }.write_to(&mut buffer);
        let written = self.write(&buffer);
        self.failed = written.is_err();
        buffer.clear();
        // A rare large batch is not kept in memory.
        buffer.shrink_to(AHEAD_BYTES as usize);
        self.frame = buffer;
        written.map_err(StoreError::io("write", &self.path()))?;
        self.next = first + count;
        self.high_water.note(self.last());
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        if end > self.allocated {
            let ahead = end.next_multiple_of(AHEAD_BYTES);
            let zeros = vec![0; (ahead - self.allocated) as usize];
            self.file.write_all_at(&zeros, self.allocated)?;
            self.file.sync_all()?;
            self.allocated = ahead;
        }
        self.file.write_all_at(frame, self.end)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(())
    }

    /// Cuts off what is not known to be safe, after opening and after a failed append.
    ///
    /// # Errors
    /// The file can't be cut or synced.
    pub fn repair(&mut self) -> Result<(), StoreError> {
        if self.failed {
            let cut = self.file.set_len(self.end);
            cut.and_then(|()| self.file.sync_all())
                .map_err(StoreError::io("repair", &self.path()))?;
            self.allocated = self.end;
            self.failed = false;
        }
        Ok(())
    }

    /// Begins a new file, as a new segment was begun, and removes those that end before `needed`.
    ///
    /// # Errors
    /// A file can't be made or removed; what is in the log stays there.
    pub fn roll(&mut self, needed: Sequence) -> Result<(), StoreError> {
        if self.end > 0 && !self.failed {
            let file = create(&self.dir, self.next)?;
            self.give_back();
            self.file = file;
            self.files.push(self.next);
            (self.end, self.allocated) = (0, 0);
        }
        while self.files.get(1).is_some_and(|next| *next <= needed) {
            let path = path(&self.dir, self.files[0]);
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            self.files.remove(0);
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Gives space back that was taken ahead.
    fn give_back(&self) {
        if !self.failed
            && let Err(error) = self.file.set_len(self.end)
        {
            tracing::debug!(%error, "cut the log's file to its content");
        }
    }

    /// The entries behind `after`, in batches as they were appended.
    ///
    /// # Errors
    /// The log doesn't reach back as far, or not as far as it did. Each batch may be one.
    pub fn tail(
        &self,
        after: Sequence,
    ) -> Result<impl Iterator<Item = Result<Vec<(Sequence, Entry)>, StoreError>> + use<>, StoreError>
    {
        if after > self.last() {
            return Err(StoreError::Truncated {
                dir: self.dir.clone(),
                found: self.last(),
                written: after,
            });
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
        let (dir, files, last) = (self.dir.clone(), self.files[from..].to_vec(), self.last());
        Ok(Tail {
            ends: files
                .iter()
                .skip(1)
                .map(|next| next - 1)
                .chain([last])
                .collect(),
            dir,
            files,
            frames: None,
            place: 0,
        }
        .map(move |batch| {
            let mut batch = batch?;
            batch.retain(|(sequence, _)| *sequence > after);
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

impl Drop for Log {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// All batches of some files.
struct Tail {
    dir: PathBuf,
    files: Vec<Sequence>,
    /// The last entry of each file.
    ends: Vec<Sequence>,
    place: usize,
    frames: Option<Frames>,
}

impl Iterator for Tail {
    type Item = Result<Vec<(Sequence, Entry)>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch().transpose()?;
        if batch.is_err() {
            // An error is the last thing said.
            self.place = self.files.len();
            self.frames = None;
        }
        Some(batch)
    }
}

impl Tail {
    fn next_batch(&mut self) -> Result<Option<Vec<(Sequence, Entry)>>, StoreError> {
        while let Some((first, end)) = self.files.get(self.place).zip(self.ends.get(self.place)) {
            let path = path(&self.dir, *first);
            if self.frames.is_none() {
                self.frames = Some(Frames::open(&path, *first)?);
            }
            // It was put there in the lines before.
            let frames = self.frames.as_mut().expect("opened above");
            if frames.next <= *end {
                let Some(frame) = frames.next_frame()? else {
                    let message = format!("entry {} is not there, or damaged", frames.next);
                    return Err(damaged(&path, message));
                };
                return frame.entries().map(Some);
            }
            self.frames = None;
            self.place += 1;
        }
        Ok(None)
    }
}

/// The frames of one file, up to the first that is none.
struct Frames {
    file: io::BufReader<File>,
    payload: Vec<u8>,
    end: u64,
    next: Sequence,
}

impl Frames {
    fn open(path: &Path, first: Sequence) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        Ok(Self {
            file: io::BufReader::with_capacity(1 << 20, file),
            payload: Vec::new(),
            end: 0,
            next: first,
        })
    }

    /// `None`: what follows is no frame, or not the next one.
    fn next_frame(&mut self) -> Result<Option<Frame>, StoreError> {
        let mut head = [0; HEAD];
        if !self.read(|file, _| file.read_exact(&mut head))? {
            return Ok(None);
        }
        let [a, b, c, d, sum @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length == 0 || length > FRAME_MAX {
            return Ok(None);
        }
        let whole = self.read(|file, payload| {
            payload.clear();
            // Not taken from a length that may be damaged: what is there is what is read.
            let read = file.take(length as u64).read_to_end(payload)?;
            if read < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        })?;
        if !whole || crc32fast::hash(&self.payload).to_be_bytes() != sum {
            return Ok(None);
        }
        let frame = Frame::decode(self.payload.as_slice())
            .map_err(|_| StoreError::Unreadable { what: "log entry" })?;
        if frame.first != self.next {
            return Ok(None);
        }
        self.next += frame.entries.len() as u64;
        self.end += (HEAD + length) as u64;
        Ok(Some(frame))
    }

    /// `false`: the file ends before.
    fn read(
        &mut self,
        read: impl FnOnce(&mut io::BufReader<File>, &mut Vec<u8>) -> io::Result<()>,
    ) -> Result<bool, StoreError> {
        match read(&mut self.file, &mut self.payload) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(StoreError::io("read", Path::new("the log"))(error)),
        }
    }
}

fn path(dir: &Path, first: Sequence) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

fn create(dir: &Path, first: Sequence) -> Result<File, StoreError> {
    let path = path(dir, first);
    let made = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)
        .and_then(|file| sync_dir(dir).map(|()| file));
    made.map_err(StoreError::io("create", &path))
}

fn list(dir: &Path) -> Result<Vec<Sequence>, StoreError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let name = entry.map_err(StoreError::io("list", dir))?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log"));
        files.extend(first.and_then(|first| first.parse::<Sequence>().ok()));
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

/// Remembers, in a file of its own and without waiting for the disk, which entry was safe: what
/// the log lacks behind its last whole frame was a write under way, or is damage. This tells the
/// difference.
struct HighWater(File);

impl HighWater {
    fn open(dir: &Path, last: Sequence) -> Result<Self, StoreError> {
        let path = dir.join("high-water");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
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
        let high_water = Self(file);
        high_water.note(last);
        Ok(high_water)
    }

    /// An entry is safe.
    fn note(&self, sequence: Sequence) {
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

impl Frame {
    fn write_to(&self, buffer: &mut Vec<u8>) {
        buffer.resize(HEAD, 0);
        // A Vec grows as needed: this can't fail.
        self.encode(buffer).expect("a Vec has room");
        let length = (buffer.len() - HEAD) as u32;
        let sum = crc32fast::hash(&buffer[HEAD..]);
        let head = [length.to_be_bytes(), sum.to_be_bytes()].concat();
        // Both have eight bytes.
        buffer[..HEAD].copy_from_slice(&head);
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
