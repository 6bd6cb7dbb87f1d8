//! Reading and marking: history, one notification, read state.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use http::Uri;
use mercurio_proto::v1::{
    self as pb, GetNotificationRequest, Ids, ListHistoryRequest, ReadStatus, SetReadStateRequest,
    SetReadStateResponse, set_read_state_request::Target,
};
use serde_json::{Value, json};

use crate::{
    Context,
    auth::Client,
    error::ApiError,
    json::Notification,
    query::{Query, number},
    server::RequestId,
};

/// `GET /api/clients/{clientID}/notifications`
pub(crate) async fn list(
    State(context): State<Arc<Context>>,
    RequestId(request_id): RequestId,
    client: Client,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let query = Query::new(uri.query());
    let status = match query.one("status")?.unwrap_or("all") {
        "all" => ReadStatus::Unspecified,
        "unread" => ReadStatus::Unread,
        "read" => ReadStatus::Read,
        other => return Err(ApiError::field("status", other, "all, unread or read")),
    };
    let allowed = "1..=500";
    let page_size = match query.number("limit", allowed)? {
        None => 50,
        Some(limit @ 1..=500) => limit as i32,
        Some(limit) => return Err(ApiError::field("limit", &limit.to_string(), allowed)),
    };
    let request = ListHistoryRequest {
        recipient_id: client.id.clone(),
        status: status.into(),
        topics: query.topics(),
        page_size,
        page_token: query.one("pageToken")?.unwrap_or_default().to_owned(),
    };
    let page = context
        .cores
        .call(&request_id, request, async |mut core, request| {
            core.list_history(request).await
        })
        .await?;
    let notifications: Vec<_> = page.notifications.iter().map(Notification::new).collect();
    Ok(Json(json!({
        "clientID": client.id,
        "notifications": notifications,
        "nextPageToken": page.next_page_token,
        "cursor": page.cursor,
        "unreadCount": page.unread_count,
    })))
}

/// `GET /api/clients/{clientID}/notifications/{id}`
pub(crate) async fn get(
    State(context): State<Arc<Context>>,
    RequestId(request_id): RequestId,
    client: Client,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let id = notification_id(&id)?;
    let notification = find(&context, &request_id, client.id, id).await?;
    Ok(Json(json!(Notification::new(&notification))))
}

/// `PUT /api/clients/{clientID}/notifications/{id}/read`
pub(crate) async fn read(
    state: State<Arc<Context>>,
    request_id: RequestId,
    client: Client,
    path: Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    mark_one(&state, &request_id, client, &path.1, true).await
}

/// `PUT /api/clients/{clientID}/notifications/{id}/unread`
pub(crate) async fn unread(
    state: State<Arc<Context>>,
    request_id: RequestId,
    client: Client,
    path: Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    mark_one(&state, &request_id, client, &path.1, false).await
}

/// `PUT /api/clients/{clientID}/notifications/read?upTo={id}`
pub(crate) async fn read_up_to(
    State(context): State<Arc<Context>>,
    request_id: RequestId,
    client: Client,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let allowed = "a notification's id: all up to it are marked";
    let up_to = Query::new(uri.query()).number("upTo", allowed)?;
    let up_to = match up_to {
        Some(0) => return Err(ApiError::field("upTo", "0", allowed)),
        None => return Err(ApiError::missing("upTo", allowed)),
        Some(up_to) => up_to,
    };
    let marked = mark(&context, &request_id, client.id, Target::UpTo(up_to), true).await?;
    Ok(Json(json!({
        "status": "read",
        "changed": marked.changed,
        "unreadCount": marked.unread_count,
    })))
}

async fn mark_one(
    context: &Context,
    request_id: &RequestId,
    client: Client,
    id: &str,
    read: bool,
) -> Result<Json<Value>, ApiError> {
    let id = notification_id(id)?;
    let target = Target::Ids(Ids { ids: vec![id] });
    let marked = mark(context, request_id, client.id.clone(), target, read).await?;
    if marked.changed == 0 {
        // It was so already, or it is not there: that is worth knowing.
        find(context, &request_id.0, client.id, id).await?;
    }
    Ok(Json(
        json!({ "status": if read { "read" } else { "unread" } }),
    ))
}

async fn mark(
    context: &Context,
    request_id: &RequestId,
    recipient_id: String,
    target: Target,
    read: bool,
) -> Result<SetReadStateResponse, ApiError> {
    let request = SetReadStateRequest {
        recipient_id,
        target: Some(target),
        read,
    };
    // Made twice it does the same.
    let marked = context
        .cores
        .call(&request_id.0, request, async |mut core, request| {
            core.set_read_state(request).await
        })
        .await?;
    Ok(marked)
}

async fn find(
    context: &Context,
    request_id: &str,
    recipient_id: String,
    id: u64,
) -> Result<pb::Notification, ApiError> {
    let request = GetNotificationRequest { recipient_id, id };
    let found = context
        .cores
        .call(request_id, request, async |mut core, request| {
            core.get_notification(request).await
        })
        .await?;
    Ok(found.notification.unwrap_or_default())
}

fn notification_id(text: &str) -> Result<u64, ApiError> {
    let allowed = "a notification's id, a number above 0";
    let id = number("id", text, allowed)?;
    if id == 0 {
        return Err(ApiError::field("id", text, allowed));
    }
    Ok(id)
}
