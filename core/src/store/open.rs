//! Start: one process, a known format, and the segments as they were left.
//!
//! ```text
//! <data-dir>/LOCK         held with flock; says who holds it
//! <data-dir>/FORMAT       the version of all of this
//! <data-dir>/high-water   the last entry known to be safe
//! <data-dir>/segments/    see `segment.rs`
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use rustix::fs::{FlockOperation, flock};

use crate::entry::{Millis, Sequence};

use super::{
    Active, Inner, Retention, State, Store, StoreError, StoreSettings,
    cache::RecordCache,
    codec::{self, Tally, Topics},
    engine::{Engine, first_piece, sync_dir},
    keys,
    segment::{self, DB, MemoryIndex, Meta, Segment, SegmentId},
};

/// The newest format that this version reads and writes.
const FORMAT: u32 = 1;
const FORMAT_NAME: &str = "mercurio";

impl Store {
    /// Opens the data directory, or makes a new one.
    ///
    /// # Errors
    /// It is in use, of a later version, damaged, or can't be read or written.
    pub fn open(
        dir: &Path,
        settings: StoreSettings,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io("create", dir))?;
        let lock = DirLock::take(dir)?;
        check_format(dir)?;
        let segments = dir.join("segments");
        fs::create_dir_all(&segments).map_err(StoreError::io("create", &segments))?;
        let state = recover(&segments, &settings)?;
        let high_water = HighWater::open(dir, state.active.tally.last)?;
        let cache = RecordCache::new(settings.record_cache_bytes);
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            settings,
            retention,
            cache,
            state: RwLock::new(state),
            high_water,
            packing: Mutex::default(),
            _lock: lock,
        })))
    }

    /// Opens the active segment's database again, after sled or the disk failed: what is there
    /// is what the last commits left, the failed one whole or not at all.
    ///
    /// # Errors
    /// It can't be opened; the store stays as it was, and reading may fail.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut state = self.0.state.write();
        let active = &mut state.active;
        // The files must be closed before they are opened again. Readers hold them for one call.
        if let Some(old) = active.engine.take() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while Arc::strong_count(&old) > 1 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let base = segment::read_meta(&active.dir)?;
        *active = open_active(active.number, active.dir.clone(), &base, &self.0.settings)?;
        Ok(())
    }

    /// Seals the active segment and begins a new one. Does nothing while it is empty.
    ///
    /// # Errors
    /// The new one can't be made; the active one stays.
    pub fn roll(&self) -> Result<(), StoreError> {
        let (number, meta) = {
            let active = &self.0.state.read().active;
            if active.tally.rows == 0 && active.tally.lost == 0 {
                return Ok(());
            }
            // It could not be sealed: it has to be opened again first.
            if active.engine.is_none() {
                return Err(Active::failed());
            }
            (active.number, active.meta())
        };
        let base = Meta {
            base: meta.last,
            rows: 0,
            ..meta.clone()
        };
        let next = create_active(
            &self.0.dir.join("segments"),
            number + 1,
            &base,
            &self.0.settings,
        )?;
        let mut state = self.0.state.write();
        let full = std::mem::replace(&mut state.active, next);
        let mut segments = state.sealed.to_vec();
        segments.push(Arc::new(full.sealed(meta)?));
        state.sealed = Arc::new(segments);
        Ok(())
    }

    /// Rolls if the active segment is full.
    ///
    /// # Errors
    /// As [`Store::roll`].
    pub fn roll_if_full(&self) -> Result<(), StoreError> {
        let is_full = self.0.state.read().active.is_full(&self.0.settings);
        if is_full {
            return self.roll();
        }
        Ok(())
    }

    /// Bytes free on the disk, and bytes of them that publishing leaves alone.
    ///
    /// # Errors
    /// The file system can't be asked.
    pub fn disk(&self) -> Result<(u64, u64), StoreError> {
        let stat = rustix::fs::statvfs(&self.0.dir)
            .map_err(io::Error::from)
            .map_err(StoreError::io("ask for free space on", &self.0.dir))?;
        let usual = (stat.f_blocks * stat.f_frsize / 8).min(64 << 20);
        Ok((
            stat.f_bavail * stat.f_frsize,
            self.0.settings.disk_reserve_bytes.unwrap_or(usual),
        ))
    }
}

