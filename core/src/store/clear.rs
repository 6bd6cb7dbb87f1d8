//! What is deleted goes from the disk: segments that still have some of it are written anew, before
//! anything else is, and the journal is cut off in front of what is packed.

use std::sync::Arc;

use crate::entry::{Deletion, Millis, Sequence};

use super::{
    Store, StoreError,
    deletions::{Deletions, Standing},
    segment::Segment,
};

impl Store {
    /// Whether the active segment has a deletion: only once it is sealed and packed, what is deleted
    /// can go from it and from the journal.
    #[must_use]
    pub fn has_deletions_to_seal(&self) -> bool {
        !self.0.state.read().active.index.deletions.is_empty()
    }

    /// Writes a packed segment anew that has something of what is deleted. `false`: there is none.
    /// They have their turns: deletions that come faster than one is written would else have the
    /// first ones written again and again, and never the others.
    ///
    /// # Errors
    /// It can't be read, or the new one not written; it stays as it was.
    pub fn clear_one(&self, now: Millis) -> Result<bool, StoreError> {
        let mut turn = self.0.packing.lock();
        let sealed = self.0.state.read().sealed.clone();
        let (deletions, safe) = self.deletions_and_safe(&[]);
        let newest = deletions.between(0, safe).last();
        let newest = newest.map_or(0, |standing| standing.sequence);
        let (before, behind) =
            sealed.split_at(sealed.partition_point(|it| it.meta.last <= turn.cleared_last));
        for segment in behind.iter().chain(before) {
            if !segment.is_packed() || segment.cleared() >= newest {
                continue;
            }
            if has_deleted(segment, deletions.between(segment.cleared(), newest))? {
                turn.cleared_last = segment.meta.last;
                // Held, they would be copied for the next that comes.
                drop(deletions);
                let segment = std::slice::from_ref(segment);
                return self.rewrite(&turn, segment, super::pack::Trim::ByTime, now);
            }
            segment.is_cleared(newest);
        }
        Ok(false)
    }

    /// The deletions that a segment may be written anew for: those that are packed, or will be with
    /// these segments. Of what is not, the rows are made again from the journal after a crash, with
    /// counts that what is deleted later is part of.
    pub(super) fn safe_deletions(&self, packing: &[Arc<Segment>]) -> Arc<Deletions> {
        let (deletions, safe) = self.deletions_and_safe(packing);
        match deletions.newest() <= safe {
            true => deletions,
            false => Arc::new(deletions.up_to(safe)),
        }
    }

    /// All deletions, and up to where they are safe.
    fn deletions_and_safe(&self, packing: &[Arc<Segment>]) -> (Arc<Deletions>, Sequence) {
        let state = self.0.state.read();
        let packed = state
            .sealed
            .iter()
            .take_while(|segment| segment.is_packed());
        let ends = packed.chain(packing).map(|segment| segment.meta.last);
        (state.deletions.clone(), ends.max().unwrap_or(0))
    }

    /// Cuts off the journal what stands in packed segments.
    ///
    /// # Errors
    /// A file can't be removed.
    pub fn cut_journal(&self) -> Result<(), StoreError> {
        let needed = self.needed_from();
        self.0.journal.lock().forget_before(needed)
    }
}

/// Whether something is in a segment that was deleted since it was written.
fn has_deleted(segment: &Segment, deletions: &[Standing]) -> Result<bool, StoreError> {
    let meta = &segment.meta;
    for standing in deletions {
        let has = match &standing.deletion {
            Deletion::Notifications { ids, .. } => {
                ids.iter().any(|id| meta.base < *id && *id <= meta.last)
            }
            Deletion::Everything { of } => {
                meta.base < standing.sequence && segment.record(of.as_str())?.is_some()
            }
        };
        if has {
            return Ok(true);
        }
    }
    Ok(false)
}
