//! Which names of a cluster to look up when, and what the answers make of its endpoints.
//!
//! The resolver itself is the control side's. Answers are remembered: a failed lookup changes nothing, since
//! addresses that worked a moment ago are better than none. Start at [`Resolution`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::{Host, TargetAddress};

use crate::{
    AddressFamily, ClusterConfig, DnsConfig, EndpointRole, ResolvedAddress, ResolvedEndpoint,
};

/// The names of one cluster and the addresses they stand for.
#[derive(Debug, Clone)]
pub struct Resolution {
    config: DnsConfig,
    targets: Vec<Target>,
}

/// A lookup that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Which target it is for; goes back with the answer.
    pub target: usize,
    /// The name to look up.
    pub host: Arc<str>,
    /// Which addresses are wanted.
    pub family: AddressFamily,
}

#[derive(Debug, Clone)]
struct Target {
    name: Arc<str>,
    weight: u32,
    role: Option<EndpointRole>,
    /// Sorted; one for targets that need no lookup.
    addresses: Vec<ResolvedAddress>,
    query: Option<Query>,
}

#[derive(Debug, Clone)]
struct Query {
    host: Arc<str>,
    port: u16,
    /// When to look it up next; `None` while a lookup is under way.
    due: Option<Instant>,
    failures: u32,
}

impl Resolution {
    /// The targets of a cluster. Every name is due at `now`.
    pub fn new(config: &ClusterConfig, now: Instant) -> Self {
        let targets = config.endpoints.iter().map(|endpoint| {
            let name: Arc<str> = endpoint.address.to_string().into();
            let (addresses, query) = match &endpoint.address {
                TargetAddress::Unix(path) => (vec![ResolvedAddress::Unix(path.clone())], None),
                TargetAddress::Tcp { host, port } => match host {
                    Host::Address(ip) => (
                        vec![ResolvedAddress::Socket(SocketAddr::new(*ip, *port))],
                        None,
                    ),
                    Host::Name(host) => (Vec::new(), Some(Query::new(host, *port, now))),
                },
            };
            Target {
                name,
                weight: u32::from(endpoint.weight.get()),
                role: endpoint.role,
                addresses,
                query,
            }
        });
        Self {
            config: *config.dns,
            targets: targets.collect(),
        }
    }

    /// Takes over what an earlier resolution of the same cluster has learnt, so that a reload does not begin with no
    /// addresses.
    #[must_use]
    pub fn keeping(mut self, earlier: &Self) -> Self {
        for target in &mut self.targets {
            let known = earlier
                .targets
                .iter()
                .find(|known| known.name == target.name);
            if let (Some(query), Some(known)) = (&target.query, known) {
                target.addresses = select(&known.addresses, query.port, &self.config);
            }
        }
        self
    }

    /// Whether any name has to be looked up at all.
    pub fn has_names(&self) -> bool {
        self.targets.iter().any(|target| target.query.is_some())
    }

    /// The lookups that are due. Each is handed out once; its result comes back through
    /// [`on_resolved`](Self::on_resolved) or [`on_failed`](Self::on_failed).
    pub fn poll_lookup(&mut self, now: Instant) -> Option<Lookup> {
        let family = self.config.family;
        self.targets
            .iter_mut()
            .enumerate()
            .find_map(|(target, entry)| {
                let query = entry.query.as_mut()?;
                query.due.take_if(|due| *due <= now)?;
                Some(Lookup {
                    target,
                    host: Arc::clone(&query.host),
                    family,
                })
            })
    }

    /// When the next lookup is due; `None` when none is, or all are under way.
    pub fn next_lookup(&self) -> Option<Instant> {
        let queries = self
            .targets
            .iter()
            .filter_map(|target| target.query.as_ref());
        queries.filter_map(|query| query.due).min()
    }

