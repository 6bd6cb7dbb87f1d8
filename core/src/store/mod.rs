//! The embedded store: the log and its materialised view, on sled.
//!
//! Everything that is stored derives from the log's entries through one apply path
//! ([`batch::Batch::apply`]), stands in segments ([`segment`]) and leaves with them. Reads see
//! what is committed, at one sequence; commits become visible at once and only when they are safe
//! against a power cut.
//!
//! | file | subject |
//! |---|---|
//! | `batch` | the apply path, and the commit |
//! | `log` | the log: what is safe |
//! | `read` | openings, feeds, history |
//! | `index`, `reads` | what is visible, counted and read, without touching rows |
//! | `rows` | rows from the segments |
//! | `segment`, `cache` | one segment; what was lately asked of them |
//! | `open`, `data_dir` | start: lock, format; the end of a segment |
//! | `recover`, `live`, `trust` | the segments as they were left, and what the log has more |
//! | `retention`, `pack`, `packing`, `bury` | what is past; sealed segments made compact |
//! | `pace` | the writer's, where packing can't keep up |
//! | `snapshot` | copies of it, and data directories made of them |
//! | `revocations` | revoked tokens |
//! | `deletions`, `clear` | what is deleted: hidden at once, and gone soon |
//! | `verify` | all of it looked through |
//! | `engine`, `keys`, `codec` | sled, and what stands in it |
//! | `constant`, `files` | files of our own |

mod batch;
mod bury;
mod cache;
mod clear;
mod codec;
mod constant;
mod data_dir;
mod deletions;
mod disk;
mod engine;
mod error;
mod files;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod index;
mod journal;
mod keys;
mod live;
mod open;
mod pace;
mod pack;
mod packing;
mod read;
mod reads;
mod recover;
mod retention;
mod revocations;
mod rows;
mod segment;
mod snapshot;
mod trust;
mod verify;

#[cfg(test)]
mod deletion_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod revocation_tests;
#[cfg(test)]
mod shared_tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use mercurio_auth::RevocationSet;
use parking_lot::{Mutex, RwLock};

use crate::entry::{Millis, Sequence};

pub use batch::{Batch, Outcome};
pub use disk::Disk;
pub use error::StoreError;
pub(crate) use journal::{Appender, Appenders, LogEntry, Progress};
pub use read::{FeedLimit, FeedPage, HistoryPage, HistoryQuery, Opening, StatusFilter};
pub use retention::Retention;
pub use revocations::{REVOCATIONS_MAX, Revoking};
pub use snapshot::{Cut, Import, Incoming, Manifest, ManifestFile, Snapshot, restore};
pub use verify::{Report, verify};

use cache::{Known, SegmentCache};
use codec::Tally;
use deletions::{Deletions, Hidden};
use engine::Engine;
use index::{Record, View};
use journal::Journal;
use segment::{MemoryIndex, Rows, Segment};

/// How the store uses its machine.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Rows after which a segment is full; an entry for ten recipients has ten. Default 125,000.
    pub segment_rows: u64,
    /// Bytes of keys and values after which a segment is full. Default 256 MiB.
    pub segment_bytes: u64,
    /// Rows of sealed segments that are not packed yet, beyond which the writer is slowed down. Default
    /// 500,000.
    pub unpacked_rows: u64,
    /// Bytes of keys and values in them, likewise. Default 1 GiB.
    pub unpacked_bytes: u64,
    /// Bytes that what was lately asked of packed segments may take in memory: index records, and with a
    /// quarter of it bodies that stand apart; everyone's index records come on top. Default 64 MiB.
    pub record_cache_bytes: u64,
    /// Bytes of page cache of the active segment's database. Default 64 MiB.
    pub active_cache_bytes: u64,
    /// Bytes of the disk that publishing leaves free. `None`: an eighth of the file system, at
    /// most 64 MiB.
    pub disk_reserve_bytes: Option<u64>,
    /// How often retention looks for what is past. Default one minute.
    pub sweep_interval: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_rows: 125_000,
            segment_bytes: 256 << 20,
            unpacked_rows: 500_000,
            unpacked_bytes: 1 << 30,
            record_cache_bytes: 64 << 20,
            active_cache_bytes: 64 << 20,
            disk_reserve_bytes: None,
            sweep_interval: Duration::from_secs(60),
        }
    }
}

/// The store. Cheap to clone; all calls block, reads for tens to hundreds of microseconds.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    disk: Disk,
    settings: StoreSettings,
    retention: Retention,
    cache: SegmentCache,
    state: RwLock<State>,
    /// Locked by who commits, and never together with `state`.
    journal: Mutex<Journal>,
    packing: Mutex<pack::Turns>,
    /// What of them is committed.
    revoked: Arc<RevocationSet>,
    _lock: data_dir::DirLock,
}

