//! Whether the gateway lives, and whether it can serve.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{Context, error::ApiError};

/// `GET /healthz`: the process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the relay to a core stands, so that one answers, and the service is not ending.
pub(crate) async fn ready(State(context): State<Arc<Context>>) -> Result<Json<Value>, ApiError> {
    if context.registry.is_connected() && !context.shutdown.is_cancelled() {
        return Ok(Json(json!({ "status": "ready" })));
    }
    Err(ApiError::core_away())
}
