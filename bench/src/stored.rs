//! With much stored: how long a start takes, what it holds in memory, what a page costs.

use std::time::{Duration, Instant};

use mercurio_proto::v1::{
    ListHistoryRequest, PublishRequest, Recipients, publish_request::Audience,
};
use tempfile::TempDir;

use crate::{
    publisher::Grpc,
    readers,
    report::{Report, Row},
    target::{Kind, Target, user_name},
};

/// Recipients of one publish while the store is filled.
const AUDIENCE: u64 = 100;

const NO_ARGUMENTS: &[&str] = &[];

pub fn run(quick: bool, report: &mut Report) {
    // Pages read.
    let count = if quick { 200 } else { 2_000 };
    let sizes: &[(u64, u64)] = match quick {
        true => &[(2_000, 100)],
        false => &[(10_000, 200), (1_000_000, 100_000), (5_000_000, 100_000)],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    for (stored, users) in sizes {
        let home = TempDir::new().expect("a temporary directory");
        let data = home.path().join("data");
        {
            let target = Target::start_on(Kind::Serve, &data, NO_ARGUMENTS);
            let begin = Instant::now();
            runtime.block_on(fill(&target, *stored, *users));
            eprintln!(
                "  {stored} filled in {:.1} s",
                begin.elapsed().as_secs_f64()
            );
        }
        let begin = Instant::now();
        let mut target = Target::start_on(Kind::Serve, &data, NO_ARGUMENTS);
        let start = begin.elapsed();
        let fresh = target.pss();
        until_it_rests(&target);
        // Once, so that each size has read as much before.
        runtime.block_on(pages(&target, *users, count, 10));
        // Each user of the least and of the most has 50: the page's cost is to be seen, not its length.
        let cpu = target.cpu();
        let (ten, _) = runtime.block_on(pages(&target, *users, count, 10));
        let cpu = target.cpu_of_all_since(&cpu);
        let (fifty, unread) = runtime.block_on(pages(&target, *users, count, 50));
        let expected = stored / users;
        if unread != expected {
            report.fail(format!(
                "{stored} stored: a user has {unread} unread, not {expected}"
            ));
        }
        report.check_alive(&mut target);
        report.row(
            Row::new(&format!("{stored} for {users} users"))
                .with("start s", start.as_secs_f64())
                .with("MiB after it", fresh as f64 / f64::from(1 << 20))
                .with(
                    "MiB after reading",
                    target.pss() as f64 / f64::from(1 << 20),
                )
                .with("disk MiB", size(&data) as f64 / f64::from(1 << 20))
                .with(
                    "CPU µs a page of 10",
                    crate::load::micros(cpu) / count as f64,
                )
                .with("page of 10 p50 µs", micros(&ten, 0.5))
                .with("p99 µs", micros(&ten, 0.99))
                .with("page of 50 p50 µs", micros(&fifty, 0.5))
                .with("page of 50 p99 µs", micros(&fifty, 0.99)),
        );
    }
}

/// What was filled is still being packed and merged: not what a page costs.
fn until_it_rests(target: &Target) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let before = target.cpu();
        std::thread::sleep(Duration::from_secs(2));
        let busy = target.cpu_of_all_since(&before);
        if busy < Duration::from_millis(20) || Instant::now() > deadline {
            return;
        }
    }
}

async fn fill(target: &Target, stored: u64, users: u64) {
    let grpc = Grpc::connect(target).await;
    let mut running = tokio::task::JoinSet::new();
    for number in 0..stored / AUDIENCE {
        if running.len() == 64 {
            running.join_next().await;
        }
        let first = number * AUDIENCE;
        let ids = (first..first + AUDIENCE).map(|at| user_name((at % users) as u32));
        let request = grpc.request(PublishRequest {
            source_id: "bench".into(),
            audience: Some(Audience::Recipients(Recipients { ids: ids.collect() })),
            topic: "bench.event".into(),
            data: "x".repeat(160),
            ..PublishRequest::default()
        });
        let mut client = grpc.client.clone();
        running.spawn(async move { client.publish(request).await.expect("published") });
    }
    while let Some(done) = running.join_next().await {
        done.expect("published");
    }
}

fn micros(seen: &readers::Latencies, quantile: f64) -> f64 {
    seen.value_at_quantile(quantile) as f64 / 1e3
}

/// Pages of unread notifications of users at random, with their count.
async fn pages(target: &Target, users: u64, count: u64, size: i32) -> (readers::Latencies, u64) {
    let grpc = Grpc::connect(target).await;
    let mut seen = readers::latencies();
    let mut unread = 0;
    for _ in 0..count {
        let request = grpc.request(ListHistoryRequest {
            recipient_id: user_name(fastrand::u64(..users) as u32),
            page_size: size,
            status: mercurio_proto::v1::ReadStatus::Unread.into(),
            ..ListHistoryRequest::default()
        });
        let begin = Instant::now();
        let page = grpc
            .client
            .clone()
            .list_history(request)
            .await
            .expect("a page")
            .into_inner();
        seen.saturating_record(begin.elapsed().as_nanos() as u64);
        unread = page.unread_count;
    }
    (seen, unread)
}

fn size(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |meta| meta.len()),
        })
        .sum()
}
