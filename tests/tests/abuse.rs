//! Who asks for more than is allowed, or sends as slowly as may be: refused with a time to come
//! back, counted, and nobody else notices.

use std::net::SocketAddr;

use mercurio_tests::{
    certs::Authority,
    frames::{DATA, END_HEADERS, HEADERS, Raw, block, frame},
    prelude::*,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, metadata::MetadataValue};
use tonic_types::StatusExt as _;

const STREAM: &str = "/api/clients/me/notifications/stream";
const HISTORY: &str = "/api/clients/me/notifications";
/// Of this machine too, and another one to the gateway.
const ELSEWHERE: &str = "127.0.0.2";

/// Asks until it is refused: how often it was answered, and that the refusal is one to be retried.
async fn until_refused(to: SocketAddr, request: impl Fn() -> Request) -> usize {
    for answered in 0..100 {
        let answer = request().send(to).await;
        if answer.status == 429 {
            answer.expect_error(429, "too-many-requests");
            let wait = answer.header("retry-after").expect("when to come back");
            assert!((1..=10).contains(&wait.parse::<u64>().expect("seconds")));
            return answered;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    panic!("never refused");
}

/// What was refused by this limit, in the metrics.
async fn limited(service: &Service, limit: &str) -> u64 {
    let text = Request::get("/metrics").send(service.admin()).await.text();
    let name = format!("mercurio_gateway_limited_total{{limit=\"{limit}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().expect("a count"))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_address() {
    let args = ["--requests-per-address", "1"];
    let service = Setup::serve().args(args).start().await;
    let get = || Request::get("/openapi.json");
    // Ten at once, and those that come back while it is asked.
    assert!(until_refused(service.http(), get).await >= 10);
    assert!(limited(&service, "address_requests").await >= 1);
    // What is said in heads is not believed; another address is, and a probe is always answered.
    let made_up = || get().header("X-Forwarded-For", "192.0.2.1");
    assert!(until_refused(service.http(), made_up).await < 10);
    let said = "is not trusted";
    service.process.stderr.wait_for(said, SOON).await;
    let other = get().from(ELSEWHERE).send(service.http()).await;
    assert_eq!(other.status, 200);
    let probe = Request::get("/healthz").send(service.http()).await;
    assert_eq!(probe.status, 200);
    // It comes back with the time.
    eventually("there is more", SOON, async || {
        (get().send(service.http()).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_through_a_proxy_count_for_whom_they_come_from() {
    let args = [
        "--requests-per-address",
        "1",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let service = Setup::serve().args(args).start().await;
    let of = |head: &str, client: &str| Request::get("/openapi.json").header(head, client);
    let xff = "X-Forwarded-For";
    assert!(until_refused(service.http(), || of(xff, "192.0.2.1")).await >= 10);
    // However much is put in front of it; and IPv6 counts by /64.
    let made_up = || of(xff, "198.51.100.1, 192.0.2.1");
    assert!(until_refused(service.http(), made_up).await < 10);
    assert!(until_refused(service.http(), || of("Forwarded", "for=\"[2001:db8::1]\"")).await >= 10);
    let neighbour = || of("Forwarded", "for=\"[2001:db8::2:1]:443\"");
    assert!(until_refused(service.http(), neighbour).await < 10);
    for (head, client) in [(xff, "192.0.2.2"), (xff, "2001:db8:0:1::1")] {
        let other = of(head, client).send(service.http()).await;
        assert_eq!(other.status, 200, "{client}");
    }
    // Who is no proxy speaks for nobody.
    let liar = || of(xff, "192.0.2.3").from(ELSEWHERE);
    assert!(until_refused(service.http(), liar).await >= 10);
    let spoken_of = of(xff, "192.0.2.3").send(service.http()).await;
    assert_eq!(spoken_of.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_user() {
    let service = Setup::serve()
        .args(["--requests-per-user", "1"])
        .start()
        .await;
    let (alice, bob) = (service.secret().user("alice"), service.secret().user("bob"));
    let history = |token: &str| Request::get(HISTORY).bearer(token);
    assert!(until_refused(service.http(), || history(&alice)).await >= 10);
    assert!(limited(&service, "user_requests").await >= 1);
    let stream = Request::get(STREAM).bearer(&alice).send(service.http());
    stream.await.expect_error(429, "too-many-requests");
    let answer = history(&bob).send(service.http()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_address() {
    let service = Setup::serve()
        .args(["--streams-per-address", "2"])
        .start()
        .await;
    let request = |user: &str| Request::get(STREAM).bearer(&service.secret().user(user));
    let mut open = Vec::new();
    for user in ["a", "b"] {
        let mut stream = Stream::open(service.http(), request(user)).await;
        stream.expect("opened").await;
        open.push(stream);
    }
    let refused = request("c").send(service.http()).await;
    refused.expect_error(429, "too-many-streams");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(limited(&service, "address_streams").await, 1);
    let other = request("c").from(ELSEWHERE);
    Stream::open(service.http(), other)
        .await
        .expect("opened")
        .await;
    open.pop();
    eventually("there is room again", SOON, async || {
        Stream::try_open(service.http(), request("c"), "")
            .await
            .ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_each_have_a_bucket_at_both_doors() {
    let args = ["--publishes-per-publisher", "1"];
    let service = Setup::serve().args(args).start().await;
    let token = |user: &str| service.secret().publisher(user);
    let shop = service.api(&token("shop"));
    let publish = async || shop.try_publish(to(&["alice"], "t", "x")).await;
    let mut published = 0;
    let refused = loop {
        match publish().await {
            Ok(_) => published += 1,
            Err(status) => break status,
        }
        assert!(published < 100, "never refused");
    };
    assert!(published >= 10);
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(reason(&refused), "RATE_LIMITED");
    let retry = refused.get_details_retry_info().expect("when to come back");
    let wait = retry.retry_delay.expect("a time");
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1));

    // Over HTTP it is the same publisher: the user, not the gateway.
    let body = json!({ "sourceID": "s", "destinationID": "alice", "data": "x" });
    let over_http = |user: &str| Request::post("/api/events/unicast", &body).bearer(&token(user));
    let mut refused = over_http("shop").send(service.http()).await;
    while refused.status == 200 {
        // The second has come round.
        refused = over_http("shop").send(service.http()).await;
    }
    refused.expect_error(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    for _ in 0..10 {
        let other = over_http("billing").send(service.http()).await;
        assert_eq!(other.status, 200, "{}", other.text());
    }
    // Only who may act for anyone is believed whom they publish for.
    let named = || {
        let mut named = tonic::Request::new(to(&["alice"], "t", "x"));
        let bearer = format!("Bearer {}", token("shop"));
        let bearer = bearer.parse().expect("metadata");
        named.metadata_mut().insert("authorization", bearer);
        let other = MetadataValue::from_bytes(b"somebody-else");
        let metadata = named.metadata_mut();
        metadata.insert_bin("mercurio-publisher-bin", other);
        named
    };
    let channel = mercurio_tests::grpc::channel(service.grpc());
    let mut client =
        mercurio_proto::v1::notification_service_client::NotificationServiceClient::new(channel);
    while publish().await.is_ok() {}
    // Some may have come back meanwhile; a bucket of its own would have ten.
    let mut more = 0;
    let refused = loop {
        match client.publish(named()).await {
            Ok(_) => more += 1,
            Err(refused) => break refused,
        }
    };
    assert!(more < 10, "{more}");
    expect_reason(
        Err::<(), _>(refused),
        Code::ResourceExhausted,
        "RATE_LIMITED",
    );
    let text = Request::get("/metrics").send(service.admin()).await.text();
    assert!(text.contains("RATE_LIMITED"), "{text}");
    // It comes back with the time.
    eventually("there is more", SOON, async || publish().await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_is_cut() {
    let ca = Authority::default();
    let web = ca.server("web");
    let short = ["--read-timeout", "4s"];
    let plain = Setup::serve().args(short).start().await;
    let secure = Setup::serve()
        .args(web.args("tls-"))
        .args(short)
        .start()
        .await;

    // A head, and then a body, a byte at a time, over HTTP/1.1.
    let slow_head = drip(plain.http(), "GET /healthz HTTP/1.1\r\nHost: x\r\nx-slow: ");
    let token = plain.secret().publisher("shop");
    let head = format!(
        "POST /api/events/unicast HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{"
    );
    let slow_body = drip(plain.http(), &head);

    // The same over HTTP/2: a head without an end, and a body.
    let token = secure.secret().publisher("shop");
    let bearer = format!("Bearer {token}");
    let block = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/api/events/unicast"),
        (":authority", "x"),
        ("content-type", "application/json"),
        ("authorization", &bearer),
    ]);
    let ca = ca.ca();
    let slow_head_2 = async {
        let mut raw = Raw::connect(secure.http(), Some(&ca))
            .await
            .expect("connect");
        raw.begin().await.expect("begin");
        let head = frame(HEADERS, END_HEADERS, 1, &block);
        for byte in head[..head.len() - 1].chunks(1) {
            if raw.send(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        raw.ended("a slow head").await;
    };
    let slow_body_2 = async {
        let mut raw = Raw::connect(secure.http(), Some(&ca))
            .await
            .expect("connect");
        raw.begin().await.expect("begin");
        raw.send(&frame(HEADERS, END_HEADERS, 1, &block))
            .await
            .expect("send");
        for _ in 0..10 {
            raw.send(&frame(DATA, 0, 1, b" ")).await.expect("send");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let answered = within("a slow body is refused", SOON, raw.answered(1)).await;
        answered.expect("an answer");
    };
    let (head, body, (), ()) = tokio::join!(slow_head, slow_body, slow_head_2, slow_body_2);
    assert!(!head.contains("200"), "{head}");
    assert!(
        body.contains("408") && body.contains("body-too-slow"),
        "{body}"
    );
}

/// Sends a beginning, and then a byte at a time; what is answered until the connection ends.
async fn drip(to: SocketAddr, beginning: &str) -> String {
    let mut socket = TcpStream::connect(to).await.expect("connect");
    socket.write_all(beginning.as_bytes()).await.expect("send");
    let (mut read, mut write) = socket.split();
    let mut answer = Vec::new();
    let dripping = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        // An end or a reset.
        let _ = read.read_to_end(&mut answer).await;
    };
    tokio::select! {
        () = dripping => {}
        () = within("the connection ends", SOON, ended) => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}
