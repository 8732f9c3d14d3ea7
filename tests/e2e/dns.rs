//! Endpoints with names: addresses follow the name server, and its bad days change nothing (tests/ATTACKS.md F3).

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use harness::{Origin, Reply};

use crate::support::{Running, Site, assert_local};

/// What the name server says about every name.
#[derive(Debug, Clone)]
enum Answer {
    /// These addresses, good for so many seconds.
    Addresses(Vec<Ipv4Addr>, u32),
    /// No such name.
    Unknown,
    /// The name has no addresses.
    Empty,
    /// The server is broken.
    Failure,
    /// Bytes that are no answer.
    Garbage,
    /// These addresses, and a datagram says only that it holds no more: ask over TCP (RFC 7766 section 5).
    OverTcp(Vec<Ipv4Addr>),
    /// As above, and then nothing over TCP.
    NotOverTcp,
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Datagram,
    Tcp,
}

/// A name server for one test, over UDP and TCP on the same number.
struct NameServer {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    answer: Mutex<Answer>,
    questions: AtomicUsize,
    over_tcp: AtomicUsize,
    stopping: AtomicBool,
}

impl NameServer {
    fn start(answer: Answer) -> Self {
        let (datagrams, streams) = bind();
        let state = Arc::new(State {
            answer: Mutex::new(answer),
            questions: AtomicUsize::new(0),
            over_tcp: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let address = datagrams.local_addr().unwrap();
        let [first, second] = [Arc::clone(&state), Arc::clone(&state)];
        let threads = vec![
            thread::spawn(move || {
                while !first.stopping.load(Ordering::Acquire) {
                    let _ = first.serve(&datagrams);
                }
            }),
            thread::spawn(move || {
                for stream in streams.incoming().map_while(Result::ok) {
                    if second.stopping.load(Ordering::Acquire) {
                        return;
                    }
                    let state = Arc::clone(&second);
                    // Ends when the gateway does.
                    thread::spawn(move || state.serve_stream(stream));
                }
            }),
        ];
        Self {
            address,
            state,
            threads,
        }
    }

    fn says(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    fn questions(&self) -> usize {
        self.state.questions.load(Ordering::Acquire)
    }

    fn questions_over_tcp(&self) -> usize {
        self.state.over_tcp.load(Ordering::Acquire)
    }
}

/// A number that is free for datagrams and for streams.
fn bind() -> (UdpSocket, TcpListener) {
    let both = || {
        let streams = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let datagrams = UdpSocket::bind(streams.local_addr().ok()?).ok()?;
        Some((datagrams, streams))
    };
    (0..100).find_map(|_| both()).unwrap()
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::Release);
        // Wakes the threads.
        let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl State {
    /// Answers one question.
    fn serve(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut question = [0; 512];
        let (length, client) = socket.recv_from(&mut question)?;
        if let Some(reply) = self.reply(&question[..length], Way::Datagram) {
            socket.send_to(&reply, client)?;
        }
        Ok(())
    }

    /// Answers questions, each behind its length (RFC 1035 section 4.2.2).
    fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question)?;
            let Some(reply) = self.reply(&question, Way::Tcp) else {
                return Ok(());
            };
            let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &reply].concat())?;
        }
    }

    /// The answer to one question (RFC 1035 section 4.1).
    fn reply(&self, question: &[u8], way: Way) -> Option<Vec<u8>> {
        let name = question.get(12..)?.iter().position(|&byte| byte == 0)?;
        let end = 12 + name + 5;
        let wants_v4 = question[12 + name + 1..12 + name + 3] == [0, 1];
        let count = match way {
            Way::Datagram => &self.questions,
            Way::Tcp => &self.over_tcp,
        };
        count.fetch_add(1, Ordering::AcqRel);
        let (flags, code, addresses, seconds) = match (self.answer.lock().unwrap().clone(), way) {
            (Answer::Addresses(addresses, seconds), _) if wants_v4 => (0, 0, addresses, seconds),
            (Answer::OverTcp(addresses), Way::Tcp) if wants_v4 => (0, 0, addresses, 1),
            (Answer::OverTcp(_) | Answer::NotOverTcp, Way::Datagram) => {
                (TRUNCATED, 0, Vec::new(), 0)
            }
            (Answer::Addresses(..) | Answer::OverTcp(_) | Answer::Empty, _) => {
                (0, 0, Vec::new(), 0)
            }
            (Answer::Unknown, _) => (0, 3, Vec::new(), 0),
            (Answer::Failure, _) => (0, 2, Vec::new(), 0),
            (Answer::NotOverTcp, Way::Tcp) => return None,
            (Answer::Garbage, _) => return Some(vec![question[0], question[1], 0x81, 0x80, 0xff]),
        };
        let mut reply = question[..2].to_vec();
        reply.extend([0x81 | flags, 0x80 | code, 0, 1, 0]);
        reply.push(u8::try_from(addresses.len()).unwrap());
        reply.extend([0, 0, 0, 0]);
        reply.extend(&question[12..end]);
        for address in addresses {
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(u32::to_be_bytes(seconds));
            reply.extend([0, 4]);
            reply.extend(address.octets());
        }
        Some(reply)
    }
}

