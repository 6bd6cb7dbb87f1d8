//! Keys: what is accepted, what the errors say, and that nothing prints.

use std::time::Duration;

use mercurio_auth::{
    ClaimRules, Issuer, KeyError, SecretBytes, ServiceTokens, SigningKey, Verifier, VerifyingKey,
};

use crate::support::{SECRET, pem};

fn public(name: &str) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_pem(&pem(name))
}

fn private(name: &str) -> Result<SigningKey, KeyError> {
    SigningKey::from_pem(&pem(name))
}

#[test]
fn secrets() {
    assert_eq!(
        VerifyingKey::from_secret(b"").unwrap_err(),
        KeyError::EmptySecret
    );
    assert_eq!(
        SigningKey::from_secret(b"").unwrap_err(),
        KeyError::EmptySecret
    );
    for (length, weak) in [(1, true), (31, true), (32, false), (64, false)] {
        let secret = vec![0xff; length];
        assert_eq!(VerifyingKey::from_secret(&secret).unwrap().is_weak(), weak);
        assert_eq!(SigningKey::from_secret(&secret).unwrap().is_weak(), weak);
    }
    assert!(!public("rsa.pub").unwrap().is_weak());
    assert!(!private("rsa").unwrap().is_weak());
}

#[test]
fn a_public_key_is_no_secret() {
    for name in [
        "rsa.pub",
        "rsa.pkcs1.pub",
        "p256.pub",
        "refused-certificate",
    ] {
        let verdict = VerifyingKey::from_secret(&pem(name)).unwrap_err();
        assert_eq!(verdict, KeyError::PublicSecret, "{name}");
        assert_eq!(verdict.code(), "SECRET_PUBLIC");
    }
    // A private key used as a secret is odd, but secret.
    assert!(VerifyingKey::from_secret(&pem("rsa")).is_ok());
}

#[test]
fn public_keys_that_are_refused_say_why() {
    use KeyError::*;
    for (name, error) in [
        ("refused-rsa-1024.pub", Unsupported),
        ("refused-secp256k1.pub", Unsupported),
        ("refused-p521.pub", Unsupported),
        ("refused-ed448.pub", Unsupported),
        ("refused-x25519.pub", Unsupported),
        ("refused-certificate", Certificate),
        ("rsa", PrivateKey),
        ("rsa.pkcs1", PrivateKey),
        ("p256", PrivateKey),
        ("ed25519", PrivateKey),
        ("refused-sec1", PrivateKey),
        ("refused-encrypted", PrivateKey),
    ] {
        assert_eq!(public(name).unwrap_err(), error, "{name}");
    }
}

#[test]
fn private_keys_that_are_refused_say_why() {
    use KeyError::*;
    for (name, error) in [
        ("refused-rsa-1024", Unsupported),
        ("refused-secp256k1", Unsupported),
        ("refused-p521", Unsupported),
        ("refused-ed448", Unsupported),
        ("refused-x25519", Unsupported),
        ("refused-sec1", Sec1),
        ("refused-encrypted", Encrypted),
        ("refused-encrypted-pkcs1", Encrypted),
        ("refused-certificate", PublicKey),
        ("rsa.pub", PublicKey),
        ("p256.pub", PublicKey),
    ] {
        assert_eq!(private(name).unwrap_err(), error, "{name}");
    }
}

#[test]
fn files_that_hold_no_key_or_several() {
    for text in ["", "a secret", "-----BEGIN", "\u{0}"] {
        let verdict = VerifyingKey::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(verdict, KeyError::NotPem);
    }
    assert_eq!(
        VerifyingKey::from_pem(&[0xff]).unwrap_err(),
        KeyError::NotPem
    );
    let both = [pem("rsa.pub"), pem("rsa-other.pub")].concat();
    let verdict = VerifyingKey::from_pem(&both).unwrap_err();
    assert_eq!(verdict, KeyError::SeveralBlocks(2));
    // The label is right, the content is not.
    let text = "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n";
    let verdict = VerifyingKey::from_pem(text.as_bytes()).unwrap_err();
    assert_eq!(verdict, KeyError::Unsupported);
    assert_eq!(verdict.code(), "KEY_INVALID");
}

#[test]
fn a_damaged_point_is_found_when_the_key_is_loaded() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    for name in ["p256.pub", "p384.pub"] {
        let text = String::from_utf8(pem(name)).unwrap();
        let body: String = text.lines().filter(|l| !l.starts_with('-')).collect();
        let mut der = STANDARD.decode(body).unwrap();
        *der.last_mut().unwrap() ^= 1;
        let body = STANDARD.encode(der);
        let text = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
        let verdict = VerifyingKey::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(verdict, KeyError::Unsupported, "{name}");
    }
}

#[test]
fn line_ends_and_words_around_a_key_do_not_matter() {
    for name in ["rsa.pub", "p384.pub", "ed25519.pub"] {
        let text = String::from_utf8(pem(name)).unwrap();
        let text = format!("The key of the house:\r\n{}", text.replace('\n', "\r\n"));
        assert!(VerifyingKey::from_pem(text.as_bytes()).is_ok(), "{name}");
    }
}

#[test]
fn nothing_that_holds_a_key_or_token_prints_it() {
    let signing = SigningKey::from_secret(SECRET).unwrap();
    let verifying = VerifyingKey::from_secret(SECRET).unwrap();
    let issuer = Issuer::new(signing.clone(), &ClaimRules::default());
    let token = issuer.issue("ada", &[], Duration::from_secs(9)).unwrap();
    let verifier = Verifier::new(vec![verifying.clone()], ClaimRules::default());
    let issued = ServiceTokens::issued(issuer.clone());
    let minted = issued.token().unwrap();
    let fixed = ServiceTokens::fixed(token.clone());
    let secret = SecretBytes::from(SECRET.to_vec());
    assert_eq!(secret.expose(), SECRET);

    let bytes = format!("{:?}", SECRET);
    let text = std::str::from_utf8(SECRET).unwrap();
    let needles = [text, bytes.trim_matches(['[', ']']), &token, &minted];
    for printed in [
        format!("{signing:?}"),
        format!("{verifying:?}"),
        format!("{issuer:#?}"),
        format!("{verifier:#?}"),
        format!("{issued:?}"),
        format!("{fixed:?}"),
        format!("{secret:?}"),
        format!("{:?}", private("rsa").unwrap()),
    ] {
        assert!(printed.len() < 600, "{printed}");
        for needle in needles {
            assert!(!printed.contains(needle), "{printed}");
        }
    }
}
