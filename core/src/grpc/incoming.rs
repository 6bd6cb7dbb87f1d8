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
use mercurio_net::{Accepted, Incoming, PeerNames, ServerTls};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::{
    metrics::{Metrics, Raised},
    settings::Transport,
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
    /// The next connection, and where it comes from. Cancelling it loses none.
    async fn next(&mut self) -> io::Result<(Accepted, Option<SocketAddr>)> {
        let piped = async {
            match &mut self.pipes {
                Some(pipes) => pipes.recv().await,
                None => None,
            }
        };
        tokio::select! {
            Some(pipe) = piped => Ok((Accepted::pipe(pipe), None)),
            accepted = self.listener.accept() => {
                let (tcp, address) = accepted?;
                if let Err(error) = tcp.set_nodelay(true) {
                    tracing::debug!(%error, "set TCP_NODELAY");
                }
                Ok((Accepted::tcp(tcp, self.tls.as_ref()), Some(address)))
            }
        }
    }
}

/// Accepts connections for ever, as many at once as the settings allow.
pub(super) fn accept(
    door: Door,
    transport: &Transport,
    metrics: Arc<Metrics>,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> + use<> {
    let room = Arc::new(Semaphore::new(transport.connections));
    let handshake = transport.handshake_timeout;
    stream::unfold((door, room, metrics, cut), move |mut open| async move {
        let (door, room, metrics, cut) = &mut open;
        // Never closed.
        let permit = room.clone().acquire_owned().await.ok()?;
        let (io, address) = loop {
            match door.next().await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    sleep(REST).await;
                }
            }
        };
        let connection = Connection {
            io,
            address,
            cut: Box::pin(cut.clone().cancelled_owned()),
            silence: Some((Box::pin(sleep(handshake)), PREFACE_BYTES)),
            _permit: permit,
            _shown: Raised::new(&metrics.connections),
        };
        Some((Ok(connection), open))
    })
}

/// A connection that ends when it is cut, or when its client says nothing at the beginning.
pub(super) struct Connection {
    io: Accepted,
    address: Option<SocketAddr>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until when the client must have sent how many more bytes, with TLS behind its handshake.
    silence: Option<(Pin<Box<Sleep>>, usize)>,
    _permit: OwnedSemaphorePermit,
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
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer {
            names: self.io.names(),
            address: self.address,
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
