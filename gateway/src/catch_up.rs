//! What the store has for a stream after its cursor, a page at a time.
//!
//! The core that is asked is the one whose relay brings the stream's entries, and what it calls the
//! present has to be as far as that relay has been heard of: what is read meets what the relay
//! brings without a gap, even if behind the address there is another core now, one that lags.
//!
//! While a page is read the call to the core is drained whether or not the stream's client reads:
//! no client can hold one up. What is read is bounded, and so is the number of those who read.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use mercurio_proto::v1::{SubscribeRequest, SubscribeResponse, subscribe_response};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};
use tonic::{Status, Streaming};

use crate::{
    Context,
    abuse::OfSource,
    core::is_passing,
    cores::Stay,
    error::ApiError,
    registry::{Heard, Open},
    sse::{self, Frame},
};

/// The longest wait before a catch-up that failed is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Bytes of frames behind which a page ends.
const PAGE_BYTES: usize = 64 << 10;

/// Whose stream it is, and what of their feed is wanted.
pub(crate) struct Reader {
    pub context: Arc<Context>,
    pub place: Open,
    pub topics: Vec<String>,
    pub request_id: Box<str>,
    pub remote: Option<SocketAddr>,
    /// Counted for its address.
    pub _of_source: Option<OfSource>,
}

/// Part of a feed.
pub(crate) struct Page {
    pub frames: Vec<Frame>,
    /// Where the reader stands behind it; `None`: they come from nowhere, and nothing came.
    pub cursor: Option<u64>,
    /// Changes in it.
    pub entries: u64,
    /// It reaches up to the present. What came since waits in the mailbox.
    pub is_last: bool,
}

/// A page that is being read.
pub(crate) type Reading = Pin<Box<dyn Future<Output = Page> + Send>>;

