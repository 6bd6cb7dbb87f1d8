//! A stream's task: what is next in its feed, written as the socket takes it, until either ends.
//!
//! One future, polled by hand: all that stays in memory for each idle stream. A client that doesn't read
//! is not read for. While there is nothing to do, it leaves the line with the mailbox, where whoever
//! brings an entry writes it without waking this task; it is woken where the socket doesn't take all of
//! it, and for whatever else there is.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    closing::Closing,
    feed::Feed,
    line::{Line, SLICES},
    mailbox::{End, Mail, Mailbox},
    socket::Socket,
    sse,
};

/// Entries written before others have their turn.
const TURN: usize = 64;
/// Bytes that a client may send behind its request.
const UNASKED_MAX: usize = 64 << 10;

/// A stream until it ends, or its connection does.
pub(crate) struct Delivery {
    mailbox: Arc<Mailbox>,
    /// `None`: it is left with the mailbox.
    line: Option<Box<Line>>,
    /// The timer and the reading side will wake the task.
    armed: bool,
    /// Bytes that the client sent behind its request.
    unasked: usize,
    /// When the timer is due: for the next heartbeat, or the token's end.
    due: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Delivery {
    /// `head` is written first: the response's, where it has not been.
    pub fn new(feed: Feed, socket: Socket, head: Option<Bytes>, chunked: bool) -> Self {
        let due = feed.next_due(Instant::now());
        Self {
            mailbox: feed.mailbox().clone(),
            line: Some(Box::new(Line::new(feed, socket, head, chunked))),
            armed: false,
            unasked: 0,
            due,
            timer: Box::pin(sleep_until(due)),
        }
    }

    fn set_timer(&mut self, due: Instant) {
        self.due = due;
        self.timer.as_mut().reset(due);
        self.armed = false;
    }

    /// What the client sends is of no interest, except that it left. One that goes on sending is
    /// no client.
    fn poll_gone(&mut self, line: &mut Line, task: &mut Task<'_>) -> Poll<()> {
        let mut unread = [0; 256];
        loop {
            match ready!(line.socket.poll_read(task, &mut unread)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(read) => self.unasked += read,
            }
            if self.unasked > UNASKED_MAX {
                return Poll::Ready(());
            }
        }
    }

    /// The timer: a heartbeat, the token's end, or the end of the patience with a client that
    /// doesn't take the last word. Ready: that.
    fn poll_timer(&mut self, line: &mut Line, task: &mut Task<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(task).is_ready() {
            if line.is_ending() {
                return Poll::Ready(());
            }
            let now = Instant::now();
            if line.feed.has_expired(now) {
                self.close(line, Closing::TokenExpired);
                continue;
            }
            // While something is stuck in the socket, nothing is added to it.
            if line.out.is_empty() && line.feed.next_heartbeat(line.quiet_since) <= now {
                line.say(&sse::HEARTBEAT);
            }
            let since = if line.out.is_empty() {
                line.quiet_since
            } else {
                now
            };
            self.set_timer(line.feed.next_due(since));
        }
        Poll::Pending
    }

    /// Says why, and gives the client a moment to take it.
    fn close(&mut self, line: &mut Line, why: Closing) {
        line.close(why);
        self.set_timer(Instant::now() + why.patience());
    }

    /// While the socket takes no more: whether the stream is to end anyway.
    fn poll_stuck(&mut self, line: &mut Line, task: &mut Task<'_>) -> Poll<()> {
        match self.mailbox.poll_end(task) {
            Poll::Ready(End::Cut) => return Poll::Ready(()),
            Poll::Ready(End::Closing(why)) if !line.is_ending() => self.close(line, why),
            _ => {}
        }
        // A page that is on its way is read to its end: others wait for their turn.
        let _ = line.feed.poll_reading(task, true);
        self.poll_timer(line, task)
    }

    /// Takes entries from the mailbox and writes them. Ready: there is more to do at once.
    fn poll_mail(&mut self, line: &mut Line, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        for turn in 0.. {
            let (mail, more) = match self.mailbox.take() {
                Some(mail) => mail,
                None => ready!(self.mailbox.poll_take(task)),
            };
            match mail {
                Mail::Event(event) => {
                    line.deliver(&event, !more, Instant::now());
                    if !line.out.is_empty() && (!more || line.out.len() >= SLICES) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Mail::Behind => {
                    line.feed.catch_up();
                    return Poll::Ready(Ok(()));
                }
                Mail::End(End::Closing(why)) => {
                    self.close(line, why);
                    return Poll::Ready(Ok(()));
                }
                Mail::End(End::Cut) => {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
            }
            if turn >= TURN {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Pending
    }

    /// Does what there is to do. Ready: the stream has ended.
    fn go_on(&mut self, line: &mut Line, task: &mut Task<'_>) -> Poll<()> {
        loop {
            match line.poll_write(task) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    self.armed = false;
                    return self.poll_stuck(line, task);
                }
            }
            if line.is_ending() {
                return Poll::Ready(());
            }
            line.take_said();
            if !line.out.is_empty() {
                continue;
            }
            if !line.feed.is_live() {
                if line.feed.poll_reading(task, false).is_ready() {
                    continue;
                }
                // Its end may come while the store is read.
                match self.mailbox.poll_end(task) {
                    Poll::Ready(End::Cut) => return Poll::Ready(()),
                    Poll::Ready(End::Closing(why)) => {
                        self.close(line, why);
                        continue;
                    }
                    Poll::Pending => {}
                }
            } else {
                let sent = line.feed.sent();
                match self.poll_mail(line, task) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
                // Woken by the mailbox: the others have not been, and will be. If one was at the
                // same time, the timer tells, at the latest with the next heartbeat.
                if self.armed && line.feed.sent() > sent && line.quiet_since < self.due {
                    return Poll::Pending;
                }
            }
            if self.poll_timer(line, task).is_ready() || self.poll_gone(line, task).is_ready() {
                return Poll::Ready(());
            }
            if line.out.is_empty() {
                self.armed = true;
                return Poll::Pending;
            }
        }
    }
}

impl Future for Delivery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut line = match this.line.take() {
            Some(line) => line,
            None => match this.mailbox.poll_line(task) {
                Poll::Ready(line) => line,
                Poll::Pending => {
                    // What woke it is looked at when the line is back.
                    this.armed = false;
                    return Poll::Pending;
                }
            },
        };
        if this.go_on(&mut line, task).is_ready() {
            return Poll::Ready(());
        }
        // What comes from here on is written by who brings it; what has come meanwhile woke this task.
        this.line = match line.is_idle() {
            true => this.mailbox.leave(line),
            false => Some(line),
        };
        Poll::Pending
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
