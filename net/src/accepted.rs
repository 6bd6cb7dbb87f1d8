//! A connection that was accepted: plain, a pipe, or TLS, whose handshake happens when it is first
//! read or written, in the connection's own time.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{Accept, server::TlsStream};

use crate::{
    dial::Stream,
    server::{ServerTls, client_names},
};

/// The names in a client's certificate; known when the handshake is through, and so before
/// anything that the client says.
#[derive(Clone, Default)]
pub struct PeerNames(Arc<OnceLock<Vec<String>>>);

impl PeerNames {
    /// The DNS names and URIs; none where there is no certificate.
    #[must_use]
    pub fn all(&self) -> &[String] {
        self.0.get().map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for PeerNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().fmt(f)
    }
}

/// A connection that was accepted.
pub struct Accepted {
    io: Io,
    names: PeerNames,
}

enum Io {
    Plain(TcpStream),
    Pipe(DuplexStream),
    Shaking(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Accepted {
    /// A connection, over TLS where there is a certificate.
    #[must_use]
    pub fn tcp(tcp: TcpStream, tls: Option<&ServerTls>) -> Self {
        let io = match tls {
            Some(tls) => Io::Shaking(Box::new(tls.accept(tcp))),
            None => Io::Plain(tcp),
        };
        Self {
            io,
            names: PeerNames::default(),
        }
    }

    /// A pipe from this process.
    #[must_use]
    pub fn pipe(pipe: DuplexStream) -> Self {
        Self {
            io: Io::Pipe(pipe),
            names: PeerNames::default(),
        }
    }

    /// Who the client is by its certificate.
    #[must_use]
    pub fn names(&self) -> PeerNames {
        self.names.clone()
    }

    /// What is spoken over, once the handshake is through.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Stream>>> {
        if let Io::Shaking(accept) = &mut self.io {
            let tls = ready!(Pin::new(accept.as_mut()).poll(cx))?;
            // Set once: there is one handshake.
            let _ = self.names.0.set(client_names(&tls));
            self.io = Io::Tls(Box::new(tls));
        }
        let io: &mut dyn Stream = match &mut self.io {
            Io::Plain(tcp) => tcp,
            Io::Pipe(pipe) => pipe,
            Io::Tls(tls) => tls,
            // Done above.
            Io::Shaking(_) => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        Poll::Ready(Ok(Pin::new(io)))
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_io(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_io(cx))?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_io(cx))?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        // Pipes alone are not; they take the first slice.
        !matches!(self.io, Io::Pipe(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_io(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            // Nothing has been said yet that there could be an end to.
            Io::Shaking(_) => Poll::Ready(Ok(())),
            _ => ready!(self.poll_io(cx))?.poll_shutdown(cx),
        }
    }
}
