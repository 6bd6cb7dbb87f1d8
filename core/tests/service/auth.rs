use std::time::Duration;

use mercurio_auth::{SCOPE_ANY, SCOPE_PUBLISH};
use mercurio_proto::v1 as pb;
use tonic::{Code, Request};

use crate::harness::*;

fn list(recipient: &str) -> pb::ListHistoryRequest {
    pb::ListHistoryRequest {
        recipient_id: recipient.into(),
        ..pb::ListHistoryRequest::default()
    }
}

#[tokio::test]
async fn every_call_needs_a_token() {
    let core = TestCore::start().await;
    let mut client = core.client();
    let missing = (Code::Unauthenticated, "TOKEN_MISSING".to_owned());
    assert_eq!(refusal(client.publish(to(&["ada"])).await), missing);
    assert_eq!(
        refusal(client.subscribe(subscription("ada", None)).await),
        missing
    );
    assert_eq!(refusal(client.list_history(list("ada")).await), missing);
    let get = pb::GetNotificationRequest {
        recipient_id: "ada".into(),
        id: 1,
    };
    assert_eq!(refusal(client.get_notification(get).await), missing);
    assert_eq!(
        refusal(
            client
                .set_read_state(pb::SetReadStateRequest::default())
                .await
        ),
        missing
    );
    let mut relays = pb::relay_service_client::RelayServiceClient::new(core.channel());
    assert_eq!(refusal(relays.relay(tokio_stream::empty()).await), missing);
    core.stop().await;
}

#[tokio::test]
async fn a_token_must_be_genuine() {
    let core = TestCore::start().await;
    let invalid = (Code::Unauthenticated, "TOKEN_INVALID".to_owned());
    let genuine = token("ada", &[]);
    let forged = format!("{}x", &genuine[..genuine.len() - 1]);
    let oversized = "x".repeat(8 * 1024 + 1);
    for wrong in ["x", &forged, &oversized] {
        assert_eq!(
            refusal(core.client().list_history(with(wrong, list("ada"))).await),
            invalid
        );
    }
    let mut request = Request::new(list("ada"));
    request
        .metadata_mut()
        .insert("authorization", "Basic eDp5".parse().unwrap());
    let missing = (Code::Unauthenticated, "TOKEN_MISSING".to_owned());
    assert_eq!(refusal(core.client().list_history(request).await), missing);
    core.stop().await;
}

#[tokio::test]
async fn a_user_reaches_only_their_own_feed_and_a_service_any() {
    let core = TestCore::start().await;
    core.publish(&["ada"], "hers").await;
    let not_yours = (Code::PermissionDenied, "NOT_YOUR_FEED".to_owned());
    let bob = token("bob", &[SCOPE_PUBLISH]);
    let mut client = core.client();
    assert_eq!(
        refusal(client.list_history(with(&bob, list("ada"))).await),
        not_yours
    );
    let subscribe = with(&bob, subscription("ada", None));
    assert_eq!(refusal(client.subscribe(subscribe).await), not_yours);
    let get = pb::GetNotificationRequest {
        recipient_id: "ada".into(),
        id: 1,
    };
    assert_eq!(
        refusal(client.get_notification(with(&bob, get.clone())).await),
        not_yours
    );
    let target = Some(pb::set_read_state_request::Target::UpTo(1));
    let mark = pb::SetReadStateRequest {
        recipient_id: "ada".into(),
        target,
        read: true,
    };
    assert_eq!(
        refusal(client.set_read_state(with(&bob, mark)).await),
        not_yours
    );

    let service = token("service", &[SCOPE_ANY]);
    let found = client
        .get_notification(with(&service, get))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.notification.unwrap().data, "hers");
    core.stop().await;
}

#[tokio::test]
async fn publishing_and_relaying_need_their_scopes() {
    let core = TestCore::start().await;
    let missing = (Code::PermissionDenied, "SCOPE_MISSING".to_owned());
    for scopes in [&[][..], &[SCOPE_ANY]] {
        let token = token("ada", scopes);
        assert_eq!(
            refusal(core.client().publish(with(&token, to(&["ada"]))).await),
            missing
        );
    }
    assert_eq!(
        refusal(core.relay_as(&publisher()).await.map(drop)),
        missing
    );
    assert_eq!(
        core.metric("mercurio_core_rpc_refusals_total{reason=\"SCOPE_MISSING\"}"),
        3.0
    );
    core.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_stream() {
    let core = TestCore::start().await;
    let expired = (Code::Unauthenticated, "TOKEN_EXPIRED".to_owned());
    let token = token_for("ada", &[SCOPE_ANY], Duration::from_secs(1));
    let request = with(&token, subscription("ada", None));
    let mut stream = Feed(core.client().subscribe(request).await.unwrap().into_inner());
    let mut relay = core.relay_as(&token).await.unwrap();
    stream.opened().await;
    assert_eq!(refusal(stream.end().await), expired);
    assert_eq!(refusal(soon(relay.messages.message()).await), expired);
    let again = core
        .client()
        .subscribe(with(&token, subscription("ada", None)))
        .await;
    assert_eq!(refusal(again), expired);
    core.stop().await;
}
