//! Connections: accepted, spoken HTTP with, and for a stream taken over.
//!
//! hyper reads requests and writes answers. For a stream its buffers and its state would be most of
//! what an open stream costs, so the socket is taken out of it once the request is read, and the
//! stream is written straight to it (`delivery.rs`). Over TLS it is taken out with its TLS; over
//! HTTP/2 a stream is one of many on its connection (`h2.rs`).

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::SystemTime,
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Method, Request, Response, Version, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mercurio_net::{Stream, speaks_h2};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    Context,
    abuse::OfSource,
    access::Remote,
    closing::Closing,
    delivery::Delivery,
    demo::FromThisMachine,
    feed::{Feed, Handover},
    h2,
    mailbox::End,
    metrics::Limit,
    patience::Patient,
    socket::Socket,
};

/// Connections beyond the streams: short calls, and the next stream of who reconnects.
pub(crate) const SPARE_CONNECTIONS: usize = 1024;
/// Bytes of a request's head: a token of 8 KiB fits twice.
pub(crate) const HEAD_MAX: usize = 24 << 10;

/// Serves connections until shutdown; open streams are told and ended, and clients that don't read
/// are cut after the grace.
pub(crate) async fn accept(context: &Arc<Context>, listener: TcpListener, router: Router) {
    let settings = &context.settings;
    let room = (settings.streams_max + SPARE_CONNECTIONS).min(settings.connections_max);
    let room = Arc::new(Semaphore::new(room));
    let open = Arc::new(Connections::new(context, router));
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = context.shutdown.cancelled() => break,
            next = next => next,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((socket, remote))) => {
                let Ok(of_source) = admit(context, remote.ip()) else {
                    // Before TLS there is no word for why.
                    context.metrics.limited(Limit::AddressConnections);
                    continue;
                };
                context.metrics.connections.inc();
                let counted = Counted {
                    context: context.clone(),
                    _permit: permit,
                    _of_source: of_source,
                };
                let peer = Peer {
                    remote,
                    is_local: settings.demo.is_some() && is_from_here(remote),
                };
                open.tasks.spawn(serve(open.clone(), socket, peer, counted));
            }
            (_, Err(error)) => {
                // Most often out of file descriptors: some come back when connections close.
                tracing::error!(%error, "accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            // Never closed.
            (Err(_), _) => break,
        }
    }
    drop(listener);
    context.registry.end(End::Closing(Closing::Shutdown));
    open.tasks.close();
    let ended = timeout(settings.shutdown_grace, open.tasks.wait()).await;
    if ended.is_err() {
        tracing::warn!(open = open.tasks.len(), "clients that do not read are cut");
        open.cut.cancel();
        context.registry.end(End::Cut);
        open.tasks.wait().await;
    }
}

/// The open connections, and what they share.
pub(crate) struct Connections {
    pub context: Arc<Context>,
    pub router: Router,
    pub tasks: TaskTracker,
    cut: CancellationToken,
}

impl Connections {
    pub fn new(context: &Arc<Context>, router: Router) -> Self {
        Self {
            context: context.clone(),
            router,
            tasks: TaskTracker::new(),
            cut: CancellationToken::new(),
        }
    }
}

/// A stream's answer, whose connection is to be taken over.
struct Taken {
    feed: Feed,
    head: Bytes,
    chunked: bool,
}

/// Held as long as a connection is open.
struct Counted {
    context: Arc<Context>,
    _permit: OwnedSemaphorePermit,
    _of_source: Option<OfSource>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.context.metrics.connections.dec();
    }
}

/// Counts a connection of this address'; a proxy's are not counted. An error: there are too many.
fn admit(context: &Context, address: IpAddr) -> Result<Option<OfSource>, ()> {
    let abuse = &context.abuse;
    if abuse.proxies.is_trusted(address) {
        return Ok(None);
    }
    abuse.connections.open(address.into()).map(Some).ok_or(())
}

async fn serve(open: Arc<Connections>, socket: TcpStream, peer: Peer, counted: Counted) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "set TCP_NODELAY");
    }
    tokio::select! {
        () = open.cut.cancelled() => {}
        taken = speak(&open, socket, peer) => {
            if let Some((Taken { feed, head, chunked }, socket)) = taken {
                // A task of its own: this one is as large as hyper's connection.
                let delivery = Delivery::new(feed, socket, Some(head), chunked);
                open.tasks.spawn(async move {
                    let _counted = counted;
                    delivery.await;
                });
            }
        }
    }
}

