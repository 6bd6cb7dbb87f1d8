//! Why the service ends a stream: what its client is told, and what the access log and the metrics say.

use std::time::Duration;

/// Why the service ends a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    Shutdown,
    TokenExpired,
    TokenRevoked,
}

impl Closing {
    pub fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::TokenExpired => "token-expired",
            Self::TokenRevoked => "token-revoked",
        }
    }

    /// How long the client may take to read it. Where its token was revoked, the stream ends within a
    /// second, read or not.
    pub fn patience(self) -> Duration {
        match self {
            Self::Shutdown | Self::TokenExpired => Duration::from_secs(5),
            Self::TokenRevoked => Duration::from_millis(500),
        }
    }

    /// When the client is to come back, where all do: each at another time.
    pub fn retry(self) -> Option<Duration> {
        match self {
            Self::Shutdown => Some(Duration::from_millis(fastrand::u64(1_000..5_000))),
            Self::TokenExpired | Self::TokenRevoked => None,
        }
    }
}
