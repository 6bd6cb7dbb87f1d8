//! The domain: what stands in the log and what readers are given.
//!
//! Values are validated where they enter (`grpc/validate.rs`); in here a wrong one can't be
//! written down. Times are milliseconds since the Unix epoch.

use std::{fmt, sync::Arc};

use mercurio_auth::{Revocation, Revoked};

/// An entry's place in the log: from 1, strictly increasing, never reused. 0 is "before all".
pub type Sequence = u64;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The most bytes a recipient's id has.
pub const RECIPIENT_ID_MAX: usize = 128;

/// A user's id: 1..=128 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecipientId(Arc<str>);

impl RecipientId {
    /// `None` unless `id` has 1..=128 bytes and no control character.
    #[must_use]
    pub fn new(id: &str) -> Option<Self> {
        let fits = (1..=RECIPIENT_ID_MAX).contains(&id.len());
        (fits && !id.chars().any(char::is_control)).then(|| Self(id.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RecipientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who gets a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// These, each once.
    Recipients(Arc<[RecipientId]>),
    /// Everyone, including those who first come later.
    Everyone,
}

/// One change in the log. It carries its own time: whoever applies it never looks at a clock.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A notification for its audience.
    Published(Audience, Arc<Published>),
    /// A recipient's notifications marked read or unread.
    ReadStateSet(ReadStateSet),
    /// Tokens that are no longer good.
    TokensRevoked(TokensRevoked),
    /// Notifications that are to be gone.
    Deleted(Deleted),
}

impl Entry {
    /// When it was made, or, once it is applied, when the log has it.
    #[must_use]
    pub fn at(&self) -> Millis {
        match self {
            Self::Published(_, published) => published.at,
            Self::ReadStateSet(set) => set.at,
            Self::TokensRevoked(entry) => entry.at,
            Self::Deleted(entry) => entry.at,
        }
    }

    /// The same with another time; what it lives for stays.
    #[must_use]
    pub fn timed(mut self, at: Millis) -> Self {
        if self.at() != at {
            match &mut self {
                Self::Published(_, published) => {
                    let published = Arc::make_mut(published);
                    let made_at = std::mem::replace(&mut published.at, at);
                    let later = |end: Millis| at.saturating_add(end.saturating_sub(made_at));
                    published.expires_at = published.expires_at.map(later);
                }
                Self::ReadStateSet(set) => set.at = at,
                Self::TokensRevoked(entry) => entry.at = at,
                Self::Deleted(entry) => entry.at = at,
            }
        }
        self
    }

    /// Bytes that it takes on its way to the log, at most.
    #[must_use]
    pub fn weight(&self) -> usize {
        // Its times, and what tells its parts apart.
        const FIXED: usize = 96;
        FIXED
            + match self {
                Self::Published(audience, published) => {
                    let ids = match audience {
                        Audience::Everyone => 0,
                        Audience::Recipients(ids) => {
                            ids.iter().map(|id| id.as_str().len() + 3).sum()
                        }
                    };
                    let names = published.source_id.len() + published.event_id.len();
                    ids + names + published.topic.len() + published.data.len()
                }
                Self::ReadStateSet(set) => {
                    let ids = match &set.target {
                        ReadTarget::Ids(ids) => ids.len() * 10,
                        ReadTarget::UpTo(_) => 0,
                    };
                    ids + set.recipient.as_str().len()
                }
                Self::TokensRevoked(entry) => match &entry.revocation.tokens {
                    Revoked::Id(name) | Revoked::User { user: name, .. } => name.len(),
                },
                Self::Deleted(Deleted { deletion, .. }) => match deletion {
                    Deletion::Notifications { owners, ids } => {
                        let names = owners.names();
                        ids.len() * 10 + names.map(|name| name.len() + 3).sum::<usize>()
                    }
                    Deletion::Everything { of } => of.as_str().len(),
                },
            }
    }
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// When it was published.
    pub at: Millis,
    /// The publishing service.
    pub source_id: String,
    /// Idempotency key within `source_id`.
    pub event_id: String,
    /// Dot-separated tokens; may be empty.
    pub topic: Arc<str>,
    /// The body.
    pub data: String,
    /// From when on it is neither delivered, listed nor counted.
    pub expires_at: Option<Millis>,
}

/// A request to mark notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadStateSet {
    /// When it was asked for.
    pub at: Millis,
    /// Whose notifications.
    pub recipient: RecipientId,
    /// Which of them.
    pub target: ReadTarget,
    /// Read or unread.
    pub read: bool,
}

/// A request to refuse tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokensRevoked {
    /// When it was asked for.
    pub at: Millis,
    /// Which, and for how long.
    pub revocation: Revocation,
}

