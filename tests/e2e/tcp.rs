//! TCP: bytes both ways, every way to end, endpoints that fail, bounds; a neighbour on another listener notices
//! nothing.
//!
//! Endpoints and bounds are in [`bounds`]; filters and the PROXY header have files of their own. Start at [`Tcp`].

mod bounds;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use harness::{Client, Connection, Ending, Gate, Gateway, Origin, Step, eventually};

use crate::support::{checksum, noise};

pub(crate) const REJECTIONS: &str = "portcullis_tcp_rejections_total";
pub(crate) const ENDED: &str = "portcullis_tcp_connections_ended_total";

/// A configuration in the making: the listener `tcp` to the cluster `origin`.
pub(crate) struct Tcp {
    endpoints: Vec<SocketAddr>,
    listener: String,
    cluster: String,
}

impl Tcp {
    pub(crate) fn to(endpoints: &[SocketAddr]) -> Self {
        Self {
            endpoints: endpoints.to_vec(),
            listener: String::new(),
            cluster: String::new(),
        }
    }

    /// More keys of the listener, one a line.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        for line in keys.trim_matches('\n').lines() {
            self.listener.extend(["    ", line, "\n"]);
        }
        self
    }

    /// More keys of the cluster.
    pub(crate) fn cluster(mut self, keys: &str) -> Self {
        self.cluster.extend(["    ", keys, "\n"]);
        self
    }

    pub(crate) fn yaml(&self, beside: SocketAddr) -> String {
        let endpoints: Vec<String> = self.endpoints.iter().map(SocketAddr::to_string).collect();
        format!(
            "listeners:\n  tcp:\n    listen: 127.0.0.1:0\n    protocol: tcp\n    cluster: origin\n{}\
             \x20 beside: {{ listen: 127.0.0.1:0, protocol: tcp, cluster: beside }}\n\
             drain: {{ timeout: 2m, spread: 1ms }}\n\
             clusters:\n  beside: {{ endpoints: [{beside}] }}\n  origin:\n    endpoints: [{}]\n{}",
            self.listener,
            endpoints.join(", "),
            self.cluster,
        )
    }

    /// Starts it. The neighbour is connected.
    #[track_caller]
    pub(crate) fn start(&self) -> Running {
        let echo = Origin::echo();
        let gateway = Gateway::start(&self.yaml(echo.address()));
        let mut running = Running {
            neighbour: gateway.connect("beside"),
            gateway,
            _echo: echo,
        };
        running.neighbour_is_well();
        running
    }
}

/// A running [`Tcp`].
pub(crate) struct Running {
    neighbour: Client,
    gateway: Gateway,
    _echo: Origin,
}

impl Deref for Running {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl Running {
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        self.gateway.connect("tcp")
    }

    /// Asserts that another connection, made before whatever happened, still works.
    #[track_caller]
    pub(crate) fn neighbour_is_well(&mut self) {
        self.neighbour.send("well");
        assert_eq!(self.neighbour.read_exact(4), b"well");
    }

    #[track_caller]
    pub(crate) fn wait_rejected(&self, reason: &str, count: u64) {
        let labels = [("listener", "tcp"), ("reason", reason)];
        self.wait_stat(REJECTIONS, &labels, |value| value == count);
    }

    #[track_caller]
    pub(crate) fn wait_ended(&self, reason: &str, count: u64) {
        let labels = [("listener", "tcp"), ("reason", reason)];
        self.wait_stat(ENDED, &labels, |value| value == count);
    }

    /// Waits until no connection of the listener is left.
    #[track_caller]
    fn wait_none_active(&self) {
        let labels = [("listener", "tcp")];
        let gauge = "portcullis_tcp_connections_active";
        eventually("no connection is left", || {
            self.stats().gauge(gauge, &labels) == 0
        });
    }

    #[track_caller]
    fn wait_bytes(&self, direction: &str, count: u64) {
        let labels = [("listener", "tcp"), ("direction", direction)];
        self.wait_stat("portcullis_tcp_bytes_total", &labels, |value| {
            value == count
        });
    }

    fn bytes(&self, direction: &str) -> u64 {
        let labels = [("listener", "tcp"), ("direction", direction)];
        self.stats().counter("portcullis_tcp_bytes_total", &labels)
    }
}

/// An origin that reads everything and reports what it was and how it ended.
pub(crate) fn sink() -> (Origin, Receiver<(Vec<u8>, Ending)>) {
    let (sender, receiver) = channel();
    let origin = Origin::raw(move |connection| {
        let report = connection.read_to_end()?;
        let _ = sender.send(report);
        Ok(())
    });
    (origin, receiver)
}

#[track_caller]
pub(crate) fn report(receiver: &Receiver<(Vec<u8>, Ending)>) -> (Vec<u8>, Ending) {
    receiver.recv_timeout(harness::CEILING).expect("a report")
}

