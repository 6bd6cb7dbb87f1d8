use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::*;
use crate::entry::{Published, ReadStateChange};

fn id(name: &str) -> RecipientId {
    RecipientId::new(name).unwrap()
}

fn change(data: &str) -> Change {
    Change::Published(Arc::new(Published {
        at: 1,
        source_id: "s".into(),
        event_id: "e".into(),
        topic: "".into(),
        data: data.into(),
        expires_at: None,
    }))
}

fn to(sequence: Sequence, names: &[&str]) -> Applied {
    let recipients: Vec<_> = names.iter().map(|name| id(name)).collect();
    let audience = Audience::Recipients(recipients.into());
    Applied {
        sequence,
        audience,
        change: change("data"),
    }
}

fn to_everyone(sequence: Sequence) -> Applied {
    Applied {
        sequence,
        audience: Audience::Everyone,
        change: change("data"),
    }
}

fn small() -> HubSettings {
    HubSettings {
        stream_entries: 3,
        relay_entries: 3,
        ..HubSettings::default()
    }
}

fn hub(last: Sequence, settings: HubSettings) -> Arc<Hub> {
    Arc::new(Hub::with(last, settings, Arc::default()))
}

async fn sequences(subscription: &Subscription, count: usize) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for _ in 0..count {
        sequences.push(subscription.next().await.unwrap().sequence);
    }
    sequences
}

/// Under a paused clock it fails at once when everything waits.
async fn is_quiet(subscription: &Subscription) -> bool {
    timeout(Duration::from_secs(1), subscription.next())
        .await
        .is_err()
}

