use std::time::Duration;

use mercurio_core::{CoreSettings, Limits};
use mercurio_proto::v1 as pb;
use tonic::Code;

use crate::harness::*;

#[tokio::test]
async fn from_a_cursor_from_the_oldest_and_from_now() {
    let core = TestCore::start().await;
    let mut ids = Vec::new();
    for n in 0..250 {
        ids.push(core.publish(&["ada"], &n.to_string()).await);
        core.publish(&["bob"], "not hers").await;
    }
    let mut oldest = core.subscribe("ada", Some(0)).await;
    let opened = oldest.opened().await;
    assert_eq!(
        (opened.complete, opened.oldest, opened.unread_count),
        (true, ids[0], 250)
    );
    assert_eq!(opened.latest, ids[249] + 1);
    assert_eq!(oldest.ids(250).await, ids);

    let mut resumed = core.subscribe("ada", Some(ids[100])).await;
    resumed.opened().await;
    assert_eq!(resumed.ids(149).await, ids[101..]);

    let mut now = core.subscribe("ada", None).await;
    let first = now.next().await.unwrap().unwrap();
    assert_eq!(first.cursor, ids[249] + 1, "a safe place to resume from");
    let next = core.publish(&["ada"], "next").await;
    for stream in [&mut oldest, &mut resumed, &mut now] {
        assert_eq!(stream.ids(1).await, [next]);
    }
    core.stop().await;
}

#[tokio::test]
async fn a_cursor_beyond_the_end_is_told_and_goes_on_from_now() {
    let core = TestCore::start().await;
    core.publish(&["ada"], "before").await;
    let mut stream = core.subscribe("ada", Some(1_000_000)).await;
    assert!(!stream.opened().await.complete);
    let id = core.publish(&["ada"], "after").await;
    assert_eq!(stream.ids(1).await, [id]);
    core.stop().await;
}

#[tokio::test]
async fn until_current_ends_at_the_present() {
    let core = TestCore::start().await;
    let ids = [
        core.publish(&["ada"], "1").await,
        core.publish(&["ada"], "2").await,
    ];
    let request = pb::SubscribeRequest {
        until_current: true,
        ..subscription("ada", Some(0))
    };
    let mut stream = core.subscribe_as(request).await.unwrap();
    stream.opened().await;
    assert_eq!(stream.ids(2).await, ids);
    assert!(stream.next().await.unwrap().is_none());
    core.metric_becomes("mercurio_core_streams_open", |open| open == 0.0)
        .await;
    core.stop().await;
}

#[tokio::test]
async fn only_opened_ends_behind_it() {
    let core = TestCore::start().await;
    let id = core.publish(&["ada"], "1").await;
    for until_current in [false, true] {
        let request = pb::SubscribeRequest {
            only_opened: true,
            until_current,
            ..subscription("ada", Some(0))
        };
        let mut stream = core.subscribe_as(request).await.unwrap();
        let opened = stream.opened().await;
        assert_eq!((opened.latest, opened.unread_count), (id, 1));
        assert!(stream.next().await.unwrap().is_none());
    }
    core.stop().await;
}

#[tokio::test]
async fn topics_filter_what_is_stored_and_what_comes() {
    let core = TestCore::start().await;
    let publish = async |topic: &str| {
        let request = pb::PublishRequest {
            topic: topic.into(),
            ..to(&["ada"])
        };
        core.publish_as(request).await.unwrap().id
    };
    let paid = publish("invoice.paid").await;
    publish("order.shipped").await;
    let topics = vec!["invoice.*".to_owned(), "alert.>".to_owned()];
    let request = pb::SubscribeRequest {
        topics,
        ..subscription("ada", Some(0))
    };
    let mut stream = core.subscribe_as(request).await.unwrap();
    assert_eq!(
        stream.opened().await.unread_count,
        2,
        "whatever the filters"
    );
    assert_eq!(stream.ids(1).await, [paid]);
    publish("order.shipped").await;
    publish("").await;
    let disk = publish("alert.disk.full").await;
    assert_eq!(stream.ids(1).await, [disk]);
    core.stop().await;
}

#[tokio::test]
async fn read_states_reach_every_stream_and_are_resumed() {
    let core = TestCore::start().await;
    let id = core.publish(&["ada"], "1").await;
    core.publish(&["ada"], "2").await;
    let mut tab = core.subscribe("ada", None).await;
    tab.opened().await;
    let marked = core.mark("ada", &[id, 777], true).await;
    assert_eq!((marked.changed, marked.unread_count), (1, 1));
    let (cursor, change) = tab.read_state().await;
    assert_eq!((cursor, change.ids.as_slice()), (marked.cursor, &[id][..]));
    assert_eq!((change.read, change.unread_count), (true, 1));

    let mut later = core.subscribe("ada", Some(0)).await;
    assert_eq!(later.opened().await.unread_count, 1);
    assert!(later.notification().await.read_at.is_some());
    assert!(later.notification().await.read_at.is_none());
    assert_eq!(later.read_state().await.0, marked.cursor);
    core.stop().await;
}

#[tokio::test]
async fn what_has_expired_is_not_delivered() {
    let core = TestCore::start().await;
    let ttl = Some(prost_types::Duration {
        seconds: 0,
        nanos: 1_000_000,
    });
    core.publish_as(pb::PublishRequest {
        ttl,
        ..to(&["ada"])
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let id = core.publish(&["ada"], "alive").await;
    let mut stream = core.subscribe("ada", Some(0)).await;
    assert_eq!(stream.opened().await.unread_count, 1);
    assert_eq!(stream.ids(1).await, [id]);
    core.stop().await;
}

#[tokio::test]
async fn a_user_has_so_many_live_streams() {
    let limits = Limits {
        streams_per_user: 3,
        ..Limits::default()
    };
    let core = TestCore::with(CoreSettings {
        limits,
        ..CoreSettings::default()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(core.subscribe("ada", None).await);
    }
    let refused = core.subscribe_as(subscription("ada", None)).await;
    assert_eq!(
        refusal(refused),
        (Code::ResourceExhausted, "TOO_MANY_STREAMS".to_owned())
    );
    core.subscribe("bob", None).await;
    let current = pb::SubscribeRequest {
        until_current: true,
        ..subscription("ada", None)
    };
    core.subscribe_as(current).await.unwrap();
    drop(open.pop());
    core.metric_becomes("mercurio_core_streams_open", |open| open == 2.0)
        .await;
    core.subscribe("ada", None).await.opened().await;
    core.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catch_up_and_live_meet_without_gap_or_repeat() {
    let core = std::sync::Arc::new(TestCore::start().await);
    let publishing = {
        let core = core.clone();
        tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0..600 {
                let request = if n % 7 == 0 {
                    to_everyone()
                } else {
                    to(&["ada", "bob"])
                };
                ids.push(core.publish_as(request).await.unwrap().id);
            }
            ids
        })
    };
    let mut streams = Vec::new();
    for n in 1..=12 {
        core.metric_becomes("mercurio_core_last_sequence", |last| {
            last >= f64::from(n * 40)
        })
        .await;
        streams.push(
            core.subscribe(if n % 2 == 0 { "ada" } else { "bob" }, Some(0))
                .await,
        );
    }
    let ids = publishing.await.unwrap();
    for stream in &mut streams {
        stream.opened().await;
        assert_eq!(stream.ids(600).await, ids);
    }
}
