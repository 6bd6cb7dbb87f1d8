//! What waits for one open stream. Bounded: a stream that falls behind is told so, and reads the
//! store from its own cursor instead; nothing is dropped for its reader. An idle one holds no
//! allocation.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::sse::Event;

#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Event>>,
    behind: bool,
}

/// What comes next for a stream.
#[derive(Debug)]
pub(crate) enum Mail {
    Event(Arc<Event>),
    /// Entries have passed it by: it has to catch up from its cursor.
    Behind,
}

impl Mailbox {
    /// Hands in an entry. `true`: with this one the stream has fallen behind.
    pub fn push(&self, event: &Arc<Event>, capacity: usize) -> bool {
        let mut state = self.state.lock();
        if state.behind {
            return false;
        }
        let is_full = state.waiting.len() >= capacity;
        if is_full {
            state.waiting = VecDeque::new();
            state.behind = true;
        } else {
            state.waiting.push_back(event.clone());
        }
        let wake = is_full || state.waiting.len() == 1;
        drop(state);
        if wake {
            self.waker.wake();
        }
        is_full
    }

    /// Entries have passed the stream by.
    pub fn set_behind(&self) {
        let mut state = self.state.lock();
        state.waiting = VecDeque::new();
        state.behind = true;
        drop(state);
        self.waker.wake();
    }

    /// From now on entries wait here again: for a stream about to catch up. The registry calls it,
    /// under its lock, when the relay brings the user's entries.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        state.waiting = VecDeque::new();
        state.behind = false;
    }

    pub async fn next(&self) -> Mail {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&self, context: &Context<'_>) -> Poll<Mail> {
        if let Some(mail) = self.take() {
            return Poll::Ready(mail);
        }
        self.waker.register(context.waker());
        // Something may have come in before the waker was there.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn take(&self) -> Option<Mail> {
        let mut state = self.state.lock();
        if state.behind {
            return Some(Mail::Behind);
        }
        let event = state.waiting.pop_front()?;
        if state.waiting.is_empty() {
            state.waiting = VecDeque::new();
        }
        Some(Mail::Event(event))
    }
}

#[cfg(test)]
mod tests {
    use mercurio_proto::v1 as pb;

    use super::*;

    fn event(cursor: u64) -> Arc<Event> {
        let change = pb::relay_entry::Change::ReadState(pb::ReadStateChanged::default());
        let entry = pb::RelayEntry {
            cursor,
            recipient_ids: vec!["a".into()],
            change: Some(change),
        };
        Arc::new(Event::from_relay(&entry).unwrap())
    }

    #[tokio::test]
    async fn a_full_one_says_behind_until_it_is_resumed() {
        let mailbox = Mailbox::default();
        assert!(!mailbox.push(&event(1), 2));
        assert!(!mailbox.push(&event(2), 2));
        assert!(mailbox.push(&event(3), 2));
        assert!(!mailbox.push(&event(4), 2), "only the first one says so");
        assert!(matches!(mailbox.next().await, Mail::Behind));
        assert!(matches!(mailbox.next().await, Mail::Behind));
        mailbox.resume();
        mailbox.push(&event(5), 2);
        let Mail::Event(next) = mailbox.next().await else {
            panic!("behind")
        };
        assert_eq!(next.cursor, 5);
    }
}
