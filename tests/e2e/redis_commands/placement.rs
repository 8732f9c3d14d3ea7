//! Placement of keys against twemproxy (`nutcracker`): ten thousand keys on the same shards, for everything that it offers.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use harness::redis::{Redis, RedisClient, RedisReply, own_loopback};
use harness::{Scratch, Tool, eventually, tool};
use portcullis_redis::hash::{Distribution, HashTag, KeyHash, Placement, Shard, shard_name};
use portcullis_testkit::Random;

/// A pool of twemproxy's, over the three servers.
struct Pool {
    distribution: &'static str,
    hash: &'static str,
    tag: &'static str,
    /// A weight for each server, and its name if it has one.
    servers: [(u32, &'static str); 3],
}

const NAMED: [(u32, &str); 3] = [(1, "alpha"), (1, "beta"), (1, "gamma")];

const fn ketama(hash: &'static str) -> Pool {
    Pool {
        distribution: "ketama",
        hash,
        tag: "",
        servers: NAMED,
    }
}

fn pools() -> Vec<Pool> {
    let mut pools: Vec<Pool> = KeyHash::NAMES
        .iter()
        .map(|(_, name)| ketama(name))
        .collect();
    let default = || ketama("fnv1a_64");
    pools.push(Pool {
        tag: "{}",
        ..default()
    });
    pools.push(Pool {
        tag: "$$",
        ..default()
    });
    pools.push(Pool {
        servers: [(5, "alpha"), (1, "beta"), (3, "gamma")],
        ..default()
    });
    pools.push(Pool {
        servers: [(1, "alpha"), (1000, "beta"), (333, "gamma")],
        ..ketama("murmur")
    });
    // The names of their addresses; the last has the port that is left out.
    pools.push(Pool {
        servers: [(1, ""), (1, ""), (1, "")],
        ..default()
    });
    pools.push(Pool {
        servers: [(2, ""), (7, ""), (4, "")],
        ..ketama("md5")
    });
    for servers in [
        NAMED,
        [(3, "zeta"), (1, "alpha"), (2, "mu")],
        [(1, ""), (2, ""), (1, "")],
    ] {
        pools.push(Pool {
            distribution: "modula",
            servers,
            ..ketama("crc32a")
        });
    }
    pools
}

#[test]
fn keys_are_where_twemproxy_puts_them() {
    let Some(nutcracker) = tool("nutcracker") else {
        return;
    };
    // A port that others may use too, but at an address of this test's own.
    let with_known_port = SocketAddr::new(own_loopback(), 11_211);
    let (Some(first), Some(second), Some(third)) =
        (Redis::start(), Redis::start(), Redis::at(with_known_port))
    else {
        return;
    };
    let servers = [first, second, third];
    let pools = pools();
    let scratch = Scratch::new();
    // Nobody else has that address, so that these are free.
    let listens: Vec<SocketAddr> = (22_000_u16..)
        .map(|port| SocketAddr::new(own_loopback(), port))
        .take(pools.len())
        .collect();
    let file = scratch.write("nutcracker.yml", configuration(&pools, &listens, &servers));
    let mut command = Command::new(nutcracker);
    command.arg("-c").arg(file);
    command.arg("-o").arg(scratch.path().join("log"));
    command.arg("-p").arg(scratch.path().join("pid"));
    command
        .arg("-a")
        .arg(own_loopback().to_string())
        .args(["-s", "21999"]);
    let _proxy = Tool::start(&mut command);
    for listen in &listens {
        eventually("nutcracker listens", || TcpStream::connect(listen).is_ok());
    }
    for (pool, listen) in pools.iter().zip(listens) {
        compare(pool, listen, &servers);
    }
}

fn configuration(pools: &[Pool], listens: &[SocketAddr], servers: &[Redis; 3]) -> String {
    let mut file = String::new();
    for (number, (pool, listen)) in pools.iter().zip(listens).enumerate() {
        let Pool {
            distribution, hash, ..
        } = pool;
        writeln!(file, "pool{number}:\n  listen: {listen}\n  redis: true").unwrap();
        writeln!(file, "  distribution: {distribution}\n  hash: {hash}").unwrap();
        if !pool.tag.is_empty() {
            writeln!(file, "  hash_tag: \"{}\"", pool.tag).unwrap();
        }
        writeln!(file, "  servers:").unwrap();
        for ((weight, name), server) in pool.servers.iter().zip(servers) {
            writeln!(file, "  - {}:{weight} {name}", server.address()).unwrap();
        }
    }
    file
}

/// Writes all keys through twemproxy, and looks for each where the gateway would put it.
fn compare(pool: &Pool, listen: SocketAddr, servers: &[Redis; 3]) {
    let keys = keys();
    let mut through = RedisClient::connect(listen);
    for batch in keys.chunks(500) {
        let mut wire = Vec::new();
        for key in batch {
            RedisClient::write(&[b"SET".as_slice(), key, b"1"], &mut wire);
        }
        through.send_raw(&wire);
        for key in batch {
            let reply = through.read();
            assert_eq!(
                reply,
                RedisReply::Simple("OK".to_owned()),
                "{}",
                key.escape_ascii()
            );
        }
    }
    let placement = placement(pool, servers);
    let name = format!(
        "{} {} {} {:?}",
        pool.distribution, pool.hash, pool.tag, pool.servers
    );
    let mut wanted = [HashSet::new(), HashSet::new(), HashSet::new()];
    for key in keys {
        wanted[placement.shard(&key).unwrap()].insert(key);
    }
    for (server, wanted) in servers.iter().zip(wanted) {
        let mut client = server.client();
        let found = client.call(&["KEYS", "*"]).array().into_iter();
        let found: HashSet<Vec<u8>> = found.map(RedisReply::bytes).collect();
        let elsewhere = wanted.symmetric_difference(&found).count();
        assert_eq!(
            elsewhere,
            0,
            "{name}: keys that are on other shards, of {}",
            wanted.len()
        );
        client.call(&["FLUSHALL"]);
    }
}

fn placement(pool: &Pool, servers: &[Redis; 3]) -> Placement {
    let shards = pool
        .servers
        .iter()
        .zip(servers)
        .map(|((weight, name), server)| {
            let address = server.address();
            let name = if name.is_empty() {
                shard_name(&address.ip().to_string(), address.port())
            } else {
                (*name).to_owned()
            };
            Shard {
                name,
                weight: *weight,
            }
        });
    let shards: Vec<Shard> = shards.collect();
    let distribution = match pool.distribution {
        "modula" => Distribution::Modula,
        _ => Distribution::Ketama,
    };
    let hash = KeyHash::of(pool.hash).unwrap();
    Placement::new(
        &shards,
        distribution,
        hash,
        HashTag::of(pool.tag.as_bytes()),
    )
}

/// Ten thousand keys: as people name them, with tags, and of any bytes.
fn keys() -> Vec<Vec<u8>> {
    let mut random = Random::from_seed(7);
    let mut keys: Vec<Vec<u8>> = (0..4000)
        .map(|number| format!("user:{number}").into_bytes())
        .collect();
    keys.extend(
        (0..2000).map(|number| format!("{{user:{}}}:item:{number}", number / 7).into_bytes()),
    );
    keys.extend((0..1000).map(|number| format!("a${}$b{number}{{}}", number / 3).into_bytes()));
    let odd = [
        b"".as_slice(),
        b"{}",
        b"{",
        b"}{",
        b"a{}b{c}",
        b"$$",
        b"$",
        b"$$a$",
        b"\r\n",
        b"\0",
    ];
    keys.extend(odd.map(<[u8]>::to_vec));
    while keys.len() < 10_000 {
        let length = 1 + random.below(30);
        keys.push((0..length).map(|_| random.next_u64() as u8).collect());
    }
    let all: HashSet<Vec<u8>> = keys.into_iter().collect();
    all.into_iter().collect()
}
