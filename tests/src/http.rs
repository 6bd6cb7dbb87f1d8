//! A small HTTP/1.1 client over a raw socket: what is sent and what comes back can be looked at
//! byte by byte, and a test may stop reading whenever it likes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream},
};

use crate::{
    leaks,
    wait::{SOON, within},
};

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    from: Option<IpAddr>,
}

impl Request {
    /// A request without a body. `path` holds the query too, already escaped.
    pub fn new(method: &str, path: impl Into<String>) -> Request {
        Request {
            method: method.to_owned(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
            from: None,
        }
    }

    /// `GET path`.
    pub fn get(path: impl Into<String>) -> Request {
        Self::new("GET", path)
    }

    /// `PUT path`.
    pub fn put(path: impl Into<String>) -> Request {
        Self::new("PUT", path)
    }

    /// `POST path` with a JSON body.
    pub fn post(path: impl Into<String>, body: &Value) -> Request {
        Self::new("POST", path).json(body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Request {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends it from this address of this machine.
    pub fn from(mut self, address: &str) -> Request {
        self.from = Some(address.parse().expect("an address"));
        self
    }

    /// Adds `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Request {
        leaks::note_secret(token);
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sets a JSON body.
    pub fn json(self, body: &Value) -> Request {
        leaks::note_body(body["data"].as_str().unwrap_or_default());
        self.body("application/json", body.to_string())
    }

    /// Sets a body as it is.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self.header("Content-Type", content_type)
    }

    /// Sends it on a connection of its own and reads the whole answer.
    ///
    /// Panics when no whole answer has come soon.
    pub async fn send(self, to: SocketAddr) -> Response {
        let what = format!(
            "{} {}",
            self.method,
            self.path.split('?').next().unwrap_or("")
        );
        within(&what, SOON, self.try_send(to))
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends it and reads the whole answer; for while a server comes and goes.
    pub async fn try_send(self, to: SocketAddr) -> io::Result<Response> {
        let mut open = self.header("Connection", "close").open(to).await?;
        let mut body = Vec::new();
        while let Some(chunk) = open.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(Response {
            status: open.status,
            headers: open.headers,
            body,
        })
    }

    /// Sends it and reads the head of the answer; the body is read as the caller likes.
    pub async fn open(self, to: SocketAddr) -> io::Result<Open> {
        let mut stream = match self.from {
            None => TcpStream::connect(to).await?,
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                socket.connect(to).await?
            }
        };
        stream.set_nodelay(true)?;
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            head += &format!("Host: {to}\r\n");
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await?;
        if let Some(body) = &self.body {
            // A server may answer and close before it has read a body it refuses.
            let _ = stream.write_all(body).await;
        }
        Open::read_head(BufReader::new(stream), self.method == "HEAD").await
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's first value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics where it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text()))
    }

    /// Asserts the status and gives the JSON body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Asserts an error: its status, its code, and that it has a message.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> String {
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        let message = body["error"].as_str().unwrap_or_default();
        assert!(!message.is_empty(), "no message: {body}");
        message.to_owned()
    }
}

/// An answer whose body is still being read.
pub struct Open {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    stream: BufReader<TcpStream>,
    framing: Framing,
}

enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
    Done,
}

impl Open {
    async fn read_head(mut stream: BufReader<TcpStream>, no_body: bool) -> io::Result<Open> {
        let first = line(&mut stream).await?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| io::Error::other(format!("not a status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut stream).await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = header(&headers, "content-length").and_then(|v| v.parse().ok());
        let framing = if no_body || status == 204 || status == 304 {
            Framing::Done
        } else if header(&headers, "transfer-encoding") == Some("chunked") {
            Framing::Chunked
        } else {
            length.map_or(Framing::UntilClose, Framing::Length)
        };
        Ok(Open {
            status,
            headers,
            stream,
            framing,
        })
    }

    /// A header's first value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The next piece of the body; `None` at its end. An unfinished body is an error.
    pub async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        match self.framing {
            Framing::Done => Ok(None),
            Framing::Length(0) => {
                self.framing = Framing::Done;
                Ok(None)
            }
            Framing::Length(left) => {
                let mut piece = vec![0; left.min(64 * 1024)];
                self.stream.read_exact(&mut piece).await?;
                self.framing = Framing::Length(left - piece.len());
                Ok(Some(piece.into()))
            }
            Framing::UntilClose => {
                let mut piece = vec![0; 64 * 1024];
                let read = self.stream.read(&mut piece).await?;
                piece.truncate(read);
                Ok((read > 0).then(|| piece.into()))
            }
            Framing::Chunked => self.http_chunk().await,
        }
    }

    async fn http_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let size = line(&mut self.stream).await?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16)
            .map_err(|_| io::Error::other(format!("not a chunk size: {size:?}")))?;
        let mut piece = vec![0; size];
        self.stream.read_exact(&mut piece).await?;
        let end = line(&mut self.stream).await?;
        if !end.is_empty() {
            return Err(io::Error::other(format!("after a chunk: {end:?}")));
        }
        if size == 0 {
            self.framing = Framing::Done;
            return Ok(None);
        }
        Ok(Some(piece.into()))
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, value)| value.as_str())
}

/// A line without its CRLF; an end before it is an error.
async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(io::Error::other)
}

/// Percent-encodes everything but unreserved characters.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}
