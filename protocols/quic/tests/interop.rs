//! Real connections, made by quinn, through the machine: two servers with names of their own behind one address.
//!
//! quinn speaks version 1 alone; version 2 is tested with packets of our own in `steering.rs`.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_quic::steering::{Reply, ServerIdPlace, UnknownReason};
use portcullis_quic::{Steering, SteeringConfig, Target, Verdict};
use portcullis_testkit::VirtualClock;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, ConnectionId, ConnectionIdGenerator, DatagramEvent,
    Dir, Endpoint, EndpointConfig, Event, ServerConfig, StreamEvent, StreamId, TransportConfig,
};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const GATEWAY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 443);

fn client_address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

/// Ids of eight bytes that begin with a zero and the server's number.
#[derive(Debug)]
struct Naming {
    server: u8,
    next: u32,
}

impl ConnectionIdGenerator for Naming {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next += 1;
        let mixed = self.next.wrapping_mul(0x9e37_79b9).to_be_bytes();
        ConnectionId::new(&[&[0, self.server, 0xee, 0xee][..], &mixed].concat())
    }
    fn cid_len(&self) -> usize {
        8
    }
    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// One end: an endpoint and its connections, with what it wants to send.
struct End {
    endpoint: Endpoint,
    connections: HashMap<ConnectionHandle, Connection>,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    uses_retry: bool,
    received: Vec<u8>,
    streams: Vec<(ConnectionHandle, StreamId)>,
    has_connected: bool,
    lost: Option<String>,
}

impl End {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connections: HashMap::new(),
            outbox: VecDeque::new(),
            uses_retry: false,
            received: Vec::new(),
            streams: Vec::new(),
            has_connected: false,
            lost: None,
        }
    }

    fn handle(&mut self, now: Instant, remote: SocketAddr, datagram: &[u8]) {
        let mut buffer = Vec::new();
        let data = BytesMut::from(datagram);
        let event = self
            .endpoint
            .handle(now, remote, None, None, data, &mut buffer);
        match event {
            Some(DatagramEvent::NewConnection(incoming)) => {
                if self.uses_retry && incoming.may_retry() {
                    let transmit = self.endpoint.retry(incoming, &mut buffer).unwrap();
                    self.outbox
                        .push_back((remote, buffer[..transmit.size].to_vec()));
                    return;
                }
                let accepted = self.endpoint.accept(incoming, now, &mut buffer, None);
                let (handle, connection) = accepted.unwrap();
                self.connections.insert(handle, connection);
            }
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                self.connections
                    .get_mut(&handle)
                    .unwrap()
                    .handle_event(event);
            }
            Some(DatagramEvent::Response(transmit)) => {
                self.outbox
                    .push_back((remote, buffer[..transmit.size].to_vec()));
            }
            None => {}
        }
    }

    /// Lets connections do what they have to, and collects what they send.
    fn turn(&mut self, now: Instant) {
        let handles: Vec<_> = self.connections.keys().copied().collect();
        for handle in handles {
            let connection = self.connections.get_mut(&handle).unwrap();
            if connection.poll_timeout().is_some_and(|due| due <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.handle_event(event);
                }
            }
            while let Some(event) = connection.poll() {
                match event {
                    Event::Connected => self.has_connected = true,
                    Event::ConnectionLost { reason } => self.lost = Some(reason.to_string()),
                    Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                        while let Some(stream) = connection.streams().accept(Dir::Uni) {
                            self.streams.push((handle, stream));
                        }
                    }
                    _ => {}
                }
            }
            let mut buffer = Vec::new();
            while let Some(transmit) = connection.poll_transmit(now, 1, &mut buffer) {
                let datagram = buffer[..transmit.size].to_vec();
                self.outbox.push_back((transmit.destination, datagram));
                buffer.clear();
            }
        }
        for &(handle, stream) in &self.streams {
            let connection = self.connections.get_mut(&handle).unwrap();
            let mut stream = connection.recv_stream(stream);
            let Ok(mut chunks) = stream.read(true) else {
                continue;
            };
            while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                self.received.extend_from_slice(&chunk.bytes);
            }
            let _ = chunks.finalize();
        }
    }
}

