//! How a notification is published, once for an event of a source.

use std::sync::Arc;

use prost::Message;

use crate::entry::{Applied, Audience, Change, Published, Sequence};

use super::{
    super::{
        Active, StoreError,
        codec::{Apart, Body, INLINE_DATA_MAX, PublishedUnder, Row, RowKind},
        deletions::owner_hash,
        engine::Bytes,
        keys,
        segment::MemoryIndex,
    },
    Batch, Outcome,
};

impl Batch {
    pub(super) fn apply_published(
        &mut self,
        sequence: Sequence,
        audience: Audience,
        published: Arc<Published>,
    ) -> Result<Outcome, StoreError> {
        let key = keys::idempotency(&published.source_id, &published.event_id);
        let retention = self.store.0.retention;
        let (before, is_in_active) = self.published_under(&key)?;
        if let Some(before) = before
            && !before.is_past(published.at, retention)
            && !self.frees(&before)
        {
            return Ok(Outcome::Published {
                id: before.sequence,
                duplicate: true,
            });
        }
        self.publish(sequence, audience, published, key, is_in_active);
        Ok(Outcome::Published {
            id: sequence,
            duplicate: false,
        })
    }

    pub(super) fn publish(
        &mut self,
        sequence: Sequence,
        audience: Audience,
        published: Arc<Published>,
        key: Vec<u8>,
        is_in_active: bool,
    ) {
        self.tally.last_at = published.at;
        let apart = match &audience {
            Audience::Recipients(recipients) => {
                recipients.len() > 1 || published.data.len() > INLINE_DATA_MAX
            }
            Audience::Everyone => published.data.len() > INLINE_DATA_MAX,
        };
        let body = Body::new(&published);
        let kind = if apart {
            self.writes
                .insert_long(&keys::body(sequence), &body.encode_to_vec());
            self.tally.bodies += 1;
            RowKind::Apart(Apart {
                topic: body.topic,
                expires_at: body.expires_at,
            })
        } else {
            RowKind::Whole(body)
        };
        let row = Row {
            sequence,
            at: published.at,
            kind: Some(kind),
        };
        let bytes = Bytes::from(row.encode_to_vec());
        match &audience {
            Audience::Everyone => self.add_row(keys::EVERYONE, &row, bytes),
            Audience::Recipients(recipients) => {
                for recipient in recipients.iter() {
                    self.add_row(recipient.as_str(), &row, bytes.clone());
                }
            }
        }
        let under = PublishedUnder {
            sequence,
            at: published.at,
            expires_at: published.expires_at,
            owner: match &audience {
                Audience::Recipients(named) => match &**named {
                    [only] => Some(owner_hash(only)),
                    _ => None,
                },
                Audience::Everyone => None,
            },
        };
        self.writes.insert(key.clone(), under.encode_to_vec());
        self.tally.keys += u64::from(!is_in_active);
        self.staging.keys.insert(key, under);
        self.applied.push(Applied {
            sequence,
            audience,
            change: Change::Published(published),
        });
    }

    /// What was published last under a key, and whether the key stands in the active segment.
    fn published_under(&self, key: &[u8]) -> Result<(Option<PublishedUnder>, bool), StoreError> {
        if let Some(found) = self.staging.keys.get(key) {
            return Ok((Some(*found), true));
        }
        if let Some(found) = self.in_active(key)? {
            return Ok((Some(found), true));
        }
        let sealed = self.store.0.state.read().sealed.clone();
        for segment in sealed.iter().rev() {
            if let Some(found) = segment.published_under(key)? {
                return Ok((Some(found), false));
            }
        }
        Ok((None, false))
    }

    pub(super) fn is_in_active(&self, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.staging.keys.contains_key(key) || self.in_active(key)?.is_some())
    }

    fn in_active(&self, key: &[u8]) -> Result<Option<PublishedUnder>, StoreError> {
        let engine = {
            let active = &self.store.0.state.read().active;
            if !active.index.keys.contains(&MemoryIndex::hash(key)) {
                return Ok(None);
            }
            active.engine.clone().ok_or_else(Active::failed)?
        };
        let found = engine.get(key)?;
        found
            .map(|found| PublishedUnder::decode_stored(&found))
            .transpose()
    }
}
