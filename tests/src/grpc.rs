//! The core's API over gRPC, with a token.

use std::{net::SocketAddr, time::Duration};

use mercurio_proto::v1::{
    DeleteFromView, DeleteNotificationsRequest, DeleteNotificationsResponse, Everyone,
    GetNotificationRequest, Ids, ListHistoryRequest, ListHistoryResponse, Notification,
    PublishRequest, PublishResponse, ReadStatus, Recipients, SetReadStateRequest,
    SetReadStateResponse, SubscribeRequest, SubscribeResponse,
    admin_service_client::AdminServiceClient, delete_notifications_request,
    notification_service_client::NotificationServiceClient, publish_request::Audience,
    set_read_state_request::Target,
};
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    leaks,
    wait::{LATER, SOON, within},
};

/// The generated client with a token on each call.
pub type Client = NotificationServiceClient<InterceptedService<Channel, Bearer>>;

/// The administration's.
pub type AdminClient = AdminServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts `authorization: Bearer` on each call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// A channel that connects when first used, and again after a restart.
pub fn channel(to: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{to}"))
        .expect("a valid address")
        .connect_timeout(Duration::from_secs(5))
        .connect_lazy()
}

/// A notification to be published; `event_id` is made by the core where empty.
pub fn to(recipients: &[&str], topic: &str, data: &str) -> PublishRequest {
    leaks::note_body(data);
    let ids = recipients.iter().map(|id| (*id).to_owned()).collect();
    PublishRequest {
        source_id: "tests".to_owned(),
        audience: Some(Audience::Recipients(Recipients { ids })),
        topic: topic.to_owned(),
        data: data.to_owned(),
        ..PublishRequest::default()
    }
}

/// A notification to be published to everyone.
pub fn to_everyone(topic: &str, data: &str) -> PublishRequest {
    PublishRequest {
        audience: Some(Audience::Everyone(Everyone {})),
        ..to(&[], topic, data)
    }
}

/// The same under an event id of its own.
pub fn with_id(event_id: &str, request: PublishRequest) -> PublishRequest {
    PublishRequest {
        event_id: event_id.to_owned(),
        ..request
    }
}

/// The same with a time to live.
pub fn with_ttl(ttl: Duration, request: PublishRequest) -> PublishRequest {
    let ttl = ttl.try_into().expect("a duration that fits");
    PublishRequest {
        ttl: Some(ttl),
        ..request
    }
}

/// A subscription to all topics.
pub fn feed(recipient: &str, after: Option<u64>) -> SubscribeRequest {
    SubscribeRequest {
        recipient_id: recipient.to_owned(),
        after,
        ..SubscribeRequest::default()
    }
}

/// A page of history: everything, newest first.
pub fn page(recipient: &str, size: i32) -> ListHistoryRequest {
    ListHistoryRequest {
        recipient_id: recipient.to_owned(),
        page_size: size,
        ..ListHistoryRequest::default()
    }
}

/// The core's API with one token. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The generated client.
    pub client: Client,
    /// That of the administration.
    pub admin: AdminClient,
}

impl Api {
    /// The API at this address; connects when first used, and again after a restart.
    pub fn new(to: SocketAddr, token: &str) -> Api {
        Self::with(channel(to), Some(&format!("Bearer {token}")))
    }

    /// The API over this channel with this `authorization`, or none.
    pub fn with(channel: Channel, authorization: Option<&str>) -> Api {
        let value = authorization.map(|text| text.parse().expect("a header value"));
        let bearer = Bearer(value);
        let admin = AdminServiceClient::with_interceptor(channel.clone(), bearer.clone());
        let client = NotificationServiceClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(64 << 20);
        Api { client, admin }
    }

    /// Publishes; waits a deadline at most, which is longer than a test has a core stopped.
    pub async fn try_publish(&self, request: PublishRequest) -> Result<PublishResponse, Status> {
        within("publish", LATER, self.publish_once(request)).await
    }

