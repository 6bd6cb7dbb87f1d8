//! The gRPC server on a bound listener, from the first connection to the last.

use std::sync::Arc;

use mercurio_proto::{
    FILE_DESCRIPTOR_SET,
    v1::{
        admin_service_server::AdminServiceServer,
        notification_service_server::NotificationServiceServer,
        relay_service_server::RelayServiceServer, snapshot_service_server::SnapshotServiceServer,
    },
};
use mercurio_trace::grpc::ServeTraced;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    transport::{Server, server::Router},
};
use tonic_health::{pb::FILE_DESCRIPTOR_SET as HEALTH_DESCRIPTOR_SET, server::HealthReporter};
use tower::{
    layer::util::{Identity, Stack},
    util::MapResponseLayer,
};
use tracing::Span;

use crate::log::LogStatus;

use super::{
    Context,
    access::AccessLayer,
    admin::Admin,
    admission::Admits,
    ends::{Ends, Others},
    incoming::{self, Door},
    notifications::Notifications,
    past,
    relay::Relays,
    snapshots::Snapshots,
};

/// The metadata key of a request's id.
const REQUEST_ID: &str = "x-request-id";
/// The most bytes of an id that is taken from a request.
const REQUEST_ID_MAX: usize = 128;

/// Bytes of a call's metadata: a token that is too large is refused as such, not as a broken call.
const HEAD_MAX: u32 = 32 << 10;

/// Bytes of a message to health and reflection, which need no token.
const OTHERS_MESSAGE: usize = 4 << 10;

/// Calls that were taken back before they were looked at: more, and the connection is ended.
const RESETS: usize = 20;

/// Why serving ended, or did not begin.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The descriptors that reflection serves are damaged.
    #[error("set up reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The server failed.
    #[error("serve gRPC: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `context.shutdown` is cancelled and every connection has ended. Those that don't
/// end within `context.patience` after that are cut.
pub(crate) async fn serve(context: Arc<Context>, door: Door) -> Result<(), ServeError> {
    let (cut, others_end) = (CancellationToken::new(), CancellationToken::new());
    let (health, router) = router(&context, &others_end).await?;
    let following = tokio::spawn(follow(health.clone(), context.log.clone()));
    let connections = incoming::accept(
        door,
        &context.transport,
        context.metrics.clone(),
        cut.clone(),
    );
    let (shutdown, patience) = (context.shutdown.clone(), context.patience);
    let asked_to_end = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.cancelled().await;
            following.abort();
            // Watchers are told before they are ended.
            set_serving(&health, false).await;
            others_end.cancel();
        }
    };
    let serving = router.serve_with_incoming_shutdown(connections, asked_to_end);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = past(&shutdown, patience) => {
            let open = context.metrics.connections.get();
            tracing::warn!(open, "connections did not end in time and are cut");
            cut.cancel();
        }
    }
    Ok(serving.await?)
}

/// Says that this core serves while it is caught up with its log.
async fn follow(health: HealthReporter, log: LogStatus) {
    let mut states = log.watch();
    let mut is_ready = log.now().is_ready();
    // Ends when the log's other holders have gone.
    while states.changed().await.is_ok() {
        let now_is = states.borrow_and_update().is_ready();
        if now_is != is_ready {
            is_ready = now_is;
            tracing::info!(is_ready, "this core's readiness changed");
            set_serving(&health, is_ready).await;
        }
    }
}

type MapResponse = fn(http::Response<Body>) -> http::Response<Body>;
type Layers =
    Stack<ServeTraced, Stack<MapResponseLayer<MapResponse>, Stack<AccessLayer, Identity>>>;

/// Of these calls traces tell; others are health and reflection.
const OURS: &str = "/mercurio.v1.";

