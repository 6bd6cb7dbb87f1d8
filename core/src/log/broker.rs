//! A log elsewhere, as its engine has it: bytes at places.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio::time::timeout;

use crate::{entry::Millis, store::Retention};

use super::{LogError, LogId, LogKind, LogSettings, Position, nats, rabbitmq};

/// Where a log begins and ends; `first` is `last + 1` where nothing is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub first: Position,
    pub last: Position,
}

/// Done when the engine has a message safely.
pub(super) type Confirmed = BoxFuture<'static, Result<(), LogError>>;

/// A message as the engine has it.
pub(crate) struct Delivered {
    pub position: Position,
    /// When the engine took it in, by its own clock; `None`: it doesn't say.
    pub at: Option<Millis>,
    pub payload: Bytes,
}

/// Messages in order.
pub(super) type Tail = BoxStream<'static, Result<Delivered, LogError>>;

/// A log to be made: which it is, and by which retention all cores on it decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub log: LogId,
    /// `None`: it was made before this was noted.
    pub retention: Option<Retention>,
}

/// A connection to an engine, with one log. It is not mended: after an error another one is made.
#[tonic::async_trait]
pub(crate) trait Broker: Send + Sync {
    /// Which log this is, and how it was made.
    fn origin(&self) -> Origin;

    /// Bytes of the largest message that it takes.
    fn max_payload(&self) -> usize;

    /// Where it begins and ends now.
    async fn bounds(&self) -> Result<Bounds, LogError>;

    /// Sends a message behind those that were sent before; it is safe when what is returned is done.
    async fn append(&self, payload: Bytes) -> Result<Confirmed, LogError>;

    /// What stands at `from` and behind it, and what comes. The engines do not say when `from` is
    /// out of bounds: who asks looks at them first.
    async fn tail(&self, from: Position) -> Result<Tail, LogError>;
}

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Connects to the log that the settings name. Where there is none, it is created as `new`, or
/// refused.
///
/// # Errors
/// The engine can't be reached, or the log is not as it was asked for.
pub(crate) async fn connect_once(
    settings: &LogSettings,
    retention: Retention,
    new: Option<LogId>,
) -> Result<Box<dyn Broker>, LogError> {
    let new = new.map(|log| Origin {
        log,
        retention: Some(retention),
    });
    if settings.urls.is_empty() {
        return Err(LogError::Refused("a shared log needs a `--log-url`".into()));
    }
    let connected = async {
        match settings.kind {
            LogKind::Nats => nats::connect(settings, new).await,
            LogKind::RabbitMq => rabbitmq::connect(settings, new).await,
            LogKind::Embedded => Err(LogError::Refused("the embedded log is no broker".into())),
        }
    };
    let broker = timeout(CONNECT, connected).await.unwrap_or_else(|_| {
        let seconds = CONNECT.as_secs();
        Err(LogError::Away(format!("no answer within {seconds} s")))
    })?;
    check_retention(&settings.name, broker.origin().retention, retention)?;
    Ok(broker)
}

/// What is past decides what was published before and what is unread, so cores that disagreed on it
/// would come apart.
fn check_retention(
    name: &str,
    of_log: Option<Retention>,
    wanted: Retention,
) -> Result<(), LogError> {
    match of_log {
        Some(of_log) if of_log != wanted => Err(LogError::Refused(format!(
            "the log `{name}` has {of_log}, and this core was started with {wanted}: start every \
             core of a log with the same; docs/cluster.md says how it is changed"
        ))),
        Some(_) => Ok(()),
        None => {
            tracing::warn!(
                name,
                "the log was made before its retention was noted: see that all cores have the same"
            );
            Ok(())
        }
    }
}
