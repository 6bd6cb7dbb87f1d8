//! Read and unread: counts, and what every open stream of the user learns.

use mercurio_proto::v1::{Ids, set_read_state_request::Target};
use mercurio_tests::prelude::*;

fn states(record: &Record) -> Vec<(u64, Change)> {
    let all = record.all().into_iter();
    let states = all.filter(|entry| matches!(entry.change, Change::ReadState { .. }));
    states.map(|entry| (entry.cursor, entry.change)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_device_of_the_user_learns_of_it_in_order() {
    let service = Setup::serve().start().await;
    let secret = service.secret();
    let token = secret.user("alice");
    let phone = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let laptop = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let backend = Subscriber::grpc(service.api(&token), "alice", Manner::default())
        .opened()
        .await;
    let bob = Subscriber::sse(
        service.http(),
        &secret.user("bob"),
        "bob",
        Manner::default(),
    );
    let bob = bob.opened().await;

    let api = service.service_api();
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(api.publish(to(&["alice"], "t", &n.to_string())).await.id);
    }
    let everyone = api.publish(to_everyone("t", "all")).await.id;

    // The user marks over HTTP, a service over gRPC.
    let path = format!("/api/clients/me/notifications/{}/read", ids[0]);
    let answer = Request::put(path)
        .bearer(&token)
        .send(service.http())
        .await
        .expect(200);
    assert_eq!(answer, serde_json::json!({"status": "read"}));
    let second = api.mark("alice", &ids[1..3], true).await;
    assert_eq!((second.changed, second.unread_count), (2, 3));
    let third = api.mark("alice", &[ids[0]], false).await;
    assert_eq!((third.changed, third.unread_count), (1, 4));
    let path = format!("/api/clients/alice/notifications/read?upTo={}", ids[4]);
    Request::put(path)
        .bearer(&token)
        .send(service.http())
        .await
        .expect(200);
    let last = api.mark("alice", &[everyone], true).await;
    assert_eq!((last.changed, last.unread_count), (1, 0));

    for (device, who) in [
        (&phone, "phone"),
        (&laptop, "laptop"),
        (&backend, "backend"),
    ] {
        device.record.wait_for_cursor(last.cursor, SOON).await;
        device.record.check_order(who);
        let got = states(&device.record);
        let said: Vec<_> = got.iter().map(|(_, change)| change.clone()).collect();
        let state = |ids: &[u64], up_to, read, unread| Change::ReadState {
            ids: ids.to_vec(),
            up_to,
            read,
            unread,
        };
        assert_eq!(
            said,
            [
                state(&ids[..1], 0, true, 5),
                state(&ids[1..3], 0, true, 3),
                state(&ids[..1], 0, false, 4),
                state(&[], ids[4], true, 1),
                state(&[everyone], 0, true, 0),
            ],
            "{who}"
        );
        assert_eq!((got[1].0, got[2].0), (second.cursor, third.cursor), "{who}");
    }
    // Everyone's, read by alice, is unread for bob, and her changes are none of his business.
    bob.record.wait_for_cursor(everyone, SOON).await;
    assert_eq!(states(&bob.record), []);
    assert_eq!(service.service_api().unread("bob").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_resumed_like_everything_else() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let ids = api.publish_many("alice", "n", 10).await;
    let marked = api.mark("alice", &ids[..4], true).await;
    api.publish(to(&["alice"], "t", "later")).await;
    let unmarked = api.mark("alice", &ids[..1], false).await;

    let after = Manner {
        after: Some(marked.cursor - 1),
        ..Manner::default()
    };
    let token = service.secret().user("alice");
    for (who, reader) in [
        (
            "gRPC",
            Subscriber::grpc(api.clone(), "alice", after.clone()),
        ),
        (
            "SSE",
            Subscriber::sse(service.http(), &token, "alice", after),
        ),
    ] {
        reader.record.wait_for_cursor(unmarked.cursor, SOON).await;
        reader.record.check_order(who);
        let all = reader.record.all();
        assert!(
            matches!(all[0].change, Change::Opened { unread: 8, .. }),
            "{who}: {:?}",
            all[0]
        );
        let unread: Vec<u64> = states(&reader.record)
            .iter()
            .map(|(_, change)| match change {
                Change::ReadState { unread, .. } => *unread,
                _ => unreachable!(),
            })
            .collect();
        assert_eq!(unread, [6, 8], "{who}");
        assert_eq!(reader.record.notifications().len(), 1, "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_is_counted_as_nothing() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mine = api.publish(to(&["alice"], "t", "1")).await.id;
    let other = api.publish(to(&["bob"], "t", "2")).await.id;
    assert_eq!(api.mark("alice", &[mine, mine], true).await.changed, 1);
    assert_eq!(api.mark("alice", &[mine], true).await.changed, 0);
    // Not alice's, and not there: passed over.
    let answer = api.mark("alice", &[other, 999_999], true).await;
    assert_eq!((answer.changed, answer.unread_count), (0, 0));
    assert_eq!(api.unread("bob").await, 1);
    let answer = api.mark_up_to("bob", u64::from(u32::MAX), true).await;
    assert_eq!((answer.changed, answer.unread_count), (1, 0));
    // What comes after "all up to a future id" is unread all the same.
    api.publish(to(&["bob"], "t", "3")).await;
    assert_eq!(api.unread("bob").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_and_counts_survive_a_kill() {
    let mut service = Setup::serve().start().await;
    let api = service.service_api();
    let ids = api.publish_many("alice", "n", 20).await;
    let everyone = api.publish(to_everyone("t", "all")).await.id;
    api.mark("alice", &ids[..5], true).await;
    api.mark("alice", &[everyone], true).await;
    api.mark("alice", &ids[..1], false).await;
    let before = api.history("alice").await;
    service.restart().await;
    assert_eq!(api.history("alice").await, before);
    assert_eq!(api.unread("alice").await, 16);
    api.mark_up_to("alice", everyone, true).await;
    service.restart().await;
    assert_eq!(api.unread("alice").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_badge_never_drifts() {
    // Publishers and markers at once; a reader that does nothing but believe its stream.
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let token = service.secret().user("alice");
    let reader = Subscriber::sse(service.http(), &token, "alice", Manner::default())
        .opened()
        .await;
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let api = api.clone();
            tokio::spawn(async move {
                for n in 0..40 {
                    let request = if n % 10 == 9 {
                        to_everyone("t", "x")
                    } else {
                        to(&["alice"], "t", "x")
                    };
                    let id = api.publish(request).await.id;
                    match (task + n) % 4 {
                        0 => drop(api.mark("alice", &[id], true).await),
                        1 => drop(api.mark_up_to("alice", id, true).await),
                        2 => drop(api.mark("alice", &[id.saturating_sub(3)], false).await),
                        _ => {}
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let last = api.publish(to(&["alice"], "t", "last")).await.id;
    reader.record.wait_for_cursor(last, LATER).await;
    reader.record.check_order("alice");
    let mut badge = 0;
    for entry in reader.record.all() {
        match entry.change {
            Change::Opened { unread, .. } | Change::ReadState { unread, .. } => badge = unread,
            Change::Notification(_) => badge += 1,
            Change::Deleted { .. } => panic!("nothing is deleted: {entry:?}"),
            Change::Closing(_) => {}
        }
        // Each count said is the one that the entries before it add up to.
        if let Change::ReadState {
            ids, up_to, read, ..
        } = &entry.change
        {
            assert!(*read || !ids.is_empty() || *up_to > 0, "{entry:?}");
        }
    }
    assert_eq!(badge, api.unread("alice").await);
    // And exactly what a walk over the history counts.
    let unread = api
        .history("alice")
        .await
        .iter()
        .filter(|n| n.read_at.is_none())
        .count();
    assert_eq!(badge, unread as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let refused = api.try_mark("alice", None, true).await.unwrap_err();
    expect_field(&refused, "target");
    for ids in [vec![], vec![1; 501]] {
        let target = Some(Target::Ids(Ids { ids }));
        let refused = api.try_mark("alice", target, true).await.unwrap_err();
        expect_field(&refused, "ids.ids");
    }
    let refused = api
        .try_mark("alice", Some(Target::UpTo(0)), true)
        .await
        .unwrap_err();
    expect_field(&refused, "up_to");
    let target = Some(Target::Ids(Ids { ids: vec![1; 500] }));
    api.try_mark("alice", target, true).await.unwrap();
}
