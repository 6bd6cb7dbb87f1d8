//! The one writer. It takes what is waiting, applies it as one batch, makes it safe with one
//! sync, then answers every publisher and wakes the readers: one publisher pays one sync, a
//! thousand concurrent ones share it (group commit).
//!
//! A thread of its own, since it waits for the disk. Retention's changes to the newest segment
//! pass through it too, between batches.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock,
    entry::{Applied, Audience, Entry, Published, ReadStateSet, ReadTarget, RecipientId, Sequence},
    hub::Hub,
    metrics::Metrics,
    store::{Batch, Cut, Outcome, Store, StoreError},
};

/// Bounds of the writer.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// Requests that may wait; past it they are refused with [`WriteError::Busy`]. Default 8,192.
    pub queue: usize,
    /// The most requests in one batch. Default 2,048.
    pub batch_requests: usize,
    /// Bytes behind which a batch ends. Default 8 MiB.
    pub batch_bytes: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            queue: 8192,
            batch_requests: 2048,
            batch_bytes: 8 << 20,
        }
    }
}

/// A notification to publish, validated.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The publishing service.
    pub source_id: String,
    /// Idempotency key; `None`: a UUIDv7 is made.
    pub event_id: Option<String>,
    /// Who gets it.
    pub audience: Audience,
    /// Dot-separated tokens; may be empty.
    pub topic: String,
    /// The body.
    pub data: String,
    /// How long it lives.
    pub ttl: Option<Duration>,
}

/// The answer to a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishOutcome {
    /// The sequence of the notification.
    pub id: Sequence,
    /// The idempotency key, given or made.
    pub event_id: String,
    /// It had been published before.
    pub duplicate: bool,
}

/// The answer to who marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadStateOutcome {
    /// The sequence at which the change stands; the present where nothing changed.
    pub cursor: Sequence,
    /// How many notifications changed.
    pub changed: u64,
    /// How many are unread now.
    pub unread_count: u64,
}

/// Why something was not written. Nothing of it is visible.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteError {
    /// Too much is waiting.
    #[error("the writer is busy: {queue} requests are waiting; try again")]
    Busy {
        /// How many may wait.
        queue: usize,
    },
    /// The disk is full.
    #[error(
        "the disk is full: {free} bytes are free, and {reserve} are kept in reserve; make room and try again"
    )]
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes left alone.
        reserve: u64,
    },
    /// The store failed. Whether the request was stored is not known: try again with the same
    /// event id.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The service ends.
    #[error("the service is shutting down")]
    ShuttingDown,
}

/// Where handlers hand in what is to be written. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    requests: mpsc::Sender<Request>,
    queue: usize,
}

impl Writer {
    /// Starts the writer's thread. It ends when it is stopped or the last `Writer` is dropped.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(
        store: Store,
        hub: Arc<Hub>,
        settings: &WriterSettings,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, WriterHandle)> {
        let (requests, waiting) = mpsc::channel(settings.queue);
        let stop = CancellationToken::new();
        let mut thread = WriterThread {
            store,
            hub,
            metrics,
            settings: settings.clone(),
            failed: None,
            answers: Vec::new(),
        };
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || thread.run(waiting, &stopped))?;
        let queue = settings.queue;
        Ok((
            Self {
                requests: requests.clone(),
                queue,
            },
            WriterHandle {
                requests,
                stop,
                thread,
            },
        ))
    }

    /// Publishes a notification; returns once it is safe.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn publish(&self, draft: Draft) -> Result<PublishOutcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Request::Publish(Box::new(draft), answer))?;
        answered.await.map_err(|_| WriteError::ShuttingDown)?
    }

    /// Marks a recipient's notifications; returns once it is safe.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn set_read_state(
        &self,
        recipient: RecipientId,
        target: ReadTarget,
        read: bool,
    ) -> Result<ReadStateOutcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Request::SetReadState {
            recipient,
            target,
            read,
            answer,
        })?;
        answered.await.map_err(|_| WriteError::ShuttingDown)?
    }

    /// Has everything so far sealed, for a snapshot: see [`Store::snapshot`]. Blocks until the batch
    /// under way is written.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn cut(&self) -> Result<Cut, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Request::Cut(answer))?;
        answered
            .blocking_recv()
            .map_err(|_| WriteError::ShuttingDown)?
    }

    fn hand_in(&self, request: Request) -> Result<(), WriteError> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => WriteError::Busy { queue: self.queue },
                mpsc::error::TrySendError::Closed(_) => WriteError::ShuttingDown,
            })
    }
}

