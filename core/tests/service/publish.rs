use mercurio_proto::v1 as pb;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::*;

#[tokio::test]
async fn to_one_to_many_and_to_everyone() {
    let core = TestCore::start().await;
    let mut ada = core.subscribe("ada", None).await;
    let mut bob = core.subscribe("bob", None).await;
    ada.opened().await;
    bob.opened().await;
    let data = "\u{0}\r\n🦀".repeat(1000);
    let one = core.publish(&["ada"], &data).await;
    let many = core.publish(&["bob", "ada", "bob"], "many").await;
    let all = core.publish_as(to_everyone()).await.unwrap().id;

    let first = ada.notification().await;
    assert_eq!((first.id, first.recipient_id.as_str()), (one, "ada"));
    assert_eq!(first.data, data);
    assert_eq!(first.source_id, "tests");
    assert!(first.created_at.is_some() && first.read_at.is_none() && !first.broadcast);
    assert_eq!(ada.ids(2).await, [many, all]);
    assert_eq!(bob.notification().await.recipient_id, "bob");
    let broadcast = bob.notification().await;
    assert_eq!((broadcast.id, broadcast.broadcast), (all, true));
    assert_eq!(
        core.metric("mercurio_core_notifications_published_total"),
        3.0
    );
    core.stop().await;
}

#[tokio::test]
async fn the_same_event_is_one_notification() {
    let core = TestCore::start().await;
    let request = pb::PublishRequest {
        event_id: "order-1".into(),
        ..to(&["ada"])
    };
    let first = core.publish_as(request.clone()).await.unwrap();
    let again = core.publish_as(request.clone()).await.unwrap();
    assert_eq!(
        (again.id, again.duplicate, first.duplicate),
        (first.id, true, false)
    );
    let elsewhere = pb::PublishRequest {
        source_id: "others".into(),
        ..request
    };
    assert_ne!(core.publish_as(elsewhere).await.unwrap().id, first.id);
    let made = core.publish_as(to(&["ada"])).await.unwrap();
    assert_eq!(made.event_id.len(), 36, "a UUID: {}", made.event_id);
    core.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_stored() {
    let core = TestCore::start().await;
    let data = "x".repeat(65_537);
    let request = pb::PublishRequest {
        source_id: String::new(),
        data,
        ..to(&["ada", "b\nb"])
    };
    let status = core.publish_as(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations
        .iter()
        .map(|found| found.field.as_str())
        .collect();
    assert_eq!(fields, ["source_id", "data", "recipients.ids[1]"]);
    assert!(
        status.message().contains("65537 bytes; at most 65536"),
        "{}",
        status.message()
    );

    let many = vec![""; 20_000];
    let status = core.publish_as(to(&many)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let mut stream = core.subscribe("ada", Some(0)).await;
    assert_eq!(stream.opened().await.latest, 0);
    core.stop().await;
}

#[tokio::test]
async fn the_largest_publish_is_taken_and_what_is_far_too_large_refused() {
    let core = TestCore::start().await;
    let ids: Vec<_> = (0..10_000).map(|n| format!("{n:0>128}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let data = "x".repeat(65_536);
    core.publish_as(pb::PublishRequest { data, ..to(&ids) })
        .await
        .unwrap();
    let mut last = core.subscribe(ids[9_999], Some(0)).await;
    assert_eq!(last.opened().await.unread_count, 1);
    let data = "x".repeat(3 << 20);
    let status = core
        .publish_as(pb::PublishRequest {
            data,
            ..to(&["ada"])
        })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "named, though large");
    let data = "x".repeat(8 << 20);
    let status = core
        .publish_as(pb::PublishRequest {
            data,
            ..to(&["ada"])
        })
        .await
        .unwrap_err();
    assert_eq!(
        refusal(Err::<(), _>(status)),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    core.stop().await;
}
