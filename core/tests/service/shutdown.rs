use std::time::{Duration, Instant};

use mercurio_core::CoreSettings;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::*;

fn ended() -> (Code, String) {
    (Code::Unavailable, "SHUTTING_DOWN".to_owned())
}

#[tokio::test]
async fn open_streams_are_ended_with_a_reason_and_hold_nothing_up() {
    let core = TestCore::start().await;
    let mut streams = Vec::new();
    for n in 0..20 {
        streams.push(core.subscribe(&format!("user-{n}"), None).await);
    }
    let mut relay = core.relay().await;
    relay.joined(1, &["ada"]).await;
    let mut health = HealthClient::new(core.channel());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        soon(watch.message()).await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
            core.channel(),
        );
    let silent = tokio_stream::pending()
        .filter(|()| false)
        .map(|()| unreachable!());
    let mut answers = reflection
        .server_reflection_info(silent)
        .await
        .unwrap()
        .into_inner();

    let started = Instant::now();
    core.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    for stream in &mut streams {
        assert_eq!(refusal(stream.end().await), ended());
    }
    assert_eq!(refusal(soon(relay.messages.message()).await), ended());
    let told = soon(watch.message()).await.unwrap().unwrap().status();
    assert_eq!(told, ServingStatus::NotServing, "before it ends");
    assert_eq!(refusal(soon(watch.message()).await), ended());
    assert_eq!(refusal(soon(answers.message()).await), ended());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_within_the_grace() {
    let shutdown_grace = Duration::from_millis(400);
    let core = TestCore::with(CoreSettings {
        shutdown_grace,
        ..CoreSettings::default()
    })
    .await;
    let mut stuck = core.subscribe("ada", None).await;
    stuck.opened().await;
    let data = "x".repeat(8192);
    for _ in 0..200 {
        core.publish(&["ada"], &data).await;
    }
    let started = Instant::now();
    core.stop().await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert!(stuck.end().await.is_err());
}

#[tokio::test]
async fn the_directory_can_be_opened_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = 0;
    for _ in 0..3 {
        let core = TestCore::at(dir.path(), CoreSettings::default()).await;
        let mut stream = core.subscribe("ada", Some(id)).await;
        stream.opened().await;
        let next = core.publish(&["ada"], "x").await;
        assert!(next > id);
        id = next;
        assert_eq!(stream.ids(1).await, [id]);
        core.stop().await;
    }
}
