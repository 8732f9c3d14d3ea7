//! Maps as nodes say them, and as nobody should believe them.

use bytes::{Bytes, BytesMut};

use super::*;
use crate::encoder;
use crate::message::parse;

/// RESP of a short notation: words are strings, numbers are numbers, `[…]` arrays, `nil` is nil.
fn value(text: &str) -> Value {
    let spaced = text.replace('[', " [ ").replace(']', " ] ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut wire = BytesMut::new();
    for (index, word) in words.iter().enumerate() {
        match *word {
            "[" => encoder::array(elements(&words[index + 1..]), &mut wire),
            "]" => {}
            "nil" => wire.extend_from_slice(b"$-1\r\n"),
            "''" => encoder::bulk(b"", &mut wire),
            word => match word.parse() {
                Ok(number) => encoder::integer(number, &mut wire),
                Err(_) => encoder::bulk(word.as_bytes(), &mut wire),
            },
        }
    }
    parse(wire.freeze()).unwrap()
}

/// How many values there are until the array ends.
fn elements(words: &[&str]) -> usize {
    let (mut depth, mut count) = (0, 0);
    for word in words {
        count += usize::from(depth == 0 && *word != "]");
        match *word {
            "[" => depth += 1,
            "]" if depth == 0 => break,
            "]" => depth -= 1,
            _ => {}
        }
    }
    count
}

fn read(slots: &str) -> Result<SlotMap, MapError> {
    SlotMap::read(&value(slots), None, "seed", false)
}

fn owner(map: &SlotMap, slot: u16) -> String {
    let owner = map.owner(slot);
    owner.map_or_else(String::new, |node| {
        map.nodes()[usize::from(node)].to_string()
    })
}

#[test]
fn a_map_of_three_with_replicas() {
    let map = read(
        "[[5461 10922 [10.0.0.2 7001 b []] [10.0.0.5 7004 e []]]
          [0 5460 [10.0.0.1 7000 a []] [10.0.0.4 7003 d []]]
          [10923 16383 [10.0.0.3 7002 c []]]]",
    )
    .unwrap();
    for (slot, expected) in [
        (0, "10.0.0.1:7000"),
        (5460, "10.0.0.1:7000"),
        (5461, "10.0.0.2:7001"),
        (10_923, "10.0.0.3:7002"),
        (16_383, "10.0.0.3:7002"),
        (16_384, ""),
    ] {
        assert_eq!(owner(&map, slot), expected, "{slot}");
    }
    assert_eq!(map.nodes().len(), 5);
    let primaries = map.primaries().iter();
    let ports: Vec<u16> = primaries
        .map(|node| map.nodes()[usize::from(*node)].port())
        .collect();
    assert_eq!(ports, [7000, 7001, 7002]);
    let replicas = map.primaries().iter().map(|primary| {
        let replicas = map.replicas(*primary);
        let ports = replicas.map(|node| map.nodes()[usize::from(node)].port());
        ports.collect()
    });
    let replicas: Vec<Vec<u16>> = replicas.collect();
    assert_eq!(replicas, [vec![7003], vec![7004], vec![]]);
}

#[test]
fn replicas_are_there_once_and_are_not_their_primary() {
    let map = read(
        "[[0 1 [a 1 x] [b 2 y] [? 3 z] [c 4 w] [a 1 x]]
          [5 6 [a 1 x] [b 2 y] [b 2 y]]
          [7 8 [? 9 v] [b 2 y]]]",
    );
    let map = map.unwrap();
    let ports: Vec<u16> = map
        .replicas(0)
        .map(|node| map.nodes()[usize::from(node)].port())
        .collect();
    assert_eq!(ports, [2, 4]);
    assert_eq!(map.replicas(1).count(), 0);
    assert_eq!(map.replicas(u16::MAX).count(), 0);
}

#[test]
fn hosts_that_nodes_do_not_know() {
    let cases = [
        ("nil is the seed", "[[0 1 [nil 7000 a]]]", "seed:7000"),
        ("so is nothing", "[[0 1 ['' 7000 a]]]", "seed:7000"),
        ("a name", "[[0 1 [a.example 7000 a []]]]", "a.example:7000"),
        ("IPv6", "[[0 1 [::1 7000 a []]]]", "[::1]:7000"),
        ("an old version", "[[0 1 [::1 7000]]]", "[::1]:7000"),
        (
            "an unknown name has its address beside it",
            "[[0 1 [? 7000 a [ip 10.0.0.9]]]]",
            "10.0.0.9:7000",
        ),
    ];
    for (name, slots, expected) in cases {
        assert_eq!(owner(&read(slots).unwrap(), 1), expected, "{name}");
    }
    let map = read("[[0 1 [? 7000 a []] [::1 7001 b []]] [2 2 [::1 7001 b []]]]").unwrap();
    assert_eq!(map.owner(0), None, "its replica does not take its place");
    assert_eq!(owner(&map, 2), "[::1]:7001");
}

