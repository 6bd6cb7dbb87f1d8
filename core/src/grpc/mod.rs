//! The gRPC services: from proto to the domain, to the writer and the store, and back.
//!
//! | file | subject |
//! |---|---|
//! | `server` | the server: services, health, reflection, shutdown |
//! | `incoming`, `idle` | connections: how many, and how they end; those on which nothing is called |
//! | `ending`, `ends` | what ends a stream: ours by itself, other services' from outside |
//! | `notifications` | the unary calls |
//! | `subscribe` | one recipient's stream |
//! | `relay` | a gateway's stream |
//! | `gateways` | the gateways whose relays are open, and questions to them |
//! | `snapshots` | copies of what is stored, for backups and for other cores |
//! | `admin` | what those who run the service ask |
//! | `admission`, `auth` | who is let in; who calls, and what they may |
//! | `messages` | the room for messages on their way |
//! | `answers` | answers that their client has to take in time |
//! | `access` | the access log |
//! | `validate`, `page_token` | from proto; all that is wrong is said at once |
//! | `convert` | to proto |
//! | `status` | errors to `Status`, the only place |

mod access;
mod admin;
mod admission;
mod answers;
mod auth;
mod convert;
mod ending;
mod ends;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod gateways;
mod idle;
mod incoming;
mod messages;
mod notifications;
mod page_token;
mod relay;
mod server;
mod snapshots;
mod status;
mod streams;
mod subscribe;
mod validate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mercurio_auth::{ClientScopes, Verifier};
use mercurio_net::{Rates, Source};
use mercurio_trace::Traces;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    entry::Sequence,
    hub::Hub,
    log::LogStatus,
    metrics::Metrics,
    settings::{Limits, Transport},
    store::{Store, StoreError},
    writer::{WriteError, Writer},
};

pub(crate) use admin::About;
pub(crate) use gateways::Gateways;
pub use incoming::Door;
pub(crate) use messages::Rooms;
pub use server::ServeError;
pub(crate) use server::serve;
pub(crate) use snapshots::Held;

use status::Refusal;
pub(crate) use streams::Streams;

/// What the services share.
pub(crate) struct Context {
    pub store: Store,
    pub writer: Writer,
    pub hub: Arc<Hub>,
    pub log: LogStatus,
    pub metrics: Arc<Metrics>,
    pub limits: Limits,
    pub transport: Transport,
    pub verifier: Arc<Verifier>,
    pub clients: ClientScopes,
    pub streams: Streams,
    pub publishers: Rates<String>,
    /// Calls of each user's, and from each address.
    pub users: Rates<String>,
    pub sources: Rates<Source>,
    pub gateways: Gateways,
    pub about: About,
    pub reads: Arc<Semaphore>,
    pub messages: Rooms,
    pub snapshots: Held,
    pub traces: Traces,
    pub shutdown: CancellationToken,
    /// How long after it connections may take to end, before they are cut.
    pub patience: Duration,
    /// When an overload was last logged.
    pub warned: Mutex<Option<Instant>>,
}

/// Waits until `patience` has passed since the shutdown began.
async fn past(shutdown: &CancellationToken, patience: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(patience).await;
}

/// How often an overload is logged.
const WARN_EVERY: Duration = Duration::from_secs(1);

impl Context {
    /// Waits for a write, at the end of the service for half of what is left at most: who asked is told
    /// so before the connection is cut.
    async fn written<T>(
        &self,
        write: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, Refusal> {
        let began = Instant::now();
        tokio::select! {
            written = write => Ok(written?),
            () = past(&self.shutdown, self.patience / 2) => Err(Refusal::Write(WriteError::LogAway {
                waited: began.elapsed(),
            })),
        }
    }

    /// Reads the store where blocking is allowed, a bounded number of reads at a time.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.reads.clone().acquire_owned();
        let turn = match tokio::time::timeout(self.transport.read_wait, turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_closed)) => return Err(Refusal::ShuttingDown),
            Err(_elapsed) => {
                return Err(Refusal::ReadsBusy {
                    reads: self.transport.reads,
                });
            }
        };
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // Until it is done, also where the caller has gone.
            let _turn = turn;
            read(&store)
        });
        match reading.await {
            Ok(read) => Ok(read?),
            Err(error) => Err(Refusal::Internal(format!(
                "a read of the store ended: {error}"
            ))),
        }
    }

    /// Waits until this core has applied what a reader has seen of a log that cores share. A cursor
    /// that is beyond the log's end is another log's, and not waited for.
    async fn wait_for(&self, cursor: Sequence) -> Result<(), Refusal> {
        let state = self.log.now();
        if cursor <= state.sequence || !self.log.may_reach(cursor) {
            return Ok(());
        }
        if self.log.reached(cursor, self.transport.read_wait).await {
            return Ok(());
        }
        let sequence = self.log.now().sequence;
        Err(Refusal::Lagging { cursor, sequence })
    }

    /// The status of a refusal; counts it, and logs what is our own fault.
    fn refuse(&self, refusal: Refusal) -> tonic::Status {
        self.metrics.refused(refusal.reason());
        refusal.log(refusal.is_overload() && !self.may_warn());
        refusal.into()
    }

    /// At most once in [`WARN_EVERY`].
    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock();
        let may_warn = warned.is_none_or(|last| last.elapsed() >= WARN_EVERY);
        if may_warn {
            *warned = Some(Instant::now());
        }
        may_warn
    }
}
