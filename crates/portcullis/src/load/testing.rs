//! A protocol for tests of everything around protocols: it closes every connection.

use std::rc::Rc;

use portcullis_config::{BuildError, Located, Node, Source};
use portcullis_net::Downstream;
use portcullis_proxy::{
    AcceptBalance, ListenerContext, Protocol, ReadContext, Registry, Server, Sniff, TlsStart,
};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

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
