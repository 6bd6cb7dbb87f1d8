//! A browser's stream: what the store has after its cursor, then what the relay brings.
//!
//! It is a state machine that is pulled by the connection: a client that doesn't read is not read
//! for. It holds its mailbox, bounded, and a page of a catch-up; never a call to the core, which
//! would hold up the others.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, header};
use mercurio_proto::v1::{SubscribeRequest, SubscribeResponse, subscribe_response};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Code, Status, Streaming};

use crate::{
    Context,
    auth::Client,
    error::ApiError,
    json,
    mailbox::Mail,
    query::{FILTERS_MAX, Filters, Query, number},
    registry::Open,
    server::RequestId,
    sse,
};

/// The longest wait before a catch-up that failed is tried again.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Bytes of frames behind which a catch-up lets go of the core until they are written.
const PAGE_BYTES: usize = 64 << 10;
/// How long a new stream's head waits for the rest of its first page.
const FIRST_PAGE: Duration = Duration::from_millis(50);

/// `GET /api/clients/{clientID}/notifications/stream`
pub(crate) async fn open(
    State(context): State<Arc<Context>>,
    request_id: RequestId,
    client: Client,
    uri: axum::http::Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Query::new(uri.query());
    let topics = query.topics();
    if topics.len() > FILTERS_MAX {
        let count = topics.len().to_string();
        return Err(ApiError::field(
            "topic",
            &count,
            &format!("at most {FILTERS_MAX} filters"),
        ));
    }
    let after = resume_from(&headers, &query)?;
    if context.shutdown.is_cancelled() {
        return Err(ApiError::core_away());
    }
    let expires_at = client.caller.expires_at().map(|at| {
        let left = at
            .duration_since(std::time::SystemTime::now())
            .unwrap_or_default();
        Instant::now() + left
    });
    let place = context.registry.open(&client.id)?;
    let mut stream = Stream {
        client: json::to_vec(&client.id).into(),
        recipient: client.id,
        filters: Filters::new(&topics),
        topics,
        cursor: after,
        place,
        at: At::Behind { tried: 0 },
        ready: VecDeque::from([sse::retry(context.settings.retry)]),
        quiet_since: Instant::now(),
        opened: Instant::now(),
        sent: 0,
        expires_at,
        request_id,
        context,
    };
    // Nothing is promised before the core has answered: until then a refusal can be a plain one.
    let first = timeout(stream.context.settings.open_timeout, stream.first()).await;
    first.map_err(|_| ApiError::core_away())??;
    let frames = stream::unfold(Some(stream), |stream| async {
        let mut stream = stream?;
        let (frame, goes_on) = stream.next_frame().await;
        Some((Ok::<Bytes, Infallible>(frame), goes_on.then_some(stream)))
    });
    let head = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would buffer otherwise.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((head, Body::from_stream(frames)).into_response())
}

/// Where the reader stands: the header that browsers send, or the parameter.
fn resume_from(headers: &HeaderMap, query: &Query) -> Result<Option<u64>, ApiError> {
    let allowed = "a cursor, as the stream's ids are";
    if let Some(value) = headers
        .get("last-event-id")
        .filter(|value| !value.is_empty())
    {
        let text = String::from_utf8_lossy(value.as_bytes());
        return number("Last-Event-ID", &text, allowed).map(Some);
    }
    match query.number("lastEventID", allowed)? {
        Some(cursor) => Ok(Some(cursor)),
        // As event-source-polyfill spells it.
        None => query.number("lastEventId", allowed),
    }
}

struct Stream {
    context: Arc<Context>,
    request_id: RequestId,
    recipient: String,
    /// The recipient as JSON.
    client: Bytes,
    topics: Vec<String>,
    filters: Filters,
    /// The last sequence handed out; `None`: the reader comes from nowhere.
    cursor: Option<u64>,
    place: Open,
    at: At,
    /// Frames to be handed out next.
    ready: VecDeque<Bytes>,
    quiet_since: Instant,
    opened: Instant,
    sent: u64,
    expires_at: Option<Instant>,
}

enum At {
    /// Entries have passed by: the store is to be read from the cursor.
    Behind {
        tried: u32,
    },
    /// A page of the store is being read, up to the present if it is that short.
    CatchingUp(Box<CatchUp>),
    Live,
}

struct CatchUp {
    messages: Streaming<SubscribeResponse>,
    /// Bytes of frames so far.
    bytes: usize,
    context: Arc<Context>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        self.context.metrics.catching_up.dec();
    }
}

impl Stream {
    /// Gets as far as `opened`, and as much further as is there already.
    async fn first(&mut self) -> Result<(), ApiError> {
        let mut catch_up = loop {
            match self.subscribe().await {
                Ok(catch_up) => break catch_up,
                Err(status) if status.code() == Code::Unavailable => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(status) => return Err(status.into()),
            }
        };
        let Some(opened) = catch_up.messages.message().await? else {
            return Err(ApiError::core_away());
        };
        self.cursor = Some(opened.cursor);
        self.ready.extend(sse::caught_up(&opened));
        self.at = At::CatchingUp(catch_up);
        if timeout(FIRST_PAGE, self.advance()).await.is_err() {
            self.let_go();
        }
        Ok(())
    }

