//! Clients, servers and strangers around the machine: each connection reaches its server, and nobody is flooded.
//!
//! Every client wants a server by name, says so in a ClientHello in any pieces, and goes on with the id that its server tells it;
//! datagrams are lost, doubled, changed and overtaken, clients move, strangers send what they like. Laws: what belongs to a
//! connection goes to its server or is said to be unknown; an address from which nobody has used a server's id is
//! sent no more than three times what came from it; bounds hold. Choices come from a seed or from a fuzzer's bytes.
//! Start at [`run`].

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_quic::steering::{Reply, ServerIdPlace, UnknownVersion};
use portcullis_quic::{
    ConnectionId, Invariants, LongKind, Steering, SteeringConfig, SteeringLimits, Target, Verdict,
    Version,
};
use portcullis_testkit::{Choices, VirtualClock};

use super::support::{Flight, hello, id, short};

const CLIENTS: usize = 6;
const SERVERS: usize = 3;
const ADDRESSES: usize = 12;
/// More than any of them answers with before the client has proved itself, if the machine let it.
const GENEROUS: usize = 6;

struct Client {
    flight: Flight,
    server: usize,
    at: SocketAddr,
    first: Vec<Vec<u8>>,
    /// What the server is called by it, once it has heard so.
    told: Option<ConnectionId>,
    /// Whether the machine has seen it use that.
    is_established: bool,
    /// When it did so last, in a packet that counts wherever it comes from.
    heard: Option<Instant>,
}

/// Something on its way.
enum Wire {
    ToGateway {
        from: SocketAddr,
        bytes: Vec<u8>,
        client: Option<usize>,
    },
    FromServer {
        to: SocketAddr,
        bytes: Vec<u8>,
        client: usize,
    },
}

struct Site<'a> {
    choices: Choices<'a>,
    clock: VirtualClock,
    steering: Steering,
    limits: SteeringLimits,
    /// Whether no table can overflow, so that what is known stays known.
    is_roomy: bool,
    clients: Vec<Client>,
    wire: Vec<Wire>,
    server_ids: HashSet<ConnectionId>,
    next_server_id: u32,
    received: HashMap<SocketAddr, u64>,
    sent: HashMap<SocketAddr, u64>,
    /// Addresses from which a server's id was used.
    proved: HashSet<SocketAddr>,
    delivered: usize,
}

/// What came of a run.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Clients whose server has heard all that they said.
    pub established: usize,
    /// Datagrams that went to a server.
    pub delivered: usize,
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 1000 + number as u16))
}

fn name(server: usize) -> String {
    format!("s{server}.example")
}

/// Plays so many steps, or until there is nothing left to choose by.
pub fn run(choices: Choices<'_>, steps: usize) -> Outcome {
    let mut site = Site::new(choices);
    for step in 0..steps {
        if site.choices.is_over() {
            break;
        }
        site.step();
        site.check();
        // It looks at everything, which takes longer than all the rest.
        if step % 16 == 0 {
            site.steering.check_invariants();
        }
    }
    site.steering.check_invariants();
    Outcome {
        established: site
            .clients
            .iter()
            .filter(|client| client.is_established)
            .count(),
        delivered: site.delivered,
    }
}

fn small(limits: &mut SteeringLimits) {
    limits.connections = 3;
    limits.openings = 3;
    limits.addresses = 3;
    limits.unvalidated = 3;
    limits.handshakes = 2;
    limits.server_ids = 2;
    limits.holds = 2;
    limits.held_bytes = 8000;
    limits.held_datagrams = 3;
    limits.negotiations = 2;
    limits.hello.crypto.pieces = 4;
}

impl<'a> Site<'a> {
    fn new(mut choices: Choices<'a>) -> Self {
        let mut config = SteeringConfig::default();
        let is_roomy = !choices.once_in(3);
        if !is_roomy {
            small(&mut config.limits);
        }
        config.unknown_version = choices.of(&[
            UnknownVersion::Drop,
            UnknownVersion::Route,
            UnknownVersion::Negotiate,
        ]);
        if choices.once_in(2) {
            config.server_id = Some(ServerIdPlace {
                offset: 1,
                length: 2,
            });
        }
        let mut site = Self {
            choices,
            clock: VirtualClock::new(),
            steering: Steering::new(config, 3),
            limits: config.limits,
            is_roomy,
            clients: Vec::new(),
            wire: Vec::new(),
            server_ids: HashSet::new(),
            next_server_id: 0,
            received: HashMap::new(),
            sent: HashMap::new(),
            proved: HashSet::new(),
            delivered: 0,
        };
        for number in 0..CLIENTS {
            let client = site.client(number);
            site.clients.push(client);
        }
        site
    }

    fn client(&mut self, number: usize) -> Client {
        let server = self.choices.below(SERVERS);
        let mut flight = Flight::numbered(number as u64);
        flight.version = self.choices.of(&Version::READ);
        let padding = self.choices.of(&[0, 700, 1500]);
        let message = hello(&name(server), &["h3"], padding);
        let piece = self.choices.of(&[1000, 400, 120]);
        Client {
            first: flight.datagrams(&message, piece),
            flight,
            server,
            at: address(number),
            told: None,
            is_established: false,
            heard: None,
        }
    }

