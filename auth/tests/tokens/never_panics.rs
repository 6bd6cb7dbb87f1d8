//! Whatever comes in, what comes out is a verdict.

use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_auth::{ClaimRules, KeySet, SigningKey, Verifier, VerifyingKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::support::{SECRET, good, hs256, now, pem, sign, sign_text};

/// Every kind of key, so that each verifying path is walked.
fn verifier() -> Verifier {
    let mut keys = vec![VerifyingKey::from_secret(SECRET).unwrap()];
    for name in ["rsa.pub", "p256.pub", "p384.pub", "ed25519.pub"] {
        keys.push(VerifyingKey::from_pem(&pem(name)).unwrap());
    }
    let rules = ClaimRules {
        issuer: Some("house".to_owned()),
        audience: Some("mercurio".to_owned()),
        ..ClaimRules::default()
    };
    Verifier::new(keys, rules)
}

/// A genuine token of each algorithm.
fn genuine() -> Vec<String> {
    use Algorithm::*;
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa")).unwrap();
    let mut claims = good();
    claims["iss"] = json!("house");
    claims["aud"] = json!(["mercurio"]);
    let mut tokens = vec![
        hs256(&claims),
        sign(
            &claims,
            &EncodingKey::from_ec_pem(&pem("p256")).unwrap(),
            ES256,
        ),
        sign(
            &claims,
            &EncodingKey::from_ec_pem(&pem("p384")).unwrap(),
            ES384,
        ),
        sign(
            &claims,
            &EncodingKey::from_ed_pem(&pem("ed25519")).unwrap(),
            EdDSA,
        ),
    ];
    for algorithm in [RS256, RS384, RS512, PS256, PS384, PS512] {
        tokens.push(sign(&claims, &rsa, algorithm));
    }
    tokens
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,140}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,9}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_any_text(text in "\\PC*", parts in vec("[A-Za-z0-9_=.-]{0,60}", 0..5)) {
        let verifier = verifier();
        prop_assert!(verifier.verify_at(&text, now()).is_err());
        prop_assert!(verifier.verify_at(&parts.join("."), now()).is_err());
    }

    #[test]
    fn on_a_header_or_claims_of_any_json(header in any_json(), claims in any_json()) {
        let key = EncodingKey::from_secret(SECRET);
        let token = sign_text(&header.to_string(), &claims.to_string(), &key, Algorithm::HS256);
        prop_assert!(verifier().verify_at(&token, now()).is_err());
    }

    #[test]
    fn on_any_values_of_the_claims_it_reads(values in vec(any_json(), 6), take in vec(any::<bool>(), 6)) {
        let mut claims = good();
        claims["iss"] = json!("house");
        claims["aud"] = json!("mercurio");
        for ((claim, value), take) in ["exp", "nbf", "iss", "aud", "sub", "scope"].iter().zip(values).zip(take) {
            if take {
                claims[*claim] = value;
            }
        }
        // Any verdict, and none by a panic; what is accepted keeps the promises.
        if let Ok(identity) = verifier().verify_at(&hs256(&claims), now()) {
            prop_assert!((1..=128).contains(&identity.user.len()));
            prop_assert!(identity.expires_at.is_some_and(|end| end > now()));
        }
    }

    #[test]
    fn on_any_key_file(name in 0..5_usize, at in any::<Index>(), byte in any::<u8>()) {
        let names = ["rsa", "rsa.pkcs1", "p256", "p384", "ed25519"];
        for name in [names[name].to_owned(), format!("{}.pub", names[name])] {
            let mut file = pem(&name);
            let at = at.index(file.len());
            file[at] = byte;
            let _ = VerifyingKey::from_pem(&file);
            let _ = SigningKey::from_pem(&file);
            let _ = VerifyingKey::from_pem(&file[..at]);
        }
    }

    #[test]
    fn on_any_set_of_keys(
        json in any_json(),
        kind in 0..4_usize,
        parts in vec("[A-Za-z0-9_-]{0,400}", 4),
        alg in "(RS256|ES256|ES384|EdDSA|HS256|none|x)?",
    ) {
        let _ = KeySet::parse(json.to_string().as_bytes());
        let (kty, crv) = [("RSA", ""), ("EC", "P-256"), ("EC", "P-384"), ("OKP", "Ed25519")][kind];
        let [n, e, x, y] = [0, 1, 2, 3].map(|part| parts[part].as_str());
        let mut key = json!({ "kty": kty, "crv": crv, "n": n, "e": e, "x": x, "y": y });
        if !alg.is_empty() {
            key["alg"] = json!(alg);
        }
        let _ = KeySet::parse(json!({ "keys": [key, json] }).to_string().as_bytes());
    }
}

/// Every byte of a genuine token of every algorithm, changed, taken out, doubled; and every length
/// of it: never accepted, never a panic.
#[test]
fn on_any_change_to_a_genuine_token() {
    let verifier = verifier();
    for token in genuine() {
        assert!(verifier.verify_at(&token, now()).is_ok());
        for at in 0..token.len() {
            let (before, after) = (&token[..at], &token[at + 1..]);
            let byte = &token[at..=at];
            let other = if byte == "A" { "B" } else { "A" };
            for changed in [
                before.to_owned(),
                format!("{before}{after}"),
                format!("{before}{other}{after}"),
                format!("{before}.{after}"),
                format!("{before}{byte}{byte}{after}"),
            ] {
                if changed != token {
                    let verdict = verifier.verify_at(&changed, now());
                    assert!(verdict.is_err(), "accepted with a change at {at}");
                }
            }
        }
    }
}
