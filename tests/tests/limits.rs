//! Each limit, at it and above it; what is refused names field, value and limit, and nothing of
//! it is stored.

use mercurio_proto::v1::{
    ListHistoryRequest, PublishRequest, Recipients, publish_request::Audience,
};
use mercurio_tests::prelude::*;
use tonic::Code;

async fn refused(api: &Api, request: PublishRequest, field: &str, limit: &str) {
    let what = format!("{:?}", &request)
        .chars()
        .take(100)
        .collect::<String>();
    let status = match api.try_publish(request).await {
        Err(status) => status,
        Ok(answer) => panic!("accepted: {answer:?}: {what}"),
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    let said = expect_field(&status, field);
    assert!(said.contains(limit), "{what}: says {said:?}, not {limit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_publish() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let good = to(&["alice"], "t", "x");
    let source = |id: &str| PublishRequest {
        source_id: id.into(),
        ..good.clone()
    };
    let long = |n: usize| "x".repeat(n);
    // Bytes count, not characters: 43 crabs are 172 bytes.
    let crabs = "\u{1f980}".repeat(43);

    let id = api.publish(source(&long(128))).await.id;
    refused(&api, source(&long(129)), "source_id", "128").await;
    refused(&api, source(&crabs), "source_id", "128").await;
    refused(&api, source(""), "source_id", "1").await;
    refused(&api, source("a\nb"), "source_id", "control").await;

    api.publish(with_id(&long(128), good.clone())).await;
    refused(&api, with_id(&long(129), good.clone()), "event_id", "128").await;

    api.publish(to(&[&long(128)], "t", "x")).await;
    refused(
        &api,
        to(&[&long(129)], "t", "x"),
        "recipients.ids[0]",
        "128",
    )
    .await;
    refused(&api, to(&["ok", ""], "t", "x"), "recipients.ids[1]", "1").await;
    refused(
        &api,
        to(&["a\0b"], "t", "x"),
        "recipients.ids[0]",
        "control",
    )
    .await;
    refused(&api, to(&[], "t", "x"), "recipients.ids", "1").await;
    let nobody = PublishRequest {
        audience: None,
        ..good.clone()
    };
    refused(&api, nobody, "audience", "").await;

    let topic = |topic: &str| to(&["alice"], topic, "x");
    api.publish(topic(&long(256))).await;
    refused(&api, topic(&long(257)), "topic", "256").await;
    for bad in ["a..b", ".a", "a.", "a.*", "a.>", "a b", "a\tb"] {
        refused(&api, topic(bad), "topic", "").await;
    }

    let data = |n: usize| to(&["alice"], "t", &long(n));
    api.publish(data(65_536)).await;
    refused(&api, data(65_537), "data", "65536").await;
    refused(&api, data(3_000_000), "data", "65536").await;

    let many = |n: usize| {
        let ids = (0..n).map(|n| format!("u{n}")).collect();
        let audience = Some(Audience::Recipients(Recipients { ids }));
        PublishRequest {
            audience,
            ..good.clone()
        }
    };
    api.publish(many(10_000)).await;
    refused(&api, many(10_001), "recipients.ids", "10000").await;

    let ttl = |seconds, nanos| {
        let ttl = Some(prost_types::Duration { seconds, nanos });
        PublishRequest {
            ttl,
            ..to(&["brief"], "t", "x")
        }
    };
    api.publish(ttl(1, 0)).await;
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (0, -1),
        (1, -1),
        (0, 2_000_000_000),
        (i64::MAX, 0),
    ] {
        refused(&api, ttl(seconds, nanos), "ttl", "").await;
    }
    // Nothing of the refused was stored, under no sequence: what was accepted is what there is.
    let sources: Vec<u64> = api.history("alice").await.iter().map(|n| n.id).collect();
    assert_eq!(sources.first(), Some(&id));
    let accepted_for_alice = 4;
    assert_eq!(sources.len(), accepted_for_alice);
    assert_eq!(api.history("ok").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_wrong_fields_are_named_at_once() {
    let service = Setup::core().start().await;
    let request = PublishRequest {
        source_id: String::new(),
        topic: "a..b".into(),
        ..to(&["\n"], "", "x")
    };
    let status = service
        .service_api()
        .try_publish(request)
        .await
        .unwrap_err();
    for field in ["source_id", "topic", "recipients.ids[0]"] {
        expect_field(&status, field);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_reading() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let long = "x".repeat(129);
    for user in ["", "a\nb", &long] {
        let status = api.try_list(page(user, 1)).await.unwrap_err();
        expect_field(&status, "recipient_id");
        expect_field(&api.get(user, 1).await.unwrap_err(), "recipient_id");
    }
    for filter in ["", "a..b", ">.a", "a*", &"x".repeat(257)] {
        let request = ListHistoryRequest {
            topics: vec![filter.into()],
            ..page("alice", 1)
        };
        let status = api.try_list(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{filter}: {status:?}");
    }
    let request = ListHistoryRequest {
        status: 99,
        ..page("alice", 1)
    };
    expect_field(&api.try_list(request).await.unwrap_err(), "status");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_message_and_a_body() {
    let service = Setup::serve().start().await;
    // 20 MB in one gRPC message, 20 MB in one body: refused by size, the service goes on.
    let huge = "x".repeat(20 << 20);
    let refused = service
        .service_api()
        .try_publish(to(&["alice"], "t", &huge))
        .await
        .unwrap_err();
    let codes = [
        Code::OutOfRange,
        Code::ResourceExhausted,
        Code::InvalidArgument,
    ];
    assert!(codes.contains(&refused.code()), "{:?}", refused.code());
    let publisher = service.secret().publisher("shop");
    let body = serde_json::json!({ "sourceID": "s", "destinationID": "alice", "data": huge });
    let request = Request::post("/api/events/unicast", &body).bearer(&publisher);
    let answer = request.try_send(service.http()).await;
    // The connection may be closed while the body is still being sent.
    if let Ok(answer) = answer {
        assert!([400, 413].contains(&answer.status), "{}", answer.text());
        assert!(answer.json()["code"].is_string());
    }
    let data = "x".repeat(65_537);
    let body = serde_json::json!({ "sourceID": "s", "destinationID": "alice", "data": data });
    let answer = Request::post("/api/events/unicast", &body).bearer(&publisher);
    let said = answer
        .send(service.http())
        .await
        .expect_error(400, "invalid-field");
    assert!(said.contains("data") && said.contains("65536"), "{said}");
    assert_eq!(service.service_api().history("alice").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_streams_for_one_user() {
    let service = Setup::serve().start().await;
    let token = service.secret().user("alice");
    let request = || Request::get("/api/clients/me/notifications/stream").bearer(&token);
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = Stream::open(service.http(), request()).await;
        stream.expect("opened").await;
        open.push(stream);
    }
    let answer = request().send(service.http()).await;
    answer.expect_error(429, "too-many-streams");
    assert!(answer.header("retry-after").is_some());
    // Others are not concerned; and when one ends there is room again.
    let bob = service.secret().user("bob");
    Subscriber::sse(service.http(), &bob, "bob", Manner::default())
        .opened()
        .await;
    open.pop();
    eventually("there is room again", SOON, async || {
        Stream::try_open(service.http(), request(), "").await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_grpc_streams_for_one_user() {
    let service = Setup::core().start().await;
    let api = service.api(&service.secret().user("alice"));
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = api.subscribe(feed("alice", None)).await;
        stream.next().await;
        open.push(stream);
    }
    let refused = match api.try_subscribe(feed("alice", None)).await {
        Err(status) => status,
        Ok(mut stream) => stream.message().await.unwrap_err(),
    };
    assert_eq!(reason(&refused), "TOO_MANY_STREAMS", "{refused:?}");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    open.pop();
    eventually("there is room again", SOON, async || {
        api.try_subscribe(feed("alice", None))
            .await
            .ok()?
            .message()
            .await
            .ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_streams_for_a_gateway() {
    let service = Setup::serve().args(["--streams-max", "3"]).start().await;
    let secret = service.secret();
    let mut open = Vec::new();
    for user in ["a", "b", "c"] {
        let token = secret.user(user);
        let request = Request::get("/api/clients/me/notifications/stream").bearer(&token);
        let mut stream = Stream::open(service.http(), request).await;
        stream.expect("opened").await;
        open.push(stream);
    }
    let request = Request::get("/api/clients/me/notifications/stream").bearer(&secret.user("d"));
    let answer = request.send(service.http()).await;
    answer.expect_error(503, "too-many-streams");
}
