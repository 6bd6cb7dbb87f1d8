//! Connections on which nothing is called: they are ended.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Whether anything is called on a connection.
pub(super) struct Idle {
    calls: Calls,
    every: Duration,
    look: Pin<Box<Sleep>>,
    /// What had happened at the last look.
    events: usize,
}

impl Idle {
    pub fn new(calls: &Calls, every: Duration) -> Self {
        Self {
            calls: calls.clone(),
            every,
            look: Box::pin(sleep(every)),
            events: 0,
        }
    }

    /// Ready when no call is open, and none has begun or ended since the last look.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.look.as_mut().poll(cx).is_ready() {
            let events = self.calls.0.events.load(Relaxed);
            if events == self.events && self.calls.0.open.load(Relaxed) == 0 {
                return Poll::Ready(());
            }
            self.events = events;
            self.look.as_mut().reset(Instant::now() + self.every);
        }
        Poll::Pending
    }
}

/// The calls of a connection. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Happened>);

#[derive(Default)]
struct Happened {
    open: AtomicUsize,
    /// Calls that have begun, and that have ended.
    events: AtomicUsize,
}

impl Calls {
    /// One is open for as long as what is returned lives.
    pub fn begin(&self) -> OpenCall {
        self.0.open.fetch_add(1, Relaxed);
        self.0.events.fetch_add(1, Relaxed);
        OpenCall(self.clone())
    }
}

/// A call that is open.
pub(super) struct OpenCall(Calls);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let Calls(happened) = &self.0;
        happened.events.fetch_add(1, Relaxed);
        happened.open.fetch_sub(1, Relaxed);
    }
}
