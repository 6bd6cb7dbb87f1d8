//! Each algorithm is accepted with its own kind of key, and with no other.

use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_auth::{ClaimRules, TokenError, Verifier, VerifyingKey};

use crate::support::{SECRET, good, now, pem, sign};

/// Every kind of key, both halves, and what it is for.
fn keys() -> Vec<(VerifyingKey, EncodingKey, Vec<Algorithm>)> {
    use Algorithm::*;
    let public = |name: &str| VerifyingKey::from_pem(&pem(&format!("{name}.pub"))).unwrap();
    vec![
        (
            VerifyingKey::from_secret(SECRET).unwrap(),
            EncodingKey::from_secret(SECRET),
            vec![HS256, HS384, HS512],
        ),
        (
            public("rsa"),
            EncodingKey::from_rsa_pem(&pem("rsa")).unwrap(),
            vec![RS256, RS384, RS512, PS256, PS384, PS512],
        ),
        (
            public("p256"),
            EncodingKey::from_ec_pem(&pem("p256")).unwrap(),
            vec![ES256],
        ),
        (
            public("p384"),
            EncodingKey::from_ec_pem(&pem("p384")).unwrap(),
            vec![ES384],
        ),
        (
            public("ed25519"),
            EncodingKey::from_ed_pem(&pem("ed25519")).unwrap(),
            vec![EdDSA],
        ),
    ]
}

#[test]
fn each_key_accepts_its_own_algorithms_and_no_others() {
    let keys = keys();
    for (mine, (verifying, _, _)) in keys.iter().enumerate() {
        let verifier = Verifier::new(vec![verifying.clone()], ClaimRules::default());
        for (theirs, (_, signing, algorithms)) in keys.iter().enumerate() {
            for algorithm in algorithms {
                let verdict = verifier.verify_at(&sign(&good(), signing, *algorithm), now());
                if mine == theirs {
                    assert_eq!(verdict.unwrap().user, "ada", "{algorithm:?}");
                } else {
                    let expected = TokenError::Algorithm;
                    assert_eq!(verdict, Err(expected), "{algorithm:?} with {verifying:?}");
                }
            }
        }
    }
}

#[test]
fn a_key_says_what_it_is_for() {
    for (verifying, _, algorithms) in keys() {
        let expected: Vec<String> = algorithms.iter().map(|a| format!("{a:?}")).collect();
        assert_eq!(verifying.algorithms().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_verifier_of_many_keys_accepts_a_token_of_any() {
    let keys = keys();
    let all = keys.iter().map(|(verifying, _, _)| verifying.clone());
    let verifier = Verifier::new(all.collect(), ClaimRules::default());
    for (_, signing, algorithms) in &keys {
        for algorithm in algorithms {
            let token = sign(&good(), signing, *algorithm);
            assert_eq!(verifier.verify_at(&token, now()).unwrap().user, "ada");
        }
    }
}

#[test]
fn while_keys_change_the_old_and_the_new_are_good_and_a_third_is_not() {
    let public = |name| VerifyingKey::from_pem(&pem(name)).unwrap();
    let token = |name| {
        let key = EncodingKey::from_rsa_pem(&pem(name)).unwrap();
        sign(&good(), &key, Algorithm::RS256)
    };
    let both = Verifier::new(
        vec![public("rsa.pub"), public("rsa-other.pub")],
        ClaimRules::default(),
    );
    assert!(both.verify_at(&token("rsa"), now()).is_ok());
    assert!(both.verify_at(&token("rsa-other"), now()).is_ok());

    let new = Verifier::new(vec![public("rsa-other.pub")], ClaimRules::default());
    assert_eq!(
        new.verify_at(&token("rsa"), now()),
        Err(TokenError::Signature)
    );
}

#[test]
fn without_a_key_nothing_is_accepted() {
    let none = Verifier::new(Vec::new(), ClaimRules::default());
    let token = crate::support::hs256(&good());
    assert_eq!(none.verify_at(&token, now()), Err(TokenError::Algorithm));
}
