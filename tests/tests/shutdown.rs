//! SIGTERM, with streams open.

use std::time::Instant;

use mercurio_tests::{prelude::*, process::Signal};

async fn open_stream(service: &Service, user: &str) -> Stream {
    let request =
        Request::get("/api/clients/me/notifications/stream").bearer(&service.secret().user(user));
    let mut stream = Stream::open(service.http(), request).await;
    stream.expect("opened").await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_told_and_the_exit_is_clean() {
    let mut service = Setup::serve().start().await;
    let api = service.service_api();
    let mut browsers = [
        open_stream(&service, "alice").await,
        open_stream(&service, "bob").await,
    ];
    let mut feed = api.subscribe(feed("alice", None)).await;
    feed.next().await;
    let id = api.publish(to(&["alice"], "t", "x")).await.id;
    assert_eq!(Entry::from(&feed.next().await).cursor, id);
    // What is still on its way to a stream at its end, who resumes gets; so this is read first.
    browsers[0].expect("message").await;

    let start = Instant::now();
    service.process.terminate();
    let mut retries = Vec::new();
    for stream in &mut browsers {
        let closing = stream.expect("closing").await;
        assert_eq!(closing.json(), serde_json::json!({"reason": "shutdown"}));
        retries.push(stream.retry.expect("a retry"));
        let end = within("the stream's end", SOON, stream.try_event()).await;
        assert_eq!(end.expect("a clean end"), None);
    }
    expect_reason(
        feed.try_next().await,
        tonic::Code::Unavailable,
        "SHUTTING_DOWN",
    );
    let status = service.process.wait(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
    assert!(start.elapsed() < Duration::from_secs(10));
    // Everything was flushed.
    service.restart().await;
    assert_eq!(api.get("alice", id).await.unwrap().data, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_of_its_own_ends_so_too() {
    let mut apart = Apart::start().await;
    let secret = apart.core.secret().user("alice");
    let request = Request::get("/api/clients/me/notifications/stream").bearer(&secret);
    let mut stream = Stream::open(apart.gateway.http(), request).await;
    stream.expect("opened").await;
    apart.gateway.process.terminate();
    assert_eq!(stream.expect("closing").await.json()["reason"], "shutdown");
    assert!(
        apart
            .gateway
            .process
            .wait(Duration::from_secs(10))
            .await
            .success()
    );
    assert!(apart.core.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn also_when_a_reader_does_not_read() {
    let mut service = Setup::serve().start().await;
    let stuck = fill_a_stuck_reader(&service).await;
    service.process.terminate();
    // The grace period is 10 s.
    let status = service.process.wait(Duration::from_secs(13)).await;
    assert!(status.success(), "{status}");
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut service = Setup::serve()
        .args(["--shutdown-grace", "60s"])
        .start()
        .await;
    let stuck = fill_a_stuck_reader(&service).await;
    let mut bob = open_stream(&service, "bob").await;
    service.process.terminate();
    bob.expect("closing").await;
    service.process.signal(Signal::INT);
    service.process.wait(Duration::from_secs(3)).await;
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_published_is_answered_or_refused() {
    let mut service = Setup::serve().start().await;
    let ledger = Ledger::default();
    let publishers: Vec<Publisher> = (0..16)
        .map(|p| {
            Publisher::start(service.service_api(), ledger.clone(), move |n| {
                with_id(&format!("{p}-{n}"), to(&["alice"], "t", "x"))
            })
        })
        .collect();
    for _ in 0..3 {
        let goal = ledger.len() + 100;
        eventually("publishing goes on", SOON, async || {
            (ledger.len() >= goal).then_some(())
        })
        .await;
        service.restart_gracefully().await;
    }
    for publisher in publishers {
        publisher.stop().await;
    }
    mercurio_tests::verify::verify(&service.service_api(), &ledger, &["alice"]).await;
}

/// An open stream with more to be sent than any buffer on the way holds.
async fn fill_a_stuck_reader(service: &Service) -> Stream {
    let stream = open_stream(service, "alice").await;
    let api = service.service_api();
    let body = "s".repeat(60_000);
    for chunk in 0..10 {
        let calls = (0..30).map(|n| {
            let (api, body) = (api.clone(), body.clone());
            let request = with_id(&format!("{chunk}-{n}"), to(&["alice"], "t", &body));
            tokio::spawn(async move { api.publish(request).await })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
    }
    stream
}
