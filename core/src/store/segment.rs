//! A segment: a stretch of the log and its view, in a directory of its own.
//!
//! The newest one is active: the writer adds to it, and its index is in memory. A full one is
//! sealed, and soon packed (`pack.rs`): rewritten once into a compact file (`constant.rs`) that
//! carries its index with it. Retention drops whole segments.
//!
//! ```text
//! segments/00000007/      meta, db/     live: active, or waiting to be packed
//! segments/00000006.1/    meta, data    packed; .2: rewritten once more
//! ```

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    fs,
    hash::{BuildHasher, BuildHasherDefault},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use mercurio_auth::Revocation;
use prost::Message;

use crate::entry::{Millis, Sequence};

use super::{
    StoreError,
    codec::{self, PublishedUnder},
    constant::Constant,
    deletions::{self, Standing},
    engine::{Engine, first_piece},
    files::{self, Checksum},
    index::Record,
    keys, revocations,
};

/// Which segment: its place in the log, and how often it was rewritten (0: not packed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SegmentId {
    pub number: u64,
    pub generation: u32,
}

impl SegmentId {
    /// The name of its directory.
    pub fn name(self) -> String {
        match self.generation {
            0 => format!("{:08}", self.number),
            generation => format!("{:08}.{generation}", self.number),
        }
    }

    /// Of the same segment, written once more.
    pub fn rewritten(self) -> Self {
        Self {
            generation: self.generation + 1,
            ..self
        }
    }

    /// From a directory's name.
    pub fn parse(name: &str) -> Option<Self> {
        let (number, generation) = name.split_once('.').unwrap_or((name, "0"));
        Some(Self {
            number: number.parse().ok()?,
            generation: generation.parse().ok()?,
        })
    }
}

/// What is known of a segment without opening it. Stored beside its database.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Meta {
    /// The log continues behind this sequence, which is not in the segment.
    #[prost(uint64, tag = "1")]
    pub base: Sequence,
    /// The last entry, as far as known when this was written.
    #[prost(uint64, tag = "2")]
    pub last: Sequence,
    /// The time of the last entry, as far as known when this was written.
    #[prost(uint64, tag = "3")]
    pub last_at: Millis,
    /// Rows: an entry for ten recipients has ten.
    #[prost(uint64, tag = "4")]
    pub rows: u64,
    /// Notifications picked at random: what became of them says how much is still wanted.
    #[prost(message, repeated, tag = "5")]
    pub samples: Vec<Sample>,
    /// Nothing but notes of what retention took of whom is left of it, and of those before it.
    #[prost(bool, tag = "6")]
    pub remains: bool,
    /// Of the file `data`; not known of segments that were packed before this was noted.
    #[prost(message, optional, tag = "7")]
    pub data: Option<StoredChecksum>,
    /// Nothing is in it any more of what was deleted up to this entry.
    #[prost(uint64, tag = "8")]
    pub cleared: Sequence,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct StoredChecksum {
    #[prost(uint64, tag = "1")]
    length: u64,
    #[prost(fixed32, tag = "2")]
    crc: u32,
}

impl From<Checksum> for StoredChecksum {
    fn from(sum: Checksum) -> Self {
        Self {
            length: sum.length,
            crc: sum.crc,
        }
    }
}

impl Meta {
    /// Of the file `data` of a packed segment, as it was when it was written.
    pub fn checksum(&self) -> Option<Checksum> {
        self.data.map(|data| Checksum {
            length: data.length,
            crc: data.crc,
        })
    }

