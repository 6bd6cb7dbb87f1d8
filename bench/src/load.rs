//! A load: streams that are open, events at a fixed rate, and what came of it.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    publisher::{Publisher, To, publish_at},
    readers::{self, Connecting, Latencies, Shared},
    target::{Hears, Target},
};

/// What is asked of a target.
#[derive(Clone)]
pub struct Load {
    /// The user of each stream.
    pub streams: Vec<u32>,
    pub hears: Hears,
    /// Events a second.
    pub rate: f64,
    /// Events that come before those that are measured, and count for the verdict alone: what a process
    /// does for the first time (its code is not in memory yet, nor are its allocator's pages) is no part
    /// of what an event costs.
    pub warm_up: u64,
    /// Events that are measured.
    pub events: u64,
    /// For whom the event of this number is.
    pub to: fn(u64, u32) -> To,
    pub users: u32,
    /// Every so many streams there is one that does not read, of users that nobody else is.
    pub stuck_every: Option<usize>,
    /// Between the last stream's opening and measuring the memory, which is done twice.
    pub settle: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Streams that were to be opened.
    pub streams: usize,
    pub expected: u64,
    pub received: u64,
    /// Of those, what came of the events that were measured.
    pub measured: u64,
    pub repeated: u64,
    pub ended: u64,
    /// Server processes that ended.
    pub dead: u64,
    pub latencies: Latencies,
    /// Of each server process, while the measured events were published and delivered.
    pub cpu: Vec<(&'static str, Duration)>,
    pub events: u64,
    pub connecting: Connecting,
    /// Bytes of the servers' memory with the first streams open.
    pub begun: u64,
    /// Bytes of memory for each idle stream beyond those.
    pub memory: f64,
}

impl Outcome {
    /// Microseconds of the servers' CPU time for each delivery.
    pub fn cpu_per_delivery(&self) -> f64 {
        micros(self.cpu.iter().map(|(_, time)| *time).sum()) / self.measured.max(1) as f64
    }

    /// Microseconds of the servers' CPU time for each event.
    pub fn cpu_per_event(&self) -> f64 {
        micros(self.cpu.iter().map(|(_, time)| *time).sum()) / self.events.max(1) as f64
    }

    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Streams that connect at the same time.
const AT_ONCE: usize = 256;
/// How long the last events may take to arrive.
const LAST: Duration = Duration::from_secs(30);

/// What a stream shows first.
pub fn ready(target: &Target) -> &'static str {
    match target.kind.is_mercurio() {
        true => "event: opened\n",
        false => "\r\n\r\n",
    }
}

/// Puts the load on the target. The publisher has a thread of its own.
pub fn run(target: &mut Target, load: &Load) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(put(target, load))
}

async fn put(target: &mut Target, load: &Load) -> Outcome {
    let requests = load
        .streams
        .iter()
        .map(|user| (*user, target.stream_request(*user, load.hears, None)));
    let mut requests: Vec<(u32, String)> = requests.collect();
    // The first ones take what is taken once: code, and room for connecting.
    let others = requests.split_off((requests.len() / 4).min(AT_ONCE));
    let connect = |requests| readers::connect(target.http, requests, AT_ONCE, ready(target));
    let (mut streams, first) = connect(requests).await;
    tokio::time::sleep(load.settle).await;
    let begun = target.pss();
    let (more, connecting) = connect(others).await;
    tokio::time::sleep(load.settle).await;
    let memory = target.pss().saturating_sub(begun) as f64 / more.len().max(1) as f64;
    streams.extend(more);
    let connecting = connecting.and(first);

    // Streams that are stuck stay open, and are not read.
    let mut stuck = Vec::new();
    if let Some(every) = load.stuck_every {
        let (slow, healthy) = streams
            .into_iter()
            .enumerate()
            .partition::<Vec<_>, _>(|(n, _)| n % every == 0);
        stuck.extend(slow);
        streams = healthy.into_iter().map(|(_, stream)| stream).collect();
    }
    let shared = Shared::new();
    let mut reading = JoinSet::new();
    let mut of_user: HashMap<u32, u64> = HashMap::new();
    for stream in streams {
        *of_user.entry(stream.user).or_default() += 1;
        reading.spawn(readers::read(stream, shared.clone()));
    }
    let open = reading.len() as u64;

    let expected_of = |number| match (load.to)(number, load.users) {
        To::Everyone => open,
        To::User(user) => of_user.get(&user).copied().unwrap_or(0),
    };
    let publisher = publish_apart(target, load, &shared);
    let expected_of = |numbers: &Range<u64>| numbers.clone().map(expected_of).sum::<u64>();
    let warm_up = 0..load.warm_up;
    let measured = load.warm_up..load.warm_up + load.events;
    let warmed_up = expected_of(&warm_up);
    let expected = warmed_up + expected_of(&measured);
    publisher
        .publish(warm_up, load.rate, &shared, warmed_up)
        .await;
    let came = shared.received.load(Ordering::Relaxed);
    shared.latencies.lock().expect("no panic").reset();
    let cpu_before = target.cpu();
    publisher
        .publish(measured, load.rate, &shared, expected)
        .await;
    let cpu = target.cpu_since(&cpu_before);
    let measured = shared.received.load(Ordering::Relaxed) - came;
    publisher.close();
    shared.stop.cancel();
    let mut outcome = Outcome {
        streams: load.streams.len(),
        expected,
        received: 0,
        measured,
        repeated: 0,
        ended: shared.ended.load(Ordering::Relaxed),
        dead: target.dead(),
        latencies: shared.latencies.lock().expect("no panic").clone(),
        cpu,
        events: load.events,
        connecting,
        begun,
        memory,
    };
    while let Some(done) = reading.join_next().await {
        let stream = done.expect("no panic");
        outcome.received += stream.record.everyone + stream.record.own;
        outcome.repeated += stream.record.repeated;
    }
    drop(stuck);
    outcome
}

/// A thread that publishes what it is told to, and keeps its connection open until it is closed: a
/// server that gives a connection a thread (the floor) would lose that thread's CPU time with it.
struct Apart {
    numbers: mpsc::Sender<Range<u64>>,
    published: mpsc::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Apart {
    /// Publishes the events of these numbers, until so many have been received, or no more come.
    async fn publish(&self, numbers: Range<u64>, rate: f64, shared: &Shared, expected: u64) {
        let takes = Duration::from_secs_f64((numbers.end - numbers.start) as f64 / rate);
        let _ = self.numbers.send(numbers);
        let mut deadline = Instant::now() + LAST + takes;
        let mut seen = 0;
        while shared.received.load(Ordering::Relaxed) < expected && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let received = shared.received.load(Ordering::Relaxed);
            if received > seen {
                (seen, deadline) = (received, deadline.max(Instant::now() + LAST));
            }
        }
        self.published.recv().expect("published");
    }

    fn close(self) {
        drop(self.numbers);
        self.thread.join().expect("no panic");
    }
}

fn publish_apart(target: &Target, load: &Load, shared: &Arc<Shared>) -> Apart {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let publisher = std::thread::scope(|scope| {
        scope
            .spawn(|| runtime.block_on(Publisher::connect(target)))
            .join()
            .expect("connected")
    });
    let (load, shared) = (load.clone(), shared.clone());
    let (numbers, asked) = mpsc::channel();
    let (done, published) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        // Until it is closed.
        while let Ok(numbers) = asked.recv() {
            let to = |number| (load.to)(number, load.users);
            runtime.block_on(publish_at(&publisher, &shared, load.rate, numbers, to));
            let _ = done.send(());
        }
    });
    Apart {
        numbers,
        published,
        thread,
    }
}
