//! The steering machine, one situation after the other. What holds in any order is in `simulator.rs`.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_quic::steering::{
    DropReason, Opening, Reply, ServerIdPlace, SteeringCounts, UnknownReason, UnknownVersion,
};
use portcullis_quic::{
    ConnectionId, CryptoError, HeaderError, HelloError, LongKind, Packet, Packets, ProtectionError,
    Steering, SteeringConfig, SteeringLimits, Target, Verdict, Version,
};
use portcullis_testkit::{Random, VirtualClock};
use support::{Flight, hello, id, short};

const A: Target = Target(1);
const B: Target = Target(2);
const SEED: u64 = 7;

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], number))
}

fn server_id(number: u8) -> ConnectionId {
    id(&[0xa0, number, 3, 4, 5, 6, 7, 8])
}

/// A machine, a clock, and what it answered last.
struct Bench {
    steering: Steering,
    clock: VirtualClock,
    out: BytesMut,
}

impl Bench {
    fn new(config: SteeringConfig) -> Self {
        Self {
            steering: Steering::new(config, SEED),
            clock: VirtualClock::new(),
            out: BytesMut::new(),
        }
    }

    fn usual() -> Self {
        Self::new(SteeringConfig::default())
    }

    fn limited(change: impl FnOnce(&mut SteeringLimits)) -> Self {
        let mut config = SteeringConfig::default();
        change(&mut config.limits);
        Self::new(config)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn client(&mut self, from: u16, datagram: &[u8]) -> Verdict {
        self.out.clear();
        let now = self.now();
        let verdict = self
            .steering
            .on_client(now, address(from), datagram, &mut self.out);
        assert_eq!(verdict == Verdict::Answer, !self.out.is_empty());
        self.steering.check_invariants();
        verdict
    }

    fn server(&mut self, target: Target, to: u16, datagram: &[u8]) -> Reply {
        let now = self.now();
        let reply = self.steering.on_server(now, target, address(to), datagram);
        self.steering.check_invariants();
        reply
    }

    fn opening(&mut self, from: u16, datagram: &[u8]) -> Box<Opening> {
        match self.client(from, datagram) {
            Verdict::Opening(opening) => opening,
            other => panic!("{other:?}"),
        }
    }

    fn assign(&mut self, opening: &Opening, target: Target) -> Vec<Vec<u8>> {
        let now = self.now();
        let datagrams = self.steering.assign(now, opening.id, target);
        self.steering.check_invariants();
        datagrams.iter().map(|bytes| bytes.to_vec()).collect()
    }

    /// A connection from `from` to `target` as far as the server's first answer.
    fn connect(&mut self, from: u16, number: u64, target: Target, server: ConnectionId) -> Flight {
        let flight = Flight::numbered(number);
        let datagrams = flight.datagrams(&hello("a.example", &["h3"], 0), 2000);
        let opening = self.opening(from, &datagrams[0]);
        assert_eq!(self.assign(&opening, target), datagrams);
        let answer = flight.answer(server, LongKind::Initial, 1100);
        assert_eq!(self.server(target, from, &answer), Reply::Send);
        flight
    }

    /// And with the client's answer to that.
    fn established(&mut self, from: u16, number: u64, target: Target, server: ConnectionId) {
        let flight = self.connect(from, number, target, server);
        let finished = flight.with(server).opaque(LongKind::Handshake, 80);
        assert_eq!(self.client(from, &finished), Verdict::To(target));
        assert!(self.steering.is_validated(address(from)));
    }

    fn advance(&mut self, by: Duration) {
        let now = self.clock.advance(by);
        self.steering.handle_timeout(now);
        self.steering.check_invariants();
    }
}

#[test]
fn a_hello_in_one_datagram() {
    let mut bench = Bench::usual();
    let flight = Flight::numbered(1);
    let datagrams = flight.datagrams(&hello("Shop.Example", &["h3", "hq"], 0), 2000);
    let opening = bench.opening(1, &datagrams[0]);
    assert_eq!(opening.hello.server_name(), Some("shop.example"));
    assert!(opening.hello.alpn().eq([&b"h3"[..], b"hq"]));
    assert_eq!(opening.version, Version::V1);
    // What comes while the route is being found is kept too.
    let early = flight.opaque(LongKind::ZeroRtt, 300);
    assert_eq!(bench.client(1, &early), Verdict::Held);
    assert_eq!(
        bench.assign(&opening, A),
        [datagrams[0].clone(), early.clone()]
    );
    assert_eq!(bench.client(1, &datagrams[0]), Verdict::To(A));
    assert_eq!(bench.client(1, &early), Verdict::To(A));
    // An id is good once.
    assert_eq!(bench.assign(&opening, A), Vec::<Vec<u8>>::new());
    assert_eq!(bench.steering.counts().holds, 0);
}

#[test]
fn a_hello_in_any_order_and_in_both_versions() {
    let message = hello("a.example", &["h3"], 2900);
    for version in Version::READ {
        let flight = Flight {
            version,
            ..Flight::numbered(1)
        };
        let datagrams = flight.datagrams(&message, 400);
        assert_eq!(datagrams.len(), 4);
        for rotation in 0..datagrams.len() {
            let mut bench = Bench::usual();
            let mut order = datagrams.clone();
            order.rotate_left(rotation);
            for datagram in &order[..3] {
                assert_eq!(bench.client(1, datagram), Verdict::Held);
            }
            let opening = bench.opening(1, &order[3]);
            assert_eq!(opening.hello.server_name(), Some("a.example"));
            assert_eq!(bench.assign(&opening, A), order);
        }
    }
}

#[test]
fn any_cut_gives_the_same_hello() {
    let (mut random, seed) = Random::from_environment(5);
    let message = hello("any.cut.example", &["h3"], 2400);
    let mut expected = None;
    for round in 0..60 {
        let flight = Flight::numbered(round);
        let mut at = 0;
        let mut pieces: Vec<_> = random
            .pieces(&message, 130)
            .into_iter()
            .map(|piece| {
                at += piece.len();
                (at - piece.len(), piece)
            })
            .collect();
        for last in (1..pieces.len()).rev() {
            pieces.swap(last, random.below(last + 1));
        }
        // Some of it twice.
        pieces.extend_from_within(..random.below(8));
        let datagrams = flight.of_pieces(&pieces);
        let mut bench = Bench::usual();
        let answers: Vec<_> = datagrams
            .iter()
            .map(|datagram| bench.client(1, datagram))
            .collect();
        let found = answers.iter().find_map(|verdict| match verdict {
            Verdict::Opening(opening) => Some(opening.hello.clone()),
            _ => None,
        });
        let found = found.unwrap_or_else(|| panic!("seed {seed} round {round}: {answers:?}"));
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(*expected, found, "seed {seed} round {round}");
    }
}

#[test]
fn where_connection_ids_lead() {
    let mut bench = Bench::usual();
    let server = server_id(1);
    let flight = bench.connect(1, 1, A, server);
    // The client still uses the id that it chose; then it uses the server's.
    let again = flight.datagrams(&hello("a.example", &["h3"], 0), 2000);
    assert_eq!(bench.client(1, &again[0]), Verdict::To(A));
    assert!(!bench.steering.is_validated(address(1)));
    let answer = flight.with(server).initial(1, &[2, 0, 0, 0, 0], 1200);
    assert_eq!(bench.client(1, &answer), Verdict::To(A));
    assert!(bench.steering.is_validated(address(1)));
    assert_eq!(bench.client(1, &short(server, 60)), Verdict::To(A));
    // It moves.
    assert_eq!(bench.client(2, &short(server, 60)), Verdict::To(A));
    assert_eq!(bench.server(A, 2, &short(flight.source, 1200)), Reply::Send);
    // Nobody else is meant.
    let other = Verdict::Unknown(UnknownReason::Connection);
    assert_eq!(bench.client(3, &short(server_id(2), 60)), other);
    let handshake = flight.with(server_id(2)).opaque(LongKind::Handshake, 60);
    let other = Verdict::Unknown(UnknownReason::Handshake);
    assert_eq!(bench.client(3, &handshake), other);
}

#[test]
fn after_a_retry_the_new_id_leads_there() {
    let mut bench = Bench::usual();
    let flight = bench.connect(1, 1, A, server_id(9));
    let mut retry = BytesMut::new();
    let chosen = server_id(1);
    let ids = (flight.source, chosen);
    portcullis_quic::encode_retry(Version::V1, 0, ids, b"token", &[0; 16], &mut retry);
    assert_eq!(bench.server(A, 1, &retry), Reply::Send);
    let again = flight.with(chosen);
    let datagram = again.datagrams(&hello("a.example", &["h3"], 0), 2000);
    assert_eq!(bench.client(1, &datagram[0]), Verdict::To(A));
    assert!(bench.steering.is_validated(address(1)));
    // A client has no Retry to send.
    let drop = Verdict::Drop(DropReason::NotForServers);
    assert_eq!(bench.client(2, &retry), drop);
}

#[test]
fn servers_that_name_themselves_in_their_ids() {
    let place = ServerIdPlace {
        offset: 1,
        length: 2,
    };
    let mut bench = Bench::new(SteeringConfig {
        server_id: Some(place),
        ..SteeringConfig::default()
    });
    bench.established(1, 1, A, id(&[0, 7, 7, 1, 1, 1, 1, 1]));
    bench.established(2, 2, B, id(&[0, 8, 8, 1, 1, 1, 1, 1]));
    assert_eq!(bench.steering.counts().server_ids, 2);
    // Ids that nobody has seen, of any length.
    assert_eq!(
        bench.client(3, &short(id(&[9, 7, 7, 2, 2]), 60)),
        Verdict::To(A)
    );
    assert_eq!(
        bench.client(3, &short(id(&[9, 8, 8, 2, 2, 2, 2, 2]), 60)),
        Verdict::To(B)
    );
    let unknown = Verdict::Unknown(UnknownReason::Connection);
    assert_eq!(bench.client(3, &short(id(&[9, 7, 8, 2, 2]), 60)), unknown);
    let flight = Flight::numbered(3).with(id(&[3, 7, 7, 3, 3, 3, 3, 3]));
    let handshake = flight.opaque(LongKind::Handshake, 60);
    assert_eq!(bench.client(4, &handshake), Verdict::To(A));
    // The name in a client's own first id means nothing, as long as its hello can be read.
    let datagram = flight.datagrams(&hello("b.example", &["h3"], 0), 2000);
    let opening = bench.opening(4, &datagram[0]);
    assert_eq!(bench.assign(&opening, B).len(), 1);
    // If it cannot, the id is a server's, whose learning was forgotten.
    let mut damaged = datagram[0].clone();
    damaged[1000] ^= 1;
    assert_eq!(bench.client(5, &damaged), Verdict::To(B));
    let other = flight.with(id(&[4, 7, 7, 3, 3, 3, 3, 3]));
    let mut damaged = other.initial(0, &[1], 1200);
    damaged[1000] ^= 1;
    assert_eq!(bench.client(5, &damaged), Verdict::To(A));
    // A name belongs to the first that uses it, until that is gone.
    bench.established(6, 6, B, id(&[0, 7, 7, 6, 6, 6, 6, 6]));
    assert_eq!(
        bench.client(7, &short(id(&[9, 7, 7, 2, 2]), 60)),
        Verdict::To(A)
    );
    bench.steering.forget(A);
    assert_eq!(bench.client(7, &short(id(&[9, 7, 7, 2, 2]), 60)), unknown);
}

#[test]
fn names_elsewhere_are_forgotten_when_the_place_changes() {
    let place = |offset| SteeringConfig {
        server_id: Some(ServerIdPlace { offset, length: 2 }),
        ..SteeringConfig::default()
    };
    let mut bench = Bench::new(place(1));
    bench.established(1, 1, A, id(&[0, 7, 7, 8, 8, 1, 1, 1]));
    bench.steering.set_config(place(1));
    assert_eq!(
        bench.client(2, &short(id(&[9, 7, 7, 2, 2]), 60)),
        Verdict::To(A)
    );
    bench.steering.set_config(place(3));
    let unknown = Verdict::Unknown(UnknownReason::Connection);
    assert_eq!(bench.client(3, &short(id(&[9, 0, 0, 7, 7]), 60)), unknown);
    // What is known by its id stays known.
    let known = short(id(&[0, 7, 7, 8, 8, 1, 1, 1]), 60);
    assert_eq!(bench.client(3, &known), Verdict::To(A));
}

#[test]
fn a_server_without_connection_ids_is_known_by_the_address() {
    let mut bench = Bench::usual();
    let flight = bench.connect(1, 1, A, ConnectionId::EMPTY);
    let finished = flight
        .with(ConnectionId::EMPTY)
        .opaque(LongKind::Handshake, 80);
    assert_eq!(bench.client(1, &finished), Verdict::To(A));
    assert_eq!(
        bench.client(1, &short(ConnectionId::EMPTY, 60)),
        Verdict::To(A)
    );
    let unknown = Verdict::Unknown(UnknownReason::Connection);
    assert_eq!(bench.client(2, &short(ConnectionId::EMPTY, 60)), unknown);
}

#[test]
fn what_is_refused_and_why() {
    let flight = Flight::numbered(1);
    let message = hello("a.example", &["h3"], 0);
    let whole = flight.datagrams(&message, 2000).remove(0);
    let mut changed = whole.clone();
    changed[700] ^= 1;
    let short_id = Flight {
        destination: id(b"1234567"),
        ..flight
    };
    let mut negotiation = vec![0x80, 0, 0, 0, 0, 8];
    negotiation.extend(b"abcdefgh\0");
    negotiation.extend(1_u32.to_be_bytes());
    negotiation.resize(1202, 0);
    let header = |error| Verdict::Drop(DropReason::Header(error));
    let hello_error = |error| Verdict::Unknown(UnknownReason::Hello(error));
    let frame = portcullis_quic::FrameError::Unexpected;
    let rows: &[(&str, Vec<u8>, Verdict)] = &[
        ("nothing", Vec::new(), header(HeaderError::Empty)),
        (
            "a byte of a long header",
            vec![0xc0],
            header(HeaderError::Truncated),
        ),
        (
            "a byte of a short header",
            vec![0x40],
            Verdict::Unknown(UnknownReason::Connection),
        ),
        (
            "cut off",
            whole[..1199].to_vec(),
            header(HeaderError::Truncated),
        ),
        (
            "small",
            flight.initial(0, &[1], 1199),
            Verdict::Drop(DropReason::SmallInitial),
        ),
        (
            "a short destination",
            short_id.initial(0, &[1], 1200),
            Verdict::Drop(DropReason::ShortDestination),
        ),
        (
            "negotiation",
            negotiation,
            Verdict::Drop(DropReason::NotForServers),
        ),
        (
            "damaged",
            changed,
            Verdict::Unknown(UnknownReason::Protection(ProtectionError::Authentication)),
        ),
        ("no hello yet", flight.initial(0, &[1], 1200), Verdict::Held),
        (
            "a stream",
            flight.initial(0, &[8, 0], 1200),
            hello_error(HelloError::Frame(frame)),
        ),
        (
            "a close",
            flight.initial(0, &[0x1c, 0, 0, 0], 1200),
            hello_error(HelloError::Closed),
        ),
        (
            "another message",
            flight.datagrams(&[2, 0, 0, 1, 0], 9).remove(0),
            hello_error(HelloError::ClientHello(
                portcullis_tls::ClientHelloError::NotClientHello,
            )),
        ),
        (
            "far away",
            flight.of_pieces(&[(1 << 20, &[0])]).remove(0),
            hello_error(HelloError::Crypto(CryptoError::TooLong)),
        ),
        (
            "a contradiction",
            flight.of_pieces(&[(0, &[1, 0]), (1, &[1])]).remove(0),
            hello_error(HelloError::Crypto(CryptoError::Contradiction)),
        ),
        (
            "early data alone",
            flight.opaque(LongKind::ZeroRtt, 1200),
            Verdict::Drop(DropReason::EarlyData),
        ),
    ];
    for (name, datagram, expected) in rows {
        let mut bench = Bench::usual();
        assert_eq!(bench.client(1, datagram), *expected, "{name}");
    }
}

#[test]
fn a_hello_that_fails_late_gives_back_what_was_held() {
    let mut bench = Bench::usual();
    let flight = Flight::numbered(1);
    let message = hello("a.example", &["h3"], 1500);
    let datagrams = flight.datagrams(&message, 1000);
    assert_eq!(bench.client(1, &datagrams[0]), Verdict::Held);
    let bad = flight.of_pieces(&[(0, &[2])]).remove(0);
    let reason = UnknownReason::Hello(HelloError::Crypto(CryptoError::Contradiction));
    assert_eq!(bench.client(1, &bad), Verdict::Unknown(reason));
    // It does not become better.
    assert_eq!(bench.client(1, &datagrams[1]), Verdict::Unknown(reason));
    let now = bench.now();
    let held = bench.steering.adopt(now, address(1), &datagrams[1], B);
    assert_eq!(held, [datagrams[0].clone()]);
    assert_eq!(bench.client(1, &datagrams[1]), Verdict::To(B));
}

#[test]
fn damage_does_not_end_a_hold() {
    let mut bench = Bench::usual();
    let flight = Flight::numbered(1);
    let datagrams = flight.datagrams(&hello("a.example", &["h3"], 1500), 1000);
    assert_eq!(bench.client(1, &datagrams[0]), Verdict::Held);
    let mut changed = datagrams[1].clone();
    changed[900] ^= 1;
    let reason = DropReason::Protection(ProtectionError::Authentication);
    assert_eq!(bench.client(1, &changed), Verdict::Drop(reason));
    // From another address it is another connection.
    assert_eq!(bench.client(2, &datagrams[1]), Verdict::Held);
    let opening = bench.opening(1, &datagrams[1]);
    bench.steering.refuse(opening.id);
    assert_eq!(bench.assign(&opening, A), Vec::<Vec<u8>>::new());
}

#[test]
fn versions_that_are_not_read() {
    let unknown = Flight {
        version: Version(0x5555_5555),
        ..Flight::numbered(1)
    };
    let large = unknown.opaque(LongKind::Initial, 1200);
    let small = unknown.opaque(LongKind::Initial, 1100);
    let dropped = Verdict::Drop(DropReason::Version);
    let rows = [
        (UnknownVersion::Drop, &large, dropped.clone()),
        (
            UnknownVersion::Route,
            &small,
            Verdict::Unknown(UnknownReason::Version),
        ),
        (UnknownVersion::Negotiate, &large, Verdict::Answer),
        (UnknownVersion::Negotiate, &small, dropped),
    ];
    for (unknown_version, datagram, expected) in rows {
        let mut bench = Bench::new(SteeringConfig {
            unknown_version,
            ..SteeringConfig::default()
        });
        assert_eq!(bench.client(1, datagram), expected, "{unknown_version:?}");
        if expected != Verdict::Answer {
            continue;
        }
        assert!(bench.out.len() < datagram.len());
        let packet = Packets::new(&bench.out, 0, portcullis_quic::HeaderLimits::default()).next();
        let Some(Ok(Packet::VersionNegotiation(answer))) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!(answer.destination, unknown.source.as_slice());
        assert_eq!(answer.source, unknown.destination.as_slice());
        let versions: Vec<_> = answer.versions().collect();
        assert_eq!(versions[..2], Version::READ);
        assert_eq!(versions[2].0 & 0x0f0f_0f0f, 0x0a0a_0a0a);
    }
}

#[test]
fn q8_negotiation_has_a_rate_and_no_echo() {
    let mut config = SteeringConfig {
        unknown_version: UnknownVersion::Negotiate,
        ..SteeringConfig::default()
    };
    config.limits.negotiations = 3;
    let mut bench = Bench::new(config);
    let unknown = Flight {
        version: Version(0x5555_5555),
        ..Flight::numbered(1)
    };
    let datagram = unknown.opaque(LongKind::Initial, 1200);
    for _ in 0..3 {
        assert_eq!(bench.client(1, &datagram), Verdict::Answer);
    }
    assert_eq!(
        bench.client(1, &datagram),
        Verdict::Drop(DropReason::Version)
    );
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.client(1, &datagram), Verdict::Answer);
    let mut echo = bench.out.to_vec();
    echo.resize(1200, 0);
    assert_eq!(
        bench.client(1, &echo),
        Verdict::Drop(DropReason::NotForServers)
    );
}