    /// Publishes; waits for the answer as long as it takes.
    pub async fn publish_once(&self, request: PublishRequest) -> Result<PublishResponse, Status> {
        let mut client = self.client.clone();
        let answer = client.publish(request).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Publishes; panics where refused.
    pub async fn publish(&self, request: PublishRequest) -> PublishResponse {
        self.try_publish(request).await.expect("publish")
    }

    /// Publishes `count` notifications to one recipient, `"<prefix><n>"` from 0; gives the id of
    /// each. Concurrently, so that they share syncs: the ids need not ascend.
    pub async fn publish_many(&self, recipient: &str, prefix: &str, count: usize) -> Vec<u64> {
        let mut ids = Vec::with_capacity(count);
        for chunk in (0..count).collect::<Vec<_>>().chunks(64) {
            let calls = chunk.iter().map(|n| {
                let api = self.clone();
                let request = to(&[recipient], "many", &format!("{prefix}{n}"));
                tokio::spawn(async move { api.publish(request).await.id })
            });
            for call in calls.collect::<Vec<_>>() {
                ids.push(call.await.expect("publish"));
            }
        }
        ids
    }

    /// Opens a subscription.
    pub async fn try_subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<Streaming<SubscribeResponse>, Status> {
        let mut client = self.client.clone();
        within("subscribe", SOON, client.subscribe(request))
            .await
            .map(|r| r.into_inner())
    }

    /// Opens a subscription; panics where refused.
    pub async fn subscribe(&self, request: SubscribeRequest) -> Feed {
        Feed(self.try_subscribe(request).await.expect("subscribe"))
    }

    /// One page of history.
    pub async fn try_list(
        &self,
        request: ListHistoryRequest,
    ) -> Result<ListHistoryResponse, Status> {
        let mut client = self.client.clone();
        within("list", SOON, client.list_history(request))
            .await
            .map(|r| r.into_inner())
    }

    /// One page of history; panics where refused.
    pub async fn list(&self, request: ListHistoryRequest) -> ListHistoryResponse {
        self.try_list(request).await.expect("list history")
    }

    /// All pages of this request, newest first.
    pub async fn list_all(&self, mut request: ListHistoryRequest) -> Vec<Notification> {
        let mut all = Vec::new();
        loop {
            let page = self.list(request.clone()).await;
            all.extend(page.notifications);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The whole history of a recipient, oldest first.
    pub async fn history(&self, recipient: &str) -> Vec<Notification> {
        let mut all = self.list_all(page(recipient, 500)).await;
        all.reverse();
        all
    }

    /// The unread count as history says it.
    pub async fn unread(&self, recipient: &str) -> u64 {
        self.list(page(recipient, 1)).await.unread_count
    }

    /// One notification as one recipient sees it.
    pub async fn get(&self, recipient: &str, id: u64) -> Result<Notification, Status> {
        let request = GetNotificationRequest {
            recipient_id: recipient.to_owned(),
            id,
        };
        let mut client = self.client.clone();
        let answer = within("get", SOON, client.get_notification(request)).await?;
        Ok(answer
            .into_inner()
            .notification
            .expect("a notification in the answer"))
    }

    /// Marks notifications read or unread.
    pub async fn mark(&self, recipient: &str, ids: &[u64], read: bool) -> SetReadStateResponse {
        let target = Target::Ids(Ids { ids: ids.to_vec() });
        self.try_mark(recipient, Some(target), read)
            .await
            .expect("set the read state")
    }

    /// Marks all up to this id.
    pub async fn mark_up_to(&self, recipient: &str, id: u64, read: bool) -> SetReadStateResponse {
        let target = Some(Target::UpTo(id));
        self.try_mark(recipient, target, read)
            .await
            .expect("set the read state")
    }

    /// Deletes from one user's view.
    pub async fn delete(&self, recipient: &str, ids: &[u64]) -> DeleteNotificationsResponse {
        let view = DeleteFromView {
            recipient_id: recipient.to_owned(),
            ids: ids.to_vec(),
        };
        let deleted = self.try_delete(delete_notifications_request::Target::FromView(view));
        deleted.await.expect("delete")
    }

    /// Deletes one for all who have it.
    pub async fn delete_for_all(&self, id: u64) -> Result<DeleteNotificationsResponse, Status> {
        self.try_delete(delete_notifications_request::Target::Id(id))
            .await
    }

    /// Deletes everything of a user.
    pub async fn forget(&self, user: &str) -> DeleteNotificationsResponse {
        let target = delete_notifications_request::Target::EverythingOf(user.to_owned());
        self.try_delete(target).await.expect("forget a user")
    }

    async fn try_delete(
        &self,
        target: delete_notifications_request::Target,
    ) -> Result<DeleteNotificationsResponse, Status> {
        let target = Some(target);
        let mut admin = self.admin.clone();
        let request = DeleteNotificationsRequest { target };
        within("delete", SOON, admin.delete_notifications(request))
            .await
            .map(|answer| answer.into_inner())
    }

    /// Sets a read state.
    pub async fn try_mark(
        &self,
        recipient: &str,
        target: Option<Target>,
        read: bool,
    ) -> Result<SetReadStateResponse, Status> {
        let request = SetReadStateRequest {
            recipient_id: recipient.to_owned(),
            target,
            read,
        };
        let mut client = self.client.clone();
        within("mark", SOON, client.set_read_state(request))
            .await
            .map(|r| r.into_inner())
    }
}

/// One subscription.
pub struct Feed(pub Streaming<SubscribeResponse>);

impl Feed {
    /// The next message; `None` at a clean end.
    pub async fn try_next(&mut self) -> Result<Option<SubscribeResponse>, Status> {
        within("the next message", SOON, self.0.message()).await
    }

    /// The next message; panics at the end.
    pub async fn next(&mut self) -> SubscribeResponse {
        self.try_next()
            .await
            .expect("the stream goes on")
            .expect("the stream goes on")
    }

    /// Everything up to the stream's own end.
    pub async fn to_end(mut self) -> Vec<SubscribeResponse> {
        let mut all = Vec::new();
        while let Some(message) = self.try_next().await.expect("the stream ends cleanly") {
            all.push(message);
        }
        all
    }
}

/// A status's `ErrorInfo` reason; empty where there is none.
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.filter(|info| info.domain == "mercurio")
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// Asserts an INVALID_ARGUMENT that names this field, and says something about it.
#[track_caller]
pub fn expect_field(status: &Status, field: &str) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(reason(status), "INVALID_FIELD", "{status:?}");
    let violations = status
        .get_details_bad_request()
        .map(|b| b.field_violations)
        .unwrap_or_default();
    let violation = violations.iter().find(|v| v.field == field);
    let violation = violation.unwrap_or_else(|| panic!("{field} is not named: {violations:?}"));
    assert!(!violation.description.is_empty(), "{violations:?}");
    violation.description.clone()
}

/// Asserts a code and a stable reason.
#[track_caller]
pub fn expect_reason<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, why: &str) {
    let status = result.expect_err("refused");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (code, why),
        "{status:?}"
    );
}

/// A filter by status for [`page`].
pub fn only(status: ReadStatus, request: ListHistoryRequest) -> ListHistoryRequest {
    ListHistoryRequest {
        status: status.into(),
        ..request
    }
}
