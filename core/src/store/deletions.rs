//! What was deleted. It is hidden from whoever reads at once (`index.rs`), and left out when a
//! segment is written anew, which the sweeper does soon (`clear.rs`).
//!
//! A deletion stands in its segment as long as what it deletes could: everything in it is older than
//! the deletion itself, so it is of no more use when its own age is past, and leaves with its segment.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hasher as _,
    sync::Arc,
};

use prost::Message;
use siphasher::sip::SipHasher13;

use crate::entry::{Deletion, Millis, RecipientId, Sequence};

use super::{
    Retention, Store, StoreError, codec::PublishedUnder, constant::ConstantWriter,
    journal::StoredDeletion, keys, pack::Turn, segment::Segment,
};

/// One, as it stands in a segment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    pub sequence: Sequence,
    pub at: Millis,
    pub deletion: Deletion,
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(uint64, tag = "1")]
    sequence: Sequence,
    #[prost(uint64, tag = "2")]
    at: Millis,
    #[prost(message, optional, tag = "3")]
    deletion: Option<StoredDeletion>,
}

/// All of a packed segment.
#[derive(Clone, PartialEq, Message)]
struct StoredAll {
    #[prost(message, repeated, tag = "1")]
    all: Vec<Stored>,
}

impl Stored {
    fn new(standing: &Standing) -> Self {
        Self {
            sequence: standing.sequence,
            at: standing.at,
            deletion: Some((&standing.deletion).into()),
        }
    }

    fn decoded(self) -> Result<Standing, StoreError> {
        Ok(Standing {
            sequence: self.sequence,
            at: self.at,
            deletion: self.deletion.ok_or_else(unreadable)?.decoded()?,
        })
    }
}

fn unreadable() -> StoreError {
    StoreError::Unreadable { what: "deletion" }
}

pub(super) fn encode(standing: &Standing) -> Vec<u8> {
    Stored::new(standing).encode_to_vec()
}

pub(super) fn decode(bytes: &[u8]) -> Result<Standing, StoreError> {
    Stored::decode(bytes).map_err(|_| unreadable())?.decoded()
}

/// Those of a packed segment.
pub(super) fn decode_all(bytes: &[u8]) -> Result<Vec<Standing>, StoreError> {
    let stored = StoredAll::decode(bytes).map_err(|_| unreadable())?;
    stored.all.into_iter().map(Stored::decoded).collect()
}

/// Adds to a packed segment what is of use of those that it takes the place of.
pub(super) fn carry_on(
    segments: &[Arc<Segment>],
    file: &mut ConstantWriter,
    now: Millis,
    retention: Retention,
) -> Result<(), StoreError> {
    let mut all = Vec::new();
    for segment in segments {
        let standing = segment.deletions()?.into_iter();
        let of_use = standing.filter(|it| !retention.is_past(it.at, now));
        all.extend(of_use.map(|it| Stored::new(&it)));
    }
    if all.is_empty() {
        return Ok(());
    }
    let stored = StoredAll { all }.encode_to_vec();
    file.insert(keys::DELETIONS, &stored)
}

/// The key of one in a live segment.
pub(super) fn key(sequence: Sequence) -> Vec<u8> {
    [keys::DELETIONS, &sequence.to_be_bytes()].concat()
}

/// What is deleted of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct OfOwner {
    /// All up to here, and when that was.
    through: Sequence,
    forgotten_at: Option<Millis>,
    /// These, which are beyond.
    ids: BTreeSet<Sequence>,
}

/// Everything that is deleted. Cheap to look up by owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Deletions {
    owners: HashMap<Arc<str>, OfOwner>,
    /// By the hash of a forgotten user: whose idempotency keys up to where are free again.
    forgotten: HashMap<u64, Sequence>,
    /// In the order of the log.
    all: Vec<Standing>,
}

impl OfOwner {
    /// When all of them was deleted last.
    pub fn forgotten_at(&self) -> Option<Millis> {
        self.forgotten_at
    }
}

impl Deletions {
    pub fn add(&mut self, standing: Standing) {
        match &standing.deletion {
            Deletion::Notifications { owners, ids } => {
                for owner in owners.names() {
                    let of = self.owners.entry(owner.into()).or_default();
                    of.ids.extend(ids.iter().copied());
                }
            }
            Deletion::Everything { of } => {
                let through = standing.sequence - 1;
                let owner = self.owners.entry(of.as_str().into()).or_default();
                owner.through = owner.through.max(through);
                owner.forgotten_at = owner.forgotten_at.max(Some(standing.at));
                owner.ids = owner.ids.split_off(&owner.through);
                self.forgotten.insert(owner_hash(of), through);
            }
        }
        self.all.push(standing);
    }

    /// Those up to this place.
    pub fn up_to(&self, through: Sequence) -> Self {
        self.all[..self.end(through)].iter().cloned().collect()
    }

    /// Those that are of use yet by that time; `None`: all are.
    fn of_use(&self, now: Millis, retention: Retention) -> Option<Self> {
        // Times never go back in the log.
        let past = self.all.partition_point(|it| retention.is_past(it.at, now));
        (past > 0).then(|| self.all[past..].iter().cloned().collect())
    }

    pub fn of(&self, owner: &str) -> Option<&OfOwner> {
        self.owners.get(owner)
    }

