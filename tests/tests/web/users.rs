//! Whose notifications: by cookie, signed out and in again, another user.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

const SHARING: [&str; 3] = ["worker", "leader", "none"];

/// What a page with this user's token in its cookie runs.
fn cookie(service: &Service, user: &str) -> Value {
    cookie_of(&service.secret().user(user))
}

fn cookie_of(token: &str) -> Value {
    json!(format!("mercurio_token={token}; path=/; SameSite=Strict"))
}

/// By cookie: `getToken`, where there is one, renews it; and a cookie that has become another
/// user's shows nobody what was the first one's.
#[tokio::test(flavor = "multi_thread")]
async fn by_cookie() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve()
        .args(["--jwt-cookie", "session"])
        .start()
        .await;
    let api = service.service_api();
    let id = api.publish(to(&["alice"], "t", "alice's")).await.id;
    let page = blank(&browser, "one", &service).await;
    let set = |token: String| json!(format!("session={token}; path=/; SameSite=Strict"));
    let alice = service.secret().expiring("alice", "", 10);
    page.run("document.cookie = value", set(alice)).await;
    let code = "await start({ auth: 'cookie', getToken: async () => {
        asked += 1; document.cookie = value } })";
    page.run(code, set(service.secret().user("alice"))).await;
    until(
        &page,
        "inbox.state.connection === 'open' && ids().length === 1",
    )
    .await;
    page.run("await inbox.markRead(value)", json!(id)).await;
    until(&page, "inbox.state.unreadCount === 0").await;
    until(&page, "asked === 1").await;
    let next = api.publish(to(&["alice"], "t", "x")).await.id;
    until(&page, &format!("ids()[0] === {next}")).await;
    assert_eq!(value(&page, "inbox.state.error").await, Value::Null);

    // The other tab is bob's, and sees nothing of alice's; the first one is his too as soon as it
    // asks for anything.
    let bob = set(service.secret().user("bob"));
    page.run("document.cookie = value", bob.clone()).await;
    let bobs = api.publish(to(&["bob"], "t", "bob's")).await.id;
    let other = blank(&browser, "one", &service).await;
    other.run(code, bob).await;
    let watch = "window.alices = 0
        const look = () => (alices += inbox.state.notifications.filter((one) => one.clientID !== 'bob').length)
        inbox.addEventListener('change', look); look()";
    other.run(watch, Value::Null).await;
    until(&other, "inbox.state.connection === 'open'").await;
    page.run("inbox.reload().catch(() => {})", Value::Null)
        .await;
    for page in [&page, &other] {
        let expected = format!("ids().length === 1 && ids()[0] === {bobs}");
        until(page, &expected).await;
    }
    assert_eq!(value(&other, "alices").await, 0);
    streams_become(&service, 1).await;
}

/// What a page asks for in its user's name is not done in another's, who has signed in meanwhile;
/// and the page becomes theirs.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_in_another_users_name() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let all = api.publish(to_everyone("t", "to everyone")).await.id;
    for sharing in SHARING {
        for mark in ["inbox.markAllRead()", "inbox.markRead(value)"] {
            let page = blank(&browser, sharing, &service).await;
            let sign_in = "document.cookie = value";
            page.run(sign_in, cookie(&service, "alice")).await;
            start(&page, json!({ "auth": "cookie", "sharing": sharing })).await;
            assert_eq!(value(&page, "inbox.state.unreadCount").await, 1);
            page.run(sign_in, cookie(&service, "bob")).await;
            let code = format!("return {mark}.then(() => 'marked', (error) => error.code)");
            let outcome = page.run(&code, json!(all)).await;
            assert_eq!(outcome, "other-user", "{sharing} {mark}");
            let is_bobs = "inbox.state.notifications[0]?.clientID === 'bob'";
            until(
                &page,
                &format!("{is_bobs} && inbox.state.connection === 'open'"),
            )
            .await;
            assert_eq!(api.unread("bob").await, 1);
            page.close().await;
            streams_become(&service, 0).await;
        }
    }
}

/// Tabs whose token is refused for good are served again when somebody signs in in another one.
#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_again_is_served_in_every_tab() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let id = many(&service.service_api(), 1).await[0];
    for sharing in ["worker", "leader"] {
        let tokens = [
            service.secret().expiring("alice", "", 10),
            service.secret().expiring("alice", "", -60),
        ];
        let options = json!({ "tokens": tokens, "sharing": sharing });
        let first = connected(&browser, sharing, &service, options).await;
        until(&first, "inbox.state.connection === 'closed'").await;
        assert_eq!(
            value(&first, "inbox.state.error.code").await,
            "token-expired"
        );
        let options = with(token(&service, "alice"), json!({ "sharing": sharing }));
        let second = connected(&browser, sharing, &service, options).await;
        for page in [&first, &second] {
            until(
                page,
                "inbox.state.connection === 'open' && !inbox.state.error",
            )
            .await;
            assert_eq!(value(page, "ids()").await, json!([id]));
        }
        first.close().await;
        second.close().await;
        streams_become(&service, 0).await;
    }
}

/// What is asked for before it is known who asks is done then, or refused with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_at_once() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for sharing in SHARING {
        many(&api, 3).await;
        let page = blank(&browser, sharing, &service).await;
        let code = "await start(value); await inbox.markAllRead()";
        let options = with(token(&service, "alice"), json!({ "sharing": sharing }));
        page.run(code, options).await;
        assert_eq!(api.unread("alice").await, 0, "{sharing}");

        let page = blank(&browser, sharing, &service).await;
        let expired = service.secret().expiring("alice", "", -60);
        let code = "await start(value)
            const code = (call) => call.then(() => 'done', (error) => error.code)
            const early = await Promise.all([code(inbox.markAllRead()), code(inbox.reload())])
            return [...early, await code(inbox.markRead(1)), await code(inbox.reload())]";
        let options = json!({ "tokens": [expired], "sharing": sharing });
        let outcome = page.run(code, options).await;
        assert_eq!(outcome, json!(vec!["token-expired"; 4]), "{sharing}");
    }
}

/// A sandboxed frame may hold no lock, whoever its user becomes.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_shared_another_user_shares_nothing_either() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let page = blank(&browser, "one", &service).await;
    let sandboxed =
        "navigator.locks.request = () => Promise.reject(new DOMException('', 'SecurityError'))
        window.shared = 0
        window.SharedWorker = window.BroadcastChannel = class { constructor() { shared += 1 } }";
    page.run(sandboxed, Value::Null).await;
    page.run("document.cookie = value", cookie(&service, "alice"))
        .await;
    start(&page, json!({})).await;
    page.run("document.cookie = value", cookie(&service, "bob"))
        .await;
    let id = service.service_api().publish(to(&["bob"], "t", "x")).await;
    page.run("await inbox.reload().catch(() => {})", Value::Null)
        .await;
    until(&page, &format!("ids()[0] === {}", id.id)).await;
    assert_eq!(value(&page, "shared").await, 0);
}
