//! One connection for all tabs.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

async fn ten_tabs(browser: &Browser, sharing: &str) {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut ids = many(&api, 2).await;
    let options = with(token(&service, "alice"), json!({ "sharing": sharing }));
    let mut pages = Vec::new();
    for _ in 0..10 {
        pages.push(connected(browser, "one", &service, options.clone()).await);
        assert_eq!(streams(&service).await, 1, "{} tabs", pages.len());
    }
    ids.extend(many(&api, 3).await);
    for page in &pages {
        until(page, "ids().length === 5").await;
        assert_eq!(value(page, "ids().reverse()").await, json!(ids));
        assert_eq!(value(page, "arrived()").await, json!(ids[2..]));
        assert_eq!(value(page, "inbox.state.unreadCount").await, 5);
    }
    // What one marks, all show; what one loads too.
    pages[7]
        .run("await inbox.markRead(value)", json!(ids[1]))
        .await;
    for page in &pages {
        until(
            page,
            "inbox.state.unreadCount === 4 && unread().length === 4",
        )
        .await;
    }
    // Another user is another connection; so are other topics.
    let bob = connected(
        browser,
        "one",
        &service,
        with(token(&service, "bob"), json!({ "sharing": sharing })),
    )
    .await;
    assert_eq!(value(&bob, "ids()").await, json!([]));
    assert_eq!(streams(&service).await, 2);
    bob.close().await;
    streams_become(&service, 1).await;
    // The first tabs go, those that lead among them; the last one still has everything.
    let last = pages.pop().expect("ten");
    for page in pages {
        page.close().await;
        ids.push(api.publish(to(&["alice"], "t", "x")).await.id);
    }
    until(&last, &format!("ids().length === {}", ids.len())).await;
    assert_eq!(value(&last, "ids().reverse()").await, json!(ids));
    assert_eq!(value(&last, "arrived()").await, json!(ids[2..]));
    streams_become(&service, 1).await;
    // Without tabs there is no connection.
    last.close().await;
    streams_become(&service, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tabs_have_one_connection_in_a_worker() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    ten_tabs(&browser, "worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tabs_have_one_connection_with_a_leader() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    ten_tabs(&browser, "leader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tabs_have_one_connection_in_firefox() {
    let Some(browser) = Browser::firefox().await else {
        return;
    };
    ten_tabs(&browser, "auto").await;
    ten_tabs(&browser, "leader").await;
}

/// Where there is no SharedWorker, or its script can't be had, tabs elect a leader; where there are
/// no locks either, each has its own connection.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_lacks_is_done_without() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let none = "delete window.SharedWorker";
    let missing = with(
        token(&service, "alice"),
        json!({ "workerUrl": "/nothing-here.js" }),
    );
    for (context, lacking, options) in [("a", none, token(&service, "alice")), ("b", "", missing)] {
        let mut pages = Vec::new();
        for _ in 0..3 {
            let page = blank(&browser, context, &service).await;
            page.run(lacking, Value::Null).await;
            start(&page, options.clone()).await;
            pages.push(page);
        }
        streams_become(&service, 1).await;
        for page in pages {
            page.close().await;
        }
        streams_become(&service, 0).await;
    }
    let no_locks = "delete window.SharedWorker
        Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })";
    let mut pages = Vec::new();
    for _ in 0..2 {
        let page = blank(&browser, "c", &service).await;
        page.run(no_locks, Value::Null).await;
        start(&page, token(&service, "alice")).await;
        pages.push(page);
    }
    streams_become(&service, 2).await;
    // What is asked for and can't be had is said.
    let page = blank(&browser, "c", &service).await;
    page.run(none, Value::Null).await;
    let options = with(token(&service, "alice"), json!({ "sharing": "worker" }));
    page.run("await start(value); await inbox.ready", options)
        .await;
    until(&page, "inbox.state.connection === 'closed'").await;
    assert_eq!(
        value(&page, "inbox.state.error.code").await,
        "sharing-unavailable"
    );
    let code = "return inbox.reload().catch((error) => error.code)";
    assert_eq!(page.run(code, Value::Null).await, "closed");
}

/// A worker that dies is started again, and goes on from where the tabs are.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_loses_nothing() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut pages = Vec::new();
    for _ in 0..3 {
        pages.push(alices(&browser, &service).await);
    }
    let mut ids = many(&api, 3).await;
    for page in &pages {
        until(page, "ids().length === 3").await;
    }
    assert_eq!(browser.kill("shared_worker").await, 1);
    ids.extend(many(&api, 3).await);
    for page in &pages {
        until(
            page,
            "ids().length === 6 && inbox.state.connection === 'open'",
        )
        .await;
        assert_eq!(value(page, "ids().reverse()").await, json!(ids));
        assert_eq!(value(page, "arrived()").await, json!(ids));
    }
    pages[0].run("await inbox.markAllRead()", Value::Null).await;
    until(&pages[2], "inbox.state.unreadCount === 0").await;
    streams_become(&service, 1).await;
}

/// A page that is neither on HTTPS nor on localhost has no locks, but it has workers.
#[tokio::test(flavor = "multi_thread")]
async fn on_an_insecure_origin() {
    let service = Setup::serve().start().await;
    let Some((browser, origin)) = Browser::chromium_by_name(service.http(), false).await else {
        return;
    };
    let url = format!("{origin}/healthz");
    let mut pages = Vec::new();
    for _ in 0..3 {
        let page = browser.open("one", &url).await;
        page.run(HELPERS, Value::Null).await;
        assert_eq!(value(&page, "isSecureContext").await, false);
        start(&page, token(&service, "alice")).await;
        pages.push(page);
    }
    assert_eq!(streams(&service).await, 1);
    pages.remove(0).close().await;
    let id = service
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    for page in &pages {
        until(page, &format!("ids()[0] === {id}")).await;
    }
    for page in pages {
        page.close().await;
    }
    streams_become(&service, 0).await;
}
