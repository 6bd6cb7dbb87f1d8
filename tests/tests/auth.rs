//! Tokens at both doors: each kind that is refused, over HTTP and over gRPC, and what the good
//! ones may do.

use jsonwebtoken::{Algorithm, EncodingKey};
use mercurio_tests::{
    grpc::channel,
    prelude::*,
    tokens::{ANY, PUBLISH, Secret, base64, epoch, sign},
};
use serde_json::json;
use tonic::Code;

const HISTORY: &str = "/api/clients/me/notifications";
const STREAM: &str = "/api/clients/me/notifications/stream";

/// Asserts that both doors refuse this `authorization` (none where `None`) so.
async fn refused(service: &Service, authorization: Option<&str>, code: &str) {
    let what = authorization.map_or("none", |text| &text[..text.len().min(60)]);
    for path in [HISTORY, STREAM] {
        let mut request = Request::get(path);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let answer = request.send(service.http()).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        let said = answer.expect_error(401, code);
        check_secrecy(&said, authorization);
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|v| v.starts_with("Bearer")),
            "{what}"
        );
    }
    let api = Api::with(channel(service.grpc()), authorization);
    let refused = api.try_list(page("alice", 1)).await.unwrap_err();
    let wanted = code.to_uppercase().replace('-', "_");
    assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused:?}");
    assert_eq!(reason(&refused), wanted, "{what}: {refused:?}");
    check_secrecy(refused.message(), authorization);
    let refused = match api.try_subscribe(feed("alice", None)).await {
        Err(status) => status,
        Ok(mut stream) => stream.message().await.unwrap_err(),
    };
    assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused:?}");
    expect_reason(
        api.try_publish(to(&["alice"], "t", "x")).await,
        Code::Unauthenticated,
        &wanted,
    );
}

