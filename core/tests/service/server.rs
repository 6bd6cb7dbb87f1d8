use std::time::Duration;

use mercurio_core::{CoreSettings, Transport};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::*;

const SERVICES: [&str; 5] = [
    "",
    "mercurio.v1.NotificationService",
    "mercurio.v1.RelayService",
    "mercurio.v1.SnapshotService",
    "mercurio.v1.AdminService",
];

#[tokio::test]
async fn health_is_told_by_service() {
    let core = TestCore::start().await;
    let mut client = HealthClient::new(core.channel());
    for service in SERVICES {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let status = soon(client.check(request))
            .await
            .unwrap()
            .into_inner()
            .status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    core.stop().await;
}

/// Both versions have the same messages, in packages of their own.
macro_rules! lists_services {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let core = TestCore::start().await;
            let mut client = ServerReflectionClient::new(core.channel());
            let request = ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let requests = tokio_stream::once(request);
            let mut answers = soon(client.server_reflection_info(requests))
                .await
                .unwrap()
                .into_inner();
            let answer = soon(answers.message()).await.unwrap().unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("a list")
            };
            let names: Vec<_> = list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect();
            for service in ["grpc.health.v1.Health"].iter().chain(&SERVICES[1..]) {
                assert!(
                    names.contains(&(*service).to_owned()),
                    "{service} in {names:?}"
                );
            }
            core.stop().await;
        }
    };
}

lists_services!(reflection_v1_lists_the_services, v1);
lists_services!(reflection_v1alpha_lists_the_services, v1alpha);

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let transport = Transport {
        handshake_timeout: Duration::from_millis(50),
        ..Transport::default()
    };
    let core = TestCore::with(CoreSettings {
        transport,
        ..CoreSettings::default()
    })
    .await;
    let mut silent = TcpStream::connect(core.address).await.unwrap();
    let mut answer = Vec::new();
    // However it is closed: there is nothing more to come.
    let _ = soon(silent.read_to_end(&mut answer)).await;
    core.metric_becomes("mercurio_core_connections_open", |open| open == 1.0)
        .await;
    core.publish(&["ada"], "those that speak stay").await;
    core.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let transport = Transport {
        connections: 2,
        ..Transport::default()
    };
    let core = TestCore::with(CoreSettings {
        transport,
        ..CoreSettings::default()
    })
    .await;
    let second = core.connect().await;
    let mut third = tokio::spawn({
        let address = core.address;
        async move {
            let channel = tonic::transport::Channel::from_shared(format!("http://{address}"));
            let mut client = HealthClient::new(channel.unwrap().connect().await.unwrap());
            client.check(HealthCheckRequest::default()).await.unwrap();
        }
    });
    let waiting = tokio::time::timeout(Duration::from_millis(100), &mut third).await;
    assert!(waiting.is_err(), "it waits");
    drop(second);
    soon(third).await.unwrap();
    core.stop().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_called_is_closed() {
    let transport = Transport {
        connection_idle: Duration::from_secs(2),
        ..Transport::default()
    };
    let core = TestCore::with(CoreSettings {
        transport,
        ..CoreSettings::default()
    })
    .await;
    let mut feed = core.subscribe("ada", None).await;
    feed.opened().await;
    let _idle = core.connect().await;
    core.metric_becomes("mercurio_core_connections_open", |open| open == 2.0)
        .await;
    core.metric_becomes("mercurio_core_connections_open", |open| open == 1.0)
        .await;
    core.publish(&["ada"], "one with a stream stays").await;
    assert_eq!(feed.notification().await.data, "one with a stream stays");
    core.stop().await;
}

#[tokio::test]
async fn streams_that_need_no_token_are_bounded() {
    let transport = Transport {
        other_streams: 20,
        ..Transport::default()
    };
    let core = TestCore::with(CoreSettings {
        transport,
        ..CoreSettings::default()
    })
    .await;
    let too_many = (Code::ResourceExhausted, "TOO_MANY_STREAMS".to_owned());
    let request = HealthCheckRequest::default;
    let mut open = Vec::new();
    let mut clients = Vec::new();
    // The first connection has its most; then there are as many as may be.
    for expected in [16, 4] {
        let mut client = HealthClient::new(core.connect().await);
        for _ in 0..expected {
            open.push(soon(client.watch(request())).await.unwrap());
        }
        let refused = soon(client.watch(request())).await;
        assert_eq!(refusal(refused), too_many);
        soon(client.check(request())).await.unwrap();
        clients.push(client);
    }
    open.clear();
    let again = async {
        while let Err(refused) = clients[1].watch(request()).await {
            assert_eq!(refusal(Err::<(), _>(refused)), too_many);
        }
    };
    soon(again).await;
    core.stop().await;
}
