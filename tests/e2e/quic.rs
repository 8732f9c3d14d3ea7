//! QUIC that is routed and not ended: real clients and servers, whose packets only the gateway's rules can tell apart.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use harness::tls::Authority;
use harness::udp::{UdpClient, UdpOrigin};
use harness::{CEILING, Gateway, eventually};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use tokio::runtime::Runtime;

const ENDED: &str = "portcullis_udp_flows_ended_total";
const REFUSED: &str = "portcullis_udp_flows_refused_total";
const DROPPED: &str = "portcullis_udp_datagrams_dropped_total";
const ALPN: &[u8] = b"name";

/// A server that says its name on every stream.
struct Server {
    address: SocketAddr,
    _runtime: Runtime,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

impl Server {
    /// Its connection ids name it in their second byte, which means nothing to a gateway that is not told.
    fn start(authority: &Authority, name: &'static str, says: &'static str) -> Self {
        let mut tls = authority.issue(&[name]).server();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let runtime = runtime();
        let number = says.as_bytes()[0];
        let mut of_endpoint = quinn::EndpointConfig::default();
        of_endpoint.cid_generator(move || Box::new(Named(number, 0)));
        let endpoint = {
            let _inside = runtime.enter();
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let runtime = Arc::new(quinn::TokioRuntime);
            quinn::Endpoint::new(of_endpoint, Some(config), socket, runtime).unwrap()
        };
        let address = endpoint.local_addr().unwrap();
        #[allow(clippy::disallowed_methods)] // a thread of the test's own
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else {
                        return;
                    };
                    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                        let asked = receive.read_to_end(1 << 20).await.unwrap_or_default();
                        let _ = send.write_all(says.as_bytes()).await;
                        let _ = send.write_all(&asked).await;
                        let _ = send.finish();
                    }
                });
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

/// Connection ids of eight bytes: one that counts, the server's number, and more that count.
struct Named(u8, u64);

impl quinn::ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        self.1 += 1;
        let mut id = self.1.to_le_bytes();
        id[7] = id[1];
        id[1] = self.0;
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// What is between a client and the gateway, and may give the client another address without its knowing.
struct Nat {
    address: SocketAddr,
    outside: Arc<std::sync::Mutex<Arc<UdpSocket>>>,
    to: SocketAddr,
    inside: Arc<UdpSocket>,
    client: Arc<std::sync::Mutex<Option<SocketAddr>>>,
}

impl Nat {
    fn start(to: SocketAddr) -> Self {
        let inside = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let nat = Self {
            address: inside.local_addr().unwrap(),
            outside: Arc::new(std::sync::Mutex::new(Arc::new(
                UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            ))),
            to,
            inside,
            client: Arc::default(),
        };
        nat.forget();
        let (inside, outside) = (Arc::clone(&nat.inside), Arc::clone(&nat.outside));
        let client = Arc::clone(&nat.client);
        thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = inside.recv_from(&mut buffer) {
                *client.lock().unwrap() = Some(from);
                let outside = Arc::clone(&outside.lock().unwrap());
                let _ = outside.send_to(&buffer[..length], to);
            }
        });
        nat
    }

    /// From now on the client has another address, outside.
    fn forget(&self) {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        *self.outside.lock().unwrap() = Arc::clone(&socket);
        let (inside, client) = (Arc::clone(&self.inside), Arc::clone(&self.client));
        let to = self.to;
        thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let client = *client.lock().unwrap();
                if let Some(client) = client.filter(|_| from == to) {
                    let _ = inside.send_to(&buffer[..length], client);
                }
            }
        });
    }
}

/// A client with one connection.
struct Client {
    runtime: Runtime,
    endpoint: quinn::Endpoint,
    connection: quinn::Connection,
}

impl Client {
    fn connect(authority: &Authority, to: SocketAddr, name: &str) -> Result<Self, String> {
        Self::connect_with(authority, to, name, quinn::TransportConfig::default())
    }

    fn connect_with(
        authority: &Authority,
        to: SocketAddr,
        name: &str,
        transport: quinn::TransportConfig,
    ) -> Result<Self, String> {
        let runtime = runtime();
        let endpoint = {
            let _inside = runtime.enter();
            quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
        };
        let config = client_config(authority, transport);
        let connection = runtime.block_on(async {
            let connecting = endpoint.connect_with(config, to, name).unwrap();
            connecting.await.map_err(|error| error.to_string())
        })?;
        Ok(Self {
            runtime,
            endpoint,
            connection,
        })
    }

