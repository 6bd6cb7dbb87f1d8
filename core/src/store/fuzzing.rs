//! What is read from the disk, for the fuzz targets. Checksums are made right where they stand before
//! anything else, or nothing behind them would ever be looked at.

use std::{io::Write, path::Path};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::fuzzing::{decoded, same};

use super::{
    codec::{self, Owners, PublishedUnder, RowKind, Tally, Topics},
    constant::{self, Constant, Extent},
    deletions,
    index::Record,
    journal, revocations,
    segment::{Meta, SegmentId},
    snapshot,
};

/// The first byte says what the rest is.
pub fn stored(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    match kind % 13 {
        0 => drop(codec::row(data).map(|row| look_at(&row))),
        1 => {
            if let Ok(rows) = codec::rows(data) {
                let mut block = Vec::new();
                rows.iter().for_each(|row| {
                    look_at(row);
                    row.append_to(&mut block);
                });
                assert_eq!(codec::rows(&block).ok(), Some(rows));
            }
        }
        2 => drop(codec::body(data).map(|body| body.into_published(0))),
        3 => {
            if let Ok(reads) = codec::decode_reads(data) {
                let again = codec::decode_reads(&codec::encode_reads(&reads));
                assert_eq!(again.ok(), Some(reads));
            }
        }
        4 => {
            if let Ok(record) = codec::decode_record(data) {
                let again: Option<Record> =
                    codec::decode_record(&codec::encode_record(&record)).ok();
                assert_eq!(again, Some(record));
            }
        }
        5 => {
            if let Ok(found) = PublishedUnder::decode_stored(data) {
                let _ = found.is_past(u64::MAX, super::Retention::default());
                same(&found);
            }
        }
        6 => drop(Tally::decode_stored(data).map(|tally| same(&tally))),
        7 => drop(Owners::decode_stored(data).map(|owners| same(&owners))),
        9 => {
            if let Ok(revocation) = revocations::decode(data) {
                let again = revocations::decode(&revocations::encode(&revocation));
                assert_eq!(again.ok(), Some(revocation));
            }
        }
        10 => drop(revocations::decode_all(data)),
        11 => {
            if let Ok(standing) = deletions::decode(data) {
                let again = deletions::decode(&deletions::encode(&standing));
                assert_eq!(again.ok(), Some(standing));
            }
        }
        12 => drop(deletions::decode_all(data)),
        _ => {
            if let Some(meta) = decoded::<Meta>(data) {
                let _ = (meta.checksum(), meta.next());
                same(&meta);
            }
            if let Some(id) = SegmentId::parse(&String::from_utf8_lossy(data)) {
                assert_eq!(SegmentId::parse(&id.name()), Some(id));
            }
        }
    }
}

fn look_at(row: &codec::Row) {
    let _ = row.item(&mut Topics::default());
    if let Some(RowKind::ReadState(state)) = row.kind.clone() {
        let _ = state.into_change(row.at);
    }
    same(row);
}

/// What stands in a file of the journal that begins with the first eight bytes.
pub fn journal(data: &[u8]) {
    journal::fuzz(data);
}

/// The manifest of a snapshot.
pub fn manifest(data: &[u8]) {
    if let Some(manifest) = decoded::<snapshot::Manifest>(data) {
        snapshot::fuzz(&manifest);
    }
}

/// A constant file: extents, then a table of so many entries as the first byte says. Its sums are right.
pub fn constant(data: &[u8]) {
    let Some((entries, data)) = data.split_first() else {
        return;
    };
    let bytes = constant::with_sums(data, usize::from(*entries));
    let Ok(file) = memfd_create("constant", MemfdFlags::CLOEXEC) else {
        return;
    };
    let mut file = std::fs::File::from(file);
    file.write_all(&bytes).expect("memory");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let Ok(constant) = Constant::open(Path::new(&path)) else {
        return;
    };
    for pair in constant.iter().flatten() {
        let _ = constant.get(&pair.0);
    }
    for key in [&b""[..], b"r", b"rada"] {
        let _ = constant.get(key);
    }
    let extent = |offset, length| Extent {
        offset,
        length,
        crc: 0,
    };
    let _ = constant.extent(extent(0, 4));
    let _ = constant.extent(extent(u64::MAX, u32::MAX));
}