    /// An answer came. True when the endpoints are not the same as before. An answer without usable addresses counts
    /// as a failure.
    pub fn on_resolved(
        &mut self,
        target: usize,
        answer: &[IpAddr],
        ttl: Duration,
        now: Instant,
    ) -> bool {
        let config = self.config;
        let Some(entry) = self.targets.get_mut(target) else {
            return false;
        };
        let Some(query) = &mut entry.query else {
            return false;
        };
        let answer = answer
            .iter()
            .map(|ip| ResolvedAddress::Socket(SocketAddr::new(*ip, query.port)));
        let addresses = select(&answer.collect::<Vec<_>>(), query.port, &config);
        if addresses.is_empty() {
            self.on_failed(target, now);
            return false;
        }
        query.failures = 0;
        let (least, most): (Duration, Duration) = (config.min_ttl.into(), config.max_ttl.into());
        query.due = Some(now + ttl.min(most).max(least));
        let changed = entry.addresses != addresses;
        entry.addresses = addresses;
        changed
    }

    /// No answer. What was known stays; the next lookup waits longer with every failure, up to the longest time.
    pub fn on_failed(&mut self, target: usize, now: Instant) {
        let (least, most): (Duration, Duration) =
            (self.config.min_ttl.into(), self.config.max_ttl.into());
        if let Some(query) = self
            .targets
            .get_mut(target)
            .and_then(|target| target.query.as_mut())
        {
            let doubled = least.saturating_mul(1 << query.failures.min(MOST_DOUBLINGS));
            query.failures = query.failures.saturating_add(1);
            query.due = Some(now + doubled.min(most).max(least));
        }
    }

    /// The endpoints as they are known now.
    pub fn endpoints(&self) -> impl Iterator<Item = ResolvedEndpoint> {
        self.targets.iter().flat_map(|target| {
            target.addresses.iter().map(|address| ResolvedEndpoint {
                name: Arc::clone(&target.name),
                address: address.clone(),
                weight: target.weight,
                role: target.role,
            })
        })
    }
}

impl Query {
    fn new(host: &str, port: u16, now: Instant) -> Self {
        Self {
            host: host.into(),
            port,
            due: Some(now),
            failures: 0,
        }
    }
}

/// The addresses that are used: of the wanted family, sorted, each once, not too many.
fn select(addresses: &[ResolvedAddress], port: u16, config: &DnsConfig) -> Vec<ResolvedAddress> {
    let wanted = |ip: &IpAddr| match config.family {
        AddressFamily::Any => true,
        AddressFamily::V4 => ip.is_ipv4(),
        AddressFamily::V6 => ip.is_ipv6(),
    };
    let ips = addresses.iter().filter_map(|address| match address {
        ResolvedAddress::Socket(socket) => Some(socket.ip()),
        ResolvedAddress::Unix(_) => None,
    });
    let mut ips: Vec<IpAddr> = ips.filter(wanted).collect();
    ips.sort_unstable();
    ips.dedup();
    ips.truncate(config.max_endpoints.get() as usize);
    ips.into_iter()
        .map(|ip| ResolvedAddress::Socket(SocketAddr::new(ip, port)))
        .collect()
}

