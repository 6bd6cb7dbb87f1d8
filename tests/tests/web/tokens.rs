//! Tokens: renewed before they expire, when the stream is closed for it, and when they are refused.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

/// The ids of the streams that the page has opened, as the gateway named them.
const RECORD: &str = "const real = fetch
    window.opened = []
    window.fetch = async (...given) => {
      const answer = await real(...given)
      const id = answer.headers.get('mercurio-stream')
      if (id) opened.push(id)
      return answer
    }";

/// The token is replaced before it expires: the very same stream stays open over the end of its first
/// two, nothing is refused, and the connection never shows it.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_shown_the_next_token() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve()
        .args(["--jwt-cookie", "session"])
        .start()
        .await;
    let api = service.service_api();
    // At the same time: the tokens live long enough for a machine that is busy.
    let renewed =
        |context, sharing, auth| renewed(&browser, &service, &api, context, sharing, auth);
    let pages = tokio::join!(
        renewed("a", "none", "header"),
        renewed("b", "worker", "header"),
        renewed("c", "leader", "query"),
        renewed("d", "none", "cookie"),
    );
    assert_eq!(streams(&service).await, 4);
    for page in [pages.0, pages.1, pages.2, pages.3] {
        page.close().await;
    }
    streams_become(&service, 0).await;
}

/// A page of a user of its own, beyond the end of its stream's first two tokens.
async fn renewed<'a>(
    browser: &'a Browser,
    service: &Service,
    api: &Api,
    context: &str,
    sharing: &str,
    auth: &str,
) -> Page<'a> {
    let page = blank(browser, context, service).await;
    page.run(RECORD, Value::Null).await;
    let tokens = [
        service.secret().expiring(context, "", 15),
        service.secret().expiring(context, "", 30),
        service.secret().user(context),
    ];
    if auth == "cookie" {
        let code = "const give = async () => {
            const token = value[Math.min(asked++, value.length - 1)]
            document.cookie = `session=${token}; path=/; SameSite=Strict` }
            await give()
            await start({ auth: 'cookie', sharing: 'none', getToken: give })";
        page.run(code, json!(tokens)).await;
        until(&page, "inbox.state.connection === 'open'").await;
    } else {
        let options = json!({ "tokens": tokens, "sharing": sharing, "auth": auth });
        start(&page, options).await;
    }
    renews_unnoticed(&page, api, context).await;
    // A worker's requests a page can't see.
    if sharing != "worker" {
        let opened = value(&page, "opened").await;
        assert_eq!(opened.as_array().map(Vec::len), Some(1), "{auth}: {opened}");
        // The gateway itself says that this one is open still.
        let id = opened[0].as_str().expect("a stream's id");
        let path = format!("/api/clients/me/notifications/stream/token?stream={id}");
        let renewed = Request::put(&path).bearer(&service.secret().user(context));
        let renewed = renewed.send(service.http()).await.expect(200);
        assert_eq!(renewed["streams"], 1);
    }
    page
}

/// The gateway doesn't know the stream that is to be renewed, as another one would not: it is opened
/// anew from its cursor with the new token, and nothing is missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_finds_no_stream_opens_one() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let page = blank(&browser, "one", &service).await;
    page.run(RECORD, Value::Null).await;
    let astray = "const through = fetch
        window.refused = []
        window.fetch = async (url, ...given) => {
          const answer = await through(url.replace(/stream=\\w+/, 'stream=0123456789abcdef'), ...given)
          if (!answer.ok) refused.push((await answer.clone().json()).code)
          return answer
        }";
    page.run(astray, Value::Null).await;
    let tokens = [
        service.secret().expiring("alice", "", 15),
        service.secret().expiring("alice", "", 30),
        service.secret().user("alice"),
    ];
    start(&page, json!({ "tokens": tokens, "sharing": "none" })).await;
    renews_unnoticed(&page, &api, "alice").await;
    let refused = json!(["stream-not-found", "stream-not-found"]);
    until(&page, "opened.length === 3").await;
    assert_eq!(value(&page, "refused").await, refused);
    streams_become(&service, 1).await;
}

/// Publishes until the page has asked for its third token, by the end of the second one: everything
/// arrives, and nothing else is to be seen.
async fn renews_unnoticed(page: &Page<'_>, api: &Api, user: &str) {
    let mut ids = Vec::new();
    while value(page, "asked").await.as_u64() < Some(3) {
        ids.push(api.publish(to(&[user], "t", "x")).await.id);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ids.push(api.publish(to(&[user], "t", "x")).await.id);
    until(page, &format!("ids()[0] === {}", ids[ids.len() - 1])).await;
    assert_eq!(value(page, "arrived()").await, json!(ids));
    assert_eq!(value(page, "told('connection')").await, json!(["open"]));
    assert_eq!(value(page, "inbox.state.error").await, Value::Null);
}

/// Where the stream's head does not say when it ends (a proxy dropped it) the page learns of it from the
/// gateway: `closing: token-expired`, at which a new token is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_closed_for_its_token_goes_on_with_the_next() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for (context, auth) in [("a", "header"), ("b", "query")] {
        let page = blank(&browser, context, &service).await;
        let drop = "const real = Headers.prototype.get
            Headers.prototype.get = function (name) {
              return name === 'mercurio-expires' ? null : real.call(this, name) }";
        page.run(drop, Value::Null).await;
        let tokens = [
            service.secret().expiring("alice", "", 8),
            service.secret().expiring("alice", "", 16),
            service.secret().user("alice"),
        ];
        let options = json!({ "tokens": tokens, "auth": auth, "sharing": "none" });
        start(&page, options).await;
        renews_unnoticed(&page, &api, "alice").await;
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
    let (first, second, third) = (
        blank(&browser, "two", &service).await,
        blank(&browser, "two", &service).await,
        blank(&browser, "two", &service).await,
    );
    let short = service.secret().expiring("bob", "", 12);
    let next = json!({ "tokens": [short, service.secret().user("bob")] });
    start(&first, json!({ "tokens": [short] })).await;
    start(&second, next.clone()).await;
    start(&third, next).await;
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
