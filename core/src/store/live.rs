//! A live segment opened: its index is built from the rows in its database, and what is there is
//! counted.

use std::{path::PathBuf, sync::Arc};

use crate::entry::Millis;

use super::{
    Active, StoreError, StoreSettings,
    codec::{self, Tally, Topics},
    deletions,
    engine::{Engine, first_piece},
    keys, revocations,
    segment::{DB, MemoryIndex, Meta, Segment},
    trust,
};

/// Opens a live segment; `base` is what was written beside it when it was begun.
///
/// # Errors
/// What is there is not what was written ([`StoreError::is_damage`]), or can't be read.
pub(super) fn open_live(
    number: u64,
    dir: PathBuf,
    base: &Meta,
    settings: &StoreSettings,
) -> Result<Active, StoreError> {
    if !trust::is_trusted(&dir) {
        return Err(StoreError::Corrupt {
            dir,
            message: "the machine stopped while it was written".into(),
        });
    }
    trust::mark_opened(&dir)?;
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
    for pair in engine.scan_prefix(keys::REVOCATIONS[0]) {
        let (key, value) = pair?;
        found.revocations += 1;
        bytes += (key.len() + value.len()) as u64;
        index.revocations.push(revocations::decode(&value)?);
    }
    for pair in engine.scan_prefix(keys::DELETIONS[0]) {
        let (key, value) = pair?;
        found.deletions += 1;
        bytes += (key.len() + value.len()) as u64;
        index.deletions.push(deletions::decode(&value)?);
    }
    let stored = engine
        .get(keys::TALLY)?
        .map(|tally| Tally::decode_stored(&tally))
        .transpose()?;
    let tally = stored.unwrap_or(start);
    // The last entries may have left no row.
    if found.last <= tally.last && found.last_at <= tally.last_at {
        (found.last, found.last_at) = (tally.last, tally.last_at);
    }
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

/// Bytes of a body's key.
const BODY_KEY: usize = 9;

impl Active {
    /// What is known of it now.
    pub fn meta(&self) -> Meta {
        Meta {
            base: self.base,
            last: self.tally.last,
            last_at: self.tally.last_at,
            rows: self.tally.rows,
            ..Meta::default()
        }
    }

    /// Whether the next entries belong into a new segment.
    pub fn is_full(&self, settings: &StoreSettings) -> bool {
        self.tally.rows >= settings.segment_rows || self.bytes >= settings.segment_bytes
    }

    pub fn sealed(self, meta: Meta) -> Result<Segment, StoreError> {
        let engine = self.engine.ok_or_else(Self::failed)?;
        Ok(Segment::sealed(
            self.number,
            self.dir,
            meta,
            engine,
            self.index,
            self.bytes,
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
