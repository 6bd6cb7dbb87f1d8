//! Durable publishing: by one, and by many at once, beside the disk's own sync rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    disk,
    load::micros,
    publisher::{Grpc, Publisher, To},
    readers,
    report::{Report, Row},
    target::{Kind, Target},
};

/// Publishers on one connection.
const SHARE: usize = 64;

/// Each round the disk, then what is measured, then, beside peers, a server with nothing behind it.
pub fn run(kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
    let time = Duration::from_millis(if quick { 500 } else { 5_000 });
    let has_peers = kinds.contains(&Kind::Floor);
    for publishers in [1, 64, 1_024] {
        for _ in 0..rounds {
            let disk = disk::rate(time / 2);
            let mut target = Target::start(Kind::Serve);
            let measured = measure(&target, publishers, time);
            report.check_alive(&mut target);
            if measured.rate == 0.0 {
                report.fail(format!("{publishers} publishers: nothing was acknowledged"));
            }
            drop(target);
            let row = Row::new(&format!("{publishers} publishers"))
                .with("acknowledged/s", measured.rate)
                .with("disk syncs/s", disk)
                .with("p50 ÷ a sync", measured.p50 * disk / 1e3)
                .with("p50 ms", measured.p50)
                .with("p99 ms", measured.p99)
                .with("CPU µs each", measured.cpu);
            if !has_peers {
                report.row(row);
                continue;
            }
            let bare = measure(&Target::start(Kind::BareGrpc), publishers, time);
            report.row(
                row.with("bare gRPC: answered/s", bare.rate)
                    .with("its p50 ms", bare.p50)
                    .with("its CPU µs each", bare.cpu),
            );
        }
    }
}

/// What publishing did.
pub struct Measured {
    /// Acknowledged a second.
    pub rate: f64,
    /// Milliseconds from the call to its answer.
    pub p50: f64,
    pub p99: f64,
    /// Microseconds of the servers' CPU time for each.
    pub cpu: f64,
}

/// Publishes as fast as so many publishers can, one after the other each.
pub fn measure(target: &Target, publishers: usize, time: Duration) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let cpu = target.cpu();
    let (count, seen) = runtime.block_on(publish(target, publishers, time));
    let cpu = target.cpu_of_all_since(&cpu);
    Measured {
        rate: count as f64 / time.as_secs_f64(),
        p50: seen.value_at_quantile(0.5) as f64 / 1e6,
        p99: seen.value_at_quantile(0.99) as f64 / 1e6,
        cpu: micros(cpu) / count.max(1) as f64,
    }
}

async fn publish(target: &Target, publishers: usize, time: Duration) -> (u64, readers::Latencies) {
    let mut connections = Vec::new();
    for _ in 0..publishers.div_ceil(SHARE) {
        connections.push(Grpc::connect(target).await);
    }
    let count = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..publishers {
        let publisher = Publisher::Grpc(connections[number / SHARE].clone());
        let count = count.clone();
        tasks.spawn(async move {
            let mut seen = readers::latencies();
            while Instant::now() < end {
                let begin = Instant::now();
                publisher
                    .publish(To::User(number as u32), "x".repeat(160))
                    .await;
                seen.saturating_record(begin.elapsed().as_nanos() as u64);
                count.fetch_add(1, Ordering::Relaxed);
            }
            seen
        });
    }
    let mut all = readers::latencies();
    while let Some(done) = tasks.join_next().await {
        all.add(done.expect("no panic")).expect("the same bounds");
    }
    (count.load(Ordering::Relaxed), all)
}
