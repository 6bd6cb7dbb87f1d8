//! Tokens that are revoked: by their id, and a user's by when they were issued.

use std::sync::Arc;

use mercurio_auth::{
    ClaimRules, ClientScopes, Revocation, RevocationSet, Revocations, Revoked, TokenError, Verifier,
};
use serde_json::{Value, json};

use crate::support::{NOW, good_but, hs256, now, verifier};

fn revoking() -> (Verifier, Arc<RevocationSet>) {
    let set = Arc::new(RevocationSet::default());
    let verifier = verifier(ClaimRules::default()).with_revocations(set.clone());
    (verifier, set)
}

fn verdict(verifier: &Verifier, claims: &Value) -> Result<String, TokenError> {
    let verified = verifier.verify_at(&hs256(claims), now());
    verified.map(|identity| identity.user)
}

#[test]
fn by_id() {
    let (verifier, set) = revoking();
    let token = good_but("jti", json!("seven"));
    assert_eq!(verdict(&verifier, &token).as_deref(), Ok("ada"));
    set.add(&Revocation {
        tokens: Revoked::Id("seven".into()),
        until: None,
    });
    assert_eq!(verdict(&verifier, &token), Err(TokenError::Revoked));
    assert_eq!(TokenError::Revoked.code(), "TOKEN_REVOKED");
    for other in [json!("eight"), json!("seven "), json!(7), json!(["seven"])] {
        let token = good_but("jti", other);
        assert_eq!(verdict(&verifier, &token).as_deref(), Ok("ada"));
    }
    // What is wrong with it besides is said first.
    let mut late = token;
    late["exp"] = json!(NOW);
    assert_eq!(verdict(&verifier, &late), Err(TokenError::Expired));
}

#[test]
fn by_an_id_that_is_a_number() {
    let (verifier, set) = revoking();
    for id in ["123", "-7", "18446744073709551615", "1"] {
        set.add(&Revocation {
            tokens: Revoked::Id(id.into()),
            until: None,
        });
    }
    for revoked in [json!(123), json!("123"), json!(-7), json!(u64::MAX)] {
        let token = good_but("jti", revoked);
        assert_eq!(verdict(&verifier, &token), Err(TokenError::Revoked));
    }
    for other in [
        json!(124),
        json!(1.0),
        json!(1.5),
        json!([123]),
        json!(true),
    ] {
        let token = good_but("jti", other);
        assert_eq!(verdict(&verifier, &token).as_deref(), Ok("ada"));
    }
}

#[test]
fn of_a_user_by_when_they_were_issued() {
    let (verifier, set) = revoking();
    set.add(&Revocation {
        tokens: Revoked::User {
            user: "ada".into(),
            issued_before: NOW * 1000 - 500,
        },
        until: None,
    });
    let issued = |at: Value| verdict(&verifier, &good_but("iat", at));
    for before in [
        json!(NOW - 60),
        json!(NOW - 1),
        json!(NOW as f64 - 0.501),
        json!(-5),
        // None that can be told.
        json!("yesterday"),
        json!(1e300),
        json!(null),
    ] {
        assert_eq!(issued(before.clone()), Err(TokenError::Revoked), "{before}");
    }
    for since in [json!(NOW as f64 - 0.5), json!(NOW), json!(NOW + 9)] {
        assert_eq!(issued(since.clone()).as_deref(), Ok("ada"), "{since}");
    }
    let without = good_but("sub", json!("ada"));
    assert_eq!(verdict(&verifier, &without), Err(TokenError::Revoked));
    let other = good_but("sub", json!("grace"));
    assert_eq!(verdict(&verifier, &other).as_deref(), Ok("grace"));
}

#[test]
fn a_certificate_is_no_token() {
    let (_, set) = revoking();
    let scopes = ClientScopes::parse(["ada=notifications:any"]).unwrap();
    set.add(&Revocation {
        tokens: Revoked::User {
            user: "ada".into(),
            issued_before: u64::MAX,
        },
        until: None,
    });
    let identity = scopes.identity(&["ada".into()]).unwrap();
    assert!(!set.is_revoked(&identity));
}
