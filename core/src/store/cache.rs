//! Index records of packed segments, as they were last needed. A packed segment never changes,
//! so nothing in here is ever out of date.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use quick_cache::{Equivalent, Weighter, sync::Cache};

use super::{
    StoreError,
    index::{Block, Item, Record},
    segment::SegmentId,
};

/// Bounded by the bytes of what it holds.
pub(super) struct RecordCache(Cache<Key, Arc<Record>, Bytes>);

impl RecordCache {
    pub fn new(capacity_bytes: u64) -> Self {
        let items = usize::try_from(capacity_bytes / 512)
            .unwrap_or(usize::MAX)
            .max(16);
        Self(Cache::with_weighter(items, capacity_bytes, Bytes))
    }

    pub fn get_or_load(
        &self,
        segment: SegmentId,
        owner: &str,
        load: impl FnOnce() -> Result<Record, StoreError>,
    ) -> Result<Arc<Record>, StoreError> {
        if let Some(record) = self.0.get(&KeyRef(segment, owner)) {
            return Ok(record);
        }
        let record = Arc::new(load()?);
        self.0.insert(Key(segment, owner.into()), record.clone());
        Ok(record)
    }
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