#[test]
fn what_is_no_map() {
    let cases = [
        ("no array", "7", MapError::Shape),
        ("nothing", "[]", MapError::Empty),
        ("no ranges", "[1 2]", MapError::Shape),
        ("no node", "[[0 1]]", MapError::Shape),
        ("a node without a port", "[[0 1 [a]]]", MapError::Shape),
        ("a node that is none", "[[0 1 a]]", MapError::Shape),
        (
            "nobody who says where it is",
            "[[0 1 [? 1]]]",
            MapError::Empty,
        ),
        (
            "a host with a space is none",
            "[[0 1 [a/b 1]]]",
            MapError::Empty,
        ),
        ("port 0", "[[0 1 [a 0]]]", MapError::Empty),
        ("a slot too large", "[[0 16384 [a 1]]]", MapError::Slot),
        ("a negative slot", "[[-1 1 [a 1]]]", MapError::Slot),
        (
            "an end before the beginning",
            "[[2 1 [a 1]]]",
            MapError::Slot,
        ),
        ("a slot twice", "[[0 5 [a 1]] [5 9 [b 1]]]", MapError::Slot),
        (
            "all slots twice",
            "[[0 16383 [a 1]] [0 16383 [a 1]]]",
            MapError::Slot,
        ),
    ];
    for (name, slots, error) in cases {
        assert_eq!(read(slots).err(), Some(error), "{name}");
    }
}

#[test]
fn too_many_nodes_are_refused() {
    let range = |slot: usize| format!("[{slot} {slot} [n{slot} 1]]");
    let map = |count| read(&format!("[{}]", (0..count).map(range).collect::<String>()));
    assert_eq!(map(MOST_NODES).unwrap().nodes().len(), MOST_NODES);
    assert_eq!(map(MOST_NODES + 1).err(), Some(MapError::TooManyNodes));
}

#[test]
fn nodes_without_slots_come_from_shards() {
    let slots = value("[[0 16383 [10.0.0.1 7000 a []]]]");
    let shards = value(
        "[[slots [0 16383] nodes [[id a port 7000 ip 10.0.0.1 endpoint 10.0.0.1 role master]]]
          [slots [] nodes [[id b port 7001 tls-port 8001 ip 10.0.0.2 endpoint '' role master]]]
          [slots [] nodes [[id c port 7002 ip 10.0.0.3 endpoint ? role master]]]
          [slots []] 7]",
    );
    for (has_tls, second) in [(false, "seed:7001"), (true, "seed:8001")] {
        let map = SlotMap::read(&slots, Some(&shards), "seed", has_tls).unwrap();
        let nodes: Vec<String> = map.nodes().iter().map(ToString::to_string).collect();
        assert_eq!(nodes, ["10.0.0.1:7000", second, "10.0.0.3:7002"]);
        assert_eq!(map.primaries(), [0]);
    }
}

#[test]
fn moves_are_noted() {
    let mut map = read("[[0 16383 [a 1] [b 1]]]").unwrap();
    let other = NodeAddress::new(b"b", 1).unwrap();
    let number = map.find(&other).unwrap();
    map.assign(7, number);
    map.assign(7, 99);
    map.assign(u16::MAX, number);
    assert_eq!(
        (owner(&map, 7), owner(&map, 8)),
        ("b:1".into(), "a:1".into())
    );
    assert_eq!(map.primaries(), [0, 1]);
    let stranger = NodeAddress::new(b"c", 1).unwrap();
    assert_eq!(map.find(&stranger), None);
    assert_eq!(map.add(&stranger), map.find(&stranger));
}

/// Anything may be in the place of anything.
#[test]
fn any_reply_does_no_harm() {
    let good = b"*1\r\n*3\r\n:0\r\n:99\r\n*4\r\n$1\r\na\r\n:7000\r\n$1\r\nx\r\n*0\r\n";
    for index in 0..good.len() {
        for byte in *b"*$:+-_%~0129\r\n\0" {
            let mut other = good.to_vec();
            other[index] = byte;
            if let Ok(value) = parse(Bytes::from(other)) {
                let _ = SlotMap::read(&value, Some(&value), "seed", false);
            }
        }
    }
}
