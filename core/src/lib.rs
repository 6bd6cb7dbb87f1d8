//! Mercurio's core: the store, the log's writer, and the gRPC services on them.
//!
//! [`Core::open`] opens a data directory and starts the writer; [`serve`] answers gRPC on a bound
//! listener until it is told to end.
//!
//! | module | subject |
//! |---|---|
//! | [`entry`], [`topic`], [`clock`] | the domain |
//! | [`log`] | the log: its own, or one that cores share |
//! | [`store`] | the journal and the view, on sled |
//! | [`writer`], [`sweeper`] | the one writer; retention |
//! | [`hub`] | from the writer to live readers |
//! | `grpc` | the services |
//! | [`bootstrap`] | a data directory copied from a core that runs |
//! | [`settings`], [`metrics`] | what can be set, and what is counted |

#![warn(missing_docs)]

mod attach;
pub mod bootstrap;
pub mod clock;
pub mod entry;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
pub mod hub;
pub mod log;
pub mod metrics;
mod scrape;
pub mod settings;
pub mod store;
pub mod sweeper;
pub mod topic;
pub mod writer;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bootstrap::Peers;
use mercurio_auth::Verifier;
use mercurio_net::Rates;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use attach::migrate;
pub use grpc::{Door, ServeError};
pub use log::{LogError, LogKind, LogSettings, LogStatus};
pub use settings::{CoreSettings, HubSettings, Limits, Transport};
pub use store::{Retention, StoreError, StoreSettings};
pub use writer::WriterSettings;

use hub::Hub;
use metrics::Metrics;
use scrape::Scrape;
use store::Store;
use sweeper::Sweeper;
use writer::{Writer, WriterHandle};

/// An open data directory with its writer, not served yet.
pub struct Core {
    settings: CoreSettings,
    metrics: Arc<Metrics>,
    store: Store,
    hub: Arc<Hub>,
    writer: Writer,
    log: LogStatus,
    running: Running,
}

/// The threads behind a core.
struct Running {
    sweeper: Sweeper,
    writer: WriterHandle,
}

/// Why a core can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store: what it says names what to do.
    #[error("open the store: {0}")]
    Store(#[from] StoreError),
    /// The log: what it says names what to do.
    #[error("open the log: {0}")]
    Log(#[from] LogError),
    /// No peer could fill this core.
    #[error("fill this core from a peer: {0}")]
    Fill(#[from] bootstrap::FetchError),
    /// A thread can't be started.
    #[error("start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl Core {
    /// How the log is doing, for who asks whether this core is ready.
    #[must_use]
    pub fn log_status(&self) -> LogStatus {
        self.log.clone()
    }

    /// Opens the data directory and starts the writer and retention. Blocks, seconds on a large
    /// directory; with a shared log, on a thread of a Tokio runtime that may block. `peers`: cores
    /// of the same log, from which a new one is filled where the log no longer reaches back to its
    /// beginning.
    ///
    /// # Errors
    /// The data directory is in use, of a later version, damaged or out of reach.
    pub fn open(
        settings: CoreSettings,
        peers: Option<&Peers>,
        registry: &mut Registry,
    ) -> Result<Self, OpenError> {
        let metrics = Arc::new(Metrics::default());
        metrics.register(registry);
        let (store, log) = attach::open(&settings, peers, &metrics)?;
        let last = store.last_sequence();
        let hub = Arc::new(Hub::with(last, settings.hub.clone(), metrics.clone()));
        let status = log.status.clone();
        let now = attach::retention_clock(&log);
        let (writer, handle) = Writer::start(
            store.clone(),
            hub.clone(),
            log,
            &settings.writer,
            metrics.clone(),
        )?;
        let sweeper = Sweeper::start(
            store.clone(),
            handle.rolls(),
            metrics.clone(),
            settings.store.sweep_interval,
            now,
        )?;
        registry.register_collector(Box::new(Scrape {
            disk: store.disk().clone(),
            waiting: writer.waiting(),
        }));
        let running = Running {
            sweeper,
            writer: handle,
        };
        tracing::info!(data_dir = %settings.data_dir.display(), last, "the store is open");
        Ok(Self {
            settings,
            metrics,
            store,
            hub,
            writer,
            log: status,
            running,
        })
    }
}

/// Serves gRPC at the door (a listener is one) until `shutdown` is cancelled; returns when every stream has ended,
/// what was accepted is stored, and the store is flushed. Open streams don't hold it up.
///
/// # Errors
/// The server can't be set up, or fails.
pub async fn serve(
    core: Core,
    door: impl Into<Door>,
    verifier: Arc<Verifier>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let Core {
        settings,
        metrics,
        store,
        hub,
        writer,
        log,
        running,
    } = core;
    let grace = settings.shutdown_grace;
    let verifier = Verifier::clone(&verifier).with_revocations(store.revocations());
    let mut door = door.into();
    let context = Arc::new(grpc::Context {
        store,
        writer,
        hub,
        log,
        metrics,
        reads: Arc::new(Semaphore::new(settings.transport.reads)),
        messages: grpc::Rooms::new(settings.transport.message_room, &settings.limits),
        snapshots: grpc::Held::new(settings.transport.snapshots),
        publishers: Rates::new(settings.limits.publishes_per_publisher),
        users: Rates::new(settings.limits.calls_per_user),
        sources: Rates::new(settings.limits.calls_per_address),
        traces: settings.traces,
        limits: settings.limits,
        transport: settings.transport,
        verifier: Arc::new(verifier),
        clients: std::mem::take(&mut door.clients),
        streams: grpc::Streams::default(),
        gateways: grpc::Gateways::default(),
        about: grpc::About {
            role: settings.role,
            started_at: SystemTime::now(),
            log: settings.log.kind,
        },
        shutdown,
        patience: grace / 2,
        warned: Default::default(),
    });
    let held = Arc::downgrade(&context);
    let snapshots = context.snapshots.clone();
    let served = grpc::serve(context, door).await;
    snapshots.clear();
    let deadline = Instant::now() + grace / 2;
    running.stop(deadline).await;
    // Calls that were cut may still be in a read: the directory is free when the last is out.
    let closed = async {
        while held.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if timeout_at(deadline, closed).await.is_err() {
        tracing::warn!("a call is still reading the store; it is left to itself");
    }
    served
}

impl Running {
    /// Ends retention, then the writer, who still writes what waits.
    async fn stop(self, deadline: Instant) {
        let Self { sweeper, writer } = self;
        // It waits for the step it is in, which may be a long one; the writer doesn't need it.
        let swept = tokio::task::spawn_blocking(move || drop(sweeper));
        writer.stop().await;
        if timeout_at(deadline, swept).await.is_err() {
            tracing::warn!("retention is still in a step; it is left to itself");
        }
    }
}
