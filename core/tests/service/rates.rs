//! How much one address, and one user, may ask of the core's own door.

use mercurio_auth::SCOPE_ANY;
use mercurio_core::{CoreSettings, Limits, Transport};
use mercurio_proto::v1 as pb;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::*;

async fn limited(limits: Limits) -> TestCore {
    TestCore::with(CoreSettings {
        limits,
        ..CoreSettings::default()
    })
    .await
}

async fn list(core: &TestCore, token: &str) -> Result<(), Status> {
    let request = pb::ListHistoryRequest {
        recipient_id: "ada".into(),
        ..Default::default()
    };
    let answer = core.client().list_history(with(token, request)).await;
    answer.map(drop)
}

/// What a rate of one a second lets through at once.
const BURST: usize = 10;

/// Asserts that the calls beyond a burst are refused, and that it is said when to come back.
async fn is_limited(core: &TestCore, token: &str) {
    for _ in 0..BURST {
        list(core, token).await.unwrap();
    }
    let status = list(core, token).await.unwrap_err();
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    let exhausted = (Code::ResourceExhausted, "RATE_LIMITED".to_owned());
    assert_eq!(refusal(Err::<(), _>(status)), exhausted);
}

#[tokio::test]
async fn a_user_has_a_rate_and_a_service_none() {
    let core = limited(Limits {
        calls_per_user: 1,
        ..Limits::default()
    })
    .await;
    is_limited(&core, &token("ada", &[])).await;
    let service = token("a service", &[SCOPE_ANY]);
    for _ in 0..2 * BURST {
        list(&core, &service).await.unwrap();
    }
    // What she publishes is counted for itself.
    core.publish(&["ada"], "still").await;
    core.stop().await;
}

#[tokio::test]
async fn an_address_has_a_rate_whoever_calls() {
    let core = limited(Limits {
        calls_per_address: 1,
        ..Limits::default()
    })
    .await;
    is_limited(&core, &token("a service", &[SCOPE_ANY])).await;
    // Before it is looked who calls.
    let exhausted = (Code::ResourceExhausted, "RATE_LIMITED".to_owned());
    assert_eq!(refusal(list(&core, "no token at all").await), exhausted);
    core.stop().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let core = TestCore::with(CoreSettings {
        transport: Transport {
            connections_per_address: 2,
            ..Transport::default()
        },
        ..CoreSettings::default()
    })
    .await;
    // The harness has one.
    list(&core, &token("ada", &[])).await.unwrap();
    let second = core.connect().await;
    let mut third = TcpStream::connect(core.address).await.unwrap();
    assert_eq!(soon(third.read(&mut [0; 1])).await.unwrap(), 0, "closed");
    let refusals = "mercurio_core_rpc_refusals_total{reason=\"TOO_MANY_CONNECTIONS\"}";
    assert_eq!(core.metric(refusals), 1.0);
    // With one less there is room.
    drop(second);
    core.metric_becomes("mercurio_core_connections_open", |open| open == 1.0)
        .await;
    core.connect().await;
    list(&core, &token("ada", &[])).await.unwrap();
    core.stop().await;
}
