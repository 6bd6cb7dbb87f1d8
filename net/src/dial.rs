//! How a client reaches a core: over TCP, with TLS where the address says `https`, or by a pipe to
//! the core of its own process.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::TcpStream,
    sync::mpsc,
};
use tower::Service;

use crate::client::ClientTls;

/// Bytes on their way through a pipe, each way.
const PIPE_BYTES: usize = 64 << 10;
/// Pipes that may wait to be accepted.
const PIPES_WAITING: usize = 16;

/// How connections are made. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Dial {
    /// Over TCP; where the address says `https`, with this TLS.
    Tcp(Option<ClientTls>),
    /// Whatever the address says, to the core of this process.
    Pipe(mpsc::Sender<DuplexStream>),
}

/// Connections that come by pipe.
pub type Incoming = mpsc::Receiver<DuplexStream>;

/// The two ends of a link in one process.
#[must_use]
pub fn pipe() -> (Dial, Incoming) {
    let (dial, incoming) = mpsc::channel(PIPES_WAITING);
    (Dial::Pipe(dial), incoming)
}

/// What bytes are read from and written to.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that was made.
pub type Dialed = Box<dyn Stream>;

impl Dial {
    /// Makes a connection to the host and port of this address.
    ///
    /// # Errors
    /// Nobody is there, or the handshake failed; says which.
    pub async fn connect(&self, to: &Uri) -> io::Result<Dialed> {
        let tls = match self {
            Self::Tcp(tls) => tls,
            Self::Pipe(accepting) => {
                let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                let sent = accepting.send(theirs).await;
                sent.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
                return Ok(Box::new(ours));
            }
        };
        let host = to
            .host()
            .ok_or_else(|| io::Error::other("the address has no host"))?;
        let is_secure = to.scheme_str() == Some("https");
        let port = to.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((bare, port)).await?;
        tcp.set_nodelay(true)?;
        match tls {
            Some(tls) if is_secure => Ok(Box::new(tls.connect(host, tcp).await?)),
            None if is_secure => Err(io::Error::other("there is no TLS to speak https with")),
            _ => Ok(Box::new(tcp)),
        }
    }
}

/// As hyper and tonic make connections.
impl Service<Uri> for Dial {
    type Response = TokioIo<Dialed>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { dial.connect(&to).await.map(TokioIo::new) })
    }
}
