//! The log is away, and more is published than it could take: memory is bounded, the rest is refused in
//! time, and a core that is told to end then does.

use std::{collections::HashMap, sync::Arc};

use mercurio_proto::v1::PublishResponse;
use mercurio_tests::{ledger::went_away, tools::heavy, verify::verify_idempotency};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;

/// How many may wait for the writer in these tests.
const QUEUE: &str = "200";

/// Calls are refused with this reason where the queue is full.
const FULL: &str = "STORE_BUSY";

/// Thirty-two batches are under way and the queue is full when SIGTERM comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_core_ends_in_time_while_the_log_is_away() {
    let Some(engine) = nats(1) else { return };
    let setup = engine
        .setup()
        .args(["--log-wait", "100s", "--writer-queue", QUEUE]);
    let mut core = setup.launch();
    core.listening_within(LATER).await;
    ready(&core).await;
    let api = core.service_api();
    let ledger = Ledger::default();
    for n in 0..20 {
        publish_surely(&api, &ledger, request(0, n)).await;
    }
    engine.signal(0, Signal::STOP);
    // One after the other, so that each is a batch: once one is refused, no batch is taken any more.
    let is_full = Arc::new(tokio::sync::Notify::new());
    let mut calls = Vec::new();
    for n in 0.. {
        let (api, request, fills) = (api.clone(), request(1, n), is_full.clone());
        let sent = request.clone();
        let call = tokio::spawn(async move {
            let answer = api.try_publish(sent).await;
            if answer
                .as_ref()
                .is_err_and(|refused| reason(refused) == FULL)
            {
                fills.notify_one();
            }
            answer
        });
        calls.push((request, call));
        let moment = tokio::time::timeout(Duration::from_millis(5), is_full.notified());
        if moment.await.is_ok() {
            break;
        }
        assert!(n < 2_000, "the queue does not fill up");
    }
    core.process.terminate();
    // The grace period is 10 s.
    let status = core.process.wait(Duration::from_secs(13)).await;
    assert!(status.success(), "{status}");
    let (mut unknown, mut queued) = (Vec::new(), 0);
    for (request, call) in calls {
        match call.await.unwrap() {
            Ok(answer) => ledger.add(request, &answer),
            Err(refused) => {
                let why = reason(&refused);
                let expected = match &*why {
                    "LOG_AWAY" | FULL => refused.code() == Code::Unavailable,
                    // The last one may meet a core that takes no more connections.
                    _ => why.is_empty() && went_away(&refused),
                };
                assert!(expected, "{refused:?}");
                queued += usize::from(why == "LOG_AWAY");
                unknown.push(request);
            }
        }
    }
    assert!(queued > 200, "{queued} of {}", unknown.len());

    engine.signal(0, Signal::CONT);
    core.restart().await;
    ready(&core).await;
    let api = core.service_api();
    // What was acknowledged is there; of the rest there is what there is, once.
    let mut ids = HashMap::new();
    for seen in api.history("bob").await {
        let before = ids.insert(seen.event_id.clone(), seen.id);
        assert_eq!(before, None, "stored twice: {}", seen.event_id);
    }
    for request in unknown {
        let event = request.event_id.clone();
        let answer = api.publish(request.clone()).await;
        if let Some(stored) = ids.get(&event) {
            assert_eq!((answer.id, answer.duplicate), (*stored, true), "{event}");
        }
        ledger.add(request, &answer);
    }
    verify(&api, &ledger, &USERS).await;
    verify_idempotency(&api, &ledger).await;
    assert!(core.stop().await.success());
}

/// Publishers at once, and what each publishes.
const PUBLISHERS: usize = 512;
const EACH: usize = 16;

/// Half a GiB of it all.
const DATA: usize = 60_000;

/// What may be in memory of it: 32 batches under way, and the one that was taken last (the queue) cut
/// into as many; the queue; one call a publisher.
const BOUND: u64 = 192 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_cannot_take_is_refused_and_not_kept() {
    let Some(engine) = nats(1) else { return };
    let _heavy = heavy().await;
    let setup = engine
        .setup()
        .args(["--log-wait", "2s", "--writer-queue", QUEUE]);
    let mut core = setup.launch();
    core.listening_within(LATER).await;
    ready(&core).await;
    let ledger = Ledger::default();
    for n in 0..20 {
        publish_surely(&core.service_api(), &ledger, request(0, n)).await;
    }
    let before = core.process.resident();
    engine.signal(0, Signal::STOP);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|p| {
            // Not more on one connection than it may have calls.
            let api = core.service_api();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for n in 0..EACH {
                    let large = with_id(
                        &format!("large-{p}-{n}"),
                        to(&["dave"], "t", &"x".repeat(DATA)),
                    );
                    answers.push(api.try_publish(large).await);
                }
                answers
            })
        })
        .collect();
    let mut most = before;
    let mut answers: Vec<Result<PublishResponse, Status>> = Vec::new();
    for publisher in publishers {
        answers.extend(publisher.await.unwrap());
        most = most.max(core.process.resident());
    }
    let grown = most.saturating_sub(before);
    let mut why: HashMap<String, usize> = HashMap::new();
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(refused.get_details_retry_info().is_some(), "{refused:?}");
        *why.entry(reason(refused)).or_default() += 1;
    }
    eprintln!("grown by {} MiB; {why:?}", grown >> 20);
    let full = why.remove(FULL).unwrap_or_default();
    let away = why.remove("LOG_AWAY").unwrap_or_default();
    assert!(why.is_empty(), "{why:?}");
    assert!(full > 0 && away >= 200, "{full} and {away}");
    assert_eq!(full + away, PUBLISHERS * EACH, "some were acknowledged");
    assert!(grown < BOUND, "grown by {grown} bytes");
    verify(&core.service_api(), &ledger, &USERS).await;

    engine.signal(0, Signal::CONT);
    let api = core.service_api();
    for n in 0..50 {
        publish_surely(&api, &ledger, request(2, n)).await;
    }
    verify(&api, &ledger, &USERS).await;
    // What was under way may have been stored: once.
    let mut stored = api.history("dave").await;
    let count = stored.len();
    assert!(count <= away, "{count} of {away}");
    stored.sort_by(|one, other| one.event_id.cmp(&other.event_id));
    stored.dedup_by(|one, other| one.event_id == other.event_id);
    assert_eq!(stored.len(), count, "some are there twice");
    assert!(core.stop().await.success());
}
