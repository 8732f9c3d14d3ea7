//! One configured endpoint: an address alone, or with a weight and a role.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU16;

use portcullis_config::TargetAddress;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// An endpoint as configured: `host:port`, or `{ address: host:port, weight: 3, role: replica }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Where it is.
    pub address: TargetAddress,
    /// Its share of requests relative to the others, from 1 to 65535. Default 1.
    pub weight: NonZeroU16,
    /// What it is said to be. Default: nothing is, but that one with `replica_of` is a replica.
    pub role: Option<EndpointRole>,
    /// The endpoint that it follows, where there are several primaries.
    pub replica_of: Option<TargetAddress>,
}

impl EndpointConfig {
    /// Whether it is said to be a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.role == Some(EndpointRole::Replica)
    }
}

/// What an endpoint is among others that hold the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointRole {
    /// It takes writes.
    Primary,
    /// It follows another, and takes reads only.
    Replica,
}

impl EndpointRole {
    /// The word in configuration, logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// The long form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WeightedEndpoint {
    /// `host:port` or `unix:/path`.
    address: TargetAddress,
    /// Its share of requests relative to the others. Default 1.
    #[serde(default = "default_weight")]
    weight: NonZeroU16,
    /// What it is among others that hold the same data, for protocols that tell reads from writes: `primary` or `replica`.
    /// Default: unknown, until the protocol finds out; what it finds out counts for more than what is written here.
    role: Option<EndpointRole>,
    /// The endpoint that this one is a replica of, by its address as it is written here. Only Redis with `topology: shards`
    /// needs it: there each shard has replicas of its own.
    replica_of: Option<TargetAddress>,
}

impl<'de> Deserialize<'de> for EndpointConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherForm)
    }
}

struct EitherForm;

impl<'de> Visitor<'de> for EitherForm {
    type Value = EndpointConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an endpoint such as api.internal:8080 or { address: api.internal:8080, weight: 3 }",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<EndpointConfig, E> {
        Ok(EndpointConfig {
            address: text.parse().map_err(E::custom)?,
            weight: default_weight(),
            role: None,
            replica_of: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointConfig, A::Error> {
        let WeightedEndpoint {
            address,
            weight,
            role,
            replica_of,
        } = WeightedEndpoint::deserialize(MapAccessDeserializer::new(map))?;
        if role == Some(EndpointRole::Primary) && replica_of.is_some() {
            return Err(A::Error::custom("a primary is no replica of another"));
        }
        let role = role.or_else(|| replica_of.as_ref().map(|_| EndpointRole::Replica));
        Ok(EndpointConfig {
            address,
            weight,
            role,
            replica_of,
        })
    }
}

impl JsonSchema for EndpointConfig {
    fn schema_name() -> Cow<'static, str> {
        "EndpointConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let short = generator.subschema_for::<TargetAddress>();
        let long = generator.subschema_for::<WeightedEndpoint>();
        json_schema!({ "anyOf": [short, long] })
    }
}

fn default_weight() -> NonZeroU16 {
    NonZeroU16::MIN
}
