//! Tokens to order.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_auth::{ClaimError, ClaimProblem, ClaimRules, TokenError, Verifier, VerifyingKey};
use serde_json::{Value, json};

pub const SECRET: &[u8] = b"an HMAC secret of the tests' own, long enough";

/// When the tests are, in seconds since 1970.
pub const NOW: u64 = 1_800_000_000;

/// When the tests are.
pub fn now() -> SystemTime {
    at(NOW)
}

pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A file of `tests/keys`.
pub fn pem(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/keys/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of exactly this header and these claims, as text, signed as said.
pub fn sign_text(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let signed = format!("{}.{}", base64(header), base64(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

/// A token whose header names the algorithm it is signed with.
pub fn sign(claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
    sign_text(&header, &claims.to_string(), key, algorithm)
}

/// A token signed with [`SECRET`].
pub fn hs256(claims: &Value) -> String {
    sign(claims, &EncodingKey::from_secret(SECRET), Algorithm::HS256)
}

/// Claims that are accepted.
pub fn good() -> Value {
    json!({"sub": "ada", "exp": NOW + 60})
}

/// [`good`] with one claim set.
pub fn good_but(claim: &str, value: Value) -> Value {
    let mut claims = good();
    claims[claim] = value;
    claims
}

/// A verifier with [`SECRET`].
pub fn verifier(rules: ClaimRules) -> Verifier {
    Verifier::new(vec![VerifyingKey::from_secret(SECRET).unwrap()], rules)
}

/// The error for a claim.
pub fn refused(claim: &str, problem: ClaimProblem) -> TokenError {
    TokenError::Claim(ClaimError {
        claim: claim.to_owned(),
        problem,
    })
}
