//! A packed segment looked through: every key and what stands under it, and every owner's rows
//! against their index.

use std::path::PathBuf;

use crate::entry::{Millis, Sequence};

use super::{
    super::{
        StoreError,
        codec::{self, Owners, PublishedUnder, Row, RowKind, Topics},
        constant::Constant,
        deletions::{self, Deletions, Hidden},
        files::Checksum,
        index::Record,
        keys, revocations,
        segment::{DATA, Rows, Segment},
    },
    Report,
};

/// `deletions` are those of all packed segments.
pub(super) fn check(segment: &Segment, deletions: &Deletions, report: &mut Report) {
    let Rows::Packed(constant) = &segment.rows else {
        return;
    };
    let mut checking = Checking {
        segment,
        deletions,
        constant,
        place: segment.dir().join(DATA),
        report,
        topics: Topics::default(),
        rows: 0,
        records: 0,
    };
    checking.file();
    checking.pairs();
    checking.owners();
    let (found, written) = (checking.rows, segment.meta.rows);
    if found != written {
        checking.wrong(format!("it has {found} rows, and {written} were written"));
    }
    report.rows += found;
}

struct Checking<'a> {
    segment: &'a Segment,
    deletions: &'a Deletions,
    constant: &'a Constant,
    place: PathBuf,
    report: &'a mut Report,
    topics: Topics,
    rows: u64,
    records: u64,
}

