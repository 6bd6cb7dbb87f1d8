//! Streams across kill -9: of the core, of the gateway, of everything.

use mercurio_tests::prelude::*;

const USERS: [&str; 3] = ["alice", "bob", "carol"];

async fn publish_some(api: &Api, ledger: &Ledger, tag: &str) {
    for n in 0..10 {
        for user in USERS {
            let request = with_id(&format!("{tag}-{user}-{n}"), to(&[user], "t", tag));
            publish_surely(api, ledger, request).await;
        }
        let everyone = with_id(&format!("{tag}-all-{n}"), to_everyone("t", tag));
        publish_surely(api, ledger, everyone).await;
    }
}

async fn browsers(apart: &Apart) -> Vec<(&'static str, Subscriber)> {
    let mut all = Vec::new();
    for user in USERS {
        let token = apart.core.secret().user(user);
        for _ in 0..2 {
            let to = apart.gateway.http();
            let browser = Subscriber::sse(to, &token, user, Manner::default());
            all.push((user, browser.opened().await));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn no_browser_stream_ends_when_the_core_is_killed() {
    let mut apart = Apart::start().await;
    let browsers = browsers(&apart).await;
    let ledger = Ledger::default();
    let api = apart.core.service_api();
    publish_some(&api, &ledger, "before").await;
    for round in 0..3 {
        // Killed while a publisher is at work: some entries reach the gateway just before.
        let busy = Publisher::start(api.clone(), ledger.clone(), move |n| {
            with_id(&format!("busy-{round}-{n}"), to(&USERS, "t", "busy"))
        });
        let known = ledger.len();
        eventually("publishing goes on", SOON, async || {
            (ledger.len() > known + 20).then_some(())
        })
        .await;
        apart.core.restart().await;
        publish_some(&api, &ledger, &format!("after-{round}")).await;
        busy.stop().await;
    }
    for (user, browser) in &browsers {
        let expected = ledger.of(user);
        browser.record.wait_for_count(expected.len(), LATER).await;
        browser.record.check(user, &expected);
        assert_eq!(
            browser.record.openings(),
            1,
            "{user}'s stream was opened again"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_resume_when_the_gateway_is_killed() {
    let mut apart = Apart::start().await;
    let browsers = browsers(&apart).await;
    let ledger = Ledger::default();
    let api = apart.core.service_api();
    for round in 0..3 {
        publish_some(&api, &ledger, &format!("{round}-before")).await;
        apart.gateway.kill();
        publish_some(&api, &ledger, &format!("{round}-while")).await;
        apart.gateway.restart().await;
    }
    publish_some(&api, &ledger, "after").await;
    for (user, browser) in &browsers {
        let expected = ledger.of(user);
        browser.record.wait_for_count(expected.len(), LATER).await;
        browser.record.check(user, &expected);
        assert!(browser.record.openings() >= 2, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_reconnects_before_its_first_notification_misses_nothing() {
    let mut service = Setup::serve().start().await;
    let api = service.service_api();
    let first = api.publish(to(&["alice"], "t", "long ago")).await.id;
    let token = service.secret().user("alice");
    let alice = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    service.kill();
    service.restart().await;
    // Published before the browser is back, or after: it is seen.
    let second = api.publish(to(&["alice"], "t", "now")).await.id;
    alice.record.wait_for_cursor(second, SOON).await;
    assert!(first < second);
    let data: Vec<String> = alice
        .record
        .notifications()
        .into_iter()
        .map(|n| n.data)
        .collect();
    assert_eq!(data, ["now"]);
    alice.record.check_order("alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_may_start_before_its_core() {
    let setup = Setup::core();
    let mut core = setup.start().await;
    let gateway = Setup::gateway(&core);
    core.kill();
    let gateway = gateway.start().await;
    // Alive at once, ready only with a core.
    assert_eq!(
        Request::get("/healthz").send(gateway.http()).await.status,
        200
    );
    assert_eq!(
        Request::get("/readyz").send(gateway.http()).await.status,
        503
    );
    let token = core.secret().user("alice");
    core.restart().await;
    eventually("the gateway is ready", SOON, async || {
        (Request::get("/readyz").send(gateway.http()).await.status == 200).then_some(())
    })
    .await;
    let alice = Subscriber::sse(gateway.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let id = core
        .service_api()
        .publish(to(&["alice"], "t", "x"))
        .await
        .id;
    alice.record.wait_for_cursor(id, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_gateways_on_one_core() {
    let core = Setup::core().start().await;
    let gateways = [
        Setup::gateway(&core).start().await,
        Setup::gateway(&core).start().await,
    ];
    let token = core.secret().user("alice");
    let mut devices = Vec::new();
    for gateway in &gateways {
        let device = Subscriber::sse(gateway.http(), &token, "alice", Manner::default());
        devices.push(device.opened().await);
    }
    let ledger = Ledger::default();
    let api = core.service_api();
    publish_some(&api, &ledger, "x").await;
    let marked = api.mark_up_to("alice", ledger.last(), true).await.cursor;
    for device in &devices {
        device.record.wait_for_cursor(marked, SOON).await;
        device.record.check("alice", &ledger.of("alice"));
    }
}