/// A client, the machine, and two servers.
struct Site {
    clock: VirtualClock,
    steering: Steering,
    client: End,
    client_at: SocketAddr,
    servers: Vec<End>,
    /// Where the gateway sends from: one address for each client address and server, as with sockets of their own.
    flows: HashMap<SocketAddr, (SocketAddr, Target)>,
    verdicts: Vec<String>,
    /// Datagrams of the client that were unknown.
    unknown: Vec<UnknownReason>,
}

const NAMES: [&str; 2] = ["one.example", "two.example"];

impl Site {
    fn new(config: SteeringConfig, groups: Vec<&'static dyn SupportedKxGroup>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let servers = NAMES.iter().enumerate().map(|(number, name)| {
            let certified = rcgen::generate_simple_self_signed([(*name).to_owned()]).unwrap();
            let certificate = certified.cert.der().clone();
            roots.add(certificate.clone()).unwrap();
            let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
            server(number as u8, certificate, key)
        });
        let servers = servers.collect();
        let provider = CryptoProvider {
            kx_groups: groups,
            ..aws_lc_rs::default_provider()
        };
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let tls = QuicClientConfig::try_from(tls).unwrap();
        let client_config = ClientConfig::new(Arc::new(tls));
        let mut client = Endpoint::new(Arc::new(EndpointConfig::default()), None, true, None);
        let clock = VirtualClock::new();
        let connected = client.connect(clock.now(), client_config, GATEWAY, NAMES[1]);
        let (handle, connection) = connected.unwrap();
        let mut client = End::new(client);
        client.connections.insert(handle, connection);
        Self {
            clock,
            steering: Steering::new(config, 1),
            client,
            client_at: client_address(1000),
            servers,
            flows: HashMap::new(),
            verdicts: Vec::new(),
            unknown: Vec::new(),
        }
    }

    fn forward(&mut self, from: SocketAddr, target: Target, datagram: &[u8]) {
        let port = 10_000 + target.0 as u16 * 10_000 + from.port();
        let flow = SocketAddr::from(([10, 0, 0, 1], port));
        self.flows.insert(flow, (from, target));
        self.servers[target.0 as usize].handle(self.clock.now(), flow, datagram);
    }

    fn on_client(&mut self, datagram: &[u8]) {
        let (now, from) = (self.clock.now(), self.client_at);
        let verdict = self
            .steering
            .on_client(now, from, datagram, &mut BytesMut::new());
        self.steering.check_invariants();
        match verdict {
            Verdict::To(target) => {
                self.verdicts.push(format!("to {}", target.0));
                self.forward(from, target, datagram);
            }
            Verdict::Held => self.verdicts.push("held".to_owned()),
            Verdict::Opening(opening) => {
                let name = opening.hello.server_name().unwrap().to_owned();
                assert!(opening.hello.alpn().eq([b"h3"]));
                self.verdicts.push(format!("opening {name}"));
                let at = NAMES.iter().position(|known| *known == name).unwrap();
                let target = Target(at as u64);
                for datagram in self.steering.assign(now, opening.id, target) {
                    self.forward(from, target, &datagram);
                }
            }
            Verdict::Unknown(reason) => self.unknown.push(reason),
            Verdict::Answer | Verdict::Drop(_) => panic!("{verdict:?}"),
        }
    }

    fn on_server(&mut self, target: Target, flow: SocketAddr, datagram: &[u8]) {
        let now = self.clock.now();
        let (client, expected) = self.flows[&flow];
        assert_eq!(expected, target);
        let reply = self.steering.on_server(now, target, client, datagram);
        assert_eq!(reply, Reply::Send);
        if client == self.client_at {
            self.client.handle(now, GATEWAY, datagram);
        }
    }

    /// Runs until `is_done`, at most a minute of its own time.
    fn run(&mut self, mut is_done: impl FnMut(&Self) -> bool) {
        for _ in 0..12_000 {
            let now = self.clock.now();
            self.client.turn(now);
            while let Some((_, datagram)) = self.client.outbox.pop_front() {
                self.on_client(&datagram);
            }
            for target in 0..self.servers.len() {
                self.servers[target].turn(now);
                while let Some((flow, datagram)) = self.servers[target].outbox.pop_front() {
                    self.on_server(Target(target as u64), flow, &datagram);
                }
            }
            if is_done(self) {
                return;
            }
            self.clock.advance(Duration::from_millis(5));
        }
        panic!(
            "not done: {:?} {:?} lost {:?}",
            self.verdicts, self.unknown, self.client.lost
        );
    }

    fn connection(&mut self) -> &mut Connection {
        self.client.connections.values_mut().next().unwrap()
    }

    fn send(&mut self, bytes: &[u8]) {
        let connection = self.connection();
        let stream = connection.streams().open(Dir::Uni).unwrap();
        let mut stream = connection.send_stream(stream);
        assert_eq!(stream.write(bytes), Ok(bytes.len()));
        stream.finish().unwrap();
    }
}

