//! The reconnect storm: streams drop, miss entries, and all come back at once.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use mercurio_proto::v1::{PublishRequest, Recipients, publish_request::Audience};

use crate::{
    load,
    publisher::Grpc,
    readers::{self, Shared},
    report::{Report, Row},
    target::{Hears, Kind, Target, user_name},
};

/// How long the missed entries may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn run(kinds: &[Kind], rounds: usize, quick: bool, report: &mut Report) {
    let (streams, missed) = if quick { (300, 20) } else { (10_000, 100) };
    for kind in kinds.iter().copied().filter(|kind| kind.is_mercurio()) {
        for _ in 0..rounds {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(once(kind, streams, missed, report));
        }
    }
}

async fn once(kind: Kind, streams: u32, missed: u64, report: &mut Report) {
    let mut target = Target::start(kind);
    let request = |user, cursor| (user, target.stream_request(user, Hears::Own, cursor));
    let first = (0..streams).map(|user| request(user, None)).collect();
    let (open, first) = readers::connect(target.http, first, 256, "event: opened\n").await;
    drop(open);
    let shared = Shared::new();
    miss(&target, streams, missed, &shared).await;

    let cpu = target.cpu();
    let begin = Instant::now();
    let back = (0..streams).map(|user| request(user, Some(0))).collect();
    let (open, connecting) =
        readers::connect(target.http, back, streams as usize, "event: opened\n").await;
    let mut reading = tokio::task::JoinSet::new();
    for stream in open {
        reading.spawn(readers::read(stream, shared.clone()));
    }
    let expected = u64::from(streams) * missed;
    let deadline = Instant::now() + PATIENCE;
    let received = || shared.received.load(Ordering::Relaxed);
    while received() < expected && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = begin.elapsed();
    let cpu = target.cpu_of_all_since(&cpu);
    shared.stop.cancel();
    let mut repeated = 0;
    while let Some(done) = reading.join_next().await {
        repeated += done.expect("no panic").record.repeated;
    }
    let ended = shared.ended.load(Ordering::Relaxed);
    let refused = first.refused + connecting.refused;
    if received() != expected || repeated + ended + refused > 0 {
        report.fail(format!(
            "storm on {}: {} of {expected} came, {repeated} repeated, {ended} streams ended, {refused} refused",
            kind.name(),
            received(),
        ));
    }
    report.check_alive(&mut target);
    report.row(
        Row::new(kind.name())
            .with("entries", expected as f64)
            .with("entries/s", expected as f64 / took.as_secs_f64())
            .with("CPU µs an entry", load::micros(cpu) / expected as f64)
            .with(
                "connected/s",
                f64::from(streams) / connecting.took.as_secs_f64(),
            )
            .with("slowest connect ms", connecting.slowest.as_secs_f64() * 1e3),
    );
}

/// The missed entries: each is one publish for all of the users.
async fn miss(target: &Target, streams: u32, missed: u64, shared: &Arc<Shared>) {
    let grpc = Grpc::connect(target).await;
    for number in 0..missed {
        let data = readers::mark(false, number, shared.start.elapsed());
        let ids: Vec<String> = (0..streams).map(user_name).collect();
        let request = PublishRequest {
            source_id: "bench".into(),
            topic: "bench.event".into(),
            data: format!("{data}{}", "x".repeat(120)),
            audience: Some(Audience::Recipients(Recipients { ids })),
            ..Default::default()
        };
        grpc.client
            .clone()
            .publish(grpc.request(request))
            .await
            .expect("published");
    }
}
