//! The keys of a listener with `protocol: redis`.
//!
//! What is common to all listeners is not here; what endpoints are to each other is the cluster's `redis` block. Start at
//! [`RedisConfig::read`].

mod auth;
mod commands;
mod routes;
#[cfg(test)]
mod tests;
mod way;

use std::num::NonZeroU32;
use std::sync::Arc;

use portcullis_config::{ByteSize, Diagnostics, Located, Node, Secret, Span, Timeout};
use portcullis_filter::{FilterList, ReadContext};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub use self::auth::{AuthConfig, Scripts, UserConfig};
pub use self::commands::UnknownCommands;
use self::commands::{CommandRule, read_foreign};
pub use self::routes::{MatchConfig, RouteConfig};
use self::routes::{RouteRule, read_targets};
pub use self::way::{MirrorCommands, MirrorConfig, WayConfig};
use crate::chain::RedisMessages;
use crate::command::{CommandId, Foreign};
use crate::filters::registry;
use crate::limits::RequestLimits;
use crate::machine::Policy;
use crate::slow_log::SlowLogConfig;

/// The configuration of a Redis listener.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisConfig {
    /// Who may come in.
    pub auth: AuthConfig,
    /// How the gateway proves who it is to servers.
    pub upstream: UpstreamConfig,
    /// Commands that are refused by default and allowed here.
    pub allow_commands: Vec<CommandId>,
    /// What commands are that the gateway does not know.
    pub commands: Vec<Arc<Foreign>>,
    /// What becomes of all others.
    pub unknown_commands: UnknownCommands,
    /// How many databases a client may select among.
    pub databases: NonZeroU32,
    /// How long things may take.
    pub timeouts: TimeoutsConfig,
    /// How much a client may send, or be owed.
    pub limits: LimitsConfig,
    /// Which commands are noted for having been slow.
    pub slow_log: Option<SlowLogConfig>,
    /// Where commands go: rules in order, at least one.
    pub routes: Vec<RouteConfig>,
    /// The filters, in order.
    pub filters: FilterList<RedisMessages>,
}

/// Credentials towards servers, the same for all clients: they share connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// The user. Default: the server's `default`.
    pub user: Option<String>,
    /// The password. Default: none, and nobody is logged in.
    pub password: Option<Secret>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// How long a server may say nothing while commands wait for their replies. Default 10s: a server carries out one
    /// command after the other, so this is the longest that any may take. Commands that wait by themselves (BLPOP) have
    /// their own time on top.
    pub command: Timeout,
    /// How long a client may say nothing. Default `off`, as with a server: clients keep connections in pools.
    pub idle: Timeout,
    /// How long a client may take until it is known, where it has to say who it is. Default 10s.
    pub authentication: Timeout,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            command: Timeout::from_secs(10),
            idle: Timeout::Off,
            authentication: Timeout::from_secs(10),
        }
    }
}

/// How much a client may send, or be owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Commands under way before a client is read no further. Default 1024: enough to keep a server busy over any network,
    /// and little to hold for one client.
    pub pipeline: NonZeroU32,
    /// Bytes that wait to be read by a client before it is closed: a subscriber that does not read, or a pipeline of large
    /// values, those that wait for replies before them among them. Default 64MiB, twice what a server lets a subscriber have.
    /// From a quarter of it on a large reply waits at its server, for two seconds in all, so that a client that reads as fast as
    /// it can gets what is much larger.
    pub output: ByteSize,
    /// The largest value. Default 512MiB, the largest that a server takes.
    pub value: ByteSize,
    /// The most arguments of a command. Default 1048576.
    pub arguments: NonZeroU32,
    /// Bytes of scripts that are remembered, so that EVALSHA finds them on every server. Default 8MiB, for all clients of the
    /// listener; those that were not used for longest are forgotten first. `0B` remembers none, and NOSCRIPT is shown.
    pub scripts: ByteSize,
    /// Whether plain lines are taken for commands, for people with telnet. Default false: every protocol of lines could be
    /// made to speak it.
    pub inline: bool,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            pipeline: const { NonZeroU32::new(1024).unwrap() },
            output: ByteSize::mib(64),
            value: ByteSize::mib(512),
            arguments: const { NonZeroU32::new(1 << 20).unwrap() },
            scripts: ByteSize::mib(8),
            inline: false,
        }
    }
}

impl LimitsConfig {
    /// Reports limits that nothing is within. `written` is the block that they were read from.
    fn check(&self, written: Option<&Node>, diagnostics: &mut Diagnostics) {
        for (key, limit) in [("output", self.output), ("value", self.value)] {
            if limit.get() == 0 {
                let node = written.and_then(|block| block.get(key));
                let span = node.map_or(Span::NONE, |node| node.span);
                diagnostics
                    .error(span, "a limit of 0 refuses everything")
                    .expected("at least 1");
            }
        }
    }

    /// As the codec wants them.
    #[must_use]
    pub fn request(&self) -> RequestLimits {
        RequestLimits {
            arguments: self.arguments.get(),
            bulk: self.value.get(),
            inline: self.inline,
            ..RequestLimits::default()
        }
    }
}

