//! What a sealed segment knows of one owner: columns, with sequences and times as differences.

use std::{collections::HashMap, sync::Arc};

use prost::Message;

use crate::entry::Millis;

use super::{
    super::{
        StoreError,
        constant::Extent,
        index::{Block, Item, Record},
        reads::{ReadSet, Run},
    },
    unreadable,
};

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

pub(in crate::store) fn encode_reads(reads: &ReadSet) -> Vec<u8> {
    ReadColumns::new(reads).encode_to_vec()
}

pub(in crate::store) fn decode_reads(bytes: &[u8]) -> Result<ReadSet, StoreError> {
    ReadColumns::decode(bytes)
        .map_err(unreadable("read marks"))?
        .decode_set()
        .ok_or(StoreError::Unreadable { what: "read marks" })
}

pub(in crate::store) fn encode_record(record: &Record) -> Vec<u8> {
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

pub(in crate::store) fn decode_record(bytes: &[u8]) -> Result<Record, StoreError> {
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
