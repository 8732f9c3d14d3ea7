use std::collections::HashMap;

use super::placement::in_order;
use super::slot::crc16;
use super::*;

fn shards(named: &[(&str, u32)]) -> Vec<Shard> {
    let shards = named.iter().map(|(name, weight)| Shard {
        name: (*name).to_owned(),
        weight: *weight,
    });
    shards.collect()
}

fn numbered(count: usize) -> Vec<Shard> {
    let names: Vec<String> = (0..count)
        .map(|number| format!("10.0.0.{number}:6379"))
        .collect();
    shards(
        &names
            .iter()
            .map(|name| (name.as_str(), 1))
            .collect::<Vec<_>>(),
    )
}

fn key(number: usize) -> Vec<u8> {
    format!("user:{number}:profile").into_bytes()
}

fn place(shards: &[Shard], distribution: Distribution) -> Placement {
    Placement::new(
        shards,
        distribution,
        KeyHash::default(),
        Some(HashTag::REDIS),
    )
}

#[test]
fn slots_are_as_the_specification_says() {
    assert_eq!(crc16(b"123456789"), 0x31c3);
    let rows: [(&str, &[u8], u16); 8] = [
        ("plain", b"foo", 12_182),
        ("other", b"bar", 5061),
        ("empty", b"", 0),
        ("tag", b"{foo}.following", 12_182),
        ("tag in the middle", b"a{foo}b", 12_182),
        ("first tag only", b"{foo}{bar}", 12_182),
        ("up to the first end", b"x{bar}}", 5061),
        ("no end", b"{foo", crc16(b"{foo") & 0x3fff),
    ];
    for (name, key, expected) in rows {
        assert_eq!(slot(key), expected, "{name}");
    }
}

#[test]
fn tags_are_what_is_between() {
    let dollars = HashTag {
        open: b'$',
        close: b'$',
    };
    let rows: [(&str, HashTag, &[u8], &[u8]); 11] = [
        ("tag", HashTag::REDIS, b"{a}b", b"a"),
        ("empty tag", HashTag::REDIS, b"a{}b{c}", b"a{}b{c}"),
        ("two opened", HashTag::REDIS, b"a{{b}c", b"{b"),
        ("end before the beginning", HashTag::REDIS, b"}a{b}", b"b"),
        ("never ended", HashTag::REDIS, b"a{b", b"a{b"),
        ("opened at the end", HashTag::REDIS, b"a{", b"a{"),
        ("binary", HashTag::REDIS, b"\r\n{\0\xff}", b"\0\xff"),
        ("nothing", HashTag::REDIS, b"", b""),
        ("same byte", dollars, b"a$b$c", b"b"),
        ("same byte, nothing between", dollars, b"a$$c$", b"a$$c$"),
        ("same byte once", dollars, b"a$b", b"a$b"),
    ];
    for (name, tag, key, expected) in rows {
        assert_eq!(tag.part(key), expected, "{name}");
    }
    assert_eq!(HashTag::of(b"{}"), Some(HashTag::REDIS));
    assert_eq!(HashTag::of(b"{"), None);
}

#[test]
fn hash_functions_are_twemproxys() {
    // Published values where there are any; all are held against nutcracker by the end-to-end tests.
    let rows: [(KeyHash, &[u8], u32); 9] = [
        (KeyHash::Crc32a, b"123456789", 0xcbf4_3926),
        (KeyHash::Crc32, b"123456789", 0x4bf4),
        (KeyHash::Fnv1a32, b"foobar", 0xbf9c_f968),
        (KeyHash::Fnv132, b"foobar", 0x31f0_b262),
        (KeyHash::Fnv164, b"foobar", 0xa4dd_a9c2),
        (
            KeyHash::Md5,
            b"abc",
            u32::from_le_bytes([0x90, 0x01, 0x50, 0x98]),
        ),
        (KeyHash::OneAtATime, b"a", 0xca2e_9442),
        (KeyHash::Crc16, b"1", u32::from(crc16(b"1"))),
        (KeyHash::Hsieh, b"", 0),
    ];
    for (hash, key, expected) in rows {
        assert_eq!(
            hash.hash(key),
            expected,
            "{hash:?} of {}",
            key.escape_ascii()
        );
    }
    for (hash, name) in KeyHash::NAMES {
        assert_eq!(KeyHash::of(name), Some(hash));
        for length in 0..40 {
            let _ = hash.hash(&vec![0xff; length]);
        }
    }
    assert_eq!(KeyHash::of("sha1"), None);
}

#[test]
fn names_leave_out_the_port_of_memcached() {
    assert_eq!(shard_name("10.0.0.1", 6379), "10.0.0.1:6379");
    assert_eq!(shard_name("10.0.0.1", 11_211), "10.0.0.1");
}

