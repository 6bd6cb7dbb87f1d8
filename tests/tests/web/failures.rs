//! What goes wrong on the way: restarts, no network, a silent stream, what retention took.

use mercurio_tests::{browser::Browser, prelude::*, process::Signal};
use serde_json::{Value, json};

use super::*;

/// Killed, and stopped: what was published meanwhile comes once, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    gateway_restarts(&browser, "worker").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts_under_firefox() {
    let Some(browser) = Browser::firefox().await else {
        return;
    };
    gateway_restarts(&browser, "auto").await;
}

async fn gateway_restarts(browser: &Browser, sharing: &str) {
    let mut apart = Apart::start().await;
    let api = apart.core.service_api();
    let options = with(
        token(&apart.gateway, "alice"),
        json!({ "sharing": sharing }),
    );
    let page = connected(browser, "one", &apart.gateway, options).await;
    let mut ids = many(&api, 2).await;
    until(&page, "ids().length === 2").await;
    for kill in [true, false] {
        if kill {
            apart.gateway.kill();
        } else {
            apart.gateway.stop().await;
        }
        until(&page, "inbox.state.connection === 'waiting'").await;
        ids.extend(many(&api, 3).await);
        api.mark("alice", &[ids[0]], !kill).await;
        api.mark("alice", &[ids[0]], kill).await;
        apart.gateway.restart().await;
        until(&page, "inbox.state.connection === 'open'").await;
        until(&page, &format!("ids().length === {}", ids.len())).await;
        let unread = ids.len() - usize::from(kill);
        until(
            &page,
            &format!("unread().length === {unread} && inbox.state.unreadCount === {unread}"),
        )
        .await;
        assert_eq!(value(&page, "inbox.state.error").await, Value::Null);
    }
    assert_eq!(value(&page, "ids().reverse()").await, json!(ids));
    assert_eq!(value(&page, "arrived()").await, json!(ids));
    assert_eq!(value(&page, "told('loss')").await, json!([]));
}

/// The waits are what the stream said, spread.
#[tokio::test(flavor = "multi_thread")]
async fn when_to_come_again_is_heeded() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::with(|core| core, |gateway| gateway.args(["--retry", "7s"])).await;
    let page = blank(&browser, "one", &apart.gateway).await;
    let record = "const real = setTimeout
        window.waits = []
        window.setTimeout = (work, wait) => (waits.push(wait), real(work, wait))
        Math.random = () => 0.5";
    page.run(record, Value::Null).await;
    let options = token(&apart.gateway, "alice");
    start(&page, with(options, json!({ "sharing": "none" }))).await;
    page.run("waits.length = 0", Value::Null).await;
    apart.gateway.kill();
    until(&page, "inbox.state.connection === 'waiting'").await;
    until(&page, "waits.includes(3500)").await;
}

/// The gateway keeps the stream: the page notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_restarts() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::start().await;
    let page = alices(&browser, &apart.gateway).await;
    let mut ids = many(&apart.core.service_api(), 2).await;
    until(&page, "ids().length === 2").await;
    for _ in 0..2 {
        apart.core.restart().await;
        ids.extend(many(&apart.core.service_api(), 3).await);
        until(&page, &format!("ids().length === {}", ids.len())).await;
    }
    assert_eq!(value(&page, "arrived()").await, json!(ids));
    assert_eq!(value(&page, "told('connection')").await, json!(["open"]));
    assert_eq!(value(&page, "inbox.state.unreadCount").await, 8);
}

/// Without a network nothing is tried; with it, at once. The host has a name: what is reached on
/// this machine itself is never offline.
#[tokio::test(flavor = "multi_thread")]
async fn offline_and_back() {
    let service = Setup::serve().start().await;
    let Some((browser, origin)) = Browser::chromium_by_name(service.http(), true).await else {
        return;
    };
    let api = service.service_api();
    for sharing in ["worker", "leader", "none"] {
        let page = browser.open(sharing, &format!("{origin}/healthz")).await;
        page.run(HELPERS, Value::Null).await;
        let options = with(token(&service, "alice"), json!({ "sharing": sharing }));
        start(&page, options).await;
        let before = value(&page, "ids().length")
            .await
            .as_u64()
            .expect("a count");

        browser.offline(sharing, true).await;
        until(&page, "inbox.state.connection === 'offline'").await;
        // The network is gone for good: in Chromium that is the page's word, not the worker's.
        let ids = many(&api, 3).await;
        browser.offline(sharing, false).await;
        until(&page, "inbox.state.connection === 'open'").await;
        until(&page, &format!("ids().length === {}", before + 3)).await;
        assert_eq!(value(&page, "arrived()").await, json!(ids));
        assert_eq!(
            value(&page, "told('connection').includes('waiting')").await,
            false
        );
        page.close().await;
    }
}

