//! The same (source_id, event_id) published again answers with the first one's id.

use mercurio_proto::v1::PublishRequest;
use mercurio_tests::prelude::*;

#[tokio::test(flavor = "multi_thread")]
async fn again_also_after_a_kill() {
    let mut service = Setup::serve().start().await;
    let api = service.service_api();
    let alice = Subscriber::grpc(api.clone(), "alice", Manner::from_start());
    let request = with_id("e1", to(&["alice"], "t", "first"));
    let first = api.publish(request.clone()).await;
    assert!(!first.duplicate);

    for round in 0..3 {
        // Another body under the same key is still the same event.
        let other = PublishRequest {
            data: format!("again {round}"),
            ..request.clone()
        };
        let again = api.publish(other).await;
        assert!(again.duplicate);
        assert_eq!((again.id, again.event_id.as_str()), (first.id, "e1"));
        service.restart().await;
    }
    // The key is the pair: another source's e1 is another event.
    let other = PublishRequest {
        source_id: "others".into(),
        ..request.clone()
    };
    let other = api.publish(other).await;
    assert!(!other.duplicate && other.id > first.id);

    alice.record.wait_for_cursor(other.id, SOON).await;
    let data: Vec<String> = alice
        .record
        .notifications()
        .into_iter()
        .map(|n| n.data)
        .collect();
    assert_eq!(data, ["first", "first"]);
    assert_eq!(api.unread("alice").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_duplicates_are_one() {
    let service = Setup::serve().start().await;
    for round in 0..20 {
        let request = with_id(&format!("e{round}"), to(&["alice"], "t", "x"));
        let calls: Vec<_> = (0..32)
            .map(|_| {
                // Half of them over connections of their own.
                let api = service.service_api();
                let request = request.clone();
                tokio::spawn(async move { api.publish(request).await })
            })
            .collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap());
        }
        assert_eq!(answers.iter().filter(|answer| !answer.duplicate).count(), 1);
        assert!(
            answers.iter().all(|answer| answer.id == answers[0].id),
            "{answers:?}"
        );
    }
    assert_eq!(service.service_api().history("alice").await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_too_and_across_both_doors() {
    let service = Setup::serve().start().await;
    let token = service.secret().publisher("shop");
    let body = serde_json::json!({
        "id": "order-7", "sourceID": "shop", "destinationID": "alice", "data": "paid"
    });
    let send = || {
        Request::post("/api/events/unicast", &body)
            .bearer(&token)
            .send(service.http())
    };
    let first = send().await;
    assert!((200..300).contains(&first.status), "{}", first.text());
    let first = first.json();
    assert_eq!(first["eventID"], "order-7");
    assert_eq!(
        send().await.json()["notificationID"],
        first["notificationID"]
    );
    let request = PublishRequest {
        source_id: "shop".into(),
        ..to(&["alice"], "", "paid")
    };
    let again = service
        .service_api()
        .publish(with_id("order-7", request))
        .await;
    assert!(again.duplicate);
    assert_eq!(again.id, first["notificationID"].as_u64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_event_ids_are_all_different() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let first = api.publish(to(&["alice"], "t", "x")).await;
    let second = api.publish(to(&["alice"], "t", "x")).await;
    assert!(!second.duplicate && first.event_id != second.event_id && first.id < second.id);
}
