//! What can be wrong with a token, a key, or the rules; each with a stable code.

use thiserror::Error;

/// Why a token was refused. Never holds, and never prints, the token or a value out of it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// Longer than [`crate::MAX_TOKEN_BYTES`].
    #[error("the token is longer than {} bytes", crate::MAX_TOKEN_BYTES)]
    TooLong,
    /// Not three parts of base64url, or the header or the claims are no JSON object.
    #[error("the token is malformed")]
    Malformed,
    /// Unsigned (`none`), unknown, or one that no key here is for.
    #[error("the token's algorithm is not one of the configured keys'")]
    Algorithm,
    /// The header demands an extension (`crit`), of which none is known here.
    #[error("the token demands an extension that is not supported")]
    Critical,
    /// It names a key (`kid`) that is in no set here: one that may have come since they were asked.
    #[error("the token names a key that is not known here")]
    UnknownKey,
    /// No key here made it.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// It was revoked, by its `jti` or with others of its user's.
    #[error("the token has been revoked")]
    Revoked,
    /// `nbf` lies ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured issuer, or missing.
    #[error("the token is from another issuer")]
    Issuer,
    /// `aud` does not name the configured audience, or is missing.
    #[error("the token is for another audience")]
    Audience,
    /// A claim that is needed can't be used.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

impl TokenError {
    /// The stable code: `TOKEN_MISSING`, `TOKEN_EXPIRED`, `TOKEN_REVOKED` or `TOKEN_INVALID`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Revoked => "TOKEN_REVOKED",
            _ => "TOKEN_INVALID",
        }
    }
}

/// A claim that can't be used, by name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the token's claim `{claim}` {problem}")]
pub struct ClaimError {
    /// The claim's name, as the rules have it.
    pub claim: String,
    /// What is wrong with it.
    pub problem: ClaimProblem,
}

impl ClaimError {
    pub(crate) fn new(claim: &str, problem: ClaimProblem) -> Self {
        Self {
            claim: claim.to_owned(),
            problem,
        }
    }
}

/// What is wrong with a claim.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimProblem {
    /// Not there.
    #[error("is missing")]
    Missing,
    /// A user of no bytes.
    #[error("is empty")]
    Empty,
    /// A user of too many bytes.
    #[error("is longer than {} bytes", crate::MAX_USER_BYTES)]
    TooLong,
    /// A user with a control character.
    #[error("contains a control character")]
    ControlCharacter,
    /// A user that is neither.
    #[error("is neither a string nor an integer")]
    NotAUser,
    /// A date that is no number.
    #[error("is not a number of seconds since 1970")]
    NotADate,
    /// A date beyond the year 9999: most often milliseconds.
    #[error("lies after the year 9999 (it counts seconds, not milliseconds)")]
    OutOfRange,
    /// A scope that is neither.
    #[error("is neither a string nor an array of strings")]
    NotAScope,
}

/// Why a key can't be used, or a token not be issued with it. Never holds key material.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret of no bytes.
    #[error("the secret is empty")]
    EmptySecret,
    /// A public key or certificate given as a secret: whoever has it could sign.
    #[error("the secret is a public key or certificate in PEM: give it as a public key file")]
    PublicSecret,
    /// No PEM block.
    #[error("not a PEM file: there is no line `-----BEGIN …-----`")]
    NotPem,
    /// More than one PEM block.
    #[error("the PEM file holds {0} blocks: give one key a file")]
    SeveralBlocks(usize),
    /// A certificate where a public key is wanted.
    #[error(
        "a certificate, not a public key: take the key out with `openssl x509 -pubkey -noout -in FILE`"
    )]
    Certificate,
    /// A private key where a public one is wanted.
    #[error(
        "a private key where only the public half belongs: take it out with `openssl pkey -pubout -in FILE`"
    )]
    PrivateKey,
    /// A public key where a private one is wanted.
    #[error("a public key: signing takes the private one")]
    PublicKey,
    /// A private key in SEC1 form (`EC PRIVATE KEY`).
    #[error(
        "an EC private key in SEC1 form: turn it into PKCS#8 with `openssl pkcs8 -topk8 -nocrypt -in FILE`"
    )]
    Sec1,
    /// A private key under a passphrase.
    #[error(
        "the private key is encrypted: decrypt it with `openssl pkcs8 -topk8 -nocrypt -in FILE`"
    )]
    Encrypted,
    /// Damaged, or of a kind, curve or size that is not supported.
    #[error(
        "damaged, or not an RSA (2048 to 8192 bits), EC (P-256, P-384) or Ed25519 key as SPKI, PKCS#1 or PKCS#8"
    )]
    Unsupported,
    /// No JSON of the form of a set.
    #[error("no set of keys: JSON as in {{\"keys\": […]}} is wanted")]
    NotASet,
    /// A set of too many keys.
    #[error("the set has {0} keys; at most {most} are allowed", most = crate::MAX_SET_KEYS)]
    LargeSet(usize),
    /// A set without a key that can be used.
    #[error(
        "the set has no key to verify tokens with: RSA (2048 to 8192 bits), EC (P-256, P-384) or Ed25519, for signatures"
    )]
    EmptySet,
    /// The user a token is wanted for can't be one.
    #[error("the user {0}")]
    User(ClaimProblem),
    /// The lifetime a token is wanted for can't be one.
    #[error("a token's lifetime is at least a second, and ends before the year 10000")]
    Ttl,
    /// The token would be refused for its length.
    #[error("the token would be longer than {} bytes", crate::MAX_TOKEN_BYTES)]
    TooLong,
    /// The signature could not be made.
    #[error("sign the token: {0}")]
    Sign(String),
}

impl KeyError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptySecret => "SECRET_EMPTY",
            Self::PublicSecret => "SECRET_PUBLIC",
            Self::NotPem
            | Self::SeveralBlocks(_)
            | Self::Certificate
            | Self::PrivateKey
            | Self::PublicKey
            | Self::Sec1
            | Self::Encrypted
            | Self::Unsupported
            | Self::NotASet
            | Self::LargeSet(_)
            | Self::EmptySet => "KEY_INVALID",
            Self::User(_) | Self::Ttl | Self::TooLong => "TOKEN_NOT_ISSUABLE",
            Self::Sign(_) => "SIGNING_FAILED",
        }
    }
}

/// What is wrong with [`crate::ClaimRules`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RulesError {
    /// The user claim has no name.
    #[error("the user claim's name is empty")]
    UserClaimEmpty,
    /// The user claim is one that means something else.
    #[error("the claim `{0}` can't name the user: it has another meaning")]
    UserClaimReserved(String),
    /// The issuer is the empty string.
    #[error("the issuer is empty")]
    IssuerEmpty,
    /// The audience is the empty string.
    #[error("the audience is empty")]
    AudienceEmpty,
    /// A publisher that can't be a user.
    #[error("the publisher {publisher:?} {problem}")]
    Publisher {
        /// As configured.
        publisher: String,
        /// What is wrong with it.
        problem: ClaimProblem,
    },
}
