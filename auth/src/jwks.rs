//! Sets of public keys, as an issuer publishes them (JWK Set, RFC 7517).

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::RsaPublicKeyComponents;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::error::KeyError;
use crate::keys::{Kind, VerifyingKey, is_public_key};

/// The most keys of one set.
pub const MAX_SET_KEYS: usize = 100;

/// Keys that tokens are verified with. `Debug` says their kinds only.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// From JSON. Keys that are for something else than signatures, or of a kind that is not known
    /// here, are passed over, as the standard wants it; so are secrets, which no public set holds.
    /// A key is for the algorithms of its kind, or where it has `alg`, for that alone.
    ///
    /// # Errors
    /// No set, more than [`MAX_SET_KEYS`] keys, or none that can be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeyError::NotASet)?;
        if set.keys.len() > MAX_SET_KEYS {
            return Err(KeyError::LargeSet(set.keys.len()));
        }
        let keys: Vec<VerifyingKey> = set.keys.into_iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(KeyError::EmptySet);
        }
        Ok(Self(keys))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn keys(&self) -> &[VerifyingKey] {
        &self.0
    }
}

/// The members of a key that are looked at (RFC 7518, section 6; RFC 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The key, checked; `None`: it is not for verifying, not known here, or damaged.
fn key(value: Value) -> Option<VerifyingKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let is_for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
    let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
    if !is_for_signatures || !jwk.key_ops.as_ref().is_none_or(verifies) {
        return None;
    }
    let only: Option<Algorithm> = match &jwk.alg {
        Some(alg) => Some(alg.parse().ok()?),
        None => None,
    };
    let decoded = |part: &Option<String>| URL_SAFE_NO_PAD.decode(part.as_deref()?).ok();
    let (kind, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (decoded(&jwk.n)?, decoded(&jwk.e)?);
            let parts = RsaPublicKeyComponents { n: &n, e: &e };
            let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&parts).ok()?;
            if !is_public_key(Kind::Rsa, der.as_ref()) {
                return None;
            }
            (Kind::Rsa, DecodingKey::from_rsa_raw_components(&n, &e))
        }
        ("EC", Some("P-256")) => (Kind::P256, point(&jwk)?),
        ("EC", Some("P-384")) => (Kind::P384, point(&jwk)?),
        ("OKP", Some("Ed25519")) => {
            let key = DecodingKey::from_ed_components(jwk.x.as_deref()?);
            (Kind::Ed25519, key.ok()?)
        }
        _ => return None,
    };
    if kind != Kind::Rsa && !is_public_key(kind, key.try_get_as_bytes().ok()?) {
        return None;
    }
    Some(VerifyingKey::of_set(kind, key, jwk.kid, only))
}

fn point(jwk: &Jwk) -> Option<DecodingKey> {
    DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?).ok()
}
