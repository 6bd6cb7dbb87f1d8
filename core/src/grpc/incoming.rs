//! Connections: a bounded number of them, each of which can be cut.
//!
//! A graceful shutdown waits for every connection, and one whose client doesn't read never ends
//! by itself: nothing of its streams is polled while there is no room to write. Cutting is what
//! remains then.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{self, Stream};
use mercurio_auth::ClientScopes;
use mercurio_net::{
    Accepted, Answers, Counted, Counts, Incoming, PeerNames, ServerTls, Source, Untaken,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{body::Body, transport::server::Connected};

use crate::{
    metrics::{Metrics, Raised},
    settings::Transport,
};

use super::{
    ends::PER_CONNECTION,
    idle::{Calls, Idle},
};

/// What HTTP/2 begins with has this many bytes.
const PREFACE_BYTES: usize = 24;
/// How long accepting rests after an error, such as too many open files.
const REST: Duration = Duration::from_millis(100);

/// Where connections come in. A listener alone is a plain one.
pub struct Door {
    /// From other processes.
    pub listener: TcpListener,
    /// The listener's certificate; `None`: it is plain.
    pub tls: Option<ServerTls>,
    /// What clients may do without a token, by the names in their certificates.
    pub clients: ClientScopes,
    /// From the gateway in this process.
    pub pipes: Option<Incoming>,
}

impl From<TcpListener> for Door {
    fn from(listener: TcpListener) -> Self {
        Self {
            listener,
            tls: None,
            clients: ClientScopes::default(),
            pipes: None,
        }
    }
}

impl Door {
    /// The next connection; from where, and its place, where it is from another process: however
    /// many those have, the gateway in this one is let in. Cancelling it loses none.
    async fn next(
        &mut self,
        room: &Arc<Semaphore>,
    ) -> io::Result<(Accepted, Option<(SocketAddr, OwnedSemaphorePermit)>)> {
        let piped = async {
            match &mut self.pipes {
                Some(pipes) => pipes.recv().await,
                None => None,
            }
        };
        let accepted = async {
            let place = room.clone().acquire_owned().await;
            let place = place.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, self.listener.accept().await?))
        };
        tokio::select! {
            Some(pipe) = piped => Ok((Accepted::pipe(pipe), None)),
            accepted = accepted => {
                let (place, (tcp, address)) = accepted?;
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "set TCP_NODELAY");
                }
                Ok((Accepted::tcp(tcp, self.tls.as_ref()), Some((address, place))))
            }
        }
    }
}

/// Accepts connections for ever, from other processes as many at once as the settings allow.
pub(super) fn accept(
    door: Door,
    transport: &Transport,
    metrics: Arc<Metrics>,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let room = Arc::new(Semaphore::new(transport.connections));
    let each = Arc::new(Counts::new(transport.connections_per_address));
    let handshake = transport.handshake_timeout;
    let (idle, patience) = (transport.connection_idle, transport.call_timeout);
    stream::unfold(
        (door, room, each, metrics, cut),
        move |mut open| async move {
            let (door, room, each, metrics, cut) = &mut open;
            let (io, from, of_source) = loop {
                match door.next(room).await {
                    Ok((io, from)) => {
                        let address = from.as_ref().map(|(address, _)| address.ip());
                        let counted = address.map(|address| each.open(address.into()));
                        match counted {
                            // It is closed as it goes out of scope.
                            Some(None) => metrics.refused("TOO_MANY_CONNECTIONS"),
                            counted => break (io, from, counted.flatten()),
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept a connection");
                        sleep(REST).await;
                    }
                }
            };
            let (address, place) = from.unzip();
            let calls = Calls::default();
            let answers = Answers::default();
            let connection = Connection {
                io,
                address,
                idle: place.is_some().then(|| Idle::new(&calls, idle)),
                calls,
                untaken: Untaken::new(&answers, patience),
                answers,
                cut: Box::pin(cut.clone().cancelled_owned()),
                silence: Some((Box::pin(sleep(handshake)), PREFACE_BYTES)),
                _place: place,
                _of_source: of_source,
                _shown: Raised::new(&metrics.connections),
            };
            Some((Ok(connection), open))
        },
    )
}

/// A connection that ends when it is cut, when its client says nothing at the beginning or takes no
/// answers, or when nothing has long been called.
pub(super) struct Connection {
    io: Accepted,
    address: Option<SocketAddr>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until when the client must have sent how many more bytes, with TLS behind its handshake.
    silence: Option<(Pin<Box<Sleep>>, usize)>,
    calls: Calls,
    answers: Answers<Body>,
    untaken: Untaken<Body>,
    /// `None`: it is a pipe.
    idle: Option<Idle>,
    _place: Option<OwnedSemaphorePermit>,
    _of_source: Option<Counted<Source>>,
    _shown: Raised,
}

impl Connection {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the service ended",
            ));
        }
        if let Some((deadline, _)) = &mut self.silence
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client says nothing",
            ));
        }
        if self.untaken.poll(cx).is_ready() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not take its answers",
            ));
        }
        if let Some(idle) = &mut self.idle
            && idle.poll(cx).is_ready()
        {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client calls nothing",
            ));
        }
        Ok(())
    }
}

/// The other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    /// In its certificate: asked for before the handshake, and filled in by it.
    pub names: PeerNames,
    /// `None`: it is the gateway in this process.
    pub address: Option<SocketAddr>,
    /// What it calls.
    pub calls: Calls,
    /// And what of that it has to take.
    pub answers: Answers<Body>,
    /// The room for its streams of services that are not ours.
    pub others: Arc<Semaphore>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            names: self.io.names(),
            address: self.address,
            calls: self.calls.clone(),
            answers: self.answers.clone(),
            others: Arc::new(Semaphore::new(PER_CONNECTION)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some((_, missing)) = &mut self.silence {
            *missing = missing.saturating_sub(buf.filled().len() - before);
            if *missing == 0 {
                self.silence = None;
            }
        }
        polled
    }
}

/// Checked here too: a connection that waits for room to write may not be reading.
impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::{net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn the_gateway_in_this_process_needs_no_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pipes, incoming) = tokio::sync::mpsc::channel(1);
        let door = Door {
            pipes: Some(incoming),
            ..Door::from(listener)
        };
        let transport = Transport {
            connections: 1,
            ..Transport::default()
        };
        let metrics = Arc::new(Metrics::default());
        let mut connections = Box::pin(accept(door, &transport, metrics, CancellationToken::new()));
        let _client = TcpStream::connect(address).await.unwrap();
        let only = connections.next().await.unwrap().unwrap();
        assert!(only.address.is_some());
        pipes.send(tokio::io::duplex(1).0).await.unwrap();
        let pipe = timeout(Duration::from_secs(60), connections.next()).await;
        assert!(pipe.unwrap().unwrap().unwrap().address.is_none());
    }
}
