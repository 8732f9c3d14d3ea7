//! What a cluster's endpoints are to each other when they are Redis servers, and how keys are spread over them.
//!
//! Only names and settings: the hash functions and rings are the protocol's. Start at [`UpstreamRedis`].

use std::num::NonZeroU16;

use portcullis_config::{Diagnostics, Duration, Located, Secret, TargetAddress, Timeout};
use schemars::JsonSchema;
use serde::Deserialize;

use super::EndpointConfig;

/// How Redis uses the endpoints. Other protocols do not look at it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamRedis {
    /// What the endpoints are to each other. Default: `standalone` for a single endpoint; there is none for several,
    /// since a wrong guess would lose data.
    pub topology: Option<RedisTopology>,
    /// With `shards`: how keys find their shard. Default `ketama`, which moves few keys when a shard is added.
    pub distribution: KeyDistribution,
    /// With `shards` by `ketama` or `modula`: the hash of a key. Default `murmur`, which spreads keys that differ little; twemproxy's own default,
    /// `fnv1a_64`, does not.
    pub hash: KeyHash,
    /// With `shards`: two characters between which the part of a key stands that is hashed, such as `"{}"`. Default
    /// `"{}"`, as Redis Cluster has it. `""`: keys are hashed whole.
    pub hash_tag: HashTag,
    /// How many connections one worker shares among its clients, to each endpoint and database. Default 1: replies of
    /// many clients come in one read. More help where single replies are large.
    pub connections: NonZeroU16,
    /// With `redis_cluster` and `sentinel`: how long the map of slots, or what a sentinel said, is used before it is asked
    /// for again, less a quarter at random. It is asked for at once when a node says that a slot has moved, or is gone, and
    /// when a sentinel tells of a new primary. Default 10s, in which a failover is noticed that no command has run into.
    pub refresh_interval: Duration,
    /// With `redis_cluster`: whether redirections are followed to nodes that the map does not have. Default false: a node
    /// could lead the gateway, and its password, anywhere.
    pub follow_unknown_nodes: bool,
    /// With `sentinel`: the name that the sentinels know the primary by.
    pub master: Option<String>,
    /// With `sentinel`: who the gateway is to the sentinels. Default: their `default`. What it is to the servers themselves
    /// is the listener's `upstream`.
    pub sentinel_user: Option<String>,
    /// With `sentinel`: that user's password. Default: nobody logs in.
    pub sentinel_password: Option<Secret>,
    /// Where commands go that only read. Default `primary`: replicas are behind, and a client may not find what it wrote.
    pub read_from: ReadFrom,
    /// How long it takes until a replica that was away has its share of reads again. Default 10s: its caches are cold, and
    /// so are the connections to it. `off`: at once.
    pub slow_start: Timeout,
}

/// Where commands go that only read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// To the primary.
    #[default]
    Primary,
    /// To the primary; to replicas while it cannot be reached.
    PreferPrimary,
    /// To replicas. An error where none can be used.
    Replica,
    /// To replicas; to the primary where none can be used.
    PreferReplica,
}

impl ReadFrom {
    /// Whether replicas are ever read from.
    #[must_use]
    pub fn has_replicas(self) -> bool {
        self != Self::Primary
    }
}

/// What Redis endpoints are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedisTopology {
    /// One server that has everything. Others may be its replicas (`role: replica`).
    Standalone,
    /// Each has a part of the keys, chosen by hashing here. Others may be replicas of one (`replica_of`).
    Shards,
    /// Nodes of a Redis Cluster: each says which node has which slot, so that a few of them are enough. One database;
    /// redirections (`MOVED`, `ASK`) are followed here and not shown to clients. With `tls`, a node shows a certificate for the
    /// name that it is known by, if it is one; else for the name of the first endpoint; with `sni` for that.
    RedisCluster,
    /// Sentinels, which say who the primary is, and who its replicas are. A primary is used once it says itself that it is
    /// one. With `tls`, sentinels and servers are all encrypted, and show certificates as the nodes of a Redis Cluster do.
    Sentinel,
}

/// How keys are spread over shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyDistribution {
    /// A ring of points, as twemproxy and libmemcached make it.
    #[default]
    Ketama,
    /// The hash modulo the number of shards, by weight. A new shard moves nearly all keys.
    Modula,
    /// A table in which each shard has its even share; a new shard moves few keys.
    Maglev,
}

