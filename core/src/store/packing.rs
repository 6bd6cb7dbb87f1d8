//! A packed segment being written: an owner's rows are joined into blocks, each owner's index becomes
//! one record, and what is past is left out.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
};

use prost::Message;

use crate::entry::{Millis, Sequence};

use super::{
    Retention, Store, StoreError,
    cache::SegmentCache,
    codec::{self, Owners, Row, Topics},
    constant::ConstantWriter,
    deletions::{self, Deletions, Hidden},
    index::{Block, Item, Record},
    keys,
    pack::Trim,
    revocations, rows,
    segment::{self, DATA, MemoryIndex, Meta, Sample, Segment},
};

/// Bytes behind which a block ends.
const BLOCK_BYTES: usize = 4096;
/// Owners in a page of them.
const OWNERS_PAGE: usize = 1000;
/// How many notifications speak for their segment.
const SAMPLES: u64 = 128;

impl Store {
    /// Writes segments that follow each other as one, into an empty directory.
    pub(super) fn write_packed(
        &self,
        segments: &[Arc<Segment>],
        part: &Path,
        trim: Trim,
        now: Millis,
    ) -> Result<(), StoreError> {
        let deletions = self.safe_deletions(segments);
        let mut packing = Packing {
            file: ConstantWriter::create(&part.join(DATA))?,
            topics: Topics::default(),
            kept: HashSet::new(),
            samples: Samples::default(),
            rows: 0,
        };
        let mut owners = BTreeSet::new();
        for segment in segments {
            for page in 0.. {
                let Some(names) = segment.owners(page)? else {
                    break;
                };
                owners.extend(names);
            }
        }
        let mut kept_owners = Vec::new();
        for owner in owners {
            let floor = match trim {
                Trim::ByView => self.floor(&owner, now)?,
                Trim::ByTime => 0,
            };
            let past = Past {
                floor,
                now,
                retention: self.0.retention,
                hidden: Hidden::new(&owner, &deletions, None),
            };
            if packing.copy_owner(segments, &self.0.cache, &owner, past)? {
                kept_owners.push(owner.to_string());
            }
        }
        insert_owners(&mut packing.file, kept_owners)?;
        packing.copy_bodies_and_keys(segments, now, self.0.retention, &deletions)?;
        deletions::carry_on(segments, &mut packing.file, now, self.0.retention)?;
        revocations::carry_on(segments, &mut packing.file, now)?;
        // There is one at least.
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(());
        };
        let meta = Meta {
            base: first.meta.base,
            rows: packing.rows,
            samples: packing.samples.taken,
            data: Some(packing.file.finish()?.into()),
            cleared: deletions.newest(),
            ..last.meta.clone()
        };
        segment::write_meta(part, &meta)
    }
}

/// Adds the pages of owners, who come in order.
pub(super) fn insert_owners(
    file: &mut ConstantWriter,
    owners: Vec<String>,
) -> Result<(), StoreError> {
    for (page, names) in owners.chunks(OWNERS_PAGE).enumerate() {
        let names = Owners {
            names: names.to_vec(),
        };
        file.insert(&keys::owners(page as u32), &names.encode_to_vec())?;
    }
    Ok(())
}

/// What is past.
#[derive(Clone, Copy)]
struct Past<'a> {
    floor: Sequence,
    now: Millis,
    retention: Retention,
    hidden: Hidden<'a>,
}

impl Past<'_> {
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
        segments: &[Arc<Segment>],
        cache: &SegmentCache,
        owner: &str,
        past: Past<'_>,
    ) -> Result<bool, StoreError> {
        let through = past.hidden.through();
        let mut record = Record::default();
        let before = segments.iter().map(|segment| segment.record(owner));
        let before = before.collect::<Result<Vec<_>, _>>()?;
        for (segment, before) in segments.iter().zip(&before) {
            let Some(before) = before else {
                continue;
            };
            if segment.meta.last > through {
                record.reads = before.reads.clone().or(record.reads);
            }
            if before.lost > through {
                record.lost = record.lost.max(before.lost);
            }
            for item in &before.items {
                if item.sequence <= through {
                    continue;
                }
                let is_deleted = past.hidden.has(item.sequence);
                if is_deleted && !past.retention_hides(item) {
                    // A recipient's maximum counts it: as one that has expired, of no topic.
                    record.items.push(Item {
                        expires_at: item.at,
                        topic: self.topics.share(""),
                        ..item.clone()
                    });
                } else if !past.retention_hides(item) {
                    record.items.push(item.clone());
                } else if item.expires_at > past.now && !is_deleted {
                    record.lost = record.lost.max(item.sequence);
                }
            }
        }
        let mut block = Vec::new();
        let mut last = 0;
        let rows = segments.iter().zip(&before).flat_map(|(segment, before)| {
            rows::of_segment(segment, owner, before.as_deref(), cache, 0)
        });
        for row in rows {
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
    fn keep(&mut self, row: &Row, owner: &str, past: Past<'_>) -> bool {
        let keep = match row.item(&mut self.topics) {
            _ if past.hidden.has(row.sequence) => false,
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
        segments: &[Arc<Segment>],
        now: Millis,
        retention: Retention,
        deletions: &Deletions,
    ) -> Result<(), StoreError> {
        // A key is added once: the newest counts.
        let mut added = HashSet::new();
        for pair in segments.iter().rev().flat_map(|it| it.bodies_and_keys()) {
            let (key, value) = pair?;
            let is_kept = match key.first() {
                Some(&keys::BODIES) => self.kept.contains(&codec::decode_sequence(&key[1..])?),
                _ => {
                    let under = codec::PublishedUnder::decode_stored(&value)?;
                    // The newest one counts, also where it is not kept.
                    added.insert(MemoryIndex::hash(&key))
                        && !under.is_past(now, retention)
                        && !deletions.frees(&under)
                }
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
