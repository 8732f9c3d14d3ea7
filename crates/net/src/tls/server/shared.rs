//! What the workers share of a listener's TLS: the configuration to begin with, and the bounds on handshakes.
//!
//! Start at [`ServerTls::begin`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use portcullis_limit::{Key, KeyBuilder, Quota, RateLimiter, Seed};
use rustls::ServerConfig;

use crate::limits::{ConnectionLimit, ConnectionPermit};
use crate::tls::config::{ClientRate, HandshakeLimits, TlsConfig};
use crate::tls::handshake::TlsRefusal;

/// TLS of one listener, common to all workers.
#[derive(Debug)]
pub struct ServerTls {
    current: ArcSwap<ServerConfig>,
    timeout: Duration,
    in_flight: Arc<ConnectionLimit>,
    rate: Option<ClientRates>,
}

#[derive(Debug)]
struct ClientRates {
    limiter: RateLimiter,
    seed: Seed,
}

/// A handshake that may begin. To be kept until it is over.
#[derive(Debug)]
pub struct Begun {
    /// What it is to be carried out with.
    pub config: Arc<ServerConfig>,
    /// When it must be over.
    pub deadline: Option<Instant>,
    _permit: ConnectionPermit,
}

impl ServerTls {
    pub(super) fn new(config: &TlsConfig, current: Arc<ServerConfig>, now: Instant) -> Self {
        Self {
            current: ArcSwap::new(current),
            timeout: config.handshake_timeout.get(),
            in_flight: ConnectionLimit::new(Some(config.limits.handshakes.get())),
            rate: ClientRates::new(&config.limits, now),
        }
    }

    /// Whether this client may begin a handshake. The clients of a Unix socket have no address and no rate.
    ///
    /// # Errors
    /// It has begun too many of late, or as many as may be are in progress.
    pub fn begin(&self, client: Option<IpAddr>, now: Instant) -> Result<Begun, TlsRefusal> {
        if let (Some(rate), Some(client)) = (&self.rate, client)
            && !rate.allows(client, now)
        {
            return Err(TlsRefusal::Rate);
        }
        Ok(Begun {
            _permit: self.in_flight.acquire().ok_or(TlsRefusal::InFlight)?,
            config: self.current.load_full(),
            deadline: now.checked_add(self.timeout),
        })
    }

    /// What the next handshake would be carried out with.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// How many handshakes are in progress.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.open()
    }

    pub(super) fn replace(&self, config: Arc<ServerConfig>) {
        self.current.store(config);
    }
}

impl ClientRates {
    fn new(limits: &HandshakeLimits, now: Instant) -> Option<Self> {
        let ClientRate::AtMost(rate) = limits.per_client else {
            return None;
        };
        // A rate that is too fast to count is none.
        let quota = Quota::new(rate.count(), rate.per()).ok()?;
        Some(Self {
            limiter: RateLimiter::keyed(quota, now),
            seed: Seed::random(),
        })
    }

    fn allows(&self, client: IpAddr, now: Instant) -> bool {
        self.limiter
            .check(Some(self.key(client)), 1, now)
            .is_allowed()
    }

    /// An IPv6 customer has a /64 at least, so single addresses would bound nobody.
    fn key(&self, client: IpAddr) -> Key {
        let mut key = KeyBuilder::new(&self.seed);
        match client.to_canonical() {
            IpAddr::V4(address) => key.write(&address.octets()),
            IpAddr::V6(address) => {
                let octets = address.octets();
                key.write(
                    octets
                        .first_chunk::<8>()
                        .map_or(&[], |network| network.as_slice()),
                );
            }
        }
        key.finish()
    }
}
