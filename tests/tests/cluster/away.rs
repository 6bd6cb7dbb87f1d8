//! The log's servers go away: reading goes on, writing is refused in time, and all is caught up.

use std::time::Instant;

use tonic::Code;
use tonic_types::StatusExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_reading_goes_on() {
    let Some(engine) = nats(1) else { return };
    reading_goes_on(engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rabbitmq_reading_goes_on() {
    let Some(engine) = rabbitmq(1).await else {
        return;
    };
    reading_goes_on(engine).await;
}

async fn reading_goes_on(mut engine: Engine) {
    let setup = engine.setup().args(["--log-wait", "1s"]);
    let mut core = setup.launch();
    core.listening_within(LATER).await;
    ready(&core).await;
    let api = core.service_api();
    let ledger = Ledger::default();
    for n in 0..20 {
        publish_surely(&api, &ledger, request(0, n)).await;
    }
    let follower = Subscriber::grpc(api.clone(), "alice", Manner::from_start())
        .opened()
        .await;
    engine.kill(0);
    let started = Instant::now();
    let refused = api
        .try_publish(with_id("late", to(&["alice"], "t", "late")))
        .await;
    let status = refused.expect_err("nobody can take it");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "LOG_AWAY")
    );
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    assert!(started.elapsed() < SOON, "a bounded wait");
    verify(&api, &ledger, &USERS).await;
    // Also when it has to start without it, with what it had.
    core.restart().await;
    verify(&api, &ledger, &USERS).await;
    let unready = Request::get("/readyz").send(core.admin()).await;
    assert_eq!(unready.status, 503, "{}", unready.text());

    engine.start_node(0).await;
    ready(&core).await;
    // It may have been stored or not; now it is, once.
    publish_surely(&api, &ledger, with_id("late", to(&["alice"], "t", "late"))).await;
    verify(&api, &ledger, &USERS).await;
    follower
        .record
        .wait_for_count(ledger.of("alice").len(), LATER)
        .await;
    follower.record.check("the follower", &ledger.of("alice"));
}

/// A core that is stopped for longer than its connections live goes on where it was. (For longer than
/// every timeout: the long chaos.)
#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_was_stopped_goes_on() {
    let Some(engine) = nats(1) else { return };
    let cores = engine.cores(2).await;
    let ledger = Ledger::default();
    let api = cores[0].service_api();
    let stopped = Publisher::start(cores[1].service_api(), ledger.clone(), |n| request(1, n));
    eventually("publishing goes on", LATER, async || {
        (ledger.len() >= 20).then_some(())
    })
    .await;
    cores[1].process.signal(Signal::STOP);
    // Until the server has given up on it: it asks every so often whether it is there.
    let publisher = Publisher::start(api.clone(), ledger.clone(), |n| request(0, n));
    let goal = ledger.len() + 500;
    eventually("publishing goes on", LATER, async || {
        (ledger.len() >= goal).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    cores[1].process.signal(Signal::CONT);
    publisher.stop().await;
    stopped.stop().await;
    agree(&cores, &ledger).await;
}
