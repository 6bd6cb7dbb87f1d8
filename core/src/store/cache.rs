//! Index records of packed segments, and bodies that stand apart in them, as they were last needed:
//! who asks for the one asks again, and a body is that of many. A packed segment never changes, so
//! nothing in here is ever out of date.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use quick_cache::{Equivalent, Weighter, sync::Cache};

use crate::entry::{Published, Sequence};

use super::{
    StoreError,
    index::{Block, Item, Record},
    segment::SegmentId,
};

/// One part in so many of the bytes is for bodies.
const BODIES_PART: u64 = 4;

/// Bounded by the bytes of what it holds.
pub(super) struct SegmentCache {
    records: Cache<Key, Arc<Record>, Bytes>,
    bodies: Cache<(SegmentId, Sequence), Arc<Published>, Bytes>,
}

impl SegmentCache {
    pub fn new(capacity_bytes: u64) -> Self {
        let for_bodies = capacity_bytes / BODIES_PART;
        let for_records = capacity_bytes - for_bodies;
        Self {
            records: Cache::with_weighter(items(for_records), for_records, Bytes),
            bodies: Cache::with_weighter(items(for_bodies), for_bodies, Bytes),
        }
    }

    /// An owner's record in a packed segment.
    pub fn record(
        &self,
        segment: SegmentId,
        owner: &str,
        load: impl FnOnce() -> Result<Record, StoreError>,
    ) -> Result<Arc<Record>, StoreError> {
        if let Some(record) = self.records.get(&KeyRef(segment, owner)) {
            return Ok(record);
        }
        let record = Arc::new(load()?);
        self.records
            .insert(Key(segment, owner.into()), record.clone());
        Ok(record)
    }

    /// What was published as this entry, with a body that stands apart in a packed segment.
    pub fn published(
        &self,
        segment: SegmentId,
        id: Sequence,
        load: impl FnOnce() -> Result<Published, StoreError>,
    ) -> Result<Arc<Published>, StoreError> {
        if let Some(published) = self.bodies.get(&(segment, id)) {
            return Ok(published);
        }
        let published = Arc::new(load()?);
        self.bodies.insert((segment, id), published.clone());
        Ok(published)
    }
}

/// About how many there will be.
fn items(bytes: u64) -> usize {
    usize::try_from(bytes / 512).unwrap_or(usize::MAX).max(16)
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<Record>> for Bytes {
    fn weight(&self, key: &Key, record: &Arc<Record>) -> u64 {
        let runs = record
            .reads
            .as_ref()
            .map_or(0, |reads| reads.runs().len() * 24);
        let items = record.items.len() * (size_of::<Item>() + 8);
        let blocks = record.blocks.len() * size_of::<Block>();
        (200 + key.1.len() + items + blocks + runs) as u64
    }
}

impl Weighter<(SegmentId, Sequence), Arc<Published>> for Bytes {
    fn weight(&self, _: &(SegmentId, Sequence), published: &Arc<Published>) -> u64 {
        let Published {
            source_id,
            event_id,
            topic,
            data,
            ..
        } = &**published;
        (200 + source_id.len() + event_id.len() + topic.len() + data.len()) as u64
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Key(SegmentId, Box<str>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef(self.0, &self.1).hash(state);
    }
}

#[derive(Hash)]
struct KeyRef<'a>(SegmentId, &'a str);

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_not_read_again() {
        let cache = SegmentCache::new(1 << 20);
        let of = |number, generation| SegmentId { number, generation };
        let published = |data: &str| Published {
            at: 1,
            source_id: "s".into(),
            event_id: "e".into(),
            topic: "t".into(),
            data: data.into(),
            expires_at: None,
        };
        let ask = |segment, id, data: &str| {
            let loaded = cache.published(segment, id, || Ok(published(data)));
            loaded.unwrap().data.clone()
        };
        assert_eq!(ask(of(1, 1), 5, "one"), "one");
        assert_eq!(ask(of(1, 1), 5, "not read"), "one");
        assert_eq!(ask(of(1, 2), 5, "rewritten"), "rewritten");
        assert_eq!(ask(of(1, 1), 6, "two"), "two");
        let failed = cache.published(of(1, 1), 7, || Err(StoreError::Unreadable { what: "body" }));
        assert!(failed.is_err());
        assert_eq!(ask(of(1, 1), 7, "now"), "now", "a failure is not kept");
        for id in 100..2000 {
            ask(of(1, 1), id, &"x".repeat(1000));
        }
        assert!(cache.bodies.weight() <= (1 << 20) / BODIES_PART);
        let huge = "x".repeat(2 << 20);
        assert_eq!(ask(of(1, 1), 8, &huge), huge, "and is not kept");
        assert!(cache.bodies.weight() <= (1 << 20) / BODIES_PART);
    }
}
