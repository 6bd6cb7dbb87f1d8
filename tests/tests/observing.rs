//! Health, readiness, metrics and the log.

use mercurio_tests::prelude::*;

async fn metrics(service: &Service) -> String {
    let answer = Request::get("/metrics").send(service.admin()).await;
    assert_eq!(answer.status, 200);
    let kind = answer.header("content-type").unwrap_or("").to_owned();
    assert!(
        kind.starts_with("application/openmetrics-text") || kind.starts_with("text/plain"),
        "{kind}"
    );
    answer.text()
}

/// The sum of the samples of a metric, whatever their labels.
fn sample(text: &str, name: &str) -> Option<f64> {
    let samples: Vec<f64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            (key.split('{').next() == Some(name)).then(|| value.parse().ok())?
        })
        .collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness() {
    let mut apart = Apart::start().await;
    let gateway = apart.gateway.http();
    for path in ["/healthz", "/readyz"] {
        eventually(path, SOON, async || {
            (Request::get(path).send(gateway).await.status == 200).then_some(())
        })
        .await;
    }
    apart.core.kill();
    eventually("the gateway is not ready", SOON, async || {
        (Request::get("/readyz").send(gateway).await.status == 503).then_some(())
    })
    .await;
    assert_eq!(Request::get("/healthz").send(gateway).await.status, 200);
    apart.core.restart().await;
    eventually("the gateway is ready", SOON, async || {
        (Request::get("/readyz").send(gateway).await.status == 200).then_some(())
    })
    .await;
    // Health and metrics need no token, everything else does.
    assert_eq!(Request::get("/metrics").send(gateway).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_goes_on() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let before = metrics(&service).await;
    let token = service.secret().user("alice");
    let alice = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    api.publish_many("alice", "n", 10).await;
    api.publish(with_id("same", to(&["alice"], "t", "x"))).await;
    api.publish(with_id("same", to(&["alice"], "t", "x"))).await;
    alice.record.wait_for_count(11, SOON).await;

    let text = metrics(&service).await;
    eprintln!("{text}");
    let published =
        |text: &str| sample(text, "mercurio_core_notifications_published_total").unwrap_or(0.0);
    assert_eq!(published(&text) - published(&before), 11.0, "{text}");
    for (what, words) in [
        ("delivered", &["delivered"][..]),
        ("connected streams", &["streams"]),
        ("streams catching up", &["catching_up"]),
        ("batch sizes", &["batch"]),
        ("sync times", &["commit", "seconds"]),
        ("store size", &["store", "bytes"]),
        ("duplicates", &["duplicate"]),
    ] {
        let found = text.lines().any(|line| {
            line.starts_with("mercurio_") && words.iter().all(|word| line.contains(word))
        });
        assert!(found, "no metric for {what}");
    }
    // Every line is a comment or a sample.
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
        assert!(matches!(value, Some(Ok(_))), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_in_json_without_tokens_or_bodies() {
    let service = Setup::serve()
        .args(["--log-format", "json"])
        .args(["--log-level", "debug"]);
    let mut process = service.launch();
    // The addresses were given, so no line has to be read for them.
    let said = process.process.stderr.wait_for("listening", SOON).await;
    let line: serde_json::Value = serde_json::from_str(&said).expect("a JSON line");
    assert!(line.to_string().contains("127.0.0.1:"), "{line}");
    let http = service.http_address();
    let token = process.secret().publisher("shop");
    let body = serde_json::json!({
        "sourceID": "shop", "destinationID": "alice", "data": "the secret body"
    });
    let answer = Request::post("/api/events/unicast", &body)
        .bearer(&token)
        .send(http)
        .await;
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    let path = format!("/api/clients/me/notifications?access_token={token}");
    Request::get(path).send(http).await.expect(200);
    process.stop().await;
    let log = process.process.stderr.text();
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(!log.contains("the secret body"), "a body in the log");
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!log.contains(signature), "a token in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_goes_from_the_gateway_to_the_core() {
    let apart = Apart::with(
        |core| core.args(["--log-level", "debug"]),
        |gateway| gateway.args(["--log-level", "debug"]),
    )
    .await;
    let token = apart.core.secret().user("alice");
    let request = Request::get("/api/clients/me/notifications").bearer(&token);
    let answer = request
        .header("X-Request-ID", "test-request-7")
        .send(apart.gateway.http())
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-request-id"), Some("test-request-7"));
    apart
        .core
        .process
        .stderr
        .wait_for("test-request-7", SOON)
        .await;
    let answer = Request::get("/api/clients/me/notifications").bearer(&token);
    let answer = answer.send(apart.gateway.http()).await;
    let made = answer
        .header("x-request-id")
        .expect("one is made")
        .to_owned();
    apart.core.process.stderr.wait_for(&made, SOON).await;
}
