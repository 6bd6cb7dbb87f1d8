//! A stream's connection, and what is next on it: what whoever writes to it has in hand. That is the
//! stream's own task (`delivery.rs`), or while that has nothing to do who brings an entry
//! (`courier.rs`).
//!
//! The hot path is one write(2). It touches as little memory as it can: with thousands of streams, each
//! line of it is a cache miss.

use std::{
    collections::VecDeque,
    hint::black_box,
    io::{self, IoSlice},
    task::{Context as Task, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use crate::{
    closing::Closing,
    feed::Feed,
    socket::Socket,
    sse::{self, Event, LAST_CHUNK},
};

/// Slices in one write.
pub(crate) const SLICES: usize = 16;
/// Slices that an idle stream keeps room for.
const KEPT: usize = 4;
/// Bytes up to which the parts of an entry are put together for one write(2): cheaper than
/// handing the kernel several.
const TOGETHER: usize = 1024;
/// Parts of an entry.
const PARTS: usize = 3;

/// A stream and the connection that it is written to.
pub(crate) struct Line {
    pub feed: Feed,
    pub socket: Socket,
    /// Bytes that the socket has not taken yet.
    pub out: VecDeque<Bytes>,
    /// When something was written last.
    pub quiet_since: Instant,
    chunked: bool,
    /// Why it ends, once that is said.
    ending: Option<Closing>,
    /// Bytes that the socket took.
    taken: u64,
}

impl Line {
    /// `head` is written first: the response's, where it has not been.
    pub fn new(feed: Feed, socket: Socket, head: Option<Bytes>, chunked: bool) -> Self {
        Self {
            feed,
            socket,
            out: head.into_iter().collect(),
            quiet_since: Instant::now(),
            chunked,
            ending: None,
            taken: 0,
        }
    }

    /// Whether an entry can be written at once, by whoever brings it.
    pub fn is_idle(&self) -> bool {
        self.socket.is_plain()
            && self.out.is_empty()
            && self.ending.is_none()
            && self.feed.is_live()
    }

    /// Reads what [`Line::deliver`] is going to need: of several lines in a row, the processor fetches it
    /// all at once, where it would wait for each.
    pub fn touch(&self) {
        self.feed.mailbox().touch();
        let client = self.feed.client().slice(true).first();
        black_box((self.feed.sent(), self.taken, client.copied()));
    }

    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Writes an entry, if it is `alone`, or leaves to `out` what the socket doesn't take. What is wrong
    /// with the socket, the next write finds too.
    pub fn deliver(&mut self, event: &Event, alone: bool, now: Instant) {
        if !self.feed.wants(event) {
            return;
        }
        let (written, is_all) = match alone && self.out.is_empty() {
            true => self.write_now(event),
            // Together with what waits already, or comes next.
            false => (0, false),
        };
        if is_all {
            self.taken += written as u64;
            self.quiet_since = now;
            return;
        }
        let frames = event.frames(self.feed.client());
        self.out
            .extend(frames.map(|frame| frame.bytes(self.chunked)));
        if written > 0 {
            self.written(written);
        }
    }

    /// One write(2): the bytes that the socket took, and whether that was all.
    fn write_now(&self, event: &Event) -> (usize, bool) {
        let mut parts: [&[u8]; PARTS] = [&[]; PARTS];
        let frames = event.frames(self.feed.client());
        let count = frames
            .zip(&mut parts)
            .map(|(frame, part)| *part = frame.slice(self.chunked))
            .count();
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let written = if count == 1 {
            self.socket.try_write(parts[0])
        } else if length <= TOGETHER {
            let mut together = [0; TOGETHER];
            let mut used = 0;
            for part in parts {
                together[used..used + part.len()].copy_from_slice(part);
                used += part.len();
            }
            self.socket.try_write(&together[..used])
        } else {
            let slices = parts.map(IoSlice::new);
            self.socket.try_write_vectored(&slices)
        };
        let written = written.unwrap_or(0);
        (written, written == length)
    }

    /// Something to be written next.
    pub fn say(&mut self, frame: &sse::Frame) {
        self.out.push_back(frame.bytes(self.chunked));
    }

    /// Takes over what the feed has to say.
    pub fn take_said(&mut self) {
        let (out, chunked) = (&mut self.out, self.chunked);
        self.feed
            .say_into(|frame| out.push_back(frame.bytes(chunked)));
    }

    /// Says why it ends, behind what is being written.
    pub fn close(&mut self, why: Closing) {
        self.say(&sse::closing(why.name(), why.retry()));
        if self.chunked {
            self.out.push_back(LAST_CHUNK);
        }
        self.ending = Some(why);
    }

    /// Writes until everything is written, and at the end says so; or the socket takes no more.
    pub fn poll_write(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
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
}

impl Drop for Line {
    fn drop(&mut self) {
        self.feed.ended(self.ending, self.taken);
    }
}
