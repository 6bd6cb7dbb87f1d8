use mercurio_core::{CoreSettings, Limits};
use mercurio_proto::v1 as pb;
use tonic::Code;

use crate::harness::*;

#[tokio::test]
async fn an_entry_crosses_once_for_those_who_are_connected() {
    let core = TestCore::start().await;
    let before = core.publish(&["ada"], "before").await;
    let mut relay = core.relay().await;
    assert_eq!(relay.joined(7, &["ada", "bob"]).await, before);
    let named = core.publish(&["ada", "cyd", "bob"], "to three").await;
    core.publish(&["cyd"], "to another").await;
    let all = core.publish_as(to_everyone()).await.unwrap().id;

    let entry = relay.entry().await;
    assert_eq!(
        (entry.cursor, entry.recipient_ids),
        (named, vec!["ada".into(), "bob".into()])
    );
    let Some(pb::relay_entry::Change::Notification(notification)) = entry.change else {
        panic!("a notification")
    };
    assert_eq!(
        (notification.id, notification.recipient_id.as_str()),
        (named, "")
    );
    assert_eq!(notification.data, "to three");
    let entry = relay.entry().await;
    assert_eq!((entry.cursor, entry.recipient_ids), (all, vec![]));

    let marked = core.mark("bob", &[named], true).await;
    let entry = relay.entry().await;
    assert_eq!(
        (entry.cursor, entry.recipient_ids),
        (marked.cursor, vec!["bob".into()])
    );
    let Some(pb::relay_entry::Change::ReadState(change)) = entry.change else {
        panic!("a read state")
    };
    assert_eq!((change.ids, change.unread_count), (vec![named], 1));
    assert_eq!(core.metric("mercurio_core_relay_recipients_joined"), 2.0);
    assert_eq!(
        core.metric("mercurio_core_changes_delivered_total{path=\"relay\"}"),
        3.0
    );
    core.stop().await;
}

#[tokio::test]
async fn who_leaves_gets_no_more() {
    let core = TestCore::start().await;
    let mut relay = core.relay().await;
    relay.joined(1, &["ada", "bob"]).await;
    relay.leave(&["ada"]).await;
    // Answered in order, so the leave has been heard when this is.
    let cursor = relay.joined(2, &[]).await;
    core.publish(&["ada"], "nobody's").await;
    let id = core.publish(&["bob"], "his").await;
    let entry = relay.entry().await;
    assert_eq!((cursor, entry.cursor), (0, id));
    core.stop().await;
}

#[tokio::test]
async fn a_gateway_that_has_said_all_is_still_served() {
    let core = TestCore::start().await;
    let mut relay = core.relay().await;
    relay.joined(1, &["ada"]).await;
    drop(std::mem::replace(
        &mut relay.requests,
        tokio::sync::mpsc::channel(1).0,
    ));
    let id = core.publish(&["ada"], "x").await;
    assert_eq!(relay.entry().await.cursor, id);
    drop(relay);
    core.metric_becomes("mercurio_core_relays_open", |open| open == 0.0)
        .await;
    assert_eq!(core.metric("mercurio_core_relay_recipients_joined"), 0.0);
    core.stop().await;
}

#[tokio::test]
async fn what_is_wrong_ends_the_relay_and_names_it() {
    let limits = Limits {
        relay_ids: 3,
        relay_recipients: 4,
        relays: 1,
        ..Limits::default()
    };
    let core = TestCore::with(CoreSettings {
        limits,
        ..CoreSettings::default()
    })
    .await;
    let invalid = (Code::InvalidArgument, "INVALID_FIELD".to_owned());
    let exhausted = (Code::ResourceExhausted, "TOO_MANY_STREAMS".to_owned());
    for wrong in [&["a", "b", "c", "d"][..], &["a\n"]] {
        let mut relay = core.relay().await;
        relay.join(1, wrong).await;
        assert_eq!(refusal(soon(relay.messages.message()).await), invalid);
        core.metric_becomes("mercurio_core_relays_open", |open| open == 0.0)
            .await;
    }
    let mut relay = core.relay().await;
    assert_eq!(
        refusal(core.relay_as(&gateway()).await.map(drop)),
        exhausted
    );
    relay.joined(1, &["a", "b", "c"]).await;
    relay.join(2, &["d", "e"]).await;
    assert_eq!(refusal(soon(relay.messages.message()).await), exhausted);
    core.stop().await;
}
