//! How read marks are set.

use std::sync::Arc;

use prost::Message;

use crate::entry::{
    Applied, Audience, Change, Millis, ReadStateChange, ReadStateSet, ReadTarget, Sequence,
};

use super::{
    super::{
        Retention, StoreError,
        codec::{ReadState, Row, RowKind},
        engine::Bytes,
        index::{View, Visible},
        reads::ReadSet,
    },
    Batch, Outcome,
};

impl Batch {
    pub(super) fn apply_read_state(
        &mut self,
        sequence: Sequence,
        set: &ReadStateSet,
    ) -> Result<Outcome, StoreError> {
        let at = set.at;
        let owner = set.recipient.as_str();
        let retention = self.store.0.retention;
        let (marked, _) = self.store.view(owner, Some(&self.staging), |view, _| {
            Marked::new(view, set, at, retention)
        })?;
        let Marked {
            reads,
            ids,
            unread_count,
        } = marked;
        let changed = ids.len() as u64;
        if changed == 0 {
            return Ok(Outcome::ReadStateSet {
                changed,
                unread_count,
            });
        }
        self.tally.last_at = at;
        let (ids, up_to) = match set.target {
            ReadTarget::Ids(_) => (ids, 0),
            // What comes later is not meant, and clients may keep the number.
            ReadTarget::UpTo(up_to) => (Vec::new(), up_to.min(sequence - 1)),
        };
        let change = ReadStateChange {
            ids,
            up_to,
            read: set.read,
            unread_count,
            at,
        };
        let state = ReadState {
            ids: change.ids.clone(),
            up_to,
            read: set.read,
            unread_count,
        };
        let row = Row {
            sequence,
            at,
            kind: Some(RowKind::ReadState(state)),
        };
        self.add_row(owner, &row, Bytes::from(row.encode_to_vec()));
        self.set_reads(owner, reads);
        self.applied.push(Applied {
            sequence,
            audience: Audience::Recipients(Arc::new([set.recipient.clone()])),
            change: Change::ReadState(Arc::new(change)),
        });
        Ok(Outcome::ReadStateSet {
            changed,
            unread_count,
        })
    }
}

/// A recipient's read marks after a change, and what changed.
struct Marked {
    reads: ReadSet,
    ids: Vec<Sequence>,
    unread_count: u64,
}

impl Marked {
    fn new(view: &View<'_>, set: &ReadStateSet, at: Millis, retention: Retention) -> Self {
        let before = view.reads();
        let targets = match &set.target {
            ReadTarget::Ids(ids) => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids
            }
            ReadTarget::UpTo(_) => Vec::new(),
        };
        let is_target = |id: Sequence| match set.target {
            ReadTarget::Ids(_) => targets.binary_search(&id).is_ok(),
            ReadTarget::UpTo(up_to) => id <= up_to,
        };
        let mut marked = Self {
            reads: ReadSet::default(),
            ids: Vec::new(),
            unread_count: 0,
        };
        let mut follows = false;
        let visible: Vec<Visible<'_>> = view.visible(at, retention).collect();
        for visible in visible.into_iter().rev() {
            let id = visible.item.sequence;
            let was = before.and_then(|reads| reads.read_at(id));
            let is = match (is_target(id), set.read) {
                (false, _) => was,
                (true, true) => was.or(Some(at)),
                (true, false) => None,
            };
            if was.is_some() != is.is_some() {
                marked.ids.push(id);
            }
            match is {
                Some(at) => marked.reads.push(id, at, follows),
                None => marked.unread_count += 1,
            }
            follows = is.is_some();
        }
        marked
    }
}