#[test]
fn an_unknown_version_is_followed_by_its_ids() {
    let mut bench = Bench::new(SteeringConfig {
        unknown_version: UnknownVersion::Route,
        ..SteeringConfig::default()
    });
    let flight = Flight {
        version: Version(0x5555_5555),
        ..Flight::numbered(1)
    };
    let first = flight.opaque(LongKind::Initial, 1200);
    assert_eq!(
        bench.client(1, &first),
        Verdict::Unknown(UnknownReason::Version)
    );
    let now = bench.now();
    assert!(bench.steering.adopt(now, address(1), &first, A).is_empty());
    assert_eq!(bench.client(1, &first), Verdict::To(A));
    let server = server_id(1);
    let answer = flight.answer(server, LongKind::Initial, 1200);
    assert_eq!(bench.server(A, 1, &answer), Reply::Send);
    let second = flight.with(server).opaque(LongKind::Handshake, 100);
    assert_eq!(bench.client(1, &second), Verdict::To(A));
    assert_eq!(bench.client(2, &short(server, 50)), Verdict::To(A));
}

#[test]
fn q1_three_times_what_came_until_the_address_is_proved() {
    let mut bench = Bench::usual();
    let server = server_id(1);
    let flight = Flight::numbered(1);
    let datagram = flight
        .datagrams(&hello("a.example", &["h3"], 0), 2000)
        .remove(0);
    let too_much = Reply::Drop(DropReason::Amplification);
    let answer = flight.answer(server, LongKind::Initial, 1160);
    assert!((1180..=1200).contains(&answer.len()));
    // Nobody spoke.
    assert_eq!(bench.server(A, 1, &answer), too_much);
    assert_eq!(bench.server(A, 1, &short(flight.source, 30)), too_much);
    let opening = bench.opening(1, &datagram);
    assert_eq!(bench.assign(&opening, A).len(), 1);
    let handshake = flight.answer(server, LongKind::Handshake, 1160);
    for sent in [&answer, &handshake, &handshake] {
        assert_eq!(bench.server(A, 1, sent), Reply::Send);
    }
    assert_eq!(bench.server(A, 1, &handshake), too_much);
    // Data before the handshake is over counts for the same connection.
    assert_eq!(bench.server(A, 1, &short(flight.source, 500)), too_much);
    // The client sends its first packet again: that much more.
    assert_eq!(bench.client(1, &datagram), Verdict::To(A));
    for _ in 0..3 {
        assert_eq!(bench.server(A, 1, &handshake), Reply::Send);
    }
    assert_eq!(bench.server(A, 1, &handshake), too_much);
    // The server's id from elsewhere proves nothing for this address.
    let proof = flight.with(server).opaque(LongKind::Handshake, 20);
    assert_eq!(bench.client(2, &proof), Verdict::To(A));
    assert!(!bench.steering.is_validated(address(1)));
    assert!(!bench.steering.is_validated(address(2)));
    assert_eq!(bench.server(A, 1, &handshake), too_much);
    assert_eq!(bench.client(1, &proof), Verdict::To(A));
    for _ in 0..100 {
        assert_eq!(bench.server(A, 1, &handshake), Reply::Send);
        assert_eq!(bench.server(A, 1, &short(flight.source, 1200)), Reply::Send);
    }
}

