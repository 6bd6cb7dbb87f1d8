//! The keys that tokens are verified and signed with, from the settings.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::Uri;
use mercurio_auth::{
    ClaimRules, Issuer, KeyError, KeySource, ServiceTokens, SigningKey, Verifier, VerifyingKey,
};
use mercurio_net::{ClientFiles, ClientTls, Dial, HTTP1, LoadError};

use super::jwks::Jwks;
use crate::{
    error::Failure,
    settings::{Problem, Problems, Settings},
};

/// The settings that give keys which verify and don't sign.
const PUBLIC: [&str; 3] = ["jwt-public-key-file", "jwt-jwks-file", "jwt-jwks-url"];
/// The key that `dev` makes for itself, in the data directory.
const DEV_KEY: &str = "dev-key";
const KEY_BYTES: usize = 32;

/// Who is let in, and what the gateway shows the core.
pub struct Keys {
    pub verifier: Arc<Verifier>,
    /// Also takes the tokens that this process makes for itself.
    pub core_verifier: Arc<Verifier>,
    /// Sets of keys that change meanwhile; the verifiers have them too.
    pub sets: Vec<Arc<Jwks>>,
    /// What a gateway in this process shows the core.
    pub internal: ServiceTokens,
    /// What a gateway alone shows the core; `None`: there is nothing to sign with.
    pub service: Option<ServiceTokens>,
    /// What a core shows its peers; `None`: there is nothing to sign with.
    pub peers: Option<ServiceTokens>,
    /// What `dev` signs the tokens of its demo page with; `None`: there is no demo.
    pub demo: Option<Issuer>,
}

impl Keys {
    /// Of the settings.
    ///
    /// # Errors
    /// All that is wrong: there is no key, or one can't be used.
    pub fn configured(settings: &Settings) -> Result<Self, Failure> {
        Self::new(settings, false)
    }

    /// Of the settings, or else of `dev`'s own.
    ///
    /// # Errors
    /// All that is wrong: a key can't be read, made or used.
    pub fn dev(settings: &Settings) -> Result<Self, Failure> {
        Self::new(settings, true)
    }

    fn new(settings: &Settings, is_dev: bool) -> Result<Self, Failure> {
        let mut wrong = Wrong::default();
        let rules = wrong.note(rules(settings))?.unwrap_or_default();
        let mut secrets = wrong.note(secrets(settings))?;
        if secrets.as_ref().is_some_and(Vec::is_empty)
            && PUBLIC.iter().all(|public| settings.is_unset(public))
        {
            if is_dev {
                secrets = Some(vec![dev_key(&dev_key_path(settings), true)?]);
            } else {
                let gives = "--jwt-secret-file, --jwt-secret, --jwt-public-key-file, \
                    --jwt-jwks-file or --jwt-jwks-url";
                wrong.note::<()>(Err(no_key(gives)))?;
            }
        }
        let secrets = secrets.unwrap_or_default();
        let mut keys = Vec::new();
        for secret in secrets.iter().flat_map(|secret| variants(secret)) {
            let key = VerifyingKey::from_secret(secret).map_err(secret_refused);
            keys.extend(wrong.note(key)?);
        }
        for path in settings.paths("jwt-public-key-file") {
            keys.extend(wrong.note(public_key(path))?);
        }
        let sets = wrong.note(sets(settings))?.unwrap_or_default();
        let mut token = |setting| {
            let token = settings.path(setting).map(|path| token_of(setting, path));
            Ok::<_, Failure>(wrong.note(token.transpose())?.flatten())
        };
        let (token, peer_token) = (token("core-token-file")?, token("peer-token-file")?);
        wrong.into_result()?;

        for secret in &secrets {
            if SigningKey::from_secret(trimmed(secret)).is_ok_and(|key| key.is_weak()) {
                tracing::warn!(
                    "the secret has fewer than 32 bytes: it can be guessed from a token"
                );
            }
        }
        let issued = |secret: &[u8]| -> Result<ServiceTokens, Failure> {
            let key = SigningKey::from_secret(secret).map_err(secret_refused)?;
            Ok(ServiceTokens::issued(Issuer::new(key, &rules)))
        };
        let service = match (token, secrets.first()) {
            (Some(token), _) => Some(ServiceTokens::fixed(token)),
            (None, Some(secret)) => Some(issued(trimmed(secret))?),
            (None, None) => None,
        };
        let peers = match (peer_token, secrets.first()) {
            (Some(token), _) => Some(ServiceTokens::fixed(token)),
            (None, Some(secret)) => {
                let key = SigningKey::from_secret(trimmed(secret)).map_err(secret_refused)?;
                Some(ServiceTokens::for_peers(Issuer::new(key, &rules)))
            }
            (None, None) => None,
        };
        let internal: Vec<u8> = random()?;
        let sources = || {
            let sets = sets.iter();
            sets.map(|set| set.clone() as Arc<dyn KeySource>).collect()
        };
        let verifier = Verifier::new(keys.clone(), rules.clone()).with_sources(sources());
        keys.push(VerifyingKey::from_secret(&internal).map_err(secret_refused)?);
        Ok(Self {
            verifier: Arc::new(verifier),
            internal: issued(&internal)?,
            core_verifier: Arc::new(Verifier::new(keys, rules).with_sources(sources())),
            sets,
            service,
            peers,
            demo: None,
        })
    }
}