/// The keys as they are written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RedisKeys {
    /// Who may come in. Default: everybody, as with a server that has no password.
    #[serde(default)]
    auth: Located<AuthConfig>,
    /// How the gateway proves who it is to servers.
    #[serde(default)]
    upstream: Located<UpstreamConfig>,
    /// Commands to allow that are refused by default, such as `[flushdb, "config|get"]`: what managed services refuse too,
    /// and what would harm others over shared connections.
    #[serde(default)]
    allow_commands: Vec<Located<String>>,
    /// What commands are that the gateway does not know, such as those of modules: which of their arguments are keys.
    /// Servers need not be asked about these, and they are carried out whatever servers say.
    #[serde(default)]
    commands: Vec<CommandRule>,
    /// What becomes of a command that neither the gateway nor `commands` knows. Default `ask`: a server says what it is.
    #[serde(default)]
    unknown_commands: UnknownCommands,
    /// How many databases a client may select among. Default 16, as a server's.
    #[serde(default = "default_databases")]
    databases: NonZeroU32,
    /// How long things may take.
    #[serde(default)]
    timeouts: TimeoutsConfig,
    /// How much a client may send, or be owed.
    #[serde(default)]
    limits: LimitsConfig,
    /// Commands that are noted when they were slow, and shown at `/redis/slowlog` on the admin address. Default: none.
    slow_log: Option<SlowLogConfig>,
    /// The cluster that everything goes to. Either this or `routes`.
    cluster: Option<Located<String>>,
    /// Rules that say where commands go.
    routes: Option<Located<Vec<Located<RouteRule>>>>,
    /// Filters that every command passes, in order.
    filters: Option<Node>,
}

const fn default_databases() -> NonZeroU32 {
    const { NonZeroU32::new(16).unwrap() }
}

impl RedisConfig {
    /// Whether clients of one of two listeners would reach keys of a prefix of the other's: what operators are told of it.
    #[must_use]
    pub fn shared_prefix(&self, other: &Self) -> Option<String> {
        way::shared_prefix(&self.routes, &other.routes)
    }

    /// Whether commands, or copies of them, go to the cluster of this name.
    #[must_use]
    pub fn uses(&self, cluster: &str) -> bool {
        self.routes.iter().any(|route| {
            let mirror = route.way.mirror.as_ref();
            route.cluster == cluster
                || route.read_cluster.as_deref() == Some(cluster)
                || mirror.is_some_and(|mirror| mirror.cluster == cluster)
        })
    }

    /// Reads the keys of a listener that are Redis's own. Mistakes go to the diagnostics, all of them; `None` if there is
    /// nothing usable.
    pub fn read(raw: &Node, cx: &mut ReadContext<'_>) -> Option<Self> {
        let keys: RedisKeys = raw.read(cx.diagnostics)?;
        let filters = registry().read_listener(keys.filters.as_ref(), cx);
        keys.auth.check(keys.auth.span, cx.diagnostics);
        keys.limits.check(raw.get("limits"), cx.diagnostics);
        if keys.upstream.user.is_some() && keys.upstream.password.is_none() {
            cx.diagnostics
                .error(
                    keys.upstream.span,
                    "a user without a password cannot log in",
                )
                .expected("`password` beside `user`");
        }
        let allow_commands = read_commands(&keys.allow_commands, cx.diagnostics);
        let commands = read_foreign(&keys.commands, cx.diagnostics);
        let routes = read_targets(raw, keys.cluster.as_ref(), keys.routes.as_ref(), cx);
        Some(Self {
            auth: keys.auth.into_inner(),
            upstream: keys.upstream.into_inner(),
            allow_commands,
            commands,
            unknown_commands: keys.unknown_commands,
            databases: keys.databases,
            timeouts: keys.timeouts,
            limits: keys.limits,
            slow_log: keys.slow_log,
            routes: routes?,
            filters,
        })
    }

    /// What clients may do.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::new(Policy {
            users: self.auth.users(),
            allowed: self.allow_commands.clone(),
            databases: self.databases.get(),
            is_cluster: false,
            trusts_scripts: self.auth.scripts == Scripts::Trusted,
            node: Box::default(),
        })
    }

    /// JSON Schema of those keys: an object schema with `properties`, without references to other places.
    #[must_use]
    pub fn schema() -> Value {
        registry().listener_schema::<RedisKeys>()
    }
}

/// The commands of these names, with what there is to say of those that are none, or are allowed anyway.
fn read_commands(names: &[Located<String>], diagnostics: &mut Diagnostics) -> Vec<CommandId> {
    let mut commands = Vec::new();
    for name in names {
        let Some(command) = CommandId::of_full_name(name.as_bytes()) else {
            diagnostics
                .error(name.span, format!("there is no command '{}'", name.value))
                .expected("a name such as `flushdb` or `config|get`");
            continue;
        };
        let mut own: Vec<CommandId> = command.subcommands().collect();
        own.push(command);
        if own.iter().all(|command| command.denial().is_none()) {
            diagnostics
                .error(name.span, format!("'{}' is not refused", name.value))
                .help("only commands that are refused by default are listed here");
        }
        commands.extend(own);
    }
    commands
}