/// A request to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// When it was asked for.
    pub at: Millis,
    /// What is to be gone.
    pub deletion: Deletion,
}

/// What is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Notifications, from the views of these; of everyone: what went to everyone, for all.
    Notifications {
        /// Whose views.
        owners: Audience,
        /// Which; what is not theirs is passed over.
        ids: Vec<Sequence>,
    },
    /// All of a user up to the entry itself: notifications, marks, and the idempotency keys of what
    /// only they got. What went to everyone until then is not theirs any more, either.
    Everything {
        /// Who is forgotten.
        of: RecipientId,
    },
}

impl Audience {
    /// The names under which it is stored: everyone's is empty.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let (named, everyone): (&[RecipientId], _) = match self {
            Self::Recipients(named) => (named, None),
            Self::Everyone => (&[], Some("")),
        };
        named.iter().map(RecipientId::as_str).chain(everyone)
    }
}

/// What became of a deletion: what every open stream of those learns whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedChange {
    /// The notifications that are gone, ascending; empty where `up_to` says it.
    pub ids: Vec<Sequence>,
    /// Greater than 0: all up to this id.
    pub up_to: Sequence,
    /// The number of unread notifications right after this change; `None`: of everyone's
    /// notifications it is each reader's own.
    pub unread_count: Option<u64>,
    /// When.
    pub at: Millis,
}

/// Which notifications a mark means. Those that are not the recipient's are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadTarget {
    /// These.
    Ids(Vec<Sequence>),
    /// All up to this one.
    UpTo(Sequence),
}

/// What became of the marks: what every open stream of the user learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadStateChange {
    /// The notifications that changed, ascending; empty where `up_to` says it.
    pub ids: Vec<Sequence>,
    /// Greater than 0: all up to this id.
    pub up_to: Sequence,
    /// Read or unread.
    pub read: bool,
    /// The number of unread notifications right after this change.
    pub unread_count: u64,
    /// When.
    pub at: Millis,
}

/// One applied entry on its way to live readers.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its place in the log.
    pub sequence: Sequence,
    /// Whom it concerns.
    pub audience: Audience,
    /// What changed.
    pub change: Change,
}

/// What changed for a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A notification was published.
    Published(Arc<Published>),
    /// Notifications were marked.
    ReadState(Arc<ReadStateChange>),
    /// Notifications are gone.
    Deleted(Arc<DeletedChange>),
    /// Tokens were revoked: nobody's feed, so its audience is empty. Whoever verifies tokens learns
    /// of it.
    Revoked(Revocation),
}

/// A notification as one recipient sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The sequence of its entry.
    pub id: Sequence,
    /// What was published.
    pub published: Arc<Published>,
    /// When the recipient read it.
    pub read_at: Option<Millis>,
    /// Published to everyone.
    pub broadcast: bool,
}

/// One change of a recipient's feed, read from the store.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedChange {
    /// A notification, as it stands now.
    Notification(Notification),
    /// Notifications were marked.
    ReadState(Arc<ReadStateChange>),
    /// Notifications are gone.
    Deleted(Arc<DeletedChange>),
}
