//! How a batch is committed: made safe in the journal, then written to sled and visible.

use std::sync::Arc;

use prost::Message;

use crate::entry::Applied;

use super::{
    super::{Active, StoreError, codec, journal::Frame, keys},
    Batch,
};

impl Batch {
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
    pub(in crate::store) fn show(mut self) -> Result<Vec<Applied>, StoreError> {
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

    pub(super) fn complete_writes(&mut self) {
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
}
