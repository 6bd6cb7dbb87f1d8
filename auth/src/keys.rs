//! Keys, checked when they are loaded: a key that could never verify or sign is refused at the
//! start, not at the first token.

use std::fmt;
use std::ops::RangeInclusive;

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use crate::error::KeyError;
use crate::pem;

/// A secret of fewer bytes is weaker than the signature it makes (RFC 7518, section 3.2).
pub const WEAK_SECRET_BYTES: usize = 32;

/// The sizes of RSA keys that are safe to use, and what aws-lc-rs uses.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// What a key is; with it, which algorithms it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Secret { weak: bool },
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// The algorithms a token may name for such a key; never empty. Signing takes the first.
    fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::*;
        match self {
            Self::Secret { .. } => &[HS256, HS384, HS512],
            Self::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
            Self::P256 => &[ES256],
            Self::P384 => &[ES384],
            Self::Ed25519 => &[EdDSA],
        }
    }

    fn of_secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.is_empty() {
            Err(KeyError::EmptySecret)
        } else if pem::is_public(secret) {
            Err(KeyError::PublicSecret)
        } else {
            Ok(Self::Secret {
                weak: secret.len() < WEAK_SECRET_BYTES,
            })
        }
    }

    fn debug(self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(name).field(&self).finish()
    }
}

/// A key that tells whether a token is genuine. `Debug` says its kind only.
#[derive(Clone)]
pub struct VerifyingKey {
    kind: Kind,
    key: DecodingKey,
    /// Its name in its set; tokens that name another key are not its.
    id: Option<String>,
    /// The one algorithm it is for; `None`: all of its kind.
    only: Option<Algorithm>,
}

impl VerifyingKey {
    /// A shared secret, for HS256, HS384 and HS512. All bytes count, a trailing newline too.
    ///
    /// # Errors
    /// An empty secret, and one that is a public key or certificate in PEM.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            kind: Kind::of_secret(secret)?,
            key: DecodingKey::from_secret(secret),
            id: None,
            only: None,
        })
    }

    /// A public key in PEM: RSA of 2048 to 8192 bits (SPKI or PKCS#1) for RS* and PS*, P-256 for
    /// ES256, P-384 for ES384, Ed25519 for EdDSA (SPKI).
    ///
    /// # Errors
    /// Says what the file holds instead; certificates and private keys are refused.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        pem::expect_public(pem)?;
        // Each of these refuses a key of another family, so at most one goes on.
        let (key, kinds): (_, &[Kind]) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            (key, &[Kind::Rsa])
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            (key, &[Kind::P256, Kind::P384])
        } else {
            let key = DecodingKey::from_ed_pem(pem).map_err(|_| KeyError::Unsupported)?;
            (key, &[Kind::Ed25519])
        };
        let bytes = key.try_get_as_bytes().map_err(|_| KeyError::Unsupported)?;
        let kind = kinds
            .iter()
            .copied()
            .find(|kind| is_public_key(*kind, bytes))
            .ok_or(KeyError::Unsupported)?;
        Ok(Self {
            kind,
            key,
            id: None,
            only: None,
        })
    }

    /// A key of a set.
    pub(crate) fn of_set(
        kind: Kind,
        key: DecodingKey,
        id: Option<String>,
        only: Option<Algorithm>,
    ) -> Self {
        Self {
            kind,
            key,
            id,
            only,
        }
    }

    /// Whether it is a secret of fewer than [`WEAK_SECRET_BYTES`] bytes: worth a warning.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.kind == Kind::Secret { weak: true }
    }

    /// The names of the algorithms it is for, as a token's `alg` has them.
    pub fn algorithms(&self) -> impl Iterator<Item = String> {
        let all = self.kind.algorithms().iter();
        all.filter(|algorithm| self.is_for(**algorithm))
            .map(|algorithm| format!("{algorithm:?}"))
    }

    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        let is_allowed = self.only.is_none_or(|only| only == algorithm);
        is_allowed && self.kind.algorithms().contains(&algorithm)
    }

    /// Whether it may be the one that a token names; either may be nameless.
    pub(crate) fn may_be(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        }
    }

    /// Whether it has this name.
    pub(crate) fn is_named(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    pub(crate) fn key(&self) -> &DecodingKey {
        &self.key
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.debug("VerifyingKey", f)
    }
}

/// Whether `bytes` are a usable public key of that kind: for the curves, a point on that curve.
pub(crate) fn is_public_key(kind: Kind, bytes: &[u8]) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match kind {
        Kind::Secret { .. } => return false,
        Kind::Rsa => return is_rsa_key(bytes),
        Kind::P256 => &ECDSA_P256_SHA256_FIXED,
        Kind::P384 => &ECDSA_P384_SHA384_FIXED,
        Kind::Ed25519 => &ED25519,
    };
    ParsedPublicKey::new(algorithm, bytes).is_ok()
}

/// Whether `bytes` are an RSA key of a size that will verify; parsing alone takes any size.
fn is_rsa_key(bytes: &[u8]) -> bool {
    PublicKey::from_der(bytes).is_ok_and(|key| {
        let modulus = key.modulus().big_endian_without_leading_zero();
        let unused = modulus.first().map_or(0, |byte| byte.leading_zeros());
        RSA_BITS.contains(&(modulus.len() * 8 - unused as usize))
    })
}

/// A key that makes tokens. `Debug` says its kind only.
#[derive(Clone)]
pub struct SigningKey {
    kind: Kind,
    key: EncodingKey,
}

impl SigningKey {
    /// A shared secret; signs with HS256. All bytes count, a trailing newline too.
    ///
    /// # Errors
    /// As for [`VerifyingKey::from_secret`].
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            kind: Kind::of_secret(secret)?,
            key: EncodingKey::from_secret(secret),
        })
    }

    /// A private key in PEM: RSA of 2048 to 8192 bits (PKCS#8 or PKCS#1), signs with RS256; P-256,
    /// P-384 and Ed25519 (PKCS#8) with ES256, ES384 and EdDSA.
    ///
    /// # Errors
    /// Says what the file holds instead.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        pem::expect_private(pem)?;
        let (key, kinds): (_, &[Kind]) = if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
            (key, &[Kind::Rsa])
        } else if let Ok(key) = EncodingKey::from_ec_pem(pem) {
            (key, &[Kind::P256, Kind::P384])
        } else {
            let key = EncodingKey::from_ed_pem(pem).map_err(|_| KeyError::Unsupported)?;
            (key, &[Kind::Ed25519])
        };
        // The kind it can sign as is the kind it is.
        kinds
            .iter()
            .map(|kind| Self {
                kind: *kind,
                key: key.clone(),
            })
            .find(|key| jsonwebtoken::crypto::sign(b"probe", &key.key, key.algorithm()).is_ok())
            .ok_or(KeyError::Unsupported)
    }

    /// Whether it is a secret of fewer than [`WEAK_SECRET_BYTES`] bytes: worth a warning.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.kind == Kind::Secret { weak: true }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.kind.algorithms()[0]
    }

    pub(crate) fn key(&self) -> &EncodingKey {
        &self.key
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.debug("SigningKey", f)
    }
}
