//! The apply path: how entries become the view's keys, and how a batch of them is committed.
//!
//! [`Batch::apply`] is the one way from an entry to what is stored. It is deterministic: it reads
//! the view and the entry, never a clock.
//!
//! | file | subject |
//! |---|---|
//! | `publishing`, `marking`, `deleting`, `revoking` | how an entry of each kind is applied |
//! | `staging` | what a batch adds to the index |
//! | `commit` | made safe, then visible |

mod commit;
mod deleting;
mod marking;
mod publishing;
mod revoking;
mod staging;

use std::{collections::BTreeSet, sync::Arc};

use crate::entry::{Applied, Entry, Millis, Sequence};

use super::{
    Store, StoreError,
    codec::{Row, Tally, Topics},
    engine::{Bytes, KEYS_AT_ONCE, Writes},
    journal::{Appender, Appenders, LogEntry},
    keys,
    reads::ReadSet,
    revocations::Revoking,
};

pub(super) use staging::Staging;

/// Entries applied and not yet committed. Dropped without [`Batch::commit`], nothing of it is
/// there.
pub struct Batch {
    store: Store,
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
    writes: Writes,
    bytes: usize,
    /// Bytes of its entries in the log, at most.
    logged: usize,
    staging: Staging,
    applied: Vec<Applied>,
    topics: Topics,
    tally: Tally,
    /// When its first row was written, by the log's clock.
    first_at: Option<Millis>,
    /// Whose read marks changed since writes were last completed: each is written once, however
    /// often it changed.
    marked: BTreeSet<Arc<str>>,
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
            logged: 0,
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

    /// Applies an entry at its place in the log. An entry that changes nothing takes no place.
    ///
    /// # Errors
    /// The view can't be read. The batch is as it was.
    pub fn apply(&mut self, sequence: Sequence, entry: Entry) -> Result<Outcome, StoreError> {
        let entry = self.timed(entry);
        let (stored, weight) = (LogEntry::from(&entry), entry.weight());
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
            self.logged += weight;
            self.has_applied(sequence);
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
        self.has_applied(sequence);
        Ok(())
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

    /// Bytes to be written, to the log and to the view.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.logged + self.bytes + self.writes.bytes
    }

    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tally.last < self.first
    }

    /// The entry's time is the log's: there is no other by which anything is decided.
    fn timed(&self, entry: Entry) -> Entry {
        let at = entry.at().max(self.tally.last_at);
        entry.timed(at)
    }

    fn has_applied(&mut self, sequence: Sequence) {
        self.tally.last = sequence;
        if self.writes.keys() >= KEYS_AT_ONCE {
            self.complete_writes();
        }
    }

    fn add_row(&mut self, owner: &str, row: &Row, bytes: Bytes) {
        self.writes.insert(keys::row(owner, row.sequence), bytes);
        self.tally.rows += 1;
        self.first_at.get_or_insert(row.at);
        let item = row.item(&mut self.topics);
        self.staging.record_mut(owner).items.extend(item);
    }

    /// Takes the place of an owner's read marks.
    fn set_reads(&mut self, owner: &str, reads: ReadSet) {
        let is_first = {
            let active = &self.store.0.state.read().active;
            let staged = self.staging.record(owner).into_iter();
            let mut known = staged.chain(active.index.records.get(owner));
            known.all(|record| record.reads.is_none())
        };
        self.tally.reads += u64::from(is_first);
        self.marked.insert(owner.into());
        self.staging.record_mut(owner).reads = Some(Arc::new(reads));
    }
}

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
