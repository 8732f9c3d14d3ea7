//! A protocol for tests of everything around protocols: it closes every connection.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::BytesMut;
use portcullis_cluster::{EndpointRole, ProtocolProbe};
use portcullis_config::{BuildError, Located, Node, Source};
use portcullis_net::Downstream;
use portcullis_proxy::{
    AcceptBalance, AdminAnswer, AdminRequest, CheckFailed, CheckTarget, ControlContext,
    ControlSide, ListenerContext, LocalFuture, Probe, Protocol, ReadContext, Registry, Server,
    Sniff, TlsStart, control,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Loaded, read};
use crate::model::Model;

pub(crate) struct Fake;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FakeConfig {
    cluster: Located<String>,
    #[serde(default)]
    greeting: Option<String>,
}

pub(crate) struct FakeServer;

impl Protocol for Fake {
    const NAME: &'static str = "fake";
    type Config = FakeConfig;
    type Server = FakeServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<FakeConfig> {
        let config: FakeConfig = raw.read(cx.diagnostics)?;
        cx.check_cluster(&config.cluster);
        Some(config)
    }

    fn schema() -> Value {
        schema_for!(FakeConfig).to_value()
    }

    fn build(config: &FakeConfig, cx: &ListenerContext) -> Result<FakeServer, BuildError> {
        if config.greeting.as_deref() == Some("impossible") {
            return Err(BuildError::new(cx.path(), "the greeting is impossible"));
        }
        cx.cluster(&config.cluster).map(|_| FakeServer)
    }
}

/// As [`Fake`], with TLS inside its conversation, and few connections.
pub(crate) struct Late;

impl Protocol for Late {
    const NAME: &'static str = "late";
    const TLS: TlsStart = TlsStart::ByProtocol;
    const BALANCE: AcceptBalance = AcceptBalance::Exact;
    type Config = FakeConfig;
    type Server = FakeServer;

    fn read_config(raw: &Node, cx: &mut ReadContext<'_>) -> Option<FakeConfig> {
        Fake::read_config(raw, cx)
    }

    fn schema() -> Value {
        Fake::schema()
    }

    fn sniff(prefix: &[u8]) -> Sniff {
        if prefix.is_empty() {
            Sniff::NeedMore
        } else {
            Sniff::Yes
        }
    }

    fn build(config: &FakeConfig, cx: &ListenerContext) -> Result<FakeServer, BuildError> {
        Fake::build(config, cx)
    }
}

/// How [`Late`] checks: it says a word and hears it again.
#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LateProbe {
    word: String,
}

impl LateProbe {
    pub(crate) fn of(word: &str) -> Self {
        Self {
            word: word.to_owned(),
        }
    }
}

impl Probe for LateProbe {
    async fn check(&self, target: &CheckTarget) -> Result<(), CheckFailed> {
        let mut stream = target.connect_plain().await?;
        let failed = |error: std::io::Error| CheckFailed(error.to_string().into());
        stream
            .write_all(self.word.as_bytes())
            .await
            .map_err(failed)?;
        let mut answer = BytesMut::new();
        stream.read(&mut answer).await.map_err(failed)?;
        if answer != self.word.as_bytes() {
            return Err(CheckFailed("another word".into()));
        }
        let role = Some(EndpointRole::Primary);
        target.endpoint.state().replication().set_role(role);
        Ok(())
    }
}

/// What the workers and the control side of a [`Late`] listener share.
#[derive(Debug, Default)]
pub(crate) struct LateCommon {
    pub(crate) begun: AtomicUsize,
    pub(crate) running: AtomicUsize,
}

impl ControlSide for Late {
    const ADMIN: &'static [&'static str] = &["GET statements?format=text|json"];

    fn probe_schema() -> Option<Value> {
        Some(schema_for!(LateProbe).to_value())
    }

    fn read_probe(raw: &Node, cx: &mut ReadContext<'_>) -> Option<ProtocolProbe> {
        let settings: LateProbe = raw.read(cx.diagnostics)?;
        Some(control::probe(Self::NAME, settings))
    }

    fn admin(request: &AdminRequest<'_>) -> Option<AdminAnswer> {
        if request.path != "statements" {
            return None;
        }
        let all = request.shared.all::<LateCommon>();
        let begun = all.iter().map(|(_, one)| one.begun.load(Relaxed));
        let begun: usize = begun.sum();
        Some(match request.parameter("wrong") {
            Some(what) => AdminAnswer::Refused(format!("{what} is wrong")),
            None if request.is_json => AdminAnswer::Json(json!({ "begun": begun })),
            None => AdminAnswer::Text(format!("begun {begun}\n")),
        })
    }

    fn task(config: &FakeConfig, cx: ControlContext) -> Option<LocalFuture> {
        cx.cluster(&config.cluster)?;
        let common = cx.common(LateCommon::default);
        Some(Box::pin(async move {
            common.begun.fetch_add(1, Relaxed);
            common.running.fetch_add(1, Relaxed);
            let _ends = Ends(common);
            std::future::pending::<()>().await;
        }))
    }
}

struct Ends(Arc<LateCommon>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}

impl Server for FakeServer {
    async fn serve(self: Rc<Self>, downstream: Downstream) {
        drop(downstream);
    }
}

/// A registry with nothing but [`Fake`].
pub(crate) fn registry() -> Registry {
    Registry::new().with::<Fake>()
}

/// Reads a text with that registry. `${PORT}` is 8080.
pub(crate) fn read_text(text: &str) -> Loaded {
    read_with(&registry(), text)
}

/// As [`read_text`], with another registry.
pub(crate) fn read_with(registry: &Registry, text: &str) -> Loaded {
    let source = Source::new("portcullis.yaml", text);
    read(&source, registry, &|name| {
        (name == "PORT").then(|| "8080".to_owned())
    })
}

/// The model of a text without mistakes.
#[track_caller]
pub(crate) fn model(text: &str) -> Model {
    match read_text(text).into_result() {
        Ok(model) => model,
        Err(report) => panic!("{}", report.text(false)),
    }
}
