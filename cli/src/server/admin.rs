//! The admin listener: metrics and health, apart from what users reach.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use mercurio_core::LogStatus;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Admin {
    registry: Registry,
    log: Option<LogStatus>,
    shutdown: CancellationToken,
}

/// Serves until `ends`; not ready from `shutdown` on.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    log: Option<LogStatus>,
    shutdown: CancellationToken,
    ends: CancellationToken,
) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Arc::new(Admin {
            registry,
            log,
            shutdown,
        }));
    let served = axum::serve(listener, router).into_future();
    tokio::select! {
        _ = served => {}
        () = ends.cancelled() => {}
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = encode(&mut text, &admin.registry);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    if admin.shutdown.is_cancelled() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting down\n".to_owned(),
        );
    }
    let Some(state) = admin.log.as_ref().map(LogStatus::now) else {
        return (StatusCode::OK, "ready\n".to_owned());
    };
    match state.unready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
