//! `Subscribe`: where it starts, filters, `until_current`, expiry, and the hand-over to live.

use mercurio_proto::v1::SubscribeRequest;
use mercurio_tests::prelude::*;

fn entries(messages: &[mercurio_proto::v1::SubscribeResponse]) -> Vec<Entry> {
    messages.iter().map(Entry::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn until_current_ends_at_the_present() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut ids = api.publish_many("alice", "n", 300).await;
    ids.sort_unstable();
    let until = |after| SubscribeRequest {
        until_current: true,
        ..feed("alice", after)
    };

    let all = entries(&api.subscribe(until(Some(0))).await.to_end().await);
    let opened = Change::Opened {
        complete: true,
        oldest: ids[0],
        latest: *ids.last().unwrap(),
        unread: 300,
    };
    assert_eq!(
        all[0],
        Entry {
            cursor: 0,
            change: opened.clone()
        }
    );
    let got: Vec<u64> = all[1..].iter().map(|entry| entry.cursor).collect();
    assert_eq!(got, ids);

    let half = entries(&api.subscribe(until(Some(ids[149]))).await.to_end().await);
    assert_eq!(
        half[0],
        Entry {
            cursor: ids[149],
            change: opened
        }
    );
    assert_eq!(half.len(), 151);

    let none = entries(&api.subscribe(until(None)).await.to_end().await);
    assert_eq!((none.len(), none[0].cursor), (1, *ids.last().unwrap()));
    let stranger = SubscribeRequest {
        until_current: true,
        ..feed("stranger", Some(0))
    };
    let stranger = entries(&api.subscribe(stranger).await.to_end().await);
    assert_eq!(stranger.len(), 1);
    assert!(
        matches!(
            stranger[0].change,
            Change::Opened {
                complete: true,
                oldest: 0,
                unread: 0,
                ..
            }
        ),
        "{stranger:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_now_on_and_from_the_oldest() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let first = api.publish(to(&["alice"], "t", "before")).await.id;
    let mut now = api.subscribe(feed("alice", None)).await;
    assert_eq!(Entry::from(&now.next().await).cursor, first);
    let mut oldest = api.subscribe(feed("alice", Some(0))).await;
    assert_eq!(Entry::from(&oldest.next().await).cursor, 0);
    assert_eq!(Entry::from(&oldest.next().await).cursor, first);
    let second = api.publish(to(&["alice"], "t", "after")).await.id;
    assert_eq!(Entry::from(&now.next().await).cursor, second);
    assert_eq!(Entry::from(&oldest.next().await).cursor, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_beyond_the_end_is_another_stores() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let first = api.publish(to(&["alice"], "t", "x")).await.id;
    let mut stream = api.subscribe(feed("alice", Some(first + 1000))).await;
    let opened = Entry::from(&stream.next().await);
    assert!(
        matches!(
            opened.change,
            Change::Opened {
                complete: false,
                unread: 1,
                ..
            }
        ),
        "{opened:?}"
    );
    assert_eq!(opened.cursor, first);
    let next = api.publish(to(&["alice"], "t", "y")).await.id;
    assert_eq!(Entry::from(&stream.next().await).cursor, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_filters_over_grpc_and_sse() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let ledger = Ledger::default();
    let token = service.secret().user("alice");
    let filters: [&[&str]; 5] = [&["a.b"], &["a.*"], &["a.>"], &["*.b", "c"], &["nothing"]];
    let live: Vec<(usize, Subscriber)> = filters
        .iter()
        .enumerate()
        .flat_map(|(index, filter)| {
            let topics = filter.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
            let manner = Manner {
                topics,
                after: Some(0),
                hang_up: None,
            };
            [
                (
                    index,
                    Subscriber::grpc(api.clone(), "alice", manner.clone()),
                ),
                (
                    index,
                    Subscriber::sse(service.http(), &token, "alice", manner),
                ),
            ]
        })
        .collect();
    for (n, topic) in ["a.b", "a.c", "a.b.c", "c", "x.b", "", "ab", "a"]
        .iter()
        .enumerate()
    {
        publish_surely(
            &api,
            &ledger,
            with_id(&n.to_string(), to(&["alice"], topic, "x")),
        )
        .await;
        let everyone = with_id(&format!("all-{n}"), to_everyone(topic, "y"));
        publish_surely(&api, &ledger, everyone).await;
    }
    // A read-state change passes every filter: it tells the reader how far the stream is.
    let end = api.mark_up_to("alice", ledger.last(), true).await.cursor;
    let matching: [&[&str]; 5] = [
        &["a.b"],
        &["a.b", "a.c"],
        &["a.b", "a.c", "a.b.c"],
        &["a.b", "x.b", "c"],
        &[],
    ];
    for (index, reader) in live {
        reader.record.wait_for_cursor(end, SOON).await;
        let expected: Vec<Seen> = ledger
            .of("alice")
            .into_iter()
            .filter(|seen| matching[index].contains(&seen.topic.as_str()))
            .collect();
        reader
            .record
            .check(&format!("{:?}", filters[index]), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_is_neither_delivered_listed_nor_counted() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let kept = api.publish(to(&["alice"], "t", "kept")).await.id;
    let short = with_ttl(Duration::from_secs(15), to(&["alice", "bob"], "t", "short"));
    let id = api.publish(short).await.id;
    let everyones = with_ttl(Duration::from_secs(15), to_everyone("t", "short for all"));
    api.publish(everyones).await;
    assert_eq!(api.unread("alice").await, 3);
    assert!(api.get("alice", id).await.unwrap().expires_at.is_some());

    eventually("the notifications expire", SOON, async || {
        (api.unread("alice").await == 1).then_some(())
    })
    .await;
    assert_eq!(
        api.history("alice")
            .await
            .iter()
            .map(|n| n.id)
            .collect::<Vec<_>>(),
        [kept]
    );
    assert_eq!(api.history("bob").await.len(), 0);
    assert_eq!(
        api.get("alice", id).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    let request = SubscribeRequest {
        until_current: true,
        ..feed("alice", Some(0))
    };
    let all = entries(&api.subscribe(request).await.to_end().await);
    assert_eq!(all.len(), 2, "{all:?}");
    // That an entry expired of itself is no loss.
    assert!(
        matches!(all[0].change, Change::Opened { complete: true, unread: 1, oldest, .. } if oldest == kept),
        "{all:?}"
    );
    // Marking it is marking nothing.
    assert_eq!(api.mark("alice", &[id], true).await.changed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn catch_up_meets_live_at_full_speed() {
    let _heavy = mercurio_tests::tools::heavy().await;
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let ledger = Ledger::default();
    let publishers: Vec<Publisher> = (0..16)
        .map(|p| {
            Publisher::start(service.service_api(), ledger.clone(), move |n| {
                let id = format!("{p}-{n}");
                let data = format!("{p} says {n}");
                if n % 16 == 15 {
                    with_id(&id, to_everyone("all", &data))
                } else if n % 2 == 0 {
                    with_id(&id, to(&["alice"], "own", &data))
                } else {
                    with_id(&id, to(&["bob", "alice"], "both", &data))
                }
            })
        })
        .collect();
    let token = service.secret().user("alice");
    let mut readers = Vec::new();
    for n in 1..=10 {
        // Each joins later, with more to catch up, while it goes on.
        eventually("publishing goes on", LATER, async || {
            (ledger.len() >= n * 200).then_some(())
        })
        .await;
        readers.push(Subscriber::sse(
            service.http(),
            &token,
            "alice",
            Manner::from_start(),
        ));
        readers.push(Subscriber::grpc(api.clone(), "alice", Manner::from_start()));
    }
    for publisher in publishers {
        publisher.stop().await;
    }
    let expected = ledger.of("alice");
    for (n, reader) in readers.iter().enumerate() {
        reader.record.wait_for_count(expected.len(), LATER).await;
        reader.record.check(&format!("reader {n}"), &expected);
        assert_eq!(reader.record.openings(), 1, "reader {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let bad = |request| {
        let api = api.clone();
        async move {
            match api.try_subscribe(request).await {
                Err(status) => status,
                // The refusal may come on the stream.
                Ok(mut stream) => stream.message().await.unwrap_err(),
            }
        }
    };
    expect_field(&bad(feed("", None)).await, "recipient_id");
    let topics = vec!["a..b".to_owned()];
    let request = SubscribeRequest {
        topics,
        ..feed("alice", None)
    };
    let refused = bad(request).await;
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    assert!(
        format!(
            "{:?}",
            tonic_types::StatusExt::get_details_bad_request(&refused)
        )
        .contains("topics")
    );
}
