//! A stream on its connection: what is next in its feed, written as the socket takes it.
//!
//! One future, polled by hand: it is what runs for each delivery, and all that stays in memory for
//! each idle stream. A client that doesn't read is not read for.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    catch_up::{self, Page, Reader, Reading},
    json,
    mailbox::{End, Mail},
    sse::{self, Event, Frame, LAST_CHUNK},
};

/// How long a client may take to read why the stream ends.
const CLOSING: Duration = Duration::from_secs(5);
/// Slices in one write.
const SLICES: usize = 16;
/// Slices that an idle stream keeps room for.
const KEPT: usize = 4;

/// A stream's next bytes.
pub(crate) struct Feed {
    reader: Arc<Reader>,
    /// The user's id as JSON.
    client: Frame,
    /// The last sequence handed out; `None`: the reader comes from nowhere.
    cursor: Option<u64>,
    /// `None`: the stream is live.
    reading: Option<Reading>,
    said: Vec<Frame>,
    expires_at: Option<Instant>,
    opened: Instant,
    sent: u64,
}

/// A stream that is handed from the request's handler to its connection, with the response.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Mutex<Option<Box<Feed>>>>);

impl Handover {
    pub fn new(feed: Feed) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(feed)))))
    }

    /// The stream, once.
    pub fn take(&self) -> Option<Box<Feed>> {
        self.0.lock().take()
    }
}

impl Feed {
    pub fn new(reader: Arc<Reader>, cursor: Option<u64>, expires_at: Option<Instant>) -> Self {
        Self {
            client: Frame::new(&[&json::to_vec(&reader.place.user())]),
            reader,
            cursor,
            reading: None,
            said: Vec::new(),
            expires_at,
            opened: Instant::now(),
            sent: 0,
        }
    }

    /// Something to be written next.
    pub fn say(&mut self, frame: Frame) {
        self.said.push(frame);
    }

    /// Goes on with a page that is being read.
    pub fn catch_up(&mut self, reading: Reading) {
        self.reading = Some(reading);
    }

    /// Takes in a page.
    pub fn turn(&mut self, page: Page) {
        self.said.extend(page.frames);
        self.cursor = page.cursor;
        self.sent += page.entries;
        self.reader.context.metrics.delivered.inc_by(page.entries);
        self.reading = match page.is_last {
            true => None,
            false => Some(catch_up::next(self.reader.clone(), self.cursor)),
        };
    }

    /// Hands `out` what is next. Pending: the task is woken when there is something.
    fn poll_next(&mut self, task: &mut Task<'_>, mut out: impl FnMut(&Frame)) -> Poll<()> {
        loop {
            if !self.said.is_empty() {
                std::mem::take(&mut self.said).iter().for_each(out);
                return Poll::Ready(());
            }
            if let Some(reading) = &mut self.reading {
                let page = ready!(reading.as_mut().poll(task));
                self.turn(page);
                continue;
            }
            let mut written = 0;
            while let Some((mail, more)) = self.reader.place.mailbox.take() {
                match mail {
                    Mail::Event(event) => written += self.take(&event, &mut out),
                    Mail::Behind => {
                        let next = catch_up::next(self.reader.clone(), self.cursor);
                        self.reading = Some(next);
                    }
                }
                if !more || written >= SLICES {
                    break;
                }
            }
            if written > 0 {
                return Poll::Ready(());
            }
            if self.reading.is_none() {
                return Poll::Pending;
            }
        }
    }

    /// Has a page that is on its way read to its end, for a client that doesn't read: others wait
    /// for their turn.
    fn poll_reading(&mut self, task: &mut Task<'_>) {
        if self.said.is_empty()
            && let Some(reading) = &mut self.reading
            && let Poll::Ready(page) = reading.as_mut().poll(task)
        {
            self.turn(page);
        }
    }

    fn take(&mut self, event: &Event, out: &mut impl FnMut(&Frame)) -> usize {
        if self.cursor.is_some_and(|cursor| event.cursor <= cursor) {
            return 0;
        }
        self.cursor = Some(event.cursor);
        if !event.is_wanted(&self.reader.filters) {
            return 0;
        }
        self.sent += 1;
        self.reader.context.metrics.delivered.inc();
        event.frames(&self.client).map(out).count()
    }
}