#[tokio::test(start_paused = true)]
async fn each_stream_gets_its_feed_in_order() {
    let hub = hub(10, HubSettings::default());
    let ada = hub.subscribe(id("ada"));
    let ada_too = hub.subscribe(id("ada"));
    let bob = hub.subscribe(id("bob"));
    hub.publish(&[to(11, &["ada"]), to(12, &["bob", "cyd"]), to_everyone(13)]);
    hub.publish(&[to(14, &["ada", "bob"])]);
    assert_eq!(sequences(&ada, 3).await, [11, 13, 14]);
    assert_eq!(sequences(&ada_too, 3).await, [11, 13, 14]);
    assert_eq!(sequences(&bob, 3).await, [12, 13, 14]);
    assert!(is_quiet(&ada).await && is_quiet(&bob).await);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_freed_and_the_reader_goes_back_to_the_store() {
    let hub = hub(0, small());
    let ada = hub.subscribe(id("ada"));
    let bob = hub.subscribe(id("bob"));
    for sequence in 1..=3 {
        hub.publish(&[to(sequence, &["ada"])]);
    }
    hub.publish(&[to_everyone(4), to_everyone(5)]);
    assert_eq!(ada.next().await, Err(Lagged));
    assert_eq!(ada.next().await, Err(Lagged), "until it has rejoined");
    assert_eq!(hub.metrics.streams_fell_behind.get(), 1);
    ada.rejoin();
    assert!(is_quiet(&ada).await, "what waited is gone");
    hub.publish(&[to(6, &["ada"])]);
    assert_eq!(sequences(&ada, 1).await, [6]);
    assert_eq!(sequences(&bob, 2).await, [4, 5], "the others don't notice");
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too_but_one_entry_always_fits() {
    let hub = hub(
        0,
        HubSettings {
            stream_bytes: 1000,
            ..HubSettings::default()
        },
    );
    let ada = hub.subscribe(id("ada"));
    let large = |sequence| Applied {
        change: change(&"x".repeat(2000)),
        ..to(sequence, &["ada"])
    };
    hub.publish(&[large(1)]);
    assert_eq!(sequences(&ada, 1).await, [1]);
    hub.publish(&[large(2), to(3, &["ada"])]);
    assert!(ada.next().await.is_err());
}

#[tokio::test]
async fn who_is_dropped_is_unregistered() {
    let hub = hub(0, small());
    let ada = hub.subscribe(id("ada"));
    let ada_too = hub.subscribe(id("ada"));
    let relay = hub.relay();
    relay.join(1, vec![id("ada"), id("bob")], 10).unwrap();
    assert_eq!(hub.sizes(), (1, 2, 1));
    assert_eq!(hub.metrics.relay_recipients.get(), 2);
    drop(ada);
    assert_eq!(hub.sizes(), (1, 1, 1));
    drop(ada_too);
    assert_eq!(hub.sizes(), (0, 0, 1), "the last one removes the recipient");
    drop(relay);
    assert_eq!(hub.sizes(), (0, 0, 0));
    assert_eq!(hub.metrics.relay_recipients.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_sends_everybody_back() {
    let hub = hub(0, small());
    let ada = hub.subscribe(id("ada"));
    let relay = hub.relay();
    relay.join(1, vec![id("ada")], 10).unwrap();
    hub.publish(&[to(1, &["ada"])]);
    hub.reset(7);
    assert_eq!(ada.next().await, Err(Lagged));
    assert_eq!(relay.next().await, RelayEvent::Reset { cursor: 7 });
    assert_eq!(
        relay.next().await,
        RelayEvent::Joined {
            join_id: 1,
            cursor: 7
        }
    );
    assert_eq!(hub.metrics.relays_fell_behind.get(), 0);
    assert_eq!(hub.metrics.streams_fell_behind.get(), 0);
}

fn entry(applied: &Applied, names: &[&str]) -> RelayEvent {
    let recipients = names.iter().map(|name| id(name)).collect();
    let Applied {
        sequence, change, ..
    } = applied.clone();
    RelayEvent::Entry {
        sequence,
        recipients,
        change,
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_gets_each_entry_once_for_those_who_joined() {
    let hub = hub(5, HubSettings::default());
    let relay = hub.relay();
    hub.publish(&[to_everyone(6)]);
    relay.join(1, vec![id("ada"), id("bob")], 10).unwrap();
    let entries = [
        to(7, &["ada", "cyd", "bob"]),
        to(8, &["cyd"]),
        to_everyone(9),
        to(10, &["bob"]),
    ];
    hub.publish(&entries[..3]);
    relay.join(2, vec![id("cyd"), id("ada")], 10).unwrap();
    relay.leave(&[id("bob")]);
    hub.publish(&entries[3..]);
    let read = Change::ReadState(Arc::new(ReadStateChange {
        ids: vec![7],
        up_to: 0,
        read: true,
        unread_count: 0,
        at: 1,
    }));
    let read = Applied {
        change: read,
        ..to(11, &["cyd"])
    };
    hub.publish(std::slice::from_ref(&read));
    for expected in [
        RelayEvent::Joined {
            join_id: 1,
            cursor: 6,
        },
        entry(&entries[0], &["ada", "bob"]),
        entry(&entries[2], &[]),
        RelayEvent::Joined {
            join_id: 2,
            cursor: 9,
        },
        entry(&read, &["cyd"]),
    ] {
        assert_eq!(relay.next().await, expected);
    }
    assert!(timeout(Duration::from_secs(1), relay.next()).await.is_err());
}

#[tokio::test]
async fn a_relay_that_overflows_is_reset_and_its_joins_are_still_answered() {
    let hub = hub(0, small());
    let relay = hub.relay();
    relay.join(1, vec![id("ada")], 10).unwrap();
    hub.publish(&[to(1, &["ada"]), to(2, &["ada"])]);
    relay.join(2, vec![id("bob")], 10).unwrap();
    hub.publish(&[to(3, &["ada"]), to(4, &["bob"]), to(5, &["bob"])]);
    for expected in [
        RelayEvent::Reset { cursor: 4 },
        RelayEvent::Joined {
            join_id: 1,
            cursor: 4,
        },
        RelayEvent::Joined {
            join_id: 2,
            cursor: 4,
        },
        entry(&to(5, &["bob"]), &["bob"]),
    ] {
        assert_eq!(relay.next().await, expected);
    }
    assert_eq!(hub.metrics.relays_fell_behind.get(), 1);
    // A second one while the first still waits leaves one reset.
    for sequence in 6..=13 {
        hub.publish(&[to(sequence, &["ada"])]);
    }
    assert_eq!(relay.next().await, RelayEvent::Reset { cursor: 13 });
}

#[tokio::test]
async fn a_relay_takes_so_many_recipients() {
    let hub = hub(0, small());
    let relay = hub.relay();
    relay.join(1, vec![id("a"), id("b")], 3).unwrap();
    assert_eq!(relay.join(2, vec![id("c"), id("d")], 3), Err(RelayFull));
    relay.join(3, vec![id("a"), id("c")], 3).unwrap();
}

#[tokio::test]
async fn fan_out_to_ten_thousand_is_cheap() {
    let hub = hub(0, HubSettings::default());
    let names: Vec<_> = (0..10_000).map(|n| id(&format!("user-{n}"))).collect();
    let streams: Vec<_> = names
        .iter()
        .map(|name| hub.subscribe(name.clone()))
        .collect();
    let relay = hub.relay();
    relay.join(1, names.clone(), 10_000).unwrap();
    let named = Audience::Recipients(names.into());
    let started = Instant::now();
    for sequence in 0..50 {
        let audience = if sequence % 2 == 0 {
            named.clone()
        } else {
            Audience::Everyone
        };
        hub.publish(&[Applied {
            audience,
            ..to_everyone(sequence + 1)
        }]);
    }
    // Tens of milliseconds in release; the bound only catches what is of another order.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(sequences(&streams[9_999], 50).await.len(), 50);
}
