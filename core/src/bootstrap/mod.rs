//! A data directory fetched from a core that runs: a backup, or what a new core begins with.
//!
//! A peer is asked for a snapshot, then for its files, one after the other. Whoever is cut off goes
//! on behind what is on disk: in a moment, or in another process a day later, with this peer or
//! another. Nothing can be opened before all has come and was verified.

mod fetch;

use std::path::Path;

use mercurio_auth::{KeyError, ServiceTokens};
use mercurio_net::Dial;
use thiserror::Error;
use tonic::Status;

use crate::{
    entry::Sequence,
    log::LogId,
    store::{Import, StoreError},
};

use fetch::{Fetch, Stop, blocking};

/// What was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// It has all up to this entry.
    pub through: Sequence,
    /// How many files it has.
    pub files: usize,
    /// How many bytes they have.
    pub bytes: u64,
}

/// Why nothing was fetched. What has come is kept, for the next attempt to go on with.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Nobody is named to fetch it from.
    #[error("there is no core to copy from: name one at least")]
    NoPeer,
    /// No peer could give it; why each could not, in order.
    #[error("no core could be copied from: {}", listed(.0))]
    Peers(Vec<(String, PeerError)>),
    /// It can't be written here, or there is data already.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is no token to ask with.
    #[error("make a token for the other core: {0}")]
    Token(#[from] KeyError),
}

/// Why a peer could not be copied from.
#[derive(Debug, Error)]
pub enum PeerError {
    /// Its address is none.
    #[error("not an address: {0}")]
    Address(String),
    /// It can't be reached, refused, or was cut off too often.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Call(Box<Status>),
    /// What it has is of no use here: of another log, of another format, or damaged.
    #[error("{0}")]
    Snapshot(StoreError),
    /// A file came damaged twice.
    #[error("its file {0} does not match its checksum, also when fetched again: check its disk")]
    Damaged(String),
}

impl FetchError {
    /// What the peer that was asked last answered, where it was that.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Peers(failures) => match failures.last() {
                Some((_, PeerError::Call(status))) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }
}

fn listed(failures: &[(String, PeerError)]) -> String {
    let each = failures.iter().map(|(url, why)| format!("{url}: {why}"));
    each.collect::<Vec<_>>().join("; ")
}

/// Cores to copy from, and how they are reached.
#[derive(Clone)]
pub struct Peers {
    /// Their URLs, tried in turn.
    pub urls: Vec<String>,
    /// How a connection is made.
    pub dial: Dial,
    /// What is shown to them; it needs the scope `notifications:admin`.
    pub tokens: ServiceTokens,
}

/// Copies a snapshot of the first of `peers` that can give one into a data directory, which must have
/// no data; one that was cut short is gone on with. `expected`: the shared log it has to be of; `None`: any, or none.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch_snapshot(
    peers: &Peers,
    data_dir: &Path,
    expected: Option<&LogId>,
) -> Result<Fetched, FetchError> {
    let mut import = Import::open(data_dir)?;
    let mut failures = Vec::new();
    for url in &peers.urls {
        let mut fetch = match Fetch::new(url, peers, expected) {
            Ok(fetch) => fetch,
            Err(why) => {
                failures.push((url.clone(), why));
                continue;
            }
        };
        match fetch.run(&mut import).await {
            Ok(()) => {
                let manifest = import.manifest().cloned().unwrap_or_default();
                let through = blocking(move || import.finish()).await?;
                fetch.end(manifest.snapshot_id).await;
                return Ok(Fetched {
                    through,
                    files: manifest.files.len(),
                    bytes: manifest.files.iter().map(|file| file.length).sum(),
                });
            }
            Err(Stop::Peer(why)) => {
                tracing::warn!(peer = url, %why, "can't copy from this core");
                failures.push((url.clone(), why));
            }
            Err(Stop::Here(error)) => return Err(error),
        }
    }
    match failures.is_empty() {
        true => Err(FetchError::NoPeer),
        false => Err(FetchError::Peers(failures)),
    }
}
