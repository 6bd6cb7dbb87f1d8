//! What the writer is asked for, and what of it becomes an entry.

use std::sync::Arc;

use mercurio_auth::Revocation;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use uuid::Uuid;

use crate::{
    clock,
    entry::{
        Audience, Deleted, Deletion, Entry, Published, ReadStateSet, ReadTarget, RecipientId,
        TokensRevoked,
    },
    store::Cut,
};

use super::{
    DeleteOutcome, Draft, PublishOutcome, ReadStateOutcome, RevokeOutcome, WriteError,
    flight::Waiter,
};

/// A request that waits, and its part of the room for all that do.
pub(super) struct Queued {
    pub request: Request,
    pub _room: OwnedSemaphorePermit,
}

pub(super) enum Request {
    /// With the `traceparent` of a trace that is recorded.
    Publish(
        Box<Draft>,
        Option<Box<str>>,
        oneshot::Sender<Result<PublishOutcome, WriteError>>,
    ),
    SetReadState {
        recipient: RecipientId,
        target: ReadTarget,
        read: bool,
        answer: oneshot::Sender<Result<ReadStateOutcome, WriteError>>,
    },
    Revoke(
        Revocation,
        oneshot::Sender<Result<RevokeOutcome, WriteError>>,
    ),
    Delete(Deletion, oneshot::Sender<Result<DeleteOutcome, WriteError>>),
}

/// What has to be done between batches.
pub(super) enum Control {
    /// Begin a new segment.
    Roll,
    /// Begin one, for a snapshot to end before it.
    Cut(oneshot::Sender<Result<Cut, WriteError>>),
}

impl Request {
    /// Bytes of memory that it is reckoned at.
    pub fn weight(&self) -> usize {
        // The request itself, and what tells its parts apart.
        const FIXED: usize = 512;
        // Of an id, besides its bytes.
        const ID: usize = 32;
        let of = |audience: &Audience| audience.names().map(|id| id.len() + ID).sum::<usize>();
        FIXED
            + match self {
                Self::Publish(draft, ..) => {
                    let texts = draft.source_id.len() + draft.topic.len() + draft.data.len();
                    of(&draft.audience) + texts + draft.event_id.as_ref().map_or(0, String::len)
                }
                Self::SetReadState { target, .. } => match target {
                    ReadTarget::Ids(ids) => ids.len() * 8,
                    ReadTarget::UpTo(_) => 0,
                },
                Self::Revoke(..) => 0,
                Self::Delete(deletion, _) => match deletion {
                    Deletion::Notifications { owners, ids } => of(owners) + ids.len() * 8,
                    Deletion::Everything { .. } => 0,
                },
            }
    }

    /// The entry, with the time at which it became one. `None`: who asked no longer waits, and wants
    /// nothing written.
    pub fn into_entry(self) -> Option<(Entry, Waiter)> {
        match self {
            Self::Publish(draft, trace, answer) if !answer.is_closed() => {
                let (entry, event_id) = published(*draft);
                Some((entry, Waiter::Publisher(answer, event_id, trace)))
            }
            Self::SetReadState {
                recipient,
                target,
                read,
                answer,
            } if !answer.is_closed() => {
                let set = ReadStateSet {
                    at: clock::now(),
                    recipient,
                    target,
                    read,
                };
                Some((Entry::ReadStateSet(set), Waiter::Marker(answer)))
            }
            Self::Revoke(revocation, answer) if !answer.is_closed() => {
                let entry = TokensRevoked {
                    at: clock::now(),
                    revocation,
                };
                Some((Entry::TokensRevoked(entry), Waiter::Revoker(answer)))
            }
            Self::Delete(deletion, answer) if !answer.is_closed() => {
                let entry = Deleted {
                    at: clock::now(),
                    deletion,
                };
                Some((Entry::Deleted(entry), Waiter::Deleter(answer)))
            }
            Self::Publish(..) | Self::SetReadState { .. } | Self::Revoke(..) | Self::Delete(..) => {
                None
            }
        }
    }

    pub fn refuse(self, error: &WriteError) {
        // Whoever asked may have gone.
        match self {
            Self::Publish(.., answer) => drop(answer.send(Err(error.clone()))),
            Self::SetReadState { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Revoke(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Delete(_, answer) => drop(answer.send(Err(error.clone()))),
        }
    }
}

fn published(draft: Draft) -> (Entry, String) {
    let at = clock::now();
    let ttl = draft
        .ttl
        .map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
    let event_id = draft.event_id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let published = Published {
        at,
        source_id: draft.source_id,
        event_id: event_id.clone(),
        topic: draft.topic.into(),
        data: draft.data,
        expires_at: ttl.map(|ttl| at.saturating_add(ttl)),
    };
    (
        Entry::Published(draft.audience, Arc::new(published)),
        event_id,
    )
}