/// The bit TC.
const TRUNCATED: u8 = 2;

/// A site whose endpoint is a name, on this origin's port.
fn site(origin: &Origin, server: &NameServer, dns: &str) -> Running {
    Site::default()
        .endpoint(format!("site.test:{}", origin.address().port()))
        .cluster(&format!("dns: {{ family: v4, {dns} }}"))
        .top(&format!(
            "runtime: {{ name_server: \"{}\" }}",
            server.address
        ))
        .start()
}

const LOOKUPS: &str = "portcullis_dns_lookups_total";

const QUICK: &str = "min_ttl: 50ms, max_ttl: 100ms";

fn wait_endpoints(site: &Running, count: u64) {
    let labels = [("cluster", "site")];
    site.wait_stat("portcullis_cluster_endpoints", &labels, |value| {
        // The workers look when they pick.
        let _ = site.client().get("/", "a");
        value == count
    });
}

fn here() -> Answer {
    Answer::Addresses(vec![Ipv4Addr::LOCALHOST], 1)
}

#[test]
fn f3_addresses_follow_the_name() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let server = NameServer::start(here());
    let site = site(&origin, &server, QUICK);
    assert_eq!(site.client().get("/", "a").text(), "x");
    let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    server.says(Answer::Addresses(addresses.into(), 1));
    wait_endpoints(&site, 3);
    let clusters = site.admin_get("/clusters").text();
    for address in addresses {
        assert!(clusters.contains(&format!("{address}:")), "{clusters}");
    }
    server.says(here());
    wait_endpoints(&site, 1);
    assert_eq!(site.client().get("/", "a").text(), "x");
    site.neighbour_is_well();
}

/// F3: whatever goes wrong, the addresses that were good are still used, and each failure is counted by its reason.
#[test]
fn f3_failures_keep_the_last_good() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let server = NameServer::start(here());
    let site = site(&origin, &server, QUICK);
    let mut client = site.client();
    assert_eq!(client.get("/", "a").text(), "x");
    let rows = [
        (Answer::Unknown, "not_found"),
        (Answer::Empty, "not_found"),
        (Answer::Failure, "failed"),
        (Answer::Garbage, "failed"),
    ];
    for (answer, reason) in rows {
        let failed = [("cluster", "site"), ("result", reason)];
        let before = site.stats().counter(LOOKUPS, &failed);
        server.says(answer.clone());
        site.wait_stat(LOOKUPS, &failed, |count| count > before);
        assert_eq!(client.get("/", "a").text(), "x", "{answer:?}");
        let labels = [("cluster", "site")];
        let endpoints = site.stats().gauge("portcullis_cluster_endpoints", &labels);
        assert_eq!(endpoints, 1, "{answer:?}");
        server.says(here());
        let resolved = [("cluster", "site"), ("result", "resolved")];
        let good = site.stats().counter(LOOKUPS, &resolved);
        site.wait_stat(LOOKUPS, &resolved, |count| count > good);
    }
    site.neighbour_is_well();
}