    fn step(&mut self) {
        match self.choices.below(16) {
            0..=3 => self.client_speaks(),
            4..=9 => self.deliver(),
            10 => self.lose(),
            11 => self.double(),
            12 => self.client_moves(),
            13 => self.stranger(),
            14 => self.change(),
            _ => self.wait(),
        }
    }

    fn client_speaks(&mut self) {
        let number = self.choices.below(CLIENTS);
        let client = &self.clients[number];
        let from = client.at;
        let datagrams = match client.told {
            None => client.first.clone(),
            Some(told) if !client.is_established => {
                let to = client.flight.with(told);
                vec![to.opaque(LongKind::Handshake, 60)]
            }
            Some(told) => vec![short(told, 40 + self.choices.below(60))],
        };
        for bytes in datagrams {
            self.wire.push(Wire::ToGateway {
                from,
                bytes,
                client: Some(number),
            });
        }
    }

    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.choices.below(self.wire.len());
        match self.wire.swap_remove(at) {
            Wire::ToGateway {
                from,
                bytes,
                client,
            } => self.on_client(from, &bytes, client),
            Wire::FromServer { to, bytes, client } => self.on_server(to, &bytes, client),
        }
    }

    fn lose(&mut self) {
        if !self.wire.is_empty() {
            let at = self.choices.below(self.wire.len());
            self.wire.swap_remove(at);
        }
    }

    fn double(&mut self) {
        let count = self.wire.len();
        if (1..200).contains(&count) {
            let at = self.choices.below(count);
            if let Wire::ToGateway {
                from,
                bytes,
                client,
            } = &self.wire[at]
            {
                let again = Wire::ToGateway {
                    from: *from,
                    bytes: bytes.clone(),
                    client: *client,
                };
                self.wire.push(again);
            }
        }
    }

    /// Also how an address is spoofed: what was sent there before stays on its way.
    fn client_moves(&mut self) {
        let number = self.choices.below(CLIENTS);
        let to = address(self.choices.below(ADDRESSES));
        // Before a connection is confirmed no client moves on purpose, but a NAT may do it.
        if self.clients[number].is_established || self.choices.once_in(4) {
            self.clients[number].at = to;
        }
    }

    fn stranger(&mut self) {
        let from = address(self.choices.below(ADDRESSES));
        let mut bytes = self.choices.bytes();
        match self.choices.below(5) {
            0 => {}
            1 => {
                // A version that nobody reads, large enough to be answered.
                let flight = Flight {
                    version: Version(0xdada_dada),
                    ..Flight::numbered(100)
                };
                bytes = flight.opaque(LongKind::Initial, 1200);
            }
            2 => {
                // A hello that is none.
                bytes.truncate(1000);
                bytes = Flight::numbered(101).initial(0, &bytes, 1200);
            }
            3 => {
                // To nobody.
                bytes = Flight::numbered(102).opaque(LongKind::Handshake, 30);
            }
            _ => bytes.insert(0, 0x40),
        }
        self.on_client(from, &bytes, None);
    }

    /// A datagram that was damaged, or that somebody changed.
    fn change(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let at = self.choices.below(self.wire.len());
        if let Wire::ToGateway {
            from,
            bytes,
            client: Some(_),
        } = &self.wire[at]
        {
            let (from, mut bytes) = (*from, bytes.clone());
            let place = self.choices.below(bytes.len());
            bytes[place] ^= 1 << self.choices.below(8);
            self.on_client(from, &bytes, None);
        }
    }

    fn wait(&mut self) {
        let seconds = self.choices.of(&[0, 0, 1, 1, 3]);
        let now = self
            .clock
            .advance(Duration::from_millis(10 + 1000 * seconds));
        self.steering.handle_timeout(now);
        if let Some(due) = self.steering.poll_timeout() {
            assert!(due > now, "something was to be forgotten");
        }
    }

    fn uses_server_id(&self, bytes: &[u8]) -> bool {
        let known =
            |bytes: &[u8]| ConnectionId::new(bytes).is_some_and(|id| self.server_ids.contains(&id));
        if let Ok(Some(header)) = Invariants::of(bytes) {
            return known(header.destination);
        }
        let behind = bytes.get(1..).unwrap_or_default();
        let by_id = (1..=20).any(|length| behind.get(..length).is_some_and(known));
        // A server's name is enough, where it has one.
        let is_named = |id: &ConnectionId| behind.get(1..3) == id.as_slice().get(1..3);
        by_id || self.server_ids.iter().any(is_named)
    }

    fn on_client(&mut self, from: SocketAddr, bytes: &[u8], client: Option<usize>) {
        let now = self.clock.now();
        let mut out = BytesMut::new();
        if self.uses_server_id(bytes) {
            self.proved.insert(from);
        }
        *self.received.entry(from).or_default() += bytes.len() as u64;
        let is_short = bytes.first().is_some_and(|first| first & 0x80 == 0);
        // What was silent for long may be forgotten, and what nobody has proved, sooner.
        let heard = client.and_then(|number| self.clients[number].heard);
        let knew = heard.is_some_and(|heard| now < heard + self.limits.connection_idle);
        let verdict = self.steering.on_client(now, from, bytes, &mut out);
        match verdict {
            Verdict::To(target) => self.forward(from, target, bytes, client),
            Verdict::Opening(opening) => {
                let wanted = opening.hello.server_name().unwrap();
                let server = (0..SERVERS).find(|server| name(*server) == wanted).unwrap();
                if let Some(number) = client {
                    assert_eq!(server, self.clients[number].server, "another's hello");
                }
                if self.choices.once_in(8) {
                    self.steering.refuse(opening.id);
                    return;
                }
                let target = Target(server as u64);
                for held in self.steering.assign(now, opening.id, target) {
                    self.forward(from, target, &held, client);
                }
            }
            Verdict::Answer => {
                assert!(!out.is_empty() && out.len() < bytes.len(), "{}", out.len());
            }
            Verdict::Held | Verdict::Drop(_) => assert!(out.is_empty()),
            Verdict::Unknown(reason) => {
                assert!(out.is_empty());
                assert!(
                    !(self.is_roomy && knew && is_short),
                    "an open connection is {}",
                    reason.label()
                );
            }
        }
    }

    fn forward(&mut self, from: SocketAddr, target: Target, bytes: &[u8], client: Option<usize>) {
        self.delivered += 1;
        let now = self.clock.now();
        let Some(number) = client else {
            return;
        };
        let client = &mut self.clients[number];
        assert_eq!(target, Target(client.server as u64), "another's server");
        let flight = client.flight;
        let is_long = bytes[0] & 0x80 != 0;
        if client
            .told
            .is_some_and(|told| !is_long || bytes[6..].starts_with(told.as_slice()))
        {
            client.is_established = true;
            if !is_long {
                client.heard = Some(now);
            }
            let bytes = short(flight.source, 1200);
            self.push(from, bytes, number);
            return;
        }
        let server_id = self.server_id(target);
        for _ in 0..self.choices.below(GENEROUS) {
            let kind = self.choices.of(&[LongKind::Initial, LongKind::Handshake]);
            let bytes = flight.answer(server_id, kind, 1160);
            self.push(from, bytes, number);
        }
        if self.choices.once_in(3) {
            self.push(from, short(flight.source, 1200), number);
        }
    }

    fn push(&mut self, to: SocketAddr, bytes: Vec<u8>, client: usize) {
        if self.wire.len() < 300 {
            self.wire.push(Wire::FromServer { to, bytes, client });
        }
    }

    /// A new id of a server, which has its name in it. Each server has ids of a length of its own.
    fn server_id(&mut self, target: Target) -> ConnectionId {
        self.next_server_id += 1;
        let mut bytes = vec![0x80, 0xe0, target.0 as u8];
        bytes.extend(self.next_server_id.to_be_bytes());
        bytes.resize(8 + 6 * target.0 as usize, 0x11);
        let server_id = id(&bytes);
        self.server_ids.insert(server_id);
        server_id
    }

    fn on_server(&mut self, to: SocketAddr, bytes: &[u8], client: usize) {
        let now = self.clock.now();
        let target = Target(self.clients[client].server as u64);
        if self.steering.on_server(now, target, to, bytes) != Reply::Send {
            return;
        }
        *self.sent.entry(to).or_default() += bytes.len() as u64;
        let client = &mut self.clients[client];
        let Ok(Some(header)) = Invariants::of(bytes) else {
            return;
        };
        assert_eq!(
            header.destination,
            client.flight.source.as_slice(),
            "another's answer"
        );
        // What is sent to where the client was is lost; of several ids the first counts.
        if to == client.at && client.told.is_none() {
            client.told = ConnectionId::new(header.source);
        }
    }

    fn check(&mut self) {
        let counts = self.steering.counts();
        let limits = &self.limits;
        assert!(counts.connection_ids <= limits.connections + limits.openings);
        assert!(counts.addresses <= limits.addresses + limits.unvalidated);
        assert!(counts.server_ids <= limits.server_ids);
        assert!(counts.holds <= limits.holds);
        assert!(counts.held_bytes <= limits.held_bytes);
        for number in 0..ADDRESSES {
            let address = address(number);
            if self.proved.contains(&address) {
                continue;
            }
            assert!(
                !self.steering.is_validated(address),
                "{address} proved nothing"
            );
            let count =
                |table: &HashMap<SocketAddr, u64>| table.get(&address).copied().unwrap_or(0);
            let (sent, received) = (count(&self.sent), count(&self.received));
            assert!(
                sent <= 3 * received,
                "{address} was sent {sent} for {received}"
            );
        }
    }
}
