//! Snapshots over the wire: made, read a file at a time from where the reader stands, and let go
//! when nobody reads them any more.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::stream::{self, BoxStream, StreamExt};
use mercurio_proto::v1::{self as pb, snapshot_service_server::SnapshotService};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

use crate::store::{Snapshot, StoreError};

use super::{Context, auth, ending::Ending, status::Refusal, validate::Violations};

/// Bytes of one message.
const CHUNK: usize = 256 << 10;

/// The snapshots that are held. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Held {
    /// One for each snapshot, from when it is begun.
    places: Arc<Semaphore>,
    /// One for each read.
    reads: Arc<Semaphore>,
    limit: usize,
    open: Arc<Mutex<HashMap<String, Arc<Open>>>>,
}

struct Open {
    snapshot: Snapshot,
    read_at: Mutex<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    pub fn new(limit: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limit)),
            reads: Arc::new(Semaphore::new(limit)),
            limit,
            open: Arc::default(),
        }
    }

    fn take(
        &self,
        of: &Arc<Semaphore>,
        what: &'static str,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let limit = self.limit;
        let taken = of.clone().try_acquire_owned();
        taken.map_err(|_| Refusal::TooManyStreams { what, limit })
    }

    fn find(&self, id: &str) -> Result<Arc<Open>, Refusal> {
        self.open.lock().get(id).cloned().ok_or(Refusal::NoSnapshot)
    }

    fn remove(&self, id: &str) {
        let removed = self.open.lock().remove(id);
        // It may remove files, and the others need not wait for that.
        drop(removed);
    }

    /// Lets go of all.
    pub fn clear(&self) {
        drop(std::mem::take(&mut *self.open.lock()));
    }

    /// Keeps it until nobody has read it for as long as `idle`.
    fn keep(&self, open: Arc<Open>, idle: Duration, shutdown: CancellationToken) {
        let id = open.snapshot.manifest().snapshot_id.clone();
        let watched = Arc::downgrade(&open);
        self.open.lock().insert(id.clone(), open);
        let held = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = unread(&watched, idle) => {}
                () = shutdown.cancelled() => {}
            }
            held.remove(&id);
        });
    }
}

