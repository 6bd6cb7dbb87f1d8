//! The least that making something safe costs: one block, written past the page cache and synced by
//! the same call.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::OFlags;

const BLOCK: usize = 4096;
/// Blocks that are written ahead, so that a write is of data only; used in turn.
const BLOCKS: u64 = 256;

/// A file that is written in whole blocks.
pub struct Blocks {
    file: File,
    buffer: Vec<u8>,
    next: u64,
}

impl Blocks {
    pub fn create(path: &Path) -> Self {
        let mut file = File::create(path).expect("a file");
        file.write_all(&vec![0; BLOCK * BLOCKS as usize])
            .expect("written");
        file.sync_all().expect("synced");
        let flags = OFlags::DIRECT | OFlags::DSYNC;
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path);
        Self {
            file: direct.expect("a file system that has direct writes"),
            buffer: vec![0; 2 * BLOCK],
            next: 0,
        }
    }

    /// Writes these bytes, at most a block; back when they are safe.
    pub fn append(&mut self, bytes: &[u8]) {
        let aligned = self.buffer.as_ptr().align_offset(BLOCK);
        let block = &mut self.buffer[aligned..aligned + BLOCK];
        let length = bytes.len().min(BLOCK);
        block[..length].copy_from_slice(&bytes[..length]);
        let place = self.next % BLOCKS * BLOCK as u64;
        self.file.write_all_at(block, place).expect("written");
        self.next += 1;
    }
}

/// How many blocks a second the disk makes safe, one after the other.
pub fn rate(time: Duration) -> f64 {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut blocks = Blocks::create(&dir.path().join("blocks"));
    let begin = Instant::now();
    while begin.elapsed() < time {
        blocks.append(&[1; BLOCK]);
    }
    blocks.next as f64 / begin.elapsed().as_secs_f64()
}
