//! Traces: from who publishes to who delivers, over real processes, to a collector.

use mercurio_tests::{
    certs::Authority,
    engine::{Engine, ready},
    link::Link,
    nats::Nats,
    nginx::Nginx,
    otlp::{self, Collector, Span},
    prelude::*,
    service::free_address,
};

const CALLER: &str = "b7ad6b7169203331";

fn trace(n: u8) -> String {
    format!("{n:02x}f7651916cd43dd8448eb211c80319c")
}

/// What a caller whose trace is recorded says, or one whose trace is not.
fn parent(trace: &str, is_sampled: bool) -> String {
    format!("00-{trace}-{CALLER}-{:02x}", u8::from(is_sampled))
}

fn unicast(data: &str) -> serde_json::Value {
    serde_json::json!({ "sourceID": "shop", "destinationID": "alice", "data": data })
}

async fn publish(service: &Service, http: std::net::SocketAddr, traceparent: &str, data: &str) {
    let request = Request::post("/api/events/unicast", &unicast(data));
    let request = request.bearer(&service.secret().publisher("shop"));
    let answer = request.header("traceparent", traceparent).send(http).await;
    answer.expect(200);
}

/// The span of this name and trace, once it is there.
async fn span(collector: &Collector, trace: &str, service: &str, name: &str) -> Span {
    let what = format!("{service}: {name} in {trace}");
    let is_it = |span: &Span| span.trace == trace && span.name == name && span.service == service;
    collector.wait_for(&what, is_it).await
}

