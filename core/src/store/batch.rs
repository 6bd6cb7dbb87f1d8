//! The apply path: how entries become the view's keys, and how a batch of them is committed.
//!
//! [`Batch::apply`] is the one way from an entry to what is stored. It is deterministic: it reads
//! the view and the entry, never a clock.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use mercurio_auth::Revocation;
use prost::Message;

use crate::entry::{
    Applied, Audience, Change, Entry, Millis, Published, ReadStateChange, ReadStateSet, ReadTarget,
    Sequence, TokensRevoked,
};

use super::{
    Active, Retention, Store, StoreError, StoreSettings,
    codec::{
        self, Apart, Body, INLINE_DATA_MAX, PublishedUnder, ReadState, Row, RowKind, Tally, Topics,
    },
    deletions::{Deletions, owner_hash},
    engine::{Bytes, KEYS_AT_ONCE, Writes},
    index::{Record, View, Visible},
    journal::{Appender, Appenders, Frame, LogEntry},
    keys,
    reads::ReadSet,
    revocations::{self, Revoking},
    segment::MemoryIndex,
};

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A notification was published, or had been before.
    Published {
        /// The sequence of the first one.
        id: Sequence,
        /// It had been: nothing was stored.
        duplicate: bool,
    },
    /// Marks were set.
    ReadStateSet {
        /// How many notifications changed. 0: nothing was stored.
        changed: u64,
        /// How many are unread now.
        unread_count: u64,
    },
    /// What became of a revocation.
    Revoked(Revoking),
    /// Notifications were deleted.
    Deleted {
        /// How many, each as often as it had owners.
        deleted: u64,
        /// The deletion is stored: something was there to be deleted, or may have been.
        is_new: bool,
    },
}

impl Outcome {
    /// Whether the entry stands in the log now.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        match self {
            Self::Published { duplicate, .. } => !duplicate,
            Self::ReadStateSet { changed, .. } => *changed > 0,
            Self::Revoked(revoking) => *revoking == Revoking::New,
            Self::Deleted { is_new, .. } => *is_new,
        }
    }
}

/// Entries applied and not yet committed. Dropped without [`Batch::commit`], nothing of it is
/// there.
pub struct Batch {
    pub(super) store: Store,
    /// What goes into the journal, and from where on.
    entries: Vec<(Sequence, LogEntry)>,
    first: Sequence,
    /// Whose messages of a shared log were applied, in order, and how far each had come before.
    appended: Vec<Appender>,
    appenders: Appenders,
    /// CRC-32 of the last message of it.
    last_message: Option<u32>,
    /// Complete ones: each is whole in itself, whatever becomes of the next.
    complete: Vec<Writes>,
    pub(super) writes: Writes,
    bytes: usize,
    pub(super) staging: Staging,
    pub(super) applied: Vec<Applied>,
    topics: Topics,
    pub(super) tally: Tally,
    /// When its first row was written, by the log's clock.
    first_at: Option<Millis>,
    /// Whose read marks changed since writes were last completed: each is written once, however
    /// often it changed.
    pub(super) marked: BTreeSet<Arc<str>>,
}

/// What a batch adds to the index.
#[derive(Default)]
pub(super) struct Staging {
    records: HashMap<Arc<str>, Record>,
    keys: HashMap<Vec<u8>, PublishedUnder>,
    revocations: Vec<Revocation>,
    pub(super) deletions: Deletions,
}

impl Staging {
    pub fn record(&self, owner: &str) -> Option<&Record> {
        self.records.get(owner)
    }

    pub fn deletions(&self) -> &Deletions {
        &self.deletions
    }

    pub(super) fn record_mut(&mut self, owner: &str) -> &mut Record {
        if !self.records.contains_key(owner) {
            self.records.insert(owner.into(), Record::default());
        }
        // It was put there in the line before.
        self.records.get_mut(owner).expect("inserted above")
    }
}

