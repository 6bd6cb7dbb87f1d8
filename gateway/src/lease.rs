//! What keeps a stream open: the token that it was opened with, or the last one that it was shown.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use mercurio_auth::{Identity, Revocation, Revoked};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Tokens whose ends differ by less end at the same time: each is reckoned from a clock of its own.
const SAME: Duration = Duration::from_secs(1);

/// Until when a stream may go on, and who may say so.
pub(crate) struct Lease {
    /// The stream's name, at this gateway.
    id: u64,
    opened: Instant,
    held: Mutex<Held>,
}

struct Held {
    /// Whose token it is; `None`: the user's whose stream it is.
    by: Option<Box<str>>,
    /// `None`: for ever.
    until: Option<Instant>,
    token: Mark,
    /// It has ended: nothing renews it.
    is_over: bool,
}

/// What is kept of a token to know it by when it is revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    /// A hash of its id; 0: it has none.
    id: u64,
    /// Milliseconds since the Unix epoch; 0: it doesn't say.
    issued_at: u64,
}

/// A token that holds a stream open.
pub(crate) struct Token<'a> {
    /// Whose it is.
    pub holder: &'a str,
    /// When it expires; `None`: never.
    until: Option<Instant>,
    mark: Mark,
}

impl<'a> Token<'a> {
    pub fn of(identity: &'a Identity) -> Self {
        let left = identity.remaining(SystemTime::now());
        let grant = identity.grant.as_ref();
        let id = grant.and_then(|grant| grant.id.as_deref());
        Self {
            holder: &identity.user,
            until: left.map(|left| Instant::now() + left),
            mark: Mark {
                id: id.map_or(0, hash),
                issued_at: grant.and_then(|grant| grant.issued_at).unwrap_or(0),
            },
        }
    }
}

/// Never 0, and nobody knows two ids with the same one.
fn hash(id: &str) -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.hash_one(id).max(1)
}

/// Revocations, to find the streams of their tokens by.
#[derive(Default)]
pub(crate) struct Wanted {
    ids: HashSet<u64>,
    users: HashMap<Arc<str>, u64>,
}

impl Wanted {
    pub fn new(revocations: &[Revocation]) -> Self {
        let mut wanted = Self::default();
        for revocation in revocations {
            match &revocation.tokens {
                Revoked::Id(id) => drop(wanted.ids.insert(hash(id))),
                Revoked::User {
                    user,
                    issued_before,
                } => {
                    let before = wanted.users.entry(user.clone()).or_default();
                    *before = (*before).max(*issued_before);
                }
            }
        }
        wanted
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.users.is_empty()
    }

    fn has(&self, holder: &str, token: Mark) -> bool {
        let of_user = self.users.get(holder);
        of_user.is_some_and(|before| token.issued_at < *before) || self.ids.contains(&token.id)
    }
}

impl Lease {
    /// Of a stream of `client`'s, opened with this token.
    pub fn new(client: &str, token: &Token<'_>) -> Self {
        Self {
            id: fastrand::u64(..),
            opened: Instant::now(),
            held: Mutex::new(Held {
                by: (token.holder != client).then(|| token.holder.into()),
                until: token.until,
                token: token.mark,
                is_over: false,
            }),
        }
    }

    #[cfg(test)]
    pub fn endless(client: &str) -> Self {
        let token = Token {
            holder: client,
            until: None,
            mark: Mark::default(),
        };
        Self::new(client, &token)
    }

    /// The stream's name.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// When the stream was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Whose token it was opened with, of a stream of `client`'s.
    pub fn holder(&self, client: &str) -> Box<str> {
        let by = self.held.lock().by.clone();
        by.unwrap_or_else(|| client.into())
    }

    /// Whether it has ended; if so, nothing renews it any more.
    pub fn is_over(&self, now: Instant) -> bool {
        let mut held = self.held.lock();
        held.is_over |= held.until.is_some_and(|until| until <= now);
        held.is_over
    }

    /// When it ends; `None`: never.
    pub fn until(&self) -> Option<Instant> {
        self.held.lock().until
    }

