//! The settings of sets of keys, which an issuer publishes and changes.

use super::{
    kind::Kind,
    table::{KEYS, SERVERS, Setting},
};

/// The rows; `table.rs` has the others of their group.
pub const ROWS: &[Setting] = &[
    Setting::new("jwt-jwks-file", "FILE", Kind::Path, "A file with a set of public keys that tokens are verified with (JWKS), chosen by a token's `kid`. What changes in it is taken up within seconds")
        .of(KEYS, SERVERS),
    Setting::new("jwt-jwks-url", "URL", Kind::KeysUrl, "Where an issuer publishes such a set")
        .of(KEYS, SERVERS),
    Setting::new("jwt-jwks-ca", "FILE", Kind::Path, "Who signs that address' certificate, in PEM; unset: whom the system trusts")
        .of(KEYS, SERVERS),
    Setting::new("jwt-jwks-refresh", "TIME", Kind::duration("1s", "1d"), "How often it is asked; besides, for a token that names a key which is not in the set")
        .of(KEYS, SERVERS)
        .default("5m"),
];
