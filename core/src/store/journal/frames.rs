//! Reading the log's files: frame by frame, each checked.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use prost::Message;

use crate::entry::{Entry, Millis, Sequence};

use super::{
    super::StoreError,
    damaged,
    entry::{Frame, HEAD},
    path,
    progress::Progress,
};

/// No frame is larger: a batch ends behind 8 MiB, and the largest entry has some 30 MiB, where limits
/// are raised as far as they may be.
pub(super) const FRAME_MAX: usize = 64 << 20;

/// What was appended at once.
pub(in crate::store) struct Stretch {
    pub entries: Vec<(Sequence, Entry)>,
    /// What stands up to here is in it, or had no effect.
    pub through: Sequence,
    /// The log's time at its end; 0: not noted.
    pub at: Millis,
}

/// All batches of some files.
pub(super) struct Tail {
    dir: PathBuf,
    files: Vec<Sequence>,
    /// The last entry of each file.
    ends: Vec<Sequence>,
    place: usize,
    frames: Option<Frames>,
}

impl Tail {
    /// Of files that begin with these sequences, the last of which ends with `last`.
    pub fn new(dir: &Path, files: &[Sequence], last: Sequence) -> Self {
        let ends = files.iter().skip(1).map(|next| next - 1).chain([last]);
        Self {
            dir: dir.to_owned(),
            ends: ends.collect(),
            files: files.to_vec(),
            place: 0,
            frames: None,
        }
    }
}

impl Iterator for Tail {
    type Item = Result<Stretch, StoreError>;

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
    fn next_batch(&mut self) -> Result<Option<Stretch>, StoreError> {
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
                let (through, at) = (frame.through(), frame.at);
                let entries = frame.entries()?;
                return Ok(Some(Stretch {
                    entries,
                    through,
                    at,
                }));
            }
            self.frames = None;
            self.place += 1;
        }
        Ok(None)
    }
}

/// The frames of one file, up to the first that is none.
pub(super) struct Frames<F = File> {
    file: io::BufReader<F>,
    payload: Vec<u8>,
    pub end: u64,
    pub next: Sequence,
    /// Of all frames that were read.
    pub progress: Progress,
}

impl Frames {
    pub fn open(path: &Path, first: Sequence) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(StoreError::io("open", path))?;
        Ok(Self::of(io::BufReader::with_capacity(1 << 20, file), first))
    }
}

impl<F: Read> Frames<F> {
    /// Of an open file, which begins with `first`.
    pub fn of(file: io::BufReader<F>, first: Sequence) -> Self {
        Self {
            file,
            payload: Vec::new(),
            end: 0,
            next: first,
            progress: Progress::default(),
        }
    }

    /// `None`: what follows is no frame, or not the next one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, StoreError> {
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
        if !frame.is_next(self.next) {
            return Ok(None);
        }
        self.next = frame.through() + 1;
        self.progress.note(&frame);
        self.end += (HEAD + length) as u64;
        Ok(Some(frame))
    }

    /// `false`: the file ends before.
    fn read(
        &mut self,
        read: impl FnOnce(&mut io::BufReader<F>, &mut Vec<u8>) -> io::Result<()>,
    ) -> Result<bool, StoreError> {
        match read(&mut self.file, &mut self.payload) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(StoreError::io("read", Path::new("the log"))(error)),
        }
    }
}
