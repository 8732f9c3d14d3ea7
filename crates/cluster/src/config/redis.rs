//! What a cluster's endpoints are to each other when they are Redis servers, and how keys are spread over them.
//!
//! Only names and settings: the hash functions and rings are the protocol's. Start at [`UpstreamRedis`].

use std::num::NonZeroU16;

use portcullis_config::{Diagnostics, Duration, Located};
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
    /// With `shards`: the hash of a key. Default `murmur`, which spreads keys that differ little; twemproxy's own default,
    /// `fnv1a_64`, does not.
    pub hash: KeyHash,
    /// With `shards`: two characters between which the part of a key stands that is hashed, such as `"{}"`. Default
    /// `"{}"`, as Redis Cluster has it. `""`: keys are hashed whole.
    pub hash_tag: HashTag,
    /// How many connections one worker shares among its clients, to each endpoint and database. Default 1: replies of
    /// many clients come in one read. More help where single replies are large.
    pub connections: NonZeroU16,
    /// With `redis_cluster`: how long the map of slots is used before a node is asked for it again, less a quarter at
    /// random. It is asked at once when a node says that a slot has moved, or is gone. Default 10s, in which a failover is
    /// noticed that no command has run into.
    pub refresh_interval: Duration,
    /// With `redis_cluster`: whether redirections are followed to nodes that the map does not have. Default false: a node
    /// could lead the gateway, and its password, anywhere.
    pub follow_unknown_nodes: bool,
}

/// What Redis endpoints are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedisTopology {
    /// One server that has everything.
    Standalone,
    /// Each has a part of the keys, chosen by hashing here.
    Shards,
    /// Nodes of a Redis Cluster: each says which node has which slot, so that a few of them are enough. One database;
    /// redirections (`MOVED`, `ASK`) are followed here and not shown to clients. With `tls`, a node shows a certificate for the
    /// name of the first endpoint, or for `sni`.
    RedisCluster,
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
        }
    }
}

impl UpstreamRedis {
    /// The topology, where it is said or plain.
    pub fn topology(&self, endpoints: usize) -> Option<RedisTopology> {
        let single = (endpoints == 1).then_some(RedisTopology::Standalone);
        self.topology.or(single)
    }
}

/// Reports what does not go together.
pub(super) fn check(
    redis: &Located<UpstreamRedis>,
    endpoints: &[Located<EndpointConfig>],
    diagnostics: &mut Diagnostics,
) {
    if redis.topology == Some(RedisTopology::Standalone) && endpoints.len() > 1 {
        diagnostics
            .error(redis.span, "a standalone server is one endpoint")
            .help("`topology: shards` spreads keys over several, `redis_cluster` finds the nodes of a Redis Cluster");
    }
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
    let defaults = UpstreamRedis::default();
    let asks = redis.refresh_interval != defaults.refresh_interval || redis.follow_unknown_nodes;
    if asks && redis.topology != Some(RedisTopology::RedisCluster) {
        diagnostics
            .error(
                redis.span,
                "nodes are found only with `topology: redis_cluster`",
            )
            .help("`refresh_interval` and `follow_unknown_nodes` go with it");
    }
}