/// The hash of a key, by the names that twemproxy has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the name of the function")]
pub enum KeyHash {
    #[serde(rename = "fnv1_64")]
    Fnv1By64,
    #[serde(rename = "fnv1a_64")]
    Fnv1aBy64,
    #[serde(rename = "fnv1_32")]
    Fnv1By32,
    #[serde(rename = "fnv1a_32")]
    Fnv1aBy32,
    #[serde(rename = "crc16")]
    Crc16,
    #[serde(rename = "crc32")]
    Crc32,
    #[serde(rename = "crc32a")]
    Crc32a,
    #[serde(rename = "md5")]
    Md5,
    #[default]
    #[serde(rename = "murmur")]
    Murmur,
    #[serde(rename = "hsieh")]
    Hsieh,
    #[serde(rename = "jenkins")]
    Jenkins,
    #[serde(rename = "one_at_a_time")]
    OneAtATime,
}

impl KeyHash {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fnv1By64 => "fnv1_64",
            Self::Fnv1aBy64 => "fnv1a_64",
            Self::Fnv1By32 => "fnv1_32",
            Self::Fnv1aBy32 => "fnv1a_32",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Md5 => "md5",
            Self::Murmur => "murmur",
            Self::Hsieh => "hsieh",
            Self::Jenkins => "jenkins",
            Self::OneAtATime => "one_at_a_time",
        }
    }
}

/// Two characters around the part of a key that is hashed; or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashTag(pub Option<(u8, u8)>);

impl Default for HashTag {
    fn default() -> Self {
        Self(Some((b'{', b'}')))
    }
}

impl<'de> Deserialize<'de> for HashTag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_bytes() {
            [] => Ok(Self(None)),
            &[open, close] => Ok(Self(Some((open, close)))),
            _ => Err(serde::de::Error::custom(
                "a hash tag is two characters, such as \"{}\", or none",
            )),
        }
    }
}

impl JsonSchema for HashTag {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HashTag".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": 2, "examples": ["{}", ""] })
    }
}

impl Default for UpstreamRedis {
    fn default() -> Self {
        Self {
            topology: None,
            distribution: KeyDistribution::default(),
            hash: KeyHash::default(),
            hash_tag: HashTag::default(),
            connections: NonZeroU16::MIN,
            refresh_interval: Duration::from_secs(10),
            follow_unknown_nodes: false,
            master: None,
            sentinel_user: None,
            sentinel_password: None,
            read_from: ReadFrom::default(),
            slow_start: SLOW_START,
        }
    }
}

const SLOW_START: Timeout = Timeout::from_secs(10);

impl UpstreamRedis {
    /// The topology, where it is said or plain.
    pub fn topology(&self, endpoints: &[Located<EndpointConfig>]) -> Option<RedisTopology> {
        let primaries = endpoints.iter().filter(|endpoint| !endpoint.is_replica());
        let single = (primaries.count() == 1).then_some(RedisTopology::Standalone);
        self.topology.or(single)
    }
}

/// Reports what does not go together.
pub(super) fn check(
    redis: &Located<UpstreamRedis>,
    endpoints: &[Located<EndpointConfig>],
    diagnostics: &mut Diagnostics,
) {
    let primaries = endpoints.iter().filter(|endpoint| !endpoint.is_replica());
    let primaries = primaries.count();
    if redis.topology == Some(RedisTopology::Standalone) && primaries > 1 {
        diagnostics
            .error(redis.span, "a standalone server is one endpoint")
            .help(
                "`role: replica` makes others its replicas; `topology: shards` spreads keys over several, \
                 `redis_cluster` finds the nodes of a Redis Cluster, `sentinel` asks sentinels",
            );
    }
    if redis.topology.is_some() && primaries == 0 && !endpoints.is_empty() {
        diagnostics.error(
            redis.span,
            "all endpoints are replicas, and none is what they follow",
        );
    }
    check_spread(redis, diagnostics);
    check_asking(redis, diagnostics);
    check_sentinel(redis, diagnostics);
    check_replicas(redis, endpoints, diagnostics);
    if redis.slow_start != SLOW_START && !redis.read_from.has_replicas() {
        diagnostics
            .error(
                redis.span,
                "`slow_start` is for replicas that are read from",
            )
            .help("`read_from` says where reads go");
    }
}

fn check_spread(redis: &Located<UpstreamRedis>, diagnostics: &mut Diagnostics) {
    let spread = redis.distribution != KeyDistribution::default()
        || redis.hash != KeyHash::default()
        || redis.hash_tag != HashTag::default();
    if spread && redis.topology != Some(RedisTopology::Shards) {
        diagnostics
            .error(
                redis.span,
                "keys are spread by the gateway only with `topology: shards`",
            )
            .help("`distribution`, `hash` and `hash_tag` go with it");
    }
    if redis.distribution == KeyDistribution::Maglev && redis.hash != KeyHash::default() {
        diagnostics
            .error(redis.span, "`maglev` has a hash of its own")
            .help("leave `hash` out; `ketama` and `modula` use it");
    }
}

