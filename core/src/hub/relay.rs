//! A relay: one reader for the many recipients that a gateway has connected.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use mercurio_auth::Revocation;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    entry::{Applied, Audience, Change, RecipientId, Sequence},
    metrics::Metrics,
    settings::HubSettings,
};

use super::Hub;

/// What a relay is told, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum RelayEvent {
    /// From `cursor` on, entries for those who joined follow.
    Joined {
        /// As the join gave it.
        join_id: u64,
        /// The last entry before.
        cursor: Sequence,
    },
    /// One entry.
    Entry {
        /// Its place in the log.
        sequence: Sequence,
        /// Those of its audience who have joined; empty: everyone.
        recipients: Vec<RecipientId>,
        /// What changed.
        change: Change,
    },
    /// Tokens were revoked: told to all, whoever has joined.
    Revoked(Revocation),
    /// Entries and revocations up to `cursor` were left out.
    Reset {
        /// The last of them.
        cursor: Sequence,
    },
}

/// More recipients would have joined than one relay may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayFull;

#[derive(Default)]
pub(super) struct RelayQueue {
    state: Mutex<State>,
    /// One reader waits here at most.
    ready: Notify,
}

#[derive(Default)]
struct State {
    joined: HashSet<RecipientId>,
    events: VecDeque<RelayEvent>,
    /// Of the entries among the events.
    entries: usize,
    bytes: usize,
}

impl RelayQueue {
    pub fn push(&self, applied: &Applied, settings: &HubSettings, metrics: &Metrics) {
        let mut state = self.state.lock();
        let event = match &applied.change {
            Change::Revoked(revocation) => RelayEvent::Revoked(revocation.clone()),
            _ => match state.entry(applied) {
                Some(entry) => entry,
                None => return,
            },
        };
        let sequence = applied.sequence;
        let bytes = state.bytes + weight(&event);
        let is_full = state.entries >= settings.relay_entries
            // However large, one entry always fits.
            || (bytes > settings.relay_bytes && state.entries > 0);
        if is_full {
            metrics.relays_fell_behind.inc();
            state.reset(sequence);
        } else {
            state.entries += 1;
            state.bytes = bytes;
            state.events.push_back(event);
        }
        drop(state);
        self.ready.notify_one();
    }

    pub fn reset(&self, cursor: Sequence) {
        self.state.lock().reset(cursor);
        self.ready.notify_one();
    }
}

impl State {
    /// The entry as those who joined are told of it; `None`: it concerns none of them.
    fn entry(&self, applied: &Applied) -> Option<RelayEvent> {
        if self.joined.is_empty() {
            return None;
        }
        let recipients: Vec<RecipientId> = match &applied.audience {
            Audience::Everyone => Vec::new(),
            Audience::Recipients(named) => {
                let joined = named
                    .iter()
                    .filter(|recipient| self.joined.contains(*recipient));
                let joined: Vec<_> = joined.cloned().collect();
                if joined.is_empty() {
                    return None;
                }
                joined
            }
        };
        Some(RelayEvent::Entry {
            sequence: applied.sequence,
            recipients,
            change: applied.change.clone(),
        })
    }

    /// Leaves out what waits, up to `cursor`. Joins that are not answered yet are answered behind
    /// it: what follows them is again without a gap.
    fn reset(&mut self, reset_at: Sequence) {
        let mut events = VecDeque::from([RelayEvent::Reset { cursor: reset_at }]);
        for event in self.events.drain(..) {
            if let RelayEvent::Joined { join_id, cursor } = event {
                let cursor = cursor.max(reset_at);
                events.push_back(RelayEvent::Joined { join_id, cursor });
            }
        }
        (self.events, self.entries, self.bytes) = (events, 0, 0);
    }
}

/// Of an entry; 0: of what doesn't count.
fn weight(event: &RelayEvent) -> usize {
    match event {
        RelayEvent::Entry {
            recipients, change, ..
        } => {
            let ids: usize = recipients.iter().map(|id| id.as_str().len() + 48).sum();
            super::weight(change) + ids
        }
        RelayEvent::Revoked(revocation) => super::weight(&Change::Revoked(revocation.clone())),
        RelayEvent::Joined { .. } | RelayEvent::Reset { .. } => 0,
    }
}

/// A registered relay; it leaves when it is dropped.
pub struct RelaySubscription {
    hub: Arc<Hub>,
    queue: Arc<RelayQueue>,
}

/// How a relay is doing, for who asks meanwhile.
pub struct RelayLoad(Arc<RelayQueue>);

impl RelayLoad {
    /// Recipients who have joined, and entries that wait to be sent.
    #[must_use]
    pub fn now(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.joined.len(), state.entries)
    }
}

impl RelaySubscription {
    /// How it is doing, from now on.
    #[must_use]
    pub fn load(&self) -> RelayLoad {
        RelayLoad(self.queue.clone())
    }

    pub(super) fn new(hub: Arc<Hub>, queue: Arc<RelayQueue>) -> Self {
        Self { hub, queue }
    }

    /// Adds recipients; those who have joined already stay so. Answered by
    /// [`RelayEvent::Joined`], behind what was waiting.
    ///
    /// # Errors
    /// More than `limit` recipients would have joined: none of these has.
    pub fn join(
        &self,
        join_id: u64,
        recipients: Vec<RecipientId>,
        limit: usize,
    ) -> Result<(), RelayFull> {
        // Under the hub's lock no batch is half handed out: the cursor is one moment.
        let readers = self.hub.readers.lock();
        let mut state = self.queue.state.lock();
        let new = recipients
            .iter()
            .filter(|id| !state.joined.contains(*id))
            .count();
        if state.joined.len() + new > limit {
            return Err(RelayFull);
        }
        let before = state.joined.len();
        state.joined.extend(recipients);
        self.hub
            .metrics
            .relay_recipients
            .inc_by(signed(state.joined.len() - before));
        state.events.push_back(RelayEvent::Joined {
            join_id,
            cursor: readers.last,
        });
        drop((state, readers));
        self.queue.ready.notify_one();
        Ok(())
    }

    /// Takes recipients out. What already waits for them is still handed out.
    pub fn leave(&self, recipients: &[RecipientId]) {
        let mut state = self.queue.state.lock();
        let before = state.joined.len();
        for recipient in recipients {
            state.joined.remove(recipient);
        }
        self.hub
            .metrics
            .relay_recipients
            .dec_by(signed(before - state.joined.len()));
    }

    /// The next event. Cancelling it loses nothing.
    pub async fn next(&self) -> RelayEvent {
        loop {
            {
                let mut state = self.queue.state.lock();
                if let Some(event) = state.events.pop_front() {
                    let bytes = weight(&event);
                    state.entries -= usize::from(bytes > 0);
                    state.bytes -= bytes;
                    return event;
                }
            }
            // A push between the look and this leaves a permit: nothing is slept through.
            self.queue.ready.notified().await;
        }
    }
}

impl Drop for RelaySubscription {
    fn drop(&mut self) {
        self.hub
            .readers
            .lock()
            .relays
            .retain(|queue| !Arc::ptr_eq(queue, &self.queue));
        // Outside of the hub's lock: freeing many thousand entries takes a while.
        let state = std::mem::take(&mut *self.queue.state.lock());
        self.hub
            .metrics
            .relay_recipients
            .dec_by(signed(state.joined.len()));
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
