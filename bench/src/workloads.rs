//! The loads, and which targets get them.

use std::time::{Duration, Instant};

use crate::{
    load::{self, Load, Outcome},
    publisher::{Publisher, To},
    readers::{self, Shared},
    report::{Report, Row},
    stored,
    target::{Hears, Kind, Target, user_name},
    throughput,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Workload {
    Broadcast1k,
    Broadcast10k,
    Unicast,
    Mixed,
    Idle,
    Storm,
    Slow,
    Publish,
    Stored,
}

impl Workload {
    pub const ALL: [Self; 9] = [
        Self::Broadcast1k,
        Self::Broadcast10k,
        Self::Unicast,
        Self::Mixed,
        Self::Idle,
        Self::Storm,
        Self::Slow,
        Self::Publish,
        Self::Stored,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Broadcast1k => "Broadcast to 1,000 streams",
            Self::Broadcast10k => "Broadcast to 10,000 streams",
            Self::Unicast => "Unicast among 5,000 users",
            Self::Mixed => {
                "Mixed: 90 % unicast, 10 % broadcast, a fifth of the users with three tabs"
            }
            Self::Idle => "15,000 idle streams",
            Self::Storm => "10,000 streams drop at once and resume, 100 missed entries each",
            Self::Slow => "A tenth of 1,000 readers is stuck",
            Self::Publish => "Durable publishing",
            Self::Stored => "What is stored: start, memory, history",
        }
    }

    pub fn run(self, kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
        let load = match self {
            Self::Broadcast1k => broadcast(1_000, 20.0, 200),
            Self::Broadcast10k => broadcast(10_000, 2.0, 20),
            Self::Unicast => Load {
                streams: (0..5_000).collect(),
                hears: Hears::Own,
                rate: 1_000.0,
                events: 10_000,
                to: |number, users| {
                    To::User((number.wrapping_mul(7_919) % u64::from(users)) as u32)
                },
                users: 5_000,
                stuck_every: None,
            },
            Self::Mixed => mixed(),
            Self::Idle => Load {
                events: 1,
                ..broadcast(15_000, 1.0, 1)
            },
            Self::Slow => return slow(kinds, rounds, quick, report),
            Self::Storm => return storm(kinds, rounds, quick, report),
            Self::Publish => return throughput::run(quick, report),
            Self::Stored => return stored::run(quick, report),
        };
        rounds_of(
            self.title(),
            &shrunk(load, quick),
            kinds,
            if quick { 1 } else { rounds },
            report,
        );
    }
}

fn broadcast(streams: u32, rate: f64, events: u64) -> Load {
    Load {
        streams: (0..streams).collect(),
        hears: Hears::Everyone,
        rate,
        events,
        to: |_, _| To::Everyone,
        users: streams,
        stuck_every: None,
    }
}

fn mixed() -> Load {
    let users = 5_000;
    let tabs = (0..users)
        .filter(|user| user % 5 == 0)
        .flat_map(|user| [user, user]);
    Load {
        streams: (0..users).chain(tabs).collect(),
        hears: Hears::Both,
        rate: 20.0,
        events: 200,
        to: |number, users| match number % 10 {
            0 => To::Everyone,
            _ => To::User((number.wrapping_mul(7_919) % u64::from(users)) as u32),
        },
        users,
        stuck_every: None,
    }
}

/// A twentieth of it.
fn shrunk(load: Load, quick: bool) -> Load {
    if !quick {
        return load;
    }
    let users = (load.users / 20).max(20);
    Load {
        streams: load
            .streams
            .into_iter()
            .filter(|user| *user < users)
            .collect(),
        events: (load.events / 10).clamp(1, 500),
        users,
        ..load
    }
}

fn rounds_of(
    title: &'static str,
    load: &Load,
    kinds: &[Kind],
    rounds: usize,
    report: &mut Report,
) -> Vec<(Kind, Vec<Outcome>)> {
    let mut all: Vec<(Kind, Vec<Outcome>)> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
    for round in 0..rounds {
        // In turn, and not always in the same order.
        let count = all.len();
        for step in 0..count {
            let (kind, outcomes) = &mut all[(step + round) % count];
            let target = Target::start(*kind);
            let outcome = load::run(&target, load);
            report.check(title, *kind, &outcome);
            eprintln!(
                "  {:<24} {:>8} of {:>8}, {:>6.2} µs CPU a delivery, p50 {:>7.2} ms, p99 {:>7.2} ms, {:>6.2} KiB a stream",
                kind.name(),
                outcome.received,
                outcome.expected,
                outcome.cpu_per_delivery(),
                outcome.latencies.value_at_quantile(0.5) as f64 / 1e6,
                outcome.latencies.value_at_quantile(0.99) as f64 / 1e6,
                outcome.memory / 1024.0,
            );
            outcomes.push(outcome);
        }
    }
    report.add(title, load.streams.len(), &all);
    all
}

