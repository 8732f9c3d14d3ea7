//! What Redis does on the control thread: health checks, and the pages of keys and of slow commands.
//!
//! Start at [`ProbeConfig`].

use bytes::BytesMut;
use portcullis_cluster::ProtocolProbe;
use portcullis_config::{Node, Secret};
use portcullis_filter::ReadContext;
use portcullis_net::tls::AlpnOffer;
use portcullis_proxy::control::probe;
use portcullis_proxy::{AdminAnswer, AdminRequest, CheckFailed, CheckTarget, ControlSide, Probe};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::server::Redis;
use crate::encoder;
use crate::limits::ReplyLimits;
use crate::reply::{ReplyFrame, ReplyScanner};

impl ControlSide for Redis {
    const ADMIN: &'static [&'static str] = &["GET keys", "GET slowlog"];

    fn admin(request: &AdminRequest<'_>) -> Option<AdminAnswer> {
        match request.path {
            _ if request.is_post => None,
            "keys" => Some(super::keys::page(request.shared, request.is_json)),
            "slowlog" => Some(super::slow::page(request.shared, request.is_json)),
            _ => None,
        }
    }

    fn probe_schema() -> Option<Value> {
        Some(schemars::schema_for!(ProbeConfig).to_value())
    }

    fn read_probe(raw: &Node, cx: &mut ReadContext<'_>) -> Option<ProtocolProbe> {
        let config: ProbeConfig = raw.read(cx.diagnostics)?;
        if config.user.is_some() && config.password.is_none() {
            cx.diagnostics
                .error_at(raw, "a user without a password cannot log in")
                .expected("`password` beside `user`");
        }
        Some(probe("redis", config))
    }
}

/// Settings of `health_check: { redis: {} }`: a PING. Without a password a server that asks for one is alive; one that is
/// still loading its data is not.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbeConfig {
    /// Who logs in. Default: the server's `default`.
    user: Option<String>,
    /// That user's password. Default: nobody logs in; that the server answers is enough.
    password: Option<Secret>,
}

impl Probe for ProbeConfig {
    async fn check(&self, target: &CheckTarget) -> Result<(), CheckFailed> {
        let broke = |_| CheckFailed("the connection broke".into());
        let mut stream = target.connect(AlpnOffer::None).await?;
        let (wire, mut left) = self.wire();
        stream.write_all(&wire).await.map_err(broke)?;
        let mut scanner = ReplyScanner::new(ReplyLimits::default());
        let mut input = BytesMut::new();
        while left > 0 {
            match scanner.next(&input) {
                Ok(Some(ReplyFrame::Whole { len, .. })) => {
                    self.judge(&input.split_to(len))?;
                    left -= 1;
                }
                Ok(None) => {
                    if stream.read(&mut input).await.map_err(broke)? == 0 {
                        return Err(CheckFailed("closed before the reply".into()));
                    }
                }
                Ok(Some(_)) | Err(_) => return Err(CheckFailed("no RESP".into())),
            }
        }
        Ok(())
    }
}

impl ProbeConfig {
    /// What is said, and how many replies there will be.
    fn wire(&self) -> (BytesMut, usize) {
        let mut wire = BytesMut::new();
        let password = self
            .password
            .as_ref()
            .map(|password| password.expose().as_bytes());
        match (self.user.as_ref().map(String::as_bytes), password) {
            (Some(user), Some(password)) => encoder::command(&[b"AUTH", user, password], &mut wire),
            (None, Some(password)) => encoder::command(&[b"AUTH", password], &mut wire),
            (_, None) => {}
        }
        let logs_in = !wire.is_empty();
        encoder::command(&[b"PING"], &mut wire);
        (wire, 1 + usize::from(logs_in))
    }

    fn judge(&self, reply: &[u8]) -> Result<(), CheckFailed> {
        let Some(error) = reply.strip_prefix(b"-") else {
            return Ok(());
        };
        if self.password.is_none() && error.starts_with(b"NOAUTH") {
            return Ok(());
        }
        let text = String::from_utf8_lossy(error.get(..error.len().min(200)).unwrap_or_default());
        Err(CheckFailed(text.trim_end().to_owned().into()))
    }
}
