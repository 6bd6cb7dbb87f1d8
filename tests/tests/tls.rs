//! TLS at both doors and between gateway and core, and certificates that are renewed meanwhile.
//! The clients are others' work: curl, openssl, grpcurl.

use std::{fs, process::Command};

use mercurio_tests::{
    certs::{Authority, Certificate, shown, text},
    curl::Curl,
    prelude::*,
    service::{Role, finish},
    tools::tool,
};
use serde_json::{Value, json};

const STREAM: &str = "/api/clients/me/notifications/stream";
const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

/// curl on a user's stream, over HTTPS.
fn stream(service: &Service, ca: &Authority, version: &str, token: &str) -> Option<Curl> {
    let curl = tool("curl")?;
    let url = format!("https://{}{STREAM}", service.http());
    let token = format!("Authorization: Bearer {token}");
    let ca = text(&ca.ca());
    Some(Curl::open(
        &curl,
        &[version, "--cacert", &ca, "-H", &token, &url],
    ))
}

/// Publishes to alice over the gateway's HTTP; the id. Not to be used over HTTPS.
async fn publish(service: &Service, data: &str) -> u64 {
    let event = json!({ "sourceID": "tests", "destinationID": "alice", "data": data });
    let request = Request::post("/api/events/unicast", &event);
    let request = request.bearer(&service.secret().publisher("tests"));
    let answer = request.send(service.http()).await.expect(200);
    answer["notificationID"].as_u64().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_https_in_both_versions() {
    let ca = Authority::default();
    let setup = Setup::serve().args(ca.server("web").args("tls-"));
    let mut service = setup.args(["--heartbeat", "200ms"]).start().await;
    let (api, alice) = (service.service_api(), service.secret().user("alice"));
    let mut streams = Vec::new();
    for (version, status) in VERSIONS.into_iter().zip(["HTTP/1.1 200 OK", "HTTP/2 200"]) {
        let Some(mut stream) = stream(&service, &ca, version, &alice) else {
            return;
        };
        let head = stream.head().await;
        assert_eq!(head[0], status);
        assert!(!head.iter().any(|line| line.starts_with("content-length")));
        stream.expect("opened").await;
        streams.push(stream);
    }
    // One at a time, quiet in between, and many at once that no buffer on the way holds.
    for data in ["a", "ä€😀\n\u{2028}", ""] {
        let id = api.publish(to(&["alice"], "t", data)).await.id;
        for stream in &mut streams {
            let event = stream.expect("message").await;
            assert_eq!((event.cursor(), &event.json()["data"]), (id, &json!(data)));
            while !matches!(
                stream.item().await,
                Some(mercurio_tests::sse::Item::Comment(_))
            ) {}
        }
    }
    let body = "x".repeat(60_000);
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(api.publish(to(&["alice"], "t", &body)).await.id);
    }
    for stream in &mut streams {
        for id in &ids {
            assert_eq!(stream.expect("message").await.cursor(), *id);
        }
    }
    service.process.terminate();
    for mut stream in streams {
        let closing = stream.expect("closing").await;
        assert_eq!(closing.json(), json!({ "reason": "shutdown" }));
        assert_eq!(stream.event().await, None);
        assert_eq!(stream.end().await, Some(0));
    }
    assert!(service.process.wait(SOON).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_over_http2_and_a_token_that_expires() {
    let ca = Authority::default();
    let setup = Setup::serve().args(ca.server("web").args("tls-"));
    let service = setup.start().await;
    let Some(curl) = tool("curl") else { return };
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    let short = service.secret().expiring("alice", "", 10);
    let mut stream = stream(&service, &ca, "--http2", &short).expect("curl");
    stream.expect("opened").await;
    let alice = service.secret().user("alice");
    let ask = async |method: &str, path: &str, header: &str| {
        let mut command = Command::new(&curl);
        let url = format!("https://{}{path}", service.http());
        command.args(["--silent", "--http2", "--cacert", &text(&ca.ca())]);
        command.args(["-X", method, "-H", header, &url]);
        let (_, said, _) = finish("curl", &mut command, SOON).await;
        serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let history = "/api/clients/me/notifications";
    let bearer = format!("Authorization: Bearer {alice}");
    assert_eq!(ask("GET", history, &bearer).await["unreadCount"], 1);
    let read = format!("{history}/{id}/read");
    // A change by cookie is judged by the name in the address, which HTTP/2 has no Host for.
    let cookie = format!("Cookie: mercurio_token={alice}");
    let refused = ask("PUT", &read, &cookie).await;
    assert_eq!(refused["code"], "origin-not-allowed", "{refused}");
    let own = format!("{cookie}\r\nOrigin: https://{}", service.http());
    assert_eq!(ask("PUT", &read, &own).await["status"], "read");

    stream.expect("read-state").await;
    let closing = stream.expect("closing").await;
    assert_eq!(closing.json(), json!({ "reason": "token-expired" }));
    assert_eq!(stream.end().await, Some(0));
    // Who speaks no TLS is not answered in plain.
    let plain = Request::get("/healthz").try_send(service.http()).await;
    assert!(plain.is_err(), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_and_no_stream_ends() {
    let ca = Authority::default();
    let first = ca.server("web");
    let setup = Setup::serve().args(first.args("tls-"));
    let mut service = setup.start().await;
    let (api, alice) = (service.service_api(), service.secret().user("alice"));
    let mut streams = Vec::new();
    for version in VERSIONS {
        let Some(mut stream) = stream(&service, &ca, version, &alice) else {
            return;
        };
        stream.expect("opened").await;
        streams.push(stream);
    }
    assert_eq!(shown(service.http()), Some(first.serial()));
    // Another one, into the same files.
    let second = ca.server("web");
    let serial = second.serial();
    let renewed = async || (shown(service.http()) == Some(serial.clone())).then_some(());
    eventually("the new certificate is shown", SOON, renewed).await;
    // Half of one, and none: the last good one stays.
    let whole = fs::read(&second.cert).expect("read");
    for broken in [&whole[..whole.len() / 2], b""] {
        let before = service.process.stderr.text();
        fs::write(&second.cert, broken).expect("write");
        eventually("it is noticed", SOON, async || {
            let text = service.process.stderr.text();
            let new = text.strip_prefix(before.as_str()).unwrap_or(&text);
            new.contains("can't be used").then_some(())
        })
        .await;
        assert_eq!(shown(service.http()), Some(serial.clone()));
    }
    let id = api.publish(to(&["alice"], "t", "x")).await.id;
    for stream in &mut streams {
        assert_eq!(stream.expect("message").await.cursor(), id);
    }
    assert!(service.stop().await.success());
}

/// A core with TLS that wants its clients' certificates.
fn core(ca: &Authority) -> Setup {
    Setup::core()
        .args(ca.server("core").args("grpc-tls-"))
        .args(["--grpc-client-ca".to_owned(), text(&ca.ca())])
}

/// A gateway for that core.
fn gateway(core: &Service, ca: &Authority, own: Option<&Certificate>) -> Setup {
    let url = format!("https://localhost:{}", core.grpc().port());
    let setup = Setup::new(Role::Gateway).secret_of(core).args([
        "--core-url",
        &url,
        "--core-ca",
        &text(&ca.ca()),
    ]);
    match own {
        Some(own) => setup.args(own.args("core-tls-")),
        None => setup,
    }
}

async fn readiness(gateway: &Service) -> u16 {
    let ready = Request::get("/readyz").send(gateway.http()).await;
    ready.status
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_and_core_know_each_other() {
    let ca = Authority::default();
    let own = ca.client("gateway", "DNS:gateway.internal");
    let core = core(&ca).start().await;
    let good = gateway(&core, &ca, Some(&own)).start().await;
    let alice = core.secret().user("alice");
    let alice = Subscriber::sse(good.http(), &alice, "alice", Manner::default());
    let alice = alice.opened().await;
    let id = publish(&good, "x").await;
    alice.record.wait_for_cursor(id, SOON).await;

    // Without a certificate, with a stranger's, and to a core that a stranger vouches for.
    let stranger = Authority::default();
    let strange = stranger.client("gateway", "DNS:gateway.internal");
    for refused in [
        gateway(&core, &ca, None),
        gateway(&core, &ca, Some(&strange)),
        gateway(&core, &stranger, Some(&own)),
    ] {
        let refused = refused.start().await;
        let ended = refused
            .process
            .stderr
            .find(|line| line.contains("the relay ended"));
        within("the relay is refused", SOON, ended).await;
        assert_eq!(readiness(&refused).await, 503);
    }

    // Both renew their certificates; the relay stays.
    let before = shown(core.grpc());
    ca.server("core");
    let renewed = async || (shown(core.grpc()) != before).then_some(());
    eventually("the core shows the new certificate", SOON, renewed).await;
    let id = publish(&good, "y").await;
    alice.record.wait_for_cursor(id, SOON).await;
    assert_eq!(alice.record.notifications().len(), 2);
    let said = good.process.stderr.text();
    assert!(!said.contains("the relay ended"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_certificate_allows_without_a_token() {
    let ca = Authority::default();
    let scopes = [
        "--grpc-client-scope",
        "billing.internal=notifications:publish",
        "--grpc-client-scope",
        "spiffe://example.org/reader=notifications:any",
    ];
    let core = core(&ca).args(scopes).start().await;
    let Some(grpcurl) = tool("grpcurl") else {
        return;
    };
    let call = async |own: Option<&Certificate>, token: &str, method: &str, body: &str| {
        let mut command = Command::new(&grpcurl);
        command.args(["-cacert", &text(&ca.ca()), "-max-time", "10", "-d", body]);
        if let Some(own) = own {
            command.args(["-cert", &text(&own.cert), "-key", &text(&own.key)]);
        }
        if !token.is_empty() {
            command.args(["-H", &format!("authorization: Bearer {token}")]);
        }
        command.arg(format!("localhost:{}", core.grpc().port()));
        command.arg(format!("mercurio.v1.NotificationService/{method}"));
        let (status, out, err) = finish("grpcurl", &mut command, SOON).await;
        (status.success(), out + &err)
    };
    let billing = ca.client("billing", "DNS:other.internal,DNS:billing.internal");
    let reader = ca.client("reader", "URI:spiffe://example.org/reader");
    let nobody = ca.client("billing.internal", "DNS:nobody.internal");
    let publish =
        r#"{"source_id": "s", "recipients": {"ids": ["alice"]}, "topic": "t", "data": "x"}"#;
    let list = r#"{"recipient_id": "alice"}"#;
    // Each may do what it was given, and nothing else; a common name is no name.
    for (own, method, body, wanted) in [
        (&billing, "Publish", publish, None),
        (&billing, "ListHistory", list, Some("NOT_YOUR_FEED")),
        (&reader, "Publish", publish, Some("SCOPE_MISSING")),
        (&reader, "ListHistory", list, None),
        (&nobody, "Publish", publish, Some("TOKEN_MISSING")),
    ] {
        let (ok, said) = call(Some(own), "", method, body).await;
        assert_eq!(ok, wanted.is_none(), "{method}: {said}");
        assert!(said.contains(wanted.unwrap_or("")), "{method}: {said}");
    }
    // A token says who calls, whatever the certificate does; and none gets in without one.
    let alice = core.secret().user("alice");
    let (ok, said) = call(Some(&reader), &alice, "ListHistory", list).await;
    assert!(ok, "{said}");
    let (ok, said) = call(Some(&billing), &alice, "Publish", publish).await;
    assert!(!ok && said.contains("SCOPE_MISSING"), "{said}");
    let (ok, said) = call(None, &core.secret().service(), "ListHistory", list).await;
    assert!(!ok && !said.contains("notifications"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_with_tls_at_both_doors_still_reaches_itself() {
    let ca = Authority::default();
    let setup = Setup::serve()
        .args(ca.server("core").args("grpc-tls-"))
        .args(["--grpc-client-ca".to_owned(), text(&ca.ca())]);
    let mut service = setup.start().await;
    let alice = service.secret().user("alice");
    let alice = Subscriber::sse(service.http(), &alice, "alice", Manner::default());
    let alice = alice.opened().await;
    let id = publish(&service, "x").await;
    alice.record.wait_for_cursor(id, SOON).await;
    // The commands too, with a certificate.
    let own = ca.client("cli", "DNS:cli.internal");
    let mut command = mercurio_tests::service::mercurio();
    let secret = text(service.secret().path());
    let url = format!("https://{}", service.grpc());
    command.args([
        "history",
        "--recipient",
        "alice",
        "--jwt-secret-file",
        &secret,
    ]);
    command.args(["--core-url", &url, "--core-ca", &text(&ca.ca())]);
    let (status, _, said) = finish("mercurio", &mut command, SOON).await;
    assert!(!status.success(), "without a certificate: {said}");
    command.args(own.args("core-tls-"));
    let (status, out, said) = finish("mercurio", &mut command, SOON).await;
    assert!(
        status.success() && out.contains(&id.to_string()),
        "{out}{said}"
    );
    assert!(service.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_open_is_said() {
    let ca = Authority::default();
    let web = ca.server("web");
    let cert = ["--tls-cert".to_owned(), text(&web.cert)];
    let (_, said) = Setup::serve().args(cert).refused().await;
    assert!(said.contains("--tls-key is needed"), "{said}");
    let args = [
        "--grpc-client-scope",
        "billing",
        "--grpc-tls-cert",
        "/nonexistent",
        "--grpc-tls-key",
        "/nonexistent",
    ];
    let (_, said) = Setup::core().args(args).refused().await;
    for what in ["--grpc-client-ca is needed", "NAME=SCOPE", "/nonexistent"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let other = Certificate {
        key: ca.server("other").key,
        ..web.clone()
    };
    let (_, said) = Setup::serve().args(other.args("tls-")).refused().await;
    assert!(said.contains("--tls-cert"), "{said}");
    let swapped = Certificate {
        cert: web.key.clone(),
        key: web.cert.clone(),
    };
    let (_, said) = Setup::serve().args(swapped.args("tls-")).refused().await;
    assert!(said.contains("there is no certificate in it"), "{said}");

    // Beyond this machine without TLS there is a warning; with it there is none.
    let warned = async |setup: Setup| {
        let service = setup.everywhere().start().await;
        service.process.stderr.text().contains("without TLS")
    };
    assert!(warned(Setup::serve()).await);
    assert!(!warned(Setup::serve().args(web.args("tls-"))).await);
}