#[test]
fn q1_a_connection_elsewhere_opens_no_flood() {
    let mut bench = Bench::usual();
    // Somebody has a connection of his own, and spoofs an address with it.
    let own = server_id(1);
    bench.established(1, 1, A, own);
    let spoofed = 99;
    assert_eq!(bench.client(spoofed, &short(own, 40)), Verdict::To(A));
    // New connections in the name of that address, with the client id of his own one and with others.
    for number in [1, 2, 3] {
        let mut flight = Flight::numbered(10 + number);
        if number == 1 {
            flight.source = Flight::numbered(1).source;
        }
        let datagram = flight
            .datagrams(&hello("a.example", &["h3"], 0), 2000)
            .remove(0);
        let opening = bench.opening(spoofed, &datagram);
        assert_eq!(bench.assign(&opening, A).len(), 1);
        assert_eq!(bench.client(spoofed, &short(own, 40)), Verdict::To(A));
        bench.advance(Duration::from_secs(2));
        assert_eq!(bench.client(spoofed, &short(own, 40)), Verdict::To(A));
        let answer = flight.answer(server_id(20 + number as u8), LongKind::Handshake, 1160);
        let sent = (0..20)
            .filter(|_| bench.server(A, spoofed, &answer) == Reply::Send)
            .count();
        assert_eq!(sent, 3, "connection {number}");
    }
}

