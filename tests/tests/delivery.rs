//! One, many, everyone: from `Publish` to SSE, gRPC and history.

use mercurio_tests::prelude::*;

/// Readers of both kinds for one user.
async fn readers(service: &Service, user: &str) -> [Subscriber; 2] {
    let token = service.secret().user(user);
    let sse = Subscriber::sse(service.http(), &token, user, Manner::default());
    let grpc = Subscriber::grpc(service.api(&token), user, Manner::default());
    [sse.opened().await, grpc.opened().await]
}

async fn check(service: &Service, ledger: &Ledger, user: &str, readers: &[Subscriber]) {
    let expected = ledger.of(user);
    for (reader, kind) in readers.iter().zip(["SSE", "gRPC"]) {
        reader.record.wait_for_count(expected.len(), SOON).await;
        reader
            .record
            .check(&format!("{user} over {kind}"), &expected);
    }
    let history: Vec<Seen> = service
        .service_api()
        .history(user)
        .await
        .iter()
        .map(Seen::from)
        .collect();
    compare(&format!("{user}'s history"), &expected, &history);
}

#[tokio::test(flavor = "multi_thread")]
async fn to_one_to_many_and_to_everyone() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let ledger = Ledger::default();
    let (alice, bob) = (
        readers(&service, "alice").await,
        readers(&service, "bob").await,
    );

    let publishes = [
        with_id("one", to(&["alice"], "invoice.paid", "for alice")),
        with_id("many", to(&["alice", "bob", "carol"], "news", "for three")),
        with_id("all", to_everyone("maintenance", "for everyone")),
        with_id("bob", to(&["bob"], "", "for bob, without a topic")),
        with_id("nobody", to(&["dave"], "news", "for neither")),
    ];
    for request in publishes {
        publish_surely(&api, &ledger, request).await;
    }

    check(&service, &ledger, "alice", &alice).await;
    check(&service, &ledger, "bob", &bob).await;
    // Not connected when it was published; everyone's is there also for who first comes now.
    check(&service, &ledger, "carol", &[]).await;
    check(&service, &ledger, "erin", &[]).await;
    assert_eq!(ledger.of("erin").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_a_core_and_a_gateway_apart() {
    let apart = Apart::start().await;
    let secret = apart.core.secret();
    let alice = Subscriber::sse(
        apart.gateway.http(),
        &secret.user("alice"),
        "alice",
        Manner::default(),
    )
    .opened()
    .await;
    let second = Subscriber::sse(
        apart.gateway.http(),
        &secret.user("alice"),
        "alice",
        Manner::default(),
    )
    .opened()
    .await;
    let ledger = Ledger::default();
    let api = apart.core.service_api();
    publish_surely(&api, &ledger, with_id("a", to(&["alice"], "t", "1"))).await;
    publish_surely(&api, &ledger, with_id("b", to(&["bob"], "t", "2"))).await;
    publish_surely(&api, &ledger, with_id("c", to_everyone("t", "3"))).await;
    for stream in [&alice, &second] {
        stream.record.wait_for_count(2, SOON).await;
        stream.record.check("alice", &ledger.of("alice"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_recipients_in_one_call() {
    let service = Setup::serve().start().await;
    let ids: Vec<String> = (0..10_000).map(|n| format!("user-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let last = readers(&service, "user-9999").await;
    let ledger = Ledger::default();
    let body = "x".repeat(60_000);
    let request = with_id("big", to(&ids, "news", &body));
    publish_surely(&service.service_api(), &ledger, request).await;
    check(&service, &ledger, "user-9999", &last).await;
    check(&service, &ledger, "user-0", &[]).await;
    // The body is stored once: ten thousand copies would be 600 MB.
    let size = directory_size(&service.setup.data_dir());
    assert!(size < 64 << 20, "{size} bytes stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_named_twice_is_notified_once() {
    let service = Setup::serve().start().await;
    let ledger = Ledger::default();
    let alice = readers(&service, "alice").await;
    let request = with_id("twice", to(&["alice", "bob", "alice"], "t", "once"));
    publish_surely(&service.service_api(), &ledger, request).await;
    publish_surely(
        &service.service_api(),
        &ledger,
        with_id("end", to(&["alice"], "t", "end")),
    )
    .await;
    check(&service, &ledger, "alice", &alice).await;
    assert_eq!(service.service_api().unread("alice").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn everyones_has_a_read_state_of_each_users_own() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let id = api.publish(to_everyone("news", "hello all")).await.id;
    assert_eq!(api.mark("alice", &[id], true).await.changed, 1);
    assert_eq!((api.unread("alice").await, api.unread("bob").await), (0, 1));
    assert!(api.get("alice", id).await.unwrap().read_at.is_some());
    let bobs = api.get("bob", id).await.unwrap();
    assert!(bobs.read_at.is_none() && bobs.broadcast && bobs.recipient_id == "bob");
    // One who has never been heard of before has it unread.
    assert_eq!(api.unread("new-user").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_what_is_read() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let request = with_ttl(Duration::from_secs(3600), to(&["alice"], "a.b", "data"));
    let answer = api.publish(request).await;
    assert!(!answer.duplicate);
    // A UUIDv7 was made: version 7, variant 10.
    let uuid = answer.event_id.as_bytes();
    assert_eq!((uuid.len(), uuid[14]), (36, b'7'), "{}", answer.event_id);
    assert!(b"89ab".contains(&uuid[19]), "{}", answer.event_id);

    let got = api.get("alice", answer.id).await.unwrap();
    assert_eq!(got.id, answer.id);
    assert_eq!(got.event_id, answer.event_id);
    assert_eq!(
        (got.source_id.as_str(), got.recipient_id.as_str()),
        ("tests", "alice")
    );
    assert_eq!(
        (got.topic.as_str(), got.data.as_str(), got.broadcast),
        ("a.b", "data", false)
    );
    let created = got.created_at.expect("created_at");
    assert!(
        (created.seconds - mercurio_tests::tokens::epoch()).abs() < 120,
        "{created:?}"
    );
    assert_eq!(
        got.expires_at.expect("expires_at").seconds,
        created.seconds + 3600
    );
    assert_eq!(got.read_at, None);
    // Not bob's, and not there.
    for (user, id) in [("bob", answer.id), ("alice", answer.id + 1), ("alice", 0)] {
        expect_reason(api.get(user, id).await, tonic::Code::NotFound, "NOT_FOUND");
    }
}

fn directory_size(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("read a directory");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("its metadata");
            if meta.is_dir() {
                directory_size(&entry.path())
            } else {
                meta.len()
            }
        })
        .sum()
}
