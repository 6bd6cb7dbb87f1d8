//! Streams that are read: what came, in which order, and how late.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What stands before and behind the mark in each event: `@user number nanoseconds@`.
const MARK: u8 = b'@';

/// The mark of an event: `number` is its own.
pub fn mark(everyone: bool, number: u64, due: Duration) -> String {
    let kind = if everyone { 'e' } else { 'u' };
    format!("@{kind} {number} {}@", due.as_nanos())
}

/// One stream's record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Events for everyone, and for this user, that came.
    pub everyone: u64,
    pub own: u64,
    /// Events that came again, or out of order: behind an `id:` that is not below theirs.
    pub repeated: u64,
    /// The last event's `id:`, where it is a number.
    cursor: Option<u64>,
    /// The numbers of those that came, a bit each. Two publishes at once may be stored in either
    /// order, so that they need not rise.
    came: Vec<u64>,
}

/// Latencies in nanoseconds, up to a minute.
pub type Latencies = Histogram<u64>;

/// An empty one.
pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

/// What all readers share.
pub struct Shared {
    /// Moments are counted from here.
    pub start: Instant,
    /// Events that came, over all streams.
    pub received: AtomicU64,
    /// Streams that ended by themselves.
    pub ended: AtomicU64,
    pub stop: CancellationToken,
    /// Of all streams. One thread reads them, so nobody waits for the lock; one for each stream
    /// would be memory that is taken while it is measured.
    pub latencies: Mutex<Latencies>,
}

impl Shared {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            received: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            stop: CancellationToken::new(),
            latencies: Mutex::new(latencies()),
        })
    }
}

/// An open stream, its head read.
pub struct Open {
    pub user: u32,
    pub socket: TcpStream,
    /// Bytes read behind the head.
    rest: Vec<u8>,
    pub record: Record,
}

/// How connecting went.
#[derive(Clone, Debug, Default)]
pub struct Connecting {
    pub took: Duration,
    pub slowest: Duration,
    pub refused: u64,
}

impl Connecting {
    /// One after the other.
    pub fn and(self, other: Self) -> Self {
        Self {
            took: self.took + other.took,
            slowest: self.slowest.max(other.slowest),
            refused: self.refused + other.refused,
        }
    }
}

/// Opens a stream for each request, so many at a time, and waits for `ready` in each.
pub async fn connect(
    to: SocketAddr,
    requests: Vec<(u32, String)>,
    at_once: usize,
    ready: &'static str,
) -> (Vec<Open>, Connecting) {
    let start = Instant::now();
    let turns = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for (user, request) in requests {
        let turns = turns.clone();
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let start = Instant::now();
            let opened = timeout(Duration::from_secs(30), open(to, user, &request, ready)).await;
            (
                opened.unwrap_or_else(|late| Err(late.into())),
                start.elapsed(),
            )
        });
    }
    let mut connecting = Connecting::default();
    let mut streams = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (opened, took) = done.expect("no panic");
        connecting.slowest = connecting.slowest.max(took);
        match opened {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                if connecting.refused == 0 {
                    eprintln!("a stream was refused: {error}");
                }
                connecting.refused += 1;
            }
        }
    }
    connecting.took = start.elapsed();
    (streams, connecting)
}

async fn open(to: SocketAddr, user: u32, request: &str, ready: &str) -> io::Result<Open> {
    let mut socket = TcpStream::connect(to).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let find = |bytes: &[u8], what: &str| {
        bytes
            .windows(what.len())
            .position(|window| window == what.as_bytes())
            .map(|at| at + what.len())
    };
    let behind = loop {
        let mut buffer = [0; 2048];
        let read = socket.read(&mut buffer).await?;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 || !b"HTTP/1.1 200".starts_with(&bytes[..bytes.len().min(12)]) {
            let said = String::from_utf8_lossy(&bytes).into_owned();
            return Err(io::Error::other(said));
        }
        if let Some(behind) = find(&bytes, ready) {
            break behind;
        }
    };
    bytes.drain(..behind);
    bytes.shrink_to_fit();
    Ok(Open {
        user,
        socket,
        rest: bytes,
        record: Record::default(),
    })
}

/// Reads until it is told to stop.
pub async fn read(mut open: Open, shared: Arc<Shared>) -> Open {
    let stop = shared.stop.cancelled();
    tokio::pin!(stop);
    let mut bytes = std::mem::take(&mut open.rest);
    loop {
        let mut buffer = [0; 4096];
        let used = open.record.take(&bytes, &shared);
        bytes.drain(..used);
        if bytes.is_empty() {
            bytes = Vec::new();
        }
        let read = tokio::select! {
            biased;
            read = open.socket.read(&mut buffer) => read,
            () = &mut stop => break,
        };
        match read {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => {
                shared.ended.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    open.rest = bytes;
    open
}

impl Record {
    /// Takes in whole events; how many bytes they were.
    fn take(&mut self, bytes: &[u8], shared: &Shared) -> usize {
        let mut used = 0;
        while let Some(length) = bytes[used..].windows(2).position(|pair| pair == b"\n\n") {
            let event = &bytes[used..used + length];
            used += length + 2;
            let mut parts = event.split(|byte| *byte == MARK);
            if let (Some(head), Some(mark), Some(_)) = (parts.next(), parts.next(), parts.next()) {
                self.count(id(head), mark, shared);
            }
        }
        used
    }

    fn count(&mut self, id: Option<u64>, mark: &[u8], shared: &Shared) {
        let mark = String::from_utf8_lossy(mark);
        let mut words = mark.split(' ');
        let everyone = words.next() == Some("e");
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(number), Some(due)) = (number(), number()) else {
            return;
        };
        let late = shared
            .start
            .elapsed()
            .saturating_sub(Duration::from_nanos(due));
        let mut latencies = shared.latencies.lock().expect("no panic");
        latencies.saturating_record(late.as_nanos() as u64);
        drop(latencies);
        let in_order = id.is_none() || id > self.cursor;
        self.cursor = id.max(self.cursor);
        if !self.is_first(number) || !in_order {
            self.repeated += 1;
            return;
        }
        if everyone {
            self.everyone += 1;
        } else {
            self.own += 1;
        }
        shared.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this number did not come before; it has now.
    fn is_first(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.came.len() <= word {
            self.came.resize(word + 1, 0);
        }
        let first = self.came[word] & bit == 0;
        self.came[word] |= bit;
        first
    }
}

/// An event's `id:`, where it is a number (nchan's is not).
fn id(head: &[u8]) -> Option<u64> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let id = lines.find_map(|line| line.strip_prefix(b"id: "))?;
    std::str::from_utf8(id).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_seen_and_concurrent_publishes_are_not_repeats() {
        let shared = Shared::new();
        let mut record = Record::default();
        let mut take = |events: &[(u64, u64)]| {
            let text = events.iter().map(|(id, number)| {
                let mark = mark(true, *number, Duration::ZERO);
                format!("id: {id}\ndata: {mark}\n\n")
            });
            let text: String = text.collect();
            let used = record.take(text.as_bytes(), &shared);
            assert_eq!(used, text.len());
            (record.everyone, record.repeated)
        };
        assert_eq!(take(&[(1, 0), (2, 2), (3, 1)]), (3, 0));
        assert_eq!(take(&[(4, 2)]), (3, 1), "the same again");
        assert_eq!(take(&[(3, 3)]), (3, 2), "out of order");
        assert_eq!(take(&[(5, 70)]), (4, 2));
    }
}
