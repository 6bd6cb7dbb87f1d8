//! Tokens are revoked.

use std::time::Duration;

use mercurio_auth::{MAX_TOKEN_ID_BYTES, Revocation, Revoked};
use mercurio_proto::v1::{self as pb, revoke_tokens_request::Tokens};
use prost_types::Timestamp;
use tonic::Request;

use crate::{clock, entry::Millis};

use super::{
    super::{auth, convert::timestamp, status::Refusal, validate::Violations},
    Context,
};

/// A revocation is kept this much longer than its tokens are said to live: the largest leeway that
/// verifiers can be given.
const MARGIN: Duration = Duration::from_secs(3600);

/// What is asked for, checked.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    tokens: Revoked,
    expires_at: Option<Millis>,
}

impl Context {
    pub(super) async fn revoke_tokens(
        &self,
        request: Request<pb::RevokeTokensRequest>,
    ) -> Result<pb::RevokeTokensResponse, Refusal> {
        auth::administrator(&request)?;
        let now = clock::now();
        let Asked { tokens, expires_at } = check(request.into_inner(), now)?;
        let until = match expires_at {
            Some(at) => Some(after(at, MARGIN)),
            None if self.verifier.allows_missing_exp() => None,
            None => Some(after(now, self.limits.revocation_age)),
        };
        let revoking = self.writer.revoke(Revocation {
            tokens: tokens.clone(),
            until,
        });
        let outcome = self.written(revoking).await?;
        // An earlier one may have said a later time.
        let kept = self.store.revocations().of(&tokens, now);
        // Whose they were is in the log of entries, and needn't be in this one.
        tracing::info!(
            cursor = outcome.cursor,
            was_revoked = outcome.was_revoked,
            "tokens were revoked"
        );
        Ok(pb::RevokeTokensResponse {
            cursor: outcome.cursor,
            already_revoked: outcome.was_revoked,
            kept_until: kept.and_then(|kept| kept.until).map(timestamp),
        })
    }
}

fn after(at: Millis, by: Duration) -> Millis {
    at.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
        .min(LAST)
}

/// The last millisecond of the year 9999: no date is later.
const LAST: Millis = 253_402_300_799_999;

fn check(request: pb::RevokeTokensRequest, now: Millis) -> Result<Asked, Refusal> {
    let mut wrong = Violations::default();
    let issued_before = request
        .issued_before
        .and_then(|at| date("issued_before", at, &mut wrong));
    let expires_at = request
        .expires_at
        .and_then(|at| date("expires_at", at, &mut wrong));
    if expires_at.is_some_and(|at| at <= now) {
        wrong.add(
            "expires_at",
            "in the past; tokens that have expired are refused as it is",
        );
    }
    let tokens = match request.tokens {
        None => {
            wrong.add("tokens", "unset; token_id or user_id is needed");
            None
        }
        Some(Tokens::TokenId(id)) => {
            wrong.check_bytes("token_id", id.len(), 1, MAX_TOKEN_ID_BYTES);
            wrong.check_control("token_id", &id);
            if request.issued_before.is_some() {
                wrong.add("issued_before", "set; it goes with user_id only");
            }
            Some(Revoked::Id(id.into()))
        }
        Some(Tokens::UserId(user)) => {
            wrong.check_bytes("user_id", user.len(), 1, mercurio_auth::MAX_USER_BYTES);
            wrong.check_control("user_id", &user);
            if issued_before.is_some_and(|at| at > now) {
                wrong.add(
                    "issued_before",
                    "in the future; now and what is before it are allowed",
                );
            }
            Some(Revoked::User {
                user: user.into(),
                issued_before: issued_before.unwrap_or(now),
            })
        }
    };
    let tokens = wrong.finish(tokens)?;
    Ok(Asked { tokens, expires_at })
}

/// A moment in milliseconds, those that have begun counted.
fn date(field: &str, at: Timestamp, wrong: &mut Violations) -> Option<Millis> {
    let millis = || {
        let seconds = u64::try_from(at.seconds).ok()?;
        let nanos = u32::try_from(at.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000)?;
        let millis = seconds.checked_mul(1000)?;
        let millis = millis.checked_add(u64::from(nanos.div_ceil(1_000_000)))?;
        (millis <= LAST).then_some(millis)
    };
    let found = millis();
    if found.is_none() {
        let Timestamp { seconds, nanos } = at;
        wrong.add(
            field,
            format!("{seconds} s and {nanos} ns; a moment of the years 1970 to 9999 is needed"),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;

    fn at(millis: Millis) -> Option<Timestamp> {
        Some(timestamp(millis))
    }

    fn fields(request: pb::RevokeTokensRequest) -> Vec<String> {
        match check(request, NOW) {
            Err(Refusal::Invalid(wrong)) => {
                let fields = wrong.fields().into_iter();
                fields.map(|wrong| wrong.field).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_a_user_now_or_before() {
        let user = |issued_before| pb::RevokeTokensRequest {
            tokens: Some(Tokens::UserId("ada".into())),
            issued_before,
            expires_at: at(NOW + 1),
        };
        for (given, expected) in [(None, NOW), (at(NOW), NOW), (at(NOW - 5), NOW - 5)] {
            let tokens = Revoked::User {
                user: "ada".into(),
                issued_before: expected,
            };
            let expires_at = Some(NOW + 1);
            let asked = Asked { tokens, expires_at };
            assert_eq!(check(user(given), NOW).unwrap(), asked);
        }
        assert_eq!(fields(user(at(NOW + 1))), ["issued_before"]);
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let nothing = pb::RevokeTokensRequest::default();
        assert_eq!(fields(nothing), ["tokens"]);
        let strange = |seconds, nanos| pb::RevokeTokensRequest {
            tokens: Some(Tokens::TokenId("x".repeat(257))),
            issued_before: Some(Timestamp { seconds, nanos }),
            expires_at: at(NOW),
        };
        let all = ["issued_before", "expires_at", "token_id", "issued_before"];
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000), (i64::MAX, 0)] {
            assert_eq!(fields(strange(seconds, nanos)), all);
        }
        for id in ["", "a\nb"] {
            let request = pb::RevokeTokensRequest {
                tokens: Some(Tokens::TokenId(id.into())),
                ..pb::RevokeTokensRequest::default()
            };
            assert_eq!(fields(request), ["token_id"]);
        }
    }
}