/// Waits until it is gone, or was not read for so long.
async fn unread(open: &Weak<Open>, idle: Duration) {
    while let Some(open) = open.upgrade() {
        let end = *open.read_at.lock() + idle;
        drop(open);
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// `mercurio.v1.SnapshotService`.
pub(super) struct Snapshots(pub Arc<Context>);

type Begun = BoxStream<'static, Result<pb::BeginSnapshotResponse, Status>>;
type Chunks = BoxStream<'static, Result<pb::ReadSnapshotResponse, Status>>;

#[tonic::async_trait]
impl SnapshotService for Snapshots {
    type BeginSnapshotStream = Begun;
    type ReadSnapshotStream = Chunks;

    async fn begin_snapshot(
        &self,
        request: Request<pb::BeginSnapshotRequest>,
    ) -> Result<Response<Begun>, Status> {
        let begun = begin(&self.0, &request).await;
        begun
            .map(Response::new)
            .map_err(|refusal| self.0.refuse(refusal))
    }

    async fn read_snapshot(
        &self,
        request: Request<pb::ReadSnapshotRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let chunks = read(&self.0, &request).await;
        chunks
            .map(Response::new)
            .map_err(|refusal| self.0.refuse(refusal))
    }

    async fn end_snapshot(
        &self,
        request: Request<pb::EndSnapshotRequest>,
    ) -> Result<Response<pb::EndSnapshotResponse>, Status> {
        auth::administrator(&request).map_err(|refusal| self.0.refuse(refusal))?;
        self.0.snapshots.remove(&request.get_ref().snapshot_id);
        Ok(Response::new(pb::EndSnapshotResponse {}))
    }
}

async fn begin(
    context: &Arc<Context>,
    request: &Request<pb::BeginSnapshotRequest>,
) -> Result<Begun, Refusal> {
    let identity = auth::administrator(request)?.clone();
    let place = context
        .snapshots
        .take(&context.snapshots.places, "snapshots")?;
    let mut ending = Ending::new(identity, context);
    let context = context.clone();
    let begun = async move {
        tokio::select! {
            biased;
            ended = ending.reached() => Err(context.refuse(ended)),
            made = make(&context, place) => made.map_err(|refusal| context.refuse(refusal)),
        }
    };
    Ok(stream::once(begun.instrument(Span::current())).boxed())
}

async fn make(
    context: &Context,
    place: OwnedSemaphorePermit,
) -> Result<pb::BeginSnapshotResponse, Refusal> {
    let (store, writer) = (context.store.clone(), context.writer.clone());
    let making = tokio::task::spawn_blocking(move || {
        let snapshot = store.snapshot(|| writer.cut().map_err(Refusal::from));
        // The place is taken until it is made, also where the caller has gone.
        snapshot.map(|snapshot| Open {
            snapshot,
            read_at: Mutex::new(Instant::now()),
            _place: place,
        })
    });
    let made = making
        .await
        .map_err(|error| Refusal::Internal(format!("making a snapshot ended: {error}")))?;
    let open = Arc::new(made?);
    let manifest = open.snapshot.manifest().clone();
    tracing::info!(
        snapshot = manifest.snapshot_id,
        through = manifest.through,
        files = manifest.files.len(),
        "made a snapshot"
    );
    let idle = context.transport.snapshot_idle;
    context.snapshots.keep(open, idle, context.shutdown.clone());
    Ok(pb::BeginSnapshotResponse {
        manifest: Some(manifest),
    })
}

async fn read(
    context: &Arc<Context>,
    request: &Request<pb::ReadSnapshotRequest>,
) -> Result<Chunks, Refusal> {
    let identity = auth::administrator(request)?.clone();
    let asked = request.get_ref();
    let open = context.snapshots.find(&asked.snapshot_id)?;
    let turn = context
        .snapshots
        .take(&context.snapshots.reads, "reads of snapshots")?;
    let mut wrong = Violations::default();
    let found = open.snapshot.open(&asked.file)?;
    match &found {
        None => wrong.add("file", "the snapshot has no such file"),
        Some((known, _)) if asked.offset > known.length => {
            let length = known.length;
            wrong.add(
                "offset",
                format!("{length} bytes at most: the file ends there"),
            );
        }
        Some(_) => {}
    }
    let (known, file) = wrong.finish(found)?;
    let reading = Reading {
        context: context.clone(),
        file: Arc::new(file),
        offset: asked.offset,
        end: known.length,
        ending: Ending::new(identity, context),
        open,
        _turn: turn,
    };
    let span = Span::current();
    let chunks = stream::unfold(Some(reading), move |reading| {
        async move {
            let mut reading = reading?;
            match reading.next().await {
                Ok(None) => None,
                Ok(Some(chunk)) => Some((Ok(chunk), Some(reading))),
                Err(refusal) => Some((Err(reading.context.refuse(refusal)), None)),
            }
        }
        .instrument(span.clone())
    });
    Ok(chunks.boxed())
}

/// A read under way. It reads on when what it read was taken: one chunk waits at most, besides what
/// the connection's window holds.
struct Reading {
    context: Arc<Context>,
    open: Arc<Open>,
    file: Arc<File>,
    offset: u64,
    end: u64,
    ending: Ending,
    _turn: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<pb::ReadSnapshotResponse>, Refusal> {
        *self.open.read_at.lock() = Instant::now();
        let left = self.end - self.offset;
        if left == 0 {
            return Ok(None);
        }
        let length = CHUNK.min(usize::try_from(left).unwrap_or(CHUNK));
        let (file, offset) = (self.file.clone(), self.offset);
        let read = self.context.read(move |_| {
            let mut data = vec![0; length];
            file.read_exact_at(&mut data, offset)
                .map_err(StoreError::of_snapshot)?;
            Ok(data)
        });
        let data = tokio::select! {
            biased;
            ended = self.ending.reached() => return Err(ended),
            read = read => read?,
        };
        self.offset += data.len() as u64;
        Ok(Some(pb::ReadSnapshotResponse { data }))
    }
}
