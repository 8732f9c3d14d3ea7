//! What Postgres does on the control thread: the page of statements and health checks.
//!
//! Finding out which server is the primary is in `roles`. Start at the implementation of [`ControlSide`].

use std::sync::Arc;

use portcullis_cluster::ProtocolProbe;
use portcullis_config::Node;
use portcullis_filter::ReadContext;
use portcullis_proxy::control::probe;
use portcullis_proxy::{
    AdminAnswer, AdminRequest, CheckFailed, CheckTarget, ControlContext, ControlSide, LocalFuture,
    Probe,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::open::{self, Credentials};
use super::pools::OpenOptions;
use super::roles;
use super::server::{Postgres, Statements};
use crate::auth::Secret;
use crate::config::{self, AuthMinimum, PostgresConfig};
use crate::stats::{Order, to_json, to_text};

/// How many statements a page shows if it is not told otherwise.
const SHOWN: usize = 100;

impl ControlSide for Postgres {
    const ADMIN: &'static [&'static str] = &["GET statements"];

    fn probe_schema() -> Option<Value> {
        Some(schemars::schema_for!(ProbeConfig).to_value())
    }

    fn read_probe(raw: &Node, cx: &mut ReadContext<'_>) -> Option<ProtocolProbe> {
        let config: ProbeConfig = raw.read(cx.diagnostics)?;
        Some(probe("postgres", config))
    }

    fn admin(request: &AdminRequest<'_>) -> Option<AdminAnswer> {
        if request.path != "statements" || request.is_post {
            return None;
        }
        let order = match request.parameter("order").map(str::parse::<Order>) {
            None => Order::Time,
            Some(Ok(order)) => order,
            Some(Err(error)) => return Some(AdminAnswer::Refused(error.to_string())),
        };
        let most = match request.parameter("limit").map(str::parse::<usize>) {
            None => SHOWN,
            Some(Ok(most)) => most,
            Some(Err(_)) => return Some(AdminAnswer::Refused("limit is a number".to_owned())),
        };
        let mut all = Vec::new();
        for (_, statements) in request.shared.all::<Statements>() {
            all.extend(statements.0.statements());
        }
        order.apply(&mut all, most);
        Some(if request.is_json {
            AdminAnswer::Json(to_json(&all))
        } else {
            AdminAnswer::Text(to_text(&all))
        })
    }

    fn task(config: &PostgresConfig, cx: ControlContext) -> Option<LocalFuture> {
        roles::task(config, &cx)
    }
}

/// Settings of `health_check: { postgres: {} }`. Without a user the check is over when the server asks for one's proof, or
/// says that it is starting up.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct ProbeConfig {
    /// Who logs in. Default: nobody; that the server speaks Postgres is enough.
    user: Option<String>,
    /// That user's password.
    password: Option<config::Secret>,
    /// The database. Default `postgres`.
    database: Option<String>,
}

impl Probe for ProbeConfig {
    async fn check(&self, target: &CheckTarget) -> Result<(), CheckFailed> {
        let secret = self.password.as_ref();
        let secret = secret.and_then(|secret| Secret::parse(secret.expose().as_bytes()).ok());
        let credentials = Credentials {
            user: self.user.clone().unwrap_or_else(|| "portcullis".to_owned()),
            secret: secret.map(Arc::new),
            keys: None,
        };
        let opened = open::open(open::Request {
            cluster: &target.cluster,
            endpoint: &target.endpoint,
            database: self.database.as_deref().unwrap_or("postgres"),
            credentials: &credentials,
            options: OpenOptions {
                direct_tls: false,
                minimum: AuthMinimum::Trust,
            },
            parameters: &[],
            worker: 0,
        });
        match opened.await {
            Ok(connection) => {
                connection.goodbye();
                Ok(())
            }
            // It speaks, and does not know us: alive, if nobody was named.
            Err(error) if self.user.is_none() && error.is_about_identity() => Ok(()),
            Err(error) => Err(CheckFailed(error.failure.to_string().into())),
        }
    }
}
