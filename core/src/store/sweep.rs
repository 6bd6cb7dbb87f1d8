//! Retention: what is past is hidden at once by whoever reads (`index.rs`); this gives its space
//! back, in steps of bounded size.

use std::sync::Arc;

use crate::entry::{Millis, Sequence};

use super::{Store, StoreError};

/// The active segment is sealed when its first entry is this part of the maximum age old, so that
/// what is past can go although little is published.
const ROLL_AGE_DIVISOR: u32 = 16;

/// An owner (empty: everyone), and through which sequence something of theirs is lost.
pub type Loss = (Arc<str>, Sequence);

/// What retention wants done by the writer, who alone changes the active segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Seal the active segment: [`Store::roll`].
    Roll,
    /// Note through which sequence each of these owners lost something: before a drop, in steps.
    NoteLost(Vec<Loss>),
    /// The oldest segment is past, and what was lost with it is noted: drop it.
    Drop {
        /// Which segment.
        number: u64,
    },
}

impl Store {
    /// What is to be done by the writer now; `None`: nothing.
    #[must_use]
    pub fn sweep_due(&self, now: Millis) -> Option<Sweep> {
        let retention = self.0.retention;
        let state = self.0.state.read();
        if let Some(oldest) = state.sealed.first() {
            let is_past = retention.is_past(oldest.meta.last_at, now);
            if oldest.is_packed() && (is_past || oldest.meta.rows == 0) {
                return Some(Sweep::Drop {
                    number: oldest.id.number,
                });
            }
        }
        let roll_age = (retention.max_age / ROLL_AGE_DIVISOR).as_millis();
        let first_at = state.active.first_at?;
        (u128::from(now) >= u128::from(first_at) + roll_age).then_some(Sweep::Roll)
    }

    /// What is lost when the segment is dropped, a page of owners at a time; `None`: there are no
    /// more.
    ///
    /// # Errors
    /// The segment can't be read.
    pub fn lost_with(
        &self,
        number: u64,
        page: u32,
        now: Millis,
    ) -> Result<Option<Vec<Loss>>, StoreError> {
        let sealed = self.0.state.read().sealed.clone();
        let Some(segment) = sealed.iter().find(|segment| segment.id.number == number) else {
            return Ok(None);
        };
        let Some(owners) = segment.owners(page)? else {
            return Ok(None);
        };
        let mut lost = Vec::with_capacity(owners.len());
        for owner in owners {
            if let Some(record) = segment.record(&owner, &self.0.cache)? {
                let owed = record.items.iter().rev().find(|item| item.expires_at > now);
                let through = owed.map_or(0, |item| item.sequence).max(record.lost);
                drop(record);
                lost.push((owner, through));
            }
        }
        Ok(Some(lost))
    }

    /// Drops the segment; its space is free when its last reader is done.
    pub fn drop_segment(&self, number: u64) {
        let sealed = self.0.state.read().sealed.clone();
        if let Some(segment) = sealed.iter().find(|segment| segment.id.number == number) {
            tracing::info!(
                number,
                rows = segment.meta.rows,
                "retention drops a segment"
            );
            self.replace(segment.id, None);
        }
    }
}