impl Checking<'_> {
    fn wrong(&mut self, what: impl std::fmt::Display) {
        self.report.wrong(&self.place, what);
    }

    fn check<T>(&mut self, found: Result<T, StoreError>) -> Option<T> {
        self.report.check(&self.place, found)
    }

    /// The file as a whole, also what nothing points to.
    fn file(&mut self) {
        let found = Checksum::of(&self.place);
        let Some(found) = self.check(found) else {
            return;
        };
        self.report.bytes += found.length;
        if self.segment.meta.checksum().is_some_and(|it| it != found) {
            self.wrong("it is not what was written");
        }
    }

    /// Each key is found, and what stands under it can be read.
    fn pairs(&mut self) {
        let constant = self.constant;
        for pair in constant.iter() {
            let Some((key, value)) = self.check(pair) else {
                continue;
            };
            let found = self.check(constant.get(&key));
            if found.is_some_and(|found| found.as_ref() != Some(&value)) {
                self.wrong(format!("the key {} is not found", key.escape_ascii()));
            }
            match key.first() {
                Some(&keys::BODIES) => {
                    self.report.bodies += 1;
                    let id = codec::decode_sequence(&key[1..]);
                    let read = id.and_then(|id| Ok((id, codec::body(&value)?)));
                    if let Some((id, body)) = self.check(read) {
                        self.idempotency(id, &body);
                    }
                }
                Some(&keys::IDEMPOTENCY) => {
                    self.report.keys += 1;
                    let under = self.check(PublishedUnder::decode_stored(&value));
                    if let Some(under) = under {
                        self.in_segment(under.sequence, "an idempotency key");
                    }
                }
                Some(&keys::RECORDS) => self.records += 1,
                Some(&keys::OWNERS) => drop(self.check(Owners::decode_stored(&value))),
                _ if key == keys::DELETIONS => {
                    let all = self.check(deletions::decode_all(&value));
                    self.report.deletions += all.map_or(0, |all| all.len() as u64);
                }
                _ if key == keys::REVOCATIONS => {
                    let all = self.check(revocations::decode_all(&value));
                    self.report.revocations += all.map_or(0, |all| all.len() as u64);
                }
                _ => self.wrong(format!("the key {} is none", key.escape_ascii())),
            }
        }
    }

    /// Each owner once, in order, with the rows that their index names.
    fn owners(&mut self) {
        let mut before: Option<std::sync::Arc<str>> = None;
        let mut count = 0;
        for page in 0.. {
            let Some(Some(owners)) = self.check(self.segment.owners(page)) else {
                break;
            };
            for owner in owners {
                count += 1;
                if before.as_ref().is_some_and(|before| *before >= owner) {
                    self.wrong(format!("its recipients are not in order at {owner:?}"));
                }
                let record = self.constant.get(&keys::record(&owner));
                let record = record
                    .and_then(|record| record.map(|it| codec::decode_record(&it)).transpose());
                match self.check(record) {
                    Some(Some(record)) => self.record(&owner, &record),
                    Some(None) => self.wrong(format!("{owner:?} has no index")),
                    None => {}
                }
                before = Some(owner);
            }
        }
        if count != self.records {
            let records = self.records;
            self.wrong(format!("it lists {count} recipients, and has {records}"));
        }
    }

    fn record(&mut self, owner: &str, record: &Record) {
        let mut with_row = 0;
        let mut last = 0;
        for block in &record.blocks {
            let rows = self.constant.extent(block.extent);
            let Some(rows) = self.check(rows.and_then(|rows| codec::rows(&rows))) else {
                continue;
            };
            for row in rows {
                if row.sequence <= last {
                    self.wrong(format!("rows of {owner:?} are not in order"));
                }
                last = row.sequence;
                self.rows += 1;
                with_row += usize::from(self.row(owner, &row, record));
            }
            if last != block.last {
                self.wrong(format!(
                    "rows of {owner:?} are missing before {}",
                    block.last
                ));
            }
        }
        let items = &record.items;
        if !items.is_sorted_by(|a, b| a.sequence < b.sequence) {
            self.wrong(format!("the index of {owner:?} is not in order"));
        }
        for item in [items.first(), items.last()].into_iter().flatten() {
            self.in_segment(item.sequence, "a notification");
        }
        // The row of one that has expired may be gone.
        let lasting = items.iter().filter(|item| item.expires_at == Millis::MAX);
        if with_row > items.len() || with_row < lasting.count() {
            self.wrong(format!(
                "the index of {owner:?} names rows that are not there"
            ));
        }
    }

    /// Whether it is a notification's.
    fn row(&mut self, owner: &str, row: &Row, record: &Record) -> bool {
        let id = row.sequence;
        self.in_segment(id, "a row");
        if self.is_deleted(owner, id) {
            self.wrong(format!("{id} was deleted from the view of {owner:?}"));
        }
        match &row.kind {
            Some(RowKind::Whole(body)) => self.idempotency(id, body),
            Some(RowKind::Apart(_)) => {
                // What is there was read with the other keys.
                let body = self.check(self.constant.get(&keys::body(id)));
                if body.is_some_and(|body| body.is_none()) {
                    self.wrong(format!("the body of {id} is not there"));
                }
            }
            Some(RowKind::ReadState(_) | RowKind::Deleted(_)) | None => {}
        }
        let Some(item) = row.item(&mut self.topics) else {
            return false;
        };
        let known = record.items.binary_search_by_key(&id, |item| item.sequence);
        if !known.is_ok_and(|place| record.items[place] == item) {
            self.wrong(format!("{id} is not in the index of {owner:?} as it is"));
        }
        true
    }

    /// What is kept can't be published again.
    fn idempotency(&mut self, id: Sequence, body: &codec::Body) {
        let key = keys::idempotency(&body.source_id, &body.event_id);
        let under = self.constant.get(&key);
        let under =
            under.and_then(|it| it.map(|it| PublishedUnder::decode_stored(&it)).transpose());
        if let Some(under) = self.check(under)
            && under.is_none_or(|under| under.sequence < id)
        {
            self.wrong(format!("the idempotency key of {id} is not there"));
        }
    }

    /// Whether it was deleted, and this segment written anew since.
    fn is_deleted(&self, owner: &str, id: Sequence) -> bool {
        let hidden = Hidden::new(owner, self.deletions, None);
        let since = self.deletions.since(self.segment.meta.cleared);
        hidden.has(id) && since.is_empty()
    }

    fn in_segment(&mut self, sequence: Sequence, what: &str) {
        let meta = &self.segment.meta;
        if sequence <= meta.base || sequence > meta.last {
            self.wrong(format!("{what} is of entry {sequence}, which is not in it"));
        }
    }
}
