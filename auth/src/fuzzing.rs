//! What parses here, for the fuzz targets (`fuzz/`). Each takes any bytes. Compiled with the feature
//! `fuzzing` alone.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::claims::Claims;
use crate::{ClaimRules, ClientScopes, KeySet, SigningKey, Verifier, VerifyingKey};

const SECRET: &[u8] = b"a secret that only the fuzz targets know";
const USER: &str = "ada";

/// A token. None but that of the seeds is genuine.
pub fn token(data: &[u8]) {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| {
        let secret = VerifyingKey::from_secret(SECRET).expect("a secret");
        Verifier::new(vec![secret], ClaimRules::default()).with_sources(vec![Arc::new(NoKeys)])
    });
    let text = String::from_utf8_lossy(data);
    if let Ok(identity) = verifier.verify_at(&text, now()) {
        assert_eq!(identity.user, USER);
    }
}

/// A set without keys: a name that is in none is looked for.
struct NoKeys;

impl crate::KeySource for NoKeys {
    fn keys(&self) -> Arc<KeySet> {
        Arc::default()
    }

    fn refresh(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

/// Claims whose signature was right.
pub fn claims(data: &[u8]) {
    let rules = [
        ClaimRules::default(),
        ClaimRules {
            allow_missing_exp: true,
            user_claim: "user_id".into(),
            issuer: Some("issuer".into()),
            audience: Some("audience".into()),
            leeway: Duration::MAX,
            ..ClaimRules::default()
        },
    ];
    for rules in rules {
        let identity = Claims::parse(data).and_then(|claims| claims.identity(&rules, now()));
        if let Ok(identity) = identity {
            assert!((1..=crate::MAX_USER_BYTES).contains(&identity.user.len()));
            assert!(!identity.user.chars().any(char::is_control));
            let _ = identity.remaining(now());
            let _ = identity.remaining(SystemTime::UNIX_EPOCH);
        }
    }
}

/// Keys: a set of them, or one in PEM.
pub fn keys(data: &[u8]) {
    if let Ok(set) = KeySet::parse(data) {
        assert!(set.len() <= crate::MAX_SET_KEYS);
        // Their names and kinds alone.
        let _ = format!("{set:?}");
        let verifier = Verifier::new(set.keys().to_vec(), ClaimRules::default());
        let _ = verifier.verify_at("eyJhbGciOiJSUzI1NiJ9.e30.AA", now());
    }
    let _ = (VerifyingKey::from_pem(data), SigningKey::from_pem(data));
    let _ = (
        VerifyingKey::from_secret(data),
        SigningKey::from_secret(data),
    );
    let text = String::from_utf8_lossy(data);
    let _ = ClientScopes::parse(text.split(','));
}

/// Some time in 2026.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}
