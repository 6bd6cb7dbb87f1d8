//! Retention: what is past is hidden at once by whoever reads (`index.rs`); this gives its space
//! back. The oldest segments, once they are past, are buried: of all of them one small segment
//! remains, which says of whom something was lost, so that a reader who comes back is told the
//! truth; and which tokens are still revoked.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::entry::{Millis, Sequence};

use super::{
    Store, StoreError, codec,
    constant::ConstantWriter,
    deletions::Hidden,
    files::Checksum,
    index::{Item, Record},
    keys,
    packing::insert_owners,
    revocations,
    segment::{self, DATA, Meta, Segment},
};

/// The active segment is sealed when its first entry is this part of the maximum age old, so that
/// what is past can go although little is published.
const ROLL_AGE_DIVISOR: u32 = 16;

impl Store {
    /// Whether the active segment is old enough to be sealed: [`Store::roll`].
    #[must_use]
    pub fn is_roll_due(&self, now: Millis) -> bool {
        let roll_age = (self.0.retention.max_age / ROLL_AGE_DIVISOR).as_millis();
        let first_at = self.0.state.read().active.first_at;
        first_at.is_some_and(|first| u128::from(now) >= u128::from(first) + roll_age)
    }

    /// Buries the oldest packed segments that are past, all at once. `false`: there were none.
    ///
    /// # Errors
    /// They can't be read, or what remains not written; they stay as they were.
    pub fn bury_past(&self, now: Millis) -> Result<bool, StoreError> {
        let turn = self.0.packing.lock();
        // What they hide is past as well.
        self.forget_past_deletions(&turn, now);
        let sealed = self.0.state.read().sealed.clone();
        let is_past = |segment: &&Arc<Segment>| {
            let retention = self.0.retention;
            // One without rows may still hold idempotency keys.
            segment.is_packed() && retention.is_past(segment.meta.last_at, now)
        };
        let past: Vec<Arc<Segment>> = sealed.iter().take_while(is_past).cloned().collect();
        let (Some(first), Some(last)) = (past.first(), past.last()) else {
            return Ok(false);
        };
        if past.len() == 1 && last.meta.remains {
            return Ok(false);
        }
        let lost = self.lost_with(&past, now)?;
        let remains = self.add_packed(last.id.rewritten(), |part| {
            let meta = Meta {
                base: first.meta.base,
                rows: 0,
                samples: Vec::new(),
                remains: true,
                data: Some(write_remains(&part.join(DATA), &past, &lost, now)?.into()),
                ..last.meta.clone()
            };
            segment::write_meta(part, &meta)
        })?;
        tracing::info!(
            segments = past.len(),
            through = last.meta.last,
            "retention drops segments"
        );
        self.replace(&past, remains);
        Ok(true)
    }

    /// Through which sequence each owner lost something with these segments.
    fn lost_with(
        &self,
        segments: &[Arc<Segment>],
        now: Millis,
    ) -> Result<BTreeMap<Arc<str>, Sequence>, StoreError> {
        let deletions = self.0.state.read().deletions.clone();
        let mut lost = BTreeMap::new();
        for segment in segments {
            for page in 0.. {
                let Some(owners) = segment.owners(page)? else {
                    break;
                };
                for owner in owners {
                    let Some(record) = segment.record(&owner)? else {
                        continue;
                    };
                    let hidden = Hidden::new(&owner, &deletions, None);
                    let is_owed =
                        |item: &&Item| item.expires_at > now && !hidden.has(item.sequence);
                    let owed = record.items.iter().rev().find(is_owed);
                    let through = owed.map_or(0, |item| item.sequence).max(record.lost);
                    drop(record);
                    if through > hidden.through() {
                        let known = lost.entry(owner).or_insert(through);
                        *known = through.max(*known);
                    }
                }
            }
        }
        Ok(lost)
    }
}

fn write_remains(
    path: &Path,
    past: &[Arc<Segment>],
    lost: &BTreeMap<Arc<str>, Sequence>,
    now: Millis,
) -> Result<Checksum, StoreError> {
    let mut file = ConstantWriter::create(path)?;
    for (owner, through) in lost {
        let record = Record {
            lost: *through,
            ..Record::default()
        };
        file.insert(&keys::record(owner), &codec::encode_record(&record))?;
    }
    insert_owners(&mut file, lost.keys().map(ToString::to_string).collect())?;
    revocations::carry_on(past, &mut file, now)?;
    file.finish()
}
