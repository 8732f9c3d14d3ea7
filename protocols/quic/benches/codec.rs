//! Headers, ClientHellos, and datagrams of open connections through the machine.
//!
//! Not a measurement of a proxy. Wall clock on shared machines wanders: compare within one run, or count instructions:
//! `valgrind --tool=callgrind <bench binary> --once`. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)] // a bench may fail loudly

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use portcullis_quic::steering::Reply;
use portcullis_quic::{
    ConnectionId, HeaderLimits, LongKind, Packets, Steering, SteeringConfig, Target, Verdict,
};
use support::{Flight, hello, id, short};

/// How many connections are open.
const CONNECTIONS: u64 = 10_000;

fn address(number: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 4433))
}

fn server_id(number: u64) -> ConnectionId {
    id(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

#[inline(never)]
fn headers(datagram: &[u8]) -> usize {
    let packets = Packets::new(datagram, 8, HeaderLimits::default());
    packets.filter_map(Result::ok).count()
}

/// A new connection up to its route.
#[inline(never)]
fn opening(steering: &mut Steering, now: Instant, datagrams: &[Vec<u8>]) -> usize {
    let mut out = BytesMut::new();
    for datagram in datagrams {
        if let Verdict::Opening(opening) = steering.on_client(now, address(0), datagram, &mut out) {
            let held = steering.assign(now, opening.id, Target(1)).len();
            // So that the next round is new again.
            steering.forget(Target(1));
            return held;
        }
    }
    0
}

#[inline(never)]
fn client(steering: &mut Steering, now: Instant, number: u64, datagram: &[u8]) -> Verdict {
    steering.on_client(now, address(number), datagram, &mut BytesMut::new())
}

#[inline(never)]
fn server(steering: &mut Steering, now: Instant, number: u64, datagram: &[u8]) -> Reply {
    steering.on_server(now, Target(1), address(number), datagram)
}

/// A bench is what clocks are for.
#[allow(clippy::disallowed_methods)]
fn time(name: &str, rounds: u64, mut run: impl FnMut(u64)) {
    let start = Instant::now();
    for round in 0..rounds {
        run(black_box(round));
    }
    let nanos = start.elapsed().as_nanos() / u128::from(rounds);
    println!("{name:28} {nanos} ns");
}

/// With so many connections open, each from an address of its own.
fn established(now: Instant) -> Steering {
    let mut steering = Steering::new(SteeringConfig::default(), 1);
    let mut out = BytesMut::new();
    for number in 0..CONNECTIONS {
        let flight = Flight::numbered(number);
        let datagram = flight
            .datagrams(&hello("a.example", &["h3"], 0), 2000)
            .remove(0);
        let from = address(number);
        if let Verdict::Opening(opening) = steering.on_client(now, from, &datagram, &mut out) {
            drop(steering.assign(now, opening.id, Target(1)));
        }
        let answer = flight.answer(server_id(number), LongKind::Initial, 1000);
        assert_eq!(
            steering.on_server(now, Target(1), from, &answer),
            Reply::Send
        );
        let verdict = client(&mut steering, now, number, &short(server_id(number), 100));
        assert_eq!(verdict, Verdict::To(Target(1)));
    }
    steering
}

#[allow(clippy::disallowed_methods)]
fn main() {
    let once = std::env::args().any(|argument| argument == "--once");
    let rounds = if once { 1000 } else { 1_000_000 };
    let now = Instant::now();
    let flight = Flight::numbered(1);
    let usual = flight.datagrams(&hello("www.example.com", &["h3"], 200), 2000);
    let quantum = flight.datagrams(&hello("www.example.com", &["h3"], 1400), 1100);
    time("headers of an Initial", rounds, |_| {
        black_box(headers(black_box(&usual[0])));
    });
    let mut steering = Steering::new(SteeringConfig::default(), 1);
    for (name, datagrams) in [
        ("a hello in one datagram", &usual),
        ("a hello in two", &quantum),
    ] {
        time(name, rounds / 100, |_| {
            assert_eq!(
                opening(&mut steering, now, black_box(datagrams)),
                datagrams.len()
            );
        });
    }
    let mut steering = established(now);
    let from_clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| short(server_id(number), 1200))
        .collect();
    let to_client = short(flight.source, 1200);
    time("from a client, one", rounds, |_| {
        drop(black_box(client(&mut steering, now, 7, &from_clients[7])));
    });
    time("from a client, all", rounds, |round| {
        let number = round.wrapping_mul(7919) % CONNECTIONS;
        let datagram = &from_clients[number as usize];
        drop(black_box(client(&mut steering, now, number, datagram)));
    });
    time("from a server, one", rounds, |_| {
        let _ = black_box(server(&mut steering, now, 7, &to_client));
    });
    time("from a server, all", rounds, |round| {
        let number = round.wrapping_mul(7919) % CONNECTIONS;
        let _ = black_box(server(&mut steering, now, number, &to_client));
    });
}
