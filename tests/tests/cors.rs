//! Pages of other origins: allowed where configured, otherwise not.

use mercurio_tests::prelude::*;

const STREAM: &str = "/api/clients/me/notifications/stream";
const PAGE: &str = "https://app.example";

async fn preflight(service: &Service, origin: &str, method: &str, headers: &str) -> Vec<String> {
    let answer = Request::new("OPTIONS", STREAM)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", method)
        .header("Access-Control-Request-Headers", headers)
        .send(service.http())
        .await;
    assert!((200..300).contains(&answer.status), "{}", answer.status);
    ["origin", "methods", "headers"]
        .map(|part| {
            let name = match part {
                "origin" => "access-control-allow-origin",
                "methods" => "access-control-allow-methods",
                _ => "access-control-allow-headers",
            };
            answer.header(name).unwrap_or("").to_ascii_lowercase()
        })
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_for_the_configured_origins() {
    let args = [
        "--cors-origin",
        PAGE,
        "--cors-origin",
        "http://localhost:3000",
    ];
    let service = Setup::serve().args(args).start().await;
    for origin in [PAGE, "http://localhost:3000"] {
        let asked = "authorization, last-event-id, content-type";
        for method in ["GET", "PUT", "POST"] {
            let answer = preflight(&service, origin, method, asked).await;
            assert_eq!(answer[0], origin);
            assert!(answer[1].contains(&method.to_lowercase()), "{answer:?}");
            for header in ["authorization", "last-event-id", "content-type"] {
                assert!(answer[2].contains(header), "{answer:?}");
            }
        }
    }
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "null",
    ] {
        let answer = preflight(&service, origin, "GET", "authorization").await;
        assert_eq!(answer[0], "", "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_errors_and_streams_carry_the_headers() {
    let service = Setup::serve().args(["--cors-origin", PAGE]).start().await;
    let token = service.secret().user("alice");
    let allowed = "access-control-allow-origin";
    let list = || Request::get("/api/clients/me/notifications").header("Origin", PAGE);
    let answer = list().bearer(&token).send(service.http()).await;
    assert_eq!((answer.status, answer.header(allowed)), (200, Some(PAGE)));
    assert!(
        answer
            .header("vary")
            .is_some_and(|v| v.to_lowercase().contains("origin"))
    );
    // Without it a page could not read why it was refused.
    let refused = list().send(service.http()).await;
    assert_eq!((refused.status, refused.header(allowed)), (401, Some(PAGE)));
    let request = Request::get(STREAM).bearer(&token).header("Origin", PAGE);
    let stream = Stream::open(service.http(), request).await;
    assert_eq!(stream.open.header(allowed), Some(PAGE));
    // A page can read when to come again, and when a quiet stream is a dead one.
    let exposed = stream.open.header("access-control-expose-headers");
    assert_eq!(
        exposed,
        Some("retry-after,mercurio-heartbeat,mercurio-stream,mercurio-expires,x-request-id")
    );
    assert_eq!(stream.open.header("mercurio-heartbeat"), Some("15000"));
    let stranger = Request::get("/api/clients/me/notifications").bearer(&token);
    let answer = stranger
        .header("Origin", "https://evil.example")
        .send(service.http())
        .await;
    assert_eq!(answer.header(allowed), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_allowed_without_the_setting() {
    let service = Setup::serve().start().await;
    let answer = Request::new("OPTIONS", STREAM)
        .header("Origin", PAGE)
        .header("Access-Control-Request-Method", "GET")
        .send(service.http())
        .await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
