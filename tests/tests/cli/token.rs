//! `mercurio token`.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_token_works_for_its_user_and_within_its_scopes() {
    let core = Setup::core().start().await;
    let secret = core.secret().bytes();
    let token = at(&core, &["token", "--sub", "alice"]).await.code(0).out;
    assert_eq!(token.lines().count(), 1, "{token}");
    let said = claims(&token, secret);
    assert_eq!(said["sub"], "alice");
    assert_eq!(said["scope"], Value::Null);
    let lifetime =
        |claims: &Value| claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    // Rounded up to a whole second.
    assert!((3600..=3601).contains(&lifetime(&said)), "{said}");
    let alice = core.api(&token);
    assert_eq!(alice.unread("alice").await, 0);
    let denied = tonic::Code::PermissionDenied;
    expect_reason(
        alice.try_list(page("bob", 1)).await,
        denied,
        "NOT_YOUR_FEED",
    );
    let request = to(&["alice"], "t", "x");
    expect_reason(
        alice.try_publish(request.clone()).await,
        denied,
        "SCOPE_MISSING",
    );

    let args = [
        "token", "--sub", "shop", "--scope", PUBLISH, "--ttl", "2h 30m",
    ];
    let token = at(&core, &args).await.code(0).out;
    let said = claims(&token, secret);
    assert!((9000..=9001).contains(&lifetime(&said)), "{said}");
    let shop = core.api(&token);
    shop.publish(request).await;
    expect_reason(
        shop.try_list(page("alice", 1)).await,
        denied,
        "NOT_YOUR_FEED",
    );

    let both = format!("{PUBLISH} {ANY}");
    for scopes in [
        vec!["--scope", PUBLISH, "--scope", ANY],
        vec!["--scope", &both],
    ] {
        let args = [vec!["token", "--sub", "shop"], scopes].concat();
        let token = at(&core, &args).await.code(0).out;
        assert_eq!(claims(&token, secret)["scope"], both);
        assert_eq!(core.api(&token).unread("alice").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_printed_token_ends_with_its_ttl() {
    let core = Setup::core().start().await;
    let args = ["token", "--sub", "alice", "--ttl", "1s"];
    let api = core.api(&at(&core, &args).await.code(0).out);
    let refused = eventually("the token expires", SOON, async || {
        api.try_list(page("alice", 1)).await.err()
    })
    .await;
    expect_reason::<()>(Err(refused), tonic::Code::Unauthenticated, "TOKEN_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_can_t_be_is_refused() {
    let place = Place::new();
    let secret = "a secret that is long enough for anybody";
    let long = "x".repeat(129);
    let token = ["token", "--jwt-secret", secret];
    for (args, why) in [
        (["--sub", "alice", "--ttl=0s"], "lifetime"),
        (["--sub", "alice", "--ttl=999ms"], "lifetime"),
        (["--sub", "alice", "--ttl=9000y"], "lifetime"),
        (["--sub", "alice", "--ttl=10"], "--ttl"),
        (["--sub", "alice", "--ttl=soon"], "--ttl"),
        (["--sub", "alice", "--ttl=-5s"], "--ttl"),
        (["--sub", "", "--ttl=5s"], "user"),
        (["--sub", &long, "--ttl=5s"], "user"),
        (["--sub", "a\nb", "--ttl=5s"], "user"),
    ] {
        place
            .run(&[&token[..], &args].concat())
            .await
            .refused(2, &[why]);
    }
    place.run(&token).await.refused(2, &["--sub"]);
    // Without a key, and without one that `dev` has left.
    let ended = place.run(&["token", "--sub", "alice"]).await;
    ended.refused(2, &["--jwt-secret-file"]);
}

#[test]
fn a_token_that_nobody_reads_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let args = ["token", "--sub", "alice", "--jwt-secret", "secret"];
    let output = Place::new().command(&args).stdout(writer).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}
