//! What is kept, and what a reader is told whose cursor is older than that.

use mercurio_proto::v1::SubscribeRequest;
use mercurio_tests::prelude::*;

async fn feed_now(api: &Api, user: &str, after: u64) -> Vec<Entry> {
    let request = SubscribeRequest {
        until_current: true,
        ..feed(user, Some(after))
    };
    api.subscribe(request)
        .await
        .to_end()
        .await
        .iter()
        .map(Entry::from)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_so_many_are_kept_for_each() {
    let mut service = Setup::serve()
        .args(["--max-per-recipient", "10"])
        .start()
        .await;
    let api = service.service_api();
    let mut ids = Vec::new();
    for n in 0..40 {
        let request = if n % 4 == 0 {
            to_everyone("t", "x")
        } else {
            to(&["alice"], "t", "x")
        };
        ids.push(api.publish(request).await.id);
    }
    let kept = &ids[30..];
    for round in 0..2 {
        let history: Vec<u64> = api.history("alice").await.iter().map(|n| n.id).collect();
        assert_eq!(history, kept);
        assert_eq!(api.unread("alice").await, 10);
        assert_eq!(api.history("bob").await.len(), 10);

        let behind = feed_now(&api, "alice", ids[5]).await;
        let opened = &behind[0].change;
        assert!(
            matches!(opened, Change::Opened { complete: false, oldest, unread: 10, .. } if *oldest == kept[0]),
            "round {round}: {opened:?}"
        );
        assert_eq!(
            behind[1..].iter().map(|e| e.cursor).collect::<Vec<_>>(),
            kept
        );
        // One that has seen the last lost one, or more, has lost nothing.
        for after in [ids[29], ids[35], ids[39]] {
            let entries = feed_now(&api, "alice", after).await;
            let opened = &entries[0].change;
            assert!(
                matches!(opened, Change::Opened { complete: true, .. }),
                "round {round}, after {after}: {opened:?}"
            );
        }
        assert_eq!(
            api.get("alice", ids[29]).await.unwrap_err().code(),
            tonic::Code::NotFound
        );
        // Marking what is gone is marking nothing.
        assert_eq!(api.mark("alice", &ids[..20], true).await.changed, 0);
        service.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_inside_its_stream() {
    let service = Setup::serve()
        .args(["--max-per-recipient", "5"])
        .start()
        .await;
    let ids = service.service_api().publish_many("alice", "n", 12).await;
    let token = service.secret().user("alice");
    let first = ids.iter().min().unwrap();
    let path = format!("/api/clients/me/notifications/stream?lastEventID={first}");
    let mut stream = Stream::open(service.http(), Request::get(path).bearer(&token)).await;
    let opened = stream.expect("opened").await.json();
    assert_eq!(opened["complete"], false, "{opened}");
    assert_eq!(opened["unreadCount"], 5, "{opened}");
    for _ in 0..5 {
        stream.expect("message").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_gone() {
    let service = Setup::serve()
        .args(["--max-age", "10s", "--sweep-interval", "1s"])
        .start()
        .await;
    let api = service.service_api();
    let old = api.publish_many("alice", "old", 30).await;
    let everyones = with_id("old-key", to_everyone("t", "old"));
    api.publish(everyones.clone()).await;
    let cursor = *old.iter().min().unwrap();
    assert!(matches!(
        feed_now(&api, "alice", cursor).await[0].change,
        Change::Opened { complete: true, .. }
    ));
    eventually("they are too old", SOON, async || {
        (api.unread("alice").await == 0).then_some(())
    })
    .await;
    assert_eq!(api.history("alice").await.len(), 0);
    let entries = feed_now(&api, "alice", cursor).await;
    assert!(
        matches!(
            entries[0].change,
            Change::Opened {
                complete: false,
                oldest: 0,
                unread: 0,
                ..
            }
        ),
        "{entries:?}"
    );
    assert_eq!(entries.len(), 1, "{entries:?}");
    // The idempotency key is kept as long as the notification is.
    eventually("the key is gone", SOON, async || {
        let again = api.publish(everyones.clone()).await;
        (!again.duplicate).then_some(())
    })
    .await;
    // New ones are as good as ever, and stay in order.
    let new = api.publish(to(&["alice"], "t", "new")).await.id;
    assert!(new > *old.iter().max().unwrap());
    assert_eq!(api.get("alice", new).await.unwrap().data, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn space_is_given_back() {
    let _heavy = mercurio_tests::tools::heavy().await;
    let args = [
        "--max-age",
        "20s",
        "--sweep-interval",
        "1s",
        "--segment-rows",
        "500",
    ];
    let service = Setup::serve().args(args).start().await;
    let api = service.service_api();
    let body = "x".repeat(8000);
    let size = || directory_size(&service.setup.data_dir());
    let mut full = 0;
    for round in 0..20 {
        for chunk in 0..4 {
            let calls = (0..50).map(|n| {
                let request = to(&["alice"], "t", &body);
                let api = api.clone();
                tokio::spawn(async move {
                    api.publish(with_id(&format!("{round}-{chunk}-{n}"), request))
                        .await
                })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.unwrap();
            }
        }
        full = size().max(full);
    }
    assert!(full > 16 << 20, "{full}");
    // The active segment stays; new entries roll it, and the old ones go.
    eventually("space is given back", LATER, async || {
        for _ in 0..20 {
            api.publish(to(&["alice"], "t", "tick")).await;
        }
        (size() < full / 2).then_some(())
    })
    .await;
}

fn directory_size(path: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => directory_size(&entry.path()),
        Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
        // Just removed.
        Err(_) => 0,
    });
    sizes.sum()
}