    /// Goes on until this token expires, or as long as it would anyway. `false`: it is over, or
    /// another's. The stream need not be woken: it looks when it was to end.
    pub fn renew(&self, client: &str, token: &Token<'_>) -> bool {
        let mut held = self.held.lock();
        if held.is_over || held.by.as_deref().unwrap_or(client) != token.holder {
            return false;
        }
        let lasts = match (token.until, held.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(new), Some(old)) => new + SAME >= old,
        };
        // The one that lasts longest holds it: it is not kept open by one that is revoked since.
        if lasts {
            held.until = held.until.and_then(|old| Some(token.until?.max(old)));
            held.token = token.mark;
        }
        true
    }

    /// Whether the token that holds it is one of these; if so, it is over.
    pub fn revoke(&self, client: &str, wanted: &Wanted) -> bool {
        let mut held = self.held.lock();
        let is_wanted = wanted.has(held.by.as_deref().unwrap_or(client), held.token);
        held.is_over |= is_wanted;
        is_wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(holder: &str, until: Option<Instant>) -> Token<'_> {
        Token {
            holder,
            until,
            mark: Mark::default(),
        }
    }

    #[test]
    fn it_is_renewed_by_its_holder_and_before_it_is_over() {
        let start = Instant::now();
        let after = |seconds| Some(start + Duration::from_secs(seconds));
        let lease = Lease::new("ada", &token("ada", after(10)));
        assert!(!lease.renew("ada", &token("service", after(20))));
        assert!(lease.renew("ada", &token("ada", after(20))));
        // Never shorter.
        assert!(lease.renew("ada", &token("ada", after(5))));
        assert_eq!(lease.until(), after(20));
        assert!(!lease.is_over(start + Duration::from_secs(19)));
        assert!(lease.is_over(start + Duration::from_secs(20)));
        assert!(!lease.renew("ada", &token("ada", after(60))));
        assert!(lease.is_over(start), "once over, over");
        let services = Lease::new("ada", &token("service", after(10)));
        assert!(!services.renew("ada", &token("ada", None)));
        assert!(services.renew("ada", &token("service", None)));
        assert_eq!(services.until(), None);
        // Nor is one that never ends by one that does.
        assert!(services.renew("ada", &token("service", after(10))));
        assert_eq!(services.until(), None);
    }

    #[test]
    fn it_is_over_with_the_token_that_holds_it() {
        let start = Instant::now();
        let marked = |id: &str, issued_at, seconds| Token {
            mark: Mark {
                id: hash(id),
                issued_at,
            },
            ..token("ada", Some(start + Duration::from_secs(seconds)))
        };
        let wanted = |tokens| {
            let until = None;
            Wanted::new(&[Revocation { tokens, until }])
        };
        let id = |id: &str| wanted(Revoked::Id(id.into()));
        let user = |user: &str, issued_before| {
            let user = user.into();
            wanted(Revoked::User {
                user,
                issued_before,
            })
        };
        let lease = Lease::new("ada", &marked("first", 100, 10));
        assert!(!lease.revoke("ada", &id("second")));
        assert!(!lease.revoke("ada", &user("ada", 100)));
        assert!(!lease.revoke("ada", &user("bob", 900)));
        assert!(lease.renew("ada", &marked("second", 200, 20)));
        // One that ends at the same time takes over; one that ends earlier holds nothing.
        assert!(lease.renew("ada", &marked("second", 200, 20)));
        assert!(lease.renew("ada", &marked("third", 300, 15)));
        for other in [id("first"), id("third"), user("ada", 200)] {
            assert!(!lease.revoke("ada", &other));
        }
        assert!(lease.revoke("ada", &id("second")));
        assert!(lease.is_over(start) && !lease.renew("ada", &marked("fourth", 900, 60)));
        // Of whom it is, counts who holds it; and one without a date is older than any.
        let services = Lease::new("ada", &token("service", None));
        assert!(!services.revoke("ada", &user("ada", 900)));
        assert!(services.revoke("ada", &user("service", 1)));
    }
}
