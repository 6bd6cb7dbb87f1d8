//! Who a verified token says somebody is, and what they may do.

use std::time::{Duration, SystemTime};

use crate::error::ClaimProblem;

/// The scope to publish.
pub const SCOPE_PUBLISH: &str = "notifications:publish";

/// The scope to act for any recipient, as services and the gateway itself do.
pub const SCOPE_ANY: &str = "notifications:any";

/// The scope of those who run the service: to revoke tokens, to delete anyone's notifications, to see how
/// the service is and who is connected, and to copy everything that is stored, for backups and for cores
/// that start from another one.
pub const SCOPE_ADMIN: &str = "notifications:admin";

/// Every scope there is.
pub const SCOPES: &[&str] = &[SCOPE_PUBLISH, SCOPE_ANY, SCOPE_ADMIN];

/// The most bytes a user's id has; the same as a recipient's.
pub const MAX_USER_BYTES: usize = 128;

/// What a verified token says, or a client's certificate. Only a [`crate::Verifier`] and
/// [`crate::ClientScopes`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's id: 1..=128 bytes without control characters. An integer claim is its decimal
    /// text, so `666` and `"666"` are the same user.
    pub user: String,
    /// From this moment on the token is refused, and a stream it opened ends: `exp`, plus the
    /// leeway where one is configured. `None`: it never expires.
    pub expires_at: Option<SystemTime>,
    /// What the token can be revoked by. `None`: it was a certificate.
    pub grant: Option<Grant>,
    pub(crate) publish: bool,
    pub(crate) any: bool,
    pub(crate) admin: bool,
}

/// What a token can be revoked by, beside its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Its `jti`, where that is text or a whole number, which is taken as text.
    pub id: Option<Box<str>>,
    /// Its `iat` in milliseconds since the Unix epoch, where that is a date.
    pub issued_at: Option<u64>,
}

impl Identity {
    pub(crate) fn new(user: String, scopes: &[&str], expires_at: Option<SystemTime>) -> Self {
        Self {
            user,
            expires_at,
            grant: None,
            publish: scopes.contains(&SCOPE_PUBLISH),
            any: scopes.contains(&SCOPE_ANY),
            admin: scopes.contains(&SCOPE_ADMIN),
        }
    }

    /// Whether they may publish: by the scope, or as a configured publisher.
    #[must_use]
    pub fn may_publish(&self) -> bool {
        self.publish
    }

    /// Whether they may read and mark `user`'s notifications: their own, or anyone's by the scope.
    #[must_use]
    pub fn may_act_for(&self, user: &str) -> bool {
        self.any || self.user == user
    }

    /// Whether they run the service: what that allows, [`SCOPE_ADMIN`] says.
    #[must_use]
    pub fn may_administer(&self) -> bool {
        self.admin
    }

    /// How long the token lives on after `now`, zero if it has expired; `None`: for ever.
    #[must_use]
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        self.expires_at
            .map(|end| end.duration_since(now).unwrap_or_default())
    }
}

/// Whether `user` can be a user's id: 1..=[`MAX_USER_BYTES`] bytes without control characters.
#[must_use]
pub fn is_user(user: &str) -> bool {
    check_user(user).is_ok()
}

/// What keeps `user` from being a user's id.
pub(crate) fn check_user(user: &str) -> Result<(), ClaimProblem> {
    if user.is_empty() {
        Err(ClaimProblem::Empty)
    } else if user.len() > MAX_USER_BYTES {
        Err(ClaimProblem::TooLong)
    } else if user.chars().any(char::is_control) {
        Err(ClaimProblem::ControlCharacter)
    } else {
        Ok(())
    }
}
