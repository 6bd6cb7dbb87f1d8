//! A snapshot fetched from one peer: asked for, read a file at a time, and asked for again where it
//! was cut off.

use std::time::Duration;

use mercurio_auth::ServiceTokens;
use mercurio_proto::v1::{
    BeginSnapshotRequest, EndSnapshotRequest, ReadSnapshotRequest,
    snapshot_service_client::SnapshotServiceClient,
};
use tokio::time::{sleep, timeout};
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

use crate::{
    log::LogId,
    store::{Import, Manifest, ManifestFile, StoreError},
};

use super::{FetchError, PeerError, Peers};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a quiet peer is asked whether it is there, and how long its answer may take.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long a peer may take to make a snapshot.
const BEGIN: Duration = Duration::from_secs(600);
/// How long it may take to send the next piece.
const NEXT: Duration = Duration::from_secs(60);
/// So often in a row something may go wrong without anything having come.
const TRIES: u32 = 5;
/// How long is waited before the second try; each further one waits four times as long.
const PAUSE: Duration = Duration::from_millis(100);

/// One peer that is copied from.
pub(super) struct Fetch<'a> {
    client: SnapshotServiceClient<Channel>,
    tokens: &'a ServiceTokens,
    expected: Option<&'a LogId>,
    /// Bytes that came.
    received: u64,
}

/// Why a fetch ends.
pub(super) enum Stop {
    /// Another peer may do.
    Peer(PeerError),
    /// No other peer would.
    Here(FetchError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadSnapshot { .. }
            | StoreError::OtherLog { .. }
            | StoreError::OtherFormat { .. } => Self::Peer(PeerError::Snapshot(error)),
            _ => Self::Here(error.into()),
        }
    }
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Peer(PeerError::Call(Box::new(status)))
    }
}

impl<'a> Fetch<'a> {
    pub fn new(
        url: &str,
        peers: &'a Peers,
        expected: Option<&'a LogId>,
    ) -> Result<Self, PeerError> {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| PeerError::Address(error.to_string()))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE);
        Ok(Self {
            client: SnapshotServiceClient::new(
                endpoint.connect_with_connector_lazy(peers.dial.clone()),
            ),
            tokens: &peers.tokens,
            expected,
            received: 0,
        })
    }

    /// Goes on until all has come.
    pub async fn run(&mut self, import: &mut Import) -> Result<(), Stop> {
        let mut is_known = match import.manifest().cloned() {
            Some(manifest) => import.adopt(manifest, self.expected).is_ok(),
            None => false,
        };
        let mut tries = 0;
        loop {
            let before = self.received;
            let failed = match self.attempt(import, is_known).await {
                Err(Stop::Peer(PeerError::Call(status))) if may_pass(&status) => status,
                ended => return ended,
            };
            if self.received > before {
                tries = 0;
            }
            // It was given up, or is of a run or of a peer before: another one has most of it too.
            is_known = failed.code() != Code::NotFound && import.manifest().is_some();
            tries += 1;
            if tries == TRIES {
                return Err(Stop::Peer(PeerError::Call(failed)));
            }
            tracing::info!(error = failed.message(), tries, "copying is tried again");
            sleep(PAUSE * 4_u32.pow(tries - 1)).await;
        }
    }

    async fn attempt(&mut self, import: &mut Import, is_known: bool) -> Result<(), Stop> {
        if !is_known {
            let manifest = self.begin().await?;
            import.adopt(manifest, self.expected)?;
        }
        let manifest = import.manifest().cloned().unwrap_or_default();
        for file in &manifest.files {
            self.file(import, &manifest.snapshot_id, file).await?;
        }
        Ok(())
    }

    async fn begin(&mut self) -> Result<Manifest, Stop> {
        let request = self.request(BeginSnapshotRequest {})?;
        let answer = async {
            let mut answer = self.client.begin_snapshot(request).await?.into_inner();
            answer.message().await
        };
        let answer = in_time(BEGIN, answer).await?;
        let manifest = answer.and_then(|answer| answer.manifest);
        manifest.ok_or_else(|| Status::internal("it answered without a snapshot").into())
    }

    /// What is missing of a file. One that is not what it should be is fetched again, once.
    async fn file(
        &mut self,
        import: &Import,
        snapshot_id: &str,
        file: &ManifestFile,
    ) -> Result<(), Stop> {
        for _ in 0..2 {
            let mut incoming = blocking(import.file(file)).await?;
            if !incoming.is_complete() {
                let request = self.request(ReadSnapshotRequest {
                    snapshot_id: snapshot_id.to_owned(),
                    file: file.name.clone(),
                    offset: incoming.offset(),
                })?;
                let read = self.client.read_snapshot(request);
                let mut chunks = in_time(NEXT, read).await?.into_inner();
                while let Some(chunk) = in_time(NEXT, chunks.message()).await? {
                    incoming.write(&chunk.data)?;
                    self.received += chunk.data.len() as u64;
                }
                if !incoming.is_complete() {
                    return Err(Status::unavailable("it ended before the file did").into());
                }
            }
            if blocking(move || incoming.finish()).await? {
                return Ok(());
            }
            tracing::warn!(file = file.name, "a file came damaged");
        }
        Err(Stop::Peer(PeerError::Damaged(file.name.clone())))
    }

    /// It is not needed any more. If this doesn't reach it, it finds out by itself.
    pub async fn end(&mut self, snapshot_id: String) {
        if let Ok(request) = self.request(EndSnapshotRequest { snapshot_id }) {
            let _ = timeout(CONNECT, self.client.end_snapshot(request)).await;
        }
    }

    fn request<T>(&self, message: T) -> Result<Request<T>, Stop> {
        let token = self.tokens.token();
        let token = token.map_err(|error| Stop::Here(FetchError::Token(error)))?;
        let mut bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Status::unauthenticated("the token has bytes that no token has"))?;
        bearer.set_sensitive(true);
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", bearer);
        Ok(request)
    }
}

/// Whether it can help to ask the same peer again.
fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::NotFound
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
    )
}

async fn in_time<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::unavailable(format!("no answer within {limit:?}"))),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::of_snapshot(std::io::Error::other(error))))
}
