//! The endpoints themselves: each turns what the gateway knows into text or JSON.
//!
//! Nothing here waits, but for the answer to a reload. Start at the list in [`super::router`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use portcullis_cluster::{ClusterShared, EndpointStatus};
use portcullis_net::clock;
use portcullis_proxy::{AdminAnswer, AdminRequest};
use portcullis_stats::Snapshot;
use serde::Deserialize;
use serde_json::{Value, json};

use super::state::{Refused, ask_for_reload};
use super::{Admin, ControlRequest};

type Access = State<Arc<Admin>>;

/// How an answer is written and what is in it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    format: Format,
    filter: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Text,
    Json,
    Prometheus,
}

/// Which log levels.
#[derive(Debug, Deserialize)]
pub(super) struct Levels {
    level: String,
}

pub(super) async fn index(State(admin): Access) -> String {
    let own = "portcullis admin\n\
     GET  /ready /readyz /livez /server_info\n\
     GET  /stats?format=text|json|prometheus&filter=PART  /metrics  /stats/prometheus\n\
     GET  /clusters?format=text|json  /listeners?format=text|json  /config_dump\n\
     POST /reload  /drain_listeners  /quitquitquit\n\
     POST /healthcheck/fail  /healthcheck/ok  /logging?level=debug\n";
    let mut text = own.to_owned();
    for (protocol, path) in admin.registry.admin_paths() {
        let (method, path) = path.split_once(' ').unwrap_or(("GET", path));
        let _ = writeln!(text, "{method:<4} /{protocol}/{path}");
    }
    text
}

/// What a protocol answers for itself, below its name.
pub(super) async fn of_protocol(
    State(admin): Access,
    method: Method,
    uri: Uri,
    Query(wanted): Query<Wanted>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let nothing = || (StatusCode::NOT_FOUND, "nothing is here\n").into_response();
    let is_post = method == Method::POST;
    if !is_post && method != Method::GET && method != Method::HEAD {
        // RFC 9110 section 15.5.6. Where it is known what is at a path, axum says so itself.
        let allow = [(header::ALLOW, "GET, HEAD, POST")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow).into_response();
    }
    let path = uri.path().strip_prefix('/');
    let Some((protocol, path)) = path.and_then(|path| path.split_once('/')) else {
        return nothing();
    };
    let request = AdminRequest {
        path,
        is_post,
        is_json: matches!(wanted.format, Format::Json),
        query: &query,
        shared: &admin.shared,
    };
    match admin.registry.admin(protocol, &request) {
        Some(AdminAnswer::Text(text)) => text.into_response(),
        Some(AdminAnswer::Json(value)) => Json(value).into_response(),
        Some(AdminAnswer::Refused(why)) => {
            (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
        }
        None => nothing(),
    }
}

pub(super) async fn ready(State(admin): Access) -> (StatusCode, String) {
    let status = if admin.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, format!("{}\n", admin.readiness.state()))
}

pub(super) async fn livez() -> &'static str {
    "LIVE\n"
}

pub(super) async fn stats(State(admin): Access, Query(wanted): Query<Wanted>) -> Response {
    let snapshot = snapshot(&admin, wanted.filter.as_deref());
    match wanted.format {
        Format::Text => snapshot.text().into_response(),
        Format::Json => Json(snapshot.json()).into_response(),
        Format::Prometheus => exposition(&snapshot),
    }
}

pub(super) async fn prometheus(State(admin): Access, Query(wanted): Query<Wanted>) -> Response {
    exposition(&snapshot(&admin, wanted.filter.as_deref()))
}

fn snapshot(admin: &Admin, filter: Option<&str>) -> Snapshot {
    let uptime = clock::now().saturating_duration_since(admin.started);
    admin
        .uptime
        .set(i64::try_from(uptime.as_secs()).unwrap_or(i64::MAX));
    let snapshot = admin.stats.snapshot();
    match filter {
        Some(part) => snapshot.matching(part),
        None => snapshot,
    }
}