    /// Ends a call to the core that goes on: what it would have brought is read again.
    fn let_go(&mut self) {
        if matches!(self.at, At::CatchingUp(_)) {
            self.at = At::Behind { tried: 0 };
        }
    }

    /// The next bytes, and whether more follow.
    async fn next_frame(&mut self) -> (Bytes, bool) {
        if let Some(frame) = self.ready.pop_front() {
            return (frame, true);
        }
        let context = self.context.clone();
        let heartbeat = self.quiet_since + context.settings.heartbeat;
        let ended = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => {
                let retry = Duration::from_millis(fastrand::u64(1_000..5_000));
                Some(sse::closing("shutdown", Some(retry)))
            }
            () = expiry(self.expires_at) => Some(sse::closing("token-expired", None)),
            () = self.advance() => None,
            () = sleep_until(heartbeat) => {
                self.let_go();
                self.ready.push_back(sse::HEARTBEAT);
                None
            }
        };
        self.quiet_since = Instant::now();
        match (ended, self.ready.pop_front()) {
            (Some(closing), _) => (closing, false),
            (None, frame) => (frame.unwrap_or_default(), true),
        }
    }

    /// Goes on until there are frames, and to the end of a page. Can be dropped at any wait
    /// without losing something.
    async fn advance(&mut self) {
        loop {
            match &mut self.at {
                At::CatchingUp(catch_up) => match catch_up.messages.message().await {
                    Ok(Some(message)) => self.caught_up(&message),
                    Ok(None) => self.at = At::Live,
                    Err(status) => self.failed(&status),
                },
                _ if !self.ready.is_empty() => return,
                At::Live => match self.place.mailbox.next().await {
                    Mail::Event(event) => self.take(&event),
                    Mail::Behind => self.at = At::Behind { tried: 0 },
                },
                At::Behind { tried } => {
                    let wait = Duration::from_millis(50) * 2_u32.saturating_pow(*tried);
                    let wait = wait.min(BACKOFF_MAX).mul_f64(fastrand::f64());
                    if *tried > 0 {
                        tokio::time::sleep(wait).await;
                    }
                    match self.subscribe().await {
                        Ok(catch_up) => self.at = At::CatchingUp(catch_up),
                        Err(status) => self.failed(&status),
                    }
                }
            }
        }
    }

    /// Reads the store from the cursor on, up to the present. What comes after that waits in the
    /// mailbox.
    async fn subscribe(&self) -> Result<Box<CatchUp>, Status> {
        self.place.resume().await;
        let context = &self.context;
        let turn = context.catch_ups.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::unavailable("shutting down"))?;
        let request = SubscribeRequest {
            recipient_id: self.recipient.clone(),
            after: self.cursor,
            topics: self.topics.clone(),
            until_current: true,
        };
        let request = context.core.stream(&self.request_id.0, request)?;
        let mut client = context.core.catch_ups();
        let messages = timeout(context.settings.call_timeout, client.subscribe(request)).await;
        let too_late = |_| Status::deadline_exceeded("the core did not answer in time");
        let messages = messages.map_err(too_late)??.into_inner();
        context.metrics.catching_up.inc();
        Ok(Box::new(CatchUp {
            messages,
            bytes: 0,
            context: context.clone(),
            _turn: turn,
        }))
    }

    fn failed(&mut self, status: &Status) {
        tracing::debug!(code = ?status.code(), message = status.message(), "catch-up failed");
        let tried = match self.at {
            At::Behind { tried } => tried + 1,
            _ => 1,
        };
        self.at = At::Behind { tried };
    }

    fn caught_up(&mut self, message: &SubscribeResponse) {
        if let Some(subscribe_response::Change::Opened(opened)) = &message.change {
            // The browser knows of its opening; it is told again only what it has to know.
            if opened.complete {
                return;
            }
        }
        self.cursor = Some(message.cursor);
        let Some(frame) = sse::caught_up(message) else {
            return;
        };
        self.sent += 1;
        self.context.metrics.delivered.inc();
        if let At::CatchingUp(catch_up) = &mut self.at {
            catch_up.bytes += frame.len();
            if catch_up.bytes >= PAGE_BYTES {
                self.let_go();
            }
        }
        self.ready.push_back(frame);
    }

    fn take(&mut self, event: &sse::Event) {
        if self.cursor.is_some_and(|cursor| event.cursor <= cursor) {
            return;
        }
        self.cursor = Some(event.cursor);
        let now = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as u64)
        };
        let is_wanted = event
            .topic
            .as_ref()
            .is_none_or(|topic| self.filters.matches(topic))
            && event.expires_at.is_none_or(|expires_at| expires_at > now());
        if is_wanted {
            self.sent += 1;
            self.context.metrics.delivered.inc();
            self.ready.extend(event.frames(&self.client));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let seconds = self.opened.elapsed().as_secs_f64();
        tracing::info!(request_id = %self.request_id.0, seconds, entries = self.sent, "stream ended");
    }
}

async fn expiry(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