#[test]
fn q4_one_connection_validates_one_address_in_a_second() {
    let mut bench = Bench::usual();
    bench.established(1, 1, A, server_id(1));
    let packet = short(server_id(1), 100);
    let large = short(Flight::numbered(1).source, 1200);
    assert_eq!(bench.client(2, &packet), Verdict::To(A));
    assert!(bench.steering.is_validated(address(2)));
    for spoofed in 3..20 {
        // It goes where it belongs, and the address is sent no more than three times that.
        assert_eq!(bench.client(spoofed, &packet), Verdict::To(A));
        assert!(!bench.steering.is_validated(address(spoofed)));
        let too_much = Reply::Drop(DropReason::Amplification);
        assert_eq!(bench.server(A, spoofed, &large), too_much);
        assert_eq!(bench.server(A, spoofed, &large[..300]), Reply::Send);
    }
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.client(3, &packet), Verdict::To(A));
    assert!(bench.steering.is_validated(address(3)));
}

#[test]
fn a_server_that_goes_on_with_the_client_s_choice_proves_nothing_by_it() {
    let mut bench = Bench::usual();
    let chosen = Flight::numbered(1).destination;
    let flight = bench.connect(1, 1, A, chosen);
    let handshake = flight.opaque(LongKind::Handshake, 60);
    assert_eq!(bench.client(1, &handshake), Verdict::To(A));
    assert!(!bench.steering.is_validated(address(1)));
    // But its connections are followed.
    assert_eq!(bench.client(1, &short(chosen, 60)), Verdict::To(A));
    assert!(bench.steering.is_validated(address(1)));
    assert_eq!(bench.client(2, &short(chosen, 60)), Verdict::To(A));
}