async fn router(
    context: &Arc<Context>,
    others_end: &CancellationToken,
) -> Result<(HealthReporter, Router<Layers>), ServeError> {
    let most = context.limits.message_bytes();
    let notifications = NotificationServiceServer::new(Notifications(context.clone()))
        .max_decoding_message_size(most);
    let relays = RelayServiceServer::new(Relays(context.clone())).max_decoding_message_size(most);
    let snapshots = SnapshotServiceServer::new(Snapshots(context.clone()));
    let admin = AdminServiceServer::new(Admin(context.clone()));
    let (health, health_service) = tonic_health::server::health_reporter();
    set_serving(&health, context.log.now().is_ready()).await;
    // Older clients (grpcurl before 1.8.8) ask for v1alpha.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(HEALTH_DESCRIPTOR_SET)
            // What errors carry: grpcurl shows no details that it can't look up.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let others = Others::new(others_end, context);
    let transport = &context.transport;
    let router = Server::builder()
        .layer(AccessLayer)
        .layer(MapResponseLayer::new(too_large as MapResponse))
        .layer(ServeTraced::new(context.traces.clone(), OURS))
        .timeout(transport.call_timeout)
        .http2_max_header_list_size(HEAD_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .max_concurrent_streams(transport.calls_per_connection)
        .http2_keepalive_interval(Some(transport.keepalive_interval))
        .http2_keepalive_timeout(Some(transport.keepalive_timeout))
        .add_service(Admits::new(notifications, context))
        .add_service(Admits::new(relays, context))
        .add_service(Admits::new(snapshots, context))
        .add_service(Admits::new(admin, context))
        .add_service(Ends::new(
            health_service.max_decoding_message_size(OTHERS_MESSAGE),
            &others,
        ))
        .add_service(Ends::new(
            v1.max_decoding_message_size(OTHERS_MESSAGE),
            &others,
        ))
        .add_service(Ends::new(
            v1alpha.max_decoding_message_size(OTHERS_MESSAGE),
            &others,
        ));
    Ok((health, router))
}

/// What tonic says of a message that is too large, said as every refusal is. Nothing else here
/// answers OUT_OF_RANGE.
fn too_large(response: http::Response<Body>) -> http::Response<Body> {
    let status = tonic::Status::from_header_map(response.headers());
    match status {
        Some(status) if status.code() == tonic::Code::OutOfRange => {
            let mut wrong = super::validate::Violations::default();
            wrong.add("message", status.message());
            tonic::Status::from(super::status::Refusal::Invalid(wrong)).into_http()
        }
        _ => response,
    }
}

async fn set_serving(health: &HealthReporter, is_serving: bool) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let status = if is_serving { Serving } else { NotServing };
    let ours = [
        "",
        <NotificationServiceServer<Notifications> as tonic::server::NamedService>::NAME,
        <RelayServiceServer<Relays> as tonic::server::NamedService>::NAME,
        <SnapshotServiceServer<Snapshots> as tonic::server::NamedService>::NAME,
        <AdminServiceServer<Admin> as tonic::server::NamedService>::NAME,
    ];
    for service in ours {
        health.set_service_status(service, status).await;
    }
}

/// The span of a call: its method, and an id that the gateway's log has too. Nothing else of it is
/// logged, least of all its token or body.
pub(super) fn span<B>(request: &http::Request<B>, request_id: &str) -> Span {
    let span = tracing::info_span!("rpc", method = request.uri().path(), request_id);
    span.in_scope(|| tracing::debug!("called"));
    span
}

/// The id that the caller gave, if it may stand in a log.
pub(super) fn request_id(headers: &http::HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_usable =
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    is_usable.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_when_it_may_stand_in_a_log() {
        let id_of = |id: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert(REQUEST_ID, id.parse().unwrap());
            request_id(&headers).map(str::to_owned)
        };
        assert_eq!(id_of("0198-abc").as_deref(), Some("0198-abc"));
        assert_eq!(id_of(&"x".repeat(128)).as_deref(), Some(&*"x".repeat(128)));
        for unusable in ["", "a b", "a\tb", &"x".repeat(129)] {
            assert_eq!(id_of(unusable), None, "{unusable:?}");
        }
        assert_eq!(request_id(&http::HeaderMap::new()), None);
    }
}
