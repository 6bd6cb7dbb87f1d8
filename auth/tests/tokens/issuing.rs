//! Tokens of our own are accepted by our own, and are what they should be.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mercurio_auth::{
    ClaimProblem, ClaimRules, Issuer, KeyError, SCOPE_ANY, SCOPE_PUBLISH, SigningKey, TokenError,
    Verifier, VerifyingKey,
};
use serde_json::{Value, json};

use crate::support::{NOW, SECRET, at, now, pem, verifier};

const HOUR: Duration = Duration::from_secs(3600);

fn issuer(rules: &ClaimRules) -> Issuer {
    Issuer::new(SigningKey::from_secret(SECRET).unwrap(), rules)
}

/// Header and claims of a token.
fn read(token: &str) -> (Value, Value) {
    let part = |n| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap());
        serde_json::from_slice(&bytes.unwrap()).unwrap()
    };
    (part(0), part(1))
}

#[test]
fn every_kind_of_key_signs_what_its_other_half_accepts() {
    let rules = ClaimRules::default();
    for (private, public, alg) in [
        ("rsa", "rsa.pub", "RS256"),
        ("rsa.pkcs1", "rsa.pkcs1.pub", "RS256"),
        ("p256", "p256.pub", "ES256"),
        ("p384", "p384.pub", "ES384"),
        ("ed25519", "ed25519.pub", "EdDSA"),
    ] {
        let issuer = Issuer::new(SigningKey::from_pem(&pem(private)).unwrap(), &rules);
        let token = issuer.issue_at("ada", &[], HOUR, now()).unwrap();
        assert_eq!(read(&token).0, json!({"alg": alg, "typ": "JWT"}));
        let key = VerifyingKey::from_pem(&pem(public)).unwrap();
        let verifier = Verifier::new(vec![key], rules.clone());
        let identity = verifier.verify_at(&token, now()).unwrap();
        assert_eq!(identity.expires_at, Some(now() + HOUR));
    }
}

#[test]
fn the_claims_are_as_the_rules_expect_them() {
    let rules = ClaimRules {
        user_claim: "user_id".to_owned(),
        issuer: Some("house".to_owned()),
        audience: Some("mercurio".to_owned()),
        ..ClaimRules::default()
    };
    let scopes = [SCOPE_PUBLISH, SCOPE_ANY];
    let token = issuer(&rules)
        .issue_at("billing", &scopes, HOUR, now())
        .unwrap();
    let (header, mut claims) = read(&token);
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
    // A name of its own: no other token has it.
    let other = issuer(&rules).issue_at("billing", &scopes, HOUR, now());
    let id = claims["jti"].take();
    assert_eq!(id.as_str().map(str::len), Some(22));
    assert_ne!(read(&other.unwrap()).1["jti"], id);
    assert_eq!(
        claims,
        json!({
            "user_id": "billing",
            "scope": "notifications:publish notifications:any",
            "iss": "house",
            "aud": "mercurio",
            "jti": null,
            "iat": NOW,
            "exp": NOW + 3600,
        })
    );
    let identity = verifier(rules).verify_at(&token, now()).unwrap();
    assert!(identity.may_publish() && identity.may_act_for("ada"));
}

#[test]
fn no_scope_no_claim() {
    let rules = ClaimRules::default();
    let token = issuer(&rules).issue_at("ada", &[], HOUR, now()).unwrap();
    assert_eq!(read(&token).1.get("scope"), None);
}

#[test]
fn now_means_now() {
    let rules = ClaimRules::default();
    let token = issuer(&rules).issue("ada", &[], HOUR).unwrap();
    let verifier = verifier(rules);
    let end = verifier.verify(&token).unwrap().expires_at.unwrap();
    assert!(end.duration_since(SystemTime::now()).unwrap() <= HOUR + Duration::from_secs(1));
    assert_eq!(verifier.verify_at(&token, end), Err(TokenError::Expired));
}

#[test]
fn a_token_lives_its_whole_ttl() {
    let between = now() + Duration::from_millis(1);
    let ttl = Duration::from_secs(1);
    let token = issuer(&ClaimRules::default()).issue_at("ada", &[], ttl, between);
    assert_eq!(read(&token.unwrap()).1["exp"], NOW + 2);
}

#[test]
fn what_can_not_be_issued() {
    let issuer = issuer(&ClaimRules::default());
    let issue = |user: &str, ttl| issuer.issue_at(user, &[], ttl, now()).unwrap_err();
    for (user, problem) in [
        ("", ClaimProblem::Empty),
        (&"x".repeat(129), ClaimProblem::TooLong),
        ("a\tb", ClaimProblem::ControlCharacter),
    ] {
        assert_eq!(issue(user, HOUR), KeyError::User(problem));
    }
    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        assert_eq!(issue("ada", ttl), KeyError::Ttl);
    }
    let before_1970 = at(0) - HOUR;
    let verdict = issuer.issue_at("ada", &[], HOUR, before_1970);
    assert_eq!(verdict, Err(KeyError::Ttl));
    let scope = "x".repeat(9000);
    let verdict = issuer.issue_at("ada", &[&scope], HOUR, now());
    assert_eq!(verdict, Err(KeyError::TooLong));
}
