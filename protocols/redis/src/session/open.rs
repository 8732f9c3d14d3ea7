//! A connection to a server, brought to where commands may go over it: logged in, in its version and database.
//!
//! No command of a client is sent before all of that is confirmed. Start at [`open`].

use std::net::IpAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use portcullis_cluster::{
    AddressFamily, Cluster, ConnectionPermit, Outcome, PickContext, Picked, ResolvedAddress,
};
use portcullis_net::connect::to_endpoint;
use portcullis_net::resolve::Resolver;
use portcullis_net::tls::AlpnOffer;
use portcullis_net::{Stream, clock, within};

use super::shard::{Common, Part, Target};
use crate::cluster::NodeAddress;
use crate::config::UpstreamConfig;
use crate::encoder;
use crate::limits::ReplyLimits;
use crate::machine::{Lost, Speaks};
use crate::message::{RespVersion, parse};
use crate::reply::{ReplyFrame, ReplyScanner};
use crate::sentinel::Role;

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

/// Connects to a shard. Without a permit one is asked for.
pub(super) async fn open(
    common: &Common,
    target: &Target,
    speaks: Speaks,
    permit: Option<ConnectionPermit>,
) -> Result<Opened, Lost> {
    let cluster = &common.cluster;
    let permit = match permit {
        Some(permit) => permit,
        None => cluster.try_connection().map_err(|_| Lost::Full)?,
    };
    let picked = match target {
        Target::Any => pick(common)?,
        Target::Named(name) | Target::Sentinel(name) => pick_named(common, name)?,
        Target::Found(address, _) => {
            let resolved = resolve(common, address).await?;
            let label = address.to_string();
            if address.is_name() {
                cluster.found_by_name(&label, resolved)
            } else {
                cluster.found(&label, resolved)
            }
        }
    };
    let credentials = match target {
        Target::Sentinel(_) | Target::Found(_, Part::Sentinel) => &common.sentinel,
        Target::Any | Target::Named(_) | Target::Found(..) => &common.credentials,
    };
    let part = match target {
        Target::Found(_, part) => Some(*part),
        Target::Any | Target::Named(_) | Target::Sentinel(_) => None,
    };
    let started = clock::now();
    let connected = connect(cluster, &picked, &Preamble::new(credentials, speaks, part)).await;
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

/// One of the configured endpoints.
fn pick(common: &Common) -> Result<Picked, Lost> {
    let picked = common.cluster.pick(&choice(common));
    picked.map_err(|_| Lost::NoEndpoint)
}

/// The endpoint of this name: nobody can stand in for it.
fn pick_named(common: &Common, name: &str) -> Result<Picked, Lost> {
    let picked = common.cluster.pick_named(name, &choice(common));
    picked.map_err(|_| Lost::NoEndpoint)
}

fn choice(common: &Common) -> PickContext<'static> {
    PickContext {
        now: clock::now(),
        random: common.random.next(),
        hash: None,
        tried: &[],
        accept: None,
    }
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
                "a Redis server that was found has no address"
            );
            None
        }
    }
}

async fn connect(
    cluster: &Rc<Cluster>,
    picked: &Picked,
    preamble: &Preamble,
) -> Result<Stream, Lost> {
    // TLS is not told what goes through it. Nobody's name is in a PROXY header: clients share the connection.
    let stream = to_endpoint(cluster, picked, AlpnOffer::None, None).await;
    let mut stream = stream.map_err(|error| {
        tracing::debug!(endpoint = %picked.label(), reason = error.label(), "a Redis server cannot be connected");
        Lost::Connect
    })?;
    if preamble.count == 0 {
        return Ok(stream);
    }
    let timeout = cluster.with_config(|config| config.connect_timeout.get());
    let spoken = within(timeout, converse(&mut stream, preamble));
    match spoken.await {
        Some(Ok(last)) if preamble.is_satisfied(&last) => Ok(stream),
        Some(Ok(_)) => {
            tracing::debug!(endpoint = %picked.label(), "a Redis server has another role than it was found with");
            Err(Lost::Role)
        }
        Some(Err(Refusal::Said(error))) => {
            let error = String::from_utf8_lossy(&error).trim_end().to_owned();
            tracing::warn!(endpoint = %picked.label(), error, "a Redis server refused the gateway's connection");
            Err(Lost::Refused)
        }
        Some(Err(Refusal::Broke)) | None => Err(Lost::Connect),
    }
}

/// What is said first.
struct Preamble {
    wire: BytesMut,
    /// How many replies there will be.
    count: usize,
    /// What the server must say that it is: the last reply.
    role: Option<Part>,
}

impl Preamble {
    fn new(credentials: &UpstreamConfig, speaks: Speaks, part: Option<Part>) -> Self {
        let mut preamble = Self {
            wire: BytesMut::new(),
            count: 0,
            role: part.filter(|part| matches!(part, Part::Primary | Part::Replica)),
        };
        let user = credentials.user.as_ref().map(String::as_bytes);
        let password = credentials.password.as_ref();
        match (user, password.map(|password| password.expose().as_bytes())) {
            (Some(user), Some(password)) => preamble.say(&[b"AUTH", user, password]),
            (None, Some(password)) => preamble.say(&[b"AUTH", password]),
            (_, None) => {}
        }
        if speaks.version == RespVersion::Resp3 {
            preamble.say(&[b"HELLO", b"3"]);
        }
        if speaks.database != 0 {
            preamble.say(&[b"SELECT", speaks.database.to_string().as_bytes()]);
        }
        if part == Some(Part::Reader) {
            preamble.say(&[b"READONLY"]);
        }
        if preamble.role.is_some() {
            preamble.say(&[b"ROLE"]);
        }
        preamble
    }

    fn say(&mut self, words: &[&[u8]]) {
        encoder::command(words, &mut self.wire);
        self.count += 1;
    }

    /// Whether the last reply says what it must.
    fn is_satisfied(&self, last: &Bytes) -> bool {
        let role = || Role::read(&parse(last.clone()).ok()?);
        match self.role {
            Some(Part::Primary) => role() == Some(Role::Primary),
            Some(Part::Replica) => role() == Some(Role::Replica { is_linked: true }),
            Some(Part::Node | Part::Reader | Part::Sentinel) | None => true,
        }
    }
}

/// Why the conversation came to nothing.
enum Refusal {
    Said(Vec<u8>),
    Broke,
}

/// Says what is said first. The last reply.
async fn converse(stream: &mut Stream, preamble: &Preamble) -> Result<Bytes, Refusal> {
    let broke = |_| Refusal::Broke;
    stream.write_all(&preamble.wire).await.map_err(broke)?;
    let mut scanner = ReplyScanner::new(ReplyLimits::default());
    let mut input = BytesMut::new();
    let mut last = Bytes::new();
    let mut left = preamble.count;
    while left > 0 {
        match scanner.next(&input) {
            Ok(Some(ReplyFrame::Whole { kind, len, .. })) => {
                let reply = input.split_to(len);
                if kind.is_error() {
                    return Err(Refusal::Said(reply.to_vec()));
                }
                last = reply.freeze();
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
        Ok(last)
    } else {
        Err(Refusal::Broke)
    }
}
