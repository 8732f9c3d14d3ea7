//! Rows for each bound, and any sequence of calls against a plain list.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

const LIMITS: FlowLimits = FlowLimits {
    idle: Duration::from_secs(10),
    flows: 4,
    evict: false,
    per_source: 3,
    replies: None,
    amplification: None,
};

fn flows(limits: FlowLimits) -> Flows {
    Flows::new(limits, RandomState::default())
}

#[allow(clippy::disallowed_methods)] // any instant will do
fn start() -> Instant {
    Instant::now()
}

fn key(host: u8, port: u16) -> FlowKey {
    FlowKey {
        client: ([192, 0, 2, host], port).into(),
        lane: 0,
    }
}

fn open(flows: &mut Flows, now: Instant, key: FlowKey) -> Result<FlowId, Refusal> {
    if let Some(oldest) = flows.room(key.client, false)? {
        flows.close(oldest);
    }
    Ok(flows.open(now, key))
}

#[test]
fn a_flow_ends_when_nothing_has_moved_for_too_long() {
    let mut flows = flows(LIMITS);
    let t = start();
    let second = Duration::from_secs(1);
    assert_eq!(flows.poll_timeout(), None);
    let a = open(&mut flows, t, key(1, 1)).unwrap();
    let b = open(&mut flows, t + second, key(1, 2)).unwrap();
    assert_eq!(flows.poll_timeout(), Some(t + LIMITS.idle));
    flows.on_up(t + second * 2, a, Moved::one(5));
    assert_eq!(flows.poll_timeout(), Some(t + second + LIMITS.idle));
    flows.on_down(t + second * 3, b, Moved::one(7)).unwrap();
    assert_eq!(flows.poll_timeout(), Some(t + second * 2 + LIMITS.idle));
    assert_eq!(flows.expired(t + second * 11), None);
    assert_eq!(flows.expired(t + second * 12), Some(a));
    let closed = flows.close(a).unwrap();
    assert_eq!((closed.up.datagrams, closed.up.bytes), (1, 5));
    assert_eq!(flows.close(a), None);
    assert_eq!(flows.find(&key(1, 1)), None);
    assert_eq!(flows.find(&key(1, 2)), Some(b));
}

#[test]
fn names_are_not_given_twice() {
    let mut flows = flows(LIMITS);
    let t = start();
    let old = flows.open(t, key(1, 1));
    flows.close(old);
    let new = flows.open(t, key(1, 1));
    assert_eq!(old.index(), new.index());
    assert_ne!(old, new);
    flows.on_up(t, old, Moved::one(5));
    assert_eq!(flows.close(old), None);
    assert_eq!(flows.close(new).unwrap().up, Moved::default());
}

#[test]
fn there_is_room_for_so_many() {
    let mut refusing = flows(LIMITS);
    let t = start();
    for port in 1..=3 {
        open(&mut refusing, t, key(1, port)).unwrap();
    }
    assert_eq!(
        refusing.room(key(1, 4).client, false),
        Err(Refusal::SourceFull)
    );
    open(&mut refusing, t, key(2, 1)).unwrap();
    assert_eq!(
        refusing.room(key(3, 1).client, false),
        Err(Refusal::TableFull)
    );

    let mut evicting = flows(FlowLimits {
        evict: true,
        ..LIMITS
    });
    let first = open(&mut evicting, t, key(1, 1)).unwrap();
    let second = open(&mut evicting, t, key(2, 1)).unwrap();
    open(&mut evicting, t, key(3, 1)).unwrap();
    open(&mut evicting, t, key(4, 1)).unwrap();
    evicting.on_up(t, first, Moved::one(1));
    assert_eq!(evicting.room(key(5, 1).client, false), Ok(Some(second)));
    open(&mut evicting, t, key(5, 1)).unwrap();
    evicting.close(first);
    assert_eq!(evicting.room(key(6, 1).client, false), Ok(None));
    assert!(evicting.room(key(6, 1).client, true).unwrap().is_some());
    evicting.open(t, key(1, 1));
    assert_eq!(evicting.len(), 4);
    assert_eq!(evicting.find(&key(2, 1)), None);
}

