//! What ends an open stream from our side: its token's end, that it is revoked, and ours.

use std::{pin::Pin, sync::Arc, time::SystemTime};

use mercurio_auth::{Identity, RevocationSet, Revocations, TokenError};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Context, status::Refusal};

/// Waits for the end of one stream.
pub(super) struct Ending {
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// `None`: the token never expires.
    expiry: Option<Pin<Box<Sleep>>>,
    identity: Identity,
    revocations: Arc<RevocationSet>,
    /// Changes with them.
    revoked: watch::Receiver<()>,
}

impl Ending {
    /// The end of a stream opened with this identity's token.
    pub fn new(identity: Identity, context: &Context) -> Self {
        let expiry = identity
            .remaining(SystemTime::now())
            .map(|remaining| Box::pin(sleep(remaining)));
        Self {
            shutdown: Box::pin(context.shutdown.clone().cancelled_owned()),
            expiry,
            identity,
            revocations: context.store.revocations(),
            // What was revoked since the token was verified is looked for first.
            revoked: changed(context.hub.revoked()),
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
        let revoked = async {
            // An error: the hub is no more, and neither is this.
            while self.revoked.changed().await.is_ok() {
                if self.revocations.is_revoked(&self.identity) {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = &mut self.shutdown => Refusal::ShuttingDown,
            () = expired => Refusal::Token(TokenError::Expired),
            () = revoked => Refusal::Token(TokenError::Revoked),
        }
    }
}

/// A receiver that has something to look at.
fn changed(mut receiver: watch::Receiver<()>) -> watch::Receiver<()> {
    receiver.mark_changed();
    receiver
}
