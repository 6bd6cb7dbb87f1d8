//! Calls whose message doesn't end.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body::{Body, Frame};
use mercurio_auth::{SCOPE_ANY, SCOPE_PUBLISH};
use mercurio_core::{CoreSettings, Limits, Transport};
use mercurio_proto::v1 as pb;
use tonic::{Code, Status, transport::Channel};
use tower::Service;

use crate::harness::*;

const PUBLISH: &str = "/mercurio.v1.NotificationService/Publish";

/// A body that says some bytes, and never that it ends.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// The answer to a call of which so many bytes are sent, and more are promised.
async fn unfinished(mut channel: Channel, path: &str, token: &str, bytes: usize) -> Status {
    let mut message = vec![0; 5 + bytes];
    let promised = u32::try_from(bytes + 1).unwrap();
    message[1..5].copy_from_slice(&promised.to_be_bytes());
    let request = http::Request::post(format!("http://core{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {token}"))
        .body(tonic::body::Body::new(Endless(Some(message.into()))));
    poll_fn(|task| channel.poll_ready(task)).await.unwrap();
    let response = channel.call(request.unwrap()).await.unwrap();
    match Status::from_header_map(response.headers()) {
        Some(status) => status,
        None => pending().await,
    }
}

#[tokio::test]
async fn who_lacks_the_scope_is_refused_before_their_message_is_read() {
    let core = TestCore::start().await;
    let missing = (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
    for (path, scopes) in [
        (PUBLISH, &[SCOPE_ANY]),
        ("/mercurio.v1.RelayService/Relay", &[SCOPE_PUBLISH]),
        ("/mercurio.v1.SnapshotService/BeginSnapshot", &[SCOPE_ANY]),
        (
            "/mercurio.v1.AdminService/DeleteNotifications",
            &[SCOPE_ANY],
        ),
    ] {
        let token = token("ada", scopes);
        let answer = soon(unfinished(core.channel(), path, &token, 100)).await;
        assert_eq!(refusal(Err::<(), _>(answer)), missing, "{path}");
    }
    core.stop().await;
}

#[tokio::test]
async fn readers_have_short_messages() {
    let core = TestCore::start().await;
    let ada = token("ada", &[]);
    let list = pb::ListHistoryRequest {
        recipient_id: "ada".into(),
        page_token: "x".repeat(Limits::default().short_message_bytes()),
        ..Default::default()
    };
    let refused = core.client().list_history(with(&ada, list)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains(" message: more than"),
        "{refused:?}"
    );
    core.stop().await;
}

/// Room for one message of the largest size, of services and of users.
async fn with_little_room() -> TestCore {
    TestCore::with(CoreSettings {
        transport: Transport {
            message_room: 1,
            ..Transport::default()
        },
        ..CoreSettings::default()
    })
    .await
}

/// A message that is not short.
fn to_many() -> pb::PublishRequest {
    let ids: Vec<_> = (0..10_000).map(|id| format!("{id:0>128}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    to(&ids)
}

#[tokio::test]
async fn messages_on_their_way_have_a_bounded_room() {
    let core = with_little_room().await;
    let publisher = publisher();
    let large = || Box::pin(unfinished(core.channel(), PUBLISH, &publisher, 3 << 20));
    let (Either::Left((refused, other)) | Either::Right((refused, other))) =
        soon(select(large(), large())).await;
    let busy = (Code::ResourceExhausted, "MESSAGES_BUSY".to_owned());
    assert_eq!(refusal(Err::<(), _>(refused)), busy);
    core.publish(&["ada"], "short ones need no room").await;

    drop(other);
    let published = async {
        loop {
            match core.client().publish(with(&publisher, to_many())).await {
                Ok(published) => break published.into_inner(),
                Err(refused) => assert_eq!(refusal(Err::<(), _>(refused)), busy),
            }
        }
    };
    assert!(soon(published).await.id > 0);
    core.stop().await;
}

#[tokio::test]
async fn who_fills_the_users_room_is_in_nobodys_way_who_publishes() {
    let core = with_little_room().await;
    let ada = token("ada", &[]);
    let path = "/mercurio.v1.NotificationService/ListHistory";
    let short = Limits::default().short_message_bytes() - 1;
    let call = || Box::pin(unfinished(core.channel(), path, &ada, short));
    let (Either::Left((refused, full)) | Either::Right((refused, full))) =
        soon(select(call(), call())).await;
    let busy = (Code::ResourceExhausted, "MESSAGES_BUSY".to_owned());
    assert_eq!(refusal(Err::<(), _>(refused)), busy);
    let published = core.client().publish(with(&publisher(), to_many())).await;
    assert!(published.unwrap().into_inner().id > 0);
    drop(full);
    core.stop().await;
}