struct State {
    /// Oldest first.
    sealed: Arc<Vec<Arc<Segment>>>,
    active: Active,
    /// What of them is committed.
    deletions: Arc<Deletions>,
    /// What is safe is not all there yet: nobody but batches may look.
    recovering: bool,
}

/// The segment that the writer adds to.
struct Active {
    number: u64,
    dir: PathBuf,
    /// `None`: it failed, and could not be opened again yet.
    engine: Option<Arc<Engine>>,
    base: Sequence,
    index: MemoryIndex,
    tally: Tally,
    bytes: u64,
    first_at: Option<Millis>,
}

/// The databases as they stood when a view was taken: rows are read from these.
#[derive(Clone)]
struct Databases {
    sealed: Arc<Vec<Arc<Segment>>>,
    active: Option<Arc<Engine>>,
    /// What packed segments know of the owner, and of what is everyone's.
    own: Known,
    everyone: Known,
}

impl Store {
    /// The last committed entry; 0: none yet.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.0.state.read().active.tally.last
    }

    /// The log's time at that entry: the newest that it told; 0: none yet.
    #[must_use]
    pub fn log_time(&self) -> Millis {
        self.0.state.read().active.tally.last_at
    }

    /// Whether it can be read: not between a failure and its being opened again.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let state = self.0.state.read();
        !state.recovering && state.active.engine.is_some()
    }

    /// As after a failed write of sled.
    #[cfg(test)]
    pub(crate) fn lose_engine(&self) {
        self.0.state.write().active.engine = None;
    }

    /// How far a shared log was applied.
    pub(crate) fn progress(&self) -> Progress {
        self.0.journal.lock().progress().clone()
    }

    /// Bytes on disk, roughly.
    #[must_use]
    pub fn size(&self) -> u64 {
        let (sealed, active) = {
            let state = self.0.state.read();
            (state.sealed.clone(), state.active.engine.clone())
        };
        sealed.iter().map(|segment| segment.size()).sum::<u64>()
            + active.map_or(0, |engine| engine.size())
            + self.0.journal.lock().size()
    }

    /// How many segments there are, the active one included.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.0.state.read().sealed.len() + 1
    }

    /// Looks at an owner's feed at one sequence. `staged` is what the batch being made adds.
    fn view<T>(
        &self,
        owner: &str,
        staged: Option<&batch::Staging>,
        look: impl Fn(&View<'_>, &State) -> T,
    ) -> Result<(T, Databases), StoreError> {
        loop {
            let sealed = self.0.state.read().sealed.clone();
            let own = self.0.cache.known(&sealed, owner)?;
            let everyone = self.0.cache.known(&sealed, keys::EVERYONE)?;
            let state = self.0.state.read();
            if state.recovering && staged.is_none() {
                return Err(Active::failed());
            }
            if !Arc::ptr_eq(&state.sealed, &sealed) {
                continue;
            }
            let newest = |owner: &str| {
                let active = state.active.index.records.get(owner);
                active
                    .into_iter()
                    .chain(staged.and_then(|staged| staged.record(owner)))
            };
            let mut view = View {
                own: records(&sealed, &own, owner),
                everyone: Vec::new(),
                hidden: Hidden::new(owner, &state.deletions, staged.map(|it| it.deletions())),
            };
            view.own.extend(newest(owner));
            if owner != keys::EVERYONE {
                view.everyone = records(&sealed, &everyone, keys::EVERYONE);
                view.everyone.extend(newest(keys::EVERYONE));
            }
            let seen = look(&view, &state);
            let active = state.active.engine.clone();
            drop(view);
            drop(state);
            let databases = Databases {
                sealed,
                active,
                own,
                everyone,
            };
            return Ok((seen, databases));
        }
    }
}

impl Active {
    /// The error of a database that failed.
    fn failed() -> StoreError {
        StoreError::Engine {
            dir: "segments".into(),
            message: "the newest segment failed and is being opened again".into(),
        }
    }
}

/// The owner's record in each of these segments that has one; `known` is what the packed ones know.
fn records<'a>(sealed: &'a [Arc<Segment>], known: &'a Known, owner: &str) -> Vec<&'a Record> {
    let record = |segment: &'a Arc<Segment>| match &segment.rows {
        Rows::Live(_, index) => index.records.get(owner),
        Rows::Packed(_) => cache::find(known, segment.id)?.as_deref(),
    };
    sealed.iter().filter_map(record).collect()
}
