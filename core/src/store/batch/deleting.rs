//! How notifications are deleted, and users forgotten.

use std::{collections::BTreeSet, sync::Arc};

use prost::Message;

use crate::entry::{
    Applied, Audience, Change, Deleted, DeletedChange, Deletion, Millis, RecipientId, Sequence,
};

use super::{
    super::{
        Retention, StoreError,
        codec::{DeletedRow, PublishedUnder, Row, RowKind},
        deletions::{self, OfOwner, Standing},
        engine::Bytes,
        index::View,
        keys,
        reads::ReadSet,
    },
    Batch, Outcome,
};

impl Batch {
    /// `was_stored`: the log has it. That is not decided anew, by what is found now.
    pub(super) fn apply_deleted(
        &mut self,
        sequence: Sequence,
        entry: Deleted,
        was_stored: bool,
    ) -> Result<Outcome, StoreError> {
        let Deleted {
            at,
            deletion: asked,
        } = entry;
        let mut deletion = asked.clone();
        let (deleted, is_new) = match &asked {
            Deletion::Notifications { owners, ids } => {
                let (mut deleted, mut changes) = (0, Vec::new());
                let mut meant = BTreeSet::new();
                let mut ids: Vec<Sequence> =
                    ids.iter().copied().filter(|id| *id < sequence).collect();
                ids.sort_unstable();
                ids.dedup();
                for owner in owners.names() {
                    let wanted = |id| ids.binary_search(&id).is_ok();
                    let found = self.found(owner, wanted, at, was_stored)?;
                    if found.ids.is_empty() {
                        continue;
                    }
                    deleted += found.ids.len() as u64;
                    meant.extend(found.ids.iter().copied());
                    let left = found.unread_before - found.unread;
                    let change = DeletedChange {
                        ids: found.ids,
                        up_to: 0,
                        unread_count: (owner != keys::EVERYONE).then_some(left),
                        at,
                    };
                    changes.push((owner, change));
                }
                // Only now: where a view can't be read, nothing is.
                for (owner, change) in changes {
                    self.tell(sequence, owner, change);
                }
                // Of what was asked for, what are notifications that somebody had.
                deletion = Deletion::Notifications {
                    owners: owners.clone(),
                    ids: meant.into_iter().collect(),
                };
                (deleted, was_stored || deleted > 0)
            }
            Deletion::Everything { of } => {
                let found = self.found(of.as_str(), |_| true, at, was_stored)?;
                let deleted = found.ids.len() as u64;
                // Of who was not forgotten before, also what is beyond retention is to go.
                let is_new = was_stored || deleted > 0 || !self.is_forgotten(of.as_str(), at);
                if is_new {
                    let change = DeletedChange {
                        ids: Vec::new(),
                        up_to: sequence - 1,
                        unread_count: Some(0),
                        at,
                    };
                    self.tell(sequence, of.as_str(), change);
                    self.set_reads(of.as_str(), ReadSet::default());
                }
                (deleted, is_new)
            }
        };
        if is_new {
            self.tally.last_at = at;
            let standing = Standing {
                sequence,
                at,
                deletion,
            };
            let stored = deletions::encode(&standing);
            self.writes.insert(deletions::key(sequence), stored);
            self.tally.deletions += 1;
            self.staging.deletions.add(standing);
        }
        Ok(Outcome::Deleted { deleted, is_new })
    }

    /// Whether a key was used for somebody who was forgotten since.
    pub(super) fn frees(&self, key: &PublishedUnder) -> bool {
        let committed = self.store.0.state.read().deletions.clone();
        committed.frees(key) || self.staging.deletions.frees(key)
    }

    /// Whether a user was forgotten, as far as that is still known on every core.
    fn is_forgotten(&self, owner: &str, at: Millis) -> bool {
        let committed = self.store.0.state.read().deletions.clone();
        let retention = self.store.0.retention;
        let known = [&*committed, &self.staging.deletions];
        known.iter().any(|deletions| {
            let forgotten_at = deletions.of(owner).and_then(OfOwner::forgotten_at);
            forgotten_at.is_some_and(|then| !retention.is_past(then, at))
        })
    }

    fn found(
        &self,
        owner: &str,
        is_wanted: impl Fn(Sequence) -> bool,
        at: Millis,
        was_stored: bool,
    ) -> Result<Found, StoreError> {
        let retention = self.store.0.retention;
        // What was there then may be beyond the retention of now.
        let there = match was_stored {
            true => Retention::UNLIMITED,
            false => retention,
        };
        let look = |view: &View<'_>, _: &_| Found::new(view, &is_wanted, at, retention, there);
        Ok(self.store.view(owner, Some(&self.staging), look)?.0)
    }

    fn tell(&mut self, sequence: Sequence, owner: &str, change: DeletedChange) {
        let row = Row {
            sequence,
            at: change.at,
            kind: Some(RowKind::Deleted(DeletedRow {
                ids: change.ids.clone(),
                up_to: change.up_to,
                unread_count: change.unread_count,
            })),
        };
        self.add_row(owner, &row, Bytes::from(row.encode_to_vec()));
        // Everyone's name is empty, and no recipient's is.
        let audience = match RecipientId::new(owner) {
            Some(owner) => Audience::Recipients(Arc::new([owner])),
            None => Audience::Everyone,
        };
        self.applied.push(Applied {
            sequence,
            audience,
            change: Change::Deleted(Arc::new(change)),
        });
    }
}

/// What of a feed is there to be deleted.
struct Found {
    ids: Vec<Sequence>,
    unread_before: u64,
    /// Unread, and deleted.
    unread: u64,
}

impl Found {
    fn new(
        view: &View<'_>,
        is_wanted: impl Fn(Sequence) -> bool,
        at: Millis,
        retention: Retention,
        there: Retention,
    ) -> Self {
        let mut ids: Vec<Sequence> = view
            .stored(at, there)
            .map(|stored| stored.item.sequence)
            .filter(|id| is_wanted(*id))
            .collect();
        ids.reverse();
        let reads = view.reads();
        let is_unread = |id| reads.is_none_or(|reads| reads.read_at(id).is_none());
        let unread: Vec<Sequence> = view
            .visible(at, retention)
            .map(|visible| visible.item.sequence)
            .filter(|id| is_unread(*id))
            .collect();
        Self {
            unread_before: unread.len() as u64,
            unread: unread.iter().filter(|id| is_wanted(**id)).count() as u64,
            ids,
        }
    }
}
