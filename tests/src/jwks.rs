//! Keys as an issuer has them, the sets it publishes, and the address it does that at.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use crate::{
    certs::openssl,
    tokens::{base64, epoch},
};

/// A key pair with a name.
pub struct Key {
    id: String,
    algorithm: Algorithm,
    private: EncodingKey,
    /// Its public half, as it stands in a set.
    pub public: Value,
}

impl Key {
    /// For EdDSA.
    pub fn ed(id: &str) -> Key {
        let (private, der) = make("-algorithm ED25519");
        let x = base64(&der[der.len() - 32..]);
        Key {
            id: id.to_owned(),
            algorithm: Algorithm::EdDSA,
            private: EncodingKey::from_ed_pem(&private).expect("a key"),
            public: json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": x }),
        }
    }

    /// For ES256.
    pub fn p256(id: &str) -> Key {
        let (private, der) = make("-algorithm EC -pkeyopt ec_paramgen_curve:P-256");
        let (x, y) = der[der.len() - 64..].split_at(32);
        let (x, y) = (base64(x), base64(y));
        Key {
            id: id.to_owned(),
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_pem(&private).expect("a key"),
            public: json!({ "kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": x, "y": y }),
        }
    }

    /// For RS256, and with `only` for nothing else.
    pub fn rsa(id: &str, only: bool) -> Key {
        let (private, der) = make("-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
        // Behind the modulus stands the exponent, 65537: five bytes.
        let n = base64(&der[der.len() - 5 - 256..der.len() - 5]);
        let mut public = json!({ "kty": "RSA", "kid": id, "n": n, "e": "AQAB" });
        if only {
            public["alg"] = json!("RS256");
        }
        Key {
            id: id.to_owned(),
            algorithm: Algorithm::RS256,
            private: EncodingKey::from_rsa_pem(&private).expect("a key"),
            public,
        }
    }

    /// A token for a user, valid for an hour, that names the key.
    pub fn token(&self, user: &str, scope: &str) -> String {
        self.token_with(user, scope, self.algorithm, Some(&self.id))
    }

    /// The same with another algorithm and name, good or bad.
    pub fn token_with(
        &self,
        user: &str,
        scope: &str,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> String {
        let mut header = Header::new(algorithm);
        header.kid = id.map(str::to_owned);
        let claims = json!({ "sub": user, "scope": scope, "exp": epoch() + 3600 });
        jsonwebtoken::encode(&header, &claims, &self.private).expect("sign a token")
    }
}

/// A private key in PEM and its public half in DER.
fn make(kind: &str) -> (Vec<u8>, Vec<u8>) {
    let directory = TempDir::new().expect("a temporary directory");
    let at = directory.path();
    openssl(at, &format!("genpkey {kind} -out key.pem"));
    openssl(at, "pkey -in key.pem -pubout -outform DER -out key.der");
    let read = |name: &str| fs::read(at.join(name)).expect("read the key");
    (read("key.pem"), read("key.der"))
}

/// The set of these keys.
pub fn set(keys: &[&Key]) -> String {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
    json!({ "keys": keys }).to_string()
}

/// Writes the set, whole at once.
pub fn write(path: &Path, keys: &[&Key]) {
    let beside = path.with_extension("new");
    fs::write(&beside, set(keys)).expect("write the set");
    fs::rename(&beside, path).expect("put the set in its place");
}

/// Who publishes a set over HTTP. Ends when dropped.
pub struct Publisher {
    /// Where.
    pub url: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    /// Publishes these keys.
    pub async fn start(keys: &[&Key]) -> Publisher {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let url = format!("http://{}/jwks.json", listener.local_addr().expect("bound"));
        let answer = Arc::new(Mutex::new((200, set(keys))));
        let asked = Arc::new(AtomicUsize::new(0));
        let (said, count) = (answer.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = [0; 4096];
                // A request without a body, and small.
                let _ = socket.read(&mut head).await;
                count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = said.lock().expect("not poisoned").clone();
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        Publisher {
            url,
            answer,
            asked,
            task,
        }
    }

    /// From now on answers so.
    pub fn answers(&self, status: u16, body: &str) {
        *self.answer.lock().expect("not poisoned") = (status, body.to_owned());
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
