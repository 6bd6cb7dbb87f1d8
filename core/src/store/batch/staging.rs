//! What a batch adds to the index: looked at by the entries behind, and absorbed when it is visible.

use std::{collections::HashMap, sync::Arc};

use mercurio_auth::Revocation;

use super::super::{
    Active, codec::PublishedUnder, deletions::Deletions, index::Record, segment::MemoryIndex,
};

#[derive(Default)]
pub(in crate::store) struct Staging {
    pub(super) records: HashMap<Arc<str>, Record>,
    pub(super) keys: HashMap<Vec<u8>, PublishedUnder>,
    pub(super) revocations: Vec<Revocation>,
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

impl Active {
    /// Takes in what was committed.
    pub(super) fn absorb(&mut self, staging: Staging) {
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
}
