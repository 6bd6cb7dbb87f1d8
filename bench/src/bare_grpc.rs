//! What publishing costs with nothing behind it: the contract's gRPC server, which answers at once. It
//! looks at no token, checks nothing, and keeps nothing; with the floor behind it, that makes the event safe
//! and delivers it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mercurio_proto::v1::{
    self as pb,
    notification_service_server::{NotificationService, NotificationServiceServer},
    publish_request::Audience,
};
use tonic::{Request, Response, Status, transport::Server};

use crate::floor::Floor;

/// Serves for ever.
pub fn run(address: &str, floor: Option<Arc<Floor>>) {
    let address: SocketAddr = address.parse().expect("an address");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let served = runtime.block_on(
        Server::builder()
            .add_service(NotificationServiceServer::new(Bare {
                published: AtomicU64::new(0),
                floor,
            }))
            .serve(address),
    );
    served.expect("served");
}

struct Bare {
    published: AtomicU64,
    floor: Option<Arc<Floor>>,
}

#[tonic::async_trait]
impl NotificationService for Bare {
    type SubscribeStream = tokio_stream::Pending<Result<pb::SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let request = request.into_inner();
        let channel = match &request.audience {
            Some(Audience::Recipients(to)) => to.ids.first().map_or("", String::as_str),
            _ => "all",
        };
        let id = match &self.floor {
            // It blocks one of tokio's threads: a thread of its own would cost more.
            Some(floor) => floor.publish(channel, request.data.as_bytes()),
            None => self.published.fetch_add(1, Ordering::Relaxed) + 1,
        };
        Ok(Response::new(pb::PublishResponse {
            id,
            event_id: request.event_id,
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
