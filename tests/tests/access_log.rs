//! The access log: a line for each request, call and stream, and nothing in any log that should not
//! be there.

use std::process::Command;

use mercurio_tests::{leaks, prelude::*, process::Process};
use serde_json::{Value, json};

const STREAM: &str = "/api/clients/{client}/notifications/stream";

/// The fields of the access log's lines, of a service that logs JSON.
fn lines(service: &Service) -> Vec<Value> {
    let log = service.process.stderr.all();
    let lines = log
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    lines
        .filter(|line| line["target"] == "mercurio::access")
        .map(|mut line| {
            assert_eq!(line["level"], "INFO");
            assert!(line["timestamp"].is_string() && line.get("span").is_none());
            line["fields"].take()
        })
        .collect()
}

/// The line that has these fields, waiting for it.
async fn line(service: &Service, wanted: Value) -> Value {
    let has = |line: &Value| {
        let mut fields = wanted.as_object().unwrap().iter();
        fields.all(|(name, value)| line[name] == *value)
    };
    let what = format!("a line with {wanted}");
    let found = eventually(&what, SOON, async || lines(service).into_iter().find(has)).await;
    assert!(found["duration_ms"].as_f64().is_some(), "{found}");
    let remote = found["remote"].as_str().expect("a remote address");
    assert!(remote.starts_with("127.0.0.1:"), "{found}");
    found
}

