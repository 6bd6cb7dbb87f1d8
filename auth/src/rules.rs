//! What is expected of a token's claims.

use std::time::Duration;

use crate::error::RulesError;
use crate::identity::check_user;

/// Claims with a meaning of their own: none of them can name the user.
const RESERVED: [&str; 7] = ["exp", "nbf", "iat", "iss", "aud", "jti", "scope"];

/// What is expected of a token's claims; the issuer writes them by the same rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRules {
    /// The claim that holds the user's id.
    pub user_claim: String,
    /// Accept tokens that never expire.
    pub allow_missing_exp: bool,
    /// Where set: `iss` must be this.
    pub issuer: Option<String>,
    /// Where set: `aud` must be this or hold it. Where not, a token with any `aud` is accepted.
    pub audience: Option<String>,
    /// How far clocks may differ: a token is accepted this long before `nbf` and after `exp`.
    /// Zero by default, so that a stream ends at its token's `exp` exactly.
    pub leeway: Duration,
    /// Users who may publish without the scope.
    pub publishers: Vec<String>,
}

impl Default for ClaimRules {
    /// The user in `sub`, `exp` required, any issuer and audience, no leeway, no publishers.
    fn default() -> Self {
        Self {
            user_claim: "sub".to_owned(),
            allow_missing_exp: false,
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
            publishers: Vec::new(),
        }
    }
}

impl ClaimRules {
    /// All that is wrong with the rules: with any of it tokens would be refused that nobody meant
    /// to refuse, never the other way round. Empty: nothing.
    #[must_use]
    pub fn problems(&self) -> Vec<RulesError> {
        let mut problems = Vec::new();
        if self.user_claim.is_empty() {
            problems.push(RulesError::UserClaimEmpty);
        }
        if RESERVED.contains(&self.user_claim.as_str()) {
            problems.push(RulesError::UserClaimReserved(self.user_claim.clone()));
        }
        if self.issuer.as_deref() == Some("") {
            problems.push(RulesError::IssuerEmpty);
        }
        if self.audience.as_deref() == Some("") {
            problems.push(RulesError::AudienceEmpty);
        }
        problems.extend(self.publishers.iter().filter_map(|publisher| {
            check_user(publisher)
                .err()
                .map(|problem| RulesError::Publisher {
                    publisher: publisher.clone(),
                    problem,
                })
        }));
        problems
    }
}
