//! From a genuine token's claims to an identity.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use crate::error::{ClaimError, ClaimProblem, TokenError};
use crate::identity::{Grant, Identity, check_user};
use crate::rules::ClaimRules;

/// The last second of the year 9999. No date is later: the type for moments ends somewhere, and a
/// deadline computed from one must not overflow anywhere downstream.
pub(crate) const LAST_SECOND: u64 = 253_402_300_799;

/// The claims of a token whose signature is right.
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, TokenError> {
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|_| TokenError::Malformed)
    }

    /// Checks the claims by the rules, at that moment.
    pub(crate) fn identity(
        &self,
        rules: &ClaimRules,
        now: SystemTime,
    ) -> Result<Identity, TokenError> {
        let expires_at = self.expires_at(rules)?;
        if expires_at.is_some_and(|end| now >= end) {
            return Err(TokenError::Expired);
        }
        self.check_begun(rules, now)?;
        self.check_issuer(rules)?;
        self.check_audience(rules)?;
        let user = self.user(rules)?;
        let scopes = self.scopes()?;
        let mut identity = Identity::new(user, &scopes, expires_at);
        identity.grant = Some(self.grant());
        identity.publish |= rules.publishers.contains(&identity.user);
        Ok(identity)
    }

    /// What it can be revoked by. A claim that is not as it should be is as one that is not there.
    fn grant(&self) -> Grant {
        let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        let issued_at = self.date("iat").ok().flatten().and_then(since);
        Grant {
            id: self.0.get("jti").and_then(text).map(Into::into),
            issued_at: issued_at.and_then(|since| u64::try_from(since.as_millis()).ok()),
        }
    }

    /// The moment from which the token is refused.
    fn expires_at(&self, rules: &ClaimRules) -> Result<Option<SystemTime>, TokenError> {
        match self.date("exp")? {
            Some(exp) => Ok(Some(later(exp, rules.leeway))),
            None if rules.allow_missing_exp => Ok(None),
            None => Err(ClaimError::new("exp", ClaimProblem::Missing).into()),
        }
    }

    fn check_begun(&self, rules: &ClaimRules, now: SystemTime) -> Result<(), TokenError> {
        match self.begins_at(rules)? {
            Some(begin) if now < begin => Err(TokenError::NotYetValid),
            _ => Ok(()),
        }
    }

    /// The moment from which the token is accepted.
    pub(crate) fn begins_at(&self, rules: &ClaimRules) -> Result<Option<SystemTime>, TokenError> {
        let nbf = self.date("nbf")?;
        Ok(nbf.map(|nbf| earlier(nbf, rules.leeway)))
    }

    fn check_issuer(&self, rules: &ClaimRules) -> Result<(), TokenError> {
        match &rules.issuer {
            Some(issuer) if self.0.get("iss").and_then(Value::as_str) != Some(issuer) => {
                Err(TokenError::Issuer)
            }
            _ => Ok(()),
        }
    }

    fn check_audience(&self, rules: &ClaimRules) -> Result<(), TokenError> {
        let Some(audience) = rules.audience.as_deref() else {
            return Ok(());
        };
        let named = match self.0.get("aud") {
            Some(Value::String(aud)) => aud == audience,
            Some(Value::Array(auds)) => auds.iter().any(|aud| aud.as_str() == Some(audience)),
            _ => false,
        };
        if named {
            Ok(())
        } else {
            Err(TokenError::Audience)
        }
    }

    fn user(&self, rules: &ClaimRules) -> Result<String, ClaimError> {
        let refuse = |problem| ClaimError::new(&rules.user_claim, problem);
        let user = match self.0.get(&rules.user_claim) {
            None | Some(Value::Null) => return Err(refuse(ClaimProblem::Missing)),
            Some(value) => text(value).ok_or(refuse(ClaimProblem::NotAUser))?,
        };
        check_user(&user).map_err(refuse)?;
        Ok(user)
    }

    /// The scopes: one string with spaces between them, or an array.
    fn scopes(&self) -> Result<Vec<&str>, ClaimError> {
        let refuse = || ClaimError::new("scope", ClaimProblem::NotAScope);
        match self.0.get("scope") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(scopes)) => Ok(scopes.split_ascii_whitespace().collect()),
            Some(Value::Array(scopes)) => scopes
                .iter()
                .map(|scope| scope.as_str().ok_or_else(refuse))
                .collect(),
            Some(_) => Err(refuse()),
        }
    }

    /// A date: seconds since 1970, whole or not, negative before (RFC 7519, section 2).
    fn date(&self, claim: &str) -> Result<Option<SystemTime>, ClaimError> {
        let refuse = |problem| ClaimError::new(claim, problem);
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        let since = if let Some(seconds) = value.as_u64() {
            Duration::from_secs(seconds)
        } else {
            let seconds = value.as_f64().ok_or(refuse(ClaimProblem::NotADate))?;
            // Before 1970 is past, how far does not matter: it counts as 1970.
            Duration::try_from_secs_f64(seconds.max(0.0))
                .map_err(|_| refuse(ClaimProblem::OutOfRange))?
        };
        if since > Duration::from_secs(LAST_SECOND) {
            return Err(refuse(ClaimProblem::OutOfRange));
        }
        // Can't overflow: it is no later than the last second.
        Ok(Some(SystemTime::UNIX_EPOCH + since))
    }
}

/// A claim that is text, or a whole number as text. A fraction, or more than 64 bits, has no one
/// decimal text.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// `moment` and a little less; 1970 where there is nothing before.
fn earlier(moment: SystemTime, by: Duration) -> SystemTime {
    let first = SystemTime::UNIX_EPOCH;
    let since = moment.duration_since(first).unwrap_or_default();
    first + since.saturating_sub(by)
}

/// `moment` and a little more, but no later than the last second.
fn later(moment: SystemTime, by: Duration) -> SystemTime {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(LAST_SECOND);
    moment.checked_add(by).map_or(last, |sum| sum.min(last))
}
