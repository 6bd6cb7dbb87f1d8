//! The one writer. It takes what is waiting and appends it to the log as one batch; what the log
//! brings back it applies, then answers every publisher and wakes the readers. With the embedded
//! log both are one step with one sync: one publisher pays it, a thousand concurrent ones share it
//! (group commit).
//!
//! A thread of its own, since it waits for the disk. Retention's changes to the newest segment
//! pass through it too, between batches.
//!
//! | file | subject |
//! |---|---|
//! | `request`, `flight` | what is asked for; who waits for it while it is in the log |
//! | `thread` | the thread: requests to the log |
//! | `apply`, `commit` | the log to the store, and answers; the store, and that it fails |

mod apply;
mod commit;
mod flight;
mod request;
mod thread;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, thread::JoinHandle, time::Duration};

use mercurio_auth::Revocation;
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    entry::{Audience, Deletion, ReadTarget, RecipientId, Sequence},
    hub::Hub,
    log::{Log, LogError, LogId, LogStatus},
    metrics::Metrics,
    store::{Cut, Store},
};

use request::{Control, Queued, Request};
use thread::WriterThread;

/// Bounds of the writer.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// Requests that may wait; past it they are refused with [`WriteError::Busy`]. Default 8,192.
    pub queue: usize,
    /// Bytes of requests that may wait; past it they are refused with [`WriteError::Full`]. One that is
    /// larger waits alone. Default 128 MiB.
    pub queue_bytes: usize,
    /// The most requests in one batch. Default 2,048.
    pub batch_requests: usize,
    /// Bytes behind which a batch ends. Default 8 MiB.
    pub batch_bytes: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            queue: 8192,
            queue_bytes: 128 << 20,
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

/// The answer to who revokes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokeOutcome {
    /// The sequence at which the revocation stands; the present where nothing changed.
    pub cursor: Sequence,
    /// They were revoked before, as far and for as long.
    pub was_revoked: bool,
}

/// The answer to who deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeleteOutcome {
    /// The sequence at which the deletion stands; the present where nothing changed.
    pub cursor: Sequence,
    /// How many notifications are gone, each as often as it had owners.
    pub deleted: u64,
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
    /// Requests that are too large together are waiting.
    #[error("the writer is busy: requests of {bytes} bytes are waiting; try again")]
    Full {
        /// How many bytes may wait.
        bytes: usize,
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
    /// So many tokens are revoked already that no more are.
    #[error(
        "{limit} revocations are in force, and no more are taken: those of tokens that expire soon \
         make room; revoke by user rather than by token, and say when tokens expire"
    )]
    TooManyRevocations {
        /// How many may be in force.
        limit: usize,
    },
    /// The store failed. Whether the request was stored is not known: try again with the same
    /// event id.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The log did not answer. Whether the request was stored is not known: try again with the
    /// same event id.
    #[error(
        "the log has not answered within {} s, and whether the request is stored is not known: try \
         again with the same event id",
        waited.as_secs()
    )]
    LogAway {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The request is larger than what the log's servers take.
    #[error(
        "the request takes up to {bytes} bytes in the log, and its servers take {most} at most: send \
         less at once, or raise their limit (NATS: `max_payload`)"
    )]
    TooLarge {
        /// Bytes it takes, at most.
        bytes: usize,
        /// Bytes the servers take.
        most: usize,
    },
    /// The log is not what it should be, and nothing is appended to it.
    #[error("nothing can be written: {0}")]
    LogHalted(LogError),
    /// The service ends.
    #[error("the service is shutting down")]
    ShuttingDown,
}

/// Where handlers hand in what is to be written. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    requests: mpsc::Sender<Queued>,
    controls: mpsc::Sender<Control>,
    queue: usize,
    /// For requests that wait, in bytes.
    room: Arc<Semaphore>,
    room_bytes: usize,
    log: LogStatus,
    wait: Duration,
}

/// What may wait to be done between batches.
const CONTROLS: usize = 64;

/// How many requests wait for the writer, for as long as there is one.
pub(crate) struct Waiting(mpsc::WeakSender<Queued>);

impl Waiting {
    pub fn count(&self) -> usize {
        let requests = self.0.upgrade();
        requests.map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting({})", self.count())
    }
}

/// The log that the writer appends to.
pub(crate) struct Attached {
    pub log: Box<dyn Log>,
    /// Which one, where it is shared.
    pub id: Option<LogId>,
    pub status: LogStatus,
    /// How long a write waits for it.
    pub wait: Duration,
}

