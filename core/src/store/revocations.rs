//! Revoked tokens, as they are stored. Unlike all else they are nobody's feed and outlive retention:
//! each stands in its segment until its tokens have expired, and is carried on when that is
//! buried. All of them are in memory, for who verifies tokens.

use std::sync::Arc;

use mercurio_auth::{Revocation, RevocationSet, Revoked};
use prost::Message;

use crate::entry::{Millis, Sequence};

use super::{Store, StoreError, constant::ConstantWriter, keys, segment::Segment};

/// The most revocations in force. The same on every core: whether one more is taken decides what
/// is in the log.
pub const REVOCATIONS_MAX: usize = 100_000;

/// In the journal, and in segments. Field numbers are for good.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredRevocation {
    #[prost(string, optional, tag = "1")]
    token_id: Option<String>,
    #[prost(string, optional, tag = "2")]
    user: Option<String>,
    #[prost(uint64, tag = "3")]
    issued_before: Millis,
    /// Unset: for ever.
    #[prost(uint64, optional, tag = "4")]
    until: Option<Millis>,
}

/// All of a packed segment.
#[derive(Clone, PartialEq, Message)]
struct StoredRevocations {
    #[prost(message, repeated, tag = "1")]
    all: Vec<StoredRevocation>,
}

impl From<&Revocation> for StoredRevocation {
    fn from(revocation: &Revocation) -> Self {
        let mut stored = Self {
            until: revocation.until,
            ..Self::default()
        };
        match &revocation.tokens {
            Revoked::Id(id) => stored.token_id = Some(id.to_string()),
            Revoked::User {
                user,
                issued_before,
            } => {
                stored.user = Some(user.to_string());
                stored.issued_before = *issued_before;
            }
        }
        stored
    }
}

impl StoredRevocation {
    pub fn decoded(self) -> Result<Revocation, StoreError> {
        let tokens = match (self.token_id, self.user) {
            (Some(id), None) => Revoked::Id(id.into()),
            (None, Some(user)) => Revoked::User {
                user: user.into(),
                issued_before: self.issued_before,
            },
            _ => return Err(unreadable()),
        };
        Ok(Revocation {
            tokens,
            until: self.until,
        })
    }
}

fn unreadable() -> StoreError {
    StoreError::Unreadable { what: "revocation" }
}

/// One that stands alone.
pub(super) fn encode(revocation: &Revocation) -> Vec<u8> {
    StoredRevocation::from(revocation).encode_to_vec()
}

/// One that stands alone.
pub(super) fn decode(bytes: &[u8]) -> Result<Revocation, StoreError> {
    let stored = StoredRevocation::decode(bytes).map_err(|_| unreadable())?;
    stored.decoded()
}

/// Those of a packed segment.
pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<Revocation>, StoreError> {
    let stored = StoredRevocations::decode(bytes).map_err(|_| unreadable())?;
    let all = stored.all.into_iter().map(StoredRevocation::decoded);
    all.collect()
}

/// Adds to a packed segment what is in force of those that it takes the place of.
pub(super) fn carry_on(
    segments: &[Arc<Segment>],
    file: &mut ConstantWriter,
    now: Millis,
) -> Result<(), StoreError> {
    let mut all = Vec::new();
    for segment in segments {
        let revocations = segment.revocations()?.into_iter();
        let in_force = revocations.filter(|revocation| !revocation.is_past(now));
        all.extend(in_force.map(|revocation| StoredRevocation::from(&revocation)));
    }
    if all.is_empty() {
        return Ok(());
    }
    let stored = StoredRevocations { all }.encode_to_vec();
    file.insert(keys::REVOCATIONS, &stored)
}

impl Store {
    /// The revocations in force, and some that no longer matter.
    #[must_use]
    pub fn revocations(&self) -> Arc<RevocationSet> {
        self.0.revoked.clone()
    }

    /// Takes into memory what the segments have. What is past says nothing any more of what was
    /// revoked later of the same tokens: see [`joined`].
    pub(super) fn load_revocations(&self) -> Result<(), StoreError> {
        let now = self.log_time();
        let state = self.0.state.read();
        let add = |revocation: &Revocation| {
            if !revocation.is_past(now) {
                self.0.revoked.add(revocation);
            }
        };
        for segment in state.sealed.iter() {
            segment.revocations()?.iter().for_each(add);
        }
        state.active.index.revocations.iter().for_each(add);
        Ok(())
    }
}

/// What becomes of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoking {
    /// It is stored.
    New,
    /// Its tokens were revoked before, as far and for as long.
    Before,
    /// [`REVOCATIONS_MAX`] others are in force.
    TooMany,
}

/// Decides it, by the revocations in force and those of the batch that is being made. The same on
/// every core: what one has dropped and another not yet is past for both.
pub(super) fn judge(
    known: &RevocationSet,
    staged: &[Revocation],
    new: &Revocation,
    at: Millis,
) -> Revoking {
    let batch = in_force(known, staged, &new.tokens, at);
    if new.is_past(at) || batch.covers(new) {
        return Revoking::Before;
    }
    let is_known = batch.of(&new.tokens, at).is_some();
    if known.len() + staged.len() >= REVOCATIONS_MAX && !is_known {
        known.forget_past(at);
        let more = batch.all().into_iter();
        let more = more.filter(|it| known.of(&it.tokens, at).is_none());
        if known.len() + more.count() >= REVOCATIONS_MAX {
            return Revoking::TooMany;
        }
    }
    Revoking::New
}

/// What is stored of it: with what else is in force of the same tokens then, as far and as long as
/// any says. So each one stands for itself, and whether those before it were dropped when they
/// were past, by a core that ran on or by one that was started again, makes no difference.
pub(super) fn joined(
    known: &RevocationSet,
    staged: &[Revocation],
    new: Revocation,
    at: Millis,
) -> Revocation {
    let all = in_force(known, staged, &new.tokens, at);
    all.add(&new);
    all.of(&new.tokens, at).unwrap_or(new)
}

/// Of the batch that is being made all, and of those before it that of these tokens.
fn in_force(
    known: &RevocationSet,
    staged: &[Revocation],
    tokens: &Revoked,
    at: Millis,
) -> RevocationSet {
    let set = RevocationSet::default();
    known.of(tokens, at).iter().for_each(|it| set.add(it));
    let staged = staged.iter().filter(|it| !it.is_past(at));
    staged.for_each(|it| set.add(it));
    set
}

/// The key of one in a live segment.
pub(super) fn key(sequence: Sequence) -> Vec<u8> {
    let mut key = keys::REVOCATIONS.to_vec();
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}