const PUBLISH: &str = "mercurio.v1.NotificationService/Publish";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_from_the_publisher_to_the_delivery() {
    let collector = Collector::start().await;
    let only_callers = ["--otlp-sample-ratio", "0"];
    let apart = Apart::with(
        |core| core.args(collector.args("core")).args(only_callers),
        |gateway| gateway.args(collector.args("gateway")).args(only_callers),
    )
    .await;
    let http = apart.gateway.http();
    let token = apart.core.secret().user("alice");
    let alice = Subscriber::sse(http, &token, "alice", Manner::default())
        .opened()
        .await;

    // Whom the caller does not record, nobody does; and what begins here is not recorded either.
    let (recorded, not_recorded) = (trace(1), trace(2));
    publish(&apart.core, http, &parent(&not_recorded, false), "one").await;
    publish(&apart.core, http, "nonsense", "two").await;
    publish(&apart.core, http, &parent(&recorded, true), "the body").await;
    alice.record.wait_for_count(3, SOON).await;

    let served = span(&collector, &recorded, "gateway", "POST /api/events/unicast").await;
    let called = span(&collector, &recorded, "gateway", PUBLISH).await;
    let published = span(&collector, &recorded, "core", PUBLISH).await;
    let delivered = span(&collector, &recorded, "gateway", "deliver").await;
    assert_eq!(served.parent, CALLER);
    assert_eq!(called.parent, served.id);
    assert_eq!(published.parent, called.id);
    assert_eq!(delivered.parent, published.id);
    let kinds = [&served, &called, &published, &delivered].map(|span| span.kind as i32);
    // Server, client, server, consumer.
    assert_eq!(kinds, [2, 3, 2, 5]);
    let last = alice.record.notifications().last().unwrap().id.to_string();
    for (span, key, value) in [
        (&served, "http.route", "/api/events/unicast"),
        (&served, "http.response.status_code", "200"),
        (&called, "rpc.method", "Publish"),
        (&called, "rpc.grpc.status_code", "0"),
        (&published, "rpc.service", "mercurio.v1.NotificationService"),
        (&published, "mercurio.notification.id", &last),
        (&published, "mercurio.duplicate", "false"),
        (&delivered, "mercurio.cursor", &last),
        (&delivered, "mercurio.streams", "1"),
    ] {
        let found = span.attributes.get(key).map(String::as_str);
        assert_eq!(found, Some(value), "{key} of {span:?}");
    }

    // Over gRPC, to the core itself; published again it is delivered to nobody.
    let direct = trace(3);
    for _ in 0..2 {
        let mut request = tonic::Request::new(with_id("same", to(&["alice"], "t", "x")));
        let said = parent(&direct, true).parse().unwrap();
        request.metadata_mut().insert("traceparent", said);
        let mut client = apart.core.service_api().client;
        client.publish(request).await.expect("publish");
    }
    let published = span(&collector, &direct, "core", PUBLISH).await;
    assert_eq!(published.parent, CALLER);
    let delivered = span(&collector, &direct, "gateway", "deliver").await;
    assert_eq!(delivered.parent, published.id);
    let end = trace(4);
    publish(&apart.core, http, &parent(&end, true), "the end").await;
    span(&collector, &end, "gateway", "deliver").await;

    let known = [recorded, direct.clone(), end];
    let spans = collector.spans();
    for span in &spans {
        assert!(known.contains(&span.trace), "{span:?}");
        assert!(!span.whole.contains("the body"), "{span:?}");
    }
    let is_delivery = |span: &&Span| span.trace == direct && span.name == "deliver";
    assert_eq!(spans.iter().filter(is_delivery).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_here_and_what_went_wrong() {
    let collector = Collector::start().await;
    let service = Setup::serve()
        .args(collector.args("mercurio"))
        .args(["--otlp-sample-ratio", "1"])
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        .start()
        .await;
    let http = service.http();
    let unseen = trace(5);
    publish(&service, http, &parent(&unseen, false), "x").await;
    let token = service.secret().user("alice");
    let path = format!("/api/clients/me/notifications?limit=7&access_token={token}");
    Request::get(path).send(http).await.expect(200);
    let refused = Request::post("/api/events/unicast", &unicast("x")).bearer(&token);
    let refused = refused
        .header("X-Request-ID", "my-request")
        .send(http)
        .await;
    refused.expect_error(403, "scope-missing");
    let stranger = service.api("no.such.token");
    let refused = stranger.try_publish(to(&["alice"], "t", "x")).await;
    refused.expect_err("it is no token");

    let list = "GET /api/clients/{client}/notifications";
    let listed = collector.wait_for(list, |span| span.name == list).await;
    assert_eq!(listed.parent, "");
    let in_core = "mercurio.v1.NotificationService/ListHistory";
    let of_it = collector.wait_for(in_core, |span| {
        span.name == in_core && span.kind as i32 == 2
    });
    assert_eq!(of_it.await.trace, listed.trace);
    let is_refused = |span: &Span| span.attributes.contains_key("error.type");
    let refused = collector.wait_for("the refusal", is_refused).await;
    assert_eq!(refused.attributes["error.type"], "scope-missing");
    assert_eq!(refused.attributes["mercurio.request_id"], "my-request");
    assert!(!refused.failed, "it was the caller's fault");
    let is_unknown = |span: &Span| {
        span.attributes
            .get("rpc.grpc.status_code")
            .is_some_and(|c| c == "16")
    };
    collector.wait_for("the unknown caller", is_unknown).await;

    let signature = token.rsplit_once('.').unwrap().1;
    for span in collector.spans() {
        assert_ne!(span.trace, unseen, "{span:?}");
        assert!(span.whole.contains("deployment.environment"), "{span:?}");
        for secret in [signature, "limit=7", "no.such.token", "x-tenant"] {
            assert!(!span.whole.contains(secret), "{secret} in {span:?}");
        }
    }
    let tenant = collector.metadata().get("x-tenant").cloned();
    assert_eq!(
        tenant.as_ref().map(|value| value.as_bytes()),
        Some(&b"shop"[..])
    );
}

/// A metric's value; 0 where it is not there.
async fn metric(service: &Service, name: &str) -> u64 {
    let text = Request::get("/metrics").send(service.admin()).await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().expect("a number"))
}

const LOST: &str = "mercurio_traces_spans_lost_total";
const WARNING: &str = "the collector takes no traces";

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_nothing_up() {
    let address = free_address();
    let mut service = Setup::serve()
        .args(otlp::args(&format!("http://{address}"), "mercurio"))
        .args(["--otlp-sample-ratio", "1", "--shutdown-grace", "5s"])
        .start()
        .await;
    let api = service.service_api();
    // Lost several times, and said once.
    let mut lost = 0;
    for _ in 0..3 {
        api.publish_many("alice", "n", 50).await;
        lost = eventually("spans are lost", SOON, async || {
            let now = metric(&service, LOST).await;
            (now > lost).then_some(now)
        })
        .await;
    }
    let log = service.process.stderr.text();
    assert_eq!(log.matches(WARNING).count(), 1, "{log}");
    // It comes, and takes what there is from then on.
    let collector = Collector::at(address).await;
    eventually("spans are taken", SOON, async || {
        api.publish(to(&["alice"], "t", "x")).await;
        (!collector.spans().is_empty()).then_some(())
    })
    .await;
    eventually("they are counted as sent", SOON, async || {
        (metric(&service, "mercurio_traces_spans_sent_total").await > 0).then_some(())
    })
    .await;
    // The last ones are sent at the end, if the collector, which is this process, takes them within a
    // second.
    let mut tries = 6..9;
    loop {
        let last = trace(tries.next().expect("taken in time once"));
        publish(&service, service.http(), &parent(&last, true), "x").await;
        assert!(service.stop().await.success());
        let is_last = |span: &Span| span.trace == last && span.kind as i32 == 2;
        let spans = collector.spans();
        match spans.iter().filter(|span| is_last(span)).count() {
            2 => break,
            _ => service.restart().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_holds_nothing_up() {
    let collector = Collector::start().await;
    let link = Link::to(collector.address).await;
    let mut service = Setup::serve()
        .args(otlp::args(&link.url(), "mercurio"))
        .args(["--otlp-sample-ratio", "1", "--shutdown-grace", "5s"])
        .start()
        .await;
    let api = service.service_api();
    api.publish(to(&["alice"], "t", "x")).await;
    collector
        .wait_for("a span", |span| span.name == PUBLISH)
        .await;
    link.freeze();
    // More than may wait; each publish is answered, and what is too much is lost.
    for _ in 0..10 {
        api.publish_many("alice", "n", 500).await;
    }
    eventually("spans are lost", SOON, async || {
        (metric(&service, LOST).await > 0).then_some(())
    })
    .await;
    api.publish_many("alice", "last", 10).await;
    // In its time: else the status would say so.
    assert!(service.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_log_that_cores_share() {
    let Some(nats) = Nats::start(1).map(Engine::Nats) else {
        return;
    };
    let collector = Collector::start().await;
    let core = nats.setup().args(collector.args("core")).start().await;
    ready(&core).await;
    let gateway = Setup::gateway(&core).args(collector.args("gateway"));
    let gateway = gateway.start().await;
    let token = core.secret().user("alice");
    let alice = Subscriber::sse(gateway.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let id = trace(7);
    publish(&core, gateway.http(), &parent(&id, true), "x").await;
    alice.record.wait_for_count(1, SOON).await;
    let published = span(&collector, &id, "core", PUBLISH).await;
    let delivered = span(&collector, &id, "gateway", "deliver").await;
    assert_eq!(delivered.parent, published.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_traces_nothing_hands_on_the_callers_trace() {
    let collector = Collector::start().await;
    let apart = Apart::with(|core| core.args(collector.args("core")), |gateway| gateway).await;
    let id = trace(8);
    publish(&apart.core, apart.gateway.http(), &parent(&id, true), "x").await;
    assert_eq!(span(&collector, &id, "core", PUBLISH).await.parent, CALLER);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_to_whom_the_authority_vouches_for() {
    let collector = Collector::start().await;
    let way = format!(
        "location /opentelemetry {{ grpc_pass grpc://{}; }}",
        collector.address
    );
    let Some(mut nginx) = Nginx::start(collector.address, "", &way).await else {
        return;
    };
    let authority = Authority::default();
    let own = authority.server("collector");
    let shown = nginx.certificate();
    std::fs::copy(&own.cert, &shown).expect("copy");
    std::fs::copy(&own.key, shown.with_file_name("key.pem")).expect("copy");
    nginx.restart().await;
    let url = format!("https://{}", nginx.tls);
    let ca = authority.ca().display().to_string();
    let service = Setup::serve()
        .args(otlp::args(&url, "mercurio"))
        .args(["--otlp-ca", &ca])
        .start()
        .await;
    let id = trace(9);
    publish(&service, service.http(), &parent(&id, true), "x").await;
    span(&collector, &id, "mercurio", PUBLISH).await;
    // The system's authorities know nothing of it.
    let stranger = Setup::serve()
        .args(otlp::args(&url, "stranger"))
        .start()
        .await;
    publish(&stranger, stranger.http(), &parent(&id, true), "x").await;
    let said = stranger.process.stderr.wait_for(WARNING, SOON).await;
    assert!(said.contains("ertificate"), "{said}");
    assert!(
        collector
            .spans()
            .iter()
            .all(|span| span.service != "stranger")
    );

    let plain = url.replace("https", "http");
    let refused = Setup::serve()
        .args(otlp::args(&plain, "x"))
        .args(["--otlp-ca", &ca]);
    let (_, said) = refused.refused().await;
    assert!(said.contains("--otlp-ca: "), "{said}");
}