/// Speaks what the client does: HTTP/1.1, or over TLS what it chooses.
async fn speak(open: &Arc<Connections>, socket: TcpStream, peer: Peer) -> Option<(Taken, Socket)> {
    let settings = &open.context.settings;
    let Some(tls) = &settings.tls else {
        let (taken, socket) = requests(open, socket, peer).await?;
        return Some((taken, Socket::Plain(socket)));
    };
    // Boxed: this task is as large as what it may have to do.
    let stream = match timeout(settings.read_timeout, Box::pin(tls.accept(socket))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!("the TLS handshake took too long");
            return None;
        }
    };
    if speaks_h2(&stream) {
        Box::pin(h2::requests(open, stream, peer)).await;
        return None;
    }
    let (taken, stream) = Box::pin(requests(open, stream, peer)).await?;
    Some((taken, Socket::Other(Box::new(stream))))
}

/// Answers requests, until the connection ends or one of them is for a stream.
async fn requests<S: Stream + 'static>(
    open: &Connections,
    socket: S,
    peer: Peer,
) -> Option<(Taken, S)> {
    let taken: Mutex<Option<Taken>> = Mutex::new(None);
    let patience = open.context.settings.read_timeout;
    let service = service_fn(|mut request: Request<Incoming>| {
        peer.mark(&mut request);
        answer(&open.router, &taken, request)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(open.context.settings.read_timeout)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(Patient::new(socket, patience)), service);
    let mut shutdown = pin!(open.context.shutdown.cancelled());
    let mut is_ending = false;
    let ended = poll_fn(|task| {
        if !is_ending && shutdown.as_mut().poll(task).is_ready() {
            is_ending = true;
            std::pin::Pin::new(&mut connection).graceful_shutdown();
        }
        let ended = std::pin::Pin::new(&mut connection).poll(task);
        match taken.lock().take() {
            Some(taken) => Poll::Ready(Ok(Some(taken))),
            None => ended.map_ok(|()| None),
        }
    });
    match ended.await {
        Ok(Some(taken)) => {
            // The request is read; what the client sent behind it is of no interest. Who asked for
            // a stream before taking the answers to earlier requests gets neither.
            let socket = connection.into_parts().io.into_inner().into_idle()?;
            Some((taken, socket))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::debug!(%error, "connection ended");
            None
        }
    }
}

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    remote: SocketAddr,
    /// It is on this machine, and that matters.
    is_local: bool,
}

impl Peer {
    #[cfg(test)]
    pub fn from_elsewhere() -> Self {
        Self {
            remote: SocketAddr::from(([192, 0, 2, 1], 1)),
            is_local: false,
        }
    }

    /// What its requests are told apart by.
    pub fn mark(self, request: &mut Request<Incoming>) {
        request.extensions_mut().insert(Remote(self.remote));
        if self.is_local {
            request.extensions_mut().insert(FromThisMachine);
        }
    }
}

fn is_from_here(remote: SocketAddr) -> bool {
    remote.ip().to_canonical().is_loopback()
}

/// The answer to a request; and where it is a stream's head, the stream.
pub(crate) async fn route(
    router: &Router,
    request: Request<Incoming>,
) -> Result<(Response<Body>, Option<Feed>), Infallible> {
    let method = request.method().clone();
    let mut response = router.clone().oneshot(request.map(Body::new)).await?;
    let handover = response.extensions_mut().remove::<Handover>();
    let feed = handover
        .filter(|_| method == Method::GET)
        .and_then(|handover| handover.take());
    Ok((response, feed))
}

/// Answers a request; where the answer is a stream, it is left in `taken`, and hyper never gets to
/// see an answer.
async fn answer(
    router: &Router,
    taken: &Mutex<Option<Taken>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let chunked = request.version() >= Version::HTTP_11;
    let (response, feed) = route(router, request).await?;
    let Some(feed) = feed else {
        return Ok(response);
    };
    *taken.lock() = Some(Taken {
        head: head(&response, chunked),
        feed,
        chunked,
    });
    std::future::pending().await
}

/// The head of an answer whose body is a stream: in chunks, so that a client can tell an end from
/// an accident, or for HTTP/1.0 up to the connection's end.
fn head(response: &Response<Body>, chunked: bool) -> Bytes {
    let mut head = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    // axum takes the empty answer at its word; how this body is framed is said below.
    let framing = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
    ];
    let headers = response.headers().iter();
    for (name, value) in headers.filter(|(name, _)| !framing.contains(name)) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let mut rest = String::new();
    // Writing to a string can't fail.
    let _ = write!(
        rest,
        "date: {}\r\n",
        httpdate::fmt_http_date(SystemTime::now())
    );
    if chunked {
        rest.push_str("transfer-encoding: chunked\r\n");
    }
    rest.push_str("connection: close\r\n\r\n");
    head.extend_from_slice(rest.as_bytes());
    head.into()
}