/// What is wrong with the keys, gathered to be said at once.
#[derive(Default)]
struct Wrong(Vec<Problem>);

impl Wrong {
    /// The value; or what is wrong with it is noted, once. What no setting can mend is an error.
    fn note<T>(&mut self, result: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(failure) => {
                failure.note(&mut self.0)?;
                Ok(None)
            }
        }
    }

    fn into_result(self) -> Result<(), Problems> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Problems(self.0))
        }
    }
}

fn public_key(path: &Path) -> Result<VerifyingKey, Failure> {
    let pem = read("jwt-public-key-file", path)?;
    VerifyingKey::from_pem(&pem).map_err(|error| {
        Failure::Usage(format!("--jwt-public-key-file {}: {error}", path.display()))
    })
}

/// Sets of keys; one from an address is empty until it is asked.
fn sets(settings: &Settings) -> Result<Vec<Arc<Jwks>>, Failure> {
    let refused = |setting: &str| {
        let setting = setting.to_owned();
        move |error: LoadError| Failure::Usage(format!("--{setting} {error}"))
    };
    let mut sets = Vec::new();
    if let Some(path) = settings.path("jwt-jwks-file") {
        sets.push(Jwks::file(path).map_err(refused("jwt-jwks-file"))?);
    }
    let ca = settings.path("jwt-jwks-ca").map(Into::into);
    // The table has checked it.
    let url = settings.text("jwt-jwks-url").map(str::parse::<Uri>);
    if let Some(Ok(url)) = url {
        let tls = match url.scheme_str() {
            Some("https") => {
                let tls = ClientTls::load(ClientFiles { ca, own: None }, HTTP1);
                Some(tls.map_err(refused("jwt-jwks-ca"))?)
            }
            _ => None,
        };
        let every = settings.duration("jwt-jwks-refresh");
        let every = every.unwrap_or(Duration::from_secs(300));
        sets.push(Jwks::url(url, Dial::Tcp(tls), every));
    }
    Ok(sets.into_iter().map(Arc::new).collect())
}

fn token_of(setting: &str, path: &Path) -> Result<String, Failure> {
    let token = String::from_utf8(read(setting, path)?)
        .map_err(|_| Failure::Usage(format!("--{setting} {}: not text", path.display())))?;
    Ok(token.trim().to_owned())
}

