//! Tokens that are revoked: what they opened ends, on every gateway, and nobody takes them any more,
//! after restarts and elsewhere on the same log too.

use mercurio_tests::{
    engine::Engine,
    nats::Nats,
    prelude::*,
    service::{finish, mercurio},
    tokens::{ANY, PUBLISH, Secret, epoch},
};
use serde_json::{Value, json};
use tonic::Code;

const STREAM: &str = "/api/clients/alice/notifications/stream";
const LIST: &str = "/api/clients/alice/notifications";
const RENEW: &str = "/api/clients/alice/notifications/stream/token";

/// A token of alice's with this id, issued a minute ago.
fn named(secret: &Secret, id: &str) -> String {
    let now = epoch();
    secret.sign(&json!({ "sub": "alice", "jti": id, "iat": now - 60, "exp": now + 3600 }))
}

/// `mercurio revoke`.
async fn revoke(core: &Service, args: &[&str]) -> Value {
    let mut command = mercurio();
    command
        .args(["revoke", "--core-url", &format!("http://{}", core.grpc())])
        .arg("--jwt-secret-file")
        .arg(core.secret().path())
        .args(args);
    let (status, out, err) = finish("mercurio", &mut command, SOON).await;
    assert!(status.success(), "{status}: {err}");
    serde_json::from_str(&out).expect("JSON")
}

async fn open(gateway: &Service, token: &str) -> Stream {
    let mut stream = Stream::open(gateway.http(), Request::get(STREAM).bearer(token)).await;
    stream.expect("opened").await;
    stream
}

async fn expect_revoked(stream: &mut Stream) {
    let closing = stream.expect("closing").await;
    assert_eq!(closing.json(), json!({ "reason": "token-revoked" }));
}

async fn expect_refused(gateway: &Service, token: &str) {
    for path in [LIST, STREAM] {
        let answer = Request::get(path).bearer(token).send(gateway.http()).await;
        answer.expect_error(401, "token-revoked");
    }
}