#[test]
fn a_customer_of_ipv6_is_one_source() {
    let address = |text: &str| FlowKey {
        client: text.parse().unwrap(),
        lane: 0,
    };
    let rows = [
        ("[2001:db8::1]:1", "[2001:db8::2]:1", true),
        ("[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1:2", true),
        ("192.0.2.1:1", "192.0.2.2:1", false),
    ];
    for (one, other, same) in rows {
        let mut flows = flows(FlowLimits {
            per_source: 1,
            ..LIMITS
        });
        flows.open(start(), address(one));
        assert_eq!(
            flows.room(address(other).client, false).is_err(),
            same,
            "{one} {other}"
        );
    }
}

#[test]
fn so_much_comes_back() {
    let t = start();
    let row = |limits: FlowLimits, ups: &[usize], downs: &[usize]| {
        let mut flows = flows(limits);
        let id = flows.open(t, key(1, 1));
        for bytes in ups {
            flows.on_up(t, id, Moved::one(*bytes));
        }
        let answers: Vec<_> = downs
            .iter()
            .map(|bytes| flows.on_down(t, id, Moved::one(*bytes)).err())
            .collect();
        answers
    };
    let replies = FlowLimits {
        replies: Some(2),
        ..LIMITS
    };
    assert_eq!(
        row(replies, &[1], &[9, 9, 9]),
        [None, None, Some(Refusal::Replies)]
    );
    assert_eq!(row(replies, &[1, 1], &[9, 9, 9]), [None, None, None]);
    assert_eq!(row(replies, &[], &[0]), [Some(Refusal::Replies)]);
    let ratio = FlowLimits {
        amplification: Some(3),
        ..LIMITS
    };
    let too_much = Some(Refusal::Amplification);
    assert_eq!(row(ratio, &[10], &[30, 1]), [None, too_much]);
    assert_eq!(row(ratio, &[10], &[31, 30]), [too_much, None]);
    assert_eq!(row(ratio, &[0], &[0, 1]), [None, too_much]);
    assert_eq!(row(LIMITS, &[], &[65_000, 9, 9]), [None, None, None]);
}

#[derive(Debug, Clone)]
enum Call {
    Up(u8, u16, usize),
    Down(u8, u16, usize),
    Close(u8, u16),
    Wait(u8),
    Expire,
}

fn call() -> impl Strategy<Value = Call> {
    let (host, port) = (0..3_u8, 0..4_u16);
    prop_oneof![
        4 => (host.clone(), port.clone(), 0..100_usize).prop_map(|(h, p, b)| Call::Up(h, p, b)),
        2 => (host.clone(), port.clone(), 0..200_usize).prop_map(|(h, p, b)| Call::Down(h, p, b)),
        1 => (host, port).prop_map(|(h, p)| Call::Close(h, p)),
        2 => (0..8_u8).prop_map(Call::Wait),
        1 => Just(Call::Expire),
    ]
}

proptest! {
    #[test]
    fn any_calls_keep_the_tables_right(calls in proptest::collection::vec(call(), 0..200), evict: bool) {
        let mut flows = flows(FlowLimits { evict, replies: Some(2), amplification: Some(3), ..LIMITS });
        let mut now = start();
        for call in calls {
            match call {
                Call::Up(host, port, bytes) => {
                    let key = key(host, port);
                    let id = match flows.find(&key) {
                        Some(id) => Ok(id),
                        None => open(&mut flows, now, key),
                    };
                    if let Ok(id) = id {
                        flows.on_up(now, id, Moved::one(bytes));
                    }
                }
                Call::Down(host, port, bytes) => {
                    if let Some(id) = flows.find(&key(host, port)) {
                        let _ = flows.on_down(now, id, Moved::one(bytes));
                    }
                }
                Call::Close(host, port) => {
                    let found = flows.find(&key(host, port));
                    prop_assert_eq!(found.is_some(), found.and_then(|id| flows.close(id)).is_some());
                }
                Call::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                Call::Expire => {
                    while let Some(id) = flows.expired(now) {
                        prop_assert!(flows.close(id).is_some());
                    }
                    prop_assert!(flows.poll_timeout().is_none_or(|at| at > now));
                }
            }
            prop_assert!(flows.len() <= LIMITS.flows);
            flows.check_invariants();
        }
    }
}

#[test]
fn sources_are_spread_by_address_or_by_socket() {
    let of = |text: &str, port| source_hash(text.parse().unwrap(), port);
    assert_eq!(of("192.0.2.1:1", false), of("[::ffff:192.0.2.1]:2", false));
    assert_ne!(of("192.0.2.1:1", true), of("192.0.2.1:2", true));
    assert_ne!(of("192.0.2.1:1", false), of("192.0.2.2:1", false));
}
