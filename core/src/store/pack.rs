//! Packing: a sealed segment is rewritten into a compact file, once, and again when most of
//! it is no longer wanted. An owner's rows are joined into blocks, each owner's index becomes one
//! record, and what is past is left out.

use std::{collections::HashSet, fs, path::Path, sync::Arc};

use prost::Message;

use crate::entry::{Millis, Sequence};

use super::{
    Retention, Store, StoreError,
    cache::RecordCache,
    codec::{self, Owners, Row, Topics},
    constant::ConstantWriter,
    engine::sync_dir,
    index::{Block, Item, Record},
    keys, rows,
    segment::{self, DATA, Sample, Segment, SegmentId},
};

/// Bytes behind which a block ends.
const BLOCK_BYTES: usize = 4096;
/// Owners in a page of them.
pub(super) const OWNERS_PAGE: usize = 1000;
/// How many notifications speak for their segment.
const SAMPLES: u64 = 128;
/// The share of samples that are past, in percent, from which on a segment is rewritten.
const WORTHWHILE_PERCENT: usize = 40;

/// What a rewriting leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trim {
    /// What has expired or is too old: seen from the row alone.
    ByTime,
    /// Also what is beyond a recipient's maximum: needs their whole view.
    ByView,
}

impl Store {
    /// Packs the oldest sealed segment that is not packed. `false`: there was none.
    ///
    /// # Errors
    /// The segment can't be read, or the packed one not written; it stays as it was.
    pub fn pack_one(&self, now: Millis) -> Result<bool, StoreError> {
        let sealed = self.0.state.read().sealed.clone();
        match sealed.iter().find(|segment| !segment.is_packed()) {
            Some(segment) => self.rewrite(segment, Trim::ByTime, now),
            None => Ok(false),
        }
    }

    /// Rewrites the first packed segment of which much is past. `false`: there was none.
    ///
    /// # Errors
    /// As [`Store::pack_one`].
    pub fn repack_one(&self, now: Millis) -> Result<bool, StoreError> {
        let sealed = self.0.state.read().sealed.clone();
        for segment in sealed.iter().filter(|segment| segment.is_packed()) {
            let samples = &segment.meta.samples;
            let mut past = 0;
            for sample in samples {
                past += usize::from(self.is_past(sample, now)?);
            }
            if past > 0 && past * 100 >= samples.len() * WORTHWHILE_PERCENT {
                return self.rewrite(segment, Trim::ByView, now);
            }
        }
        Ok(false)
    }

    fn is_past(&self, sample: &Sample, now: Millis) -> Result<bool, StoreError> {
        if sample.expires_at > 0 && sample.expires_at <= now {
            return Ok(true);
        }
        Ok(sample.sequence <= self.floor(&sample.owner, now)?)
    }

    fn floor(&self, owner: &str, now: Millis) -> Result<Sequence, StoreError> {
        let retention = self.0.retention;
        Ok(self
            .view(owner, None, |view, _| view.bounds(now, retention).floor)?
            .0)
    }

    fn rewrite(&self, segment: &Segment, trim: Trim, now: Millis) -> Result<bool, StoreError> {
        let _one_at_a_time = self.0.packing.lock();
        let (free, reserve) = self.disk()?;
        if free < reserve + segment.size() {
            tracing::warn!(
                segment = segment.id.number,
                free,
                "no room to rewrite a segment"
            );
            return Ok(false);
        }
        let packed = self.add_packed(segment.id.rewritten(), |part| {
            self.write_packed(segment, part, trim, now)
        })?;
        self.replace(segment.id, packed);
        Ok(true)
    }

