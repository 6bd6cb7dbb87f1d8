//! What was lately asked of packed segments: what they know of an owner, and bodies that stand apart in
//! them; who asks for the one asks again, and a body is that of many. A packed segment never changes,
//! so nothing in here is ever out of date.

use std::sync::Arc;

use parking_lot::RwLock;
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};

use crate::entry::{Published, Sequence};

use super::{
    StoreError,
    index::{Block, Item, Record},
    keys,
    segment::{Segment, SegmentId},
};

/// One part in so many of the bytes is for bodies.
const BODIES_PART: u64 = 4;

/// Bytes of a shard of what is known: of an owner no more is kept, so it is many times what one has.
const SHARD: u64 = 16 << 20;

/// What packed segments know of an owner: all of them in the order of their ids, and the record of each
/// that has one.
pub(super) type Known = Arc<[(SegmentId, Option<Arc<Record>>)]>;

/// What is known of a segment; `None`: nothing, it is not among them.
pub(super) fn find(known: &Known, segment: SegmentId) -> Option<&Option<Arc<Record>>> {
    let at = known.binary_search_by_key(&segment, |(id, _)| *id).ok()?;
    Some(&known[at].1)
}

/// Bounded by the bytes of what it holds, but for what is everyone's: each reader needs that, and it
/// grows with the broadcasts that are kept.
pub(super) struct SegmentCache {
    everyone: RwLock<Known>,
    known: Cache<Box<str>, Known, Bytes>,
    bodies: Cache<(SegmentId, Sequence), Arc<Published>, Bytes>,
}

impl SegmentCache {
    pub fn new(capacity_bytes: u64) -> Self {
        let for_bodies = capacity_bytes / BODIES_PART;
        let for_known = capacity_bytes - for_bodies;
        let shards = (for_known / SHARD).clamp(1, 16);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items(for_known, 2048))
            .weight_capacity(for_known)
            .shards(shards as usize)
            .build()
            .expect("both capacities are given, which is all that it can lack");
        Self {
            everyone: RwLock::default(),
            known: Cache::with_options(options, Bytes, Default::default(), Default::default()),
            bodies: Cache::with_weighter(items(for_bodies, 512), for_bodies, Bytes),
        }
    }

    /// What those of these segments that are packed know of an owner.
    pub fn known(&self, segments: &[Arc<Segment>], owner: &str) -> Result<Known, StoreError> {
        let packed = || segments.iter().filter(|segment| segment.is_packed());
        if packed().next().is_none() {
            return Ok(Known::default());
        }
        let before = match owner {
            keys::EVERYONE => self.everyone.read().clone(),
            _ => self.known.get(owner).unwrap_or_default(),
        };
        let ids = before.iter().map(|(id, _)| *id);
        if packed().map(|segment| segment.id).eq(ids) {
            return Ok(before);
        }
        // Segments are packed and merged meanwhile; what is known of the others is taken over.
        let of = |segment: &Arc<Segment>| {
            let record = match find(&before, segment.id) {
                Some(record) => record.clone(),
                None => segment
                    .record(owner)?
                    .map(|record| Arc::new(record.into_owned())),
            };
            Ok((segment.id, record))
        };
        let known: Known = packed().map(of).collect::<Result<_, StoreError>>()?;
        match owner {
            keys::EVERYONE => *self.everyone.write() = known.clone(),
            _ => self.known.insert(owner.into(), known.clone()),
        }
        Ok(known)
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

/// About how many of this size there will be.
fn items(bytes: u64, size: u64) -> usize {
    usize::try_from(bytes / size).unwrap_or(usize::MAX).max(16)
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Known> for Bytes {
    fn weight(&self, owner: &Box<str>, known: &Known) -> u64 {
        let records = known.iter().filter_map(|(_, record)| record.as_deref());
        let records: usize = records.map(weight).sum();
        (100 + owner.len() + size_of_val::<[_]>(known) + records) as u64
    }
}

fn weight(record: &Record) -> usize {
    let runs = record.reads.as_ref().map_or(0, |reads| reads.runs().len());
    let items = record.items.len() * size_of::<Item>();
    let blocks = record.blocks.len() * size_of::<Block>();
    100 + items + topics(record) + blocks + runs * 24
}

/// Bytes of a record's topics: one that follows itself is shared.
fn topics(record: &Record) -> usize {
    let mut before = None;
    let each = record.items.iter().map(|item| {
        let is_shared = before.is_some_and(|before| Arc::ptr_eq(before, &item.topic));
        before = Some(&item.topic);
        if is_shared { 0 } else { item.topic.len() + 16 }
    });
    each.sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_weigh_what_they_hold() {
        let of = |topics: &[Arc<str>]| {
            let item = |topic: &Arc<str>| Item {
                sequence: 1,
                at: 1,
                expires_at: u64::MAX,
                topic: topic.clone(),
            };
            weight(&Record {
                items: topics.iter().map(item).collect(),
                ..Record::default()
            })
        };
        let long = || Arc::<str>::from("x".repeat(200));
        let each: Vec<_> = (0..50).map(|_| long()).collect();
        let one = vec![long(); 50];
        assert_eq!(of(&each) - of(&one), 49 * 216);
        assert!(of(&one) > 50 * size_of::<Item>() + 200);
    }

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