fn exposition(snapshot: &Snapshot) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], snapshot.prometheus()).into_response()
}

pub(super) async fn clusters(State(admin): Access, Query(wanted): Query<Wanted>) -> Response {
    let running = admin.running.load();
    let snapshot = admin.stats.snapshot();
    let views = running
        .clusters
        .iter()
        .filter(|cluster| is_wanted(&wanted, cluster.name()));
    match wanted.format {
        Format::Json => {
            let all: Vec<Value> = views
                .map(|cluster| cluster_json(cluster, &snapshot))
                .collect();
            Json(json!({ "clusters": all })).into_response()
        }
        Format::Text | Format::Prometheus => {
            let mut text = String::new();
            views.for_each(|cluster| cluster_text(&mut text, cluster, &snapshot));
            text.into_response()
        }
    }
}

fn is_wanted(wanted: &Wanted, name: &str) -> bool {
    wanted
        .filter
        .as_deref()
        .is_none_or(|part| name.contains(part))
}

/// Requests in flight on an endpoint, over all workers.
fn active(cluster: &ClusterShared, label: &str, snapshot: &Snapshot) -> i64 {
    let labels = [("cluster", &**cluster.name()), ("endpoint", label)];
    snapshot.gauge("portcullis_endpoint_requests_active", &labels)
}

/// Each endpoint's state with its label.
fn statuses(cluster: &ClusterShared) -> impl Iterator<Item = (String, EndpointStatus)> {
    let labels: Vec<String> = cluster
        .set()
        .endpoints()
        .iter()
        .map(|endpoint| endpoint.label().to_string())
        .collect();
    labels.into_iter().zip(cluster.statuses(clock::now()))
}

/// As the workers see it once they look: from the endpoints' states now.
fn is_panic(cluster: &ClusterShared) -> bool {
    let statuses = cluster.statuses(clock::now());
    let is_available = |status: &&EndpointStatus| status.healthy && status.ejected_for_ms.is_none();
    let available = statuses.iter().filter(is_available).count();
    cluster.config().is_panic(available, statuses.len())
}

/// How far the endpoint is behind others with the same data, where something has found that out.
fn replication(status: &EndpointStatus) -> [(&'static str, Option<u64>); 4] {
    [
        ("lag_ms", status.lag_ms),
        ("lag_bytes", status.lag_bytes),
        ("timeline", status.timeline),
        ("position", status.position),
    ]
}

fn cluster_text(text: &mut String, cluster: &ClusterShared, snapshot: &Snapshot) {
    let name = cluster.name();
    let _ = writeln!(text, "{name}::panic::{}", is_panic(cluster));
    for (label, status) in statuses(cluster) {
        let health = if status.healthy {
            "healthy"
        } else {
            "unhealthy"
        };
        let place = format!("{name}::{label}");
        let _ = writeln!(text, "{place}::health::{health}");
        let _ = writeln!(
            text,
            "{place}::ejected::{}",
            status.ejected_for_ms.is_some()
        );
        let _ = writeln!(
            text,
            "{place}::active::{}",
            active(cluster, &label, snapshot)
        );
        let _ = writeln!(text, "{place}::weight::{}", status.weight);
        if let Some(role) = status.role {
            let _ = writeln!(text, "{place}::role::{}", role.label());
        }
        if status.fenced {
            let _ = writeln!(text, "{place}::fenced::true");
        }
        for (what, number) in replication(&status) {
            if let Some(number) = number {
                let _ = writeln!(text, "{place}::{what}::{number}");
            }
        }
    }
}

fn cluster_json(cluster: &ClusterShared, snapshot: &Snapshot) -> Value {
    let endpoints: Vec<Value> = statuses(cluster)
        .map(|(label, status)| {
            json!({
                "endpoint": label,
                "address": status.address,
                "name": status.name,
                "weight": status.weight,
                "healthy": status.healthy,
                "ejected": status.ejected_for_ms.is_some(),
                "ejected_for_ms": status.ejected_for_ms,
                "consecutive_failures": status.consecutive_failures,
                "active": active(cluster, &label, snapshot),
                "role": status.role,
                "role_discovered": status.role_discovered,
                "fenced": status.fenced,
                "replication": replication(&status).into_iter().collect::<BTreeMap<_, _>>(),
            })
        })
        .collect();
    json!({
        "name": cluster.name(),
        "panic": is_panic(cluster),
        "endpoints": endpoints,
    })
}

pub(super) async fn listeners(State(admin): Access, Query(wanted): Query<Wanted>) -> Response {
    let running = admin.running.load();
    let views = running
        .listeners
        .iter()
        .filter(|view| is_wanted(&wanted, &view.name));
    match wanted.format {
        Format::Json => {
            let all: Vec<Value> = views
                .map(|view| {
                    json!({ "name": view.name, "address": view.address, "protocol": view.protocol })
                })
                .collect();
            Json(json!({ "listeners": all })).into_response()
        }
        Format::Text | Format::Prometheus => {
            let mut text = String::new();
            for view in views {
                let _ = writeln!(text, "{}::{}", view.name, view.address);
            }
            text.into_response()
        }
    }
}

/// What stands in keys whose values nobody is shown: keys of ours (`sentinel_password`), and names of fields and parameters that
/// rules add or ask for (`x-auth-token`).
const SECRETS: [&str; 6] = [
    "token",
    "password",
    "secret",
    "authorization",
    "cookie",
    "api-key",
];

/// Names of fields may be written in any case.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('_', "-");
    SECRETS.iter().any(|secret| key.contains(secret))
}