async fn expect_refused_by_core(core: &Service, token: &str) {
    let refused = core.api(token).try_list(page("alice", 1)).await;
    expect_reason(refused, Code::Unauthenticated, "TOKEN_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_refused_everywhere_and_what_it_opened_ends() {
    let mut core = Setup::core().start().await;
    let first = Setup::gateway(&core).start().await;
    let mut second = Setup::gateway(&core).start().await;
    let secret = Secret::new(std::str::from_utf8(core.secret().bytes()).expect("text"));
    let (stolen, other) = (named(&secret, "stolen"), named(&secret, "other"));
    let mut ending = [open(&first, &stolen).await, open(&second, &stolen).await];
    let mut staying = [open(&first, &other).await, open(&second, &other).await];
    // Opened with the one, and held by the other since.
    let mut renewed = open(&first, &stolen).await;
    let id = renewed.open.header("mercurio-stream").expect("its id");
    let renewal = format!("{RENEW}?stream={id}");
    let put = async |path: &str, token: &str| {
        let request = Request::put(path).bearer(token);
        request.send(first.http()).await
    };
    put(&renewal, &other).await.expect(200);
    let direct = core.api(&stolen).subscribe(feed("alice", None)).await;
    let mut direct = direct;
    direct.next().await;

    let answer = revoke(&core, &["--jti", "stolen", "--until", "2h"]).await;
    assert_eq!(answer["alreadyRevoked"], false);
    for stream in &mut ending {
        expect_revoked(stream).await;
    }
    let ended = direct.try_next().await;
    expect_reason(ended, Code::Unauthenticated, "TOKEN_REVOKED");
    for gateway in [&first, &second] {
        expect_refused(gateway, &stolen).await;
    }
    expect_refused_by_core(&core, &stolen).await;
    // Neither by it nor by another does what has ended go on.
    let id = ending[0].open.header("mercurio-stream").expect("its id");
    let ended = format!("{RENEW}?stream={id}");
    put(&ended, &stolen)
        .await
        .expect_error(401, "token-revoked");
    put(&ended, &other)
        .await
        .expect_error(404, "stream-not-found");
    let again = revoke(&core, &["--jti", "stolen", "--until", "1h"]).await;
    assert_eq!(again["alreadyRevoked"], true);
    // The others notice nothing.
    let id = core
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    for stream in staying.iter_mut().chain([&mut renewed]) {
        assert_eq!(stream.expect("message").await.cursor(), id);
    }

    // Who comes later is told, and a crash forgets nothing.
    let third = Setup::gateway(&core).start().await;
    expect_refused(&third, &stolen).await;
    // The log tells of it where it ended something: each relay begins with all that are in force.
    let told = "tokens were revoked";
    first.process.stderr.wait_for(told, SOON).await;
    assert!(!third.process.stderr.text().contains(told));
    core.kill();
    expect_refused(&third, &stolen).await;
    // One that no core has told which are revoked lets nobody in.
    second.restart().await;
    let answer = Request::get(LIST).bearer(&stolen).send(second.http()).await;
    answer.expect_error(503, "core-unavailable");
    core.restart().await;
    expect_refused_by_core(&core, &stolen).await;
    eventually("the gateway is told", SOON, async || {
        let asked = Request::get(LIST).bearer(&stolen).send(second.http()).await;
        (asked.status == 401).then_some(())
    })
    .await;
    expect_refused(&second, &stolen).await;
    // What was renewed ends with the token that it was renewed with.
    revoke(&core, &["--jti", "other"]).await;
    expect_revoked(&mut renewed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_user_and_new_ones_are_good() {
    let service = Setup::serve().start().await;
    let secret = service.secret();
    let now = epoch();
    let issued =
        |user: &str, at: i64| secret.sign(&json!({ "sub": user, "iat": at, "exp": now + 3600 }));
    let (old, undated) = (issued("alice", now - 5), secret.user("alice"));
    let mut ending = [open(&service, &old).await, open(&service, &undated).await];
    let mut services = open(
        &service,
        &secret.scoped("service", &format!("{ANY} {PUBLISH}")),
    )
    .await;
    let answer = revoke(&service, &["--sub", "alice"]).await;
    assert_eq!(answer["alreadyRevoked"], false);
    assert!(answer["keptUntil"].is_string(), "{answer}");
    for stream in &mut ending {
        expect_revoked(stream).await;
    }
    for token in [&old, &undated] {
        expect_refused(&service, token).await;
        expect_refused_by_core(&service, token).await;
    }
    // What was issued since is good: a token counts by its second.
    let new = issued("alice", epoch() + 1);
    let mut back = open(&service, &new).await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    for stream in [&mut back, &mut services] {
        assert_eq!(stream.expect("message").await.cursor(), id);
    }
    let bob = Request::get("/api/clients/bob/notifications").bearer(&issued("bob", now - 5));
    bob.send(service.http()).await.expect(200);
    // Asked for the same again.
    let then = [
        "--sub",
        "alice",
        "--issued-before",
        "2020-01-01T00:00:00Z",
        "--until",
        "1h",
    ];
    assert_eq!(revoke(&service, &then).await["alreadyRevoked"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_own_tokens_are_revoked_makes_new_ones() {
    let apart = Apart::start().await;
    let secret = apart.core.secret();
    let mut stream = open(&apart.gateway, &secret.user("alice")).await;
    revoke(&apart.core, &["--sub", "mercurio-gateway"]).await;
    // The relay is opened again, and the stream goes on from where it was.
    let id = apart
        .core
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    assert_eq!(stream.expect("message").await.cursor(), id);
    let listed = Request::get(LIST).bearer(&secret.user("alice"));
    listed.send(apart.gateway.http()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_core_of_a_shared_log_refuses_it() {
    let Some(engine) = Nats::start(1).map(Engine::Nats) else {
        return;
    };
    let cores = engine.cores(2).await;
    let gateway = Setup::gateway(&cores[1]).start().await;
    let secret = cores[0].secret();
    let stolen = named(secret, "stolen");
    let mut stream = open(&gateway, &stolen).await;
    revoke(&cores[0], &["--jti", "stolen"]).await;
    expect_revoked(&mut stream).await;
    for core in &cores {
        eventually("it is applied", SOON, async || {
            let refused = core.api(&stolen).try_list(page("alice", 1)).await;
            refused
                .err()
                .filter(|status| reason(status) == "TOKEN_REVOKED")
        })
        .await;
    }
    let again = revoke(&cores[1], &["--jti", "stolen", "--until", "1h"]).await;
    assert_eq!(again["alreadyRevoked"], true);
    expect_refused(&gateway, &stolen).await;
}
