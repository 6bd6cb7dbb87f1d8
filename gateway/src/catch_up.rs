//! What the store has for a stream after its cursor, a page at a time.
//!
//! While a page is read the call to the core is drained whether or not the stream's client reads:
//! no client can hold one up. What is read is bounded, and so is the number of those who read.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use mercurio_proto::v1::{SubscribeRequest, SubscribeResponse, subscribe_response};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};
use tonic::{Code, Status, Streaming};

use crate::{
    Context,
    error::ApiError,
    registry::Open,
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
/// EventSource takes a refusal for the end. The core may be away for the open timeout.
pub(crate) async fn first(
    reader: Arc<Reader>,
    after: Option<u64>,
) -> Result<(Option<Frame>, Reading), ApiError> {
    let mut patience = reader.context.settings.open_timeout;
    let (call, opened) = loop {
        let turn = Call::turn(&reader, Some(patience)).await?;
        let asked = Instant::now();
        let begun = timeout(patience, async {
            let mut call = Call::begin(&reader, after, turn).await?;
            let opened = call.messages.message().await?;
            Ok::<_, Status>((call, opened))
        });
        match begun.await {
            Ok(Ok((call, Some(opened)))) => break (call, opened),
            Ok(Err(status)) if status.code() != Code::Unavailable => return Err(status.into()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        patience = patience.saturating_sub(asked.elapsed());
        if patience.is_zero() {
            return Err(ApiError::core_away());
        }
    };
    let rest = Page::after(Some(opened.cursor));
    let reading = Box::pin(async move { call.read(rest).await.unwrap_or_else(|failed| failed) });
    Ok((sse::caught_up(&opened), reading))
}

/// Reads the next page; where the core can't be asked, again and again.
pub(crate) fn next(reader: Arc<Reader>, after: Option<u64>) -> Reading {
    Box::pin(async move {
        let mut wait = Duration::from_millis(50);
        loop {
            let begun = match Call::turn(&reader, None).await {
                Ok(turn) => Call::begin(&reader, after, turn).await,
                Err(status) => Err(status),
            };
            match begun {
                Ok(call) => match call.read(Page::after(after)).await {
                    Ok(page) => return page,
                    Err(part) if !part.frames.is_empty() => return part,
                    Err(_) => {}
                },
                Err(status) => log(&status),
            }
            tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    })
}

/// A `Subscribe` up to the present.
struct Call {
    messages: Streaming<SubscribeResponse>,
    context: Arc<Context>,
    _turn: OwnedSemaphorePermit,
}

impl Call {
    /// Waits for a turn, and sees to it that what comes from then on waits in the mailbox. An error
    /// if the relay does not bring the user's entries within `patience`.
    async fn turn(
        reader: &Reader,
        patience: Option<Duration>,
    ) -> Result<OwnedSemaphorePermit, Status> {
        // The mailbox is emptied last: what came during the wait for a turn is in the store.
        loop {
            let joined = reader.place.joined();
            match patience {
                None => joined.await,
                Some(patience) => timeout(patience, joined)
                    .await
                    .map_err(|_| Status::unavailable("the core can't be reached"))?,
            }
            let turn = reader.context.catch_ups.clone().acquire_owned().await;
            let turn = turn.map_err(|_| Status::unavailable("shutting down"))?;
            if reader.place.resume() {
                return Ok(turn);
            }
        }
    }

    async fn begin(
        reader: &Reader,
        after: Option<u64>,
        turn: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let context = &reader.context;
        let request = SubscribeRequest {
            recipient_id: reader.place.user().to_owned(),
            after,
            topics: reader.topics.clone(),
            until_current: true,
        };
        let request = context.core.stream(&reader.request_id, request)?;
        let mut client = context.core.catch_ups();
        let messages = timeout(context.settings.call_timeout, client.subscribe(request)).await;
        let too_late = |_| Status::deadline_exceeded("the core did not answer in time");
        let messages = messages.map_err(too_late)??.into_inner();
        context.metrics.catching_up.inc();
        Ok(Self {
            messages,
            context: context.clone(),
            _turn: turn,
        })
    }

    /// Reads the page to its end; if the core fails, an error with the part that came.
    async fn read(mut self, mut page: Page) -> Result<Page, Page> {
        let mut bytes = 0;
        while bytes < PAGE_BYTES {
            let next = timeout(self.context.settings.call_timeout, self.messages.message()).await;
            let message = match next {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => {
                    page.is_last = true;
                    break;
                }
                Ok(Err(status)) => {
                    log(&status);
                    return Err(page);
                }
                Err(_) => {
                    log(&Status::deadline_exceeded("the core went silent"));
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
