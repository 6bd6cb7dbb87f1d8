//! How tokens are revoked.

use std::sync::Arc;

use crate::entry::{Applied, Audience, Change, Sequence, TokensRevoked};

use super::{
    super::revocations::{self, Revoking},
    Batch,
};

impl Batch {
    pub(super) fn apply_revoked(&mut self, sequence: Sequence, entry: TokensRevoked) -> Revoking {
        let (known, staged) = (&self.store.0.revoked, &self.staging.revocations);
        let revoking = revocations::judge(known, staged, &entry.revocation, entry.at);
        if revoking == Revoking::New {
            self.revoke(sequence, entry);
        }
        revoking
    }

    pub(super) fn revoke(&mut self, sequence: Sequence, entry: TokensRevoked) {
        let TokensRevoked { at, revocation } = entry;
        self.tally.last_at = at;
        let (known, staged) = (&self.store.0.revoked, &self.staging.revocations);
        let revocation = revocations::joined(known, staged, revocation, at);
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
}
