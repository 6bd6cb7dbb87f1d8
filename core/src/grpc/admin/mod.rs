//! What those who run the service ask: one file for each kind of call.

mod revoke;

use std::sync::Arc;

use mercurio_proto::v1::{self as pb, admin_service_server::AdminService};
use tonic::{Request, Response, Status};

use super::Context;

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
}
