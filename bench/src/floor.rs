//! The floor: what delivering costs with nothing around it, a loop of write(2) calls. It speaks as
//! much HTTP as the load needs: `GET /sub?id=X` is a stream, `POST /pub?id=X` writes its body as an
//! event to every stream of X. With a file, each event is first made safe there, as whatever keeps
//! what it was given has to. It can be published to over the contract's gRPC too (`bare_grpc.rs`).

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use crate::disk::Blocks;

/// One event after the other.
pub struct Floor {
    behind: Mutex<Behind>,
}

struct Behind {
    /// How many there were.
    events: u64,
    blocks: Option<Blocks>,
    /// Of each channel.
    streams: HashMap<String, Vec<TcpStream>>,
}

impl Floor {
    pub fn new(file: Option<&str>) -> Arc<Self> {
        let behind = Mutex::new(Behind {
            events: 0,
            blocks: file.map(|path| Blocks::create(path.as_ref())),
            streams: HashMap::new(),
        });
        Arc::new(Self { behind })
    }

    /// Serves for ever.
    pub fn run(self: &Arc<Self>, address: &str) {
        let listener = TcpListener::bind(address).expect("bind");
        for socket in listener.incoming() {
            let Ok(socket) = socket else { continue };
            let mut head = BufReader::with_capacity(4096, socket);
            let Some((method, id, length)) = read_head(&mut head) else {
                continue;
            };
            if method.starts_with("GET") {
                self.open(head.into_inner(), id, method == "GET /both");
            } else {
                let floor = self.clone();
                std::thread::spawn(move || floor.publisher(head, id, length));
            }
        }
    }

    fn open(&self, mut socket: TcpStream, id: String, hears_all: bool) {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        if socket.write_all(answer).is_err() {
            return;
        }
        let streams = &mut self.behind.lock().expect("no panic").streams;
        if hears_all && let Ok(socket) = socket.try_clone() {
            streams.entry("all".to_owned()).or_default().push(socket);
        }
        streams.entry(id).or_default().push(socket);
    }

    /// Who publishes over HTTP, one event after the other.
    fn publisher(&self, mut from: BufReader<TcpStream>, mut id: String, mut length: usize) {
        loop {
            let mut data = vec![0; length];
            if from.read_exact(&mut data).is_err() {
                return;
            }
            self.publish(&id, &data);
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            if from.get_mut().write_all(answer).is_err() {
                return;
            }
            match read_head(&mut from) {
                Some((_, next, bytes)) => (id, length) = (next, bytes),
                None => return,
            }
        }
    }

    /// Makes it safe, where there is a file, and writes it to each stream of the channel. The event's number.
    pub fn publish(&self, channel: &str, data: &[u8]) -> u64 {
        let mut behind = self.behind.lock().expect("no panic");
        let Behind {
            events,
            blocks,
            streams,
        } = &mut *behind;
        *events += 1;
        let mut event = format!("id: {events}\ndata: ").into_bytes();
        event.extend(data);
        event.extend(b"\n\n");
        if let Some(blocks) = blocks {
            blocks.append(&event);
        }
        for stream in streams.get_mut(channel).into_iter().flatten() {
            let _ = stream.write(&event);
        }
        *events
    }
}

/// Method with path, id, and the body's length.
fn read_head(head: &mut BufReader<TcpStream>) -> Option<(String, String, usize)> {
    let mut line = String::new();
    head.read_line(&mut line).ok()?;
    let (method, rest) = line.split_once('?')?;
    let id = rest
        .strip_prefix("id=")?
        .split_whitespace()
        .next()?
        .to_owned();
    let (method, mut length) = (method.to_owned(), 0);
    loop {
        let mut line = String::new();
        if head.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            return Some((method, id, length));
        }
    }
}
