//! What each request of the API leaves behind it besides its answer: a span, and counts.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};

use http::Method;

use crate::{Context, error::Refused, server::RequestId};

/// Of requests outside of the API: pages and probes.
const OTHER: &str = "other";

/// Has a request be part of its caller's trace, and counts it. The route stands for the path: that has
/// users' ids in it.
pub(crate) async fn request(
    State(context): State<Arc<Context>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let route = route.filter(|route| route.starts_with("/api/"));
    let response = match route {
        Some(route) => traced(&context, route, request, next).await,
        None => next.run(request).await,
    };
    let code = response.extensions().get::<Refused>().map(|code| &*code.0);
    context.metrics.answered(
        route.unwrap_or(OTHER),
        response.status(),
        code,
        started.elapsed(),
    );
    response
}

/// A caller may make up a method of any length.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        // As OpenTelemetry calls all others.
        _ => "_OTHER",
    }
}

async fn traced(context: &Context, route: &str, request: Request, next: Next) -> Response {
    let method = known(request.method());
    let name = || format!("{method} {route}");
    let span = context.settings.traces.serve(request.headers(), name);
    if !span.is_traced() {
        return next.run(request).await;
    }
    let id = request.extensions().get::<RequestId>().cloned();
    let response = span.run(next.run(request)).await;
    if span.is_recorded() {
        let status = response.status();
        span.set("http.request.method", method);
        span.set("http.route", route.to_owned());
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if let Some(RequestId(id)) = id {
            span.set("mercurio.request_id", id);
        }
        if let Some(Refused(code)) = response.extensions().get() {
            span.set("error.type", code.clone());
        }
        if status.is_server_error() {
            span.failed(status.canonical_reason().unwrap_or_default());
        }
    }
    response
}
