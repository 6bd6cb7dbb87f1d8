//! What clients may do who show a certificate and no token.

use std::collections::HashMap;

use thiserror::Error;

use crate::error::ClaimProblem;
use crate::identity::{Identity, SCOPES, check_user};

/// Scopes by the names in clients' certificates. Whose certificate has none of the names may do
/// nothing without a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientScopes(HashMap<String, Vec<&'static str>>);

/// Why a name can't be given a scope.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientScopeError {
    /// There is no `=`.
    #[error("{0:?} is not NAME=SCOPE, as in billing.internal=notifications:publish")]
    Form(String),
    /// The name can't be a user's.
    #[error("the name in {given:?} {problem}")]
    Name {
        /// As configured.
        given: String,
        /// What is wrong with it.
        problem: ClaimProblem,
    },
    /// There is no such scope.
    #[error("the scope {0:?} is none; there are {known}", known = SCOPES.join(", "))]
    Scope(String),
}

impl ClientScopes {
    /// From `NAME=SCOPE`, as often as a name has scopes. A name is one of the certificate's DNS
    /// names or URIs, to the letter.
    ///
    /// # Errors
    /// The first that can't be given.
    pub fn parse<'a>(given: impl IntoIterator<Item = &'a str>) -> Result<Self, ClientScopeError> {
        let mut scopes: HashMap<String, Vec<&'static str>> = HashMap::new();
        for given in given {
            // A URI may have an equals sign, a scope has none.
            let (name, scope) = given
                .rsplit_once('=')
                .ok_or_else(|| ClientScopeError::Form(given.to_owned()))?;
            check_user(name).map_err(|problem| ClientScopeError::Name {
                given: given.to_owned(),
                problem,
            })?;
            let known = SCOPES.iter().find(|known| **known == scope);
            let scope = known.ok_or_else(|| ClientScopeError::Scope(scope.to_owned()))?;
            scopes.entry(name.to_owned()).or_default().push(scope);
        }
        Ok(Self(scopes))
    }

    /// Who a client with these names in its certificate is: the first name that has scopes.
    #[must_use]
    pub fn identity(&self, names: &[String]) -> Option<Identity> {
        let mut known = names
            .iter()
            .filter_map(|name| Some((name, self.0.get(name)?)));
        let (name, scopes) = known.next()?;
        Some(Identity::new(name.clone(), scopes, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_scopes_it_is_given_and_no_other() {
        let given = [
            "billing.internal=notifications:publish",
            "spiffe://x/?a=b=notifications:any",
        ];
        let scopes = ClientScopes::parse(given).unwrap();
        let identity = |name: &str| scopes.identity(&["other".into(), name.into()]);
        let billing = identity("billing.internal").unwrap();
        assert_eq!(billing.user, "billing.internal");
        assert!(billing.may_publish() && !billing.may_act_for("ada"));
        let spiffe = identity("spiffe://x/?a=b").unwrap();
        assert!(!spiffe.may_publish() && spiffe.may_act_for("ada"));
        assert_eq!(identity("Billing.internal"), None);
        assert_eq!(scopes.identity(&[]), None);
        for wrong in [
            "billing",
            "=notifications:any",
            "a\n=notifications:any",
            "a=admin",
        ] {
            assert!(ClientScopes::parse([wrong]).is_err(), "{wrong:?}");
        }
    }
}
