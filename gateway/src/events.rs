//! Publishing over HTTP, for services without gRPC.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{FromRequest, Request, State},
};
use http::{StatusCode, header};
use mercurio_proto::{
    PUBLISHER_METADATA,
    v1::{Everyone, PublishRequest, PublishResponse, Recipients, publish_request::Audience},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;

use crate::{Context, auth::Caller, error::ApiError, server::RequestId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Unicast {
    id: Option<String>,
    #[serde(rename = "sourceID")]
    source_id: String,
    #[serde(rename = "destinationID")]
    destination_id: String,
    #[serde(default)]
    topic: String,
    data: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Broadcast {
    id: Option<String>,
    #[serde(rename = "sourceID")]
    source_id: String,
    destinations: Option<Vec<String>>,
    #[serde(default)]
    everyone: bool,
    #[serde(default)]
    topic: String,
    data: String,
}

#[derive(Clone, Serialize)]
pub(crate) struct Published {
    #[serde(rename = "notificationID")]
    notification_id: u64,
    #[serde(rename = "eventID")]
    event_id: String,
}

impl From<PublishResponse> for Published {
    fn from(response: PublishResponse) -> Self {
        Self {
            notification_id: response.id,
            event_id: response.event_id,
        }
    }
}

/// `POST /api/events/unicast`
pub(crate) async fn unicast(
    State(context): State<Arc<Context>>,
    request_id: RequestId,
    caller: Caller,
    request: Request,
) -> Result<Json<Published>, ApiError> {
    caller.check_may_publish()?;
    let Unicast {
        id,
        source_id,
        destination_id,
        topic,
        data,
    } = body(&context, request).await?;
    let audience = Audience::Recipients(Recipients {
        ids: vec![destination_id],
    });
    let request = PublishRequest {
        event_id: given(id)?,
        source_id,
        audience: Some(audience),
        topic,
        data,
        ttl: None,
    };
    publish(&context, &request_id, &caller, request)
        .await
        .map(|published| Json(published.into()))
        .map_err(|error| error.naming("destinations[0]", "destinationID"))
}

/// `POST /api/events/broadcast`
pub(crate) async fn broadcast(
    State(context): State<Arc<Context>>,
    request_id: RequestId,
    caller: Caller,
    request: Request,
) -> Result<Json<Vec<Published>>, ApiError> {
    caller.check_may_publish()?;
    let Broadcast {
        id,
        source_id,
        destinations,
        everyone,
        topic,
        data,
    } = body(&context, request).await?;
    let (audience, answers) = match (destinations, everyone) {
        (Some(ids), false) if !ids.is_empty() => {
            let answers = ids.len();
            (Audience::Recipients(Recipients { ids }), answers)
        }
        (None, true) => (Audience::Everyone(Everyone {}), 1),
        (Some(_), true) => {
            let allowed = "either destinations, or everyone: true";
            return Err(ApiError::field("everyone", "true", allowed));
        }
        (Some(_), false) => {
            let allowed = "one or more users' ids";
            return Err(ApiError::field("destinations", "[]", allowed));
        }
        (None, false) => {
            let allowed = "one or more users' ids, or everyone: true in their place";
            return Err(ApiError::missing("destinations", allowed));
        }
    };
    let request = PublishRequest {
        event_id: given(id)?,
        source_id,
        audience: Some(audience),
        topic,
        data,
        ttl: None,
    };
    let published = publish(&context, &request_id, &caller, request).await?;
    Ok(Json(vec![published.into(); answers]))
}

async fn publish(
    context: &Context,
    request_id: &RequestId,
    caller: &Caller,
    request: PublishRequest,
) -> Result<PublishResponse, ApiError> {
    // The core limits publishers: it is told which one this is.
    let publisher = MetadataValue::from_bytes(caller.user().as_bytes());
    let published = context
        .cores
        .call(
            &request_id.0,
            (request, publisher),
            async |mut core, request| {
                let (mut metadata, extensions, (message, publisher)) = request.into_parts();
                metadata.insert_bin(PUBLISHER_METADATA, publisher);
                let request = tonic::Request::from_parts(metadata, extensions, message);
                core.publish(request).await
            },
        )
        .await?;
    Ok(published)
}

/// An id that is given is one: an empty one would be replaced without a word. Where none is given
/// one is made: with it the core can be asked twice, and publishes once.
fn given(id: Option<String>) -> Result<String, ApiError> {
    match id {
        Some(id) if id.is_empty() => Err(ApiError::field(
            "id",
            "",
            "1..=128 bytes; leave it out and one is made",
        )),
        id => Ok(id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string())),
    }
}

/// The JSON body of a request, bounded in size and in time.
async fn body<T: DeserializeOwned>(context: &Context, request: Request) -> Result<T, ApiError> {
    let settings = &context.settings;
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
    if !is_json {
        let message = "the body has to be JSON, with Content-Type: application/json";
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            message,
        ));
    }
    // JSON may spell one byte as six; a destination is 128 bytes at most.
    let limit = settings.data_max_bytes * 6 + settings.recipients_max * 128 * 6 + (64 << 10);
    let too_large = || {
        let message = format!("the body is larger than {limit} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", message)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let read = axum::body::Bytes::from_request(limited(request, limit), &());
    let bytes = timeout(settings.read_timeout, read).await.map_err(|_| {
        let message = "the body did not arrive in time";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", message)
    })?;
    let bytes = bytes.map_err(|_| too_large())?;
    parsed(&bytes)
}

/// The JSON object that a body has to be.
fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let malformed =
        |message: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid-body", message);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(format!("the body is not UTF-8: {error}")))?;
    // serde would take a list of the fields' values too.
    if !text.trim_start().starts_with('{') {
        return Err(malformed("the body has to be a JSON object".into()));
    }
    // What serde says names the field and what is allowed; it may show a value's beginning.
    serde_json::from_str(text).map_err(|error| malformed(format!("the body: {error}")))
}

fn limited(request: Request, limit: usize) -> Request {
    let (mut parts, body) = request.into_parts();
    parts
        .extensions
        .insert(axum::extract::DefaultBodyLimit::max(limit));
    Request::from_parts(parts, Body::new(http_body_util::Limited::new(body, limit)))
}

/// A body of each kind, for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(data: &[u8]) {
    let unicast = parsed::<Unicast>(data);
    let broadcast = parsed::<Broadcast>(data);
    // They differ in what has to be there.
    assert!(unicast.is_err() || broadcast.is_err());
    let _ = unicast.map(|body| given(body.id));
}
