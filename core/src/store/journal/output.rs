//! The file that is appended to.
//!
//! What has to be safe goes past the page cache (`O_DIRECT`), and is safe when the write returns
//! (`O_DSYNC`): one system call, and a third less CPU time than a write and a sync, for which the
//! kernel has to find the page, mark it, and look for it again. Only whole blocks can be written
//! so: the last one is kept, and written again with what is appended to it. (The page cache does the
//! same.) Where a file system doesn't take such writes, it is a write and a sync.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::Durability;

/// Zeros are written in such steps.
pub(super) const AHEAD_BYTES: u64 = 1 << 20;

/// What direct writes are multiples of, in memory and in the file: no file system asks for more than
/// a page.
const BLOCK: usize = 4096;

pub(super) struct Output {
    file: File,
    /// Past the page cache. `None`: not needed, or not to be had.
    direct: Option<Direct>,
    durability: Durability,
    /// Where the next frame goes; all before it is safe.
    end: u64,
    /// Up to here the file has space.
    allocated: u64,
}

impl Output {
    /// Of a file whose frames end at `end`, to append behind them once it was [cut](Self::cut).
    pub fn open(path: &Path, end: u64, durability: Durability) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let direct = match durability {
            Durability::Here => Direct::open(path, &file, end)?,
            Durability::Elsewhere => None,
        };
        Ok(Self {
            file,
            direct,
            durability,
            end,
            allocated: end,
        })
    }

    /// Appends a frame, and returns when it is as safe as it has to be.
    ///
    /// # Errors
    /// What the file holds behind its end is not known: it has to be [cut](Self::cut).
    pub fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        self.allocate(end)?;
        if let Some(direct) = &mut self.direct {
            match direct.append(self.end, frame) {
                Ok(()) => {
                    self.end = end;
                    return Ok(());
                }
                // Nothing was written. The file system may have taken the flag, and not meant it.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    tracing::info!(%error, "the log is written through the page cache");
                    self.direct = None;
                }
                Err(error) => return Err(error),
            }
        }
        self.file.write_all_at(frame, self.end)?;
        if self.durability == Durability::Here {
            self.file.sync_data()?;
        }
        self.end = end;
        Ok(())
    }

    /// Writes zeros ahead.
    fn allocate(&mut self, end: u64) -> io::Result<()> {
        if end <= self.allocated {
            return Ok(());
        }
        let ahead = end.next_multiple_of(AHEAD_BYTES);
        let zeros = vec![0; (ahead - self.allocated) as usize];
        self.file.write_all_at(&zeros, self.allocated)?;
        if self.durability == Durability::Here {
            self.file.sync_all()?;
        }
        self.allocated = ahead;
        Ok(())
    }

    /// Makes safe what was written.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Cuts off what stands behind the end.
    pub fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_all()?;
        self.allocated = self.end;
        Ok(())
    }

    /// Gives space back that was taken ahead.
    pub fn give_back(&self) {
        if let Err(error) = self.file.set_len(self.end) {
            tracing::debug!(%error, "cut the log's file to its content");
        }
    }
}

/// A file written past the page cache.
struct Direct {
    file: File,
    /// The bytes of the last block, up to the end.
    tail: Vec<u8>,
    buffer: Vec<u8>,
}

impl Direct {
    /// `None`: the file system doesn't have it.
    fn open(path: &Path, file: &File, end: u64) -> io::Result<Option<Self>> {
        let direct = match open_direct(path) {
            Ok(direct) => direct,
            Err(error) => {
                tracing::info!(%error, "the log is written through the page cache");
                return Ok(None);
            }
        };
        let begin = end - end % BLOCK as u64;
        let mut tail = vec![0; (end - begin) as usize];
        file.read_exact_at(&mut tail, begin)?;
        Ok(Some(Self {
            file: direct,
            tail,
            buffer: Vec::new(),
        }))
    }

    /// Appends at `end`, where there is space for whole blocks.
    fn append(&mut self, end: u64, frame: &[u8]) -> io::Result<()> {
        let length = self.tail.len() + frame.len();
        let blocks = length.next_multiple_of(BLOCK);
        self.buffer.clear();
        // Behind what is written there are zeros, as before.
        self.buffer.resize(blocks + BLOCK, 0);
        let aligned = self.buffer.as_ptr().align_offset(BLOCK);
        let space = self.buffer.get_mut(aligned..).unwrap_or_default();
        let Some(space) = space.get_mut(..blocks) else {
            // Only where the platform can't tell.
            return Err(io::ErrorKind::InvalidInput.into());
        };
        space[..self.tail.len()].copy_from_slice(&self.tail);
        space[self.tail.len()..length].copy_from_slice(frame);
        let begin = end - self.tail.len() as u64;
        self.file.write_all_at(space, begin)?;
        self.tail.clear();
        self.tail
            .extend_from_slice(&space[length - length % BLOCK..length]);
        // A rare large batch is not kept in memory.
        self.buffer.clear();
        self.buffer.shrink_to(AHEAD_BYTES as usize);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn begin(dir: &Path, name: &str) -> Output {
        let path = dir.join(name);
        fs::write(&path, "head").unwrap();
        let mut output = Output::open(&path, 4, Durability::Here).unwrap();
        output.cut().unwrap();
        output
    }

    /// Frames that end within a block, at its end, and blocks further.
    const FRAMES: [usize; 8] = [1, 4091, 4096, 5000, 3, 1 << 20, 4095, 20_000];

    #[test]
    fn frames_follow_each_other_whichever_way_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut direct = begin(dir.path(), "direct");
        let mut cached = begin(dir.path(), "cached");
        cached.direct = None;
        let mut expected = b"head".to_vec();
        for (letter, length) in (b'a'..).zip(FRAMES) {
            let frame = vec![letter; length];
            direct.append(&frame).unwrap();
            cached.append(&frame).unwrap();
            expected.extend(&frame);
            for name in ["direct", "cached"] {
                let bytes = fs::read(dir.path().join(name)).unwrap();
                let (written, behind) = bytes.split_at(expected.len());
                assert!(written == expected, "{name} {length}");
                assert!(behind.iter().all(|byte| *byte == 0), "{name} {length}");
                assert!(bytes.len() as u64 % AHEAD_BYTES == 0);
            }
            // Opened again, it goes on in the middle of a block.
            direct.cut().unwrap();
            let end = expected.len() as u64;
            let path = dir.path().join("direct");
            assert_eq!(fs::metadata(&path).unwrap().len(), end);
            direct = Output::open(&path, end, Durability::Here).unwrap();
        }
    }

    #[test]
    fn what_the_file_system_refuses_goes_through_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        let mut output = begin(dir.path(), "refused");
        if let Some(direct) = &mut output.direct {
            // Not at a block: the kernel says EINVAL.
            direct.tail.clear();
        }
        output.append(b"one").unwrap();
        output.append(b"two").unwrap();
        assert!(output.direct.is_none());
        let bytes = fs::read(dir.path().join("refused")).unwrap();
        assert!(bytes.starts_with(b"headonetwo\0"));
    }
}