fn recover(dir: &Path, settings: &StoreSettings) -> Result<State, StoreError> {
    let mut found = list(dir)?;
    found.sort();
    // Of one segment the last generation is whole: it was renamed to its name when it was safe.
    let mut newest: Vec<SegmentId> = Vec::new();
    for id in found {
        match newest.last_mut() {
            Some(last) if last.number == id.number => {
                remove(&dir.join(last.name()))?;
                *last = id;
            }
            _ => newest.push(id),
        }
    }
    let active = newest.pop_if(|id| id.generation == 0);
    let mut sealed = Vec::new();
    let mut end = Meta::default();
    for id in newest {
        let path = dir.join(id.name());
        let segment = if id.generation > 0 {
            Segment::packed(id, path)?
        } else {
            let base = segment::read_meta(&path)?;
            let full = open_active(id.number, path, &base, settings)?;
            let meta = full.meta();
            full.sealed(meta)?
        };
        follows(dir, sealed.last(), id.number, &segment.meta)?;
        end = Meta {
            base: segment.meta.last,
            samples: Vec::new(),
            ..segment.meta.clone()
        };
        sealed.push(Arc::new(segment));
    }
    let active = match active {
        Some(id) => {
            let path = dir.join(id.name());
            let base = segment::read_meta(&path)?;
            let active = open_active(id.number, path, &base, settings)?;
            if base.base < end.base && active.is_unused() {
                // Begun by a roll that failed, after which the one before it went on.
                drop(active);
                create_active(dir, id.number, &end, settings)?
            } else {
                follows(dir, sealed.last(), id.number, &base)?;
                active
            }
        }
        None => {
            let number = sealed.last().map_or(1, |segment| segment.id.number + 1);
            create_active(dir, number, &end, settings)?
        }
    };
    Ok(State {
        sealed: Arc::new(sealed),
        active,
    })
}

/// A segment begins where the one before it ended. sled takes damage in the middle of its log for
/// the end of it, so without this a live segment could come back with less than it had.
fn follows(
    dir: &Path,
    before: Option<&Arc<Segment>>,
    number: u64,
    meta: &Meta,
) -> Result<(), StoreError> {
    let Some(before) = before else { return Ok(()) };
    let end = before.meta.last;
    // Between segments that are not neighbours, retention dropped some.
    let is_neighbour = before.id.number + 1 == number;
    if meta.base < end || (is_neighbour && meta.base > end) {
        return Err(StoreError::Corrupt {
            dir: dir.join(before.id.name()),
            message: format!(
                "it ends at entry {end}, and the next one begins behind entry {}",
                meta.base
            ),
        });
    }
    Ok(())
}

/// The segments' directories. What a stopped process left half made or half removed goes.
fn list(dir: &Path) -> Result<Vec<SegmentId>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let path = entry.map_err(StoreError::io("list", dir))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.ends_with(".trash") || name.ends_with(".part") {
            fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
        } else if let Some(id) = SegmentId::parse(name) {
            found.push(id);
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    segment::remove_dir(path).map_err(StoreError::io("remove", path))
}

fn create_active(
    dir: &Path,
    number: u64,
    base: &Meta,
    settings: &StoreSettings,
) -> Result<Active, StoreError> {
    let id = SegmentId {
        number,
        generation: 0,
    };
    let part = dir.join(format!("{}.part", id.name()));
    let path = dir.join(id.name());
    // An attempt that failed may have left these; nothing was written to them.
    for leftover in [&part, &path] {
        if leftover.exists() {
            fs::remove_dir_all(leftover).map_err(StoreError::io("remove", leftover))?;
        }
    }
    fs::create_dir(&part).map_err(StoreError::io("create", &part))?;
    segment::write_meta(&part, base)?;
    fs::rename(&part, &path).map_err(StoreError::io("create", &path))?;
    let synced = sync_dir(dir).map_err(StoreError::io("sync", dir));
    let opened = synced.and_then(|()| open_active(number, path.clone(), base, settings));
    if opened.is_err() {
        // The segment before it goes on. If even this fails, the next start finds it empty.
        let _ = segment::remove_dir(&path);
    }
    opened
}

