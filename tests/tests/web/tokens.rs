//! Tokens: renewed before they expire, when the stream is closed for it, and when they are refused.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

/// The token is replaced before it expires: nothing is refused, the connection never shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_replaced_before_it_expires() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for (context, sharing, auth) in [
        ("a", "none", "header"),
        ("b", "worker", "header"),
        ("c", "leader", "query"),
    ] {
        let first = service.secret().expiring("alice", "", 6);
        let second = service.secret().expiring("alice", "", 12);
        let last = service.secret().user("alice");
        let options = json!({ "tokens": [first, second, last], "sharing": sharing, "auth": auth });
        let page = connected(&browser, context, &service, options).await;
        renews_unnoticed(&page, &api).await;
        assert_eq!(streams(&service).await, 1);
        page.close().await;
        streams_become(&service, 0).await;
    }
}

/// Publishes until the page has asked for its third token, by the end of the second one: everything
/// arrives, and nothing else is to be seen.
async fn renews_unnoticed(page: &Page<'_>, api: &Api) {
    let mut ids = Vec::new();
    while value(page, "asked").await.as_u64() < Some(3) {
        ids.push(api.publish(to(&["alice"], "t", "x")).await.id);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ids.push(api.publish(to(&["alice"], "t", "x")).await.id);
    until(page, &format!("ids()[0] === {}", ids[ids.len() - 1])).await;
    assert_eq!(value(page, "arrived()").await, json!(ids));
    assert_eq!(value(page, "told('connection')").await, json!(["open"]));
    assert_eq!(value(page, "inbox.state.error").await, Value::Null);
}

/// A page whose clock is an hour slow learns of the expiry from the gateway: `closing:
/// token-expired`, at which a new one is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_closed_for_its_token_goes_on_with_the_next() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for (context, auth) in [("a", "header"), ("b", "query")] {
        let page = blank(&browser, context, &service).await;
        let slow = "const real = Date.now; Date.now = () => real() - 3600e3";
        page.run(slow, Value::Null).await;
        let tokens = [
            service.secret().expiring("alice", "", 3),
            service.secret().expiring("alice", "", 6),
            service.secret().user("alice"),
        ];
        let options = json!({ "tokens": tokens, "auth": auth, "sharing": "none" });
        start(&page, options).await;
        renews_unnoticed(&page, &api).await;
    }
}

/// What is answered with 401 is asked again with a new token; whichever tab is left gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_is_replaced() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let id = api.publish(to(&["alice"], "t", "x")).await.id;
    let expired = service.secret().expiring("alice", "", -60);
    let good = service.secret().user("alice");
    for sharing in ["none", "worker", "leader"] {
        let options = json!({ "tokens": [expired, good], "sharing": sharing });
        let page = connected(&browser, sharing, &service, options).await;
        assert_eq!(value(&page, "ids()").await, json!([id]));
        assert_eq!(value(&page, "asked").await, 2);
        assert_eq!(value(&page, "told('error')").await, json!([]));
    }
    // The tab that was asked first is gone: another one is asked.
    let short = service.secret().expiring("bob", "", 5);
    let first = connected(&browser, "two", &service, json!({ "tokens": [short] })).await;
    let next = json!({ "tokens": [short, service.secret().user("bob")] });
    let second = connected(&browser, "two", &service, next.clone()).await;
    let third = connected(&browser, "two", &service, next).await;
    assert_eq!(streams(&service).await, 4);
    third.close().await;
    first.close().await;
    until(&second, "asked >= 2").await;
    let id = api.publish(to(&["bob"], "t", "x")).await.id;
    until(&second, &format!("ids()[0] === {id}")).await;
}

/// A token that is refused again is told, once, and nothing goes on in vain; `reload` tries anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_again_is_told() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let expired = [
        service.secret().expiring("alice", "", -60),
        service.secret().expiring("alice", "", -50),
        service.secret().user("alice"),
    ];
    let page = blank(&browser, "one", &service).await;
    page.run(
        "await start(value); await inbox.ready",
        json!({ "tokens": expired }),
    )
    .await;
    let state = value(&page, "inbox.state").await;
    assert_eq!(state["connection"], "closed");
    assert_eq!(state["error"]["code"], "token-expired", "{state}");
    assert_eq!(
        value(&page, "[asked, told('error').length]").await,
        json!([2, 1])
    );
    page.run("await inbox.reload()", Value::Null).await;
    until(
        &page,
        "inbox.state.connection === 'open' && inbox.state.error === null",
    )
    .await;

    // Another user's feed, and getToken's own failure.
    let page = blank(&browser, "two", &service).await;
    let options = with(token(&service, "alice"), json!({ "user": "bob" }));
    page.run("await start(value); await inbox.ready", options)
        .await;
    let state = value(&page, "inbox.state").await;
    assert_eq!(state["connection"], "closed");
    assert_eq!(state["error"]["code"], "not-your-feed", "{state}");
    let page = blank(&browser, "three", &service).await;
    let code = "await start({ ...value, tokens: undefined, getToken: async () => {
        if (asked++ < 1) throw new Error('signed out')
        return value.tokens[0]
      } })";
    page.run(code, token(&service, "alice")).await;
    until(&page, "inbox.state.connection === 'open'").await;
    let told = json!([{ "code": "token-failed", "message": "getToken failed: signed out" }]);
    assert_eq!(value(&page, "told('error')").await, told);
}
