//! What a stream is written to: a socket, taken as it is; or whatever else takes bytes: TLS over a
//! socket, or a pipe to a stream of HTTP/2.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use mercurio_net::Stream;
use rustix::net::{SendFlags, send};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

pub(crate) enum Socket {
    Plain(TcpStream),
    Other(Box<dyn Stream>),
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl Socket {
    /// Writes what is taken at once. The kernel is asked whatever tokio has noted of the socket, which
    /// would be more memory to look at; [`Socket::poll_write`] waits for what it does not take.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // It doesn't block, and SIGPIPE is ignored, as in each program of Rust's.
            Self::Plain(socket) => Ok(send(socket, bytes, SendFlags::empty())?),
            // Written together with what comes, and flushed.
            Self::Other(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Writes what is taken at once of several pieces, if tokio takes the socket for ready.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write_vectored(slices),
            Self::Other(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether it is a socket, taken as it is.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub fn poll_write(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => loop {
                ready!(socket.poll_write_ready(task))?;
                match socket.try_write_vectored(slices) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written),
                }
            },
            Self::Other(stream) => Pin::new(stream).poll_write_vectored(task, slices),
        }
    }

    /// Until all that was written is on its way.
    pub fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    /// Says that nothing more comes, where that is said: a socket is just closed.
    pub fn poll_end(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }

    /// The bytes that were read; 0 at the end.
    pub fn poll_read(
        &mut self,
        task: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => loop {
                ready!(socket.poll_read_ready(task))?;
                match socket.try_read(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read),
                }
            },
            Self::Other(stream) => {
                let mut buffer = ReadBuf::new(into);
                ready!(Pin::new(stream).poll_read(task, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
        }
    }
}