/// Opens a live segment, builds its index from its rows, and counts what is there.
fn open_active(
    number: u64,
    dir: PathBuf,
    base: &Meta,
    settings: &StoreSettings,
) -> Result<Active, StoreError> {
    let engine = Engine::open(&dir.join(DB), settings.active_cache_bytes)?;
    let mut index = MemoryIndex::default();
    let mut topics = Topics::default();
    let start = Tally {
        last: base.last,
        last_at: base.last_at,
        ..Tally::default()
    };
    let mut found = start;
    let (mut bytes, mut first_at) = (0, None);
    let mut owner: Arc<str> = keys::EVERYONE.into();
    for pair in engine.scan_prefix(keys::ROWS) {
        let (key, value) = pair?;
        let (name, _) = keys::parse_row(&key).ok_or(StoreError::Unreadable { what: "key" })?;
        if *owner != *name {
            owner = name.into();
        }
        let row = codec::row(&value)?;
        found.rows += 1;
        found.last = found.last.max(row.sequence);
        found.last_at = found.last_at.max(row.at);
        bytes += (key.len() + value.len()) as u64;
        first_at = Some(first_at.map_or(row.at, |first: Millis| first.min(row.at)));
        index
            .records
            .entry(owner.clone())
            .or_default()
            .items
            .extend(row.item(&mut topics));
    }
    for pair in engine.scan_prefix(keys::BODIES) {
        let (key, value) = pair?;
        found.bodies += u64::from(first_piece(&key).is_some_and(|key| key.len() == BODY_KEY));
        bytes += value.len() as u64;
    }
    for pair in engine.scan_prefix(keys::IDEMPOTENCY) {
        let (key, _) = pair?;
        found.keys += 1;
        bytes += key.len() as u64;
        index.keys.insert(MemoryIndex::hash(&key));
    }
    for pair in engine.scan_prefix(keys::READS) {
        let (key, _) = pair?;
        let Some(key) = first_piece(&key) else {
            continue;
        };
        let marks = engine
            .get_long(key)?
            .ok_or(StoreError::Unreadable { what: "read marks" })?;
        record_of(&mut index, key)?.reads = Some(Arc::new(codec::decode_reads(&marks)?));
        found.reads += 1;
    }
    for pair in engine.scan_prefix(keys::LOST) {
        let (key, value) = pair?;
        record_of(&mut index, &key)?.lost = codec::decode_sequence(&value)?;
        found.lost += 1;
    }
    let stored = engine
        .get(keys::TALLY)?
        .map(|tally| Tally::decode_stored(&tally))
        .transpose()?;
    let tally = stored.unwrap_or(start);
    if tally != found {
        return Err(StoreError::Corrupt {
            dir,
            message: format!("what is there ({found:?}) is not what was written ({tally:?})"),
        });
    }
    let engine = Some(Arc::new(engine));
    Ok(Active {
        number,
        dir,
        engine,
        base: base.last,
        index,
        tally,
        bytes,
        first_at,
    })
}

const BODY_KEY: usize = 9;

impl Active {
    fn is_unused(&self) -> bool {
        let start = Tally {
            last: self.tally.last,
            last_at: self.tally.last_at,
            ..Tally::default()
        };
        self.tally == start && self.tally.last == self.base
    }

    fn meta(&self) -> Meta {
        Meta {
            base: self.base,
            last: self.tally.last,
            last_at: self.tally.last_at,
            rows: self.tally.rows,
            samples: Vec::new(),
        }
    }

    fn sealed(self, meta: Meta) -> Result<Segment, StoreError> {
        let engine = self.engine.ok_or_else(Self::failed)?;
        Ok(Segment::sealed(
            self.number,
            self.dir,
            meta,
            engine,
            self.index,
        ))
    }
}

fn record_of<'a>(
    index: &'a mut MemoryIndex,
    key: &[u8],
) -> Result<&'a mut super::index::Record, StoreError> {
    let owner = keys::parse_owner(key).ok_or(StoreError::Unreadable { what: "key" })?;
    Ok(index.records.entry(owner.into()).or_default())
}

fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let version = text
                .trim()
                .strip_prefix(FORMAT_NAME)
                .map(|version| version.trim().parse::<u32>());
            match version {
                Some(Ok(version)) if version <= FORMAT => Ok(()),
                _ => Err(StoreError::NewerFormat {
                    dir: dir.to_owned(),
                    found: text.trim().chars().take(40).collect(),
                    known: FORMAT,
                }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join("segments").exists() {
                return Err(StoreError::Corrupt {
                    dir: dir.to_owned(),
                    message: "its file `FORMAT` is missing".into(),
                });
            }
            let new = dir.join("FORMAT.new");
            let made = File::create(&new).and_then(|mut file| {
                writeln!(file, "{FORMAT_NAME} {FORMAT}")?;
                file.sync_all()?;
                fs::rename(&new, &path)?;
                sync_dir(dir)
            });
            made.map_err(StoreError::io("write", &path))
        }
        Err(error) => Err(StoreError::io("read", &path)(error)),
    }
}

/// The data directory's lock, held as long as this lives.
pub(super) struct DirLock(#[expect(dead_code, reason = "held, not used")] File);

impl DirLock {
    fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("LOCK");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(StoreError::io("lock", &path)(error.into()));
            }
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "(unknown)".into(),
                holder => holder.to_owned(),
            };
            return Err(StoreError::Held {
                dir: dir.to_owned(),
                holder,
            });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(StoreError::io("write", &path))?;
        Ok(Self(file))
    }
}

/// Remembers, in a file of its own and without waiting for the disk, which entry was safe. sled
/// takes a damaged end of its log for the end: this tells the difference.
pub(super) struct HighWater(File);

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
