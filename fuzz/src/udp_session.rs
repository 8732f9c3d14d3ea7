//! The flows of UDP under any calls, against a plain list of what should be.
//!
//! The list knows no order and no tables: it is looked through. Not the sockets. Start at [`session`].

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use foldhash::quality::RandomState;
use portcullis_udp::machine::{FlowId, FlowKey, FlowLimits, Flows, Moved, Refusal, source};

/// What can happen.
#[derive(Debug, Arbitrary)]
enum Operation {
    /// A client sends datagrams.
    Up {
        client: u8,
        lane: u8,
        datagrams: u8,
        bytes: u16,
    },
    /// An endpoint answers.
    Down { flow: u8, datagrams: u8, bytes: u16 },
    /// The network ends a flow.
    Close { flow: u8 },
    /// Time passes.
    Wait { millis: u16 },
    /// A reload changes the bounds.
    Limits(Limits),
}

#[derive(Debug, Arbitrary)]
struct Limits {
    idle: u8,
    flows: u8,
    evict: bool,
    per_source: u8,
    replies: Option<u8>,
    amplification: Option<u8>,
}

/// A flow as it should be.
struct Expected {
    id: FlowId,
    key: FlowKey,
    active_at: Instant,
    up: Moved,
    down: Moved,
}

/// Plays operations that are made of the input.
///
/// # Panics
/// The machine and the list do not agree.
pub fn session(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(limits) = Limits::arbitrary(&mut input) else {
        return;
    };
    let mut world = World::new(&limits);
    while let Ok(operation) = Operation::arbitrary(&mut input) {
        world.play(&operation);
        world.check();
        if input.is_empty() {
            return;
        }
    }
}

struct World {
    now: Instant,
    limits: FlowLimits,
    flows: Flows,
    expected: Vec<Expected>,
}

fn limits_of(limits: &Limits) -> FlowLimits {
    FlowLimits {
        idle: Duration::from_millis(u64::from(limits.idle) * 100 + 1),
        flows: usize::from(limits.flows % 16) + 1,
        evict: limits.evict,
        per_source: usize::from(limits.per_source % 16) + 1,
        replies: limits.replies.map(u32::from),
        amplification: limits.amplification.map(u32::from),
    }
}

/// Four machines of IPv4, and one network of IPv6, with a few ports each.
fn client(number: u8) -> SocketAddr {
    let port = 1 + u16::from(number >> 4 & 3);
    match number & 7 {
        host @ 0..=3 => ([192, 0, 2, host], port).into(),
        host => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)], port).into(),
    }
}

impl World {
    #[allow(clippy::disallowed_methods)] // any instant will do
    fn new(limits: &Limits) -> Self {
        let limits = limits_of(limits);
        Self {
            now: Instant::now(),
            limits,
            flows: Flows::new(limits, RandomState::default()),
            expected: Vec::new(),
        }
    }

    fn play(&mut self, operation: &Operation) {
        match *operation {
            Operation::Up {
                client: number,
                lane,
                datagrams,
                bytes,
            } => {
                let key = FlowKey {
                    client: client(number),
                    lane: u64::from(lane & 1),
                };
                let moved = moved(datagrams, bytes);
                if let Some(index) = self.find_or_open(key) {
                    let flow = &mut self.expected[index];
                    self.flows.on_up(self.now, flow.id, moved);
                    flow.active_at = self.now;
                    flow.up.datagrams += moved.datagrams;
                    flow.up.bytes += moved.bytes;
                }
            }
            Operation::Down {
                flow,
                datagrams,
                bytes,
            } => self.down(flow, moved(datagrams, bytes)),
            Operation::Close { flow } => {
                if let Some(index) = usize::from(flow).checked_rem(self.expected.len()) {
                    self.close(index);
                }
            }
            Operation::Wait { millis } => {
                self.now += Duration::from_millis(millis.into());
                self.expire();
            }
            Operation::Limits(ref limits) => {
                self.limits = limits_of(limits);
                self.flows.set_limits(self.limits);
            }
        }
    }

