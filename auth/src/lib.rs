//! Mercurio's tokens: who somebody is and what they may do, as a JSON Web Token says it.
//!
//! This crate knows no transport. The gateway and the core take the token out of a request, hand
//! it to a [`Verifier`] and get an [`Identity`] back, or a [`TokenError`] with a stable code.
//!
//! ```
//! use mercurio_auth::{ClaimRules, Issuer, SCOPE_PUBLISH, SigningKey, Verifier, VerifyingKey};
//! use std::time::Duration;
//!
//! let secret = b"a secret both sides know, of 32 bytes or more";
//! let rules = ClaimRules::default();
//! let issuer = Issuer::new(SigningKey::from_secret(secret)?, &rules);
//! let verifier = Verifier::new(vec![VerifyingKey::from_secret(secret)?], rules);
//!
//! let token = issuer.issue("billing", &[SCOPE_PUBLISH], Duration::from_secs(3600))?;
//! let identity = verifier.verify(&token)?;
//! assert_eq!(identity.user, "billing");
//! assert!(identity.may_publish());
//! assert!(identity.may_act_for("billing") && !identity.may_act_for("ada"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is true of every accepted token
//!
//! - **The key says which algorithms may be used, the token only which of those was.** A secret
//!   takes HS256, HS384 and HS512; an RSA key RS* and PS*; a P-256 key ES256; a P-384 key ES384;
//!   an Ed25519 key EdDSA. `alg: none`, a token "signed" with the bytes of a public key, and
//!   everything else whose algorithm no key here is for is refused before any cryptography.
//! - **Nothing of a token is believed before its signature.** Its length is looked at first
//!   ([`MAX_TOKEN_BYTES`]), then the header, then the signature, and only then the claims.
//! - **It has a user**: the configured claim, text or an integer, [`MAX_USER_BYTES`] at most.
//! - **It ends**: `exp` is required unless [`ClaimRules::allow_missing_exp`], and
//!   [`Identity::expires_at`] is the moment from which it is refused, so a stream can end there.
//! - **It is not revoked**, where a [`Verifier`] is told which are: by `jti`, or a user's by `iat`.
//! - `nbf` is kept to where it is present; `iss` and `aud` are checked where they are configured.
//!
//! # Where to look
//!
//! | | |
//! |---|---|
//! | `verify.rs`, `genuine.rs` | the order of the checks; tokens whose signature was checked before |
//! | `claims.rs` | from claims to an identity; dates, which are the delicate part |
//! | `rules.rs`, `identity.rs` | what is expected of claims, and what comes out |
//! | `keys.rs`, `pem.rs`, `jwks.rs` | keys from secrets, PEM and sets, checked when they are loaded |
//! | `revoked.rs` | which tokens are revoked |
//! | `clients.rs` | scopes of those who show a certificate instead |
//! | `issue.rs`, `service.rs` | tokens of our own: `mercurio token`, and the gateway's and cores' for a core |
//! | `error.rs`, `secret.rs` | errors with their codes; bytes that don't print |
//!
//! No `Debug` here prints key material or a token, and no error quotes a token or a claim's value.

#![warn(missing_docs)]

mod claims;
mod clients;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod genuine;
mod identity;
mod issue;
mod jwks;
mod keys;
mod pem;
mod revoked;
mod rules;
mod secret;
mod service;
mod verify;

pub use clients::{ClientScopeError, ClientScopes};
pub use error::{ClaimError, ClaimProblem, KeyError, RulesError, TokenError};
pub use identity::{
    Grant, Identity, MAX_USER_BYTES, SCOPE_ADMIN, SCOPE_ANY, SCOPE_PUBLISH, SCOPES, is_user,
};
pub use issue::Issuer;
pub use jwks::{KeySet, MAX_SET_KEYS};
pub use keys::{SigningKey, VerifyingKey, WEAK_SECRET_BYTES};
pub use revoked::{MAX_TOKEN_ID_BYTES, Revocation, RevocationSet, Revocations, Revoked};
pub use rules::ClaimRules;
pub use secret::SecretBytes;
pub use service::{PEER_USER, SERVICE_TTL, SERVICE_USER, ServiceTokens};
pub use verify::{KeySource, MAX_TOKEN_BYTES, Verifier};