/// The same load with and without those who don't read: the others should not notice.
fn slow(kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
    let load = |stuck_every| Load {
        stuck_every,
        ..shrunk(broadcast(1_000, 20.0, 200), quick)
    };
    let kinds: Vec<Kind> = kinds
        .iter()
        .copied()
        .filter(|kind| *kind != Kind::Floor)
        .collect();
    let rounds = if quick { 1 } else { rounds };
    rounds_of(
        "1,000 readers, all healthy",
        &load(None),
        &kinds,
        rounds,
        report,
    );
    rounds_of(
        Workload::Slow.title(),
        &load(Some(10)),
        &kinds,
        rounds,
        report,
    );
}

/// Streams drop, miss entries, and all come back at once.
fn storm(kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
    let (streams, missed) = if quick { (300, 20) } else { (10_000, 100) };
    for kind in kinds.iter().copied().filter(|kind| kind.is_mercurio()) {
        for _ in 0..if quick { 1 } else { rounds } {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(storm_once(kind, streams, missed, report));
        }
    }
}

async fn storm_once(kind: Kind, streams: u32, missed: u64, report: &mut Report) {
    let target = Target::start(kind);
    let request = |user, cursor| (user, target.stream_request(user, Hears::Own, cursor));
    let first = (0..streams).map(|user| request(user, None)).collect();
    let (open, _) = readers::connect(target.http, first, 256, "event: opened\n").await;
    drop(open);
    // The missed entries: for all users at once, a page of each.
    let publisher = Publisher::connect(&target).await;
    let Publisher::Grpc(grpc) = &publisher else {
        return;
    };
    let shared = Shared::new();
    for number in 0..missed {
        let data = crate::readers::mark(false, number, shared.start.elapsed());
        let ids: Vec<String> = (0..streams).map(user_name).collect();
        let request = mercurio_proto::v1::PublishRequest {
            source_id: "bench".into(),
            topic: "bench.event".into(),
            data: format!("{data}{}", "x".repeat(120)),
            audience: Some(mercurio_proto::v1::publish_request::Audience::Recipients(
                mercurio_proto::v1::Recipients { ids },
            )),
            ..Default::default()
        };
        grpc.client
            .clone()
            .publish(grpc.request(request))
            .await
            .expect("published");
    }
    let cpu_before = target.cpu();
    let begin = Instant::now();
    let back = (0..streams).map(|user| request(user, Some(0))).collect();
    let (open, connecting) =
        readers::connect(target.http, back, streams as usize, "event: opened\n").await;
    let mut reading = tokio::task::JoinSet::new();
    for stream in open {
        reading.spawn(readers::read(stream, shared.clone()));
    }
    let expected = u64::from(streams) * missed;
    let deadline = Instant::now() + Duration::from_secs(120);
    let received = || shared.received.load(std::sync::atomic::Ordering::Relaxed);
    while received() < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = begin.elapsed();
    let cpu: Duration = target
        .cpu()
        .iter()
        .zip(&cpu_before)
        .map(|(after, before)| after.1 - before.1)
        .sum();
    shared
        .stop
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let mut repeated = 0;
    while let Some(done) = reading.join_next().await {
        repeated += done.expect("no panic").0.record.repeated;
    }
    if received() != expected || repeated > 0 || connecting.refused > 0 {
        report.failures.push(format!(
            "storm on {}: {} of {expected} came, {repeated} repeated, {} refused",
            kind.name(),
            received(),
            connecting.refused
        ));
    }
    report.row(
        Row::new("Storm", kind.name())
            .with("entries", expected as f64)
            .with("entries/s", expected as f64 / took.as_secs_f64())
            .with("CPU µs/entry", load::micros(cpu) / expected as f64)
            .with(
                "connected/s",
                f64::from(streams) / connecting.took.as_secs_f64(),
            )
            .with("slowest connect ms", connecting.slowest.as_secs_f64() * 1e3),
    );
}