    fn find_or_open(&mut self, key: FlowKey) -> Option<usize> {
        let known = self.expected.iter().position(|flow| flow.key == key);
        assert_eq!(self.flows.find(&key).is_some(), known.is_some());
        if known.is_some() {
            return known;
        }
        let of_source = |flow: &&Expected| source(flow.key.client.ip()) == source(key.client.ip());
        let room = self.flows.room(key.client, false);
        if self.expected.iter().filter(of_source).count() >= self.limits.per_source {
            assert_eq!(room, Err(Refusal::SourceFull));
            return None;
        }
        match room {
            Ok(None) => assert!(self.expected.len() < self.limits.flows),
            Ok(Some(oldest)) => {
                assert!(self.limits.evict && self.expected.len() >= self.limits.flows);
                let index = self.expected.iter().position(|flow| flow.id == oldest);
                let index = index.expect("an eviction names a flow");
                let least = self.expected.iter().map(|flow| flow.active_at).min();
                assert_eq!(
                    Some(self.expected[index].active_at),
                    least,
                    "the oldest goes"
                );
                self.close(index);
            }
            Err(refusal) => {
                assert_eq!(refusal, Refusal::TableFull);
                assert!(!self.limits.evict && self.expected.len() >= self.limits.flows);
                return None;
            }
        }
        let id = self.flows.open(self.now, key);
        self.expected.push(Expected {
            id,
            key,
            active_at: self.now,
            up: Moved::default(),
            down: Moved::default(),
        });
        Some(self.expected.len() - 1)
    }

    fn down(&mut self, flow: u8, moved: Moved) {
        let Some(index) = usize::from(flow).checked_rem(self.expected.len()) else {
            return;
        };
        let flow = &mut self.expected[index];
        let after = Moved {
            datagrams: flow.down.datagrams + moved.datagrams,
            bytes: flow.down.bytes + moved.bytes,
        };
        let over = |most: Option<u32>, after: u64, asked: u64| {
            most.is_some_and(|most| after > asked * u64::from(most))
        };
        let answer = self.flows.on_down(self.now, flow.id, moved);
        let expected = if over(self.limits.replies, after.datagrams, flow.up.datagrams) {
            Err(Refusal::Replies)
        } else if over(self.limits.amplification, after.bytes, flow.up.bytes) {
            Err(Refusal::Amplification)
        } else {
            Ok(())
        };
        assert_eq!(answer, expected);
        if answer.is_ok() {
            flow.down = after;
            flow.active_at = self.now;
        }
    }

    fn close(&mut self, index: usize) {
        let expected = self.expected.swap_remove(index);
        let closed = self.flows.close(expected.id).expect("a flow that is open");
        assert_eq!(
            (closed.key, closed.active_at, closed.up, closed.down),
            (expected.key, expected.active_at, expected.up, expected.down)
        );
        assert_eq!(self.flows.close(expected.id), None, "closed once");
    }

    fn expire(&mut self) {
        while let Some(id) = self.flows.expired(self.now) {
            let index = self.expected.iter().position(|flow| flow.id == id);
            let index = index.expect("what expires was open");
            assert!(self.expected[index].active_at + self.limits.idle <= self.now);
            self.close(index);
        }
    }

    fn check(&self) {
        self.flows.check_invariants();
        assert_eq!(self.flows.len(), self.expected.len());
        let next = self.expected.iter().map(|flow| flow.active_at).min();
        assert_eq!(
            self.flows.poll_timeout(),
            next.map(|at| at + self.limits.idle)
        );
        for flow in &self.expected {
            assert_eq!(self.flows.find(&flow.key), Some(flow.id));
        }
    }
}

fn moved(datagrams: u8, bytes: u16) -> Moved {
    Moved {
        datagrams: u64::from(datagrams) + 1,
        bytes: bytes.into(),
    }
}
