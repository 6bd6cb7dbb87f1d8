//! Rows from the segments: an owner's stretch of the log, or some of it.

use std::sync::Arc;

use crate::entry::{FeedChange, Millis, Notification, Published, Sequence};

use super::{
    Active, Databases, StoreError,
    cache::{self, SegmentCache},
    codec::{self, Row, RowKind},
    constant::Constant,
    engine::Engine,
    index::Record,
    keys,
    reads::ReadSet,
    segment::{Rows, Segment, SegmentId},
};

/// A row and where it is from.
pub(super) type RowResult<'a> = Result<(Row, Source<'a>), StoreError>;

/// Where a row's body stands, if apart.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Live(&'a Engine),
    Packed(SegmentId, &'a Constant, &'a SegmentCache),
}

impl Source<'_> {
    /// What was published at this place and time, its body apart.
    fn published(self, id: Sequence, at: Millis) -> Result<Arc<Published>, StoreError> {
        let whole = |bytes: Option<Vec<u8>>| {
            let bytes = bytes.ok_or(StoreError::Unreadable { what: "body" })?;
            Ok(codec::body(&bytes)?.into_published(at))
        };
        match self {
            Self::Live(engine) => Ok(Arc::new(whole(engine.get_long(&keys::body(id))?)?)),
            Self::Packed(segment, constant, cache) => {
                cache.published(segment, id, || whole(constant.get(&keys::body(id))?))
            }
        }
    }
}

/// This many rows are passed over before the scan jumps to the next wanted one.
const SKIP_MAX: usize = 8;

impl Databases {
    /// The owner's rows in `(after, up_to]`, ascending.
    pub fn rows<'a>(
        &'a self,
        owner: &'a str,
        cache: &'a SegmentCache,
        after: Sequence,
        up_to: Sequence,
    ) -> impl Iterator<Item = RowResult<'a>> {
        let sealed = self
            .sealed
            .iter()
            .filter(move |segment| segment.meta.last > after);
        let sealed = sealed.flat_map(move |segment| {
            let record = self.record(segment, owner);
            of_segment(segment, owner, record, cache, after)
        });
        let active = match self.active.as_deref() {
            Some(engine) => Found::Live(live_rows(engine, owner, after)),
            None => Found::Packed(std::iter::once(Err(Active::failed()))),
        };
        let mut done = false;
        sealed.chain(active).take_while(move |row| {
            // An error is the last thing said.
            let go_on = !done && row.as_ref().map_or(true, |(row, _)| row.sequence <= up_to);
            done = row.is_err();
            go_on
        })
    }

    /// The owner's rows with these sequences, which ascend. One that is gone is left out.
    pub fn pick<'a>(
        &'a self,
        owner: &str,
        cache: &'a SegmentCache,
        wanted: &[Sequence],
    ) -> Result<Vec<(Row, Source<'a>)>, StoreError> {
        let mut picked = Vec::with_capacity(wanted.len());
        let mut left = wanted;
        for segment in self.sealed.iter() {
            let here = left.partition_point(|sequence| *sequence <= segment.meta.last);
            let (here, rest) = left.split_at(here);
            left = rest;
            if here.is_empty() {
                continue;
            }
            match &segment.rows {
                Rows::Live(engine, _) => pick_live(engine, owner, here, &mut picked)?,
                Rows::Packed(constant) => {
                    if let Some(record) = self.record(segment, owner) {
                        let source = Source::Packed(segment.id, constant, cache);
                        pick_packed(constant, source, record, here, &mut picked)?;
                    }
                }
            }
        }
        if !left.is_empty() {
            let engine = self.active.as_deref().ok_or_else(Active::failed)?;
            pick_live(engine, owner, left, &mut picked)?;
        }
        Ok(picked)
    }

    /// What a packed segment knows of the owner.
    fn record(&self, segment: &Segment, owner: &str) -> Option<&Record> {
        let known = match owner {
            keys::EVERYONE => &self.everyone,
            _ => &self.own,
        };
        cache::find(known, segment.id)?.as_deref()
    }
}

/// The owner's rows of one segment behind `after`, ascending. Of a packed one those that its record
/// names.
pub(super) fn of_segment<'a>(
    segment: &'a Segment,
    owner: &str,
    record: Option<&Record>,
    cache: &'a SegmentCache,
    after: Sequence,
) -> impl Iterator<Item = RowResult<'a>> + use<'a> {
    match &segment.rows {
        Rows::Live(engine, _) => Found::Live(live_rows(engine, owner, after)),
        Rows::Packed(constant) => {
            let source = Source::Packed(segment.id, constant, cache);
            Found::Packed(packed_rows(constant, source, record, after))
        }
    }
}

