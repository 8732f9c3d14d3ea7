//! What is known of a command, on the hot path: which it is, its keys, their slot and shard, and whether a user may.
//!
//! Wall clock on shared machines wanders, so count instructions:
//! `valgrind --tool=callgrind --toggle-collect='commands::measured::*' <bench binary> --once keys_get` (a thousand rounds).
//! Without `--once` it prints nanoseconds per call, good for comparing within one run. Start at [`main`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)] // a bench may fail loudly

use std::hint::black_box;
use std::time::Instant;

use portcullis_redis::acl::User;
use portcullis_redis::command::CommandId;
use portcullis_redis::hash::{Distribution, HashTag, KeyHash, Placement, Shard};

/// What is counted: each a function of its own.
mod measured {
    use portcullis_redis::acl::{Denied, User};
    use portcullis_redis::command::{CommandId, arity, keys};
    use portcullis_redis::hash::{Placement, slot};
    use smallvec::SmallVec;

    #[inline(never)]
    pub(super) fn lookup(name: &[u8]) -> Option<CommandId> {
        CommandId::of(name)
    }

    #[inline(never)]
    pub(super) fn keys_of(args: &[&[u8]], found: &mut SmallVec<[u32; 8]>) -> Option<CommandId> {
        let command = CommandId::resolve(args).ok()?;
        if !arity::fits(command, args.len()) {
            return None;
        }
        found.clear();
        keys(command, args, found).ok()?;
        Some(command)
    }

    #[inline(never)]
    pub(super) fn slot_of(key: &[u8]) -> u16 {
        slot(key)
    }

    #[inline(never)]
    pub(super) fn shard_of(placement: &Placement, key: &[u8]) -> Option<usize> {
        placement.shard(key)
    }

    #[inline(never)]
    pub(super) fn may(user: &User, command: CommandId, args: &[&[u8]]) -> Result<(), Denied> {
        user.may(command, args)
    }
}

/// A name and a round.
type Case = (&'static str, Box<dyn FnMut()>);

const ROUNDS: u32 = 1000;

const GET: &[&[u8]] = &[b"GET", b"key:000000012345"];
const SET: &[&[u8]] = &[b"SET", b"key:000000012345", b"xxx"];
const CONFIG: &[&[u8]] = &[b"CONFIG", b"GET", b"maxmemory"];
const MGET: &[&[u8]] = &[b"mget", b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];
const ZUNION: &[&[u8]] = &[b"ZUNIONSTORE", b"d", b"2", b"a", b"b"];

fn lookup(name: &'static [u8]) -> Box<dyn FnMut()> {
    Box::new(move || {
        black_box(measured::lookup(black_box(name)));
    })
}

fn keys(args: &'static [&'static [u8]]) -> Box<dyn FnMut()> {
    let mut found = smallvec::SmallVec::new();
    Box::new(move || {
        black_box(measured::keys_of(black_box(args), &mut found));
    })
}

fn shard(distribution: Distribution) -> Box<dyn FnMut()> {
    let shards: Vec<Shard> = (0..10)
        .map(|number| Shard {
            name: format!("10.0.0.{number}:6379"),
            weight: 1,
        })
        .collect();
    let hash = KeyHash::default();
    let placement = Placement::new(&shards, distribution, hash, Some(HashTag::REDIS));
    Box::new(move || {
        black_box(measured::shard_of(&placement, black_box(GET[1])));
    })
}

fn may(rules: &str) -> Box<dyn FnMut()> {
    let user = User::parse(rules).unwrap();
    Box::new(move || {
        let _ = black_box(measured::may(&user, black_box(CommandId::GET), GET));
    })
}

fn cases() -> Vec<Case> {
    vec![
        ("lookup_get", lookup(b"GET")),
        ("lookup_longest", lookup(b"GEORADIUSBYMEMBER_RO")),
        ("lookup_unknown", lookup(b"JSON.GET")),
        ("keys_get", keys(GET)),
        ("keys_set", keys(SET)),
        ("keys_config_get", keys(CONFIG)),
        ("keys_mget_8", keys(MGET)),
        ("keys_zunionstore", keys(ZUNION)),
        (
            "slot",
            Box::new(|| {
                black_box(measured::slot_of(black_box(GET[1])));
            }),
        ),
        ("ketama", shard(Distribution::Ketama)),
        ("modula", shard(Distribution::Modula)),
        ("maglev", shard(Distribution::Maglev)),
        ("may_all", may("+@all ~*")),
        ("may_pattern", may("+@read ~session:* ~key:*")),
    ]
}

#[allow(clippy::disallowed_methods)] // a bench measures
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let once = arguments.iter().position(|argument| argument == "--once");
    let only = once.and_then(|at| arguments.get(at + 1));
    for (name, mut round) in cases() {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let rounds = if once.is_some() {
            ROUNDS
        } else {
            ROUNDS * 1000
        };
        let begin = Instant::now();
        (0..rounds).for_each(|_| round());
        let nanoseconds = begin.elapsed().as_secs_f64() * 1e9 / f64::from(rounds);
        if once.is_none() {
            println!("{name:20} {nanoseconds:8.1} ns");
        }
    }
}