#[test]
fn twemproxys_order_is_by_length_first() {
    let shards = shards(&[("gamma", 1), ("beta", 1), ("alpha", 1)]);
    let order: Vec<usize> = in_order(&shards).map(|(index, _)| index).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn rings_have_points_by_weight() {
    type Row = (&'static str, &'static [(&'static str, u32)], usize);
    let rows: [Row; 5] = [
        ("alone", &[("a", 1)], 160),
        ("equal", &[("a", 1), ("b", 1), ("c", 1)], 480),
        ("two to one", &[("a", 2), ("b", 1)], 212 + 104),
        ("one without", &[("a", 1), ("b", 0)], 320),
        ("none", &[], 0),
    ];
    for (name, named, points) in rows {
        assert_eq!(Ketama::new(&shards(named)).points(), points, "{name}");
    }
}

const ALL: [Distribution; 3] = [
    Distribution::Ketama,
    Distribution::Modula,
    Distribution::Maglev,
];

#[test]
fn nobody_is_picked_where_there_is_nobody() {
    for distribution in ALL {
        for named in [&[][..], &[("a", 0)], &[("a", 0), ("b", 0)]] {
            let placement = place(&shards(named), distribution);
            assert_eq!(placement.shard(b"a"), None, "{distribution:?} {named:?}");
            assert_eq!(placement.shards(), named.len());
        }
        assert_eq!(place(&numbered(1), distribution).shard(b""), Some(0));
    }
}

#[test]
fn shards_of_no_weight_get_no_keys() {
    let shards = shards(&[("a", 1), ("b", 0), ("c", 2)]);
    for distribution in ALL {
        let placement = place(&shards, distribution);
        let picked = (0..2000).map(|number| placement.shard(&key(number)).unwrap());
        assert!(
            picked.into_iter().all(|shard| shard != 1),
            "{distribution:?}"
        );
    }
}

#[test]
fn keys_with_the_same_tag_live_together() {
    for distribution in ALL {
        let placement = place(&numbered(7), distribution);
        let first = placement.shard(b"{user:1}:a");
        assert_eq!(placement.shard(b"b{user:1}"), first, "{distribution:?}");
        let plain = Placement::new(&numbered(7), distribution, KeyHash::Murmur, None);
        let apart =
            (0..50).any(|n| plain.shard(format!("{{t}}{n}").as_bytes()) != plain.shard(b"{t}"));
        assert!(apart, "{distribution:?}");
    }
}

#[test]
fn shares_follow_weights() {
    const KEYS: usize = 40_000;
    let named = [
        ("10.0.0.1:6379", 1),
        ("10.0.0.2:6379", 2),
        ("10.0.0.3:6379", 5),
    ];
    let shards = shards(&named);
    for (distribution, tolerance) in [
        (Distribution::Ketama, 0.35),
        (Distribution::Modula, 0.05),
        (Distribution::Maglev, 0.05),
    ] {
        let placement = Placement::new(&shards, distribution, KeyHash::Murmur, None);
        let mut counts = HashMap::new();
        for number in 0..KEYS {
            *counts
                .entry(placement.shard(&key(number)).unwrap())
                .or_insert(0_usize) += 1;
        }
        for (index, (name, weight)) in named.iter().enumerate() {
            let wanted = KEYS as f64 * f64::from(*weight) / 8.0;
            let off = (counts[&index] as f64 - wanted).abs() / wanted;
            assert!(
                off < tolerance,
                "{distribution:?}: {name} is off by {off:.2}"
            );
        }
    }
}

/// How many keys of 20,000 are elsewhere, by the name of their shard, and how many of those did not have to move: they
/// neither left a shard that is gone nor went to one that is new.
fn moved(before: &[Shard], after: &[Shard], distribution: Distribution) -> (usize, usize) {
    let (first, second) = (place(before, distribution), place(after, distribution));
    let (mut moved, mut needlessly) = (0, 0);
    for number in 0..20_000 {
        let key = key(number);
        let from = &before[first.shard(&key).unwrap()].name;
        let to = &after[second.shard(&key).unwrap()].name;
        if from != to {
            moved += 1;
            let gone = !after.iter().any(|shard| shard.name == *from);
            let new = !before.iter().any(|shard| shard.name == *to);
            needlessly += usize::from(!gone && !new);
        }
    }
    (moved, needlessly)
}

#[test]
fn a_shard_that_comes_or_goes_moves_its_own_keys() {
    let (ten, eleven) = (numbered(10), numbered(11));
    for (before, after) in [(&ten, &eleven), (&eleven, &ten)] {
        let (all, needlessly) = moved(before, after, Distribution::Ketama);
        assert!((1000..3000).contains(&all), "ketama moved {all}");
        assert_eq!(needlessly, 0, "ketama");
        let (all, needlessly) = moved(before, after, Distribution::Maglev);
        assert!((1500..3500).contains(&all), "maglev moved {all}");
        assert!(needlessly < 1500, "maglev moved {needlessly} needlessly");
        let (all, _) = moved(before, after, Distribution::Modula);
        assert!(all > 15_000, "modula moved {all}");
    }
}

#[test]
fn the_order_of_shards_does_not_matter() {
    let forwards = numbered(9);
    let backwards: Vec<Shard> = forwards.iter().rev().cloned().collect();
    for distribution in [Distribution::Ketama, Distribution::Modula] {
        assert_eq!(
            moved(&forwards, &backwards, distribution),
            (0, 0),
            "{distribution:?}"
        );
    }
}

#[test]
fn many_shards_of_odd_weights_are_placed() {
    let mut shards = numbered(300);
    for (number, shard) in shards.iter_mut().enumerate() {
        shard.weight = number as u32 * 7_919 % 1000;
    }
    for distribution in ALL {
        let placement = place(&shards, distribution);
        for number in 0..500 {
            let owner = placement.shard(&key(number)).unwrap();
            assert!(shards[owner].weight > 0, "{distribution:?}");
        }
    }
}
