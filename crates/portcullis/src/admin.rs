//! The admin address: statistics and state to read, and the few things that can be asked of a running gateway.
//!
//! It runs on the control thread, so it answers while workers are busy, and keeps descriptors in reserve, so it
//! answers when the process has run out of them. It decides nothing about the gateway: what it is asked to do
//! goes to the control loop. Start at [`Admin`] and [`router`].

mod guard;
mod listener;
mod state;
mod views;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub(crate) use listener::{AdminSocket, check_address};
pub(crate) use state::{Admin, ControlRequest, ListenerView, Readiness, Refused, Running};

/// All endpoints. Names are Envoy's where they mean the same. Reads are GET, everything else is POST.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/", get(views::index))
        .route("/ready", get(views::ready))
        .route("/readyz", get(views::ready))
        .route("/livez", get(views::livez))
        .route("/stats", get(views::stats))
        .route("/stats/prometheus", get(views::prometheus))
        .route("/metrics", get(views::prometheus))
        .route("/clusters", get(views::clusters))
        .route("/listeners", get(views::listeners))
        .route("/config_dump", get(views::config_dump))
        .route("/server_info", get(views::server_info))
        .route("/drain_listeners", post(views::drain_listeners))
        .route("/healthcheck/fail", post(views::healthcheck_fail))
        .route("/healthcheck/ok", post(views::healthcheck_ok))
        .route("/quitquitquit", post(views::quit))
        .route("/reload", post(views::reload))
        .route("/logging", post(views::logging))
        .fallback(views::of_protocol)
        .layer(from_fn_with_state(Arc::clone(&admin), guard::guard))
        .with_state(admin)
}
