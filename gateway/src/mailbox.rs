//! What waits for one open stream. Bounded: a stream that falls behind is told so, and reads the
//! store from its own cursor instead; nothing is dropped for its reader. An idle one holds no
//! allocation, and one entry at a time needs none.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::{closing::Closing, lease::Lease, sse::Event};

/// Bytes that may wait; a single entry may be larger.
const BYTES_MAX: usize = 64 << 10;

pub(crate) struct Mailbox {
    state: Mutex<State>,
    waker: AtomicWaker,
    /// Until when its stream may go on.
    pub lease: Lease,
}

#[derive(Default)]
struct State {
    first: Option<Arc<Event>>,
    /// Empty while there is no first one.
    rest: VecDeque<Arc<Event>>,
    /// Of all that wait.
    bytes: usize,
    behind: bool,
    /// Its stream reads the store.
    reads: bool,
    end: Option<End>,
}

impl State {
    fn clear(&mut self) {
        self.first = None;
        self.rest = VecDeque::new();
        self.bytes = 0;
    }
}

/// What comes next for a stream.
#[derive(Debug)]
pub(crate) enum Mail {
    Event(Arc<Event>),
    /// Entries have passed it by: it has to catch up from its cursor.
    Behind,
    /// It is to end.
    End(End),
}

/// The service ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a word: why.
    Closing(Closing),
    /// At once: its reader had time enough.
    Cut,
}

impl Mailbox {
    pub fn new(lease: Lease) -> Self {
        Self {
            // Until its first page has been read.
            state: Mutex::new(State {
                reads: true,
                ..State::default()
            }),
            waker: AtomicWaker::new(),
            lease,
        }
    }

    /// Hands in an entry. `true`: with this one the stream has fallen behind.
    pub fn push(&self, event: &Arc<Event>, capacity: usize) -> bool {
        let mut state = self.state.lock();
        if state.behind {
            return false;
        }
        if state.first.is_none() {
            state.bytes = event.len();
            state.first = Some(event.clone());
            drop(state);
            self.waker.wake();
            return false;
        }
        // Its reader has been woken for the first one.
        let bytes = state.bytes + event.len();
        let is_full = state.rest.len() + 1 >= capacity || bytes > BYTES_MAX;
        if is_full {
            state.clear();
            state.behind = true;
        } else {
            state.bytes = bytes;
            state.rest.push_back(event.clone());
        }
        is_full
    }

    /// Entries have passed the stream by.
    pub fn set_behind(&self) {
        let mut state = self.state.lock();
        state.clear();
        state.behind = true;
        drop(state);
        self.waker.wake();
    }

    /// Whether its stream reads the store from now on.
    pub fn set_reads(&self, reads: bool) {
        self.state.lock().reads = reads;
    }

    /// Whether its stream reads the store, or is going to; and whether nothing waits for it.
    pub fn look(&self) -> (bool, bool) {
        let state = self.state.lock();
        (state.behind || state.reads, state.first.is_none())
    }

    /// From now on entries wait here again: for a stream about to catch up. The registry calls it,
    /// under its lock, when the relay brings the user's entries.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        state.clear();
        state.behind = false;
    }

    /// The stream is to end.
    pub fn end(&self, end: End) {
        self.state.lock().end = Some(end);
        self.waker.wake();
    }

    /// What comes next, and whether something waits behind it.
    pub fn take(&self) -> Option<(Mail, bool)> {
        let mut state = self.state.lock();
        if let Some(end) = state.end {
            return Some((Mail::End(end), false));
        }
        if state.behind {
            return Some((Mail::Behind, false));
        }
        let event = state.first.take()?;
        state.bytes -= event.len();
        state.first = state.rest.pop_front();
        if state.rest.is_empty() && state.rest.capacity() > 0 {
            state.rest = VecDeque::new();
        }
        Some((Mail::Event(event), state.first.is_some()))
    }

    /// [`Mailbox::take`]; where there is nothing, the task is woken when there is.
    pub fn poll_take(&self, context: &Context<'_>) -> Poll<(Mail, bool)> {
        self.waker.register(context.waker());
        // Something may have come in before the waker was there.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// Whether the stream is to end; if not, the task is woken when it is, or when something
    /// comes in.
    pub fn poll_end(&self, context: &Context<'_>) -> Poll<End> {
        self.waker.register(context.waker());
        match self.state.lock().end {
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use mercurio_proto::v1 as pb;

    use super::*;

    fn event(cursor: u64) -> Arc<Event> {
        let change = pb::relay_entry::Change::ReadState(pb::ReadStateChanged::default());
        let entry = pb::RelayEntry {
            cursor,
            recipient_ids: vec!["a".into()],
            change: Some(change),
            ..Default::default()
        };
        Arc::new(Event::from_relay(&entry).unwrap())
    }

    fn mailbox() -> Mailbox {
        Mailbox::new(Lease::endless("a"))
    }

    fn next(mailbox: &Mailbox) -> Option<(u64, bool)> {
        match mailbox.take()? {
            (Mail::Event(event), more) => Some((event.cursor, more)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_one_says_behind_until_it_is_resumed() {
        let mailbox = mailbox();
        assert!(!mailbox.push(&event(1), 2));
        assert!(!mailbox.push(&event(2), 2));
        assert!(mailbox.push(&event(3), 2));
        assert!(!mailbox.push(&event(4), 2), "only the first one says so");
        assert!(matches!(mailbox.take(), Some((Mail::Behind, _))));
        assert!(matches!(mailbox.take(), Some((Mail::Behind, _))));
        mailbox.resume();
        assert_eq!(next(&mailbox), None);
        mailbox.push(&event(5), 2);
        assert_eq!(next(&mailbox), Some((5, false)));
    }

    #[test]
    fn it_is_bounded_in_bytes_too() {
        let notification = pb::Notification {
            data: "x".repeat(40_000),
            ..pb::Notification::default()
        };
        let entry = pb::RelayEntry {
            cursor: 1,
            recipient_ids: vec!["a".into()],
            change: Some(pb::relay_entry::Change::Notification(notification)),
            ..Default::default()
        };
        let large = Arc::new(Event::from_relay(&entry).unwrap());
        let mailbox = mailbox();
        assert!(!mailbox.push(&large, 64));
        assert!(next(&mailbox).is_some());
        assert!(!mailbox.push(&large, 64));
        assert!(mailbox.push(&large, 64));
    }

    #[test]
    fn order_is_kept() {
        let mailbox = mailbox();
        (1..=3).for_each(|cursor| _ = mailbox.push(&event(cursor), 8));
        assert_eq!(next(&mailbox), Some((1, true)));
        mailbox.push(&event(4), 8);
        assert_eq!(next(&mailbox), Some((2, true)));
        assert_eq!(next(&mailbox), Some((3, true)));
        assert_eq!(next(&mailbox), Some((4, false)));
        assert_eq!(next(&mailbox), None);
    }

    #[test]
    fn the_end_is_told_whatever_waits() {
        let mailbox = mailbox();
        let context = Context::from_waker(Waker::noop());
        assert_eq!(mailbox.poll_end(&context), Poll::Pending);
        mailbox.set_behind();
        let closing = End::Closing(Closing::Shutdown);
        mailbox.end(closing);
        assert_eq!(mailbox.poll_end(&context), Poll::Ready(closing));
        mailbox.end(End::Cut);
        assert_eq!(mailbox.poll_end(&context), Poll::Ready(End::Cut));
    }
}