/// A stream and the connection that it is written to. Ends when either does.
pub(crate) struct Delivery {
    feed: Box<Feed>,
    socket: TcpStream,
    chunked: bool,
    /// Bytes to be written.
    out: VecDeque<Bytes>,
    /// When the next heartbeat is due, or the token expires.
    timer: Pin<Box<Sleep>>,
    quiet_since: Instant,
    /// Why it ends, once that is said.
    ending: Option<&'static str>,
}

impl Delivery {
    /// `head` is written first: the response's.
    pub fn new(feed: Box<Feed>, socket: TcpStream, head: Bytes, chunked: bool) -> Self {
        let mut delivery = Self {
            timer: Box::pin(sleep_until(Instant::now())),
            feed,
            socket,
            chunked,
            out: VecDeque::from([head]),
            quiet_since: Instant::now(),
            ending: None,
        };
        delivery.set_timer();
        delivery
    }

    fn set_timer(&mut self) {
        let heartbeat = self.quiet_since + self.feed.reader.context.settings.heartbeat;
        let expires_at = self.feed.expires_at.unwrap_or(heartbeat);
        self.timer.as_mut().reset(heartbeat.min(expires_at));
    }

    /// Writes until everything is written, or the socket takes no more.
    fn poll_write(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(self.socket.poll_write_ready(task))?;
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.out.iter().zip(&mut slices);
            let count = filled
                .map(|(bytes, slice)| *slice = IoSlice::new(bytes))
                .count();
            match self.socket.try_write_vectored(&slices[..count]) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.written(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn written(&mut self, mut written: usize) {
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

    /// What the client sends is of no interest, except that it left.
    fn poll_gone(&self, task: &mut Task<'_>) -> Poll<()> {
        let mut unread = [0; 256];
        loop {
            if ready!(self.socket.poll_read_ready(task)).is_err() {
                return Poll::Ready(());
            }
            match self.socket.try_read(&mut unread) {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Whether the stream is to end: `Some`, with this word; `None`, at once.
    fn poll_end(&mut self, task: &mut Task<'_>) -> Poll<Option<&'static str>> {
        match self.feed.reader.place.mailbox.poll_end(task) {
            Poll::Ready(End::Cut) => return Poll::Ready(None),
            Poll::Ready(End::Closing) if self.ending.is_none() => {
                return Poll::Ready(Some("shutdown"));
            }
            _ => {}
        }
        while self.timer.as_mut().poll(task).is_ready() {
            if self.ending.is_some() {
                return Poll::Ready(None);
            }
            let now = Instant::now();
            if self.feed.expires_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Some("token-expired"));
            }
            if now >= self.quiet_since + self.feed.reader.context.settings.heartbeat {
                // While something else is stuck in the socket, nothing is added to it.
                if self.out.is_empty() {
                    self.out.push_back(sse::HEARTBEAT.bytes(self.chunked));
                }
                self.quiet_since = now;
            }
            self.set_timer();
        }
        Poll::Pending
    }

    /// Says why, behind what is being written, and gives the client a moment to take it.
    fn close(&mut self, reason: &'static str) {
        let jitter = || Duration::from_millis(fastrand::u64(1_000..5_000));
        let retry = (reason == "shutdown").then(jitter);
        let closing = sse::closing(reason, retry).bytes(self.chunked);
        self.out.push_back(closing);
        if self.chunked {
            self.out.push_back(LAST_CHUNK);
        }
        self.ending = Some(reason);
        self.timer.as_mut().reset(Instant::now() + CLOSING);
    }
}

impl Future for Delivery {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            while let Poll::Ready(end) = this.poll_end(task) {
                match end {
                    Some(reason) => this.close(reason),
                    None => return Poll::Ready(()),
                }
            }
            match this.poll_write(task) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {
                    this.feed.poll_reading(task);
                    return Poll::Pending;
                }
            }
            if this.ending.is_some() {
                return Poll::Ready(());
            }
            let (out, chunked) = (&mut this.out, this.chunked);
            let next = this
                .feed
                .poll_next(task, |frame| out.push_back(frame.bytes(chunked)));
            if next.is_pending() {
                return this.poll_gone(task);
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let seconds = self.opened.elapsed().as_secs_f64();
        let request_id = &self.reader.request_id;
        tracing::info!(%request_id, seconds, entries = self.sent, "stream ended");
    }
}
