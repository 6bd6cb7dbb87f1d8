//! Tokens that are no tokens, or not ours: refused before a claim is believed.

use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_auth::{ClaimRules, MAX_TOKEN_BYTES, TokenError, Verifier, VerifyingKey};
use serde_json::json;

use crate::support::{SECRET, base64, good, good_but, hs256, now, pem, sign, sign_text, verifier};

fn verdict(token: &str) -> TokenError {
    verifier(ClaimRules::default())
        .verify_at(token, now())
        .unwrap_err()
}

fn with_header(header: &str) -> String {
    let key = EncodingKey::from_secret(SECRET);
    sign_text(header, &good().to_string(), &key, Algorithm::HS256)
}

#[test]
fn no_token() {
    assert_eq!(verdict(""), TokenError::Missing);
    assert_eq!(TokenError::Missing.code(), "TOKEN_MISSING");
}

#[test]
fn a_wrong_signature() {
    let other = EncodingKey::from_secret(b"another secret, of another house, as long");
    let token = sign(&good(), &other, Algorithm::HS256);
    assert_eq!(verdict(&token), TokenError::Signature);
    assert_eq!(TokenError::Signature.code(), "TOKEN_INVALID");
}

#[test]
fn claims_changed_after_signing() {
    let token = hs256(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let forged = base64(good_but("sub", json!("eve")).to_string());
    let token = format!("{}.{forged}.{}", parts[0], parts[2]);
    assert_eq!(verdict(&token), TokenError::Signature);
}

#[test]
fn a_signature_cut_short_left_out_or_lengthened() {
    let token = hs256(&good());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    // 40 of 43 characters: 30 whole bytes of 32.
    let short = format!("{signed}.{}", &signature[..40]);
    assert_eq!(verdict(&short), TokenError::Signature);
    assert_eq!(verdict(&format!("{signed}.")), TokenError::Signature);
    let long = format!("{signed}.{}{signature}", &signature[..40]);
    assert_eq!(verdict(&long), TokenError::Signature);
}

#[test]
fn another_spelling_of_the_same_signature() {
    // 43 characters carry 258 bits for 256: the last two must be zero, or there would be four
    // tokens where one was issued.
    let token = hs256(&good());
    let last = token.chars().last().unwrap();
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = ALPHABET.find(last).unwrap() + 1;
    let respelt = format!("{}{}", &token[..token.len() - 1], &ALPHABET[next..=next]);
    assert_eq!(verdict(&respelt), TokenError::Malformed);
}

#[test]
fn unsigned() {
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let header = json!({"alg": none, "typ": "JWT"}).to_string();
        let signed = format!("{}.{}", base64(header), base64(good().to_string()));
        assert_eq!(verdict(&format!("{signed}.")), TokenError::Algorithm);
        let (_, signature) = hs256(&good()).rsplit_once('.').map(owned).unwrap();
        let dressed = format!("{signed}.{signature}");
        assert_eq!(verdict(&dressed), TokenError::Algorithm);
    }
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn a_public_key_used_as_a_secret() {
    for name in [
        "rsa.pub",
        "rsa.pkcs1.pub",
        "p256.pub",
        "p384.pub",
        "ed25519.pub",
    ] {
        let public = pem(name);
        let verifier = Verifier::new(
            vec![VerifyingKey::from_pem(&public).unwrap()],
            ClaimRules::default(),
        );
        let trimmed = public.trim_ascii_end();
        for bytes in [public.as_slice(), trimmed] {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let token = sign(&good(), &EncodingKey::from_secret(bytes), algorithm);
                let verdict = verifier.verify_at(&token, now());
                assert_eq!(verdict, Err(TokenError::Algorithm), "{name}");
            }
        }
    }
}

#[test]
fn a_public_key_used_as_a_secret_while_a_real_secret_is_configured_too() {
    let public = pem("rsa.pub");
    let keys = vec![
        VerifyingKey::from_pem(&public).unwrap(),
        VerifyingKey::from_secret(SECRET).unwrap(),
    ];
    let verifier = Verifier::new(keys, ClaimRules::default());
    let token = sign(
        &good(),
        &EncodingKey::from_secret(&public),
        Algorithm::HS256,
    );
    assert_eq!(
        verifier.verify_at(&token, now()),
        Err(TokenError::Signature)
    );
}

