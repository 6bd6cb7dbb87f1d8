//! A log elsewhere, as its engine has it: bytes at places.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio::time::timeout;

use super::{LogError, LogId, LogKind, LogSettings, Position, nats, rabbitmq};

/// Where a log begins and ends; `first` is `last + 1` where nothing is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub first: Position,
    pub last: Position,
}

/// Done when the engine has a message safely.
pub(super) type Confirmed = BoxFuture<'static, Result<(), LogError>>;

/// Messages in order.
pub(super) type Tail = BoxStream<'static, Result<(Position, Bytes), LogError>>;

/// A connection to an engine, with one log. It is not mended: after an error another one is made.
#[tonic::async_trait]
pub(crate) trait Broker: Send + Sync {
    /// Which log this is.
    fn log(&self) -> LogId;

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
    new: Option<LogId>,
) -> Result<Box<dyn Broker>, LogError> {
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
    match timeout(CONNECT, connected).await {
        Ok(connected) => connected,
        Err(_) => Err(LogError::Away(format!(
            "no answer within {} s",
            CONNECT.as_secs()
        ))),
    }
}