fn server(number: u8, certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> End {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let tls = QuicServerConfig::try_from(tls).unwrap();
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(TransportConfig::default()));
    let mut endpoint = EndpointConfig::default();
    endpoint.cid_generator(move || {
        Box::new(Naming {
            server: number,
            next: 0,
        })
    });
    End::new(Endpoint::new(
        Arc::new(endpoint),
        Some(Arc::new(config)),
        true,
        None,
    ))
}

fn is_connected(site: &Site) -> bool {
    site.client.has_connected && site.servers[1].has_connected
}

#[test]
fn a_post_quantum_hello_in_two_datagrams_finds_its_server() {
    let groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
    ];
    let mut site = Site::new(SteeringConfig::default(), groups);
    site.run(is_connected);
    assert_eq!(site.verdicts[..3], ["held", "opening two.example", "to 1"]);
    assert!(site.servers[0].connections.is_empty());
    assert!(site.steering.is_validated(site.client_at));
    site.send(b"through the gate");
    site.run(|site| site.servers[1].received == b"through the gate");
    assert_eq!(site.unknown, []);
}

#[test]
fn a_hello_in_one_datagram_finds_its_server() {
    let groups = vec![aws_lc_rs::kx_group::X25519];
    let mut site = Site::new(SteeringConfig::default(), groups);
    site.run(is_connected);
    assert_eq!(site.verdicts[..2], ["opening two.example", "to 1"]);
    assert_eq!(site.unknown, []);
}

#[test]
fn a_retry_is_followed() {
    let groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    let mut site = Site::new(SteeringConfig::default(), groups);
    site.servers[1].uses_retry = true;
    site.run(is_connected);
    assert_eq!(
        site.verdicts[..4],
        ["held", "opening two.example", "to 1", "to 1"]
    );
    assert_eq!(site.unknown, []);
}

/// Its NAT gives it another port; the client does not notice, and keeps its id.
#[test]
fn a_client_whose_address_changes_stays_with_its_server() {
    let groups = vec![aws_lc_rs::kx_group::X25519];
    let mut site = Site::new(SteeringConfig::default(), groups);
    site.run(is_connected);
    for (round, port) in [2000, 3000].into_iter().enumerate() {
        site.client_at = client_address(port);
        site.send(b"here");
        site.run(|site| site.servers[1].received.len() == 4 * (round + 1));
        // The server has validated the new path, and large answers pass.
        assert!(site.steering.is_validated(site.client_at));
        site.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(site.unknown, []);
}

/// The client moves on purpose, and takes an id that it was told in secret.
#[test]
fn a_client_that_moves_is_known_by_the_server_in_its_id() {
    let place = ServerIdPlace {
        offset: 1,
        length: 3,
    };
    for server_id in [None, Some(place)] {
        let config = SteeringConfig {
            server_id,
            ..SteeringConfig::default()
        };
        let mut site = Site::new(config, vec![aws_lc_rs::kx_group::X25519]);
        site.run(is_connected);
        // The server's other ids have come.
        for _ in 0..10 {
            site.run(|_| true);
            site.clock.advance(Duration::from_millis(5));
        }
        site.client_at = client_address(2000);
        site.connection().local_address_changed();
        site.send(b"moved");
        if server_id.is_some() {
            site.run(|site| site.servers[1].received == b"moved");
            assert_eq!(site.unknown, []);
        } else {
            // Without that nobody on the path can know, and the listener's policy decides.
            site.run(|site| !site.unknown.is_empty());
            assert_eq!(site.unknown[0], UnknownReason::Connection);
        }
    }
}