#[test]
fn a_secret_faced_with_public_key_algorithms() {
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa")).unwrap();
    let token = sign(&good(), &rsa, Algorithm::RS256);
    assert_eq!(verdict(&token), TokenError::Algorithm);
    // The header says one thing, the signature is another's.
    for alg in ["RS256", "PS512", "ES256", "EdDSA", "ES512", "HS1", "hs256"] {
        let token = with_header(&json!({ "alg": alg }).to_string());
        assert_eq!(verdict(&token), TokenError::Algorithm, "{alg}");
    }
    // The right family, the wrong member of it.
    let token = with_header(r#"{"alg":"HS512"}"#);
    assert_eq!(verdict(&token), TokenError::Signature);
}

#[test]
fn a_key_brought_along_in_the_header() {
    let own = b"a secret that only the forger knows, and says";
    let header = json!({
        "alg": "HS256",
        "kid": "../../dev/null",
        "jku": "https://example.org/keys",
        "jwk": {"kty": "oct", "k": base64(own)},
    });
    let key = EncodingKey::from_secret(own);
    let claims = good().to_string();
    let token = sign_text(&header.to_string(), &claims, &key, Algorithm::HS256);
    assert_eq!(verdict(&token), TokenError::Signature);
}

#[test]
fn an_extension_nobody_knows() {
    let token = with_header(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#);
    assert_eq!(verdict(&token), TokenError::Critical);
}

#[test]
fn oversized_before_anything_is_parsed() {
    let token = hs256(&good_but("pad", json!("x".repeat(MAX_TOKEN_BYTES))));
    assert_eq!(verdict(&token), TokenError::TooLong);
    // Not parsed: what is no token at all gets the same answer.
    assert_eq!(
        verdict(&"x".repeat(MAX_TOKEN_BYTES + 1)),
        TokenError::TooLong
    );
    assert_eq!(verdict(&"x".repeat(MAX_TOKEN_BYTES)), TokenError::Malformed);
}

#[test]
fn of_the_greatest_size() {
    // Base64 grows in steps: the longest token that fits may be a little under the limit.
    let largest = (5900..6100)
        .map(|n| hs256(&good_but("pad", json!("x".repeat(n)))))
        .filter(|token| token.len() <= MAX_TOKEN_BYTES)
        .max_by_key(String::len)
        .unwrap();
    assert!(largest.len() > MAX_TOKEN_BYTES - 4);
    let verifier = verifier(ClaimRules::default());
    assert_eq!(verifier.verify_at(&largest, now()).unwrap().user, "ada");
}

#[test]
fn malformed() {
    let token = hs256(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("three parts")
    };
    let cases = [
        "x".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        " ".to_owned(),
        "\0".to_owned(),
        "é.é.é".to_owned(),
        format!("{header}.{claims}"),
        format!("{token}.{signature}"),
        format!("{token}."),
        format!(".{claims}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}. {signature}"),
        format!("Bearer {token}"),
        format!("{token}\n"),
        format!("{}.{claims}.{signature}", base64("{}")),
        format!("{}.{claims}.{signature}", base64("not JSON")),
        format!("{}.{claims}.{signature}", base64([0xff, 0xfe])),
        format!("{}.{claims}.{signature}", base64(r#"{"alg":1}"#)),
        format!(
            "{}.{claims}.{signature}",
            base64(r#"{"alg":"none","alg":"HS256"}"#)
        ),
        format!("{}.{claims}.{signature}", base64("[".repeat(5000))),
    ];
    for case in cases {
        assert_eq!(verdict(&case), TokenError::Malformed, "{case:.80}");
    }
}

#[test]
fn well_signed_but_no_claims() {
    let key = EncodingKey::from_secret(SECRET);
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    for claims in ["", "null", "[]", "\"ada\"", "{", "{\"exp\":1e999}", &deep] {
        let token = sign_text(r#"{"alg":"HS256"}"#, claims, &key, Algorithm::HS256);
        assert_eq!(verdict(&token), TokenError::Malformed, "{claims:.80}");
    }
}

#[test]
fn no_claim_is_believed_before_the_signature() {
    let other = EncodingKey::from_secret(b"another secret, of another house, as long");
    // Expired and without a user: but what is said is that it is not genuine.
    let token = sign(&json!({"exp": 1}), &other, Algorithm::HS256);
    assert_eq!(verdict(&token), TokenError::Signature);
}

#[test]
fn no_error_quotes_the_token() {
    let token = hs256(&json!({"sub": "s3cr3t\u{7}", "exp": "s3cr3t"}));
    let error = verdict(&token);
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains("s3cr3t") && !text.contains(&token[..20]));
    }
}