#[test]
fn handshakes_from_one_address_are_bounded() {
    let mut bench = Bench::limited(|limits| limits.handshakes = 2);
    let first = |number| {
        let flight = Flight::numbered(number);
        flight
            .datagrams(&hello("a.example", &["h3"], 0), 2000)
            .remove(0)
    };
    for number in [1, 2] {
        let opening = bench.opening(1, &first(number));
        assert_eq!(bench.assign(&opening, A).len(), 1);
    }
    assert_eq!(
        bench.client(1, &first(3)),
        Verdict::Drop(DropReason::Handshakes)
    );
    // From another it is another matter, and in time they are forgotten.
    bench.opening(2, &first(3));
    bench.advance(SteeringLimits::default().opening_idle);
    bench.opening(1, &first(4));
}

#[test]
fn q2_holds_are_bounded_and_the_oldest_leave() {
    let limit = 3 * 3300 + 100;
    let mut bench = Bench::limited(|limits| {
        limits.held_bytes = limit;
        limits.held_datagrams = 2;
    });
    let message = hello("a.example", &["h3"], 1500);
    let datagrams = |number| Flight::numbered(number).datagrams(&message, 20);
    for number in 0..20 {
        assert_eq!(
            bench.client(number as u16, &datagrams(number)[0]),
            Verdict::Held
        );
        bench.clock.advance(Duration::from_millis(1));
        let counts = bench.steering.counts();
        assert!(counts.held_bytes <= limit, "{counts:?}");
    }
    assert!(bench.steering.counts().evicted_holds >= 17);
    // The last one is still there; the first is not.
    let last = datagrams(19);
    let opening = bench.opening(19, &last[1]);
    assert_eq!(
        bench.client(19, &last[1]),
        Verdict::Drop(DropReason::HoldFull)
    );
    assert_eq!(bench.assign(&opening, A), last);
    assert_eq!(bench.client(0, &datagrams(0)[1]), Verdict::Held);
    // Nothing stays.
    bench.advance(SteeringLimits::default().hold_time);
    let counts = bench.steering.counts();
    assert_eq!((counts.holds, counts.held_bytes), (0, 0));
    // A hello of which not even one datagram can be kept.
    let mut bench = Bench::limited(|limits| limits.held_bytes = 3000);
    let reason = Verdict::Unknown(UnknownReason::NoRoom);
    assert_eq!(bench.client(1, &datagrams(1)[0]), reason);
}

