//! Tokens of our own.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Header;
use serde_json::{Map, Value};

use crate::claims::LAST_SECOND;
use crate::error::KeyError;
use crate::identity::check_user;
use crate::keys::SigningKey;
use crate::rules::ClaimRules;
use crate::verify::MAX_TOKEN_BYTES;

/// Makes tokens that a [`crate::Verifier`] with the same key and rules accepts.
#[derive(Clone, Debug)]
pub struct Issuer {
    key: SigningKey,
    user_claim: String,
    issuer: Option<String>,
    audience: Option<String>,
}

impl Issuer {
    /// Signs with `key`; the user's claim, `iss` and `aud` are as the rules expect them.
    #[must_use]
    pub fn new(key: SigningKey, rules: &ClaimRules) -> Self {
        Self {
            key,
            user_claim: rules.user_claim.clone(),
            issuer: rules.issuer.clone(),
            audience: rules.audience.clone(),
        }
    }

    /// A token for `user`, valid now and for `ttl` (at least a second; rounded up to a whole one).
    ///
    /// # Errors
    /// A user or lifetime that can't be one, a token that would be too long, a failed signature.
    pub fn issue(&self, user: &str, scopes: &[&str], ttl: Duration) -> Result<String, KeyError> {
        self.issue_at(user, scopes, ttl, SystemTime::now())
    }

    /// [`Issuer::issue`] at a moment of the caller's.
    ///
    /// # Errors
    /// The same.
    pub fn issue_at(
        &self,
        user: &str,
        scopes: &[&str],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<String, KeyError> {
        check_user(user).map_err(KeyError::User)?;
        let (iat, exp) = lifetime(now, ttl).ok_or(KeyError::Ttl)?;

        let mut claims = Map::new();
        claims.insert(self.user_claim.clone(), user.into());
        if !scopes.is_empty() {
            claims.insert("scope".to_owned(), scopes.join(" ").into());
        }
        let named = [("iss", &self.issuer), ("aud", &self.audience)];
        for (claim, value) in named {
            if let Some(value) = value {
                claims.insert(claim.to_owned(), Value::String(value.clone()));
            }
        }
        claims.insert("jti".to_owned(), token_id()?.into());
        claims.insert("iat".to_owned(), iat.into());
        claims.insert("exp".to_owned(), exp.into());

        let header = Header::new(self.key.algorithm());
        let token = jsonwebtoken::encode(&header, &claims, self.key.key())
            .map_err(|error| KeyError::Sign(error.to_string()))?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(KeyError::TooLong);
        }
        Ok(token)
    }
}

/// A name of its own for each token, by which it can be revoked: 128 random bits.
fn token_id() -> Result<String, KeyError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|error| KeyError::Sign(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// `iat` and `exp` in seconds since 1970; `exp` rounded up, so that the token lives its `ttl`.
fn lifetime(now: SystemTime, ttl: Duration) -> Option<(u64, u64)> {
    if ttl < Duration::from_secs(1) {
        return None;
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let end = now.checked_add(ttl)?;
    let exp = end.as_secs() + u64::from(end.subsec_nanos() > 0);
    (exp <= LAST_SECOND).then_some((now.as_secs(), exp))
}