    /// What the server answers.
    fn ask(&self, text: &[u8]) -> Vec<u8> {
        let asking = async {
            let (mut send, mut receive) = self.connection.open_bi().await?;
            send.write_all(text).await?;
            send.finish()?;
            Ok::<_, Box<dyn std::error::Error>>(receive.read_to_end(1 << 21).await?)
        };
        let asked = self.runtime.block_on(async {
            tokio::time::timeout(CEILING, asking)
                .await
                .expect("an answer in time")
        });
        asked.unwrap()
    }

    /// Goes on from another port without a word.
    fn move_away(&self) {
        let _inside = self.runtime.enter();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        self.endpoint.rebind(socket).unwrap();
    }
}

fn client_config(authority: &Authority, transport: quinn::TransportConfig) -> quinn::ClientConfig {
    let mut tls = authority.client(None);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    config
}

/// A gateway in front of two servers with names of their own, and two of one name.
struct World {
    authority: Authority,
    servers: Vec<Server>,
    gateway: Gateway,
}

impl World {
    fn start(keys: &str) -> Self {
        let authority = Authority::new("quic");
        let servers = vec![
            Server::start(&authority, "a.test", "a"),
            Server::start(&authority, "b.test", "b"),
            Server::start(&authority, "both.test", "1"),
            Server::start(&authority, "both.test", "2"),
        ];
        let at = |index: usize| servers[index].address;
        let gateway = Gateway::start(&format!(
            "runtime: {{ workers: {{ count: 2 }} }}\n\
             listeners:\n  quic:\n    listen: udp://127.0.0.1:0\n    protocol: quic\n    {keys}\n    routes:\n\
             \x20     - match: {{ sni: a.test }}\n        cluster: a\n\
             \x20     - match: {{ sni: b.test, alpn: name }}\n        cluster: b\n\
             \x20     - match: {{ sni: both.test }}\n        cluster: both\n\
             clusters:\n  a: {{ endpoints: ['{}'] }}\n  b: {{ endpoints: ['{}'] }}\n\
             \x20 both: {{ endpoints: ['{}', '{}'], balance: round_robin }}\n",
            at(0),
            at(1),
            at(2),
            at(3),
        ));
        Self {
            authority,
            servers,
            gateway,
        }
    }

    #[track_caller]
    fn client(&self, name: &str) -> Client {
        Client::connect(&self.authority, self.gateway.addr("quic"), name).unwrap()
    }
}

#[test]
fn names_lead_to_their_servers() {
    let world = World::start("idle_timeout: 30s");
    let (a, b) = (world.client("a.test"), world.client("b.test"));
    assert_eq!(a.ask(b" hears"), b"a hears");
    assert_eq!(b.ask(b" hears"), b"b hears");
    // Large both ways, over batches and runs.
    let large = vec![b'x'; 900_000];
    assert_eq!(a.ask(&large).len(), large.len() + 1);
    assert_eq!(b.ask(b""), b"b");
    assert_eq!(world.servers.len(), 4);
}

/// A post-quantum ClientHello does not fit into one datagram: the first is held until the second has come.
#[test]
fn a_client_hello_over_two_datagrams_is_read() {
    let world = World::start("");
    let hello = Client::connect(&world.authority, world.gateway.addr("quic"), "b.test").unwrap();
    assert_eq!(hello.ask(b""), b"b");
}

/// Where connection ids name their server, a client that changes its address and its id at once stays there, whichever of the
/// workers has the new address.
#[test]
fn a_client_that_changes_its_address_stays_with_its_server() {
    let world = World::start("server_id: { offset: 1, length: 1 }");
    let clients: Vec<_> = (0..6).map(|_| world.client("both.test")).collect();
    let before: Vec<_> = clients.iter().map(|client| client.ask(b"")).collect();
    assert!(before.contains(&b"1".to_vec()) && before.contains(&b"2".to_vec()));
    for round in 0..4 {
        for (client, before) in clients.iter().zip(&before) {
            client.move_away();
            assert_eq!(&client.ask(b""), before, "{round}");
        }
    }
    let opened = world
        .gateway
        .stats()
        .counter("portcullis_udp_flows_total", &[]);
    assert!(opened >= 30, "each address is a flow of its own: {opened}");
}

