//! What publishing costs with nothing behind it: the contract's gRPC server, which answers at once. It
//! looks at no token, checks nothing, and keeps nothing.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use mercurio_proto::v1::{
    self as pb,
    notification_service_server::{NotificationService, NotificationServiceServer},
};
use tonic::{Request, Response, Status, transport::Server};

/// Serves for ever.
pub fn run(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let served = runtime.block_on(
        Server::builder()
            .add_service(NotificationServiceServer::new(Bare::default()))
            .serve(address),
    );
    served.expect("served");
}

#[derive(Default)]
struct Bare {
    published: AtomicU64,
}

#[tonic::async_trait]
impl NotificationService for Bare {
    type SubscribeStream = tokio_stream::Pending<Result<pb::SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        Ok(Response::new(pb::PublishResponse {
            id: self.published.fetch_add(1, Ordering::Relaxed) + 1,
            event_id: request.into_inner().event_id,
            duplicate: false,
        }))
    }

    async fn subscribe(
        &self,
        _: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("publishing alone"))
    }

    async fn list_history(
        &self,
        _: Request<pb::ListHistoryRequest>,
    ) -> Result<Response<pb::ListHistoryResponse>, Status> {
        Err(Status::unimplemented("publishing alone"))
    }

    async fn get_notification(
        &self,
        _: Request<pb::GetNotificationRequest>,
    ) -> Result<Response<pb::GetNotificationResponse>, Status> {
        Err(Status::unimplemented("publishing alone"))
    }

    async fn set_read_state(
        &self,
        _: Request<pb::SetReadStateRequest>,
    ) -> Result<Response<pb::SetReadStateResponse>, Status> {
        Err(Status::unimplemented("publishing alone"))
    }
}