/// The writer's thread, and retention's way to it.
pub struct WriterHandle {
    requests: mpsc::Sender<Request>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl WriterHandle {
    /// For retention.
    #[must_use]
    pub fn rolls(&self) -> RollRequests {
        RollRequests(self.requests.clone())
    }

    /// Ends the writer: what waits is still written and answered, later requests are refused.
    pub async fn stop(self) {
        self.stop.cancel();
        // Wakes it.
        let _ = self.requests.send(Request::Wake).await;
        drop(self.requests);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer's thread ended by a panic");
        }
    }
}

/// Has the writer, who alone changes the active segment, seal it.
pub struct RollRequests(mpsc::Sender<Request>);

impl RollRequests {
    /// Has it done soon; nothing where the writer is busy or has ended.
    pub fn roll(&self) {
        let _ = self.0.try_send(Request::Roll);
    }
}

enum Request {
    Publish(
        Box<Draft>,
        oneshot::Sender<Result<PublishOutcome, WriteError>>,
    ),
    SetReadState {
        recipient: RecipientId,
        target: ReadTarget,
        read: bool,
        answer: oneshot::Sender<Result<ReadStateOutcome, WriteError>>,
    },
    Roll,
    Cut(oneshot::Sender<Result<Cut, WriteError>>),
    Wake,
}

