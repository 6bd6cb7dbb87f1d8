//! The way to a core is cut, or nothing passes on it any more.

use std::time::Instant;

use mercurio_tests::prelude::*;
use serde_json::json;

use super::{HttpPublisher, Place, failovers, publishing_goes_on, readiness};

/// How soon a core that is silent is left: of the 10 s that a publish has, enough are left.
const IN_TIME: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_publishes_go_on_when_the_core_is_cut_off() {
    let place = Place::new().await;
    let publisher = HttpPublisher::start(&place);
    for _ in 0..3 {
        publishing_goes_on(&place.ledger).await;
        let lost = place.current().await;
        place.links[lost].cut();
        place.moved_to(1 - lost, SOON).await;
        publishing_goes_on(&place.ledger).await;
        // Back it is not returned to.
        place.links[lost].mend();
        publishing_goes_on(&place.ledger).await;
        assert_eq!(place.current().await, 1 - lost);
    }
    publisher.stop().await;
    place.check().await;
    assert_eq!(failovers(&place.gateway, "lost").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_goes_silent_is_left() {
    let mut tries = 0..3;
    let (place, publisher, silent) = loop {
        assert!(tries.next().is_some(), "it is not left in time");
        let place = Place::new().await;
        let publisher = HttpPublisher::start(&place);
        publishing_goes_on(&place.ledger).await;
        let silent = place.current().await;
        place.links[silent].freeze();
        let start = Instant::now();
        place.moved_to(1 - silent, SOON).await;
        eprintln!("left after {:?}", start.elapsed());
        if start.elapsed() < IN_TIME {
            break (place, publisher, silent);
        }
        // Both ways lead to one core: where that was not scheduled, the other way was silent too, and
        // what was being published may have had no time left.
        publisher.task.abort();
    };
    publishing_goes_on(&place.ledger).await;
    // What was held back arrives now: a publish that was on its way has been made again since.
    place.links[silent].mend();
    publishing_goes_on(&place.ledger).await;
    publisher.stop().await;
    place.check().await;
    assert_eq!(failovers(&place.gateway, "silent").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_wait_for_the_first_core_that_is_back() {
    let place = Place::new().await;
    let api = place.core.service_api();
    readiness(&place.gateway, 200).await;
    for round in 0..2 {
        for link in &place.links {
            link.cut();
        }
        readiness(&place.gateway, 503).await;
        let token = place.core.secret().publisher("shop");
        let body = json!({ "sourceID": "tests", "destinationID": "alice", "data": "x" });
        let request = Request::post("/api/events/unicast", &body).bearer(&token);
        let refused = request.send(place.gateway.http()).await;
        refused.expect_error(503, "core-unavailable");
        assert!(refused.header("retry-after").is_some());
        let request = with_id(&format!("{round}"), to(&["alice"], "t", "while cut"));
        publish_surely(&api, &place.ledger, request).await;
        place.links[round].mend();
        readiness(&place.gateway, 200).await;
        assert_eq!(place.current().await, round);
        place.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_goes_on_at_the_other_core() {
    const STORED: usize = 4_000;
    let place = Place::new().await;
    let api = place.core.service_api();
    let data = "c".repeat(1_000);
    let stored = api.publish_many("bob", &data, STORED).await;
    let token = place.core.secret().user("bob");
    let to = place.gateway.http();
    let readers: Vec<Subscriber> = (0..4)
        .map(|_| Subscriber::sse(to, &token, "bob", Manner::from_start()))
        .collect();
    for round in 1..=3 {
        // In the middle of it.
        let read = readers[0].record.clone();
        read.wait_for_count(round * STORED / 8, LATER).await;
        let lost = place.current().await;
        place.links[lost].cut();
        place.moved_to(1 - lost, SOON).await;
        place.links[lost].mend();
    }
    let last = api.publish(to_bob("live")).await.id;
    for reader in &readers {
        reader.record.wait_for_cursor(last, LATER).await;
        reader.record.check_order("bob");
        assert_eq!(reader.record.notifications().len(), stored.len() + 1);
    }
}

fn to_bob(data: &str) -> mercurio_proto::v1::PublishRequest {
    to(&["bob"], "t", data)
}
