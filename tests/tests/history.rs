//! Pages, filters, counts, and the way from a list to a stream.

use mercurio_proto::v1::{ListHistoryRequest, Notification, ReadStatus};
use mercurio_tests::prelude::*;
use tonic::Code;

fn ids(notifications: &[Notification]) -> Vec<u64> {
    notifications.iter().map(|n| n.id).collect()
}

fn topics(request: ListHistoryRequest, filters: &[&str]) -> ListHistoryRequest {
    ListHistoryRequest {
        topics: filters.iter().map(|t| (*t).to_owned()).collect(),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_newest_first_and_stable_while_publishing_goes_on() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut expected = api.publish_many("alice", "a", 230).await;
    expected.sort_unstable_by(|a, b| b.cmp(a));

    let mut request = page("alice", 50);
    let mut got = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let answer = api.list(request.clone()).await;
        got.extend(ids(&answer.notifications));
        sizes.push(answer.notifications.len());
        assert_eq!(answer.unread_count, 230 + 7 * (sizes.len() as u64 - 1));
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
        // What comes now is newer than the first page: no later page may shift.
        api.publish_many("alice", "b", 7).await;
    }
    assert_eq!(got, expected);
    assert_eq!(sizes, [50, 50, 50, 50, 30]);
}

#[tokio::test(flavor = "multi_thread")]
async fn page_sizes() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    api.publish_many("alice", "a", 510).await;
    for (asked, given) in [(0, 50), (1, 1), (499, 499), (500, 500)] {
        assert_eq!(
            api.list(page("alice", asked)).await.notifications.len(),
            given
        );
    }
    for size in [-1, 501, i32::MAX] {
        let refused = api.try_list(page("alice", size)).await.unwrap_err();
        let said = expect_field(&refused, "page_size");
        assert!(said.contains("500"), "{said}");
    }
    // A page that ends exactly at the oldest one says that it was the last, or gives an empty one.
    let all = api.list_all(page("alice", 255)).await;
    assert_eq!(all.len(), 510);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_history() {
    let service = Setup::serve().start().await;
    let answer = service.service_api().list(page("nobody", 0)).await;
    assert_eq!((answer.notifications.len(), answer.unread_count), (0, 0));
    assert_eq!(answer.next_page_token, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_by_status_and_topic() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut published = Vec::new();
    for n in 0..60 {
        let topic = ["invoice.paid", "invoice.sent", "invoice.paid.late", "news"][n % 4];
        published.push(api.publish(to(&["alice"], topic, &n.to_string())).await.id);
    }
    let everyone = api.publish(to_everyone("invoice.paid", "all")).await.id;
    let read: Vec<u64> = published.iter().copied().step_by(3).collect();
    assert_eq!(api.mark("alice", &read, true).await.changed, 20);

    let topic_of = |id: u64| published.iter().position(|p| *p == id).map(|n| n % 4);
    let expected = |wanted: &dyn Fn(u64) -> bool| -> Vec<u64> {
        let all = std::iter::once(everyone).chain(published.iter().rev().copied());
        all.filter(|id| wanted(*id)).collect()
    };
    for size in [7, 500] {
        let base = page("alice", size);
        let unread = api.list_all(only(ReadStatus::Unread, base.clone())).await;
        assert_eq!(ids(&unread), expected(&|id| !read.contains(&id)));
        assert!(unread.iter().all(|n| n.read_at.is_none()));
        let marked = api.list_all(only(ReadStatus::Read, base.clone())).await;
        assert_eq!(ids(&marked), expected(&|id| read.contains(&id)));
        assert!(marked.iter().all(|n| n.read_at.is_some()));

        let cases: [(&[&str], &[usize], bool); 6] = [
            (&["invoice.paid"], &[0], true),
            (&["invoice.*"], &[0, 1], true),
            (&["invoice.>"], &[0, 1, 2], true),
            (&["*.paid.>"], &[2], false),
            (&["news", "invoice.sent"], &[1, 3], false),
            (&[">"], &[0, 1, 2, 3], true),
        ];
        for (filters, kinds, also_everyone) in cases {
            let got = api.list_all(topics(base.clone(), filters)).await;
            let wanted = |id| topic_of(id).map_or(also_everyone, |kind| kinds.contains(&kind));
            assert_eq!(ids(&got), expected(&wanted), "{filters:?}");
        }
        let both = only(ReadStatus::Unread, topics(base, &["news"]));
        let both = ids(&api.list_all(both).await);
        assert_eq!(
            both,
            expected(&|id| topic_of(id) == Some(3) && !read.contains(&id))
        );
    }
    // The count is of all, whatever the filters.
    let answer = api
        .list(topics(page("alice", 1), &["nothing.like.this"]))
        .await;
    assert_eq!((answer.notifications.len(), answer.unread_count), (0, 41));
}

#[tokio::test(flavor = "multi_thread")]
async fn few_matches_among_many_are_found() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let mut rare = Vec::new();
    for n in 0..5 {
        rare.push(api.publish(to(&["alice"], "rare.thing", "r")).await.id);
        api.publish_many("alice", &format!("{n}-"), 400).await;
    }
    rare.reverse();
    let request = topics(page("alice", 2), &["rare.*"]);
    assert_eq!(ids(&api.list_all(request).await), rare);
    let last = *rare.last().unwrap();
    let newest = api.list(page("alice", 1)).await.notifications[0].id;
    api.mark_up_to("alice", newest, true).await;
    api.mark("alice", &[last], false).await;
    let unread = api
        .list_all(only(ReadStatus::Unread, page("alice", 50)))
        .await;
    assert_eq!(ids(&unread), [last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn page_tokens_are_for_one_recipient_and_unbroken() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    for user in ["alice", "bob"] {
        api.publish_many(user, "x", 5).await;
    }
    let token = api.list(page("alice", 2)).await.next_page_token;
    assert!(!token.is_empty());
    for (user, token) in [
        ("bob", token.as_str()),
        ("alice", "nonsense"),
        ("alice", "\u{1f600}"),
    ] {
        let request = ListHistoryRequest {
            page_token: token.into(),
            ..page(user, 2)
        };
        let refused = api.try_list(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{user} {token:?}");
        expect_field(&refused, "page_token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_list_to_a_stream_without_a_gap() {
    let service = Setup::serve().start().await;
    let api = service.service_api();
    let ledger = Ledger::default();
    let publishers: Vec<Publisher> = (0..4)
        .map(|p| {
            Publisher::start(api.clone(), ledger.clone(), move |n| {
                with_id(&format!("{p}-{n}"), to(&["alice"], "t", "x"))
            })
        })
        .collect();
    for round in 0..20 {
        let first = api.list(page("alice", 500)).await;
        let reader = Subscriber::grpc(
            api.clone(),
            "alice",
            Manner {
                after: Some(first.cursor),
                ..Manner::default()
            },
        );
        reader.record.wait_for_count(20, LATER).await;
        let seen = reader.record.notifications();
        let mut got = ids(&first.notifications);
        got.reverse();
        let known = got.len();
        got.extend(seen.iter().map(|seen| seen.id));
        // Everything acknowledged in that stretch, each once, none missing at the joint.
        let (from, until) = (got[0], *got.last().unwrap());
        assert!(
            got.windows(2).all(|pair| pair[0] < pair[1]),
            "round {round}: {got:?}"
        );
        let acknowledged: Vec<u64> = ledger.of("alice").iter().map(|seen| seen.id).collect();
        let missing: Vec<&u64> = acknowledged
            .iter()
            .filter(|id| (from..=until).contains(id) && !got.contains(id))
            .collect();
        assert!(
            missing.is_empty(),
            "round {round}: {missing:?} of {known}+{}",
            seen.len()
        );
    }
    for publisher in publishers {
        publisher.stop().await;
    }
}

/// What any client takes by default is 4 MiB: a page of large ones ends early.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_ones_ends_early_and_the_next_goes_on() {
    let service = Setup::core().start().await;
    let api = service.service_api();
    let body = "x".repeat(60_000);
    let mut ids = Vec::new();
    for n in 0..80 {
        let request = with_id(&n.to_string(), to(&["alice"], "t", &body));
        ids.push(api.publish(request).await.id);
    }
    ids.reverse();
    let mut got = Vec::new();
    let mut request = page("alice", 500);
    let mut pages = 0;
    loop {
        let page = api.list(request.clone()).await;
        let bytes: usize = page.notifications.iter().map(|one| one.data.len()).sum();
        assert!(bytes <= 3 << 20, "{bytes}");
        assert_eq!(page.unread_count, 80);
        got.extend(page.notifications.iter().map(|one| one.id));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((got, pages), (ids, 2));
}
