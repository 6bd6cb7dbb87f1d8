//! A tab that leads: closed, frozen, or none to be had.

use mercurio_tests::{browser::Browser, prelude::*};
use serde_json::{Value, json};

use super::*;

fn led(service: &Service) -> Value {
    with(token(service, "alice"), json!({ "sharing": "leader" }))
}

/// The leading tab is closed while notifications arrive and a mark is under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_closed_loses_nothing() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let options = led(&service);
    let leader = connected(&browser, "one", &service, options.clone()).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(connected(&browser, "one", &service, options.clone()).await);
    }
    let first = api.publish(to(&["alice"], "t", "first")).await.id;
    for page in &others {
        until(page, "ids().length === 1").await;
    }
    let publishing = tokio::spawn({
        let api = service.service_api();
        async move {
            let mut ids = Vec::new();
            for n in 0..200 {
                ids.push(api.publish(to(&["alice"], "t", &n.to_string())).await.id);
            }
            ids
        }
    });
    // Asked of the leader as it goes: the next one does it.
    let marking = others[0].run("await inbox.markRead(value)", json!(first));
    let ((), _) = tokio::join!(leader.close(), marking);
    let mut ids = publishing.await.expect("published");
    ids.insert(0, first);
    for page in &others {
        until(
            page,
            "ids().length === 201 && inbox.state.unreadCount === 200",
        )
        .await;
        assert_eq!(value(page, "ids().reverse()").await, json!(ids));
        assert_eq!(
            value(page, "arrived()").await,
            json!(ids),
            "each told once, in order"
        );
        until(page, "unread().length === 200").await;
    }
    streams_become(&service, 1).await;
}

/// A tab that the old leader did not reach any more is told what the others were told: by the next
/// one, which knows it already.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_leader_told_others_last_is_told() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let leader = connected(&browser, "one", &service, led(&service)).await;
    let heir = connected(&browser, "one", &service, led(&service)).await;
    let page = blank(&browser, "one", &service).await;
    let deaf = "const { get, set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, 'onmessage')
        Object.defineProperty(BroadcastChannel.prototype, 'onmessage', {
          get, set(heard) { set.call(this, (event) => window.isDeaf || heard(event)) } })";
    page.run(deaf, Value::Null).await;
    start(&page, led(&service)).await;
    let mut ids = many(&api, 2).await;
    until(&page, "arrived().length === 2").await;
    page.run("window.isDeaf = true", Value::Null).await;
    ids.extend(many(&api, 3).await);
    until(&heir, "ids().length === 5").await;
    assert_eq!(value(&page, "ids().length").await, 2);
    page.run("window.isDeaf = false", Value::Null).await;
    leader.close().await;
    until(&page, "ids().length === 5").await;
    for page in [&page, &heir] {
        assert_eq!(value(page, "arrived()").await, json!(ids));
    }
}

/// A leader that is frozen keeps its lock and says nothing: another one takes it. Thawed, it follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_frozen_is_replaced() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let leader = connected(&browser, "one", &service, led(&service)).await;
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(connected(&browser, "one", &service, led(&service)).await);
    }
    let mut ids = many(&api, 2).await;
    for page in &others {
        until(page, "arrived().length === 2").await;
    }
    leader.freeze().await;
    ids.extend(many(&api, 3).await);
    for page in &others {
        until(page, "arrived().length === 5").await;
    }
    leader.thaw().await;
    until(&leader, "arrived().length === 5").await;
    streams_become(&service, 1).await;
    others[1]
        .run("await inbox.markAllRead()", Value::Null)
        .await;
    until(&leader, "inbox.state.unreadCount === 0").await;
    // It leads again when it is its turn.
    for page in others {
        page.close().await;
    }
    ids.extend(many(&api, 1).await);
    until(&leader, "arrived().length === 6").await;
    assert_eq!(value(&leader, "arrived()").await, json!(ids));
    streams_become(&service, 1).await;
}

/// What a tab that follows says can be read by every page of the origin: its token is not in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_said_without_need() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let _leader = connected(&browser, "one", &service, led(&service)).await;
    let page = blank(&browser, "one", &service).await;
    let listen = "window.said = ''
        const { postMessage } = BroadcastChannel.prototype
        BroadcastChannel.prototype.postMessage = function (message) {
          said += JSON.stringify(message)
          return postMessage.call(this, message)
        }";
    page.run(listen, Value::Null).await;
    let options = led(&service);
    let token = options["tokens"][0].as_str().expect("a token").to_owned();
    start(&page, options).await;
    let said = value(&page, "said").await;
    let said = said.as_str().expect("a text");
    assert!(said.contains("hello") && !said.contains(&token), "{said}");
}

/// Without the lock nobody can lead: each has its own connection, or is told.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_lock_is_refused() {
    let Some(browser) = Browser::chromium().await else {
        return;
    };
    let service = Setup::serve().start().await;
    let refuse = "delete window.SharedWorker
        const real = navigator.locks.request.bind(navigator.locks)
        navigator.locks.request = (name, ...rest) =>
          name.startsWith('mercurio leader') ? Promise.reject(new Error('no lock')) : real(name, ...rest)";
    let mut pages = Vec::new();
    for _ in 0..2 {
        let page = blank(&browser, "one", &service).await;
        page.run(refuse, Value::Null).await;
        start(&page, token(&service, "alice")).await;
        pages.push(page);
    }
    assert_eq!(streams(&service).await, 2);
    let page = blank(&browser, "one", &service).await;
    page.run(refuse, Value::Null).await;
    page.run("await start(value); await inbox.ready", led(&service))
        .await;
    let error = json!({ "code": "sharing-unavailable", "message": "no lock" });
    until(&page, "inbox.state.connection === 'closed'").await;
    assert_eq!(value(&page, "inbox.state.error").await, error);
}
