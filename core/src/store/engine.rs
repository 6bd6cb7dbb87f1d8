//! The only module that knows sled: one sled database in a directory of its own.
//!
//! What sled 0.34 needs, found by measuring and in its source:
//! - `flush()` survives a killed process, not a power cut (it ends in `sync_file_range`);
//!   [`Engine::sync`] therefore also syncs the file itself.
//! - Values above 7,000 bytes may end in files of their own that nothing syncs: longer ones are
//!   cut into pieces ([`Writes::insert_long`]).
//! - Snapshots are written while opening, and only then; a half-written one that a crash left
//!   behind keeps the database from opening, so it is removed before.
//! - After a failed write a database is of no more use, not even for reading.
//! - It panics where it meets bytes that it did not write.
//! - It starts its threads when it first writes, and each spins until the last one is there: 13 ms of CPU
//!   time, and on one core whatever the scheduler gives seven that spin. So opening ends with a flush.
//!
//! - Each batch is a write of its own to the file, by other threads, and all its readers wait.
//!   Small ones are therefore gathered in memory, where reads find them, and applied together.
//!
//! Writes become visible to reads of this process at once, and are not waited for: the log is what
//! makes them safe.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::RwLock;

use super::{StoreError, files::sync_dir};

/// Bytes of a key or a value, shared with the engine's cache.
pub(super) type Bytes = sled::IVec;

/// Changes that become true together or not at all.
#[derive(Default)]
pub(super) struct Writes {
    pairs: Vec<(Vec<u8>, Bytes)>,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// Keys behind which gathered writes are applied.
pub(super) const KEYS_AT_ONCE: usize = 256;

/// The most bytes of a value that stays in the database's own file.
const PIECE: usize = 6_900;

impl Writes {
    pub fn insert(&mut self, key: Vec<u8>, value: impl Into<Bytes>) {
        let value = value.into();
        self.bytes += key.len() + value.len();
        self.pairs.push((key, value));
    }

    /// How many keys.
    pub fn keys(&self) -> usize {
        self.pairs.len()
    }

