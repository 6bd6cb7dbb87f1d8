//! Who calls, and what they may. Every call's token is verified before the call is looked into
//! (`admission.rs`); from then on who calls stands in the request.

use http::{Extensions, HeaderMap};
use mercurio_auth::{Identity, SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH, TokenError, is_user};
use mercurio_proto::{
    PUBLISHER_METADATA,
    v1::{
        admin_service_server::SERVICE_NAME as ADMIN,
        notification_service_server::SERVICE_NAME as NOTIFICATIONS,
        relay_service_server::SERVICE_NAME as RELAY,
        snapshot_service_server::SERVICE_NAME as SNAPSHOTS,
    },
};
use tonic::Request;

use crate::entry::RecipientId;

use super::{Context, access::Call, incoming::Peer, status::Refusal};

/// Recipients that cost as much as one publish.
const RECIPIENTS_OF_ONE: usize = 100;

/// What is called, as far as it matters for who may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Publish,
    Relay,
    Administrator,
    /// It depends on the message.
    Reader,
}

impl Method {
    /// The one at this path.
    pub fn of(path: &str) -> Self {
        match path.trim_start_matches('/').split_once('/') {
            Some((NOTIFICATIONS, "Publish")) => Self::Publish,
            Some((RELAY, _)) => Self::Relay,
            Some((ADMIN | SNAPSHOTS, _)) => Self::Administrator,
            _ => Self::Reader,
        }
    }
}

/// Refuses who lacks the scope that every call of this method needs.
pub(super) fn check_scope(identity: &Identity, method: Method) -> Result<(), Refusal> {
    match method {
        Method::Publish => as_publisher(identity).map(drop),
        Method::Relay => as_service(identity).map(drop),
        Method::Administrator => as_administrator(identity).map(drop),
        Method::Reader => Ok(()),
    }
}

/// Who calls.
pub(super) fn caller<T>(request: &Request<T>) -> Result<&Identity, Refusal> {
    let admitted = request.extensions().get();
    admitted.ok_or(Refusal::Token(TokenError::Missing))
}

/// Who calls, if they may publish.
pub(super) fn publisher<T>(request: &Request<T>) -> Result<&Identity, Refusal> {
    as_publisher(caller(request)?)
}

/// Who calls, if they may act for any recipient.
pub(super) fn service<T>(request: &Request<T>) -> Result<&Identity, Refusal> {
    as_service(caller(request)?)
}

/// Who calls, if they run the service.
pub(super) fn administrator<T>(request: &Request<T>) -> Result<&Identity, Refusal> {
    as_administrator(caller(request)?)
}

/// Whose publish it is: the caller's; or theirs whom a gateway, which may act for anyone, passes it
/// on for.
pub(super) fn published_by<T>(request: &Request<T>, identity: &Identity) -> String {
    let named = request.metadata().get_bin(PUBLISHER_METADATA);
    named
        .filter(|_| identity.may_act_for(""))
        .and_then(|named| String::from_utf8(named.to_bytes().ok()?.into()).ok())
        .filter(|named| is_user(named))
        .unwrap_or_else(|| identity.user.clone())
}

impl Context {
    /// Who calls, by their token; or where there is none, by their certificate.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Identity, Refusal> {
        let identity = match bearer(headers) {
            Ok(token) => self.verifier.verify_newest(token).await,
            Err(TokenError::Missing) => {
                let names = extensions
                    .get::<Peer>()
                    .map_or(&[][..], |peer| peer.names.all());
                self.clients.identity(names).ok_or(TokenError::Missing)
            }
            Err(error) => Err(error),
        };
        let identity = identity.map_err(Refusal::Token)?;
        if let Some(call) = extensions.get::<Call>() {
            call.is_by(&identity.user);
        }
        Ok(identity)
    }

    /// Counts a publish to so many for its publisher.
    pub(super) fn charge(&self, publisher: String, recipients: usize) -> Result<(), Refusal> {
        let count = u32::try_from(recipients.div_ceil(RECIPIENTS_OF_ONE)).unwrap_or(u32::MAX);
        let taken = self.publishers.take_many(&publisher, count);
        taken.map_err(|wait| Refusal::RateLimited {
            who: format!("{publisher:?}"),
            does: "publishes",
            limit: self.limits.publishes_per_publisher,
            wait,
        })
    }

    /// Counts a call for the address that it comes from, whoever makes it.
    pub(super) fn charge_source(&self, extensions: &Extensions) -> Result<(), Refusal> {
        let address = extensions.get::<Peer>().and_then(|peer| peer.address);
        let Some(address) = address.map(|address| address.ip()) else {
            return Ok(());
        };
        let taken = self.sources.take(&address.into());
        taken.map_err(|wait| Refusal::RateLimited {
            who: format!("the address {address}"),
            does: "calls",
            limit: self.limits.calls_per_address,
            wait,
        })
    }

    /// Counts a call of a user's. Those who may act for anyone call for many.
    pub(super) fn charge_user(&self, identity: &Identity) -> Result<(), Refusal> {
        if identity.may_act_for("") {
            return Ok(());
        }
        let taken = self.users.take(&identity.user);
        taken.map_err(|wait| Refusal::RateLimited {
            who: format!("{:?}", identity.user),
            does: "calls",
            limit: self.limits.calls_per_user,
            wait,
        })
    }

    /// Whose token this is, if they may act for any recipient.
    pub(super) async fn service_token(&self, token: &str) -> Result<Identity, Refusal> {
        let verified = self.verifier.verify_newest(token).await;
        let identity = verified.map_err(Refusal::Token)?;
        as_service(&identity).cloned()
    }
}

fn as_publisher(identity: &Identity) -> Result<&Identity, Refusal> {
    identity
        .may_publish()
        .then_some(identity)
        .ok_or(Refusal::ScopeMissing(SCOPE_PUBLISH))
}

fn as_administrator(identity: &Identity) -> Result<&Identity, Refusal> {
    identity
        .may_administer()
        .then_some(identity)
        .ok_or(Refusal::ScopeMissing(SCOPE_ADMIN))
}

fn as_service(identity: &Identity) -> Result<&Identity, Refusal> {
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

fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all("authorization").iter();
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
            let mut headers = HeaderMap::new();
            headers.insert("authorization", value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(bearer_of("Bearer a.b.c").as_deref(), Ok("a.b.c"));
        assert_eq!(bearer_of("bearer  a.b.c ").as_deref(), Ok("a.b.c"));
        assert_eq!(bearer_of("a.b.c"), Err(TokenError::Missing));
        assert_eq!(bearer_of("Basic a.b.c"), Err(TokenError::Missing));
        assert_eq!(bearer(&HeaderMap::new()), Err(TokenError::Missing));
        let mut two = HeaderMap::new();
        two.append("authorization", "Bearer a".parse().unwrap());
        two.append("authorization", "Bearer b".parse().unwrap());
        assert_eq!(bearer(&two), Err(TokenError::Malformed));
    }
}