impl Batch {
    /// An empty batch behind the last committed entry. One at a time: a second one would be
    /// applied to a view without the first.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        let appenders = store.progress().appenders;
        let state = store.0.state.read();
        Self {
            store: store.clone(),
            entries: Vec::new(),
            first: state.active.tally.last + 1,
            appended: Vec::new(),
            appenders,
            last_message: None,
            complete: Vec::new(),
            writes: Writes::default(),
            bytes: 0,
            staging: Staging::default(),
            applied: Vec::new(),
            topics: Topics::default(),
            tally: state.active.tally,
            first_at: None,
            marked: BTreeSet::new(),
        }
    }

    /// The sequence that an embedded log gives the next entry.
    #[must_use]
    pub fn next_sequence(&self) -> Sequence {
        self.tally.last + 1
    }

    /// Whether a message of a shared log is to be applied: it is the next one of who appended it, and
    /// no copy.
    pub(crate) fn takes(&mut self, appender: Appender) -> bool {
        let is_next = self.appenders.is_next(appender);
        if is_next {
            self.appenders.note(&[appender]);
            self.appended.push(appender);
        }
        is_next
    }

    /// The log has nothing more up to here that would have an effect.
    pub fn cover(&mut self, through: Sequence) {
        self.tally.last = self.tally.last.max(through);
    }

    /// The log tells the time, by which all behind it is judged. Times never go back in the log,
    /// though clocks do: retention and expiry rely on it.
    pub fn advance(&mut self, at: Millis) {
        self.tally.last_at = self.tally.last_at.max(at);
    }

    /// The log's time behind it.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.tally.last_at
    }

    /// CRC-32 of the message of a shared log that is applied.
    pub(crate) fn note_message(&mut self, crc: u32) {
        self.last_message = Some(crc);
    }

    /// Bytes to be written.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.writes.bytes
    }

    /// Applies an entry at its place in the log. An entry that changes nothing takes no place.
    ///
    /// # Errors
    /// The view can't be read. The batch is as it was.
    pub fn apply(&mut self, sequence: Sequence, entry: Entry) -> Result<Outcome, StoreError> {
        // The entry's time is the log's: there is no other by which anything is decided.
        let entry = self.timed(entry);
        let stored = LogEntry::from(&entry);
        let outcome = match entry {
            Entry::Published(audience, published) => {
                self.apply_published(sequence, audience, published)?
            }
            Entry::ReadStateSet(set) => self.apply_read_state(sequence, &set)?,
            Entry::TokensRevoked(entry) => Outcome::Revoked(self.apply_revoked(sequence, entry)),
            Entry::Deleted(entry) => self.apply_deleted(sequence, entry, false)?,
        };
        if outcome.is_stored() {
            self.entries.push((sequence, stored));
            self.tally.last = sequence;
            if self.writes.keys() >= KEYS_AT_ONCE {
                self.complete_writes();
            }
        }
        Ok(outcome)
    }

    /// Applies an entry of the log once more, after what it had become was lost. What was decided
    /// then is not decided anew: settings may have changed since.
    ///
    /// # Errors
    /// The view can't be read.
    pub(super) fn apply_again(
        &mut self,
        sequence: Sequence,
        entry: Entry,
    ) -> Result<(), StoreError> {
        match self.timed(entry) {
            Entry::Published(audience, published) => {
                let key = keys::idempotency(&published.source_id, &published.event_id);
                let is_in_active = self.is_in_active(&key)?;
                self.publish(sequence, audience, published, key, is_in_active);
            }
            Entry::ReadStateSet(set) => {
                self.apply_read_state(sequence, &set)?;
            }
            Entry::TokensRevoked(entry) => self.revoke(sequence, entry),
            Entry::Deleted(entry) => {
                self.apply_deleted(sequence, entry, true)?;
            }
        }
        self.tally.last = sequence;
        if self.writes.keys() >= KEYS_AT_ONCE {
            self.complete_writes();
        }
        Ok(())
    }

    fn apply_published(
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

    fn publish(
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

    pub(super) fn add_row(&mut self, owner: &str, row: &Row, bytes: Bytes) {
        self.writes.insert(keys::row(owner, row.sequence), bytes);
        self.tally.rows += 1;
        self.first_at.get_or_insert(row.at);
        let item = row.item(&mut self.topics);
        self.staging.record_mut(owner).items.extend(item);
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

    fn is_in_active(&self, key: &[u8]) -> Result<bool, StoreError> {
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

    fn timed(&self, entry: Entry) -> Entry {
        let at = entry.at().max(self.tally.last_at);
        entry.timed(at)
    }

    fn apply_read_state(
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
        self.marked.insert(owner.into());
        self.tally.reads += u64::from(!self.has(owner, |record| record.reads.is_some()));
        self.staging.record_mut(owner).reads = Some(Arc::new(reads));
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

    fn apply_revoked(&mut self, sequence: Sequence, entry: TokensRevoked) -> Revoking {
        let at = entry.at.max(self.tally.last_at);
        let (known, staged) = (&self.store.0.revoked, &self.staging.revocations);
        let revoking = revocations::judge(known, staged, &entry.revocation, at);
        if revoking == Revoking::New {
            self.revoke(sequence, entry);
        }
        revoking
    }

    fn revoke(&mut self, sequence: Sequence, entry: TokensRevoked) {
        let TokensRevoked { at, revocation } = entry;
        self.tally.last_at = at.max(self.tally.last_at);
        let (known, staged) = (&self.store.0.revoked, &self.staging.revocations);
        let revocation = revocations::joined(known, staged, revocation, self.tally.last_at);
        let stored = revocations::encode(&revocation);
        self.writes.insert(revocations::key(sequence), stored);
        self.tally.revocations += 1;
        self.staging.revocations.push(revocation.clone());
        self.applied.push(Applied {
            sequence,
            audience: Audience::Recipients(Arc::new([])),
            change: Change::Revoked(revocation),
        });
    }

    /// Whether the active segment, with this batch, has something of the owner.
    pub(super) fn has(&self, owner: &str, what: impl Fn(&Record) -> bool) -> bool {
        let staged = self.staging.record(owner).is_some_and(&what);
        staged
            || self
                .store
                .0
                .state
                .read()
                .active
                .index
                .records
                .get(owner)
                .is_some_and(what)
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tally.last < self.first
    }

    fn complete_writes(&mut self) {
        for owner in std::mem::take(&mut self.marked) {
            let record = self.staging.record(&owner);
            if let Some(reads) = record.and_then(|record| record.reads.as_ref()) {
                self.writes
                    .insert_long(&keys::reads(&owner), &codec::encode_reads(reads));
            }
        }
        self.writes
            .insert(keys::TALLY.to_vec(), self.tally.encode_to_vec());
        self.bytes += self.writes.bytes;
        self.complete.push(std::mem::take(&mut self.writes));
    }

    /// Makes the batch safe, then visible, and returns what was applied, in order.
    ///
    /// # Errors
    /// Nothing of the batch is visible. Whether it is stored is not known until the store was
    /// opened again: [`Store::reopen`].
    pub fn commit(mut self) -> Result<Vec<Applied>, StoreError> {
        if self.is_empty() {
            return Ok(self.applied);
        }
        let entries = std::mem::take(&mut self.entries);
        let appended = std::mem::take(&mut self.appended);
        let frame = Frame {
            at: self.tally.last_at,
            last_message: self.last_message,
            ..Frame::new(self.first, self.tally.last, entries, appended)
        };
        self.store.0.journal.lock().append(&frame)?;
        self.show()
    }

    /// Makes visible what is safe in the log.
    ///
    /// # Errors
    /// As [`Batch::commit`].
    pub(super) fn show(mut self) -> Result<Vec<Applied>, StoreError> {
        if self.is_empty() {
            return Ok(self.applied);
        }
        self.complete_writes();
        let engine = self
            .store
            .0
            .state
            .read()
            .active
            .engine
            .clone()
            .ok_or_else(Active::failed)?;
        let mut complete = self.complete.into_iter();
        if let Err(error) = complete.try_for_each(|writes| engine.write(writes)) {
            // Of no more use, not even for reading.
            self.store.0.state.write().active.engine = None;
            return Err(error);
        }
        // Before it can be read that they are: nobody is let in by one that is.
        let revoked = &self.store.0.revoked;
        self.staging
            .revocations
            .iter()
            .for_each(|it| revoked.set(it));
        let mut state = self.store.0.state.write();
        let deleted = self.staging.deletions.since(0);
        if !deleted.is_empty() {
            let deletions = Arc::make_mut(&mut state.deletions);
            deleted.iter().for_each(|it| deletions.add(it.clone()));
        }
        let active = &mut state.active;
        active.tally = self.tally;
        active.bytes += self.bytes as u64;
        active.first_at = active.first_at.or(self.first_at);
        active.absorb(self.staging);
        Ok(self.applied)
    }
}

impl Active {
    fn absorb(&mut self, staging: Staging) {
        self.index
            .keys
            .extend(staging.keys.keys().map(|key| MemoryIndex::hash(key)));
        self.index.revocations.extend(staging.revocations);
        let deletions = staging.deletions.since(0);
        self.index.deletions.extend_from_slice(deletions);
        for (owner, staged) in staging.records {
            let record = self.index.records.entry(owner).or_default();
            record.items.extend(staged.items);
            record.reads = staged.reads.or(record.reads.take());
        }
    }

    /// Whether the next entries belong into a new segment.
    pub fn is_full(&self, settings: &StoreSettings) -> bool {
        self.tally.rows >= settings.segment_rows || self.bytes >= settings.segment_bytes
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
