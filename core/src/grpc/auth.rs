//! Who calls, and what they may. Every call verifies its own token.

use mercurio_auth::{Identity, SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH, TokenError};
use tonic::{Request, metadata::MetadataMap};

use crate::entry::RecipientId;

use super::{Context, access::Call, incoming::Peer, status::Refusal};

/// What a call says of who calls.
pub(super) struct Caller<'a> {
    metadata: &'a MetadataMap,
    /// In the certificate of the connection.
    names: &'a [String],
    call: Option<&'a Call>,
}

impl<'a> Caller<'a> {
    pub fn of<T>(request: &'a Request<T>) -> Self {
        let extensions = request.extensions();
        Self {
            metadata: request.metadata(),
            names: extensions
                .get::<Peer>()
                .map_or(&[], |peer| peer.names.all()),
            call: extensions.get::<Call>(),
        }
    }
}

impl Context {
    /// Who calls, by their token; or where there is none, by their certificate.
    pub(super) async fn identify(&self, caller: Caller<'_>) -> Result<Identity, Refusal> {
        let identity = match bearer(caller.metadata) {
            Ok(token) => self.verifier.verify_newest(token).await,
            Err(TokenError::Missing) => self
                .clients
                .identity(caller.names)
                .ok_or(TokenError::Missing),
            Err(error) => Err(error),
        };
        let identity = identity.map_err(Refusal::Token)?;
        if let Some(call) = caller.call {
            call.is_by(&identity.user);
        }
        Ok(identity)
    }

    /// Who calls, if they may publish.
    pub(super) async fn publisher(&self, caller: Caller<'_>) -> Result<Identity, Refusal> {
        let identity = self.identify(caller).await?;
        identity
            .may_publish()
            .then_some(identity)
            .ok_or(Refusal::ScopeMissing(SCOPE_PUBLISH))
    }

    /// Who calls, if they may act for any recipient.
    pub(super) async fn service(&self, caller: Caller<'_>) -> Result<Identity, Refusal> {
        as_service(self.identify(caller).await?)
    }

    /// Who calls, if they may copy everything that is stored.
    pub(super) async fn administrator(&self, caller: Caller<'_>) -> Result<Identity, Refusal> {
        let identity = self.identify(caller).await?;
        identity
            .may_administer()
            .then_some(identity)
            .ok_or(Refusal::ScopeMissing(SCOPE_ADMIN))
    }

    /// Whose token this is, if they may act for any recipient.
    pub(super) async fn service_token(&self, token: &str) -> Result<Identity, Refusal> {
        let verified = self.verifier.verify_newest(token).await;
        as_service(verified.map_err(Refusal::Token)?)
    }
}

fn as_service(identity: Identity) -> Result<Identity, Refusal> {
    // Nobody's id is empty: only the scope can allow it.
    identity
        .may_act_for("")
        .then_some(identity)
        .ok_or(Refusal::ScopeMissing(SCOPE_ANY))
}

/// Refuses a feed that is neither the caller's own nor opened by the scope.
pub(super) fn check_feed(identity: &Identity, recipient: &RecipientId) -> Result<(), Refusal> {
    if identity.may_act_for(recipient.as_str()) {
        Ok(())
    } else {
        Err(Refusal::NotYourFeed)
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, TokenError> {
    let mut values = metadata.get_all("authorization").iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        // Which of the two another hop would have looked at is anybody's guess.
        return Err(TokenError::Malformed);
    }
    let value = value.to_str().map_err(|_| TokenError::Malformed)?;
    // Something else than a bearer token is none.
    let (scheme, token) = value.split_once(' ').ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    Ok(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_behind_the_scheme() {
        let bearer_of = |value: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("authorization", value.parse().unwrap());
            bearer(&metadata).map(str::to_owned)
        };
        assert_eq!(bearer_of("Bearer a.b.c").as_deref(), Ok("a.b.c"));
        assert_eq!(bearer_of("bearer  a.b.c ").as_deref(), Ok("a.b.c"));
        assert_eq!(bearer_of("a.b.c"), Err(TokenError::Missing));
        assert_eq!(bearer_of("Basic a.b.c"), Err(TokenError::Missing));
        assert_eq!(bearer(&MetadataMap::new()), Err(TokenError::Missing));
        let mut two = MetadataMap::new();
        two.append("authorization", "Bearer a".parse().unwrap());
        two.append("authorization", "Bearer b".parse().unwrap());
        assert_eq!(bearer(&two), Err(TokenError::Malformed));
    }
}