#[test]
fn bytes_go_round_and_are_counted() {
    let origin = Origin::echo();
    let mut tcp = Tcp::to(&[origin.address()]).start();
    let mut client = tcp.client();
    client.send("hello");
    assert_eq!(client.read_exact(5), b"hello");
    // While it is open.
    tcp.wait_bytes("up", 5);
    tcp.wait_bytes("down", 5);
    client.half_close().expect_closed();
    tcp.wait_ended("closed", 1);
    tcp.wait_none_active();
    let labels = [("listener", "tcp")];
    let stats = tcp.stats();
    assert_eq!(
        stats.counter("portcullis_tcp_connections_total", &labels),
        1
    );
    let durations = "portcullis_tcp_connection_duration_seconds_count";
    assert_eq!(stats.value(durations, &labels), Some(1.0));
    tcp.neighbour_is_well();
}

/// F2.
#[test]
fn f2_each_direction_ends_on_its_own() {
    let scripts = vec![
        // The client ends first and is answered.
        vec![Step::ReadToEnd, Step::send("answer"), Step::Close],
        // The server ends first and is told more.
        vec![
            Step::send("greeting"),
            Step::HalfClose,
            Step::expect("reply"),
            Step::ReadToEnd,
        ],
    ];
    let origin = Origin::scripts(scripts);
    let mut tcp = Tcp::to(&[origin.address()]).start();
    let mut first = tcp.client();
    first.send("question").half_close();
    assert_eq!(first.read_to_end(), (b"answer".to_vec(), Ending::Closed));
    let mut second = tcp.client();
    assert_eq!(second.read_to_end(), (b"greeting".to_vec(), Ending::Closed));
    second.send("reply").half_close();
    tcp.wait_ended("closed", 2);
    tcp.neighbour_is_well();
}

/// F2.
#[test]
fn f2_a_reset_arrives_as_a_reset() {
    let (origin, reports) = sink();
    let mut tcp = Tcp::to(&[origin.address()]).start();
    let mut client = tcp.client();
    client.send("cut");
    tcp.wait_bytes("up", 3);
    client.reset();
    assert_eq!(report(&reports), (b"cut".to_vec(), Ending::Reset));
    tcp.wait_ended("downstream_reset", 1);
    drop((tcp, origin));

    let scripts = vec![
        vec![Step::send("cut"), Step::read_until("."), Step::Reset],
        vec![Step::ReadToEnd, Step::send("late"), Step::Reset],
    ];
    let origin = Origin::scripts(scripts);
    tcp = Tcp::to(&[origin.address()]).start();
    let mut client = tcp.client();
    assert_eq!(client.read_exact(3), b"cut");
    client.send(".").expect_reset();
    let mut ended = tcp.client();
    ended.half_close();
    let (bytes, ending) = ended.read_to_end();
    assert!(
        b"late".starts_with(&bytes[..]) && ending == Ending::Reset,
        "{bytes:?} {ending:?}"
    );
    tcp.wait_ended("upstream_reset", 2);
    tcp.neighbour_is_well();
}

/// F2: whoever is cut at whatever byte, the other side has a prefix and learns how it ended; nothing is left over.
#[test]
fn f2_client_cut_at_every_byte() {
    let (origin, reports) = sink();
    let mut tcp = Tcp::to(&[origin.address()]).start();
    let descriptors = tcp.descriptors();
    let message = b"0123456789abcdef";
    for at in 0..=message.len() {
        let sent = &message[..at];
        let mut client = tcp.client();
        client.send(sent);
        drop(client);
        let mut next = report(&reports);
        while next.1 == Ending::Reset {
            // Of one that was reset before: nobody can tell when it comes.
            assert!(sent.starts_with(&next.0), "reset before {at}: {next:?}");
            next = report(&reports);
        }
        assert_eq!(next, (sent.to_vec(), Ending::Closed), "end at {at}");
        let mut client = tcp.client();
        client.send_in_pieces(sent, 1);
        // It may overtake the connect, and then nobody is told.
        client.reset();
    }
    tcp.wait_none_active();
    wait_descriptors(&tcp, descriptors);
    tcp.neighbour_is_well();
}

/// F2.
#[test]
fn f2_upstream_cut_at_every_byte() {
    let message = b"0123456789abcdef";
    let mut scripts = Vec::new();
    for at in 0..=message.len() {
        let sent = Step::send(&message[..at]);
        scripts.push(vec![sent.clone(), Step::Close]);
        scripts.push(vec![sent, Step::read_until("."), Step::Reset]);
    }
    let origin = Origin::scripts(scripts);
    let mut tcp = Tcp::to(&[origin.address()]).start();
    let descriptors = tcp.descriptors();
    for at in 0..=message.len() {
        let sent = message[..at].to_vec();
        let (received, ending) = tcp.client().read_to_end();
        assert_eq!(
            (received, ending),
            (sent.clone(), Ending::Closed),
            "end at {at}"
        );
        let mut client = tcp.client();
        assert_eq!(client.read_exact(at), sent, "before the reset at {at}");
        client.send(".").expect_reset();
    }
    tcp.wait_none_active();
    wait_descriptors(&tcp, descriptors);
    tcp.neighbour_is_well();
}

