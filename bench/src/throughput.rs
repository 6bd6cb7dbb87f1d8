//! Durable publishing: by one, and by many at once, beside the disk's own sync rate.

use std::{
    io::{Seek, SeekFrom, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    load::micros,
    publisher::{Grpc, Publisher, To},
    readers,
    report::{Report, Row},
    target::{Kind, Target},
};

/// Publishers on one connection.
const SHARE: usize = 64;

pub fn run(quick: bool, report: &mut Report) {
    let time = Duration::from_millis(if quick { 500 } else { 5_000 });
    for publishers in [1, 64, 1_024] {
        let disk = syncs(time / 2);
        let mut target = Target::start(Kind::Serve);
        let measured = measure(&target, publishers, time);
        report.check_alive(&mut target);
        if measured.rate == 0.0 {
            report.fail(format!("{publishers} publishers: nothing was acknowledged"));
        }
        report.row(
            Row::new(&format!("{publishers} publishers"))
                .with("acknowledged/s", measured.rate)
                .with("disk syncs/s", disk)
                .with("÷ syncs", measured.rate / disk)
                .with("p50 ms", measured.p50)
                .with("p99 ms", measured.p99)
                .with("CPU µs each", measured.cpu),
        );
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

/// What the disk does: 4 KiB written and made safe, one after the other.
fn syncs(time: Duration) -> f64 {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&vec![0; 1 << 20]).expect("written");
    file.sync_all().expect("synced");
    let begin = Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < time {
        let place = u64::from(count % 256) * 4096;
        file.seek(SeekFrom::Start(place)).expect("seek");
        file.write_all(&[1; 4096]).expect("written");
        file.sync_data().expect("synced");
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}
