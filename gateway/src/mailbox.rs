//! What waits for one open stream, and where its line is. Bounded: a stream that falls behind is told
//! so, and reads the store from its own cursor instead; nothing is dropped for its reader. An idle one
//! holds no allocation, and one entry at a time needs none.

use std::{
    collections::VecDeque,
    hint::black_box,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::{closing::Closing, courier::Loan, lease::Lease, line::Line, sse::Event};

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
    line: Place,
}

/// Where a stream's line is.
#[derive(Default)]
enum Place {
    /// Its task has it.
    #[default]
    Held,
    /// Here: its task has nothing to do, and nothing waits.
    Left(Box<Line>),
    /// Here, and not for others: its task was woken for it.
    Back(Box<Line>),
    /// Who brought an entry is writing it.
    Lent {
        /// The task wants it back.
        is_wanted: bool,
    },
    /// The stream has ended.
    Gone,
}

impl State {
    /// Whether the stream's task has something to do.
    fn has_news(&self) -> bool {
        self.first.is_some() || self.behind || self.end.is_some()
    }

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

/// What becomes of an entry that is handed in.
pub(crate) enum Handed {
    /// It waits, or the stream is behind anyway.
    In,
    /// With this one the stream has fallen behind.
    Over,
    /// It is to be written to the line at once.
    Back(Loan),
}

/// The service ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a word: why.
    Closing(Closing),
    /// At once: its reader had time enough.
    Cut,
}

impl Place {
    /// The line, on loan from now on, if it is here.
    fn lend(&mut self) -> Option<Box<Line>> {
        match std::mem::replace(self, Self::Lent { is_wanted: false }) {
            Self::Left(line) => Some(line),
            other => {
                *self = other;
                None
            }
        }
    }
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

    /// Reads what [`Mailbox::push`] is going to need: of several in a row, the processor fetches it all at
    /// once, where it would wait for each behind the lock of the one before.
    pub fn touch(&self) {
        black_box(self.state.is_locked());
    }

    /// Hands in an entry.
    pub fn push(&self, event: &Arc<Event>, capacity: usize) -> Handed {
        let mut state = self.state.lock();
        if state.behind {
            return Handed::In;
        }
        if state.first.is_none() {
            if state.end.is_none()
                && let Some(line) = state.line.lend()
            {
                return Handed::Back(Loan::new(line));
            }
            state.bytes = event.len();
            state.first = Some(event.clone());
            // Who has it on loan says so when they are done.
            let is_held = matches!(state.line, Place::Held);
            drop(state);
            if is_held {
                self.waker.wake();
            }
            return Handed::In;
        }
        // Its reader has been woken for the first one.
        let bytes = state.bytes + event.len();
        if state.rest.len() + 1 >= capacity || bytes > BYTES_MAX {
            state.clear();
            state.behind = true;
            return Handed::Over;
        }
        state.bytes = bytes;
        state.rest.push_back(event.clone());
        Handed::In
    }

    /// Leaves the line here, for who brings an entry; its task is to be woken for anything else. Given
    /// back where something has come meanwhile, for which the task was woken.
    pub fn leave(&self, line: Box<Line>) -> Option<Box<Line>> {
        let mut state = self.state.lock();
        if state.has_news() {
            return Some(line);
        }
        state.line = Place::Left(line);
        None
    }

    /// Takes the line back; where it is on loan, the task is woken when it is not.
    pub fn poll_line(&self, context: &Context<'_>) -> Poll<Box<Line>> {
        self.waker.register(context.waker());
        let mut state = self.state.lock();
        match std::mem::take(&mut state.line) {
            Place::Left(line) | Place::Back(line) => Poll::Ready(line),
            Place::Lent { .. } => {
                state.line = Place::Lent { is_wanted: true };
                Poll::Pending
            }
            other => {
                state.line = other;
                Poll::Pending
            }
        }
    }

    /// The end of a loan. Where the task has something to do, the line is for nobody else until it has done
    /// it: what comes meanwhile waits here, bounded.
    pub fn give_back(&self, line: Box<Line>) {
        let mut state = self.state.lock();
        let Place::Lent { is_wanted } = state.line else {
            // Its task has gone. Outside of the lock: a stream that ends is logged.
            drop(state);
            drop(line);
            return;
        };
        let wake = is_wanted || !line.is_idle() || state.has_news();
        state.line = match wake {
            true => Place::Back(line),
            false => Place::Left(line),
        };
        drop(state);
        if wake {
            self.waker.wake();
        }
    }

    #[cfg(test)]
    pub fn is_left(&self) -> bool {
        matches!(self.state.lock().line, Place::Left(_))
    }

    /// The stream's task ends.
    pub fn close(&self) {
        let line = std::mem::replace(&mut self.state.lock().line, Place::Gone);
        drop(line);
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
        let is_away = matches!(state.line, Place::Lent { .. } | Place::Back(_));
        let is_empty = state.first.is_none() && !is_away;
        (state.behind || state.reads, is_empty)
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

    /// Whether the stream has fallen behind with it.
    fn push(mailbox: &Mailbox, event: &Arc<Event>, capacity: usize) -> bool {
        matches!(mailbox.push(event, capacity), Handed::Over)
    }

    #[test]
    fn a_full_one_says_behind_until_it_is_resumed() {
        let mailbox = mailbox();
        assert!(!push(&mailbox, &event(1), 2));
        assert!(!push(&mailbox, &event(2), 2));
        assert!(push(&mailbox, &event(3), 2));
        assert!(!push(&mailbox, &event(4), 2), "only the first one says so");
        assert!(matches!(mailbox.take(), Some((Mail::Behind, _))));
        assert!(matches!(mailbox.take(), Some((Mail::Behind, _))));
        mailbox.resume();
        assert_eq!(next(&mailbox), None);
        push(&mailbox, &event(5), 2);
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
        assert!(!push(&mailbox, &large, 64));
        assert!(next(&mailbox).is_some());
        assert!(!push(&mailbox, &large, 64));
        assert!(push(&mailbox, &large, 64));
    }

    #[test]
    fn order_is_kept() {
        let mailbox = mailbox();
        (1..=3).for_each(|cursor| _ = push(&mailbox, &event(cursor), 8));
        assert_eq!(next(&mailbox), Some((1, true)));
        push(&mailbox, &event(4), 8);
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
