//! What the gateway knows of Redis, held against the real thing: the table of commands, keys, refusals and access rules
//! against `redis-server`, the placement of keys against `nutcracker`.
//!
//! No gateway is started here. The files are those that the crate's own tests read, so that both sides are held to the same.

mod acl;
mod glob;
mod placement;
#[path = "../../protocols/redis/tests/commands/rows.rs"]
mod rows;
mod slots;
mod table;

use harness::redis::{Redis, RedisClient, RedisReply};

use rows::{rows, words};

const KEYS: &str = include_str!("../../protocols/redis/tests/commands/keys.md");
const REFUSALS: &str = include_str!("../../protocols/redis/tests/commands/refusals.md");

#[test]
fn keys_are_those_that_a_server_finds() {
    let Some(server) = Redis::start() else { return };
    let mut client = server.client();
    for row in rows(KEYS) {
        let args = words(&row[0]);
        // Where the gateway is stricter, the third column is what a server finds.
        let listed = row.get(2).unwrap_or(&row[1]);
        assert_eq!(
            found(&mut client, &args),
            expected(listed, &args),
            "{}",
            row[0]
        );
    }
}

/// Keys and what is done with them. None where there are none, or the call is refused: a server does not always tell these
/// apart.
type Found = Option<Vec<(Vec<u8>, String)>>;

fn found(client: &mut RedisClient, args: &[Vec<u8>]) -> Found {
    let mut call = vec![b"COMMAND".to_vec(), b"GETKEYSANDFLAGS".to_vec()];
    call.extend_from_slice(args);
    let RedisReply::Array(keys) = client.call(&call) else {
        return None;
    };
    let keys = keys.into_iter().map(|key| {
        let mut parts = key.array().into_iter();
        let key = parts.next().unwrap().bytes();
        let flags = parts.next().unwrap().array().into_iter();
        let flags: Vec<String> = flags.map(|flag| flag.text().replace('+', "")).collect();
        (key, flags.join(" "))
    });
    Some(keys.collect()).filter(|keys: &Vec<_>| !keys.is_empty())
}

fn expected(listed: &str, args: &[Vec<u8>]) -> Found {
    if listed == "none" || listed == "refused" {
        return None;
    }
    let keys = listed.split(", ").map(|key| {
        let (index, flags) = key.split_once(' ').unwrap();
        let index: usize = index.parse().unwrap();
        (args[index].clone(), flags.to_owned())
    });
    Some(keys.collect())
}

#[test]
fn refusals_are_in_the_words_of_a_server() {
    let Some(server) = Redis::start() else { return };
    let mut client = server.client();
    for row in rows(REFUSALS) {
        let reply = client.call(&words(&row[0]));
        let RedisReply::Error(said) = reply else {
            panic!("{}: {reply:?}", row[0]);
        };
        let said = said.as_bytes().escape_ascii().to_string();
        assert_eq!(said.replace("\\'", "'"), row[1], "{}", row[0]);
    }
}
