//! Tokens that were found genuine before. Clients show the same one with each call, and a signature
//! takes up to tens of microseconds to check: it is checked once. What depends on the moment (`exp`, `nbf`,
//! whether it is revoked) is checked each time, and all of it again once any set of keys has changed.
//!
//! Not the token is kept but its SHA-256: who has another token has another digest, and where one
//! that is nearly the same is looked for can't be told from how long it takes.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use crate::identity::Identity;
use crate::jwks::KeySet;
use crate::revoked::MAX_TOKEN_ID_BYTES;

/// Tokens that are kept; each takes less than a KiB.
const KEPT: u64 = 4_096;

pub(crate) struct Genuine(Cache<Digest, Known>);

/// A token's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

/// What was read of a token whose signature was right.
#[derive(Clone)]
pub(crate) struct Known {
    pub identity: Identity,
    /// From then on it is accepted.
    pub begins_at: Option<SystemTime>,
    /// The sets of keys by which it was found so.
    pub sets: Vec<Weak<KeySet>>,
}

impl Digest {
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl Default for Genuine {
    fn default() -> Self {
        Self(Cache::with_weighter(0, KEPT, UnitWeighter))
    }
}

impl Genuine {
    /// Whose token this is, if it was found genuine by these sets, and is accepted now. `None`: look at
    /// it.
    pub fn get(&self, token: &Digest, sets: &[Arc<KeySet>], now: SystemTime) -> Option<Identity> {
        let Known {
            identity,
            begins_at,
            sets: then,
        } = self.0.get(token)?;
        // A weak pointer keeps its place in memory from being another set's.
        let is_same = |(now, then): (&Arc<KeySet>, &Weak<KeySet>)| {
            std::ptr::eq(Arc::as_ptr(now), then.as_ptr())
        };
        let are_same = sets.len() == then.len() && sets.iter().zip(&then).all(is_same);
        let is_current = identity.expires_at.is_none_or(|end| now < end)
            && begins_at.is_none_or(|begin| begin <= now);
        (are_same && is_current).then_some(identity)
    }

    pub fn put(&self, token: Digest, known: Known) {
        let id = known.identity.grant.as_ref();
        let id = id.and_then(|grant| grant.id.as_ref());
        if id.is_none_or(|id| id.len() <= MAX_TOKEN_ID_BYTES) {
            self.0.insert(token, known);
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let genuine = Genuine::default();
        let known = |id: usize| {
            let mut identity = Identity::new("ada".into(), &[], None);
            identity.grant = Some(crate::Grant {
                id: Some("x".repeat(id).into()),
                issued_at: None,
            });
            Known {
                identity,
                begins_at: None,
                sets: Vec::new(),
            }
        };
        for number in 0..3 * KEPT {
            genuine.put(Digest::of(&number.to_string()), known(1));
        }
        assert!(genuine.count() as u64 <= KEPT);
        let (long, longest) = (Digest::of("long"), Digest::of("longest"));
        genuine.put(long, known(MAX_TOKEN_ID_BYTES + 1));
        assert!(genuine.get(&long, &[], SystemTime::now()).is_none());
        genuine.put(longest, known(MAX_TOKEN_ID_BYTES));
        assert!(genuine.get(&longest, &[], SystemTime::now()).is_some());
    }
}
