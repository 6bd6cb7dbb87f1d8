//! Tokens that are no longer good although they have not expired: which, and until when that has to
//! be remembered. Times are milliseconds since the Unix epoch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::identity::{Grant, Identity};

/// The most bytes that a `jti` has by which a token is revoked. One with a longer one is revoked by
/// its user.
pub const MAX_TOKEN_ID_BYTES: usize = 256;

/// What says which tokens are revoked. It is asked for each token, once all else is right.
pub trait Revocations: Send + Sync {
    /// Whether the token that this identity was made of is.
    fn is_revoked(&self, identity: &Identity) -> bool;
}

/// Some tokens, revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub tokens: Revoked,
    /// When the last of them expires: from then on nobody need know of it. `None`: never.
    pub until: Option<u64>,
}

/// Which tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Those with this `jti`.
    Id(Arc<str>),
    /// A user's.
    User {
        /// Whose.
        user: Arc<str>,
        /// Those whose `iat` is before this, and those that have none.
        issued_before: u64,
    },
}

impl Revocation {
    /// Whether it is of no more use by then.
    #[must_use]
    pub fn is_past(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// The revocations in force: looked up in constant time, and shared with who learns of new ones.
#[derive(Debug, Default)]
pub struct RevocationSet(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Until when.
    ids: HashMap<Arc<str>, Option<u64>>,
    users: HashMap<Arc<str>, OfUser>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfUser {
    issued_before: u64,
    until: Option<u64>,
}

/// The later end; `None` is later than any.
fn later(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.max(other?))
}

impl OfUser {
    fn new(issued_before: u64, until: Option<u64>) -> Self {
        Self {
            issued_before,
            until,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            issued_before: self.issued_before.max(other.issued_before),
            until: later(self.until, other.until),
        }
    }
}

impl Revocations for RevocationSet {
    fn is_revoked(&self, identity: &Identity) -> bool {
        let Some(Grant { id, issued_at }) = &identity.grant else {
            return false;
        };
        let known = self.read();
        let by_id = || id.as_deref().is_some_and(|id| known.ids.contains_key(id));
        let of_user = known.users.get(identity.user.as_str());
        let by_user = of_user.is_some_and(|of| issued_at.is_none_or(|at| at < of.issued_before));
        by_user || by_id()
    }
}

impl RevocationSet {
    /// Adds one. What is revoked already stays so, as far and as long as the one or the other says.
    pub fn add(&self, revocation: &Revocation) {
        let mut known = self.write();
        let until = revocation.until;
        match &revocation.tokens {
            Revoked::Id(id) => match known.ids.entry(id.clone()) {
                Entry::Occupied(mut before) => *before.get_mut() = later(*before.get(), until),
                Entry::Vacant(new) => drop(new.insert(until)),
            },
            Revoked::User {
                user,
                issued_before,
            } => {
                let of = OfUser::new(*issued_before, until);
                let place = known.users.entry(user.clone()).or_insert(of);
                *place = place.and(of);
            }
        }
    }

    /// Sets what holds of exactly these tokens, whatever held of them before.
    pub fn set(&self, revocation: &Revocation) {
        let mut known = self.write();
        let until = revocation.until;
        match &revocation.tokens {
            Revoked::Id(id) => drop(known.ids.insert(id.clone(), until)),
            Revoked::User {
                user,
                issued_before,
            } => {
                let of = OfUser::new(*issued_before, until);
                known.users.insert(user.clone(), of);
            }
        }
    }

    /// The one of exactly these tokens. One that is past by then is dropped.
    #[must_use]
    pub fn of(&self, tokens: &Revoked, now: u64) -> Option<Revocation> {
        let mut known = self.write();
        let found = match tokens {
            Revoked::Id(id) => known.ids.get(id).map(|until| Revocation {
                tokens: tokens.clone(),
                until: *until,
            }),
            Revoked::User { user, .. } => known.users.get(user).map(|of| Revocation {
                tokens: Revoked::User {
                    user: user.clone(),
                    issued_before: of.issued_before,
                },
                until: of.until,
            }),
        };
        if found.as_ref().is_some_and(|found| found.is_past(now)) {
            match tokens {
                Revoked::Id(id) => drop(known.ids.remove(id)),
                Revoked::User { user, .. } => drop(known.users.remove(user)),
            }
            return None;
        }
        found
    }

    /// Whether adding it would change nothing.
    #[must_use]
    pub fn covers(&self, revocation: &Revocation) -> bool {
        let known = self.read();
        let until = revocation.until;
        match &revocation.tokens {
            Revoked::Id(id) => {
                let before = known.ids.get(id);
                before.is_some_and(|before| later(*before, until) == *before)
            }
            Revoked::User {
                user,
                issued_before,
            } => {
                let of = OfUser::new(*issued_before, until);
                let before = known.users.get(user);
                before.is_some_and(|before| before.and(of) == *before)
            }
        }
    }

    /// Drops those that are of no more use by then.
    pub fn forget_past(&self, now: u64) {
        let lasts = |until: Option<u64>| until.is_none_or(|until| until > now);
        let mut known = self.write();
        known.ids.retain(|_, until| lasts(*until));
        known.users.retain(|_, of| lasts(of.until));
    }

    /// How many there are: ids and users.
    #[must_use]
    pub fn len(&self) -> usize {
        let known = self.read();
        known.ids.len() + known.users.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Revocation> {
        let known = self.read();
        let ids = known.ids.iter().map(|(id, until)| Revocation {
            tokens: Revoked::Id(id.clone()),
            until: *until,
        });
        let users = known.users.iter().map(|(user, of)| Revocation {
            tokens: Revoked::User {
                user: user.clone(),
                issued_before: of.issued_before,
            },
            until: of.until,
        });
        ids.chain(users).collect()
    }

    // What is changed under the lock is whole after each step: poison means nothing here.
    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str, until: Option<u64>) -> Revocation {
        Revocation {
            tokens: Revoked::Id(id.into()),
            until,
        }
    }

    fn user(user: &str, issued_before: u64, until: Option<u64>) -> Revocation {
        let user = user.into();
        Revocation {
            tokens: Revoked::User {
                user,
                issued_before,
            },
            until,
        }
    }

    #[test]
    fn what_is_added_lasts_as_far_and_as_long_as_any_says() {
        let set = RevocationSet::default();
        for (first, less, more) in [
            (id("a", Some(50)), id("a", Some(40)), id("a", Some(60))),
            (id("b", Some(50)), id("b", Some(50)), id("b", None)),
            (
                user("u", 10, Some(50)),
                user("u", 9, Some(50)),
                user("u", 11, Some(40)),
            ),
        ] {
            assert!(!set.covers(&first));
            set.add(&first);
            assert!(set.covers(&first) && set.covers(&less) && !set.covers(&more));
            set.add(&more);
            assert!(set.covers(&first) && set.covers(&more));
        }
        assert_eq!(set.len(), 3);
        let of_u = user("u", 0, None).tokens;
        assert_eq!(set.of(&of_u, 49), Some(user("u", 11, Some(50))));
        let kept = user("u", 11, Some(50));
        assert!(set.all().contains(&kept), "{:?}", set.all());
        set.forget_past(60);
        assert_eq!(set.all(), [id("b", None)]);
        set.add(&user("u", 11, Some(50)));
        assert_eq!((set.of(&of_u, 50), set.len()), (None, 1));
        set.add(&user("u", 11, Some(50)));
        for one in [user("u", 9, Some(70)), id("b", Some(70))] {
            set.set(&one);
            assert_eq!(set.of(&one.tokens, 60), Some(one));
        }
        set.set(&id("b", None));
        set.forget_past(70);
        assert_eq!(set.all(), [id("b", None)]);
        assert!(id("b", Some(5)).is_past(5) && !id("b", Some(6)).is_past(5));
    }
}