/// Opens a feed. The first page begins with `opened`, which is returned before the rest is read.
///
/// Waits for its turn as long as it takes: thousands may come back at once, and a browser's
/// EventSource takes a refusal for the end. The core may be away for the open timeout. While others
/// wait for their turn too, all are opened before any is read a page, which takes far longer.
pub(crate) async fn first(
    reader: Arc<Reader>,
    after: Option<u64>,
) -> Result<(Option<Frame>, Reading), ApiError> {
    let mut patience = reader.context.settings.open_timeout;
    let (call, opened, is_crowded) = loop {
        let turn = Turn::taken(&reader, Some(patience)).await?;
        // Who comes from nowhere has no page to read.
        let is_crowded = after.is_some() && reader.context.catch_ups.available_permits() == 0;
        let asked = Instant::now();
        let refused = match Call::begin(&reader, after, is_crowded, turn, patience).await {
            Ok((call, opened)) => break (call, opened, is_crowded),
            Err(status) if is_passing(&status) => status,
            Err(status) => return Err(status.into()),
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        patience = patience.saturating_sub(asked.elapsed());
        if patience.is_zero() {
            return Err(refused.into());
        }
    };
    let frame = sse::caught_up(&opened);
    if is_crowded {
        drop(call);
        return Ok((frame, next(reader, Some(opened.cursor))));
    }
    let rest = Page::after(Some(opened.cursor));
    let reading = Box::pin(async move { call.read(rest).await.unwrap_or_else(|failed| failed) });
    Ok((frame, reading))
}

/// Reads the next page; where the core can't be asked, again and again. What was lost before it was
/// read is said in it, also where an opening has said so of what was lost before that.
pub(crate) fn next(reader: Arc<Reader>, after: Option<u64>) -> Reading {
    Box::pin(async move {
        let mut wait = Duration::from_millis(50);
        let patience = reader.context.settings.call_timeout;
        loop {
            let begun = match Turn::taken(&reader, None).await {
                Ok(turn) => Call::begin(&reader, after, false, turn, patience).await,
                Err(status) => Err(status),
            };
            match begun {
                Ok((call, opened)) => {
                    let mut page = Page::after(after);
                    page.add(&opened);
                    match call.read(page).await {
                        Ok(page) => return page,
                        Err(part) if !part.frames.is_empty() => return part,
                        Err(_) => {}
                    }
                }
                Err(status) => log(&status),
            }
            tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    })
}

/// One of those who may read the store now.
struct Turn {
    _permit: OwnedSemaphorePermit,
    heard: Heard,
}

impl Turn {
    /// Waits for a turn, and sees to it that what comes from then on waits in the mailbox. An error
    /// if the relay does not bring the user's entries within `patience`.
    async fn taken(reader: &Reader, patience: Option<Duration>) -> Result<Self, Status> {
        // The mailbox is emptied last: what came during the wait for a turn is in the store.
        loop {
            let joined = reader.place.joined();
            match patience {
                None => joined.await,
                Some(patience) => timeout(patience, joined)
                    .await
                    .map_err(|_| Status::unavailable("the core can't be reached"))?,
            }
            let permit = reader.context.catch_ups.clone().acquire_owned().await;
            let permit = permit.map_err(|_| Status::unavailable("shutting down"))?;
            if let Some(heard) = reader.place.resume() {
                return Ok(Self {
                    _permit: permit,
                    heard,
                });
            }
        }
    }
}

/// A `Subscribe` up to the present.
struct Call {
    messages: Streaming<SubscribeResponse>,
    stay: Stay,
    context: Arc<Context>,
    _turn: Turn,
}

impl Call {
    /// Asks, and gives what the core says first; with `only_opened`, that alone.
    async fn begin(
        reader: &Reader,
        after: Option<u64>,
        only_opened: bool,
        turn: Turn,
        patience: Duration,
    ) -> Result<(Self, SubscribeResponse), Status> {
        let context = &reader.context;
        let request = SubscribeRequest {
            recipient_id: reader.place.user().to_owned(),
            after,
            topics: reader.topics.clone(),
            until_current: true,
            only_opened,
        };
        let request = context.cores.request(&reader.request_id, request)?;
        let mut stay = context.cores.stay_at(turn.heard.core);
        let mut client = stay.core.catch_ups();
        let begun = stay.hear(patience, async {
            let mut messages = client.subscribe(request).await?.into_inner();
            Ok((messages.message().await?, messages))
        });
        let (Some(first), messages) = begun.await? else {
            return Err(Status::unavailable("the core said nothing"));
        };
        if let Some(subscribe_response::Change::Opened(opened)) = &first.change
            && opened.latest < turn.heard.cursor
        {
            return Err(Status::unavailable(
                "the core is behind what its relay brought",
            ));
        }
        context.metrics.catching_up.inc();
        let call = Self {
            messages,
            stay,
            context: context.clone(),
            _turn: turn,
        };
        Ok((call, first))
    }

    /// Reads the page to its end; if the core fails, an error with the part that came.
    async fn read(mut self, mut page: Page) -> Result<Page, Page> {
        let mut bytes = 0;
        let patience = self.context.settings.call_timeout;
        while bytes < PAGE_BYTES {
            let message = match self.stay.hear(patience, self.messages.message()).await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    page.is_last = true;
                    break;
                }
                Err(status) => {
                    log(&status);
                    return Err(page);
                }
            };
            bytes += page.add(&message);
        }
        Ok(page)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.context.metrics.catching_up.dec();
    }
}

impl Page {
    fn after(cursor: Option<u64>) -> Self {
        Self {
            frames: Vec::new(),
            cursor,
            entries: 0,
            is_last: false,
        }
    }

    /// Takes in a message; its bytes.
    fn add(&mut self, message: &SubscribeResponse) -> usize {
        if let Some(subscribe_response::Change::Opened(opened)) = &message.change
            && opened.complete
        {
            // The client knows of its opening; it is told again only what it has to know.
            return 0;
        }
        self.cursor = Some(message.cursor);
        let Some(frame) = sse::caught_up(message) else {
            return 0;
        };
        let bytes = frame.len();
        let is_entry = !matches!(message.change, Some(subscribe_response::Change::Opened(_)));
        self.entries += u64::from(is_entry);
        self.frames.push(frame);
        bytes
    }
}

fn log(status: &Status) {
    tracing::debug!(code = ?status.code(), message = status.message(), "catch-up failed");
}