/// 2^8 seconds at the default minimum: beyond the default maximum.
const MOST_DOUBLINGS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, start};

    const SECOND: Duration = Duration::from_secs(1);

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn addresses(resolution: &Resolution) -> Vec<String> {
        resolution
            .endpoints()
            .map(|endpoint| endpoint.address.to_string())
            .collect()
    }

    #[test]
    fn literals_need_no_lookup() {
        let text = r#"{"endpoints": ["10.0.0.1:80", "[::1]:80", "unix:/run/a"]}"#;
        let mut resolution = Resolution::new(&config(text), start());
        assert!(!resolution.has_names());
        assert_eq!(resolution.poll_lookup(start()), None);
        assert_eq!(
            addresses(&resolution),
            ["10.0.0.1:80", "[::1]:80", "unix:/run/a"]
        );
    }

    #[test]
    fn names_are_looked_up_at_their_time() {
        let now = start();
        let text = r#"{"endpoints": ["api:80", "10.0.0.9:80"], "dns": {"min_ttl": "2s", "max_ttl": "60s"}}"#;
        let mut resolution = Resolution::new(&config(text), now);
        let lookup = resolution.poll_lookup(now).unwrap();
        assert_eq!((lookup.target, &*lookup.host), (0, "api"));
        assert_eq!(resolution.poll_lookup(now), None, "under way");
        assert_eq!(resolution.next_lookup(), None);

        assert!(resolution.on_resolved(
            0,
            &ips(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]),
            SECOND * 5,
            now
        ));
        assert_eq!(
            addresses(&resolution),
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80"]
        );
        assert_eq!(resolution.next_lookup(), Some(now + SECOND * 5));
        assert_eq!(resolution.poll_lookup(now + SECOND * 4), None);
        assert!(resolution.poll_lookup(now + SECOND * 5).is_some());
        let turned = ips(&["10.0.0.1", "10.0.0.2"]);
        assert!(
            !resolution.on_resolved(0, &turned, Duration::ZERO, now),
            "another order is no change"
        );
        assert_eq!(
            resolution.next_lookup(),
            Some(now + SECOND * 2),
            "no TTL makes a loop"
        );
        resolution.on_resolved(0, &turned, SECOND * 86400, now);
        assert_eq!(resolution.next_lookup(), Some(now + SECOND * 60));
    }

    #[test]
    fn failures_keep_what_was_known_and_back_off() {
        let now = start();
        let text = r#"{"endpoints": ["api:80"], "dns": {"max_ttl": "5s"}}"#;
        let mut resolution = Resolution::new(&config(text), now);
        resolution.on_resolved(0, &ips(&["10.0.0.1"]), SECOND, now);
        for expected in [1, 2, 4, 5, 5] {
            resolution.on_failed(0, now);
            assert_eq!(resolution.next_lookup(), Some(now + SECOND * expected));
        }
        assert!(
            !resolution.on_resolved(0, &[], SECOND, now),
            "an empty answer is a failure"
        );
        assert_eq!(addresses(&resolution), ["10.0.0.1:80"]);
        resolution.on_resolved(0, &ips(&["10.0.0.2"]), SECOND, now);
        resolution.on_failed(0, now);
        assert_eq!(
            resolution.next_lookup(),
            Some(now + SECOND),
            "a success starts the wait again"
        );
        resolution.on_failed(7, now);
        assert!(!resolution.on_resolved(7, &ips(&["10.0.0.2"]), SECOND, now));
    }

    #[test]
    fn family_and_number_are_bounded() {
        let answer = ips(&["::2", "10.0.0.3", "10.0.0.1", "::1", "10.0.0.2"]);
        let cases = [
            (
                "any",
                9,
                vec![
                    "10.0.0.1:80",
                    "10.0.0.2:80",
                    "10.0.0.3:80",
                    "[::1]:80",
                    "[::2]:80",
                ],
            ),
            ("v4", 2, vec!["10.0.0.1:80", "10.0.0.2:80"]),
            ("v6", 9, vec!["[::1]:80", "[::2]:80"]),
        ];
        for (family, most, expected) in cases {
            let text = format!(
                r#"{{"endpoints": ["api:80"], "dns": {{"family": "{family}", "max_endpoints": {most}}}}}"#
            );
            let mut resolution = Resolution::new(&config(&text), start());
            resolution.on_resolved(0, &answer, SECOND, start());
            assert_eq!(addresses(&resolution), expected, "{family}");
        }
    }

    #[test]
    fn a_reload_keeps_what_was_learnt() {
        let mut before = Resolution::new(&config(r#"{"endpoints": ["api:80"]}"#), start());
        before.on_resolved(0, &ips(&["10.0.0.1"]), SECOND, start());
        let text = r#"{"endpoints": ["other:80", "api:80"]}"#;
        let mut after = Resolution::new(&config(text), start()).keeping(&before);
        assert_eq!(addresses(&after), ["10.0.0.1:80"]);
        assert!(
            after.poll_lookup(start()).is_some(),
            "but looks again at once"
        );
    }
}
