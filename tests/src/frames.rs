//! HTTP/2 frame by frame over a raw connection, as no client library would send them. What comes
//! back is looked at frame by frame too, and no head in it is decoded.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::wait::{SOON, within};

/// What an HTTP/2 connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags of frames.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// How long a flood waits for the other end to take more, before it is called stalled.
const STALL: Duration = Duration::from_secs(2);

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of headers: each a literal that is not indexed, without Huffman's code.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer of HPACK with a prefix of seven bits.
fn integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        block.push(value as u8);
        return;
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A message of gRPC: the flag for compressed, the length that is said, and what comes.
pub fn message(flag: u8, said: u32, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![flag];
    message.extend(said.to_be_bytes());
    message.extend(bytes);
    message
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection.
pub struct Raw {
    read: ReadHalf<Box<dyn Io>>,
    write: WriteHalf<Box<dyn Io>>,
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// The other end cut it.
    Cut,
    /// The other end takes no more.
    Stalled,
    /// All of it was taken.
    Taken,
}

impl Raw {
    /// A connection; with this authority over TLS, and HTTP/2 agreed on in it.
    pub async fn connect(to: SocketAddr, ca: Option<&Path>) -> io::Result<Raw> {
        let tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        let io: Box<dyn Io> = match ca {
            None => Box::new(tcp),
            Some(ca) => {
                let name = ServerName::IpAddress(to.ip().into());
                Box::new(connector(ca).connect(name, tcp).await?)
            }
        };
        let (read, write) = tokio::io::split(io);
        Ok(Raw { read, write })
    }

    /// Sends bytes; an error where the other end has gone.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }

    /// Sends what a connection begins with.
    pub async fn begin(&mut self) -> io::Result<()> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        self.send(&bytes).await
    }

    /// The next frame: its kind, flags, stream and payload.
    pub async fn next(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.read.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.read.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
        Ok((head[3], head[4], stream, payload))
    }

    /// Waits until this stream is answered to its end, or taken back. An error where the
    /// connection ended before.
    pub async fn answered(&mut self, stream: u32) -> io::Result<()> {
        loop {
            let (kind, flags, of, _) = self.next().await?;
            let is_end = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
            if of == stream && (is_end || kind == RST_STREAM) {
                return Ok(());
            }
        }
    }

    /// Waits until the other end has gone.
    pub async fn ended(mut self, what: &str) {
        let mut buffer = [0; 4096];
        let end = async { while matches!(self.read.read(&mut buffer).await, Ok(1..)) {} };
        within(&format!("{what}: the connection ends"), SOON, end).await;
    }

    /// Waits until the other end has gone, and until then says that this one is there.
    pub async fn ended_in_spite_of_pings(mut self, what: &str) {
        let end = async {
            while let Ok((kind, flags, _, payload)) = self.next().await {
                let is_asked = kind == PING && flags & ACK == 0;
                if is_asked && self.send(&frame(PING, ACK, 0, &payload)).await.is_err() {
                    break;
                }
            }
        };
        within(&format!("{what}: the connection ends"), SOON, end).await;
    }

    /// Sends the same again and again, so many bytes in all; reads what comes where `reads`.
    pub async fn flood(&mut self, bytes: &[u8], total: usize, reads: bool) -> Flood {
        let chunk = bytes.repeat((64 << 10) / bytes.len() + 1);
        let Raw { read, write } = self;
        let sending = async {
            let mut sent = 0;
            while sent < total {
                match timeout(STALL, write.write_all(&chunk)).await {
                    Ok(Ok(())) => sent += chunk.len(),
                    Ok(Err(_)) => return Flood::Cut,
                    Err(_) => return Flood::Stalled,
                }
            }
            Flood::Taken
        };
        let reading = async {
            let mut buffer = vec![0; 64 << 10];
            while reads && matches!(read.read(&mut buffer).await, Ok(1..)) {}
            if !reads {
                std::future::pending::<()>().await;
            }
            Flood::Cut
        };
        tokio::select! {
            end = sending => end,
            end = reading => end,
        }
    }
}

fn connector(ca: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).expect("read the authority");
    for certificate in certificates {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}
