//! A core that can't apply the log says so, and refuses at once; it goes on when it can.

use std::{fs, time::Instant};

use mercurio_tests::mount::Mount;
use tonic::Code;

use super::*;

async fn lag(core: &Service) -> u64 {
    let metrics = Request::get("/metrics").send(core.admin()).await.text();
    let name = "mercurio_core_log_lag_messages ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|lag| lag.parse().ok()).expect("the lag")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_holds_up_nobody() {
    let (Some(engine), Some(mount)) = (nats(1), Mount::tmpfs(160)) else {
        return;
    };
    let setup = engine.setup().data(mount.path().join("data"));
    let full = setup.args(["--log-lag", "2s"]).start().await;
    ready(&full).await;
    let other = engine.setup().secret_of(&full).start().await;
    ready(&other).await;
    let ledger = Ledger::default();
    publish_surely(&full.service_api(), &ledger, request(0, 0)).await;
    let ballast = mount.fill(4 << 20);
    let publisher = Publisher::start(other.service_api(), ledger.clone(), |n| request(1, n));
    // More is published than is taken in and kept in memory.
    eventually(
        "it says that it is stuck, and how far behind",
        LATER,
        async || {
            let unready = Request::get("/readyz").send(full.admin()).await;
            let is_said = unready.status == 503 && unready.text().contains("the disk is full");
            (is_said && lag(&full).await > 500).then_some(())
        },
    )
    .await;
    publisher.stop().await;
    let started = Instant::now();
    let refused = full.service_api().try_publish(request(0, 1_000_000)).await;
    assert_eq!(reason(&refused.expect_err("it is full")), "STORE_FULL");
    assert!(started.elapsed() < Duration::from_secs(10), "at once");
    // What is there is read.
    let page = full.service_api().try_list(page("alice", 1)).await;
    page.expect("history is read");

    fs::remove_file(ballast).unwrap();
    ready(&full).await;
    publish_surely(&full.service_api(), &ledger, request(0, 1)).await;
    agree(&[full, other], &ledger).await;
}

/// Servers that take less than a batch, and less than the largest request.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_take_little_get_little_at_once() {
    let Some(nats) = Nats::start_with(1, "sync_interval: always", "max_payload: 20KB") else {
        return;
    };
    let engine = Engine::Nats(nats);
    let core = engine.setup().start().await;
    ready(&core).await;
    let api = core.service_api();
    let ledger = Ledger::default();
    let large = with_id("large", to(&["alice"], "t", &"x".repeat(30_000)));
    let status = api.try_publish(large).await.expect_err("it never fits");
    expect_reason(
        Err::<(), _>(status),
        Code::InvalidArgument,
        "TOO_LARGE_FOR_LOG",
    );
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let body = "x".repeat(9000);
            Publisher::start(api.clone(), ledger.clone(), move |n| {
                with_id(&format!("{publisher}-{n}"), to(&["bob"], "t", &body))
            })
        })
        .collect();
    eventually("publishing goes on", LATER, async || {
        (ledger.len() >= 200).then_some(())
    })
    .await;
    for publisher in publishers {
        publisher.stop().await;
    }
    agree(&[core], &ledger).await;
}