/// Where a client does not know that its address has changed, its id stays, and leads to its server.
#[test]
fn a_client_whose_nat_forgets_it_stays_with_its_server() {
    let world = World::start("");
    let nats: Vec<_> = (0..6)
        .map(|_| Nat::start(world.gateway.addr("quic")))
        .collect();
    let clients: Vec<_> = nats
        .iter()
        .map(|nat| Client::connect(&world.authority, nat.address, "both.test").unwrap())
        .collect();
    let before: Vec<_> = clients.iter().map(|client| client.ask(b"")).collect();
    assert!(before.contains(&b"1".to_vec()) && before.contains(&b"2".to_vec()));
    for round in 0..2 {
        for ((nat, client), before) in nats.iter().zip(&clients).zip(&before) {
            nat.forget();
            assert_eq!(&client.ask(b""), before, "{round}");
        }
    }
}

/// Several connections over one socket, to servers with different names.
#[test]
fn one_socket_speaks_with_several_servers() {
    let world = World::start("");
    let first = world.client("a.test");
    let to = world.gateway.addr("quic");
    let config = client_config(&world.authority, quinn::TransportConfig::default());
    let connect = |name: &str| {
        first.runtime.block_on(async {
            let connecting = first
                .endpoint
                .connect_with(config.clone(), to, name)
                .unwrap();
            connecting.await.unwrap()
        })
    };
    for (name, says) in [("b.test", "b"), ("a.test", "a"), ("b.test", "b")] {
        let connection = connect(name);
        let answer = first.runtime.block_on(async {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.finish().unwrap();
            receive.read_to_end(9).await.unwrap()
        });
        assert_eq!(answer, says.as_bytes());
        assert_eq!(first.ask(b""), b"a");
    }
}

#[test]
fn a_name_without_a_route_goes_nowhere_and_nobody_else_notices() {
    let world = World::start("");
    let neighbour = world.client("a.test");
    let to = world.gateway.addr("quic");
    let mut transport = quinn::TransportConfig::default();
    let soon = std::time::Duration::from_millis(500);
    transport.max_idle_timeout(Some(soon.try_into().unwrap()));
    let refused = Client::connect_with(&world.authority, to, "c.test", transport).err();
    assert_eq!(refused.as_deref(), Some("timed out"));
    let labels = [("direction", "up"), ("reason", "no_route")];
    world
        .gateway
        .wait_stat(DROPPED, &labels, |count| count >= 1);
    assert_eq!(neighbour.ask(b""), b"a");
}

