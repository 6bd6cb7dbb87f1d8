//! What those who run the service ask: one file for each kind of call.

mod delete;
mod revoke;
mod status;
mod streams;

use std::sync::Arc;

use mercurio_proto::v1::{self as pb, admin_service_server::AdminService};
use tonic::{Request, Response, Status};

use super::{Context, auth};

pub(crate) use status::About;

/// `mercurio.v1.AdminService`.
pub(super) struct Admin(pub Arc<Context>);

#[tonic::async_trait]
impl AdminService for Admin {
    async fn revoke_tokens(
        &self,
        request: Request<pb::RevokeTokensRequest>,
    ) -> Result<Response<pb::RevokeTokensResponse>, Status> {
        let context = &self.0;
        context
            .revoke_tokens(request)
            .await
            .map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }

    async fn delete_notifications(
        &self,
        request: Request<pb::DeleteNotificationsRequest>,
    ) -> Result<Response<pb::DeleteNotificationsResponse>, Status> {
        let context = &self.0;
        context
            .delete_notifications(request)
            .await
            .map(Response::new)
            .map_err(|refusal| context.refuse(refusal))
    }

    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let context = &self.0;
        let answer = async {
            auth::administrator(&request)?;
            context.get_status().await
        };
        let answer = answer.await.map(Response::new);
        answer.map_err(|refusal| context.refuse(refusal))
    }

    async fn list_streams(
        &self,
        request: Request<pb::ListStreamsRequest>,
    ) -> Result<Response<pb::ListStreamsResponse>, Status> {
        let context = &self.0;
        let answer = async {
            auth::administrator(&request)?;
            context.list_streams(request.get_ref()).await
        };
        let answer = answer.await.map(Response::new);
        answer.map_err(|refusal| context.refuse(refusal))
    }
}