fn check_secrecy(said: &str, authorization: Option<&str>) {
    let Some(token) = authorization.and_then(|value| value.strip_prefix("Bearer ")) else {
        return;
    };
    for part in token.split('.').filter(|part| part.len() > 8) {
        assert!(!said.contains(part), "the token is repeated: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_bad_token_is_refused_at_both_doors() {
    let service = Setup::serve().start().await;
    let secret = service.secret();
    let bearer = |token: String| format!("Bearer {token}");
    let good = json!({ "sub": "alice", "exp": epoch() + 600 });

    refused(&service, None, "token-missing").await;
    refused(&service, Some("Bearer"), "token-missing").await;
    refused(&service, Some("Basic YWxpY2U6eA=="), "token-missing").await;
    for nonsense in ["x", "a.b.c", "..", "a.b", "a.b.c.d", "{}"] {
        refused(&service, Some(&bearer(nonsense.into())), "token-invalid").await;
    }

    // Expired, and not valid yet.
    refused(
        &service,
        Some(&bearer(secret.expiring("alice", ANY, -3600))),
        "token-expired",
    )
    .await;
    let early = json!({ "sub": "alice", "exp": epoch() + 7200, "nbf": epoch() + 3600 });
    refused(
        &service,
        Some(&bearer(secret.sign(&early))),
        "token-invalid",
    )
    .await;
    // Without an end.
    refused(
        &service,
        Some(&bearer(secret.sign(&json!({ "sub": "alice" })))),
        "token-invalid",
    )
    .await;

    // Another secret, another body, a cut signature.
    let other = Secret::default();
    refused(&service, Some(&bearer(other.service())), "token-invalid").await;
    let token = secret.sign(&good);
    let parts: Vec<&str> = token.split('.').collect();
    let forged = json!({ "sub": "alice", "exp": epoch() + 600, "scope": PUBLISH }).to_string();
    let forged = format!("{}.{}.{}", parts[0], base64(forged.as_bytes()), parts[2]);
    refused(&service, Some(&bearer(forged)), "token-invalid").await;
    let cut = token[..token.len() - 4].to_owned();
    refused(&service, Some(&bearer(cut)), "token-invalid").await;
    refused(
        &service,
        Some(&bearer(format!("{}.{}.", parts[0], parts[1]))),
        "token-invalid",
    )
    .await;

    // Unsigned, in every spelling.
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let head = base64(json!({ "alg": none, "typ": "JWT" }).to_string().as_bytes());
        let unsigned = format!("{head}.{}.", base64(good.to_string().as_bytes()));
        refused(&service, Some(&bearer(unsigned)), "token-invalid").await;
        let with_signature = format!("{head}.{}.{}", parts[1], parts[2]);
        refused(&service, Some(&bearer(with_signature)), "token-invalid").await;
    }

    // Claims that are no user.
    for sub in [
        json!(""),
        json!(null),
        json!(["alice"]),
        json!("a\u{0}b"),
        json!("x".repeat(129)),
    ] {
        let claims = json!({ "sub": sub, "exp": epoch() + 600 });
        refused(
            &service,
            Some(&bearer(secret.sign(&claims))),
            "token-invalid",
        )
        .await;
    }
    let nobody = json!({ "exp": epoch() + 600 });
    refused(
        &service,
        Some(&bearer(secret.sign(&nobody))),
        "token-invalid",
    )
    .await;

    // Oversized: correct, but 20 KB.
    let big = json!({ "sub": "alice", "exp": epoch() + 600, "x": "y".repeat(12_000) });
    refused(&service, Some(&bearer(secret.sign(&big))), "token-invalid").await;

    // The good one, to be sure that the test is not blind; with HS384 and HS512 too.
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = sign(algorithm, &EncodingKey::from_secret(secret.bytes()), &good);
        Request::get(HISTORY)
            .bearer(&token)
            .send(service.http())
            .await
            .expect(200);
        service
            .api(&token)
            .try_list(page("alice", 1))
            .await
            .unwrap();
    }

    // No token in the log.
    let log = service.process.stderr.text();
    assert!(
        !log.contains(parts[1]) && !log.contains(parts[2]),
        "a token in the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_reaches_only_their_own() {
    let service = Setup::serve().start().await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    let secret = service.secret();
    let bob = secret.user("bob");
    let paths = [
        "/api/clients/alice/notifications".to_owned(),
        "/api/clients/alice/notifications/stream".to_owned(),
        format!("/api/clients/alice/notifications/{id}"),
    ];
    for path in paths {
        let answer = Request::get(&path).bearer(&bob).send(service.http()).await;
        answer.expect_error(403, "not-your-feed");
    }
    for path in [
        format!("{id}/read"),
        format!("{id}/unread"),
        format!("read?upTo={id}"),
    ] {
        let path = format!("/api/clients/alice/notifications/{path}");
        let answer = Request::put(path).bearer(&bob).send(service.http()).await;
        answer.expect_error(403, "not-your-feed");
    }
    // `me` is bob, who has no such notification.
    let path = format!("/api/clients/me/notifications/{id}");
    Request::get(path)
        .bearer(&bob)
        .send(service.http())
        .await
        .expect_error(404, "not-found");

    let api = service.api(&bob);
    let denied = (Code::PermissionDenied, "NOT_YOUR_FEED");
    expect_reason(api.try_list(page("alice", 1)).await, denied.0, denied.1);
    expect_reason(api.get("alice", id).await, denied.0, denied.1);
    let target = mercurio_proto::v1::set_read_state_request::Target::UpTo(id);
    expect_reason(
        api.try_mark("alice", Some(target), true).await,
        denied.0,
        denied.1,
    );
    match api.try_subscribe(feed("alice", None)).await {
        Ok(mut stream) => expect_reason(stream.message().await, denied.0, denied.1),
        Err(status) => expect_reason(Err::<(), _>(status), denied.0, denied.1),
    }
    assert_eq!(service.service_api().unread("alice").await, 1);

    // With the scope to act for anyone it is allowed, at both doors.
    let any = secret.scoped("support", ANY);
    let path = format!("/api/clients/alice/notifications/{id}");
    Request::get(path)
        .bearer(&any)
        .send(service.http())
        .await
        .expect(200);
    service.api(&any).get("alice", id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_needs_the_scope_or_the_name() {
    let service = Setup::serve()
        .args(["--publisher", "666", "--publisher", "shop"])
        .start()
        .await;
    let secret = service.secret();
    let body = json!({ "sourceID": "s", "destinationID": "alice", "data": "x" });
    let many = json!({ "sourceID": "s", "destinations": ["alice"], "data": "x" });
    let http = async |token: &str| {
        let unicast = Request::post("/api/events/unicast", &body).bearer(token);
        let broadcast = Request::post("/api/events/broadcast", &many).bearer(token);
        [
            unicast.send(service.http()).await,
            broadcast.send(service.http()).await,
        ]
    };
    for token in [
        secret.user("alice"),
        secret.scoped("alice", ANY),
        secret.scoped("x", "publish"),
    ] {
        for answer in http(&token).await {
            answer.expect_error(403, "scope-missing");
        }
        let refused = service
            .api(&token)
            .try_publish(to(&["alice"], "t", "x"))
            .await;
        expect_reason(refused, Code::PermissionDenied, "SCOPE_MISSING");
    }
    assert_eq!(service.service_api().history("alice").await.len(), 0);
    for token in [
        secret.publisher("anyone"),
        secret.user("666"),
        secret.user("shop"),
    ] {
        for answer in http(&token).await {
            assert!((200..300).contains(&answer.status), "{}", answer.text());
        }
        service.api(&token).publish(to(&["alice"], "t", "x")).await;
    }
    // A publisher is no reader of others.
    let denied = service
        .api(&secret.user("shop"))
        .try_list(page("alice", 1))
        .await;
    expect_reason(denied, Code::PermissionDenied, "NOT_YOUR_FEED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_ends_its_stream() {
    let service = Setup::serve().start().await;
    let token = service.secret().expiring("alice", "", 8);
    let mut feed = service.api(&token).subscribe(feed("alice", None)).await;
    let mut sse = Stream::open(service.http(), Request::get(STREAM).bearer(&token)).await;
    feed.next().await;
    sse.expect("opened").await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    assert_eq!(sse.expect("message").await.cursor(), id);
    assert_eq!(feed.next().await.cursor, id);

    assert_eq!(
        sse.expect("closing").await.json(),
        json!({ "reason": "token-expired" })
    );
    let end = within("the stream's end", SOON, sse.try_event()).await;
    assert_eq!(end.expect("a clean end"), None);
    expect_reason(
        feed.try_next().await,
        Code::Unauthenticated,
        "TOKEN_EXPIRED",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_places_of_a_token() {
    let service = Setup::serve()
        .args([
            "--jwt-cookie",
            "session",
            "--cors-origin",
            "https://app.example",
        ])
        .start()
        .await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    let token = service.secret().user("alice");
    let to = service.http();

    let query = Request::get(format!("{STREAM}?access_token={token}&lastEventID=0"));
    let mut stream = Stream::open(to, query).await;
    stream.expect("opened").await;
    assert_eq!(stream.expect("message").await.cursor(), id);
    let cookie = format!("other=1; session={token}");
    Request::get(HISTORY)
        .header("Cookie", &cookie)
        .send(to)
        .await
        .expect(200);

    // A state change by cookie is checked for its Origin: another site's page can't do it.
    let mark = || {
        let path = format!("/api/clients/me/notifications/{id}/read");
        Request::put(path).header("Cookie", &cookie)
    };
    let own = format!("http://{to}");
    let answer = mark()
        .header("Origin", "https://evil.example")
        .send(to)
        .await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(service.service_api().unread("alice").await, 1);
    assert_eq!(mark().header("Origin", "null").send(to).await.status, 403);
    mark().header("Origin", &own).send(to).await.expect(200);
    mark()
        .header("Origin", "https://app.example")
        .send(to)
        .await
        .expect(200);

    let log = service.process.stderr.text();
    assert!(!log.contains(&token), "the token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn issuer_and_audience_where_configured() {
    let args = [
        "--jwt-issuer",
        "https://id.example",
        "--jwt-audience",
        "mercurio",
    ];
    let service = Setup::serve().args(args).start().await;
    let secret = service.secret();
    let claims = |iss: &str, aud: serde_json::Value| {
        let exp = epoch() + 600;
        format!(
            "Bearer {}",
            secret.sign(&json!({"sub": "alice", "exp": exp, "iss": iss, "aud": aud}))
        )
    };
    let good = claims("https://id.example", json!("mercurio"));
    let list = claims("https://id.example", json!(["other", "mercurio"]));
    for value in [good, list] {
        Request::get(HISTORY)
            .header("Authorization", value)
            .send(service.http())
            .await
            .expect(200);
    }
    for (iss, aud) in [
        ("https://evil.example", "mercurio"),
        ("https://id.example", "others"),
    ] {
        refused(&service, Some(&claims(iss, json!(aud))), "token-invalid").await;
    }
    refused(
        &service,
        Some(&format!("Bearer {}", secret.user("alice"))),
        "token-invalid",
    )
    .await;
}