/// F3: a name that was never known is a clear answer, and works as soon as it is.
#[test]
fn f3_unknown_at_first() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let server = NameServer::start(Answer::Unknown);
    let site = site(&origin, &server, QUICK);
    assert_local("unknown", &site.client().get("/", "a"), 503, "no_endpoints");
    server.says(here());
    wait_endpoints(&site, 1);
    assert_eq!(site.client().get("/", "a").text(), "x");
    site.neighbour_is_well();
}

/// F3: a TTL of zero is no reason to ask all the time.
#[test]
fn f3_ttl_of_zero() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let server = NameServer::start(Answer::Addresses(vec![Ipv4Addr::LOCALHOST], 0));
    let site = site(&origin, &server, "min_ttl: 5m, max_ttl: 10m");
    let mut client = site.client();
    for _ in 0..50 {
        assert_eq!(client.get("/", "a").text(), "x");
        let _ = site.stats();
    }
    assert_eq!(server.questions(), 1);
}

/// F3: an answer too long for a datagram is asked for again over TCP.
#[test]
fn f3_truncated_answers_come_over_tcp() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let addresses: Vec<_> = (1..=60)
        .map(|last| Ipv4Addr::new(127, 0, 0, last))
        .collect();
    let server = NameServer::start(Answer::OverTcp(addresses));
    let site = site(
        &origin,
        &server,
        "min_ttl: 5m, max_ttl: 10m, max_endpoints: 60",
    );
    assert_eq!(server.questions_over_tcp(), 1);
    let resolved = [("cluster", "site"), ("result", "resolved")];
    site.wait_stat(LOOKUPS, &resolved, |count| count == 1);
    wait_endpoints(&site, 60);
    assert!(site.admin_get("/clusters").text().contains("127.0.0.60:"));
    site.neighbour_is_well();
}

/// F3: a truncated answer with nothing behind it is a failure like any other: what was good is still used.
#[test]
fn f3_truncated_answers_without_tcp() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let server = NameServer::start(here());
    let site = site(&origin, &server, QUICK);
    let mut client = site.client();
    assert_eq!(client.get("/", "a").text(), "x");
    let failed = [("cluster", "site"), ("result", "failed")];
    server.says(Answer::NotOverTcp);
    site.wait_stat(LOOKUPS, &failed, |count| count > 0);
    assert!(server.questions_over_tcp() > 0);
    assert_eq!(client.get("/", "a").text(), "x");
    server.says(Answer::OverTcp(
        [1, 2].map(|last| Ipv4Addr::new(127, 0, 0, last)).into(),
    ));
    wait_endpoints(&site, 2);
    site.neighbour_is_well();
}

/// F3: a hostile answer is cut to what is configured.
#[test]
fn f3_many_records() {
    let origin = Origin::http(|_| Reply::ok("x"));
    let many = (1..=30)
        .map(|last| Ipv4Addr::new(127, 0, 0, last))
        .collect();
    let server = NameServer::start(Answer::Addresses(many, 1));
    let site = site(
        &origin,
        &server,
        "min_ttl: 50ms, max_ttl: 100ms, max_endpoints: 4",
    );
    wait_endpoints(&site, 4);
    site.neighbour_is_well();
    let stats = site.stats();
    let series = stats.matching("portcullis_endpoint_requests_total", &[("cluster", "site")]);
    let mut endpoints: Vec<_> = series
        .iter()
        .filter_map(|series| series.label("endpoint"))
        .collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    assert!(endpoints.len() <= 4, "{endpoints:?}");
}
