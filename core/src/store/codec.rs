//! How things are stored: protobuf messages (prost), so that a later format may add fields.

use std::{collections::HashMap, sync::Arc};

use prost::Message;

use crate::entry::{DeletedChange, Millis, Published, ReadStateChange, Sequence};

use super::{
    Retention, StoreError,
    constant::Extent,
    index::{Block, Item, Record},
    reads::{ReadSet, Run},
};

/// A body larger than this is kept apart from the rows, so that rows stay small to scan.
pub(super) const INLINE_DATA_MAX: usize = 1024;

/// One entry in an owner's inbox.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Row {
    #[prost(uint64, tag = "1")]
    pub sequence: Sequence,
    #[prost(uint64, tag = "2")]
    pub at: Millis,
    #[prost(oneof = "RowKind", tags = "3, 4, 5, 6")]
    pub kind: Option<RowKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum RowKind {
    /// A notification, whole.
    #[prost(message, tag = "3")]
    Whole(Body),
    /// A notification whose body stands apart.
    #[prost(message, tag = "4")]
    Apart(Apart),
    /// A change of read marks.
    #[prost(message, tag = "5")]
    ReadState(ReadState),
    /// Notifications are gone.
    #[prost(message, tag = "6")]
    Deleted(DeletedRow),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Body {
    #[prost(string, tag = "1")]
    pub source_id: String,
    #[prost(string, tag = "2")]
    pub event_id: String,
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(string, tag = "4")]
    pub data: String,
    /// 0: never.
    #[prost(uint64, tag = "5")]
    pub expires_at: Millis,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Apart {
    #[prost(string, tag = "1")]
    pub topic: String,
    /// 0: never.
    #[prost(uint64, tag = "2")]
    pub expires_at: Millis,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadState {
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<Sequence>,
    #[prost(uint64, tag = "2")]
    pub up_to: Sequence,
    #[prost(bool, tag = "3")]
    pub read: bool,
    #[prost(uint64, tag = "4")]
    pub unread_count: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeletedRow {
    #[prost(uint64, repeated, tag = "1")]
    pub ids: Vec<Sequence>,
    #[prost(uint64, tag = "2")]
    pub up_to: Sequence,
    #[prost(uint64, optional, tag = "3")]
    pub unread_count: Option<u64>,
}

impl DeletedRow {
    pub fn into_change(self, at: Millis) -> DeletedChange {
        DeletedChange {
            ids: self.ids,
            up_to: self.up_to,
            unread_count: self.unread_count,
            at,
        }
    }
}

impl Body {
    pub fn new(published: &Published) -> Self {
        Self {
            source_id: published.source_id.clone(),
            event_id: published.event_id.clone(),
            topic: published.topic.to_string(),
            data: published.data.clone(),
            expires_at: published.expires_at.unwrap_or(0),
        }
    }

    pub fn into_published(self, at: Millis) -> Published {
        Published {
            at,
            source_id: self.source_id,
            event_id: self.event_id,
            topic: self.topic.into(),
            data: self.data,
            expires_at: (self.expires_at > 0).then_some(self.expires_at),
        }
    }
}

impl ReadState {
    pub fn into_change(self, at: Millis) -> ReadStateChange {
        ReadStateChange {
            ids: self.ids,
            up_to: self.up_to,
            read: self.read,
            unread_count: self.unread_count,
            at,
        }
    }
}

impl Row {
    /// The index item of a notification's row; `None` for a change of read marks.
    pub fn item(&self, topics: &mut Topics) -> Option<Item> {
        let (topic, expires_at) = match self.kind.as_ref()? {
            RowKind::Whole(body) => (&body.topic, body.expires_at),
            RowKind::Apart(apart) => (&apart.topic, apart.expires_at),
            RowKind::ReadState(_) | RowKind::Deleted(_) => return None,
        };
        Some(Item {
            sequence: self.sequence,
            at: self.at,
            expires_at: if expires_at == 0 {
                Millis::MAX
            } else {
                expires_at
            },
            topic: topics.share(topic),
        })
    }

    /// Adds the row to a block.
    pub fn append_to(&self, block: &mut Vec<u8>) {
        // Encoding into a Vec can't run out of room.
        let _ = self.encode_length_delimited(block);
    }
}

/// A row that stands alone.
pub(super) fn row(bytes: &[u8]) -> Result<Row, StoreError> {
    Row::decode(bytes).map_err(unreadable("row"))
}

/// The rows of a block, ascending.
pub(super) fn rows(mut block: &[u8]) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    while !block.is_empty() {
        rows.push(Row::decode_length_delimited(&mut block).map_err(unreadable("row"))?);
    }
    Ok(rows)
}

pub(super) fn body(bytes: &[u8]) -> Result<Body, StoreError> {
    Body::decode(bytes).map_err(unreadable("body"))
}

/// Topics met lately, each held once: most notifications share few.
#[derive(Default)]
pub(super) struct Topics(std::collections::HashSet<Arc<str>>);

impl Topics {
    /// Past this many, the set starts anew: a publisher that never repeats a topic must not grow it.
    const MAX: usize = 4096;

    pub fn share(&mut self, topic: &str) -> Arc<str> {
        if let Some(known) = self.0.get(topic) {
            return known.clone();
        }
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        let topic: Arc<str> = topic.into();
        self.0.insert(topic.clone());
        topic
    }
}

/// An index record: columns, with sequences and times as differences.
#[derive(Clone, PartialEq, Message)]
struct RecordColumns {
    #[prost(string, repeated, tag = "1")]
    topics: Vec<String>,
    #[prost(uint64, repeated, tag = "2")]
    sequences: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    times: Vec<u64>,
    #[prost(uint32, repeated, tag = "4")]
    topic_of: Vec<u32>,
    /// Life in milliseconds plus one; 0: no end. Empty: none has an end.
    #[prost(uint64, repeated, tag = "5")]
    lives: Vec<u64>,
    #[prost(message, optional, tag = "6")]
    reads: Option<ReadColumns>,
    #[prost(uint64, tag = "7")]
    lost: u64,
    #[prost(message, repeated, tag = "8")]
    blocks: Vec<StoredBlock>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredBlock {
    #[prost(uint64, tag = "1")]
    last: u64,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(uint32, tag = "3")]
    length: u32,
    #[prost(fixed32, tag = "4")]
    crc: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ReadColumns {
    #[prost(uint64, repeated, tag = "1")]
    gaps: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    lengths: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    times: Vec<u64>,
}

impl ReadColumns {
    fn new(reads: &ReadSet) -> Self {
        let mut columns = Self::default();
        let mut end = 0;
        for run in reads.runs() {
            columns.gaps.push(run.first - end);
            columns.lengths.push(run.last - run.first);
            columns.times.push(run.at);
            end = run.last;
        }
        columns
    }

    fn decode_set(&self) -> Option<ReadSet> {
        let mut end = 0_u64;
        let mut runs = Vec::with_capacity(self.gaps.len());
        for (index, gap) in self.gaps.iter().enumerate() {
            let first = end.checked_add(*gap)?;
            end = first.checked_add(*self.lengths.get(index)?)?;
            runs.push(Run {
                first,
                last: end,
                at: *self.times.get(index)?,
            });
        }
        ReadSet::from_runs(runs)
    }
}

pub(super) fn encode_reads(reads: &ReadSet) -> Vec<u8> {
    ReadColumns::new(reads).encode_to_vec()
}

pub(super) fn decode_reads(bytes: &[u8]) -> Result<ReadSet, StoreError> {
    ReadColumns::decode(bytes)
        .map_err(unreadable("read marks"))?
        .decode_set()
        .ok_or(StoreError::Unreadable { what: "read marks" })
}

pub(super) fn encode_record(record: &Record) -> Vec<u8> {
    let mut columns = RecordColumns {
        lost: record.lost,
        ..RecordColumns::default()
    };
    columns.reads = record.reads.as_deref().map(ReadColumns::new);
    columns.blocks = record
        .blocks
        .iter()
        .map(|block| StoredBlock {
            last: block.last,
            offset: block.extent.offset,
            length: block.extent.length,
            crc: block.extent.crc,
        })
        .collect();
    let ends = record
        .items
        .iter()
        .any(|item| item.expires_at != Millis::MAX);
    let (mut sequence, mut time) = (0_u64, 0_u64);
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    for item in &record.items {
        let next = numbers.len() as u32;
        columns
            .topic_of
            .push(*numbers.entry(&item.topic).or_insert_with(|| {
                columns.topics.push(item.topic.to_string());
                next
            }));
        columns.sequences.push(item.sequence.wrapping_sub(sequence));
        columns.times.push(item.at.wrapping_sub(time));
        (sequence, time) = (item.sequence, item.at);
        if ends {
            let life = item.expires_at.saturating_sub(item.at);
            columns.lives.push(if item.expires_at == Millis::MAX {
                0
            } else {
                life + 1
            });
        }
    }
    columns.encode_to_vec()
}

pub(super) fn decode_record(bytes: &[u8]) -> Result<Record, StoreError> {
    let columns = RecordColumns::decode(bytes).map_err(unreadable("index record"))?;
    columns_to_record(&columns).ok_or(StoreError::Unreadable {
        what: "index record",
    })
}

fn columns_to_record(columns: &RecordColumns) -> Option<Record> {
    let topics: Vec<Arc<str>> = columns
        .topics
        .iter()
        .map(|topic| topic.as_str().into())
        .collect();
    let (mut sequence, mut at) = (0_u64, 0_u64);
    let mut items = Vec::with_capacity(columns.sequences.len());
    for (index, step) in columns.sequences.iter().enumerate() {
        sequence = sequence.checked_add(*step)?;
        at = at.wrapping_add(*columns.times.get(index)?);
        let life = columns.lives.get(index).copied().unwrap_or(0);
        items.push(Item {
            sequence,
            at,
            expires_at: if life == 0 {
                Millis::MAX
            } else {
                at.checked_add(life - 1)?
            },
            topic: topics.get(*columns.topic_of.get(index)? as usize)?.clone(),
        });
    }
    let reads = match &columns.reads {
        Some(reads) => Some(Arc::new(reads.decode_set()?)),
        None => None,
    };
    let blocks = columns
        .blocks
        .iter()
        .map(|block| Block {
            last: block.last,
            extent: Extent {
                offset: block.offset,
                length: block.length,
                crc: block.crc,
            },
        })
        .collect();
    Some(Record {
        items,
        reads,
        lost: columns.lost,
        blocks,
    })
}

pub(super) fn decode_sequence(bytes: &[u8]) -> Result<Sequence, StoreError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::Unreadable { what: "sequence" })?;
    Ok(u64::from_be_bytes(bytes))
}

/// What stands under an idempotency key: which notification was published with it, and until when
/// the key holds. It holds as long as the notification can be seen, by age and expiry, and so is
/// the same whatever has been swept.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct PublishedUnder {
    #[prost(uint64, tag = "1")]
    pub sequence: Sequence,
    #[prost(uint64, tag = "2")]
    pub at: Millis,
    #[prost(uint64, optional, tag = "3")]
    pub expires_at: Option<Millis>,
    /// A hash of the only one who got it; unset: there were several, or it was not noted.
    #[prost(fixed64, optional, tag = "4")]
    pub owner: Option<u64>,
}

