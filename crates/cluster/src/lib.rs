//! Clusters: which endpoints there are, which of them may be used, and which one takes the next request.
//!
//! Deliberately pure: no socket, no timer, no clock (`now` is an argument) and no protocol. Connecting is
//! `net`'s, checking health and resolving names is done by the control side, pools of connections belong to
//! protocols; all of them keep their books with the types here.
//!
//! Start at [`Cluster`], what a session on a worker uses, and [`ClusterShared`], its process-wide other
//! half. [`LoadBalancer`] is where a balancer is added.
//!
//! ```text
//! control side                            each worker
//! ClusterConfig ─ Resolution ┐
//!        EndpointHealth ─────┴─► ClusterShared ──► Cluster ──► Picked
//!                                  generation       LoadBalancer, permits, extensions (pools)
//! ```

mod balance;
mod breaker;
mod cluster;
mod config;
mod dns;
mod endpoint;
mod health;
mod lanes;
mod local;
mod outcome;
mod pool;
mod replication;
mod set;
mod shared;
#[cfg(test)]
mod testing;

pub use balance::{LeastRequest, LoadBalancer, PickContext, Random, RoundRobin};
pub use breaker::{Admission, Breaker, BreakerKind, Overflow};
pub use cluster::{Cluster, ConnectionPermit, PendingPermit, PickError, Picked, RequestPermit};
pub use config::{
    AddressFamily, BalanceConfig, ClientCertificate, ClusterConfig, CountLimit, DnsConfig,
    EjectionConfig, EndpointConfig, EndpointRole, FrameBudget, HashTag, HealthCheckConfig,
    HealthProbe, InitialHealth, KeyDistribution, KeyHash, LimitsConfig, PoolConfig, ProtocolProbe,
    ProxyProtocolVersion, ReadFrom, RedisTopology, StatusRange, TrustedRoots, UpstreamGuard,
    UpstreamHttp, UpstreamKeepAlive, UpstreamRedis, UpstreamTls, UpstreamTlsVersion,
    UpstreamVersion,
};
pub use dns::{Lookup, Resolution};
pub use endpoint::{
    Endpoint, EndpointId, EndpointState, Epoch, Nanos, ResolvedAddress, ResolvedEndpoint,
};
pub use health::{EndpointHealth, HealthMachine, Transition};
pub use lanes::{Lanes, LinkState, NoPlace, SharedLink};
pub use local::LocalEndpoint;
pub use outcome::Outcome;
pub use pool::{IdleLimits, IdlePool};
pub use replication::Replication;
pub use set::EndpointSet;
pub use shared::{
    ClusterShared, Ejection, EndpointStatus, IdleCount, IdleShare, SharedConnectionPermit,
    Transport,
};
