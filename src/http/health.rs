//! What operators and supervisors ask: is it alive, may it get traffic, how is it doing.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::AppState;
use crate::http::error::Problem;

/// The answer of a healthy node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process answers at all; if not, restart it.
#[utoipa::path(get, path = "/health/live", tag = "operation", responses((status = 200, body = Health)))]
pub(super) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the node takes edits; if not, send it no traffic.
#[utoipa::path(get, path = "/health/ready", tag = "operation", responses(
    (status = 200, body = Health), (status = 503, body = Problem),
))]
pub(super) async fn ready(State(state): State<AppState>) -> Result<Json<Health>, Problem> {
    if state.is_draining() {
        let detail = "The server is shutting down. Use another one.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail).retry_after(10));
    }
    if !state.hub.is_healthy() {
        let detail = "The log does not take edits. Look at the server's own log for the cause.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unhealthy", detail).retry_after(10));
    }
    Ok(Json(Health { status: "ok" }))
}

/// Metrics in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        state.metrics.render(),
    )
}
