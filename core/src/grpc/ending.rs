//! What ends an open stream from our side: its token's end, and ours.

use std::{pin::Pin, time::SystemTime};

use mercurio_auth::{Identity, TokenError};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::status::Refusal;

/// Waits for the end of one stream.
pub(super) struct Ending {
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None`: the token never expires.
    expiry: Option<Pin<Box<Sleep>>>,
}

impl Ending {
    /// The end of a stream opened with this identity's token.
    pub fn new(identity: &Identity, shutdown: &CancellationToken) -> Self {
        let expiry = identity
            .remaining(SystemTime::now())
            .map(|remaining| Box::pin(sleep(remaining)));
        Self {
            shutdown: Box::pin(shutdown.clone().cancelled_owned()),
            expiry,
        }
    }

    /// Why the stream ends, when it does. Cancelling it loses nothing.
    pub async fn reached(&mut self) -> Refusal {
        let expired = async {
            match &mut self.expiry {
                Some(expiry) => expiry.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut self.shutdown => Refusal::ShuttingDown,
            () = expired => Refusal::Token(TokenError::Expired),
        }
    }
}
