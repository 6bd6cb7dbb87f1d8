//! A stream on its connection: what is next in its feed, written as the socket takes it.
//!
//! One future, polled by hand: it is what runs for each delivery, and all that stays in memory for
//! each idle stream. A client that doesn't read is not read for.
//!
//! The hot path is a wake-up by the mailbox, one write(2), and sleep again. It touches as little
//! memory as it can: with thousands of streams, each line of it is a cache miss.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    closing::Closing,
    feed::Feed,
    mailbox::{End, Mail},
    socket::Socket,
    sse::{self, Event, LAST_CHUNK},
};

/// Slices in one write.
const SLICES: usize = 16;
/// Slices that an idle stream keeps room for.
const KEPT: usize = 4;
/// Entries written before others have their turn.
const TURN: usize = 64;
/// Bytes that a client may send behind its request.
const UNASKED_MAX: usize = 64 << 10;
/// Bytes up to which the parts of an entry are put together for one write(2): cheaper than
/// handing the kernel several.
const TOGETHER: usize = 1024;

/// A stream and the connection that it is written to. Ends when either does.
pub(crate) struct Delivery {
    socket: Socket,
    feed: Feed,
    /// Bytes that the socket has not taken yet.
    out: VecDeque<Bytes>,
    chunked: bool,
    /// The timer and the reading side will wake the task.
    armed: bool,
    /// Why it ends, once that is said.
    ending: Option<Closing>,
    /// Bytes that the socket took.
    taken: u64,
    /// Bytes that the client sent behind its request.
    unasked: usize,
    quiet_since: Instant,
    /// When the timer is due: for the next heartbeat, or the token's end.
    due: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Delivery {
    /// `head` is written first: the response's, where it has not been.
    pub fn new(feed: Feed, socket: Socket, head: Option<Bytes>, chunked: bool) -> Self {
        let now = Instant::now();
        let due = feed.next_due(now);
        Self {
            socket,
            feed,
            out: head.into_iter().collect(),
            chunked,
            armed: false,
            ending: None,
            taken: 0,
            unasked: 0,
            quiet_since: now,
            due,
            timer: Box::pin(sleep_until(due)),
        }
    }

    fn set_timer(&mut self, due: Instant) {
        self.due = due;
        self.timer.as_mut().reset(due);
        self.armed = false;
    }

    /// Writes an entry, or leaves to `out` what the socket doesn't take.
    fn deliver(&mut self, event: &Event, alone: bool) -> io::Result<()> {
        if !self.feed.wants(event) {
            return Ok(());
        }
        let (written, is_all) = match alone && self.out.is_empty() {
            true => self.write_now(event)?,
            // Together with what waits already, or comes next.
            false => (0, false),
        };
        if is_all {
            self.taken += written as u64;
            self.quiet_since = Instant::now();
            return Ok(());
        }
        let frames = event.frames(self.feed.client());
        self.out
            .extend(frames.map(|frame| frame.bytes(self.chunked)));
        if written > 0 {
            self.written(written);
        }
        Ok(())
    }

    /// One write(2), if the entry is small or in one piece: the bytes that the socket took, and
    /// whether that was all.
    fn write_now(&self, event: &Event) -> io::Result<(usize, bool)> {
        let slices = || {
            event
                .frames(self.feed.client())
                .map(|frame| frame.slice(self.chunked))
        };
        let mut together = [0; TOGETHER];
        let first = slices().next();
        let length: usize = slices().map(<[u8]>::len).sum();
        let bytes = match first {
            Some(only) if only.len() == length => only,
            _ if length <= TOGETHER => {
                let mut used = 0;
                for part in slices() {
                    together[used..used + part.len()].copy_from_slice(part);
                    used += part.len();
                }
                &together[..used]
            }
            _ => return Ok((0, false)),
        };
        match self.socket.try_write(bytes) {
            Ok(written) => Ok((written, written == bytes.len())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((0, false)),
            Err(error) => Err(error),
        }
    }

    /// Writes until everything is written, and at the end says so; or the socket takes no more.
    fn poll_write(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.out.iter().zip(&mut slices);
            let count = filled
                .map(|(bytes, slice)| *slice = IoSlice::new(bytes))
                .count();
            match ready!(self.socket.poll_write(task, &slices[..count]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written(written),
            }
        }
        ready!(self.socket.poll_flush(task))?;
        match self.ending {
            Some(_) => self.socket.poll_end(task),
            None => Poll::Ready(Ok(())),
        }
    }

    fn written(&mut self, mut written: usize) {
        self.taken += written as u64;
        while let Some(bytes) = self.out.front_mut() {
            if written < bytes.len() {
                bytes.advance(written);
                break;
            }
            written -= bytes.len();
            self.out.pop_front();
        }
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = VecDeque::new();
        }
        self.quiet_since = Instant::now();
    }

    /// What the client sends is of no interest, except that it left. One that goes on sending is
    /// no client.
    fn poll_gone(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let mut unread = [0; 256];
        loop {
            match ready!(self.socket.poll_read(task, &mut unread)) {
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
    fn poll_timer(&mut self, task: &mut Task<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(task).is_ready() {
            if self.ending.is_some() {
                return Poll::Ready(());
            }
            let now = Instant::now();
            if self.feed.has_expired(now) {
                self.close(Closing::TokenExpired);
                continue;
            }
            // While something is stuck in the socket, nothing is added to it.
            if self.out.is_empty() && self.feed.next_heartbeat(self.quiet_since) <= now {
                self.out.push_back(sse::HEARTBEAT.bytes(self.chunked));
            }
            let since = if self.out.is_empty() {
                self.quiet_since
            } else {
                now
            };
            let due = self.feed.next_due(since);
            self.set_timer(due);
        }
        Poll::Pending
    }

    /// Says why, behind what is being written, and gives the client a moment to take it.
    fn close(&mut self, why: Closing) {
        let closing = sse::closing(why.name(), why.retry());
        self.out.push_back(closing.bytes(self.chunked));
        if self.chunked {
            self.out.push_back(LAST_CHUNK);
        }
        self.ending = Some(why);
        self.set_timer(Instant::now() + why.patience());
    }

    /// While the socket takes no more: whether the stream is to end anyway.
    fn poll_stuck(&mut self, task: &mut Task<'_>) -> Poll<()> {
        match self.feed.mailbox().poll_end(task) {
            Poll::Ready(End::Cut) => return Poll::Ready(()),
            Poll::Ready(End::Closing(why)) if self.ending.is_none() => self.close(why),
            _ => {}
        }
        // A page that is on its way is read to its end: others wait for their turn.
        let _ = self.feed.poll_reading(task, true);
        self.poll_timer(task)
    }

    /// Takes entries from the mailbox and writes them. Ready: there is more to do at once.
    fn poll_mail(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        for turn in 0.. {
            let mail = self.feed.mailbox().take();
            let (mail, more) = match mail {
                Some(mail) => mail,
                None => ready!(self.feed.mailbox().poll_take(task)),
            };
            match mail {
                Mail::Event(event) => {
                    self.deliver(&event, !more)?;
                    if !self.out.is_empty() && (!more || self.out.len() >= SLICES) {
                        return Poll::Ready(Ok(()));
                    }
                }
                Mail::Behind => {
                    self.feed.catch_up();
                    return Poll::Ready(Ok(()));
                }
                Mail::End(End::Closing(why)) => {
                    self.close(why);
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
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.feed.ended(self.ending, self.taken);
    }
}

impl Future for Delivery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            match this.poll_write(task) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    this.armed = false;
                    return this.poll_stuck(task);
                }
            }
            if this.ending.is_some() {
                return Poll::Ready(());
            }
            let (out, chunked) = (&mut this.out, this.chunked);
            this.feed
                .say_into(|frame| out.push_back(frame.bytes(chunked)));
            if !out.is_empty() {
                continue;
            }
            if !this.feed.is_live() {
                if this.feed.poll_reading(task, false).is_ready() {
                    continue;
                }
                // Its end may come while the store is read.
                match this.feed.mailbox().poll_end(task) {
                    Poll::Ready(End::Cut) => return Poll::Ready(()),
                    Poll::Ready(End::Closing(why)) => {
                        this.close(why);
                        continue;
                    }
                    Poll::Pending => {}
                }
            } else {
                let sent = this.feed.sent();
                match this.poll_mail(task) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
                // Woken by the mailbox: the others have not been, and will be. If one was at the
                // same time, the timer tells, at the latest with the next heartbeat.
                if this.armed && this.feed.sent() > sent && this.quiet_since < this.due {
                    return Poll::Pending;
                }
            }
            if this.poll_timer(task).is_ready() || this.poll_gone(task).is_ready() {
                return Poll::Ready(());
            }
            if this.out.is_empty() {
                this.armed = true;
                return Poll::Pending;
            }
        }
    }
}
