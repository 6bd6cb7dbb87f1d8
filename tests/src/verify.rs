//! The whole truth about a store, against what was acknowledged.

use std::collections::HashMap;

use mercurio_proto::v1::SubscribeRequest;

use crate::{
    grpc::{Api, feed},
    ledger::Ledger,
    record::{Change, Entry, Seen, compare},
};

/// Asserts that each of these users has exactly what was acknowledged for them, in history, feed
/// and counts, in order and once; `api` needs a service's token. No publisher may be at work, and
/// every publish that was tried has to be in the ledger.
pub async fn verify(api: &Api, ledger: &Ledger, users: &[&str]) {
    for user in users {
        let expected = ledger.of(user);
        let history = api.history(user).await;
        let seen: Vec<Seen> = history.iter().map(Seen::from).collect();
        compare(&format!("{user}'s history"), &expected, &seen);

        let request = SubscribeRequest {
            until_current: true,
            ..feed(user, Some(0))
        };
        let feed = api.subscribe(request).await.to_end().await;
        let feed: Vec<Entry> = feed.iter().map(Entry::from).collect();
        let seen: Vec<Seen> = feed
            .iter()
            .filter_map(|e| e.notification().cloned())
            .collect();
        compare(&format!("{user}'s feed"), &expected, &seen);

        let counted = history.iter().filter(|n| n.read_at.is_none()).count() as u64;
        assert_eq!(api.unread(user).await, counted, "{user}'s unread count");
        let oldest = expected.first().map_or(0, |seen| seen.id);
        match feed[0].change {
            Change::Opened {
                complete: true,
                oldest: first,
                unread,
                ..
            } => {
                assert_eq!((first, unread), (oldest, counted), "{user}'s opening");
            }
            ref other => panic!("{user}: {other:?}"),
        }
    }
}

/// Asserts that every acknowledged publish, published again, is answered as the first time.
pub async fn verify_idempotency(api: &Api, ledger: &Ledger) {
    let all = ledger.all();
    let mut by_key = HashMap::new();
    for (id, request) in &all {
        let key = (request.source_id.clone(), request.event_id.clone());
        let before = by_key.insert(key, *id);
        assert_eq!(before, None, "stored twice: {request:?}");
    }
    for chunk in all.chunks(64) {
        let calls: Vec<_> = chunk
            .iter()
            .map(|(id, request)| {
                let (api, id, request) = (api.clone(), *id, request.clone());
                tokio::spawn(async move {
                    let answer = api.publish(request).await;
                    assert!(answer.duplicate, "forgotten: {id}, now {answer:?}");
                    assert_eq!(answer.id, id);
                })
            })
            .collect();
        for call in calls {
            call.await.expect("publish again");
        }
    }
}
