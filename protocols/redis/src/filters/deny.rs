//! `deny`: refuses commands by what they are, how large they are, or who says them.
//!
//! Everything that is named must hold; of a list, one. Start at [`DenyConfig`].

use portcullis_config::{BuildError, ByteSize, Diagnostics, Network, Node, OneOrMany};
use portcullis_filter::filters::check_lists;
use portcullis_filter::{
    Context, Filter, FilterContext, FilterKind, Interest, Rejection, RejectionKind, Stop, Verdict,
};
use portcullis_stats::Counter;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::chain::{CommandRequest, RedisMessages};
use crate::route::{CommandPattern, KeyPattern};

/// What is refused: everything that is named must hold; of a list, one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DenyConfig {
    /// The command, `keys` or `config|get`; or a category of them, `@dangerous`.
    pub command: OneOrMany<CommandPattern>,
    /// A key of it, as Redis matches them: `admin:*`.
    pub key: OneOrMany<KeyPattern>,
    /// The client's network.
    pub client: OneOrMany<Network>,
    /// It has more arguments than this, its name among them.
    pub arguments_over: Option<u32>,
    /// One of its arguments is longer than this. Of a command beyond 64 KiB, of those arguments that begin in its first 64 KiB.
    pub value_over: Option<ByteSize>,
}

impl DenyConfig {
    fn asks_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn means(&self, request: &CommandRequest, cx: &Context) -> bool {
        let command = |it: &CommandPattern| it.takes(request.command, request.foreign.as_deref());
        let key = |it: &KeyPattern| request.keys().any(|key| it.0.matches(key));
        let client = |it: &Network| it.contains(cx.client_ip);
        let long = |size: ByteSize| request.longest() > size.get();
        (self.command.is_empty() || self.command.iter().any(command))
            && (self.key.is_empty() || self.key.iter().any(key))
            && (self.client.is_empty() || self.client.iter().any(client))
            && self
                .arguments_over
                .is_none_or(|most| request.count() > most as usize)
            && self.value_over.is_none_or(long)
    }
}

/// The filter.
pub struct Deny {
    config: DenyConfig,
    refused: Counter,
}

impl FilterKind<RedisMessages> for Deny {
    const NAME: &'static str = "deny";
    type Config = DenyConfig;

    fn check(config: &DenyConfig, node: &Node, diagnostics: &mut Diagnostics) {
        if config.asks_nothing() {
            diagnostics
                .error(node.span, "this would refuse every command")
                .expected("`command`, `key`, `client`, `arguments_over` or `value_over`");
        }
        check_lists(node, &["command", "key", "client"], diagnostics);
    }

    fn build(
        config: &DenyConfig,
        cx: &FilterContext<'_>,
    ) -> Result<Box<dyn Filter<RedisMessages>>, BuildError> {
        Ok(Box::new(Self {
            config: config.clone(),
            refused: cx.stats.counter(
                "portcullis_access_denied_total",
                "Requests refused by a rule.",
                &[("filter", cx.path), ("rule", "deny")],
            ),
        }))
    }
}

impl Filter<RedisMessages> for Deny {
    fn name(&self) -> &'static str {
        "deny"
    }

    fn interest(&self) -> Interest {
        Interest::REQUEST
    }

    fn on_request<'a>(
        &'a self,
        request: &'a mut CommandRequest,
        cx: &'a mut Context,
    ) -> Verdict<'a, RedisMessages> {
        if !self.config.means(request, cx) {
            return Verdict::Continue;
        }
        self.refused.inc();
        Verdict::Stop(Stop::Reject(Rejection {
            reason: "denied",
            kind: RejectionKind::Denied,
        }))
    }
}