fn check_asking(redis: &Located<UpstreamRedis>, diagnostics: &mut Diagnostics) {
    let is_cluster = redis.topology == Some(RedisTopology::RedisCluster);
    let asks = is_cluster || redis.topology == Some(RedisTopology::Sentinel);
    let interval = UpstreamRedis::default().refresh_interval;
    if redis.refresh_interval != interval && !asks {
        diagnostics
            .error(
                redis.span,
                "servers are found only with `topology: redis_cluster` and `sentinel`",
            )
            .help("`refresh_interval` goes with them");
    }
    if redis.follow_unknown_nodes && !is_cluster {
        diagnostics
            .error(
                redis.span,
                "nodes are found only with `topology: redis_cluster`",
            )
            .help("`follow_unknown_nodes` goes with it");
    }
}

/// The longest name of a primary: longer than any that people write, and a question stays small.
const MOST_NAME: usize = 256;

fn check_sentinel(redis: &Located<UpstreamRedis>, diagnostics: &mut Diagnostics) {
    let is_sentinel = redis.topology == Some(RedisTopology::Sentinel);
    let has_login = redis.sentinel_user.is_some() || redis.sentinel_password.is_some();
    if !is_sentinel {
        if has_login || redis.master.is_some() {
            diagnostics
                .error(
                    redis.span,
                    "sentinels are asked only with `topology: sentinel`",
                )
                .help("`master`, `sentinel_user` and `sentinel_password` go with it");
        }
        return;
    }
    // A sentinel takes letters, digits, dots, dashes and underscores.
    let is_name = |name: &str| {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(is_fine)
    };
    match &redis.master {
        None => {
            diagnostics
                .error(
                    redis.span,
                    "sentinels know several primaries, each by a name",
                )
                .expected("`master: NAME`, as of `sentinel monitor NAME …`");
        }
        Some(name) if !is_name(name) => {
            diagnostics
                .error(redis.span, format!("'{name}' is no name of a primary"))
                .expected("letters, digits, `.`, `-` and `_`");
        }
        Some(_) => {}
    }
    if redis.sentinel_user.is_some() && redis.sentinel_password.is_none() {
        diagnostics
            .error(redis.span, "a user without a password cannot log in")
            .expected("`sentinel_password` beside `sentinel_user`");
    }
}

fn check_replicas(
    redis: &Located<UpstreamRedis>,
    endpoints: &[Located<EndpointConfig>],
    diagnostics: &mut Diagnostics,
) {
    let is_primary = |address: &TargetAddress| {
        let mut primaries = endpoints.iter().filter(|endpoint| !endpoint.is_replica());
        primaries.any(|endpoint| endpoint.address == *address)
    };
    for endpoint in endpoints {
        if let Some(of) = &endpoint.replica_of
            && !is_primary(of)
        {
            diagnostics
                .error(endpoint.span, format!("{of} is no primary of this cluster"))
                .help("a replica follows an endpoint that is listed beside it, by the address that is written there");
        }
    }
    let has_any = endpoints.iter().any(|endpoint| endpoint.is_replica());
    let wants = redis.read_from.has_replicas();
    match redis.topology(endpoints) {
        Some(RedisTopology::RedisCluster | RedisTopology::Sentinel) if has_any => {
            diagnostics
                .error(redis.span, "here replicas are found, and not listed")
                .help("`read_from` says whether they are used");
        }
        Some(RedisTopology::Shards) => {
            check_shards(redis, endpoints, diagnostics);
        }
        Some(RedisTopology::Standalone) if wants && !has_any => {
            diagnostics
                .error(redis.span, "`read_from` needs replicas")
                .help("list them among the endpoints, with `role: replica`");
        }
        Some(_) | None => {}
    }
}

/// Each replica is of a shard; where replicas alone are read from, each shard has some.
fn check_shards(
    redis: &Located<UpstreamRedis>,
    endpoints: &[Located<EndpointConfig>],
    diagnostics: &mut Diagnostics,
) {
    let replicas = || endpoints.iter().filter(|endpoint| endpoint.is_replica());
    for replica in replicas().filter(|replica| replica.replica_of.is_none()) {
        diagnostics
            .error(replica.span, "this is a replica of none of the shards")
            .expected("`replica_of: ADDRESS`");
    }
    if redis.read_from.has_replicas() && replicas().next().is_none() {
        diagnostics
            .error(redis.span, "`read_from` needs replicas")
            .help("list them among the endpoints, with `replica_of`");
        return;
    }
    if redis.read_from != ReadFrom::Replica {
        return;
    }
    for shard in endpoints.iter().filter(|endpoint| !endpoint.is_replica()) {
        let is_of =
            |replica: &Located<EndpointConfig>| replica.replica_of.as_ref() == Some(&shard.address);
        if !replicas().any(is_of) {
            diagnostics
                .error(shard.span, "a shard without replicas cannot be read from")
                .help("list some for it, or say `read_from: prefer_replica`");
        }
    }
}