    /// Writes a packed segment, which has its name only when it is whole and safe.
    pub(super) fn add_packed(
        &self,
        id: SegmentId,
        write: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<Arc<Segment>, StoreError> {
        let dir = self.0.dir.join("segments");
        let part = dir.join(format!("{}.part", id.name()));
        if part.exists() {
            fs::remove_dir_all(&part).map_err(StoreError::io("remove", &part))?;
        }
        fs::create_dir(&part).map_err(StoreError::io("create", &part))?;
        if let Err(error) = write(&part) {
            let _ = fs::remove_dir_all(&part);
            return Err(error);
        }
        let path = dir.join(id.name());
        fs::rename(&part, &path).map_err(StoreError::io("rename", &path))?;
        sync_dir(&dir).map_err(StoreError::io("sync", &dir))?;
        Ok(Arc::new(Segment::packed(id, path)?))
    }

    /// Puts a rewritten segment in the old one's place, whose directory goes with its last reader.
    fn replace(&self, old: SegmentId, new: Arc<Segment>) {
        let mut state = self.0.state.write();
        let mut segments = state.sealed.to_vec();
        match segments.iter().position(|segment| segment.id == old) {
            Some(place) => std::mem::replace(&mut segments[place], new).doom(),
            None => new.doom(),
        }
        state.sealed = Arc::new(segments);
    }

    fn write_packed(
        &self,
        segment: &Segment,
        part: &Path,
        trim: Trim,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut packing = Packing {
            file: ConstantWriter::create(&part.join(DATA))?,
            topics: Topics::default(),
            kept: HashSet::new(),
            samples: Samples::default(),
            rows: 0,
        };
        let mut kept_owners = Vec::new();
        for page in 0.. {
            let Some(owners) = segment.owners(page)? else {
                break;
            };
            for owner in owners {
                let floor = if trim == Trim::ByView {
                    self.floor(&owner, now)?
                } else {
                    0
                };
                let past = Past {
                    floor,
                    now,
                    retention: self.0.retention,
                };
                if packing.copy_owner(segment, &self.0.cache, &owner, past)? {
                    kept_owners.push(owner.to_string());
                }
            }
        }
        for (page, names) in kept_owners.chunks(OWNERS_PAGE).enumerate() {
            let names = Owners {
                names: names.to_vec(),
            };
            packing
                .file
                .insert(&keys::owners(page as u32), &names.encode_to_vec())?;
        }
        packing.copy_bodies_and_keys(segment, now, self.0.retention)?;
        let meta = segment::Meta {
            rows: packing.rows,
            samples: std::mem::take(&mut packing.samples.taken),
            ..segment.meta.clone()
        };
        packing.file.finish()?;
        segment::write_meta(part, &meta)
    }
}

/// What is past.
#[derive(Clone, Copy)]
struct Past {
    floor: Sequence,
    now: Millis,
    retention: Retention,
}

impl Past {
    fn retention_hides(self, item: &Item) -> bool {
        item.sequence <= self.floor || self.retention.is_past(item.at, self.now)
    }
}

/// A packed segment being written.
struct Packing {
    file: ConstantWriter,
    topics: Topics,
    kept: HashSet<Sequence>,
    samples: Samples,
    rows: u64,
}

impl Packing {
    /// `false`: there is nothing of the owner to keep.
    fn copy_owner(
        &mut self,
        segment: &Segment,
        cache: &RecordCache,
        owner: &str,
        past: Past,
    ) -> Result<bool, StoreError> {
        let Some(before) = segment.record(owner, cache)? else {
            return Ok(false);
        };
        let mut record = Record {
            reads: before.reads.clone(),
            lost: before.lost,
            ..Record::default()
        };
        for item in &before.items {
            if !past.retention_hides(item) {
                record.items.push(item.clone());
            } else if item.expires_at > past.now {
                record.lost = record.lost.max(item.sequence);
            }
        }
        drop(before);
        let mut block = Vec::new();
        let mut last = 0;
        for row in rows::of_segment(segment, owner, cache, 0) {
            let (row, _) = row?;
            if !self.keep(&row, owner, past) {
                continue;
            }
            row.append_to(&mut block);
            if block.len() >= BLOCK_BYTES {
                let extent = self.file.append(&block)?;
                record.blocks.push(Block {
                    last: row.sequence,
                    extent,
                });
                block.clear();
            }
            last = row.sequence;
        }
        if !block.is_empty() {
            let extent = self.file.append(&block)?;
            record.blocks.push(Block { last, extent });
        }
        let keep = record != Record::default();
        if keep {
            self.file
                .insert(&keys::record(owner), &codec::encode_record(&record))?;
        }
        Ok(keep)
    }

    /// Whether the row is still wanted. That of an expired notification is not, though its item
    /// stays: a recipient's maximum counts it.
    fn keep(&mut self, row: &Row, owner: &str, past: Past) -> bool {
        let keep = match row.item(&mut self.topics) {
            // A change of marks speaks of older notifications only: past the floor, of none.
            None => row.sequence > past.floor,
            Some(item) if past.retention_hides(&item) || item.expires_at <= past.now => false,
            Some(item) => {
                self.kept.insert(item.sequence);
                self.samples.offer(owner, &item);
                true
            }
        };
        self.rows += u64::from(keep);
        keep
    }

    fn copy_bodies_and_keys(
        &mut self,
        segment: &Segment,
        now: Millis,
        retention: Retention,
    ) -> Result<(), StoreError> {
        for pair in segment.bodies_and_keys() {
            let (key, value) = pair?;
            let is_kept = match key.first() {
                Some(&keys::BODIES) => self.kept.contains(&codec::decode_sequence(&key[1..])?),
                _ => !codec::PublishedUnder::decode_stored(&value)?.is_past(now, retention),
            };
            if is_kept {
                self.file.insert(&key, &value)?;
            }
        }
        Ok(())
    }
}

/// Reservoir sampling (Vitter, "Random sampling with a reservoir", 1985, algorithm R).
#[derive(Default)]
struct Samples {
    seen: u64,
    taken: Vec<Sample>,
}

impl Samples {
    fn offer(&mut self, owner: &str, item: &Item) {
        self.seen += 1;
        let sample = || Sample {
            owner: owner.to_owned(),
            sequence: item.sequence,
            expires_at: if item.expires_at == Millis::MAX {
                0
            } else {
                item.expires_at
            },
        };
        if self.seen <= SAMPLES {
            self.taken.push(sample());
            return;
        }
        // A hash of the place is random enough, and the same in every run.
        let place = u64::from(crc32fast::hash(&self.seen.to_be_bytes())) % self.seen;
        if place < SAMPLES {
            self.taken[place as usize] = sample();
        }
    }
}