impl Request {
    fn refuse(self, error: &WriteError) {
        match self {
            Self::Publish(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::SetReadState { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Cut(answer) => drop(answer.send(Err(error.clone()))),
            Self::Roll | Self::Wake => {}
        }
    }
}

/// Who waits for the batch, and with which answer.
enum Answer {
    Published(
        oneshot::Sender<Result<PublishOutcome, WriteError>>,
        PublishOutcome,
    ),
    Marked(
        oneshot::Sender<Result<ReadStateOutcome, WriteError>>,
        ReadStateOutcome,
    ),
}

impl Answer {
    fn send(self, committed: Result<(), &WriteError>) {
        let refused = committed.err().cloned();
        // Whoever asked may have gone; what was written stays written.
        match self {
            Self::Published(to, outcome) => drop(to.send(refused.map_or(Ok(outcome), Err))),
            Self::Marked(to, outcome) => drop(to.send(refused.map_or(Ok(outcome), Err))),
        }
    }
}

/// How long a store that failed is left alone before it is opened again.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

struct WriterThread {
    store: Store,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    settings: WriterSettings,
    /// Since when the store has failed, and how.
    failed: Option<(Instant, WriteError)>,
    answers: Vec<Answer>,
}

impl WriterThread {
    fn run(&mut self, mut waiting: mpsc::Receiver<Request>, stop: &CancellationToken) {
        let mut requests = Vec::new();
        loop {
            if stop.is_cancelled() {
                waiting.close();
            }
            if waiting.blocking_recv_many(&mut requests, self.settings.batch_requests) == 0 {
                return;
            }
            self.write(requests.drain(..));
        }
    }

    fn write(&mut self, requests: impl Iterator<Item = Request>) {
        if let Err(refused) = self.recover() {
            requests.for_each(|request| request.refuse(&refused));
            return;
        }
        let mut batch = Batch::new(&self.store);
        for request in requests {
            match request {
                Request::Wake => {}
                Request::Roll => {
                    self.commit(batch);
                    self.roll(Store::roll);
                    batch = Batch::new(&self.store);
                }
                Request::Cut(answer) => {
                    self.commit(batch);
                    drop(answer.send(self.cut()));
                    batch = Batch::new(&self.store);
                }
                Request::Publish(draft, answer) => self.publish(&mut batch, *draft, answer),
                Request::SetReadState {
                    recipient,
                    target,
                    read,
                    answer,
                } => {
                    let at = clock::now();
                    let set = ReadStateSet {
                        at,
                        recipient,
                        target,
                        read,
                    };
                    self.mark(&mut batch, set, answer);
                }
            }
            if batch.bytes() >= self.settings.batch_bytes {
                self.commit(batch);
                batch = Batch::new(&self.store);
            }
        }
        self.commit(batch);
    }

    fn publish(
        &mut self,
        batch: &mut Batch,
        draft: Draft,
        answer: oneshot::Sender<Result<PublishOutcome, WriteError>>,
    ) {
        let at = clock::now();
        let ttl = draft
            .ttl
            .map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1));
        let published = Published {
            at,
            source_id: draft.source_id,
            event_id: draft.event_id.unwrap_or_else(|| Uuid::now_v7().to_string()),
            topic: draft.topic.into(),
            data: draft.data,
            expires_at: ttl.map(|ttl| at.saturating_add(ttl)),
        };
        let event_id = published.event_id.clone();
        let entry = Entry::Published(draft.audience, Arc::new(published));
        match self.apply(batch, entry) {
            Ok(Outcome::Published { id, duplicate }) => {
                let outcome = PublishOutcome {
                    id,
                    event_id,
                    duplicate,
                };
                self.answers.push(Answer::Published(answer, outcome));
            }
            Ok(Outcome::ReadStateSet { .. }) => {}
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn mark(
        &mut self,
        batch: &mut Batch,
        set: ReadStateSet,
        answer: oneshot::Sender<Result<ReadStateOutcome, WriteError>>,
    ) {
        match self.apply(batch, Entry::ReadStateSet(set)) {
            Ok(Outcome::ReadStateSet {
                changed,
                unread_count,
            }) => {
                let cursor = batch.next_sequence() - 1;
                let outcome = ReadStateOutcome {
                    cursor,
                    changed,
                    unread_count,
                };
                self.answers.push(Answer::Marked(answer, outcome));
            }
            Ok(Outcome::Published { .. }) => {}
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn apply(&self, batch: &mut Batch, entry: Entry) -> Result<Outcome, WriteError> {
        batch.apply(batch.next_sequence(), entry).map_err(|error| {
            tracing::error!(%error, "apply an entry");
            WriteError::Failed(error.to_string())
        })
    }

    /// Commits, answers, and wakes the readers.
    fn commit(&mut self, batch: Batch) {
        let answers = std::mem::take(&mut self.answers);
        let requests = answers.len();
        let committed = self.try_commit(batch);
        let applied = match &committed {
            Ok(applied) => applied.as_slice(),
            Err(_) => &[],
        };
        self.hub.publish(applied);
        if requests > 0 && committed.is_ok() {
            self.metrics.batch_size.observe(requests as f64);
        }
        for answer in answers {
            if let (Answer::Published(_, outcome), true) = (&answer, committed.is_ok()) {
                let counter = if outcome.duplicate {
                    &self.metrics.duplicates
                } else {
                    &self.metrics.published
                };
                counter.inc();
            }
            answer.send(committed.as_ref().map(|_| ()));
        }
        self.roll(Store::roll_if_full);
    }

    fn roll(&self, roll: impl FnOnce(&Store) -> Result<(), StoreError>) {
        if self.failed.is_none()
            && let Err(error) = roll(&self.store)
        {
            tracing::error!(%error, "begin a new segment");
        }
    }

    fn cut(&self) -> Result<Cut, WriteError> {
        if let Some((_, refused)) = &self.failed {
            return Err(refused.clone());
        }
        self.store.cut().map_err(|error| {
            tracing::error!(%error, "begin a new segment for a snapshot");
            WriteError::Failed(error.to_string())
        })
    }

    fn try_commit(&mut self, batch: Batch) -> Result<Vec<Applied>, WriteError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.check_room(&batch)?;
        let started = Instant::now();
        let applied = batch.commit().map_err(|error| self.fail(&error))?;
        self.metrics
            .sync_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(applied)
    }

    /// sled takes no more writes after a failed one, so it is never let run into a full disk.
    fn check_room(&self, batch: &Batch) -> Result<(), WriteError> {
        let (free, reserve) = match self.store.disk() {
            Ok(disk) => disk,
            Err(error) => return Err(WriteError::Failed(error.to_string())),
        };
        // sled writes a page anew for each change of it, and grows its file by half a MiB.
        let needed = (batch.bytes() as u64)
            .saturating_mul(4)
            .saturating_add(reserve);
        if free < needed {
            return Err(WriteError::DiskFull { free, reserve });
        }
        Ok(())
    }

    fn fail(&mut self, error: &StoreError) -> WriteError {
        tracing::error!(%error, "commit");
        let refused = match (error.is_full(), self.store.disk()) {
            (true, Ok((free, reserve))) => WriteError::DiskFull { free, reserve },
            _ => WriteError::Failed(error.to_string()),
        };
        self.failed = Some((Instant::now(), refused.clone()));
        refused
    }

    /// Opens a store that failed again, at most once a second. Whether the failed batch is there
    /// is known only then, so readers start over from their cursors.
    fn recover(&mut self) -> Result<(), WriteError> {
        let Some((since, refused)) = &self.failed else {
            return Ok(());
        };
        if since.elapsed() < REOPEN_AFTER {
            return Err(refused.clone());
        }
        if let Err(error) = self.store.reopen() {
            return Err(self.fail(&error));
        }
        tracing::warn!("the store was opened again after it failed");
        self.failed = None;
        self.hub.reset(self.store.last_sequence());
        Ok(())
    }
}