    /// A value of any length, to be read with [`Engine::get_long`]. No other key may begin with
    /// this one.
    pub fn insert_long(&mut self, key: &[u8], value: &[u8]) {
        let mut whole = Vec::with_capacity(value.len() + 4);
        whole.extend((value.len() as u32).to_be_bytes());
        whole.extend(value);
        for (number, piece) in whole.chunks(PIECE).enumerate() {
            self.insert(piece_key(key, number as u32), piece);
        }
    }
}

fn piece_key(key: &[u8], number: u32) -> Vec<u8> {
    [key, &number.to_be_bytes()[..]].concat()
}

/// An open database.
pub(super) struct Engine {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
    /// Written, and not yet applied.
    gathered: RwLock<BTreeMap<Vec<u8>, Bytes>>,
}

/// How long sled may take to let go of files that this process has just closed.
const RELEASE: Duration = Duration::from_secs(2);

impl Engine {
    /// Opens or creates the database in `dir`, whose parent exists.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where sled can't make sense of the files, [`StoreError::Io`].
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        remove_half_snapshots(dir).map_err(StoreError::io("clean up", dir))?;
        let deadline = Instant::now() + RELEASE;
        let db = loop {
            // A configuration of its own: clones share their errors.
            let config = sled::Config::new()
                .path(dir)
                .cache_capacity(cache_bytes)
                // Nobody waits for it: the log is what is safe.
                .flush_every_ms(None);
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|_| corrupt(dir, "sled met bytes that it did not write"))?;
            match opened {
                Ok(db) => break db,
                Err(sled::Error::Io(error))
                    if error.to_string().contains("acquire lock") && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(refused(dir, error)),
            }
        };
        let engine = Self {
            db: Some(db),
            dir: dir.to_owned(),
            gathered: RwLock::default(),
        };
        // With this sled has its threads, and no publish waits for them.
        engine.guarded(|db| db.flush())?;
        Ok(engine)
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.gathered.read().get(key) {
            return Ok(Some(value.clone()));
        }
        self.guarded(|db| db.get(key))
    }

    /// Keys and values of a range, ascending.
    pub fn scan(
        &self,
        range: Range<Vec<u8>>,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> {
        // First these: what is applied meanwhile is met once more, and left out.
        let gathered: Vec<(Bytes, Bytes)> = {
            let gathered = self.gathered.read();
            let gathered = gathered.range(range.clone());
            gathered
                .map(|(key, value)| (key.as_slice().into(), value.clone()))
                .collect()
        };
        let mut gathered = gathered.into_iter().peekable();
        let mut applied = self.db.as_ref().map(|db| db.range::<Vec<u8>, _>(range));
        let applied = std::iter::from_fn(move || {
            let applied = applied.as_mut()?;
            self.guarded(|_| applied.next().transpose()).transpose()
        });
        let mut applied = applied.peekable();
        std::iter::from_fn(move || {
            let order = match (gathered.peek(), applied.peek()) {
                (Some((new, _)), Some(Ok((old, _)))) => new.cmp(old),
                (Some(_), None) => Ordering::Less,
                (_, _) => Ordering::Greater,
            };
            match order {
                Ordering::Less => gathered.next().map(Ok),
                Ordering::Greater => applied.next(),
                Ordering::Equal => {
                    applied.next();
                    gathered.next().map(Ok)
                }
            }
        })
    }

    /// Keys and values under a prefix, ascending.
    pub fn scan_prefix(
        &self,
        prefix: u8,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StoreError>> {
        self.scan(vec![prefix]..vec![prefix + 1])
    }

    /// Writes the changes, not yet safe: see [`Engine::sync`]. One thread at a time.
    pub fn write(&self, writes: Writes) -> Result<(), StoreError> {
        let count = {
            let mut gathered = self.gathered.write();
            gathered.extend(writes.pairs);
            gathered.len()
        };
        if count >= KEYS_AT_ONCE {
            self.apply()?;
        }
        Ok(())
    }

    fn apply(&self) -> Result<(), StoreError> {
        if self.gathered.read().is_empty() {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for (key, value) in &*self.gathered.read() {
            batch.insert(key.as_slice(), value);
        }
        self.guarded(|db| db.apply_batch(batch))?;
        self.gathered.write().clear();
        Ok(())
    }

    /// A value that was written with [`Writes::insert_long`].
    pub fn get_long(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut value = Vec::new();
        let mut left: Option<usize> = None;
        for pair in self.scan(piece_key(key, 0)..piece_key(key, u32::MAX)) {
            let (_, piece) = pair?;
            let piece = match left {
                None => {
                    let cut = || corrupt(&self.dir, "a value is cut short");
                    let (length, piece) = piece.split_first_chunk().ok_or_else(cut)?;
                    left = Some(u32::from_be_bytes(*length) as usize);
                    piece
                }
                Some(_) => &piece[..],
            };
            value.extend_from_slice(piece);
            if left.is_some_and(|length| value.len() >= length) {
                break;
            }
        }
        match left {
            None => Ok(None),
            // Longer: pieces of a longer value that once stood here.
            Some(length) if value.len() >= length => {
                value.truncate(length);
                Ok(Some(value))
            }
            Some(_) => Err(corrupt(&self.dir, "a value is cut short")),
        }
    }

    /// Makes all writes so far safe against a crash of the process and of the machine.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.apply()?;
        self.guarded(|db| db.flush())?;
        sync_all_files(&self.dir).map_err(StoreError::io("sync", &self.dir))
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.db
            .as_ref()
            .and_then(|db| db.size_on_disk().ok())
            .unwrap_or(0)
    }

    fn guarded<T>(&self, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StoreError> {
        let db = self
            .db
            .as_ref()
            .ok_or_else(|| corrupt(&self.dir, "it is closed"))?;
        catch_unwind(AssertUnwindSafe(|| call(db)))
            .map_err(|_| corrupt(&self.dir, "sled met bytes that it did not write"))?
            .map_err(|error| refused(&self.dir, error))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // sled flushes when it is dropped, and panics where that fails.
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!(dir = %self.dir.display(), "sled failed while it was closed");
        }
    }
}

/// The key without its piece's number, of the first piece only.
pub(super) fn first_piece(key: &[u8]) -> Option<&[u8]> {
    key.strip_suffix(&[0; 4])
}

fn remove_half_snapshots(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The snapshots too: they speak of bytes of the others.
fn sync_all_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all_files(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)?;
    dir.parent().map_or(Ok(()), sync_dir)
}

fn refused(dir: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => StoreError::io("use store", dir)(source),
        error @ (sled::Error::Corruption { .. } | sled::Error::ReportableBug(_)) => {
            corrupt(dir, &error.to_string())
        }
        error => StoreError::Engine {
            dir: dir.to_owned(),
            message: error.to_string(),
        },
    }
}

fn corrupt(dir: &Path, message: &str) -> StoreError {
    StoreError::Corrupt {
        dir: dir.to_owned(),
        message: message.to_owned(),
    }
}
