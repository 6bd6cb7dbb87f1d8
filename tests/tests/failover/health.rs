//! Cores that answer, and are not well: they say that they don't serve, or lag behind their log.

use std::path::Path;

use mercurio_tests::{front::Front, link::Link, prelude::*};

use super::{current, failovers, moved_to, readiness, sample};

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_says_it_does_not_serve_is_left_for_one_that_does() {
    let core = Setup::core().start().await;
    let fronts = [Front::of(core.grpc()).await, Front::of(core.grpc()).await];
    let urls = fronts.each_ref().map(Front::url);
    let gateway = Setup::gateway_to(urls.clone()).secret_of(&core);
    let gateway = gateway.start().await;
    let token = core.secret().user("alice");
    let alice = Subscriber::sse(gateway.http(), &token, "alice", Manner::default());
    let alice = alice.opened().await;
    let (api, ledger) = (core.service_api(), Ledger::default());
    let mut expected = 0.0;
    for round in 0..2 {
        let ill = current(&gateway, &urls).await;
        fronts[ill].say(false).await;
        moved_to(&gateway, &urls, 1 - ill, SOON).await;
        expected += 1.0;
        assert_eq!(failovers(&gateway, "not_serving").await, expected);
        // Where none serves, one that answers will do.
        fronts[1 - ill].say(false).await;
        let request = with_id(&format!("{round}-ill"), to(&["alice"], "t", "x"));
        publish_surely(&api, &ledger, request).await;
        alice.record.wait_for_cursor(ledger.last(), SOON).await;
        readiness(&gateway, 200).await;
        // The first to be well is gone to.
        fronts[ill].say(true).await;
        moved_to(&gateway, &urls, ill, SOON).await;
        expected += 1.0;
        fronts[1 - ill].say(true).await;
    }
    assert_eq!(failovers(&gateway, "not_serving").await, expected);
    let request = with_id("last", to(&["alice"], "t", "x"));
    publish_surely(&api, &ledger, request).await;
    alice.record.wait_for_cursor(ledger.last(), SOON).await;
    alice.record.check("alice", &ledger.of("alice"));
    assert_eq!(alice.record.openings(), 1, "the stream was opened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_lags_is_waited_for() {
    let core = Setup::core().start().await;
    let (api, ledger) = (core.service_api(), Ledger::default());
    let front = Front::of(core.grpc()).await;
    let link = Link::to(front.address).await;
    let gateway = Setup::gateway_to([link.url()]).secret_of(&core);
    let gateway = gateway.start().await;
    let token = core.secret().user("alice");
    let open = |manner| Subscriber::sse(gateway.http(), &token, "alice", manner);
    let alice = open(Manner::default()).opened().await;

    front.lag(usize::MAX);
    link.cut();
    readiness(&gateway, 503).await;
    let request = with_id("while cut", to(&["alice"], "t", "x"));
    publish_surely(&api, &ledger, request).await;
    link.mend();
    readiness(&gateway, 200).await;
    let late = open(Manner::from_start());
    let history = Request::get("/api/clients/me/notifications").bearer(&token);
    let refused = history.clone().send(gateway.http()).await;
    refused.expect_error(503, "lagging");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(alice.record.notifications().len(), 0);

    front.lag(0);
    for reader in [&alice, &late] {
        reader.record.wait_for_cursor(ledger.last(), SOON).await;
        reader.record.check("alice", &ledger.of("alice"));
        assert_eq!(reader.record.openings(), 1, "the stream was opened again");
    }
    // Once more it is asked for whom it refused.
    front.lag(1);
    history.clone().send(gateway.http()).await.expect(200);
    front.lag(2);
    let refused = history.send(gateway.http()).await;
    refused.expect_error(503, "lagging");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a directory");
    for entry in std::fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read a directory");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a file's type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copy a file")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_read_from_a_core_that_lags_leaves_no_hole() {
    let mut core = Setup::core().start().await;
    let (api, ledger) = (core.service_api(), Ledger::default());
    let publish = async |event_id: &str| {
        let request = with_id(event_id, to(&["alice"], "t", "x"));
        publish_surely(&api, &ledger, request).await;
    };
    publish("before").await;
    assert!(core.stop().await.success());
    let lagging = Setup::core().secret_of(&core);
    copy(&core.setup.data_dir(), &lagging.data_dir());
    core.restart().await;
    let lagging = lagging.start().await;

    // The way to one address leads to two cores, as behind a balancer.
    let front = Front::of(core.grpc()).await;
    let link = Link::to(front.address).await;
    let gateway = Setup::gateway_to([link.url()]).secret_of(&core);
    let gateway = gateway.start().await;
    let token = core.secret().user("alice");
    let open = |manner| Subscriber::sse(gateway.http(), &token, "alice", manner);
    let alice = open(Manner::from_start()).opened().await;
    publish("live").await;
    alice.record.wait_for_count(2, SOON).await;

    front.read_feeds_from(lagging.grpc());
    link.cut();
    readiness(&gateway, 503).await;
    publish("while cut").await;
    link.mend();
    readiness(&gateway, 200).await;
    let late = open(Manner::from_start());
    publish("over the relay").await;
    eventually("the core that lags is asked again", SOON, async || {
        let asked = "mercurio_core_changes_delivered_total{path=\"subscribe\"}";
        (sample(&lagging, asked).await? >= 6.0).then_some(())
    })
    .await;
    assert_eq!(alice.record.notifications().len(), 2);
    assert_eq!(late.record.notifications().len(), 0);

    front.read_feeds_from(core.grpc());
    for reader in [&alice, &late] {
        reader.record.wait_for_cursor(ledger.last(), LATER).await;
        reader.record.check("alice", &ledger.of("alice"));
        assert_eq!(reader.record.openings(), 1);
    }
}
