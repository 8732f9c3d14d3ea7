//! A connection to a server, brought to where commands may go over it: logged in, in its version and database.
//!
//! No command of a client is sent before all of that is confirmed. Start at [`open`].

use std::net::IpAddr;
use std::rc::Rc;

use bytes::BytesMut;
use portcullis_cluster::{
    AddressFamily, Cluster, ConnectionPermit, Endpoint, Outcome, PickContext, Picked,
    ResolvedAddress,
};
use portcullis_net::connect::to_endpoint;
use portcullis_net::resolve::Resolver;
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{Stream, clock};

use super::shard::{Common, Target};
use crate::cluster::NodeAddress;
use crate::config::UpstreamConfig;
use crate::encoder;
use crate::limits::ReplyLimits;
use crate::machine::{Lost, Speaks};
use crate::message::RespVersion;
use crate::reply::{ReplyFrame, ReplyScanner};

/// An open connection, and what is kept while it lasts.
pub(super) struct Opened {
    pub(super) stream: Stream,
    picked: Picked,
    _permit: ConnectionPermit,
}

impl Opened {
    /// The host that it leads to.
    pub(super) fn host(&self) -> String {
        match self.picked.address() {
            ResolvedAddress::Socket(address) => address.ip().to_string(),
            ResolvedAddress::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// Connects to a shard.
pub(super) async fn open(common: &Common, target: &Target, speaks: Speaks) -> Result<Opened, Lost> {
    let (cluster, credentials) = (&common.cluster, &common.credentials);
    let permit = cluster.try_connection().map_err(|_| Lost::Overflow)?;
    let picked = match target {
        Target::Any => pick(common, None)?,
        Target::Named(name) => pick(common, Some(name))?,
        Target::Found(address) => {
            let resolved = resolve(common, address).await?;
            cluster.found(&address.to_string(), resolved)
        }
    };
    let started = clock::now();
    let connected = connect(cluster, &picked, credentials, speaks).await;
    let now = clock::now();
    let outcome = match &connected {
        Ok(_) => Outcome::Success,
        Err(lost) => Outcome::Failure(lost.label()),
    };
    cluster.on_done(
        &picked,
        outcome,
        now.saturating_duration_since(started),
        now,
    );
    Ok(Opened {
        stream: connected?,
        picked,
        _permit: permit,
    })
}

/// One of the configured endpoints, or the one of this name.
fn pick(common: &Common, name: Option<&str>) -> Result<Picked, Lost> {
    let is_it = |endpoint: &Endpoint| name.is_none_or(|name| **endpoint.name() == *name);
    let cx = PickContext {
        now: clock::now(),
        random: common.random.next(),
        hash: None,
        tried: &[],
        accept: Some(&is_it),
    };
    common.cluster.pick(&cx).map_err(|_| Lost::NoEndpoint)
}

/// The address of a node, which may have said a name.
async fn resolve(common: &Common, node: &NodeAddress) -> Result<ResolvedAddress, Lost> {
    let ip = if let Ok(ip) = node.host().parse() {
        ip
    } else {
        let resolver = common.resolver.get_or_init(Resolver::new);
        let family = common.cluster.with_config(|config| config.dns.family);
        let found = resolve_name(resolver, node.host(), family).await;
        found.ok_or(Lost::Connect)?
    };
    Ok(ResolvedAddress::Socket((ip, node.port()).into()))
}

async fn resolve_name(resolver: &Resolver, host: &str, family: AddressFamily) -> Option<IpAddr> {
    match resolver.lookup(host, family).await {
        Ok(resolved) => resolved.addresses.into_iter().min(),
        Err(error) => {
            tracing::debug!(
                host,
                reason = error.label(),
                "a node of a Redis Cluster has no address"
            );
            None
        }
    }
}

async fn connect(
    cluster: &Rc<Cluster>,
    picked: &Picked,
    credentials: &UpstreamConfig,
    speaks: Speaks,
) -> Result<Stream, Lost> {
    // TLS is not told what goes through it. Nobody's name is in a PROXY header: clients share the connection.
    let stream = to_endpoint(cluster, picked, AlpnOffer::None, None).await;
    let mut stream = stream.map_err(|error| {
        tracing::debug!(endpoint = %picked.label(), reason = error.label(), "a Redis server cannot be connected");
        Lost::Connect
    })?;
    let mut wire = BytesMut::new();
    let count = preamble(credentials, speaks, &mut wire);
    if count == 0 {
        return Ok(stream);
    }
    let timeout = cluster.with_config(|config| config.connect_timeout.get());
    let spoken = portcullis_net::within(timeout, converse(&mut stream, &wire, count));
    match spoken.await {
        Some(Ok(())) => Ok(stream),
        Some(Err(Refusal::Said(error))) => {
            let error = String::from_utf8_lossy(&error).trim_end().to_owned();
            tracing::warn!(endpoint = %picked.label(), error, "a Redis server refused the gateway's connection");
            Err(Lost::Refused)
        }
        Some(Err(Refusal::Broke)) | None => Err(Lost::Connect),
    }
}

/// Writes what is said first. How many replies there will be.
fn preamble(credentials: &UpstreamConfig, speaks: Speaks, wire: &mut BytesMut) -> usize {
    let mut count = 0;
    let mut say = |words: &[&[u8]]| {
        encoder::command(words, wire);
        count += 1;
    };
    let user = credentials.user.as_ref().map(String::as_bytes);
    let password = credentials.password.as_ref();
    match (user, password.map(|password| password.expose().as_bytes())) {
        (Some(user), Some(password)) => say(&[b"AUTH", user, password]),
        (None, Some(password)) => say(&[b"AUTH", password]),
        (_, None) => {}
    }
    if speaks.version == RespVersion::Resp3 {
        say(&[b"HELLO", b"3"]);
    }
    if speaks.database != 0 {
        say(&[b"SELECT", speaks.database.to_string().as_bytes()]);
    }
    count
}

/// Why the conversation came to nothing.
enum Refusal {
    Said(Vec<u8>),
    Broke,
}

async fn converse(stream: &mut Stream, wire: &[u8], count: usize) -> Result<(), Refusal> {
    let broke = |_| Refusal::Broke;
    stream.write_all(wire).await.map_err(broke)?;
    let mut scanner = ReplyScanner::new(ReplyLimits::default());
    let mut input = BytesMut::new();
    let mut left = count;
    while left > 0 {
        match scanner.next(&input) {
            Ok(Some(ReplyFrame::Whole { kind, len, .. })) => {
                let reply = input.split_to(len);
                if kind.is_error() {
                    return Err(Refusal::Said(reply.to_vec()));
                }
                left -= 1;
            }
            Ok(None) => {
                if stream.read(&mut input).await.map_err(broke)? == 0 {
                    return Err(Refusal::Broke);
                }
            }
            Ok(Some(_)) | Err(_) => return Err(Refusal::Broke),
        }
    }
    // What comes unasked is nobody's.
    if input.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Broke)
    }
}
