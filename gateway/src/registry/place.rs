//! A stream's place in the registry: whether the relay brings its user's entries, and since when.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Heard, Inner, Joining, Registry};
use crate::mailbox::Mailbox;

/// An open stream's place in the registry.
pub(crate) struct Open {
    pub(super) registry: Arc<Registry>,
    pub(super) user: Arc<str>,
    pub mailbox: Arc<Mailbox>,
}

impl Open {
    /// The user whose stream it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Waits until the relay brings the user's entries.
    pub async fn joined(&self) {
        while let Err(joined) = self.try_joined(|_| {}) {
            // An error: the registry dropped the waiter with the relay; ask again.
            let _ = joined.await;
        }
    }

    /// Has the user's entries wait in the mailbox from now on: what is read from the store after
    /// this, up to what the relay has been heard of or beyond, meets them without a gap. `None`:
    /// the relay does not bring them.
    pub fn resume(&self) -> Option<Heard> {
        let resume = |heard| {
            self.mailbox.resume();
            heard
        };
        self.try_joined(resume).ok()
    }

    /// Does it under the lock, if the relay brings the user's entries.
    fn try_joined<T>(&self, then: impl FnOnce(Heard) -> T) -> Result<T, oneshot::Receiver<()>> {
        let mut inner = self.registry.inner.lock();
        let Inner { users, relay, .. } = &mut *inner;
        // A stream that is open has its user.
        let user = users.entry(self.user.clone()).or_default();
        if let (Joining::Joined, Some(heard)) = (&user.joining, relay) {
            return Ok(then(*heard));
        }
        let (wake, joined) = oneshot::channel();
        user.waiting.retain(|waiting| !waiting.is_closed());
        user.waiting.push(wake);
        Err(joined)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut inner = self.registry.inner.lock();
        let Some(user) = inner.users.get_mut(&self.user) else {
            return;
        };
        user.mailboxes
            .retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
        let is_last = user.mailboxes.is_empty();
        inner.streams -= 1;
        if is_last {
            inner.users.swap_remove(&self.user);
            // A relay that comes is told of all who are there then.
            if inner.relay.is_some() {
                inner.changed.insert(self.user.clone());
            } else {
                inner.changed.remove(&self.user);
            }
        }
        drop(inner);
        if is_last {
            self.registry.changed.notify_one();
        }
        self.registry.metrics.streams.dec();
    }
}
