//! What is next for a stream: pages of the store, then what the mailbox brings.

use std::{
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    access::{CLIENT_GONE, Ended},
    catch_up::{self, Page, Reader, Reading},
    closing::Closing,
    json,
    mailbox::Mailbox,
    query::Filters,
    sse::{Event, Frame},
};

/// A stream's next bytes.
pub(crate) struct Feed {
    mailbox: Arc<Mailbox>,
    /// The last sequence handed out; `None`: the reader comes from nowhere.
    cursor: Option<u64>,
    filters: Filters,
    /// The user's id as JSON.
    client: Frame,
    sent: u64,
    /// `None`: the stream is live.
    reading: Option<Reading>,
    /// The page that is read has been asked for.
    under_way: bool,
    said: Vec<Frame>,
    reader: Arc<Reader>,
    /// Why the service ended it; `None`: its client has gone.
    closing: Option<Closing>,
    /// Bytes that its connection took, once it has ended.
    taken: u64,
}

/// A stream that is handed from the request's handler to its connection, with the response.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Mutex<Option<Feed>>>);

impl Handover {
    pub fn new(feed: Feed) -> Self {
        Self(Arc::new(Mutex::new(Some(feed))))
    }

    /// The stream, once.
    pub fn take(&self) -> Option<Feed> {
        self.0.lock().take()
    }
}

impl Feed {
    pub fn new(reader: Arc<Reader>, filters: Filters, cursor: Option<u64>) -> Self {
        Self {
            mailbox: reader.place.mailbox.clone(),
            cursor,
            filters,
            client: Frame::new(&[&json::to_vec(&reader.place.user())]),
            sent: 0,
            reading: None,
            under_way: false,
            said: Vec::new(),
            reader,
            closing: None,
            taken: 0,
        }
    }

    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Its connection has ended.
    pub fn ended(&mut self, closing: Option<Closing>, taken: u64) {
        self.closing = closing;
        self.taken = taken;
    }

    /// The user's id as JSON.
    pub fn client(&self) -> &Frame {
        &self.client
    }

    /// Entries handed out.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The store is behind; the mailbox has what comes.
    pub fn is_live(&self) -> bool {
        self.reading.is_none()
    }

    /// Something to be written next.
    pub fn say(&mut self, frame: Frame) {
        self.said.push(frame);
    }

    /// Hands over what is to be written next.
    pub fn say_into(&mut self, out: impl FnMut(&Frame)) {
        if !self.said.is_empty() {
            std::mem::take(&mut self.said).iter().for_each(out);
        }
    }

    /// Goes on with a page that is being read.
    pub fn read_on(&mut self, reading: Reading) {
        self.reading = Some(reading);
        self.under_way = true;
    }

    /// Goes back to the store.
    pub fn catch_up(&mut self) {
        self.reading = Some(catch_up::next(self.reader.clone(), self.cursor));
        self.under_way = false;
        self.mailbox.set_reads(true);
    }

    /// Takes in a page.
    pub fn turn(&mut self, page: Page) {
        self.said.extend(page.frames);
        self.cursor = page.cursor;
        self.sent += page.entries;
        self.reader.context.metrics.delivered.inc_by(page.entries);
        self.reading = None;
        match page.is_last {
            true => self.mailbox.set_reads(false),
            false => self.catch_up(),
        }
    }

    /// Reads the next page. While `stuck`, only what is under way is read to its end, since others
    /// wait for their turn; no other page is asked for before this one is written.
    pub fn poll_reading(&mut self, task: &mut Task<'_>, stuck: bool) -> Poll<()> {
        let Some(reading) = &mut self.reading else {
            return Poll::Pending;
        };
        if stuck && !self.under_way {
            return Poll::Pending;
        }
        self.under_way = true;
        let page = ready!(reading.as_mut().poll(task));
        self.turn(page);
        Poll::Ready(())
    }

    /// Whether a live entry is to be written; it has passed then.
    pub fn wants(&mut self, event: &Event) -> bool {
        if self.cursor.is_some_and(|cursor| event.cursor <= cursor) {
            return false;
        }
        self.cursor = Some(event.cursor);
        let is_wanted = event.is_wanted(&self.filters);
        self.sent += u64::from(is_wanted);
        is_wanted
    }

    /// Whether the token has expired, and no other came.
    pub fn has_expired(&self, now: Instant) -> bool {
        self.mailbox.lease.is_over(now)
    }

    /// When a stream that is quiet since then needs a sign of life.
    pub fn next_heartbeat(&self, quiet_since: Instant) -> Instant {
        quiet_since + self.reader.context.settings.heartbeat
    }

    /// When there is something to do though nothing comes.
    pub fn next_due(&self, quiet_since: Instant) -> Instant {
        let heartbeat = self.next_heartbeat(quiet_since);
        let until = self.mailbox.lease.until();
        until.map_or(heartbeat, |at| at.min(heartbeat))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let reason = self.closing.map_or(CLIENT_GONE, Closing::name);
        let lease = &self.mailbox.lease;
        let ended = Ended {
            request_id: &self.reader.request_id,
            user: &lease.holder(self.reader.place.user()),
            remote: self.reader.remote,
            lasted: lease.opened().elapsed(),
            entries: self.sent,
            bytes: self.taken,
            reason,
        };
        ended.log();
        self.reader.context.metrics.stream_ended(reason);
    }
}
