//! A fresh token for an open stream: it goes on beyond the first one's end, for its own user only.

use mercurio_tests::{
    certs::{Authority, text},
    curl::Curl,
    prelude::*,
    tokens::ANY,
    tools::tool,
};
use serde_json::json;

const STREAM: &str = "/api/clients/alice/notifications/stream";
const RENEW: &str = "/api/clients/alice/notifications/stream/token";
/// Seconds until a stream's first token expires.
const SHORT: i64 = 8;

async fn open(service: &Service, token: &str) -> (Stream, String) {
    let mut stream = Stream::open(service.http(), Request::get(STREAM).bearer(token)).await;
    stream.expect("opened").await;
    let id = stream.open.header("mercurio-stream").expect("its id");
    let left = stream.open.header("mercurio-expires").expect("its end");
    let left: u64 = left.parse().expect("milliseconds");
    assert!((1..=1_000 * SHORT as u64).contains(&left), "{left}");
    let path = format!("{RENEW}?stream={id}");
    (stream, path)
}

async fn expect_expired(stream: &mut Stream) {
    let closing = stream.expect("closing").await;
    assert_eq!(closing.json(), json!({ "reason": "token-expired" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_with_a_fresh_token_of_its_user() {
    let service = Setup::serve().start().await;
    let secret = service.secret();
    let short = secret.expiring("alice", "", SHORT);
    let (mut renewed, path) = open(&service, &short).await;
    // One that nobody renews tells when the time is up: opened after it, with the same token.
    let (mut left, _) = open(&service, &short).await;
    let service_token = secret.expiring("service", ANY, SHORT);
    let (mut services, services_path) = open(&service, &service_token).await;

    let put = async |path: &str, token: &str| {
        let request = Request::put(path).bearer(token);
        request.send(service.http()).await
    };
    // Whose it is not, and what is none.
    let bob = put(&path, &secret.user("bob")).await;
    bob.expect_error(403, "not-your-feed");
    let other = put(&path, &secret.scoped("other", ANY)).await;
    other.expect_error(404, "stream-not-found");
    let own = put(&services_path, &secret.user("alice")).await;
    own.expect_error(404, "stream-not-found");
    let late = put(&path, &secret.expiring("alice", "", -1)).await;
    late.expect_error(401, "token-expired");
    for (id, status, code) in [
        ("0123456789abcdef", 404, "stream-not-found"),
        ("1", 400, "invalid-field"),
        ("+123456789abcdef", 400, "invalid-field"),
    ] {
        let answer = put(&format!("{RENEW}?stream={id}"), &secret.user("alice")).await;
        answer.expect_error(status, code);
    }
    let answer = put(&path, &secret.user("alice")).await.expect(200);
    assert_eq!(
        (&answer["status"], &answer["streams"]),
        (&json!("renewed"), &json!(1))
    );
    // As long as the token lives.
    let ends_in = answer["expiresIn"].as_u64().expect("milliseconds");
    assert!(ends_in > 1_000 * SHORT as u64, "{answer}");

    expect_expired(&mut left).await;
    expect_expired(&mut services).await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    assert_eq!(renewed.expect("message").await.cursor(), id);
    // What has ended is not renewed.
    let services = put(&services_path, &secret.scoped("service", ANY)).await;
    services.expect_error(404, "stream-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_users_streams_at_once_and_until_the_next_end() {
    let service = Setup::serve().start().await;
    let secret = service.secret();
    let short = secret.expiring("alice", "", SHORT);
    let mut streams = [
        open(&service, &short).await.0,
        open(&service, &short).await.0,
    ];
    let control = Request::get("/api/clients/me/notifications/stream");
    let control = control.bearer(&secret.expiring("bob", "", SHORT));
    let mut control = Stream::open(service.http(), control).await;
    control.expect("opened").await;
    let next = secret.expiring("alice", "", 2 * SHORT);
    let answer = Request::put("/api/clients/me/notifications/stream/token").bearer(&next);
    let answer = answer.send(service.http()).await.expect(200);
    assert_eq!(answer["streams"], 2);
    let left = answer["expiresIn"].as_i64().expect("milliseconds");
    assert!((1..=2_000 * SHORT).contains(&left), "{answer}");
    // A token that ends before shortens nothing.
    let shorter = Request::put(RENEW).bearer(&secret.expiring("alice", "", 2));
    shorter.send(service.http()).await.expect(200);
    expect_expired(&mut control).await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    for stream in &mut streams {
        assert_eq!(stream.expect("message").await.cursor(), id);
        expect_expired(stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_too() {
    let Some(curl) = tool("curl") else { return };
    let ca = Authority::default();
    let service = Setup::serve()
        .args(ca.server("web").args("tls-"))
        .start()
        .await;
    let secret = service.secret();
    let url = |path: &str| format!("https://{}{path}", service.http());
    let open = |token: &str, method: &str, path: &str| {
        let token = format!("Authorization: Bearer {token}");
        let args = ["--http2", "--cacert", &text(&ca.ca()), "-H", &token];
        Curl::open(&curl, &[&args[..], &["-X", method, &url(path)]].concat())
    };
    let short = secret.expiring("alice", "", SHORT);
    let mut stream = open(&short, "GET", STREAM);
    let head = stream.head().await;
    let id = head
        .iter()
        .find_map(|line| line.strip_prefix("mercurio-stream: "));
    let path = format!("{RENEW}?stream={}", id.expect("its id"));
    stream.expect("opened").await;
    let mut control = open(&short, "GET", STREAM);
    control.expect("opened").await;
    let mut renewal = open(&secret.user("alice"), "PUT", &path);
    assert_eq!(renewal.head().await[0], "HTTP/2 200");
    control.expect("closing").await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    assert_eq!(stream.expect("message").await.cursor(), id);
}
