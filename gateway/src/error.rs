//! What is refused, and how it is said: the one place that renders an error as HTTP.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::core::is_passing;

/// A refusal: a status, a stable code, a sentence, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// A field of the request is wrong: which, with which value, and what is allowed.
    pub fn field(field: &str, value: &str, allowed: &str) -> Self {
        let shown: String = value.chars().take(80).collect();
        let message = format!("{field} is {shown:?}; allowed: {allowed}");
        Self::new(StatusCode::BAD_REQUEST, "invalid-field", message)
    }

    /// A field is missing: which, and what is allowed.
    pub fn missing(field: &str, allowed: &str) -> Self {
        let message = format!("{field} is missing; allowed: {allowed}");
        Self::new(StatusCode::BAD_REQUEST, "invalid-field", message)
    }

    pub fn too_many_streams(limit: usize) -> Self {
        let message = format!("this user has {limit} open streams, which is the most allowed");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", message).retry(5)
    }

    pub fn gateway_full(limit: usize) -> Self {
        let message = format!("{limit} streams are open here, which is the most allowed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", message).retry(5)
    }

    pub fn core_away() -> Self {
        let message = "the core can't be reached right now; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "core-unavailable", message).retry(2)
    }

    /// What was called `from` is called `to` by whoever reads this.
    pub fn naming(self, from: &str, to: &str) -> Self {
        Self {
            message: self.message.replace(from, to),
            ..self
        }
    }

    pub fn retry(self, seconds: u64) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(seconds)),
            ..self
        }
    }

    /// Worth another try after so long; what is left of a second counts as one.
    pub fn retry_in(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    #[cfg(test)]
    pub fn code(&self) -> &str {
        &self.code
    }
}

/// An answer's code, for who looks at what was answered.
#[derive(Clone)]
pub(crate) struct Refused(pub String);

/// What the core refused. The user was checked here, so a core that doesn't take the gateway's own
/// token is the service's fault, not the user's.
impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .map(|info| info.reason.to_lowercase().replace('_', "-"));
        let code = reason.as_deref();
        let retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        let error = match status.code() {
            Code::InvalidArgument => {
                let violations: Vec<String> = details
                    .bad_request()
                    .map(|bad| bad.field_violations.iter())
                    .into_iter()
                    .flatten()
                    .map(|violation| {
                        format!("{}: {}", http_name(&violation.field), violation.description)
                    })
                    .collect();
                let message = match violations.as_slice() {
                    [] => status.message().to_owned(),
                    violations => violations.join("; "),
                };
                Self::new(
                    StatusCode::BAD_REQUEST,
                    code.unwrap_or("invalid-field"),
                    message,
                )
            }
            Code::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                code.unwrap_or("not-found"),
                status.message(),
            ),
            Code::ResourceExhausted if code == Some("store-full") => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "store-full",
                status.message(),
            )
            .retry(10),
            Code::ResourceExhausted => {
                let code = code.unwrap_or("too-many-requests");
                Self::new(StatusCode::TOO_MANY_REQUESTS, code, status.message()).retry(1)
            }
            _ if is_passing(&status) => match code {
                Some(code) => {
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, code, status.message()).retry(1)
                }
                None => Self::core_away(),
            },
            Code::Unauthenticated | Code::PermissionDenied => {
                tracing::error!(
                    code,
                    message = status.message(),
                    "the core refused the gateway"
                );
                let message = "the core refused the gateway's own token";
                Self::new(StatusCode::BAD_GATEWAY, "gateway-refused", message)
            }
            _ => {
                tracing::error!(code = ?status.code(), message = status.message(), "core failed");
                let message = "the core failed; its log says more";
                Self::new(StatusCode::BAD_GATEWAY, code.unwrap_or("internal"), message)
            }
        };
        Self {
            retry_after: retry_after.or(error.retry_after),
            ..error
        }
    }
}

/// What the HTTP API calls a field that the core named.
fn http_name(field: &str) -> String {
    let (name, index) = field.split_at(field.find('[').unwrap_or(field.len()));
    let name = match name {
        "recipient_id" => "clientID",
        "recipients.ids" => "destinations",
        "source_id" => "sourceID",
        "event_id" | "ids" => "id",
        "page_size" => "limit",
        "page_token" => "pageToken",
        "topics" => "topic",
        "up_to" => "upTo",
        "after" => "lastEventID",
        other => other,
    };
    format!("{name}{index}")
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Said<'a> {
            error: &'a str,
            code: &'a str,
        }
        let said = Json(Said {
            error: &self.message,
            code: &self.code,
        });
        let mut response = (self.status, said).into_response();
        response.extensions_mut().insert(Refused(self.code));
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}