/// Waits until as few descriptors are open as before, but for what the gateway itself opens late (its file watch).
#[track_caller]
fn wait_descriptors(tcp: &Running, before: usize) {
    let most = before + 4;
    // Without asking: questions to the gateway take descriptors themselves.
    eventually("descriptors are given back", || tcp.descriptors() <= most);
}

/// F2.
#[test]
fn f2_one_byte_at_a_time() {
    let origin = Origin::raw(|connection| {
        while connection.fill()? > 0 {
            let bytes = connection.read_exact(connection.buffered().len())?;
            for byte in bytes {
                connection.send([byte])?;
            }
        }
        Ok(())
    });
    let tcp = Tcp::to(&[origin.address()]).start();
    let mut client = tcp.client();
    let sent = noise(2000);
    client.send_in_pieces(&sent, 1).half_close();
    assert_eq!(client.read_to_end(), (sent, Ending::Closed));
}

/// 64 MiB each way at once, in the kernel and through a filter that has to see them.
#[test]
fn bulk_arrives_whole() {
    const BYTES: usize = 64 * 1024 * 1024;
    let sent = noise(BYTES);
    let wanted = checksum(&sent);
    for filters in ["", "filters: [{ bandwidth: { rate: 16GiB/s } }]"] {
        let (origin, reports) = {
            let (sender, receiver) = channel();
            let sent = sent.clone();
            let origin = Origin::raw(move |connection| {
                let mut writer = connection.socket().try_clone()?;
                let sent = sent.clone();
                let writing = thread::spawn(move || {
                    io::Write::write_all(&mut writer, &sent)?;
                    writer.shutdown(std::net::Shutdown::Write)
                });
                let (received, ending) = connection.read_to_end()?;
                let _ = sender.send((received.len(), checksum(&received), ending));
                writing.join().expect("writes")
            });
            (origin, receiver)
        };
        let tcp = Tcp::to(&[origin.address()]).listener(filters).start();
        let mut client = tcp.client();
        let mut writer = client.connection().socket().try_clone().unwrap();
        let received = thread::scope(|scope| {
            scope.spawn(|| {
                io::Write::write_all(&mut writer, &sent).unwrap();
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            client.read_to_end()
        });
        assert_eq!(
            (checksum(&received.0), received.1),
            (wanted, Ending::Closed),
            "down {filters}"
        );
        let up = reports.recv_timeout(harness::CEILING).expect("a report");
        assert_eq!(up, (BYTES, wanted, Ending::Closed), "up {filters}");
        tcp.wait_ended("closed", 1);
        assert_eq!(
            (tcp.bytes("up"), tcp.bytes("down")),
            (BYTES as u64, BYTES as u64)
        );
    }
}

/// A slow reader holds its writer back; the gateway's memory stays as it is.
#[test]
fn a_slow_reader_holds_the_writer_back() {
    for filters in ["", "filters: [{ bandwidth: { rate: 16GiB/s } }]"] {
        let gate = Gate::new();
        let held = gate.clone();
        let (sender, reports) = channel();
        let origin = Origin::raw(move |connection| {
            held.wait();
            let (received, _) = connection.read_to_end()?;
            let _ = sender.send((received.len(), checksum(&received)));
            Ok(())
        });
        let mut tcp = Tcp::to(&[origin.address()]).listener(filters).start();
        let mut client = tcp.client();
        let memory = tcp.resident_bytes();
        let data = noise(96 * 1024 * 1024);
        let sent = write_until_blocked(&tcp, client.connection(), &data);
        assert!(sent < data.len(), "nothing holds the writer back {filters}");
        let grown = tcp.resident_bytes().saturating_sub(memory);
        assert!(
            grown < 8 << 20,
            "{grown} bytes for one slow reader {filters}"
        );
        tcp.neighbour_is_well();
        gate.open();
        client.half_close().expect_closed();
        let received = reports.recv_timeout(harness::CEILING).expect("a report");
        assert_eq!(received, (sent, checksum(&data[..sent])), "{filters}");
    }
}

/// Writes until the kernel takes no more and the gateway has moved all it can.
fn write_until_blocked(tcp: &Running, connection: &Connection, data: &[u8]) -> usize {
    let socket = connection.socket();
    socket.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut quiet = 0;
    let mut moved = 0;
    while quiet < 5 && sent < data.len() {
        match socket.send(&data[sent..]) {
            Ok(count) => {
                sent += count;
                quiet = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let now = tcp.bytes("up");
                quiet = if now == moved { quiet + 1 } else { 0 };
                moved = now;
            }
            Err(error) => panic!("write: {error}"),
        }
    }
    socket.set_nonblocking(false).unwrap();
    sent
}