#[test]
fn q5_spoofed_openings_push_out_no_connection() {
    let mut bench = Bench::limited(|limits| {
        limits.openings = 8;
        limits.unvalidated = 8;
        limits.connections = 8;
        limits.addresses = 8;
    });
    bench.established(1, 1, A, server_id(1));
    for number in 2..100 {
        let flight = Flight::numbered(number);
        let datagram = flight
            .datagrams(&hello("a.example", &["h3"], 0), 2000)
            .remove(0);
        let opening = bench.opening(number as u16, &datagram);
        assert_eq!(bench.assign(&opening, B).len(), 1);
        let answer = flight.answer(server_id(number as u8), LongKind::Initial, 1000);
        assert_eq!(bench.server(B, number as u16, &answer), Reply::Send);
    }
    assert_eq!(bench.client(1, &short(server_id(1), 60)), Verdict::To(A));
    let source = Flight::numbered(1).source;
    assert_eq!(bench.server(A, 1, &short(source, 1200)), Reply::Send);
    let counts = bench.steering.counts();
    assert!(
        counts.connection_ids <= 16 && counts.addresses <= 16,
        "{counts:?}"
    );
    assert!(counts.evicted_connection_ids > 150, "{counts:?}");
}

#[test]
fn all_is_forgotten_in_time() {
    let mut bench = Bench::usual();
    bench.established(1, 1, A, server_id(1));
    bench.connect(2, 2, A, server_id(2));
    let limits = SteeringLimits::default();
    let due = bench.steering.poll_timeout().unwrap();
    assert_eq!(due, bench.now() + limits.opening_idle);
    bench.advance(limits.opening_idle);
    // The id that proved itself stays, with its address.
    assert_eq!(bench.steering.counts().connection_ids, 1);
    assert_eq!(bench.client(1, &short(server_id(1), 60)), Verdict::To(A));
    bench.advance(limits.connection_idle);
    assert_eq!(bench.steering.poll_timeout(), None);
    let counts = SteeringCounts {
        evicted_connection_ids: bench.steering.counts().evicted_connection_ids,
        ..SteeringCounts::default()
    };
    assert_eq!(bench.steering.counts(), counts);
}

#[test]
fn a_silent_client_may_be_sent_to_while_its_server_speaks() {
    let mut bench = Bench::usual();
    bench.established(1, 1, A, server_id(1));
    let source = Flight::numbered(1).source;
    for _ in 0..20 {
        bench.advance(Duration::from_mins(1));
        assert_eq!(bench.server(A, 1, &short(source, 1200)), Reply::Send);
    }
}

#[test]
fn an_endpoint_that_is_gone_is_forgotten() {
    let mut bench = Bench::usual();
    bench.established(1, 1, A, server_id(1));
    bench.established(2, 2, B, server_id(2));
    bench.steering.forget(A);
    let unknown = Verdict::Unknown(UnknownReason::Connection);
    assert_eq!(bench.client(1, &short(server_id(1), 60)), unknown);
    assert_eq!(bench.client(2, &short(server_id(2), 60)), Verdict::To(B));
}
