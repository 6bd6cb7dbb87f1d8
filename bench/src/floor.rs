//! The floor: what delivering costs with nothing around it, a loop of write(2) calls. It speaks as
//! much HTTP as the load needs: `GET /sub?id=X` is a stream, `POST /pub?id=X` writes its body as an
//! event to every stream of X. With a file, each event is first made safe there, as whatever keeps
//! what it was given has to.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use crate::disk::Blocks;

type Streams = Arc<Mutex<HashMap<String, Vec<TcpStream>>>>;

/// Serves for ever.
pub fn run(address: &str, file: Option<&str>) {
    let blocks = file.map(|path| Arc::new(Mutex::new(Blocks::create(path.as_ref()))));
    let listener = TcpListener::bind(address).expect("bind");
    let streams = Streams::default();
    for socket in listener.incoming() {
        let Ok(socket) = socket else { continue };
        let mut head = BufReader::with_capacity(4096, socket);
        let Some((method, id, length)) = read_head(&mut head) else {
            continue;
        };
        let hears_all = method == "GET /both";
        if method.starts_with("GET") {
            let mut socket = head.into_inner();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            if socket.write_all(answer).is_ok() {
                let mut streams = streams.lock().expect("no panic");
                if hears_all && let Ok(socket) = socket.try_clone() {
                    streams.entry("all".to_owned()).or_default().push(socket);
                }
                streams.entry(id).or_default().push(socket);
            }
        } else {
            let (streams, blocks) = (streams.clone(), blocks.clone());
            std::thread::spawn(move || publish(head, id, length, &streams, blocks.as_deref()));
        }
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

fn publish(
    mut from: BufReader<TcpStream>,
    mut id: String,
    mut length: usize,
    streams: &Streams,
    blocks: Option<&Mutex<Blocks>>,
) {
    for number in 1.. {
        let mut event = format!("id: {number}\ndata: ").into_bytes();
        let start = event.len();
        event.resize(start + length, 0);
        if from.read_exact(&mut event[start..]).is_err() {
            return;
        }
        event.extend(b"\n\n");
        if let Some(blocks) = blocks {
            blocks.lock().expect("no panic").append(&event);
        }
        if let Some(streams) = streams.lock().expect("no panic").get_mut(&id) {
            for stream in streams {
                let _ = stream.write(&event);
            }
        }
        if from
            .get_mut()
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .is_err()
        {
            return;
        }
        match read_head(&mut from) {
            Some((_, next, bytes)) => (id, length) = (next, bytes),
            None => return,
        }
    }
}