    /// That of a segment that follows this one.
    pub fn next(&self) -> Self {
        Self {
            base: self.last,
            last: self.last,
            last_at: self.last_at,
            ..Self::default()
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(string, tag = "1")]
    pub owner: String,
    #[prost(uint64, tag = "2")]
    pub sequence: Sequence,
    /// 0: never.
    #[prost(uint64, tag = "3")]
    pub expires_at: Millis,
}

/// The index of a live segment.
#[derive(Default)]
pub(super) struct MemoryIndex {
    pub records: HashMap<Arc<str>, Record>,
    /// Hashes of the idempotency keys.
    pub keys: HashSet<u64>,
    /// As they were set.
    pub revocations: Vec<Revocation>,
    pub deletions: Vec<Standing>,
}

impl MemoryIndex {
    /// What `keys` holds of a key.
    pub fn hash(key: &[u8]) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
    }
}

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Where a segment's rows are.
pub(super) enum Rows {
    /// In sled, as the writer left them.
    Live(Arc<Engine>, MemoryIndex),
    Packed(Constant),
}

/// A sealed segment: it never changes.
pub(super) struct Segment {
    pub id: SegmentId,
    pub meta: Meta,
    pub rows: Rows,
    dir: PathBuf,
    /// Bytes of keys and values that were written to it; 0: it is packed.
    written: u64,
    doomed: AtomicBool,
    /// Of what was deleted up to this entry nothing is in it.
    cleared: AtomicU64,
}

impl Segment {
    /// The active segment, sealed.
    pub fn sealed(
        number: u64,
        dir: PathBuf,
        meta: Meta,
        engine: Arc<Engine>,
        index: MemoryIndex,
        written: u64,
    ) -> Self {
        let id = SegmentId {
            number,
            generation: 0,
        };
        Self {
            id,
            meta,
            rows: Rows::Live(engine, index),
            dir,
            written,
            doomed: AtomicBool::new(false),
            cleared: AtomicU64::new(0),
        }
    }

    /// Opens a packed segment.
    pub fn packed(id: SegmentId, dir: PathBuf) -> Result<Self, StoreError> {
        let meta = read_meta(&dir)?;
        let rows = Rows::Packed(Constant::open(&dir.join(DATA))?);
        Ok(Self {
            id,
            cleared: AtomicU64::new(meta.cleared),
            meta,
            rows,
            dir,
            written: 0,
            doomed: AtomicBool::new(false),
        })
    }

    pub fn is_packed(&self) -> bool {
        matches!(self.rows, Rows::Packed(_))
    }