/// Q8: what is no QUIC, of an unknown version, or of a connection that nobody knows.
#[test]
fn q8_unknown_packets_are_dropped_routed_or_answered() {
    // An unknown version, in a datagram of the size of an Initial; a short header; Version Negotiation; nothing.
    let mut version = vec![0xc0, 0xfa, 0xce, 0xb0, 0x0c, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    version.resize(1200, 0);
    let short = [0x40; 60];
    let mut negotiation = version.clone();
    negotiation[1..5].fill(0);

    let world = World::start("");
    let client = UdpClient::connect(world.gateway.addr("quic"));
    let dropped = |reason, count: u64| {
        let labels = [("direction", "up"), ("reason", reason)];
        world
            .gateway
            .wait_stat(DROPPED, &labels, |found| found == count);
    };
    client.send(&version);
    dropped("quic_unknown_version", 1);
    client.send(short);
    dropped("quic_unknown_connection", 1);
    client.send(&negotiation);
    dropped("quic_not_for_servers", 1);
    client.send("");
    dropped("quic_empty", 1);
    assert!(client.is_silent());
    assert_eq!(world.client("a.test").ask(b""), b"a");

    let answering = World::start("unknown_versions: negotiate");
    let client = UdpClient::connect(answering.gateway.addr("quic"));
    let answer = client.ask(&version);
    assert!(answer.len() < version.len());
    assert_eq!(answer[1..5], [0; 4], "Version Negotiation");
    assert!(answer.windows(4).any(|version| version == [0, 0, 0, 1]));
    // Too small to be answered, and an answer.
    client.send(&version[..200]);
    client.send(&negotiation);
    assert_eq!(answering.client("b.test").ask(b""), b"b");
    assert!(client.is_silent());

    let origin = UdpOrigin::echo();
    let routing = Gateway::start(&format!(
        "listeners:\n  quic:\n    listen: udp://127.0.0.1:0\n    protocol: quic\n    unknown_versions: route\n\
         \x20   unreadable: route\n    cluster: any\nclusters:\n  any: {{ endpoints: ['{}'] }}\n",
        origin.address()
    ));
    let client = UdpClient::connect(routing.addr("quic"));
    client.send(&version);
    client.send(short);
    origin.wait_received(2);
    assert_eq!(origin.datagrams(), [version, short.to_vec()]);
}

/// Q1: a server says much to an address that has proved nothing: three times of what came, whatever it sends.
#[test]
fn q1_an_address_that_proved_nothing_is_not_flooded() {
    let origin = UdpOrigin::answering(|socket, from, datagram| {
        // As a server would: long headers, its own id, the client's.
        let mut answer = vec![0xe0, 0, 0, 0, 1, 0, 8, 9, 9, 9, 9, 9, 9, 9, 9];
        answer.resize(datagram.len(), 0);
        for _ in 0..10 {
            let _ = socket.send_to(&answer, from);
        }
    });
    let gateway = Gateway::start(&format!(
        "listeners:\n  quic:\n    listen: udp://127.0.0.1:0\n    protocol: quic\n    unknown_versions: route\n    cluster: any\n\
         clusters:\n  any: {{ endpoints: ['{}'] }}\n",
        origin.address()
    ));
    let mut first = vec![0xc0, 0xfa, 0xce, 0xb0, 0x0c, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    first.resize(1200, 0);
    let victim = UdpClient::connect(gateway.addr("quic"));
    victim.send(&first);
    let labels = [("direction", "down"), ("reason", "quic_amplification")];
    gateway.wait_stat(DROPPED, &labels, |count| count == 7);
    for _ in 0..3 {
        assert_eq!(victim.receive().len(), 1200);
    }
    assert!(victim.is_silent());
}

/// Q2, Q9: Initials that never end, from many addresses, leave bounds full and clients served.
#[test]
fn q2_a_flood_of_beginnings_harms_nobody() {
    let world = World::start("limits: { flows: 50 }");
    let neighbour = world.client("a.test");
    let mut half = vec![
        0xc3, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x44, 0x90,
    ];
    half.resize(1200, 7);
    for number in 0..2000_u64 {
        half[6..14].copy_from_slice(&number.to_be_bytes());
        let from = (Ipv4Addr::new(127, 0, 0, (number % 200 + 2) as u8), 0);
        let socket = UdpSocket::bind(from).unwrap();
        socket.send_to(&half, world.gateway.addr("quic")).unwrap();
        if number % 100 == 0 {
            assert_eq!(neighbour.ask(b""), b"a");
        }
    }
    let labels = [("direction", "up"), ("reason", "quic_undecryptable")];
    world
        .gateway
        .wait_stat(DROPPED, &labels, |count| count >= 1000);
    assert_eq!(world.client("b.test").ask(b""), b"b");
    assert_eq!(world.gateway.stats().counter(REFUSED, &[]), 0);
}

#[test]
fn a_reload_keeps_connections_and_changes_routes() {
    let world = World::start("");
    let kept = world.client("a.test");
    assert_eq!(kept.ask(b""), b"a");
    let config = std::fs::read_to_string(world.gateway.config_path()).unwrap();
    let swapped = config
        .replace("sni: a.test", "sni: x.test")
        .replace(
            "match: { sni: both.test }",
            "match: { sni: [both.test, a.test] }",
        )
        .replace("cluster: both\n", "cluster: a\n");
    let reloaded = world
        .gateway
        .reload(&swapped.replace("  both: {", "  unused: {"));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(kept.ask(b""), b"a");
    assert_eq!(world.client("a.test").ask(b""), b"a");
}

/// F2: a server that dies takes its own connections only; its flows hear of it by ICMP.
#[test]
fn f2_a_server_that_dies_takes_its_own_connections() {
    let mut world = World::start("");
    let (a, b) = (world.client("a.test"), world.client("b.test"));
    assert_eq!(a.ask(b""), b"a");
    drop(world.servers.remove(0));
    eventually("the flow ends", || {
        let closing = async {
            if let Ok((mut send, _)) = a.connection.open_bi().await {
                let _ = send.write_all(b"?").await;
            }
        };
        let soon = std::time::Duration::from_millis(50);
        let _ = a
            .runtime
            .block_on(async { tokio::time::timeout(soon, closing).await });
        thread::park_timeout(soon);
        world
            .gateway
            .stats()
            .counter(ENDED, &[("reason", "refused")])
            >= 1
    });
    assert_eq!(b.ask(b""), b"b");
}