    /// Whether a key was used for somebody who was forgotten since, and for nobody else.
    pub fn frees(&self, key: &PublishedUnder) -> bool {
        let through = key.owner.and_then(|owner| self.forgotten.get(&owner));
        through.is_some_and(|through| key.sequence <= *through)
    }

    /// The last one's place; 0: there is none.
    pub fn newest(&self) -> Sequence {
        self.all.last().map_or(0, |standing| standing.sequence)
    }

    /// Those behind this place.
    pub fn since(&self, after: Sequence) -> &[Standing] {
        &self.all[self.end(after)..]
    }

    /// Those behind one place and up to another.
    pub fn between(&self, after: Sequence, through: Sequence) -> &[Standing] {
        let end = self.end(through);
        &self.all[self.end(after).min(end)..end]
    }

    /// How many there are up to this place.
    fn end(&self, through: Sequence) -> usize {
        self.all.partition_point(|it| it.sequence <= through)
    }
}

impl FromIterator<Standing> for Deletions {
    fn from_iter<T: IntoIterator<Item = Standing>>(all: T) -> Self {
        let mut deletions = Self::default();
        all.into_iter().for_each(|it| deletions.add(it));
        deletions
    }
}

/// A user as an idempotency key remembers them. SipHash-1-3 with a zero key.
pub(super) fn owner_hash(owner: &RecipientId) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(owner.as_str().as_bytes());
    hasher.finish()
}

/// What of a feed is deleted: as committed, and by the batch that is being made.
#[derive(Clone, Copy, Default)]
pub(super) struct Hidden<'a> {
    own: [Option<&'a OfOwner>; 2],
    everyone: [Option<&'a OfOwner>; 2],
}

impl<'a> Hidden<'a> {
    pub fn new(owner: &str, committed: &'a Deletions, staged: Option<&'a Deletions>) -> Self {
        let of = |owner: &str| {
            [
                committed.of(owner),
                staged.and_then(|staged| staged.of(owner)),
            ]
        };
        Self {
            own: of(owner),
            everyone: of(keys::EVERYONE),
        }
    }

    /// All of the feed up to here is.
    pub fn through(&self) -> Sequence {
        let throughs = self.own.iter().flatten().map(|of| of.through);
        throughs.max().unwrap_or(0)
    }

    /// Whether this notification is.
    pub fn has(&self, id: Sequence) -> bool {
        let mut ids = self.own.iter().chain(&self.everyone).flatten();
        id <= self.through() || ids.any(|of| of.ids.contains(&id))
    }
}

impl Store {
    /// Takes into memory what the segments have.
    pub(super) fn load_deletions(&self) -> Result<(), StoreError> {
        let mut deletions = Deletions::default();
        let mut state = self.0.state.write();
        for segment in state.sealed.iter() {
            segment
                .deletions()?
                .into_iter()
                .for_each(|it| deletions.add(it));
        }
        let active = state.active.index.deletions.iter();
        active.for_each(|it| deletions.add(it.clone()));
        state.deletions = Arc::new(deletions);
        Ok(())
    }

    /// Lets go of those that are past. By the log's time, as nothing that is applied from now on is
    /// decided otherwise for it; and by the clock, by which others read.
    pub(super) fn forget_past_deletions(&self, _: &Turn<'_>, now: Millis) {
        let (deletions, log_time) = {
            let state = self.0.state.read();
            (state.deletions.clone(), state.active.tally.last_at)
        };
        let Some(mut of_use) = deletions.of_use(now.min(log_time), self.0.retention) else {
            return;
        };
        let mut state = self.0.state.write();
        // What has come in the meantime.
        let new = state.deletions.since(deletions.newest()).iter();
        new.for_each(|it| of_use.add(it.clone()));
        state.deletions = Arc::new(of_use);
    }

    /// Who has a notification: a user, several, or everyone. `None`: nobody, or no longer.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn owners_of(&self, id: Sequence) -> Result<Option<crate::entry::Audience>, StoreError> {
        use crate::entry::Audience;
        let has = |record: &super::index::Record| {
            let found = record.items.binary_search_by_key(&id, |item| item.sequence);
            found.is_ok()
        };
        let mut owners: Vec<Arc<str>> = Vec::new();
        let sealed = {
            let state = self.0.state.read();
            if id > state.active.base {
                let records = state.active.index.records.iter();
                let of = records.filter(|(_, record)| has(record));
                owners.extend(of.map(|(owner, _)| owner.clone()));
            }
            state.sealed.clone()
        };
        let is_here = |it: &&Arc<Segment>| it.meta.base < id && id <= it.meta.last;
        if let Some(segment) = sealed.iter().find(is_here) {
            for page in 0.. {
                let Some(names) = segment.owners(page)? else {
                    break;
                };
                for owner in names {
                    if segment.record(&owner)?.is_some_and(|it| has(&it)) {
                        owners.push(owner);
                    }
                }
            }
        }
        if owners.iter().any(|owner| **owner == *keys::EVERYONE) {
            return Ok(Some(Audience::Everyone));
        }
        owners.sort_unstable();
        let named: Option<Arc<[RecipientId]>> =
            owners.iter().map(|owner| RecipientId::new(owner)).collect();
        Ok(named
            .filter(|named| !named.is_empty())
            .map(Audience::Recipients))
    }
}
