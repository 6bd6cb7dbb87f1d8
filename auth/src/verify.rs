//! Verifying a token: the order of the checks is what makes it safe.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claims::Claims;
use crate::error::TokenError;
use crate::identity::Identity;
use crate::keys::VerifyingKey;
use crate::rules::ClaimRules;

/// The most bytes a token has. Longer ones are refused before anything looks into them.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Tells whether a token is genuine, and whose it is. One is shared by all requests.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    rules: ClaimRules,
}

impl Verifier {
    /// A token is accepted when any of `keys` made it, so keys can be changed without a gap.
    /// Without a key every token is refused.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>, rules: ClaimRules) -> Self {
        Self { keys, rules }
    }

    /// Verifies a token: the three parts of a JWT, without `Bearer`.
    ///
    /// # Errors
    /// Says why it was refused, never what it was.
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        self.verify_at(token, SystemTime::now())
    }

    /// [`Verifier::verify`] at a moment of the caller's.
    ///
    /// # Errors
    /// The same.
    pub fn verify_at(&self, token: &str, now: SystemTime) -> Result<Identity, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let token = Compact::split(token)?;
        let algorithm = token.algorithm()?;
        self.check_signature(&token, algorithm)?;
        // Only from here on is anything in the token true.
        Claims::parse(&decode(token.claims)?)?.identity(&self.rules, now)
    }

    fn check_signature(&self, token: &Compact<'_>, algorithm: Algorithm) -> Result<(), TokenError> {
        let mut refusal = TokenError::Algorithm;
        for key in self.keys.iter().filter(|key| key.is_for(algorithm)) {
            let genuine = jsonwebtoken::crypto::verify(
                token.signature,
                token.signed.as_bytes(),
                key.key(),
                algorithm,
            )
            // A key is checked when it is loaded: what can fail here is the signature's base64.
            .map_err(|_| TokenError::Malformed)?;
            if genuine {
                return Ok(());
            }
            refusal = TokenError::Signature;
        }
        Err(refusal)
    }
}

/// A token's parts, still encoded.
struct Compact<'a> {
    /// Header and claims with the dot between them: what the signature is over.
    signed: &'a str,
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Compact<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        let parts = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, claims) = signed.split_once('.')?;
            // A dot left over here is a fourth part.
            (!claims.contains('.')).then_some(Self {
                signed,
                header,
                claims,
                signature,
            })
        };
        parts().ok_or(TokenError::Malformed)
    }

    /// The algorithm the header names. `none` is none.
    fn algorithm(&self) -> Result<Algorithm, TokenError> {
        let header: Header =
            serde_json::from_slice(&decode(self.header)?).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        header.alg.parse().map_err(|_| TokenError::Algorithm)
    }
}

/// All that is read of a header. A key or an address in it (`jwk`, `jku`, `x5u`) is never used.
#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions the receiver must know (RFC 7515, section 4.1.11): there are none here.
    crit: Option<IgnoredAny>,
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}