impl Writer {
    /// Starts the writer's thread. It ends when it is stopped or the last `Writer` is dropped.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(crate) fn start(
        store: Store,
        hub: Arc<Hub>,
        log: Attached,
        settings: &WriterSettings,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, WriterHandle)> {
        let (requests, waiting) = mpsc::channel(settings.queue);
        let (controls, asked) = mpsc::channel(CONTROLS);
        let room_bytes = settings.queue_bytes.clamp(1, u32::MAX as usize);
        let stop = CancellationToken::new();
        let (status, wait) = (log.status.clone(), log.wait);
        let thread = WriterThread::new(store, hub, log, settings.clone(), metrics);
        // It waits for requests, for the log and for time; nothing else runs on it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || runtime.block_on(thread.run(waiting, asked, stopped)))?;
        Ok((
            Self {
                requests,
                controls: controls.clone(),
                queue: settings.queue,
                room: Arc::new(Semaphore::new(room_bytes)),
                room_bytes,
                log: status,
                wait,
            },
            WriterHandle {
                controls,
                stop,
                thread,
            },
        ))
    }

    /// Publishes a notification, within the trace that this is called in; returns once it is safe.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn publish(&self, draft: Draft) -> Result<PublishOutcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        let trace = mercurio_trace::current();
        self.hand_in(Request::Publish(Box::new(draft), trace, answer))?;
        self.answer(answered).await
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
        self.answer(answered).await
    }

    /// Revokes tokens; returns once it is safe, and this core refuses them.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn revoke(&self, revocation: Revocation) -> Result<RevokeOutcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Request::Revoke(revocation, answer))?;
        self.answer(answered).await
    }

    /// Deletes; returns once it is safe, and nobody reads it here any more.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn delete(&self, deletion: Deletion) -> Result<DeleteOutcome, WriteError> {
        let (answer, answered) = oneshot::channel();
        self.hand_in(Request::Delete(deletion, answer))?;
        self.answer(answered).await
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.requests.downgrade())
    }

    /// Has everything so far sealed, for a snapshot: see [`Store::snapshot`]. Blocks until the batch
    /// under way is written.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn cut(&self) -> Result<Cut, WriteError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.controls.try_send(Control::Cut(answer));
        sent.map_err(|error| refused(&error, CONTROLS))?;
        answered
            .blocking_recv()
            .map_err(|_| WriteError::ShuttingDown)?
    }

    async fn answer<T>(
        &self,
        answered: oneshot::Receiver<Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        match timeout(self.wait, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(WriteError::ShuttingDown),
            Err(_elapsed) => Err(match self.log.stuck() {
                Some(why) => WriteError::Failed(why),
                None => WriteError::LogAway { waited: self.wait },
            }),
        }
    }

    fn hand_in(&self, request: Request) -> Result<(), WriteError> {
        if let Some(halted) = self.log.halted() {
            return Err(WriteError::LogHalted(halted));
        }
        // Both fit into 32 bits: the room does.
        let bytes = request.weight().min(self.room_bytes) as u32;
        let room = self.room.clone().try_acquire_many_owned(bytes);
        let room = room.map_err(|_| WriteError::Full {
            bytes: self.room_bytes,
        })?;
        let sent = self.requests.try_send(Queued {
            request,
            _room: room,
        });
        sent.map_err(|error| refused(&error, self.queue))
    }
}

fn refused<T>(error: &mpsc::error::TrySendError<T>, queue: usize) -> WriteError {
    match error {
        mpsc::error::TrySendError::Full(_) => WriteError::Busy { queue },
        mpsc::error::TrySendError::Closed(_) => WriteError::ShuttingDown,
    }
}

/// The writer's thread, and retention's way to it.
pub struct WriterHandle {
    controls: mpsc::Sender<Control>,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl WriterHandle {
    /// For retention.
    #[must_use]
    pub fn rolls(&self) -> RollRequests {
        RollRequests(self.controls.clone())
    }

    /// Ends the writer: what waits is still written and answered, later requests are refused.
    pub async fn stop(self) {
        self.stop.cancel();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the writer's thread ended by a panic");
        }
    }
}

/// Has the writer, who alone changes the active segment, seal it.
pub struct RollRequests(mpsc::Sender<Control>);

impl RollRequests {
    /// Has it done soon; nothing where the writer is busy or has ended.
    pub fn roll(&self) {
        let _ = self.0.try_send(Control::Roll);
    }
}