/// Offline, no request is made, however long it lasts; the page's coming to the front ends a wait.
#[tokio::test(flavor = "multi_thread")]
async fn it_sleeps_while_offline_and_wakes() {
    let mut apart = Apart::start().await;
    let Some((browser, origin)) = Browser::chromium_by_name(apart.gateway.http(), true).await
    else {
        return;
    };
    let page = browser.open("one", &format!("{origin}/healthz")).await;
    page.run(HELPERS, Value::Null).await;
    let count = "const real = fetch; window.fetched = 0
        window.fetch = (...given) => { fetched += 1; return real(...given) }
        // Waits are as long as they can be.
        Math.random = () => 0.999";
    page.run(count, Value::Null).await;
    let options = with(token(&apart.gateway, "alice"), json!({ "sharing": "none" }));
    start(&page, options).await;
    browser.offline("one", true).await;
    until(&page, "inbox.state.connection === 'offline'").await;
    apart.gateway.kill();
    // The stream has ended by now, at the latest; the first wait is 3 s.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let fetched = value(&page, "fetched").await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(value(&page, "fetched").await, fetched, "it sleeps");
    assert_eq!(value(&page, "inbox.state.connection").await, "offline");
    // A page that comes to the front does not wait as others do: here they would for ever.
    let for_ever = "const real = setTimeout
        window.setTimeout = (work, wait) => real(work, wait > 500 ? 1e8 : wait)";
    page.run(for_ever, Value::Null).await;
    browser.offline("one", false).await;
    until(&page, "inbox.state.connection === 'waiting'").await;
    apart.gateway.restart().await;
    let front = "document.dispatchEvent(new Event('visibilitychange'))";
    page.run(front, Value::Null).await;
    until(&page, "inbox.state.connection === 'open'").await;
}

/// A gateway that is stopped in its tracks sends nothing, not even an end: the missing heartbeats
/// tell, and what it has afterwards comes once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let apart = Apart::with(|core| core, |gateway| gateway.args(["--heartbeat", "2s"])).await;
    let api = apart.core.service_api();
    // How often they come, the stream says.
    let options = token(&apart.gateway, "alice");
    let page = connected(&browser, "one", &apart.gateway, options).await;
    let mut ids = many(&api, 2).await;
    until(&page, "ids().length === 2").await;
    // Heartbeats keep it: quiet is not silent, which is no heartbeat for 5 s.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(value(&page, "told('connection')").await, json!(["open"]));
    apart.gateway.process.signal(Signal::STOP);
    until(&page, "inbox.state.connection !== 'open'").await;
    ids.extend(many(&api, 3).await);
    apart.gateway.process.signal(Signal::CONT);
    until(
        &page,
        "inbox.state.connection === 'open' && ids().length === 5",
    )
    .await;
    assert_eq!(value(&page, "arrived()").await, json!(ids));
    streams_become(&apart.gateway, 1).await;
}

/// Where retention took what the page had not seen, the history is loaded anew, and the page told.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_reloads_the_history() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let mut apart = Apart::with(
        |core| core.args(["--max-per-recipient", "10"]),
        |gateway| gateway,
    )
    .await;
    let api = apart.core.service_api();
    let mut pages = Vec::new();
    for sharing in ["none", "worker", "leader"] {
        let options = with(
            token(&apart.gateway, "alice"),
            json!({ "sharing": sharing }),
        );
        pages.push(connected(&browser, sharing, &apart.gateway, options).await);
    }
    let seen = many(&api, 3).await;
    for page in &pages {
        until(page, "ids().length === 3").await;
    }
    apart.gateway.kill();
    let mut ids = many(&api, 40).await;
    apart.gateway.restart().await;
    for page in &pages {
        until(page, "told('loss').length === 1").await;
        until(page, "inbox.state.connection === 'open'").await;
        assert_eq!(
            value(page, "told('loss')").await,
            json!([{ "oldest": ids[30] }])
        );
        assert_eq!(value(page, "ids().reverse()").await, json!(ids[30..]));
        assert_eq!(value(page, "inbox.state.unreadCount").await, 10);
        assert_eq!(value(page, "arrived()").await, json!(seen));
    }
    ids.push(api.publish(to(&["alice"], "t", "x")).await.id);
    for page in &pages {
        until(page, &format!("arrived().at(-1) === {}", ids[40])).await;
    }
}

/// A gateway that is full says when to come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_full() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve()
        .args(["--streams-per-user", "1"])
        .start()
        .await;
    let mut options = with(token(&service, "alice"), json!({ "sharing": "none" }));
    let first = connected(&browser, "one", &service, options.clone()).await;
    options["sharing"] = "leader".into();
    let second = blank(&browser, "one", &service).await;
    second.run("await start(value)", options).await;
    until(&second, "inbox.state.error?.code === 'too-many-streams'").await;
    until(&second, "inbox.state.connection === 'waiting'").await;
    first.close().await;
    until(
        &second,
        "inbox.state.connection === 'open' && inbox.state.error === null",
    )
    .await;
}
