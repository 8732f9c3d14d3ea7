//! Names to addresses. For the control side, never for the data path.
//!
//! A thin wrap around hickory, which is named nowhere else. When to ask again, and what to do with a failure, is
//! decided by [`portcullis_cluster::Resolution`]. Start at [`Resolver::lookup`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use portcullis_cluster::AddressFamily;

use crate::clock;

/// How long an answer that did not come from DNS is good for: it can only change with the configuration.
const FOREVER: Duration = Duration::from_hours(24);

/// How long one question to one server may take, and how often it is asked again. An answer that is late is worth
/// little: the addresses known already go on being used.
const TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// At least one address, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// How long the answer says that it is good for; may be zero.
    pub ttl: Duration,
}

/// Why a name has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no addresses of the wanted family.
    #[error("no such name, or no addresses")]
    NotFound,
    /// No server answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// No servers are known: the system's configuration cannot be read.
    #[error("no name servers are configured")]
    NoServers,
    /// It is no name.
    #[error("not a valid name")]
    BadName,
    /// Every server failed.
    #[error("name servers failed")]
    Failed,
}

impl ResolveError {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::TimedOut => "timeout",
            Self::NoServers => "no_servers",
            Self::BadName => "bad_name",
            Self::Failed => "failed",
        }
    }
}

/// Asks name servers.
#[derive(Clone)]
pub struct Resolver {
    servers: Option<Servers>,
}

/// One for each choice of families, since that is how hickory is told.
#[derive(Clone)]
struct Servers {
    any: TokioResolver,
    v4: TokioResolver,
    v6: TokioResolver,
}

impl Resolver {
    /// As the system is configured (`/etc/resolv.conf`, `/etc/hosts`). Without a usable configuration it knows addresses and
    /// `localhost` only, and says so for every other name.
    #[must_use]
    pub fn new() -> Self {
        let system = hickory_resolver::system_conf::read_system_conf();
        let servers = system.and_then(|(config, options)| Servers::new(&config, &options));
        if let Err(error) = &servers {
            tracing::warn!(%error, "no name servers: only addresses can be used");
        }
        Self {
            servers: servers.ok(),
        }
    }

    /// Asks this server only.
    #[must_use]
    pub fn with_server(server: SocketAddr) -> Self {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        let config = ResolverConfig::from_name_servers(vec![server]);
        Self {
            servers: Servers::new(&config, &ResolverOpts::default()).ok(),
        }
    }

    /// The addresses of a host. Addresses (IPv6 in brackets or not) and `localhost` need no server.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn lookup(
        &self,
        host: &str,
        family: AddressFamily,
    ) -> Result<Resolved, ResolveError> {
        if let Some(known) = without_asking(host) {
            return of_family(known, FOREVER, family);
        }
        let servers = self.servers.as_ref().ok_or(ResolveError::NoServers)?;
        let resolver = match family {
            AddressFamily::Any => &servers.any,
            AddressFamily::V4 => &servers.v4,
            AddressFamily::V6 => &servers.v6,
        };
        // Told apart here: later, a bad name and a bad answer are the same kind of error.
        let name = Name::from_utf8(host).map_err(|_| ResolveError::BadName)?;
        let answer = resolver
            .lookup_ip(name)
            .await
            .map_err(|error| reason(&error))?;
        let ttl = answer.valid_until().saturating_duration_since(clock::now());
        of_family(answer.iter(), ttl, family)
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Servers {
    fn new(config: &ResolverConfig, options: &ResolverOpts) -> Result<Self, NetError> {
        let build = |strategy| {
            let mut options = options.clone();
            options.ip_strategy = strategy;
            options.timeout = TIMEOUT;
            options.attempts = ATTEMPTS;
            // Who asks here decides when to ask again. A cache below would only hide that a name has come back.
            options.cache_size = 0;
            TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default())
                .with_options(options)
                .build()
        };
        Ok(Self {
            any: build(LookupIpStrategy::Ipv4AndIpv6)?,
            v4: build(LookupIpStrategy::Ipv4Only)?,
            v6: build(LookupIpStrategy::Ipv6Only)?,
        })
    }
}

/// Addresses, and `localhost` (RFC 6761, section 6.3), which must not depend on anybody's answer.
fn without_asking(host: &str) -> Option<Vec<IpAddr>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Some(vec![address]);
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    (name == "localhost" || name.ends_with(".localhost"))
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

fn of_family(
    addresses: impl IntoIterator<Item = IpAddr>,
    ttl: Duration,
    family: AddressFamily,
) -> Result<Resolved, ResolveError> {
    let wanted = |address: &IpAddr| match family {
        AddressFamily::Any => true,
        AddressFamily::V4 => address.is_ipv4(),
        AddressFamily::V6 => address.is_ipv6(),
    };
    let addresses: Vec<_> = addresses.into_iter().filter(wanted).collect();
    if addresses.is_empty() {
        return Err(ResolveError::NotFound);
    }
    Ok(Resolved { addresses, ttl })
}

fn reason(error: &NetError) -> ResolveError {
    match error {
        error if error.is_no_records_found() => ResolveError::NotFound,
        NetError::Timeout => ResolveError::TimedOut,
        NetError::NoConnections => ResolveError::NoServers,
        _ => ResolveError::Failed,
    }
}

#[cfg(test)]
mod tests;
