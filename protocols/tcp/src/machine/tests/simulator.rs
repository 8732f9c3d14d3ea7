//! Two peers and a relay between them in a seeded order of events: bytes trickle, ends and resets come anywhere.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use portcullis_filter::Random;

use super::start;
use crate::machine::{End, Input, Output, Relay, Side};

/// How a peer ends after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Fin,
    Reset,
}

/// One peer and its connection to the relay.
struct Peer {
    unsent: VecDeque<u8>,
    last: Option<Last>,
    /// Sent, and not yet read by the relay.
    wire: VecDeque<u8>,
    ended: Option<Last>,
    received: Vec<u8>,
    told: Option<Last>,
}

impl Peer {
    fn new(side: Side, count: usize, last: Last) -> Self {
        let first = if side == Side::Downstream { b'a' } else { b'A' };
        Self {
            unsent: (0..count).map(|at| first + (at % 26) as u8).collect(),
            last: Some(last),
            wire: VecDeque::new(),
            ended: None,
            received: Vec::new(),
            told: None,
        }
    }

    fn act(&mut self, count: usize) {
        if self.ended == Some(Last::Reset) {
            return;
        }
        let count = count.min(self.unsent.len());
        self.wire.extend(self.unsent.drain(..count));
        if self.unsent.is_empty()
            && let Some(last) = self.last.take()
        {
            self.ended = Some(last);
            if last == Last::Reset {
                // What a reset overtakes is lost.
                self.wire.clear();
            }
        }
    }
}

struct Simulation {
    peers: [Peer; 2],
    relay: Relay,
    random: Random,
    now: Instant,
}

impl Simulation {
    fn peer(&mut self, side: Side) -> &mut Peer {
        &mut self.peers[usize::from(side == Side::Upstream)]
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.next() % bound
    }

    fn run(&mut self) -> End {
        for _ in 0..100_000 {
            self.now += Duration::from_micros(1);
            let side = Side::BOTH[self.below(2) as usize];
            let count = 1 + self.below(3) as usize;
            if self.below(2) == 0 {
                self.peer(side).act(count);
            } else {
                self.pump(side, count);
            }
            if let Some(end) = self.relay.end() {
                return end;
            }
        }
        panic!("the relay does not end");
    }

    /// What a session does for one direction when it is polled.
    fn pump(&mut self, from: Side, count: usize) {
        if !self.relay.is_open(from) {
            return;
        }
        let input = if self.peer(from).ended == Some(Last::Reset) {
            Input::Reset(from)
        } else if !self.peer(from).wire.is_empty() {
            self.carry(from, count)
        } else if self.peer(from).ended == Some(Last::Fin) {
            Input::Ended(from)
        } else {
            return;
        };
        self.relay.handle(self.now, input);
        while let Some(output) = self.relay.poll_output() {
            match output {
                Output::Shut(side) => {
                    self.peer(side).told = Some(Last::Fin);
                    self.relay.handle(self.now, Input::Shut(side));
                }
                Output::Reset(side) => self.peer(side).told = Some(Last::Reset),
                Output::Close => {}
            }
        }
    }

    fn carry(&mut self, from: Side, count: usize) -> Input {
        if self.peer(from.other()).ended == Some(Last::Reset) {
            return Input::Refused(from.other());
        }
        let wire = &mut self.peer(from).wire;
        let count = count.min(wire.len());
        let bytes: Vec<u8> = wire.drain(..count).collect();
        self.peer(from.other()).received.extend(bytes);
        Input::Moved(from, count as u64)
    }
}

fn simulate(seed: u64, client: (usize, Last), server: (usize, Last)) -> (End, [Peer; 2]) {
    let now = start();
    let mut simulation = Simulation {
        peers: [
            Peer::new(Side::Downstream, client.0, client.1),
            Peer::new(Side::Upstream, server.0, server.1),
        ],
        relay: Relay::new(now, Duration::from_secs(10), None),
        random: Random::new(seed),
        now,
    };
    let end = simulation.run();
    let moved = Side::BOTH.map(|side| simulation.relay.bytes(side));
    let [client, server] = &simulation.peers;
    let received = [server.received.len(), client.received.len()].map(|count| count as u64);
    assert_eq!(moved, received, "every byte is counted once");
    (end, simulation.peers)
}

fn sent(side: Side, count: usize) -> Vec<u8> {
    Peer::new(side, count, Last::Fin).unsent.into()
}

/// F2: whatever is cut where, each peer has a prefix of what the other sent, in order, and learns how it ended.
#[test]
fn f2_a_cut_at_every_byte_leaves_prefixes_and_tells_the_other_side() {
    const BYTES: usize = 9;
    for at in 0..=BYTES {
        for seed in 0..40 {
            for (cutter, client, server) in [
                (Side::Downstream, (at, Last::Reset), (BYTES, Last::Fin)),
                (Side::Upstream, (BYTES, Last::Fin), (at, Last::Reset)),
            ] {
                let (end, [down, up]) = simulate(seed, client, server);
                let name = format!("{cutter:?} resets at {at}, seed {seed}");
                let other = if cutter == Side::Downstream {
                    &up
                } else {
                    &down
                };
                assert_eq!(end, End::Reset(cutter), "{name}");
                assert_eq!(other.told, Some(Last::Reset), "{name}");
                assert!(
                    sent(Side::Downstream, client.0).starts_with(&up.received),
                    "{name}"
                );
                assert!(
                    sent(Side::Upstream, server.0).starts_with(&down.received),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn f2_orderly_ends_lose_nothing_at_any_length() {
    for client in 0..8 {
        for server in 0..8 {
            for seed in 0..20 {
                let (end, [down, up]) = simulate(seed, (client, Last::Fin), (server, Last::Fin));
                assert_eq!(end, End::Complete);
                assert_eq!(up.received, sent(Side::Downstream, client));
                assert_eq!(down.received, sent(Side::Upstream, server));
                assert_eq!([down.told, up.told], [Some(Last::Fin); 2]);
            }
        }
    }
}
