//! Tokens, made here from their claims up: the service's own issuer is what is being tested.

use std::{
    io::Write as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::leaks;

/// The scope that lets a token publish.
pub const PUBLISH: &str = "notifications:publish";
/// The scope that lets a token act for any recipient.
pub const ANY: &str = "notifications:any";

/// The scope that lets a token administer.
pub const ADMIN: &str = "notifications:admin";

/// A shared secret in a file, and the tokens made with it.
pub struct Secret {
    bytes: Vec<u8>,
    file: NamedTempFile,
}

impl Default for Secret {
    fn default() -> Self {
        let text: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(48)
            .collect();
        Self::new(&text)
    }
}

impl Secret {
    /// This secret.
    pub fn new(text: &str) -> Secret {
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("write the secret");
        leaks::note_secret(text);
        Secret {
            bytes: text.as_bytes().to_vec(),
            file,
        }
    }

    /// The file the secret is in, for `--jwt-secret-file`.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The secret's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A token with exactly these claims, signed with HS256.
    pub fn sign(&self, claims: &Value) -> String {
        sign(
            Algorithm::HS256,
            &EncodingKey::from_secret(&self.bytes),
            claims,
        )
    }

    /// A token for a user, valid for an hour.
    pub fn user(&self, user: &str) -> String {
        self.scoped(user, "")
    }

    /// A token for a user who may publish.
    pub fn publisher(&self, user: &str) -> String {
        self.scoped(user, PUBLISH)
    }

    /// A token of a service that may publish and act for any recipient.
    pub fn service(&self) -> String {
        self.scoped("service", &format!("{PUBLISH} {ANY}"))
    }

    /// A token of who runs the service, and may do all.
    pub fn operator(&self) -> String {
        self.scoped("operator", &format!("{PUBLISH} {ANY} {ADMIN}"))
    }

    /// A token for a user with these scopes, valid for an hour.
    pub fn scoped(&self, user: &str, scope: &str) -> String {
        self.expiring(user, scope, 3600)
    }

    /// A token that expires in so many seconds; before now where negative.
    pub fn expiring(&self, user: &str, scope: &str, seconds: i64) -> String {
        self.sign(&json!({ "sub": user, "scope": scope, "exp": epoch() + seconds }))
    }
}

/// A token with these claims, signed with this key.
pub fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("sign a token")
}

/// Seconds since 1970.
pub fn epoch() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("seconds that fit")
}

/// Base64 for URLs, without padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let b = [
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
        ];
        let n = u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]);
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(n >> (18 - 6 * place) & 63) as usize]));
        }
    }
    out
}