impl PublishedUnder {
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(bytes).map_err(|_| StoreError::Unreadable {
            what: "idempotency key",
        })
    }

    /// Whether the key may be used anew.
    pub fn is_past(&self, now: Millis, retention: Retention) -> bool {
        self.expires_at.is_some_and(|at| at <= now) || retention.is_past(self.at, now)
    }
}

/// The last entry of a live segment, and how many keys of each kind stand in it. Written with
/// every batch: what sled loses without a word is missed when it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Tally {
    #[prost(uint64, tag = "1")]
    pub last: Sequence,
    #[prost(uint64, tag = "2")]
    pub last_at: Millis,
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    #[prost(uint64, tag = "4")]
    pub bodies: u64,
    #[prost(uint64, tag = "5")]
    pub keys: u64,
    #[prost(uint64, tag = "6")]
    pub reads: u64,
    #[prost(uint64, tag = "7")]
    pub revocations: u64,
    #[prost(uint64, tag = "8")]
    pub deletions: u64,
}

impl Tally {
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(bytes).map_err(unreadable("tally"))
    }
}

/// A page of owners, in order.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Owners {
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

impl Owners {
    pub fn decode_stored(bytes: &[u8]) -> Result<Self, StoreError> {
        Self::decode(bytes).map_err(unreadable("page of owners"))
    }
}

fn unreadable(what: &'static str) -> impl Fn(prost::DecodeError) -> StoreError {
    move |_| StoreError::Unreadable { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let topics: [Arc<str>; 2] = ["".into(), "invoice.paid".into()];
        let item = |sequence, at, expires_at, topic: usize| Item {
            sequence,
            at,
            expires_at,
            topic: topics[topic].clone(),
        };
        let runs = vec![
            Run {
                first: 3,
                last: 9,
                at: 70,
            },
            Run {
                first: 11,
                last: 11,
                at: 60,
            },
        ];
        let record = Record {
            items: vec![
                item(3, 5, Millis::MAX, 1),
                item(9, 5, 5, 0),
                item(11, 8, 900, 1),
            ],
            reads: ReadSet::from_runs(runs).map(Arc::new),
            lost: 2,
            blocks: vec![Block {
                last: 11,
                extent: Extent {
                    offset: 7,
                    length: 90,
                    crc: 1,
                },
            }],
        };
        assert_eq!(decode_record(&encode_record(&record)).unwrap(), record);
        let empty = Record {
            reads: Some(Arc::default()),
            ..Record::default()
        };
        assert_eq!(decode_record(&encode_record(&empty)).unwrap(), empty);
    }
}
