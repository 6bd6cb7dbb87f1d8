//! Verifying a token: the order of the checks is what makes it safe.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claims::Claims;
use crate::error::TokenError;
use crate::genuine::{Digest, Genuine, Known};
use crate::identity::Identity;
use crate::jwks::KeySet;
use crate::keys::VerifyingKey;
use crate::revoked::Revocations;
use crate::rules::ClaimRules;

/// The most bytes a token has. Longer ones are refused before anything looks into them.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Tells whether a token is genuine, and whose it is. One is shared by all requests.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    sources: Vec<Arc<dyn KeySource>>,
    revocations: Option<Arc<dyn Revocations>>,
    rules: ClaimRules,
    genuine: Arc<Genuine>,
}

/// Where keys come from that change while tokens are verified.
pub trait KeySource: Send + Sync {
    /// The keys of now.
    fn keys(&self) -> Arc<KeySet>;

    /// Asks for newer keys, unless that was done a moment ago. Ends within seconds, whatever the
    /// source does; what comes of it, [`KeySource::keys`] has then.
    fn refresh(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("keys", &self.keys)
            .field("sources", &self.sources.len())
            .field("rules", &self.rules)
            .finish()
    }
}

impl Verifier {
    /// A token is accepted when any of `keys` made it, so keys can be changed without a gap.
    /// Without a key every token is refused.
    #[must_use]
    pub fn new(keys: Vec<VerifyingKey>, rules: ClaimRules) -> Self {
        Self {
            keys,
            sources: Vec::new(),
            revocations: None,
            rules,
            genuine: Arc::default(),
        }
    }

    /// Accepts the tokens of these sources' keys too.
    #[must_use]
    pub fn with_sources(mut self, sources: Vec<Arc<dyn KeySource>>) -> Self {
        self.sources = sources;
        self
    }

    /// Refuses tokens that are revoked.
    #[must_use]
    pub fn with_revocations(mut self, revocations: Arc<dyn Revocations>) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Whether tokens are accepted that never expire.
    #[must_use]
    pub fn allows_missing_exp(&self) -> bool {
        self.rules.allow_missing_exp
    }

    /// [`Verifier::verify`]; a token that names a key which is not known is verified once more
    /// after the sources were asked for newer ones.
    ///
    /// # Errors
    /// The same.
    pub async fn verify_newest(&self, token: &str) -> Result<Identity, TokenError> {
        match self.verify(token) {
            Err(TokenError::UnknownKey) => {
                for source in &self.sources {
                    source.refresh().await;
                }
                self.verify(token)
            }
            verified => verified,
        }
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
        let sets: Vec<Arc<KeySet>> = self.sources.iter().map(|source| source.keys()).collect();
        let digest = Digest::of(token);
        let identity = match self.genuine.get(&digest, &sets, now) {
            Some(identity) => identity,
            None => {
                let known = self.look_at(token, &sets, now)?;
                let identity = known.identity.clone();
                self.genuine.put(digest, known);
                identity
            }
        };
        let revocations = self.revocations.as_ref();
        if revocations.is_some_and(|revoked| revoked.is_revoked(&identity)) {
            return Err(TokenError::Revoked);
        }
        Ok(identity)
    }

    fn look_at(
        &self,
        token: &str,
        sets: &[Arc<KeySet>],
        now: SystemTime,
    ) -> Result<Known, TokenError> {
        let token = Compact::split(token)?;
        let header = token.header()?;
        let algorithm = header.alg.parse().map_err(|_| TokenError::Algorithm)?;
        self.check_signature(&token, algorithm, header.kid.as_deref(), sets)?;
        // Only from here on is anything in the token true.
        let claims = Claims::parse(&decode(token.claims)?)?;
        Ok(Known {
            identity: claims.identity(&self.rules, now)?,
            begins_at: claims.begins_at(&self.rules)?,
            sets: sets.iter().map(Arc::downgrade).collect(),
        })
    }

    fn check_signature(
        &self,
        token: &Compact<'_>,
        algorithm: Algorithm,
        id: Option<&str>,
        sets: &[Arc<KeySet>],
    ) -> Result<(), TokenError> {
        let of_sets = || sets.iter().flat_map(|set| set.keys());
        let keys = self.keys.iter().chain(of_sets());
        let mut refusal = TokenError::Algorithm;
        for key in keys.filter(|key| key.is_for(algorithm) && key.may_be(id)) {
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
        let is_new = |id| !of_sets().any(|key| key.is_named(id));
        if !self.sources.is_empty() && id.is_some_and(is_new) {
            refusal = TokenError::UnknownKey;
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

    fn header(&self) -> Result<Header, TokenError> {
        let header: Header =
            serde_json::from_slice(&decode(self.header)?).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        Ok(header)
    }
}

/// All that is read of a header. A key or an address in it (`jwk`, `jku`, `x5u`) is never used.
#[derive(Deserialize)]
struct Header {
    /// `none` is none.
    alg: String,
    /// Which key of a set it was; says nothing of how it is used.
    kid: Option<String>,
    /// Extensions the receiver must know (RFC 7515, section 4.1.11): there are none here.
    crit: Option<IgnoredAny>,
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}
