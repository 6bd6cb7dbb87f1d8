//! The SSE stream, byte for byte what EventSource expects.

use mercurio_tests::{prelude::*, sse::Item};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const STREAM: &str = "/api/clients/me/notifications/stream";

#[tokio::test(flavor = "multi_thread")]
async fn head_and_opening_arrive_at_once() {
    let service = Setup::serve().start().await;
    let token = service.secret().user("alice");
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    let mut stream = Stream::open(service.http(), Request::get(STREAM).bearer(&token)).await;
    let open = &stream.open;
    assert_eq!(open.header("content-type"), Some("text/event-stream"));
    assert_eq!(open.header("cache-control"), Some("no-store"));
    assert_eq!(open.header("x-accel-buffering"), Some("no"));
    assert_eq!(open.header("content-encoding"), None);

    let first = within("retry", SOON, stream.item()).await.unwrap();
    assert!(
        matches!(first, Some(Item::Retry(1000..=10_000))),
        "{first:?}"
    );
    let second = within("opened", SOON, stream.item()).await.unwrap();
    let Some(Item::Event(opened)) = second else {
        panic!("{second:?}")
    };
    assert_eq!(
        (opened.name.as_str(), opened.id.as_str()),
        ("opened", &*id.to_string())
    );
    let wanted = json!({ "complete": true, "oldest": id, "cursor": id, "unreadCount": 1 });
    assert_eq!(opened.json(), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_and_read_states() {
    let service = Setup::serve().start().await;
    let token = service.secret().user("alice");
    let api = service.service_api();
    let mut stream = Stream::open(service.http(), Request::get(STREAM).bearer(&token)).await;
    stream.expect("opened").await;
    let id = api
        .publish(with_id("e1", to(&["alice"], "a.b", "hello")))
        .await
        .id;
    let event = stream.expect("message").await;
    assert_eq!(event.cursor(), id);
    assert!(!event.data.contains('\n'), "one data line: {event:?}");
    let path = format!("/api/clients/me/notifications/{id}");
    let one = Request::get(&path)
        .bearer(&token)
        .send(service.http())
        .await
        .expect(200);
    assert_eq!(event.json(), one, "the stream and the API say the same");

    let marked = api.mark("alice", &[id], true).await;
    let event = stream.expect("read-state").await;
    assert_eq!(event.cursor(), marked.cursor);
    let wanted = json!({ "notificationIDs": [id], "status": "read", "unreadCount": 0 });
    assert_eq!(event.json(), wanted);
    let second = api.publish(to(&["alice"], "t", "x")).await.id;
    stream.expect("message").await;
    api.mark_up_to("alice", second, false).await;
    let event = stream.expect("read-state").await.json();
    assert_eq!(
        (&event["upTo"], &event["status"]),
        (&json!(second), &json!("unread")),
        "{event}"
    );
    assert_eq!(event["unreadCount"], 2, "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_by_header_and_by_query() {
    let service = Setup::serve().start().await;
    let token = service.secret().user("alice");
    let api = service.service_api();
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(api.publish(to(&["alice"], "t", &n.to_string())).await.id);
    }
    let open = async |path: String, header: Option<u64>| {
        let mut request = Request::get(path).bearer(&token);
        if let Some(id) = header {
            request = request.header("Last-Event-ID", id.to_string());
        }
        let mut stream = Stream::open(service.http(), request).await;
        stream.expect("opened").await;
        stream
    };
    let by_query = || format!("{STREAM}?lastEventID={}", ids[1]);
    let mut stream = open(STREAM.to_owned(), Some(ids[3])).await;
    assert_eq!(stream.expect("message").await.cursor(), ids[4]);
    let mut stream = open(by_query(), None).await;
    assert_eq!(stream.expect("message").await.cursor(), ids[2]);
    // The header is what the browser has seen since; the query is where the page began.
    let mut stream = open(by_query(), Some(ids[3])).await;
    assert_eq!(stream.expect("message").await.cursor(), ids[4]);
    let mut stream = open(format!("{STREAM}?lastEventID=0"), None).await;
    for id in &ids {
        assert_eq!(stream.expect("message").await.cursor(), *id);
    }
    // What is no cursor is refused, not taken for another.
    for query in [
        "lastEventID=x",
        "lastEventID=-1",
        "lastEventID=1.5",
        "topic=a..b",
    ] {
        let path = format!("{STREAM}?{query}");
        let answer = Request::get(path).bearer(&token).send(service.http()).await;
        answer.expect_error(400, "invalid-field");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_when_quiet() {
    let service = Setup::serve().args(["--heartbeat", "1s"]).start().await;
    let token = service.secret().user("alice");
    let mut stream = Stream::open(service.http(), Request::get(STREAM).bearer(&token)).await;
    stream.expect("opened").await;
    for _ in 0..2 {
        let item = within("a heartbeat", SOON, stream.item()).await.unwrap();
        assert_eq!(item, Some(Item::Comment(" heartbeat".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_accept_or_with_another_still_works() {
    // fetch-based clients send `*/*`.
    let service = Setup::serve().start().await;
    let token = service.secret().user("alice");
    let request = Request::get(STREAM).bearer(&token).header("Accept", "*/*");
    let mut open = within("the head", SOON, request.open(service.http()))
        .await
        .unwrap();
    assert_eq!(open.status, 200);
    let chunk = within("the first bytes", SOON, open.chunk())
        .await
        .unwrap()
        .unwrap();
    assert!(chunk.starts_with(b"retry:"), "{chunk:?}");
}

/// What a client that speaks this version of HTTP gets, head and body, up to `until`.
async fn raw(service: &Service, version: &str, until: &str) -> (Vec<String>, String) {
    let token = service.secret().user("alice");
    let mut socket = TcpStream::connect(service.http()).await.unwrap();
    let request = format!(
        "GET /api/clients/me/notifications/stream?lastEventID=0 HTTP/{version}\r\nHost: x\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(until) {
            let read = socket.read_buf(&mut bytes).await.unwrap();
            assert!(read > 0, "ended: {}", String::from_utf8_lossy(&bytes));
        }
    };
    within(until, SOON, read).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let names = head
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap().to_lowercase());
    let mut names: Vec<String> = names.filter(|name| name != "vary").collect();
    names.sort();
    (names, body.to_owned())
}

/// Intermediaries go by the head: nothing in it may say that there is no body.
#[tokio::test(flavor = "multi_thread")]
async fn the_head_frames_the_body_as_the_version_can() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    api.publish(to(&["alice"], "t", "the first one")).await;
    let always = [
        "cache-control",
        "connection",
        "content-type",
        "date",
        "mercurio-expires",
        "mercurio-heartbeat",
        "mercurio-stream",
        "x-accel-buffering",
        "x-request-id",
    ];
    let (names, body) = raw(&service, "1.1", "the first one").await;
    let mut chunked = always.to_vec();
    chunked.insert(7, "transfer-encoding");
    assert_eq!(names, chunked);
    assert!(body.starts_with("c\r\nretry: 3000\n\r\n"), "{body}");
    // What nginx speaks to its upstreams by default.
    let (names, body) = raw(&service, "1.0", "the first one").await;
    assert_eq!(names, always);
    assert!(body.starts_with("retry: 3000\nevent: opened\n"), "{body}");
}