/// Hides what is secret. A configuration is no deeper than its reader allows.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if is_secret(key) && !value.is_null() {
                    *value = Value::from("[hidden]");
                } else {
                    hide_secrets(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

/// What runs now, as it was written: a variable is shown by name, and a token or password not at all.
pub(super) async fn config_dump(State(admin): Access) -> Json<Value> {
    let running = admin.running.load();
    let mut config = running.model.document.clone();
    hide_secrets(&mut config);
    let since = running.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(json!({
        "generation": running.generation,
        "since_unix_seconds": since.as_secs(),
        "config": config,
    }))
}

pub(super) async fn server_info(State(admin): Access) -> Json<Value> {
    let uptime = clock::now().saturating_duration_since(admin.started);
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "state": admin.readiness.state(),
        "uptime_seconds": uptime.as_secs(),
        "pid": process::id(),
        "workers": admin.workers,
        "generation": admin.running.load().generation,
    }))
}

pub(super) async fn healthcheck_fail(State(admin): Access) -> &'static str {
    admin.readiness.set_failed(true);
    "OK\n"
}

pub(super) async fn healthcheck_ok(State(admin): Access) -> &'static str {
    admin.readiness.set_failed(false);
    "OK\n"
}

pub(super) async fn drain_listeners(State(admin): Access) -> Response {
    ask(&admin, ControlRequest::DrainListeners).await
}

pub(super) async fn quit(State(admin): Access) -> Response {
    ask(&admin, ControlRequest::Quit).await
}

async fn ask(admin: &Admin, request: ControlRequest) -> Response {
    match admin.requests.send(request).await {
        Ok(()) => "OK\n".into_response(),
        Err(_) => ending(),
    }
}

pub(super) async fn reload(State(admin): Access) -> Response {
    match ask_for_reload(admin.requests.clone()).await {
        Some(Ok(changes)) => Json(json!({ "changed": changes.to_json() })).into_response(),
        Some(Err(Refused(why))) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
        None => ending(),
    }
}

fn ending() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending\n").into_response()
}

pub(super) async fn logging(State(admin): Access, Query(levels): Query<Levels>) -> Response {
    match admin.log.set_levels(&levels.level) {
        Ok(()) => "OK\n".into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
