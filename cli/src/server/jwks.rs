//! Sets of keys that change: from a file, or from where an issuer publishes them.
//!
//! A set is asked for again in time, and at once for a token that names a key which is not in it; but
//! no oftener than every few seconds, whatever tokens come. While its source fails, the last set that
//! could be read stays.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use http::Uri;
use mercurio_auth::{KeySet, KeySource};
use mercurio_net::{Dial, LoadError, Look, Renewed, get};
use parking_lot::RwLock;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use crate::{error::Failure, settings::shown_url};

/// The most bytes of a set.
const SET_MAX: usize = 256 << 10;
/// How long a source may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// No oftener than this a source is asked.
const REST: Duration = Duration::from_secs(5);
/// How often a source is asked at the start before it is given up.
const FIRST_TRIES: u32 = 5;

/// A set of keys, and where it is from.
pub struct Jwks {
    from: From,
    /// When the source was asked last; held while it is.
    asked: Mutex<Option<Instant>>,
}

enum From {
    File(Arc<Renewed<Arc<KeySet>>>),
    Url {
        url: Uri,
        /// What is said of it: a query may hold a secret.
        shown: String,
        dial: Dial,
        every: Duration,
        current: RwLock<Arc<KeySet>>,
    },
}

impl Jwks {
    /// From a file, that is read now.
    ///
    /// # Errors
    /// It can't be read, or is no set with a key that can be used.
    pub fn file(path: &std::path::Path) -> Result<Self, LoadError> {
        let named = path.to_owned();
        let parse = move |contents: &[Vec<u8>]| {
            let set = KeySet::parse(contents.first().map_or(&[], Vec::as_slice));
            set.map(Arc::new)
                .map_err(|error| LoadError::of(&named, error))
        };
        let renewed = Renewed::load("a set of keys", vec![path.to_owned()], parse)?;
        Ok(Self::new(From::File(Arc::new(renewed))))
    }

    /// From an address, asked at the start and then this often.
    pub fn url(url: Uri, dial: Dial, every: Duration) -> Self {
        Self::new(From::Url {
            shown: shown_url(&url.to_string()).into(),
            url,
            dial,
            every,
            current: RwLock::default(),
        })
    }

    fn new(from: From) -> Self {
        Self {
            from,
            asked: Mutex::new(None),
        }
    }

    /// What takes up a new file.
    pub fn look(&self) -> Option<Arc<dyn Look>> {
        match &self.from {
            From::File(renewed) => Some(renewed.clone()),
            From::Url { .. } => None,
        }
    }

    /// Has the first set, or gives up.
    ///
    /// # Errors
    /// The source doesn't answer, or with something else.
    pub async fn start(&self) -> Result<(), Failure> {
        let From::Url { shown: url, .. } = &self.from else {
            return Ok(());
        };
        let mut tries = 1..=FIRST_TRIES;
        loop {
            match (self.ask().await, tries.next()) {
                (Ok(()), _) => return Ok(()),
                (Err(error), None) => {
                    return Err(Failure::other(format!("--jwt-jwks-url {url}: {error}")));
                }
                (Err(error), Some(_)) => {
                    tracing::warn!(%url, %error, "no set of keys yet");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Asks again and again, for as long as it is polled.
    pub async fn keep_current(&self) {
        let From::Url { every, .. } = &self.from else {
            return std::future::pending().await;
        };
        loop {
            sleep(*every).await;
            let mut asked = self.asked.lock().await;
            self.ask_or_say().await;
            *asked = Some(Instant::now());
        }
    }

    async fn ask_or_say(&self) {
        if let (Err(error), From::Url { shown: url, .. }) = (self.ask().await, &self.from) {
            tracing::error!(%url, %error, "no newer set of keys; the last stays");
        }
    }

    /// Asks the source now.
    async fn ask(&self) -> Result<(), String> {
        match &self.from {
            From::File(renewed) => {
                let renewed = renewed.clone();
                let looked = tokio::task::spawn_blocking(move || renewed.look());
                looked.await.map_err(|error| error.to_string())
            }
            From::Url {
                url,
                shown,
                dial,
                current,
                ..
            } => {
                let got = timeout(ANSWER, get(url, dial, SET_MAX)).await;
                let json = got.map_err(|_| format!("no answer within {ANSWER:?}"))??;
                let set = KeySet::parse(&json).map_err(|error| error.to_string())?;
                tracing::debug!(url = %shown, keys = set.len(), "a set of keys");
                *current.write() = Arc::new(set);
                Ok(())
            }
        }
    }
}

impl KeySource for Jwks {
    fn keys(&self) -> Arc<KeySet> {
        match &self.from {
            From::File(renewed) => renewed.current().as_ref().clone(),
            From::Url { current, .. } => current.read().clone(),
        }
    }

    fn refresh(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            // Who comes while the source is asked waits for its answer, and asks no more.
            let mut asked = self.asked.lock().await;
            if asked.is_none_or(|at| at.elapsed() >= REST) {
                self.ask_or_say().await;
                *asked = Some(Instant::now());
            }
        })
    }
}