fn json_log(setup: Setup) -> Setup {
    setup.args(["--log-format", "json"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_for_each_request() {
    let service = json_log(Setup::serve()).start().await;
    let (http, secret) = (service.http(), service.secret());
    let ask = async |id: &str, request: Request| {
        request.header("X-Request-Id", id).send(http).await.status
    };
    let history = |client: &str| format!("/api/clients/{client}/notifications");
    let alice = secret.user("alice");

    let path = format!("{}?status=unread&access_token={alice}", history("me"));
    assert_eq!(ask("by-query", Request::get(path)).await, 200);
    let found = line(&service, json!({ "request_id": "by-query" })).await;
    assert_eq!(found["message"], "request");
    assert_eq!(found["user"], "alice");
    assert_eq!(found["method"], "GET");
    assert_eq!(found["route"], "/api/clients/{client}/notifications");
    assert_eq!(found["status"], 200);
    assert_eq!(found.get("reason"), None);

    // Another's feed: who asks is known. Nobody: it isn't.
    let request = Request::get(history("bob")).bearer(&alice);
    assert_eq!(ask("anothers", request).await, 403);
    let found = line(&service, json!({ "request_id": "anothers" })).await;
    assert_eq!(
        (&found["user"], &found["reason"]),
        (&json!("alice"), &json!("not-your-feed"))
    );
    assert_eq!(ask("nobody", Request::get(history("me"))).await, 401);
    let found = line(&service, json!({ "request_id": "nobody" })).await;
    assert_eq!(
        (&found["status"], &found["reason"]),
        (&json!(401), &json!("token-missing"))
    );
    assert_eq!(found.get("user"), None);
    assert_eq!(
        ask("nowhere", Request::get("/eyJ/elsewhere?a=b")).await,
        404
    );
    let found = line(&service, json!({ "request_id": "nowhere" })).await;
    assert_eq!(
        (&found["route"], &found["reason"]),
        (&json!("unmatched"), &json!("not-found"))
    );

    // Health is asked for all day; what the gateway asks its core is told by the gateway's line.
    assert_eq!(ask("health", Request::get("/healthz")).await, 200);
    assert_eq!(ask("last", Request::get("/client.js")).await, 200);
    line(&service, json!({ "request_id": "last" })).await;
    let all = lines(&service);
    assert_eq!(all.len(), 5, "{all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_for_each_stream_at_its_end_and_why() {
    let mut service = json_log(Setup::serve()).start().await;
    let api = service.service_api();
    let path = "/api/clients/me/notifications/stream";
    let open = async |service: &Service, id: &str, token: &str| {
        let request = Request::get(path).bearer(token).header("X-Request-Id", id);
        let mut stream = Stream::open(service.http(), request).await;
        stream.expect("opened").await;
        stream
    };
    // Gone.
    let mut stream = open(&service, "gone", &service.secret().user("alice")).await;
    for n in 0..3 {
        api.publish(to(&["alice"], "t", &format!("n{n}"))).await;
        stream.event().await;
    }
    let none = lines(&service)
        .iter()
        .all(|line| line["request_id"] != "gone");
    assert!(none, "it is open");
    drop(stream);
    let found = line(&service, json!({ "request_id": "gone" })).await;
    assert_eq!(found["message"], "stream ended");
    assert_eq!(found["reason"], "client-gone");
    assert_eq!(
        (&found["route"], &found["status"]),
        (&json!(STREAM), &json!(200))
    );
    assert_eq!(
        (&found["user"], &found["method"]),
        (&json!("alice"), &json!("GET"))
    );
    assert_eq!(found["entries"], 3);
    assert!(found["bytes"].as_u64().unwrap() > 300, "{found}");
    // Expired; opened by a service for a user.
    let token = service.secret().expiring("helper", "notifications:any", 8);
    let request = Request::get(path.replace("me", "bob"))
        .bearer(&token)
        .header("X-Request-Id", "expired");
    let mut stream = Stream::open(service.http(), request).await;
    stream.expect("opened").await;
    stream.expect("closing").await;
    assert!(stream.try_event().await.unwrap().is_none());
    let found = line(&service, json!({ "request_id": "expired" })).await;
    assert_eq!(
        (&found["reason"], &found["user"]),
        (&json!("token-expired"), &json!("helper"))
    );
    assert!(found["duration_ms"].as_f64().unwrap() > 500.0, "{found}");
    // Shut down.
    let _stream = open(&service, "shut", &service.secret().user("cyd")).await;
    service.stop().await;
    let found = line(&service, json!({ "request_id": "shut" })).await;
    assert_eq!(found["reason"], "shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_for_each_call_and_for_its_streams() {
    let core = json_log(Setup::core()).start().await;
    let api = core.service_api();
    api.publish(to(&["alice"], "t", "x")).await;
    let publish = json!({ "method": "/mercurio.v1.NotificationService/Publish" });
    let found = line(&core, publish).await;
    assert_eq!(found["message"], "call");
    assert_eq!(
        (&found["code"], &found["user"]),
        (&json!("OK"), &json!("service"))
    );
    assert!(!found["request_id"].as_str().unwrap().is_empty());
    assert_eq!(found.get("reason"), None);
    let alice = core.api(&core.secret().user("alice"));
    alice.try_publish(to(&["bob"], "t", "x")).await.unwrap_err();
    let found = line(&core, json!({ "code": "PERMISSION_DENIED" })).await;
    assert_eq!(
        (&found["user"], &found["reason"]),
        (&json!("alice"), &json!("SCOPE_MISSING"))
    );
    // Streams: one whose client leaves, one whose token ends.
    let subscribe = "/mercurio.v1.NotificationService/Subscribe";
    let mut stream = alice.subscribe(feed("alice", Some(0))).await;
    // Opened, and one.
    for _ in 0..2 {
        stream.next().await;
    }
    drop(stream);
    let found = line(
        &core,
        json!({ "method": subscribe, "reason": "client-gone" }),
    )
    .await;
    assert_eq!(
        (&found["code"], &found["entries"]),
        (&json!("CANCELLED"), &json!(2))
    );
    let brief = core.api(&core.secret().expiring("alice", "", 8));
    let mut stream = brief.subscribe(feed("alice", None)).await;
    while let Ok(Some(_)) = stream.try_next().await {}
    let found = line(
        &core,
        json!({ "method": subscribe, "code": "UNAUTHENTICATED" }),
    )
    .await;
    assert_eq!(
        (&found["reason"], &found["entries"]),
        (&json!("TOKEN_EXPIRED"), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_turned_off_and_be_text() {
    for (args, expected) in [
        (&["--access-log=false"][..], false),
        (&["--log-level", "warn"], false),
        (&["--log-level", "warn,mercurio::access=info"], true),
        (&["--log-format", "text"], true),
    ] {
        // The level hides where it listens: it is where it was told to.
        let setup = Setup::serve().args(args.iter().copied());
        let service = setup.launch();
        let http = setup.http_address();
        let asked = eventually("it serves", LATER, async || {
            let request = Request::get("/api/clients/me/notifications");
            request.try_send(http).await.ok()
        });
        assert_eq!(asked.await.status, 401);
        service.process.terminate();
        let said = service.process.stderr.to_end(SOON).await;
        let line = said.lines().find(|line| line.contains("mercurio::access"));
        assert_eq!(line.is_some(), expected, "{args:?}\n{said}");
        if let Some(line) = line {
            for part in [" request ", "status=401", "reason=\"token-missing\""] {
                assert!(line.contains(part), "{part} in {line}");
            }
        }
    }
}

/// All doors, and all ways to go wrong, with all that this service itself has to say. That nothing
/// of it is in the log, the harness sees to when the processes end.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_has_tokens_secrets_or_bodies() {
    let verbose = |setup: Setup| setup.args(["--log-level", "mercurio=trace"]);
    let apart = Apart::with(verbose, verbose).await;
    let (core, http) = (&apart.core, apart.gateway.http());
    let secret = core.secret();
    let body = |n: u32| format!("Body {n} of a test: whoever reads this in a log has found a leak");
    let api = core.service_api();
    let alice = secret.user("alice");
    let stream = Subscriber::sse(http, &alice, "alice", Manner::default())
        .opened()
        .await;
    api.publish(with_id("e", to(&["alice"], "t", &body(1))))
        .await;
    api.publish(with_id("e", to(&["alice"], "t", &body(1))))
        .await;
    api.publish(to_everyone("t", &body(2))).await;
    api.try_publish(to(&["alice"], "no topic", &body(3)))
        .await
        .unwrap_err();
    let long = body(4).repeat(2_000);
    api.try_publish(to(&["alice"], "t", &long))
        .await
        .unwrap_err();
    core.api(&alice)
        .try_publish(to(&["alice"], "t", &body(5)))
        .await
        .unwrap_err();
    stream.record.wait_for_count(2, SOON).await;
    let publisher = secret.publisher("p");
    let event = |data: &str| json!({ "sourceID": "s", "destinationID": "alice", "data": data });
    for (body, status) in [(body(6), 200), (body(7).repeat(2_000), 400)] {
        let request = Request::post("/api/events/unicast", &event(&body)).bearer(&publisher);
        let answer = request.send(http).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    leaks::note_body(body(8));
    for broken in [
        format!("{{\"data\": \"{}", body(8)),
        body(8),
        format!("[\"{}\"]", body(8)),
    ] {
        let request = Request::new("POST", "/api/events/unicast")
            .body("application/json", broken)
            .bearer(&publisher);
        assert_eq!(request.send(http).await.status, 400);
    }
    // Tokens in every place, good ones and bad ones.
    let other = mercurio_tests::tokens::Secret::default().user("alice");
    let spoiled = format!("{}x", alice);
    for token in [&alice, &other, &spoiled, &secret.expiring("alice", "", -60)] {
        let path = "/api/clients/me/notifications";
        let places = [
            Request::get(path).bearer(token),
            Request::get(format!("{path}?access_token={token}")),
            Request::get(format!("{path}?access_token={token}&access_token={token}")),
            Request::get(path).header("Cookie", format!("mercurio_token={token}")),
            Request::put(format!("{path}/read?upTo={token}")).bearer(token),
            Request::get(path)
                .bearer(token)
                .header("X-Request-Id", token.as_str()),
        ];
        for request in places {
            request.send(http).await;
        }
        let _ = core
            .api(token)
            .try_publish(to(&["alice"], "t", &body(9)))
            .await;
    }
    drop(stream);
}

/// The scanner has to be able to fail.
#[tokio::test]
async fn a_leak_fails_the_test() {
    let token = mercurio_tests::tokens::Secret::default().user("alice");
    leaks::note_body("The body that the leaky process is going to log");
    for leak in [
        token.as_str(),
        "GET /stream?access_token=abc",
        "data=\"The body that the leaky process is going to log\"",
    ] {
        let run = || {
            let mut command = Command::new("sh");
            command.args(["-c", "echo \"INFO $0\" >&2; sleep 60", leak]);
            let mut process = Process::spawn("leaky", &mut command);
            process.leaks_fail = true;
            process
        };
        let process = run();
        process.stderr.wait_for("INFO", SOON).await;
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(process)));
        let said = dropped.expect_err("it leaks");
        let said = said.downcast_ref::<String>().expect("a message");
        assert!(
            said.starts_with("leaky had a") && said.contains(leak),
            "{said}"
        );
        // Of others, nobody looks at the log.
        let mut process = run();
        process.leaks_fail = false;
        process.stderr.wait_for("INFO", SOON).await;
    }
}
