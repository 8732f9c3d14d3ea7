//! Endpoints with names: addresses follow the name server, and its bad days change nothing (tests/ATTACKS.md F3).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
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
}

/// A name server for one test.
struct NameServer {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    questions: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start(answer: Answer) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let questions = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let shared = (
            Arc::clone(&answer),
            Arc::clone(&questions),
            Arc::clone(&stopping),
        );
        let thread = thread::spawn(move || {
            let (answer, questions, stopping) = shared;
            while !stopping.load(Ordering::Acquire) {
                let _ = serve(&socket, &answer, &questions);
            }
        });
        Self {
            address,
            answer,
            questions,
            stopping,
            thread: Some(thread),
        }
    }

    fn says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::Acquire)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the thread.
        let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.send_to(&[], self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one question (RFC 1035 section 4.1).
fn serve(socket: &UdpSocket, answer: &Mutex<Answer>, questions: &AtomicUsize) -> io::Result<()> {
    let mut question = [0; 512];
    let (length, client) = socket.recv_from(&mut question)?;
    if length < 12 {
        return Ok(());
    }
    let name = question[12..length]
        .iter()
        .position(|&byte| byte == 0)
        .unwrap();
    let end = 12 + name + 5;
    let wants_v4 = question[12 + name + 1..12 + name + 3] == [0, 1];
    questions.fetch_add(1, Ordering::AcqRel);
    let (code, addresses, seconds) = match answer.lock().unwrap().clone() {
        Answer::Addresses(addresses, seconds) if wants_v4 => (0, addresses, seconds),
        Answer::Addresses(..) | Answer::Empty => (0, Vec::new(), 0),
        Answer::Unknown => (3, Vec::new(), 0),
        Answer::Failure => (2, Vec::new(), 0),
        Answer::Garbage => {
            socket.send_to(&[question[0], question[1], 0x81, 0x80, 0xff], client)?;
            return Ok(());
        }
    };
    let mut reply = question[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0]);
    reply.push(u8::try_from(addresses.len()).unwrap());
    reply.extend([0, 0, 0, 0]);
    reply.extend(&question[12..end]);
    for address in addresses {
        reply.extend([0xc0, 12, 0, 1, 0, 1]);
        reply.extend(seconds.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    socket.send_to(&reply, client)?;
    Ok(())
}

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