    /// The owner's index record, if the segment has one. That of a packed one is read from the disk.
    pub fn record(&self, owner: &str) -> Result<Option<Cow<'_, Record>>, StoreError> {
        match &self.rows {
            Rows::Live(_, index) => Ok(index.records.get(owner).map(Cow::Borrowed)),
            Rows::Packed(constant) => match constant.get(&keys::record(owner))? {
                Some(bytes) => Ok(Some(Cow::Owned(codec::decode_record(&bytes)?))),
                None => Ok(None),
            },
        }
    }

    /// What was published under an idempotency key, if it is here.
    pub fn published_under(&self, key: &[u8]) -> Result<Option<PublishedUnder>, StoreError> {
        match &self.rows {
            Rows::Live(_, index) if !index.keys.contains(&MemoryIndex::hash(key)) => Ok(None),
            Rows::Live(engine, _) => engine
                .get(key)?
                .map(|found| PublishedUnder::decode_stored(&found))
                .transpose(),
            Rows::Packed(constant) => constant
                .get(key)?
                .map(|found| PublishedUnder::decode_stored(&found))
                .transpose(),
        }
    }

    /// The revocations in it.
    pub fn revocations(&self) -> Result<Vec<Revocation>, StoreError> {
        match &self.rows {
            Rows::Live(_, index) => Ok(index.revocations.clone()),
            Rows::Packed(constant) => match constant.get(keys::REVOCATIONS)? {
                Some(bytes) => revocations::decode_all(&bytes),
                None => Ok(Vec::new()),
            },
        }
    }

    /// The deletions in it.
    pub fn deletions(&self) -> Result<Vec<Standing>, StoreError> {
        match &self.rows {
            Rows::Live(_, index) => Ok(index.deletions.clone()),
            Rows::Packed(constant) => match constant.get(keys::DELETIONS)? {
                Some(bytes) => deletions::decode_all(&bytes),
                None => Ok(Vec::new()),
            },
        }
    }

    /// A page of the owners, in order; `None`: there are no more.
    pub fn owners(&self, page: u32) -> Result<Option<Vec<Arc<str>>>, StoreError> {
        match &self.rows {
            Rows::Live(_, index) if page == 0 => {
                let mut owners: Vec<_> = index.records.keys().cloned().collect();
                owners.sort_unstable();
                Ok(Some(owners))
            }
            Rows::Live(..) => Ok(None),
            Rows::Packed(constant) => {
                let Some(bytes) = constant.get(&keys::owners(page))? else {
                    return Ok(None);
                };
                let owners = codec::Owners::decode_stored(&bytes)?;
                Ok(Some(owners.names.into_iter().map(Arc::from).collect()))
            }
        }
    }

    /// The bodies that stand apart and the idempotency keys, as a packed segment has them.
    pub fn bodies_and_keys(&self) -> Box<dyn Iterator<Item = Result<Pair, StoreError>> + '_> {
        match &self.rows {
            Rows::Live(engine, _) => {
                let bodies = engine.scan_prefix(keys::BODIES).filter_map(move |pair| {
                    let body = pair.and_then(|(key, _)| {
                        let Some(key) = first_piece(&key) else {
                            return Ok(None);
                        };
                        Ok(engine.get_long(key)?.map(|body| (key.to_vec(), body)))
                    });
                    body.transpose()
                });
                let keys = engine.scan_prefix(keys::IDEMPOTENCY);
                let keys = keys.map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())));
                Box::new(bodies.chain(keys))
            }
            Rows::Packed(constant) => Box::new(constant.iter().filter(|pair| {
                let wanted = |key: &[u8]| {
                    key.first()
                        .is_some_and(|kind| [keys::BODIES, keys::IDEMPOTENCY].contains(kind))
                };
                pair.as_ref().map_or(true, |(key, _)| wanted(key))
            })),
        }
    }

    /// Of what was deleted up to this entry nothing is in it.
    pub fn cleared(&self) -> Sequence {
        self.cleared.load(Ordering::Acquire)
    }

    /// It was looked whether anything is.
    pub fn is_cleared(&self, through: Sequence) {
        self.cleared.fetch_max(through, Ordering::AcqRel);
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        match &self.rows {
            Rows::Live(engine, _) => engine.size(),
            Rows::Packed(constant) => constant.size(),
        }
    }

    /// Bytes of keys and values that were written to it while it was the newest; 0 of a packed one.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Removes the directory once nobody reads the segment any more.
    pub fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.doomed.load(Ordering::Acquire) {
            return;
        }
        // Files that are still open keep their space until they are closed, right after this.
        // What stays behind is removed at the next start.
        if let Err(error) = remove_dir(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "remove dropped segment");
        }
    }
}

pub(super) const DB: &str = "db";
pub(super) const DATA: &str = "data";
pub(super) const META: &str = "meta";

pub(super) fn write_meta(dir: &Path, meta: &Meta) -> Result<(), StoreError> {
    files::write_checked(&dir.join(META), &meta.encode_to_vec())
}

pub(super) fn read_meta(dir: &Path) -> Result<Meta, StoreError> {
    let bytes = files::read_checked(&dir.join(META))?.ok_or_else(|| StoreError::Corrupt {
        dir: dir.to_owned(),
        message: "its file `meta` is missing".into(),
    })?;
    Meta::decode(bytes.as_slice()).map_err(|_| StoreError::Unreadable {
        what: "segment meta",
    })
}

/// Removes a segment's directory so that a half-removed one is never taken for whole.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    let trash = dir.with_extension("trash");
    fs::rename(dir, &trash)?;
    fs::remove_dir_all(trash)
}
