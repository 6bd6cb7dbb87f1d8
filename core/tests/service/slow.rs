//! Readers that are slower than publishers.

use std::time::Duration;

use mercurio_core::{CoreSettings, HubSettings, Retention};
use mercurio_proto::v1::{self as pb, subscribe_response::Change};

use crate::harness::*;

fn small_queues() -> CoreSettings {
    let hub = HubSettings {
        stream_entries: 4,
        relay_entries: 4,
        ..HubSettings::default()
    };
    CoreSettings {
        hub,
        ..CoreSettings::default()
    }
}

const FELL_BEHIND: &str = "mercurio_core_readers_fell_behind_total{path=\"subscribe\"}";

/// More than the windows and buffers between core and client hold.
const MUCH: usize = 400;
const LARGE: usize = 8192;

#[tokio::test]
async fn one_that_falls_behind_misses_nothing() {
    let core = TestCore::with(small_queues()).await;
    let mut slow = core.subscribe("ada", None).await;
    let mut quick = core.subscribe("bob", None).await;
    slow.opened().await;
    quick.opened().await;
    let data = "x".repeat(LARGE);
    let mut ids = Vec::new();
    for _ in 0..MUCH {
        ids.push(core.publish(&["ada", "bob"], &data).await);
        assert_eq!(quick.notification().await.id, *ids.last().unwrap());
    }
    assert!(core.metric(FELL_BEHIND) >= 1.0);
    assert_eq!(slow.ids(MUCH).await, ids);
    let next = core.publish(&["ada"], "live again").await;
    assert_eq!(slow.ids(1).await, [next]);
    core.metric_becomes("mercurio_core_streams_catching_up", |now| now == 0.0)
        .await;
    core.stop().await;
}

#[tokio::test]
async fn one_that_falls_behind_retention_is_told() {
    let retention = Retention {
        max_per_recipient: 20,
        ..Retention::default()
    };
    let core = TestCore::with(CoreSettings {
        retention,
        ..small_queues()
    })
    .await;
    let mut slow = core.subscribe("ada", None).await;
    assert!(slow.opened().await.complete);
    let data = "x".repeat(LARGE);
    let mut ids = Vec::new();
    for _ in 0..MUCH {
        ids.push(core.publish(&["ada"], &data).await);
    }
    let (mut told, mut seen) = (0, Vec::new());
    while seen.last() != ids.last() {
        match slow.change().await {
            (cursor, Change::Opened(opened)) => {
                assert!(!opened.complete);
                assert_eq!(seen.last(), Some(&cursor), "where the reader stood");
                assert_eq!(opened.unread_count, 20);
                told += 1;
            }
            (cursor, Change::Notification(_)) => seen.push(cursor),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(told, 1);
    assert!(seen.is_sorted() && seen.len() < MUCH && seen.ends_with(&ids[MUCH - 20..]));
    core.stop().await;
}

#[tokio::test]
async fn a_resume_behind_retention_is_told_once() {
    let retention = Retention {
        max_per_recipient: 20,
        ..Retention::default()
    };
    let core = TestCore::with(CoreSettings {
        retention,
        ..CoreSettings::default()
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(core.publish(&["ada"], "x").await);
    }
    let mut stream = core.subscribe("ada", Some(ids[5])).await;
    let opened = stream.opened().await;
    assert_eq!(
        (opened.complete, opened.oldest, opened.unread_count),
        (false, ids[30], 20)
    );
    assert_eq!(stream.ids(20).await, ids[30..]);
    let mut whole = core.subscribe("ada", Some(ids[29])).await;
    assert!(whole.opened().await.complete);
    core.stop().await;
}

#[tokio::test]
async fn a_relay_that_falls_behind_is_reset_and_goes_on() {
    let core = TestCore::with(small_queues()).await;
    let mut relay = core.relay().await;
    relay.joined(1, &["ada"]).await;
    let data = "x".repeat(LARGE);
    let mut ids = Vec::new();
    for _ in 0..MUCH {
        ids.push(core.publish(&["ada"], &data).await);
    }
    let mut seen = Vec::new();
    let mut left_out = None;
    while seen.last() != ids.last() && left_out != ids.last().copied() {
        match relay.next().await {
            pb::relay_response::Message::Entry(entry) => {
                assert!(entry.cursor > left_out.unwrap_or_default());
                seen.push(entry.cursor);
            }
            pb::relay_response::Message::Reset(reset) => {
                assert!(reset.cursor > *seen.last().unwrap());
                left_out = Some(reset.cursor);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(left_out.is_some() && seen.is_sorted());
    assert!(core.metric("mercurio_core_readers_fell_behind_total{path=\"relay\"}") >= 1.0);
    core.stop().await;
}

#[tokio::test]
async fn what_expires_while_it_waits_is_not_delivered() {
    // All of it waits at the hub: nothing comes from the store.
    let hub = HubSettings {
        stream_entries: 2 * MUCH,
        stream_bytes: 1 << 30,
        ..HubSettings::default()
    };
    let core = TestCore::with(CoreSettings {
        hub,
        ..CoreSettings::default()
    })
    .await;
    let mut stream = core.subscribe("ada", None).await;
    let mut relay = core.relay().await;
    stream.opened().await;
    relay.joined(1, &["ada"]).await;
    let data = "x".repeat(LARGE);
    let mut ids = Vec::new();
    for _ in 0..MUCH {
        ids.push(core.publish(&["ada"], &data).await);
    }
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
    tokio::time::sleep(Duration::from_millis(10)).await;
    ids.push(core.publish(&["ada"], "alive").await);
    assert_eq!(stream.ids(MUCH + 1).await, ids);
    for id in ids {
        assert_eq!(relay.entry().await.cursor, id);
    }
    assert_eq!(core.metric(FELL_BEHIND), 0.0);
    core.stop().await;
}
