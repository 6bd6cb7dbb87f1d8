//! What is known of an owner's notifications without reading them: enough to count, filter and
//! page. Everything that lists, counts or marks goes through [`View::visible`], so history,
//! counts and marks can't disagree.

use std::sync::Arc;

use crate::entry::{Millis, Sequence};

use super::{Retention, constant::Extent, deletions::Hidden, reads::ReadSet};

/// One notification of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub sequence: Sequence,
    pub at: Millis,
    /// `Millis::MAX`: never.
    pub expires_at: Millis,
    pub topic: Arc<str>,
}

impl Item {
    fn is_expired(&self, now: Millis) -> bool {
        self.expires_at <= now
    }
}

/// What one segment holds of an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Ascending.
    pub items: Vec<Item>,
    /// The owner's read marks, whole, as they were last changed while this segment was written.
    pub reads: Option<Arc<ReadSet>>,
    /// Retention took something up to here; 0: nothing.
    pub lost: Sequence,
    /// Where the rows stand, ascending; only in packed segments.
    pub blocks: Vec<Block>,
}

/// Rows that stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The last row in it.
    pub last: Sequence,
    pub extent: Extent,
}

/// A recipient's feed over all segments: their own records and everyone's, oldest first.
pub(super) struct View<'a> {
    pub own: Vec<&'a Record>,
    pub everyone: Vec<&'a Record>,
    pub hidden: Hidden<'a>,
}

/// A notification that is listed, delivered and counted.
#[derive(Clone, Copy)]
pub(super) struct Visible<'a> {
    pub item: &'a Item,
    pub broadcast: bool,
}

/// What retention hides of a feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The newest notification that retention hides, expired or not; 0: none.
    pub floor: Sequence,
    /// Through which sequence retention took something that a reader would still be owed.
    pub lost: Sequence,
}

impl<'a> View<'a> {
    /// The notifications of the feed that are neither expired nor beyond retention, newest first.
    ///
    /// Retention counts every notification published, also the expired ones: so what is once
    /// beyond it stays beyond it.
    /// That goes for those that were deleted, too; only of a user who was forgotten nothing is left to
    /// be counted.
    pub fn visible(&self, now: Millis, retention: Retention) -> impl Iterator<Item = Visible<'a>> {
        let hidden = self.hidden;
        self.kept(now, retention)
            .filter(move |visible| !visible.item.is_expired(now))
            .filter(move |visible| !hidden.has(visible.item.sequence))
    }

    /// What is there to be deleted: also what has expired. What is beyond retention is gone on one
    /// core and not yet on another, and nobody's to delete.
    pub fn stored(&self, now: Millis, retention: Retention) -> impl Iterator<Item = Visible<'a>> {
        let hidden = self.hidden;
        self.kept(now, retention)
            .filter(move |stored| !hidden.has(stored.item.sequence))
    }

    /// What retention hides of this feed.
    pub fn bounds(&self, now: Millis, retention: Retention) -> Bounds {
        let kept = self.kept(now, retention).count();
        let mut hidden = self
            .newest_first()
            .skip(kept)
            .map(|hidden| hidden.item)
            .peekable();
        let through = self.hidden.through();
        let floor = hidden.peek().map_or(0, |item| item.sequence).max(through);
        // What was deleted is nobody's loss.
        let owed = hidden
            .find(|item| !item.is_expired(now) && !self.hidden.has(item.sequence))
            .map_or(0, |item| item.sequence);
        let gone = self
            .own
            .iter()
            .chain(&self.everyone)
            .map(|record| record.lost)
            .filter(|lost| *lost > through)
            .max();
        Bounds {
            floor,
            lost: owed.max(gone.unwrap_or(0)),
        }
    }

    /// The read marks in force.
    pub fn reads(&self) -> Option<&'a Arc<ReadSet>> {
        self.own
            .iter()
            .rev()
            .find_map(|record| record.reads.as_ref())
    }

    fn kept(&self, now: Millis, retention: Retention) -> impl Iterator<Item = Visible<'a>> {
        let through = self.hidden.through();
        let limit = usize::try_from(retention.max_per_recipient).unwrap_or(usize::MAX);
        self.newest_first().take(limit).take_while(move |visible| {
            visible.item.sequence > through && !retention.is_past(visible.item.at, now)
        })
    }

    fn newest_first(&self) -> impl Iterator<Item = Visible<'a>> {
        let mut own = items_newest_first(&self.own).peekable();
        let mut everyone = items_newest_first(&self.everyone).peekable();
        std::iter::from_fn(move || {
            let broadcast = match (own.peek(), everyone.peek()) {
                (Some(own), Some(everyone)) => everyone.sequence > own.sequence,
                (own, _) => own.is_none(),
            };
            let item = if broadcast {
                everyone.next()?
            } else {
                own.next()?
            };
            Some(Visible { item, broadcast })
        })
    }
}

fn items_newest_first<'a>(records: &[&'a Record]) -> impl Iterator<Item = &'a Item> + use<'a> {
    let records: Vec<&'a Record> = records.to_vec();
    records
        .into_iter()
        .rev()
        .flat_map(|record| record.items.iter().rev())
}