/// The change that a row stands for. `reads` are the recipient's marks.
pub(super) fn change(
    row: Row,
    source: Source<'_>,
    broadcast: bool,
    reads: Option<&ReadSet>,
) -> Result<Option<FeedChange>, StoreError> {
    let (id, at) = (row.sequence, row.at);
    let published = match row.kind {
        Some(RowKind::Whole(body)) => Arc::new(body.into_published(at)),
        Some(RowKind::Apart(_)) => source.published(id, at)?,
        Some(RowKind::ReadState(state)) => {
            return Ok(Some(FeedChange::ReadState(Arc::new(state.into_change(at)))));
        }
        Some(RowKind::Deleted(deleted)) => {
            return Ok(Some(FeedChange::Deleted(Arc::new(deleted.into_change(at)))));
        }
        // A kind of a later version.
        None => return Ok(None),
    };
    Ok(Some(FeedChange::Notification(Notification {
        id,
        published,
        read_at: reads.and_then(|reads| reads.read_at(id)),
        broadcast,
    })))
}

fn live_rows<'a>(
    engine: &'a Engine,
    owner: &str,
    after: Sequence,
) -> impl Iterator<Item = RowResult<'a>> + use<'a> {
    let from = after.saturating_add(1);
    engine
        .scan(keys::row(owner, from)..keys::rows_end(owner))
        .map(move |pair| Ok((codec::row(&pair?.1)?, Source::Live(engine))))
}

fn packed_rows<'a>(
    constant: &'a Constant,
    source: Source<'a>,
    record: Option<&Record>,
    after: Sequence,
) -> impl Iterator<Item = RowResult<'a>> + use<'a> {
    let blocks = record.map(|record| {
        let first = record.blocks.partition_point(|block| block.last <= after);
        record.blocks[first..].to_vec()
    });
    blocks
        .unwrap_or_default()
        .into_iter()
        .map(move |block| codec::rows(&constant.extent(block.extent)?))
        .flat_map(move |rows| {
            let (rows, error) = match rows {
                Ok(rows) => (rows, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let rows = rows.into_iter().filter(move |row| row.sequence > after);
            rows.map(move |row| Ok((row, source))).chain(error)
        })
}

fn pick_live<'a>(
    engine: &'a Engine,
    owner: &str,
    wanted: &[Sequence],
    picked: &mut Vec<(Row, Source<'a>)>,
) -> Result<(), StoreError> {
    let mut wanted = wanted.iter().copied().peekable();
    'jump: while let Some(from) = wanted.peek().copied() {
        let mut skipped = 0;
        for pair in engine.scan(keys::row(owner, from)..keys::rows_end(owner)) {
            let (key, value) = pair?;
            let (_, sequence) =
                keys::parse_row(&key).ok_or(StoreError::Unreadable { what: "key" })?;
            while wanted.next_if(|next| *next < sequence).is_some() {}
            if wanted.next_if_eq(&sequence).is_some() {
                picked.push((codec::row(&value)?, Source::Live(engine)));
                skipped = 0;
                continue;
            }
            skipped += 1;
            if wanted.peek().is_none() {
                return Ok(());
            }
            if skipped > SKIP_MAX {
                continue 'jump;
            }
        }
        return Ok(());
    }
    Ok(())
}

fn pick_packed<'a>(
    constant: &'a Constant,
    source: Source<'a>,
    record: &Record,
    wanted: &[Sequence],
    picked: &mut Vec<(Row, Source<'a>)>,
) -> Result<(), StoreError> {
    let mut wanted = wanted.iter().copied().peekable();
    while let Some(next) = wanted.peek().copied() {
        let block = record.blocks.partition_point(|block| block.last < next);
        let Some(block) = record.blocks.get(block) else {
            return Ok(());
        };
        for row in codec::rows(&constant.extent(block.extent)?)? {
            while wanted.next_if(|next| *next < row.sequence).is_some() {}
            if wanted.next_if_eq(&row.sequence).is_some() {
                picked.push((row, source));
            }
        }
    }
    Ok(())
}

/// Rows of a live segment, or of a packed one.
enum Found<L, P> {
    Live(L),
    Packed(P),
}

impl<T, L, P> Iterator for Found<L, P>
where
    L: Iterator<Item = Result<T, StoreError>>,
    P: Iterator<Item = Result<T, StoreError>>,
{
    type Item = Result<T, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Live(rows) => rows.next(),
            Self::Packed(rows) => rows.next(),
        }
    }
}
