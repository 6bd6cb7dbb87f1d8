//! A token that was accepted before: what is looked at again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_auth::{
    ClaimRules, KeySet, KeySource, Revocation, RevocationSet, Revoked, TokenError, Verifier,
};
use serde_json::json;

use crate::support::{NOW, at, good, good_but, hs256, now, pem, sign, verifier};

/// Twice, so that the second time it is known.
fn accept(verifier: &Verifier, token: &str) {
    let first = verifier.verify_at(token, now()).expect("genuine");
    assert_eq!(verifier.verify_at(token, now()), Ok(first));
}

#[test]
fn it_ends_when_it_expires() {
    let verifier = verifier(ClaimRules::default());
    let token = hs256(&good());
    accept(&verifier, &token);
    assert!(verifier.verify_at(&token, at(NOW + 59)).is_ok());
    let expired = verifier.verify_at(&token, at(NOW + 60));
    assert_eq!(expired, Err(TokenError::Expired));
}

#[test]
fn it_has_not_begun_where_the_clock_went_back() {
    for leeway in [0, 5] {
        let verifier = verifier(ClaimRules {
            leeway: Duration::from_secs(leeway),
            ..ClaimRules::default()
        });
        let token = hs256(&good_but("nbf", json!(NOW)));
        accept(&verifier, &token);
        assert!(verifier.verify_at(&token, at(NOW - leeway)).is_ok());
        let early = verifier.verify_at(&token, at(NOW - leeway - 1));
        assert_eq!(early, Err(TokenError::NotYetValid));
    }
}

#[test]
fn it_can_be_revoked() {
    let revoked = Arc::new(RevocationSet::default());
    let verifier = verifier(ClaimRules::default()).with_revocations(revoked.clone());
    let token = hs256(&good_but("jti", json!("seven")));
    accept(&verifier, &token);
    revoked.add(&Revocation {
        tokens: Revoked::Id("seven".into()),
        until: None,
    });
    assert_eq!(verifier.verify_at(&token, now()), Err(TokenError::Revoked));
}

#[test]
fn another_that_begins_like_it_is_another() {
    let verifier = verifier(ClaimRules::default());
    let token = hs256(&good());
    accept(&verifier, &token);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = signature.replace(|c: char| c.is_ascii_lowercase(), "A");
    assert_ne!(forged, signature);
    let forged = verifier.verify_at(&format!("{signed}.{forged}"), now());
    assert_eq!(forged, Err(TokenError::Signature));
}

struct Changing(Mutex<Arc<KeySet>>);

impl KeySource for Changing {
    fn keys(&self) -> Arc<KeySet> {
        self.0.lock().unwrap().clone()
    }

    fn refresh(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

#[test]
fn it_goes_with_its_key() {
    // Of the key that signs, and another one (RFC 8037, appendix A.2).
    let set = |x: &str| {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let set = json!({ "keys": [key] }).to_string();
        Arc::new(KeySet::parse(set.as_bytes()).expect("a set"))
    };
    let ours = || set(&public_x("ed25519.pub"));
    let source = Arc::new(Changing(Mutex::new(ours())));
    let verifier =
        Verifier::new(Vec::new(), ClaimRules::default()).with_sources(vec![source.clone()]);
    let key = EncodingKey::from_ed_pem(&pem("ed25519")).expect("a key");
    let token = sign(&good(), &key, Algorithm::EdDSA);
    accept(&verifier, &token);
    *source.0.lock().unwrap() = set("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let refused = verifier.verify_at(&token, now());
    assert_eq!(refused, Err(TokenError::Signature));
    *source.0.lock().unwrap() = ours();
    accept(&verifier, &token);
}

/// The key at the end of an Ed25519 key's SPKI, as a set has it.
fn public_x(name: &str) -> String {
    use base64::{Engine, engine::general_purpose};
    let pem = String::from_utf8(pem(name)).expect("text");
    let inner: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = general_purpose::STANDARD.decode(inner).expect("base64");
    crate::support::base64(&spki[spki.len() - 32..])
}
