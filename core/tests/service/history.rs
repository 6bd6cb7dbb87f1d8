use mercurio_proto::v1 as pb;
use tonic::Code;

use crate::harness::*;

async fn page(core: &TestCore, request: pb::ListHistoryRequest) -> pb::ListHistoryResponse {
    let request = with(&token(&request.recipient_id, &[]), request);
    soon(core.client().list_history(request))
        .await
        .unwrap()
        .into_inner()
}

fn of(recipient: &str, page_size: i32) -> pb::ListHistoryRequest {
    pb::ListHistoryRequest {
        recipient_id: recipient.into(),
        page_size,
        ..pb::ListHistoryRequest::default()
    }
}

fn ids(page: &pb::ListHistoryResponse) -> Vec<u64> {
    page.notifications
        .iter()
        .map(|notification| notification.id)
        .collect()
}

#[tokio::test]
async fn newest_first_by_pages_that_stay_put() {
    let core = TestCore::start().await;
    let mut published = Vec::new();
    for n in 0..120 {
        published.push(core.publish(&["ada"], &n.to_string()).await);
    }
    published.reverse();
    let first = page(&core, of("ada", 0)).await;
    assert_eq!(ids(&first), published[..50]);
    assert_eq!((first.unread_count, first.cursor), (120, published[0]));
    assert_eq!(first.notifications[0].recipient_id, "ada");
    core.publish(&["ada"], "later").await;
    let page_token = first.next_page_token;
    let second = page(
        &core,
        pb::ListHistoryRequest {
            page_token,
            ..of("ada", 60)
        },
    )
    .await;
    assert_eq!(ids(&second), published[50..110]);
    let page_token = second.next_page_token;
    let third = page(
        &core,
        pb::ListHistoryRequest {
            page_token,
            ..of("ada", 500)
        },
    )
    .await;
    assert_eq!(ids(&third), published[110..]);
    assert_eq!(third.next_page_token, "");

    let mut stream = core.subscribe("ada", Some(first.cursor)).await;
    stream.opened().await;
    assert_eq!(
        stream.notification().await.data,
        "later",
        "no gap between list and stream"
    );
    core.stop().await;
}

#[tokio::test]
async fn by_status_and_topic() {
    let core = TestCore::start().await;
    let topic = |topic: &str| pb::PublishRequest {
        topic: topic.into(),
        ..to(&["ada"])
    };
    let paid = core.publish_as(topic("invoice.paid")).await.unwrap().id;
    let sent = core.publish_as(topic("invoice.sent")).await.unwrap().id;
    let other = core.publish_as(topic("other")).await.unwrap().id;
    core.mark("ada", &[sent], true).await;
    let ask = |status: pb::ReadStatus, topics: &[&str]| pb::ListHistoryRequest {
        status: status.into(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..of("ada", 10)
    };
    let unread = page(&core, ask(pb::ReadStatus::Unread, &[])).await;
    assert_eq!((ids(&unread), unread.unread_count), (vec![other, paid], 2));
    assert_eq!(
        ids(&page(&core, ask(pb::ReadStatus::Read, &[])).await),
        [sent]
    );
    let invoices = page(&core, ask(pb::ReadStatus::Unspecified, &["invoice.*"])).await;
    assert_eq!(
        (ids(&invoices), invoices.unread_count),
        (vec![sent, paid], 2)
    );
    core.stop().await;
}

#[tokio::test]
async fn a_page_of_large_bodies_can_be_decoded_by_any_client() {
    let core = TestCore::start().await;
    let data = "x".repeat(65_536);
    for _ in 0..60 {
        core.publish(&["ada"], &data).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListHistoryRequest {
            page_token,
            ..of("ada", 500)
        };
        let mut client =
            pb::notification_service_client::NotificationServiceClient::new(core.channel());
        let request = with(&token("ada", &[]), request);
        let page = soon(client.list_history(request))
            .await
            .unwrap()
            .into_inner();
        seen.extend(ids(&page));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 60);
    assert!(seen.iter().rev().is_sorted());
    core.stop().await;
}

#[tokio::test]
async fn a_page_token_is_its_recipients_own() {
    let core = TestCore::start().await;
    core.publish(&["ada"], "1").await;
    core.publish(&["ada"], "2").await;
    let page_token = page(&core, of("ada", 1)).await.next_page_token;
    let request = pb::ListHistoryRequest {
        page_token,
        ..of("bob", 1)
    };
    let refused = core
        .client()
        .list_history(with(&token("bob", &[]), request))
        .await;
    assert_eq!(
        refusal(refused),
        (Code::InvalidArgument, "INVALID_FIELD".to_owned())
    );
    core.stop().await;
}

#[tokio::test]
async fn one_notification() {
    let core = TestCore::start().await;
    let id = core.publish(&["ada"], "hers").await;
    let get = async |user: &str, id| {
        let request = pb::GetNotificationRequest {
            recipient_id: user.into(),
            id,
        };
        soon(
            core.client()
                .get_notification(with(&token(user, &[]), request)),
        )
        .await
    };
    let found = get("ada", id)
        .await
        .unwrap()
        .into_inner()
        .notification
        .unwrap();
    assert_eq!((found.id, found.data.as_str()), (id, "hers"));
    let not_found = (Code::NotFound, "NOT_FOUND".to_owned());
    for (user, id) in [("bob", id), ("ada", 0), ("ada", id + 1), ("ada", u64::MAX)] {
        assert_eq!(refusal(get(user, id).await), not_found);
    }
    core.stop().await;
}
