//! The in-memory fan-out: from the writer to live readers.
//!
//! A reader is a cursor (`DESIGN.md`, promise 3): its queue here is bounded, and one that is full
//! is emptied and marked, whereupon the reader goes back to the store from its own cursor. So a
//! slow reader costs a bounded amount of memory, and nothing is lost to it.
//!
//! Readers register under the lock, at a sequence they are told: what comes after it comes through
//! the queue, what came before it is in the store. The lock is held for memory work only.

mod queue;
mod relay;
mod traced;

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    entry::{Applied, Audience, Change, RecipientId, Sequence},
    metrics::Metrics,
    settings::HubSettings,
};

pub use queue::{Lagged, Live};
pub use relay::{RelayEvent, RelayFull, RelayLoad, RelaySubscription};
pub use traced::Traced;

use queue::Queue;
use relay::RelayQueue;

/// Where live readers are registered.
pub struct Hub {
    settings: HubSettings,
    metrics: Arc<Metrics>,
    readers: Mutex<Readers>,
    /// Tokens were revoked.
    revoked: watch::Sender<()>,
    traced: Traced,
}

struct Readers {
    /// The last entry that was handed out.
    last: Sequence,
    /// No recipient without a stream.
    streams: HashMap<RecipientId, Vec<Arc<Queue>>>,
    relays: Vec<Arc<RelayQueue>>,
}

impl Hub {
    /// A hub with default settings, at the store's last sequence.
    #[must_use]
    pub fn new(last: Sequence) -> Self {
        Self::with(last, HubSettings::default(), Arc::default())
    }

    /// A hub at the store's last sequence.
    #[must_use]
    pub fn with(last: Sequence, settings: HubSettings, metrics: Arc<Metrics>) -> Self {
        metrics.last_sequence.set(last);
        let readers = Readers {
            last,
            streams: HashMap::new(),
            relays: Vec::new(),
        };
        Self {
            settings,
            metrics,
            readers: Mutex::new(readers),
            revoked: watch::Sender::new(()),
            traced: Traced::default(),
        }
    }

    /// Within which traces recent notifications were published.
    #[must_use]
    pub fn traced(&self) -> &Traced {
        &self.traced
    }

    /// Hands entries to their readers. The writer calls it, in sequence order, with what is safe
    /// and already visible in the store. Entries that no reader is owed leave no trace.
    pub fn publish(&self, batch: &[Applied]) {
        let Some(newest) = batch.last() else { return };
        let mut readers = self.readers.lock();
        for applied in batch {
            debug_assert!(
                // A deletion from several views is one entry, told to each for itself.
                applied.sequence >= readers.last,
                "entries come in sequence order"
            );
            readers.last = applied.sequence;
            readers.hand_to_streams(applied, &self.settings, &self.metrics);
            for relay in &readers.relays {
                relay.push(applied, &self.settings, &self.metrics);
            }
            if matches!(applied.change, Change::Revoked(_)) {
                self.revoked.send_replace(());
            }
        }
        self.metrics.last_sequence.set(newest.sequence);
    }

    /// Entries may be missing between what was handed out and `last`: every reader goes back to
    /// the store.
    pub fn reset(&self, last: Sequence) {
        let mut readers = self.readers.lock();
        readers.last = readers.last.max(last);
        for queue in readers.streams.values().flatten() {
            queue.mark_lagged();
        }
        for relay in &readers.relays {
            relay.reset(readers.last);
        }
        self.revoked.send_replace(());
        self.metrics.last_sequence.set(readers.last);
    }

    /// Changes whenever tokens were revoked, once the store says which.
    pub(crate) fn revoked(&self) -> watch::Receiver<()> {
        self.revoked.subscribe()
    }

    /// Registers a stream of one recipient: it gets every entry after the sequence at which this
    /// is done, which the store already has.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, recipient: RecipientId) -> Subscription {
        let queue = Arc::new(Queue::default());
        let mut readers = self.readers.lock();
        readers
            .streams
            .entry(recipient.clone())
            .or_default()
            .push(queue.clone());
        drop(readers);
        Subscription {
            hub: self.clone(),
            recipient,
            queue,
        }
    }

    /// Registers a relay, which nobody has joined yet.
    #[must_use]
    pub fn relay(self: &Arc<Self>) -> RelaySubscription {
        let queue = Arc::new(RelayQueue::default());
        self.readers.lock().relays.push(queue.clone());
        RelaySubscription::new(self.clone(), queue)
    }

    /// Recipients with a stream, streams, and relays.
    #[cfg(test)]
    fn sizes(&self) -> (usize, usize, usize) {
        let readers = self.readers.lock();
        let streams = readers.streams.values().map(Vec::len).sum();
        (readers.streams.len(), streams, readers.relays.len())
    }
}

impl Readers {
    fn hand_to_streams(&self, applied: &Applied, settings: &HubSettings, metrics: &Metrics) {
        if self.streams.is_empty() {
            return;
        }
        let broadcast = applied.audience == Audience::Everyone;
        let live = Live {
            sequence: applied.sequence,
            broadcast,
            change: applied.change.clone(),
        };
        match &applied.audience {
            Audience::Everyone => {
                for queue in self.streams.values().flatten() {
                    queue.push(&live, settings, metrics);
                }
            }
            Audience::Recipients(recipients) => {
                for recipient in recipients.iter() {
                    for queue in self.streams.get(recipient).into_iter().flatten() {
                        queue.push(&live, settings, metrics);
                    }
                }
            }
        }
    }
}

/// Bytes that a waiting change is reckoned at.
fn weight(change: &Change) -> usize {
    // What the entry itself, its ids and its times take.
    const FIXED: usize = 256;
    FIXED
        + match change {
            Change::Published(published) => published.data.len() + published.topic.len(),
            Change::ReadState(change) => change.ids.len() * 8,
            Change::Deleted(change) => change.ids.len() * 8,
            // It is reckoned as the largest name.
            Change::Revoked(_) => 256,
        }
}

/// A registered stream of one recipient; it leaves when it is dropped.
pub struct Subscription {
    hub: Arc<Hub>,
    recipient: RecipientId,
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next entry. Cancelling it loses nothing.
    ///
    /// # Errors
    /// Entries were left out: after [`Subscription::rejoin`], read them from the store.
    pub async fn next(&self) -> Result<Live, Lagged> {
        self.queue.next().await
    }

    /// Whether entries were left out, so that [`Subscription::next`] would be an error.
    #[must_use]
    pub fn has_lagged(&self) -> bool {
        self.queue.has_lagged()
    }

    /// Takes entries again, from the sequence at which this is done.
    pub fn rejoin(&self) {
        // The lock makes "from here on" one moment: no batch is half handed out.
        let _readers = self.hub.readers.lock();
        self.queue.restart();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut readers = self.hub.readers.lock();
        if let Some(queues) = readers.streams.get_mut(&self.recipient) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                readers.streams.remove(&self.recipient);
            }
        }
    }
}

#[cfg(test)]
mod tests;