/// What is expected of claims.
///
/// # Errors
/// The settings contradict each other.
pub fn rules(settings: &Settings) -> Result<ClaimRules, Failure> {
    let rules = ClaimRules {
        user_claim: settings.text("jwt-user-claim").unwrap_or("sub").to_owned(),
        allow_missing_exp: settings.switch("jwt-allow-missing-exp"),
        issuer: settings.text("jwt-issuer").map(str::to_owned),
        audience: settings.text("jwt-audience").map(str::to_owned),
        leeway: settings.duration("jwt-leeway").unwrap_or_default(),
        publishers: settings.texts("publisher"),
    };
    // Each setting has been checked on its own: what is left is a claim with another meaning.
    let problems: Vec<String> = rules
        .problems()
        .iter()
        .map(|problem| format!("--jwt-user-claim: {problem}"))
        .collect();
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(Failure::Usage(problems.join("\n")))
    }
}

/// The key to sign with: the configured secret, or `dev`'s where there is none.
///
/// # Errors
/// There is none, or it can't be used.
pub fn signing_or_dev(settings: &Settings) -> Result<SigningKey, Failure> {
    let secret = match secrets(settings)?.into_iter().next() {
        Some(secret) => secret,
        None => dev_key(&dev_key_path(settings), false)?,
    };
    SigningKey::from_secret(trimmed(&secret)).map_err(secret_refused)
}

fn secrets(settings: &Settings) -> Result<Vec<Vec<u8>>, Failure> {
    let given = settings
        .text("jwt-secret")
        .map(|secret| Ok(secret.as_bytes().to_vec()));
    let files = settings.paths("jwt-secret-file").map(|path| {
        let secret = read("jwt-secret-file", path)?;
        if trimmed(&secret).is_empty() {
            return Err(Failure::Usage(format!(
                "--jwt-secret-file {}: it is empty",
                path.display()
            )));
        }
        Ok(secret)
    });
    given.into_iter().chain(files).collect()
}

/// A file that ends with a newline may have been made with an editor, or be used to its last byte
/// by another program, as the prototype did: tokens of either are taken.
fn variants(secret: &[u8]) -> impl Iterator<Item = &[u8]> {
    let short = trimmed(secret);
    std::iter::once(secret).chain((short.len() < secret.len()).then_some(short))
}

fn trimmed(secret: &[u8]) -> &[u8] {
    let short = secret.strip_suffix(b"\n").unwrap_or(secret);
    short.strip_suffix(b"\r").unwrap_or(short)
}

fn read(setting: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path)
        .map_err(|error| Failure::Usage(format!("--{setting} {}: {error}", path.display())))
}

fn dev_key_path(settings: &Settings) -> PathBuf {
    settings
        .path("data-dir")
        .unwrap_or(Path::new("data"))
        .join(DEV_KEY)
}

/// `dev`'s own key; made when it is not there and `make` says so.
fn dev_key(path: &Path, make: bool) -> Result<Vec<u8>, Failure> {
    match fs::read(path) {
        Ok(key) => return Ok(key),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::other(format!("read {}: {error}", path.display())));
        }
        Err(_) if !make => {
            return Err(no_key(
                "--jwt-secret-file or --jwt-secret, or for a client --token-file",
            ));
        }
        Err(_) => {}
    }
    let key: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let made = path
        .parent()
        // It is the data directory, of which the key is the first file.
        .map_or(Ok(()), |dir| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
        })
        .and_then(|()| {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        })
        .and_then(|mut file| {
            file.write_all(key.as_bytes())?;
            file.sync_all()
        });
    made.map_err(|error| Failure::other(format!("write {}: {error}", path.display())))?;
    Ok(key.into_bytes())
}

fn random() -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| Failure::other(format!("make a key: {error}")))?;
    Ok(bytes)
}

fn no_key(settings: &str) -> Failure {
    Failure::Usage(format!(
        "a key is needed: {settings} gives one (`mercurio dev` makes its own)"
    ))
}

fn secret_refused(error: KeyError) -> Failure {
    Failure::Usage(format!(
        "the secret of --jwt-secret or --jwt-secret-file: {error}"
    ))
}
