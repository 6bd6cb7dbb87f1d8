//! HTTP/2: many streams on one connection, each the body of an answer.
//!
//! A stream is delivered as on a socket of its own (`delivery.rs`), into a pipe that the body is
//! read from: the same words at its end, the same patience. Answers that the client doesn't take
//! are given up (`mercurio_net::answers`).

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mercurio_net::{Answer, Answers, Stream, Untaken};
use tokio::time::{Instant, interval, sleep};
use tokio_util::io::ReaderStream;

use crate::{
    connection::{Connections, HEAD_MAX, Peer, route},
    delivery::Delivery,
    feed::Feed,
    patience::Patient,
    socket::Socket,
};

/// Requests open at once on one connection; a client waits with more, or opens another.
const REQUESTS: u32 = 256;
/// Bytes of a stream on their way to its body.
const PIPE_BYTES: usize = 16 << 10;
/// Bytes of an answer that wait for the client to take them.
const UNSENT_MAX: usize = 64 << 10;
/// Bytes of a body that are on their way, of one request and of all on a connection.
const REQUEST_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Requests that were taken back before they were looked at: more, and the connection is ended.
const RESETS: usize = 20;
/// A connection on which nothing was asked for so long, and nothing is open, is ended.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// What a connection has to do.
#[derive(Default)]
struct Work {
    /// Requests so far.
    asked: AtomicUsize,
    /// Of them, those that are not answered.
    open: AtomicUsize,
    /// What is on its way of the others, and their streams.
    answers: Answers<Body>,
}

impl Work {
    fn is_busy(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0 || self.answers.are_open()
    }
}

/// Held until a request is answered.
struct Asked(Arc<Work>);

impl Asked {
    fn new(work: &Arc<Work>) -> Self {
        work.asked.fetch_add(1, Ordering::Relaxed);
        work.open.fetch_add(1, Ordering::Relaxed);
        Self(work.clone())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers requests until the connection ends, or has long been idle.
pub(crate) async fn requests(open: &Arc<Connections>, socket: impl Stream + 'static, peer: Peer) {
    let work = Arc::new(Work::default());
    let service = {
        let (open, work) = (open.clone(), work.clone());
        service_fn(move |request| answer(open.clone(), Asked::new(&work), request, peer))
    };
    let patience = open.context.settings.read_timeout;
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        // A client in the middle of a frame, or of a head, can't answer: so this ends those who
        // send slowly too.
        .keep_alive_interval(patience * 2)
        .keep_alive_timeout(patience)
        .initial_stream_window_size(REQUEST_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(RESETS)
        .max_concurrent_streams(REQUESTS)
        .max_header_list_size(HEAD_MAX as u32)
        .max_send_buf_size(UNSENT_MAX)
        .serve_connection(TokioIo::new(Patient::new(socket, patience)), service);
    let mut connection = pin!(connection);
    let mut shutdown = pin!(open.context.shutdown.cancelled());
    let mut untaken = Untaken::new(&work.answers, patience);
    // Until something is asked; and when it is ending, until it has.
    let mut waiting = pin!(sleep(patience));
    let mut look = interval(IDLE);
    look.reset();
    let mut asked = 0;
    let mut is_ending = false;
    let ended = poll_fn(|task| {
        if untaken.poll(task).is_ready() {
            tracing::debug!("the client does not take its answers");
            return Poll::Ready(Ok(()));
        }
        let mut is_idle = false;
        let waits = is_ending || work.asked.load(Ordering::Relaxed) == 0;
        while waits && waiting.as_mut().poll(task).is_ready() {
            if is_ending && !work.is_busy() {
                // hyper waits for answers that nobody takes, and for who has not even said that
                // they speak HTTP/2.
                return Poll::Ready(Ok(()));
            }
            is_idle = true;
            waiting.as_mut().reset(Instant::now() + patience * 2);
        }
        while look.poll_tick(task).is_ready() {
            let before = std::mem::replace(&mut asked, work.asked.load(Ordering::Relaxed));
            is_idle |= asked == before && !work.is_busy();
        }
        if !is_ending && (is_idle || shutdown.as_mut().poll(task).is_ready()) {
            is_ending = true;
            waiting.as_mut().reset(Instant::now() + patience * 2);
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(task)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer(
    open: Arc<Connections>,
    asked: Asked,
    mut request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<Answer<Body>>, Infallible> {
    peer.mark(&mut request);
    // What HTTP/1.1 has in Host stands in the address.
    let authority = request.uri().authority().map(|host| host.as_str());
    if let Some(Ok(host)) = authority.map(HeaderValue::from_str) {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    let (mut response, feed) = route(&open.router, request).await?;
    let answers = &asked.0.answers;
    let body = match feed {
        Some(feed) => {
            // axum takes the empty answer at its word.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            stream(&open, feed, answers)
        }
        None => answers.body(std::mem::take(response.body_mut())),
    };
    Ok(response.map(|_| body))
}

fn stream(open: &Connections, feed: Feed, answers: &Answers<Body>) -> Answer<Body> {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let delivery = Delivery::new(feed, Socket::Other(Box::new(ours)), None, false);
    let writing = Arc::new(());
    let body = Body::from_stream(ReaderStream::new(theirs));
    let body = answers.stream(body, &writing);
    open.tasks.spawn(async move {
        let _writing = writing;
        delivery.await;
    });
    body
}
