//! The tokens that the gateway, and other cores, show a core.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::KeyError;
use crate::identity::{SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH};
use crate::issue::Issuer;

/// The user the gateway is towards the core.
pub const SERVICE_USER: &str = "mercurio-gateway";

/// The user a core is towards another one.
pub const PEER_USER: &str = "mercurio-core";

/// How long one of their tokens lives. It is replaced at half of that, so the two machines' clocks
/// may differ by as much.
pub const SERVICE_TTL: Duration = Duration::from_secs(5 * 60);

/// Bearer tokens for calling the core as a service: shared, cheap to clone, made when asked for.
/// `Debug` never prints one.
#[derive(Clone)]
pub struct ServiceTokens(Arc<Source>);

enum Source {
    Fixed(String),
    Issued {
        issuer: Issuer,
        user: &'static str,
        scopes: &'static [&'static str],
        current: Mutex<Option<Minted>>,
    },
}

struct Minted {
    token: String,
    at: SystemTime,
}

impl Minted {
    /// Not in the second half of its life; nor from a time ahead, the clock having been set back.
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.at)
            .is_ok_and(|age| age < SERVICE_TTL / 2)
    }
}

impl ServiceTokens {
    /// Tokens of `issuer`'s for [`SERVICE_USER`], who may publish and act for anyone.
    #[must_use]
    pub fn issued(issuer: Issuer) -> Self {
        Self::of(issuer, SERVICE_USER, &[SCOPE_ANY, SCOPE_PUBLISH])
    }

    /// Tokens of `issuer`'s for [`PEER_USER`], who may copy everything that is stored.
    #[must_use]
    pub fn for_peers(issuer: Issuer) -> Self {
        Self::of(issuer, PEER_USER, &[SCOPE_ADMIN])
    }

    fn of(issuer: Issuer, user: &'static str, scopes: &'static [&'static str]) -> Self {
        Self(Arc::new(Source::Issued {
            issuer,
            user,
            scopes,
            current: Mutex::new(None),
        }))
    }

    /// Always this token, for a gateway that has no key to sign with.
    #[must_use]
    pub fn fixed(token: String) -> Self {
        Self(Arc::new(Source::Fixed(token)))
    }

    /// The token to use now. Ask for each call: it is kept until half of its life is over.
    ///
    /// # Errors
    /// A new one could not be signed.
    pub fn token(&self) -> Result<String, KeyError> {
        self.token_at(SystemTime::now())
    }

    /// The one in use is refused, though it is fresh: the next call makes another one.
    pub fn forget(&self) {
        if let Source::Issued { current, .. } = &*self.0 {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// [`ServiceTokens::token`] at a moment of the caller's.
    ///
    /// # Errors
    /// The same.
    pub fn token_at(&self, now: SystemTime) -> Result<String, KeyError> {
        let (issuer, user, scopes, current) = match &*self.0 {
            Source::Fixed(token) => return Ok(token.clone()),
            Source::Issued {
                issuer,
                user,
                scopes,
                current,
            } => (issuer, user, scopes, current),
        };
        // Signing under the lock: the others want the same token and would wait for it anyway.
        // A panic in another thread leaves a whole token or none, so poison means nothing here.
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(minted) = current.as_ref().filter(|minted| minted.is_fresh(now)) {
            return Ok(minted.token.clone());
        }
        let token = issuer.issue_at(user, scopes, SERVICE_TTL, now)?;
        *current = Some(Minted {
            token: token.clone(),
            at: now,
        });
        Ok(token)
    }
}

impl fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Source::Fixed(_) => "ServiceTokens(fixed)",
            Source::Issued { .. } => "ServiceTokens(issued)",
        })
    }
}
