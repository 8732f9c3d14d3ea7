//! Access rules against a server that enforces the same.

use harness::redis::{Redis, RedisReply};
use portcullis_redis::acl::User;
use portcullis_redis::command::CommandId;
use portcullis_testkit::Random;

use super::rows::{rows, words};

const ACL: &str = include_str!("../../../protocols/redis/tests/commands/acl.md");
const WRONG: &str = include_str!("../../../protocols/redis/tests/commands/wrong_rules.md");

/// `ACL SETUSER u` with these rules.
fn set_user(rules: &str) -> Vec<&str> {
    let rules = rules.split(' ').filter(|rule| !rule.is_empty());
    ["ACL", "SETUSER", "u", "reset"]
        .into_iter()
        .chain(rules)
        .collect()
}

#[test]
fn users_may_do_what_a_server_lets_them() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.client();
    for row in rows(ACL) {
        admin.call(&["FLUSHALL"]);
        let set = admin.call(&set_user(&row[0]));
        assert_eq!(set, RedisReply::Simple("OK".to_owned()), "{}", row[0]);
        // A new connection for each: some calls change what the next one may do.
        let mut client = server.client();
        client.call(&["AUTH", "u", "x"]);
        let said = match client.call(&words(&row[1])) {
            RedisReply::Error(error) if error.starts_with("NOPERM") => error,
            RedisReply::Error(error) if error.contains("denied due to") => error,
            _ => "allowed".to_owned(),
        };
        assert_eq!(said, row[2], "{} | {}", row[0], row[1]);
    }
}

#[test]
fn wrong_rules_are_told_in_the_words_of_a_server() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.client();
    for row in rows(WRONG) {
        let said = admin.call(&set_user(&row[0])).text();
        assert!(said.starts_with("ERR "), "{}", row[0]);
        assert!(said.ends_with(&row[1]), "{}: {said}", row[0]);
    }
}

/// Rules that say something about the calls below.
const RULES: &[&str] = &[
    "+@all",
    "-@all",
    "+@read",
    "-@read",
    "+@write",
    "-@write",
    "+@dangerous",
    "-@dangerous",
    "+@slow",
    "-@fast",
    "+@admin",
    "-@admin",
    "+get",
    "-get",
    "+set",
    "-set",
    "+config",
    "-config",
    "+config|get",
    "-config|get",
    "+config|set",
    "-config|set",
    "+client",
    "-client|kill",
    "+client|list",
    "+xgroup|create",
    "-xgroup",
    "+select|0",
    "+select",
    "-select",
    "+publish",
    "+subscribe",
    "+psubscribe",
    "resetkeys",
    "resetchannels",
    "~a*",
    "~b?",
    "%R~c*",
    "%W~c*",
    "%W~d",
    "%R~a*",
    "&x*",
    "&y",
    "allkeys",
    "allchannels",
    "(+@all %R~a* &z)",
    "(+get %R~e)",
    "clearselectors",
];

const CALLS: &[&str] = &[
    "get a",
    "get bb",
    "get c",
    "get d",
    "get e",
    "set a 1",
    "set b1 1",
    "set c 1",
    "set d 1",
    "set e 1 get",
    "mget a e",
    "mset a 1 c 2",
    "del a d",
    "exists c",
    "rename a c",
    "copy c d",
    "incr d",
    "lpush ab 1",
    "sort a store c",
    "config get x",
    "config set maxmemory 0",
    "config help",
    "client list",
    "client kill id 1",
    "client id",
    "xgroup create a g $",
    "xgroup help",
    "select 0",
    "select 1",
    "publish x m",
    "publish y m",
    "publish z m",
    "subscribe xx y",
    "psubscribe x*",
    "psubscribe y",
    "keys *",
    "flushall",
    "ping",
    "xread streams a c 0 0",
    "eval s 2 a c",
    "georadius a 1 2 3 m store d",
    "zunionstore d 2 a c",
    "lmpop 1 c left",
    "bitfield c get u8 0",
];

#[test]
fn rules_in_any_order_mean_what_they_mean_to_a_server() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.client();
    let (mut random, seed) = Random::from_environment(5);
    for _ in 0..400 {
        let count = 1 + random.below(12);
        let rules: Vec<&str> = (0..count)
            .map(|_| RULES[random.below(RULES.len())])
            .collect();
        let rules = rules.join(" ");
        let set = admin.call(&set_user(&rules));
        let user = User::parse(&rules);
        let Ok(user) = user else {
            assert!(matches!(set, RedisReply::Error(_)), "seed {seed}: {rules}");
            continue;
        };
        assert_eq!(
            set,
            RedisReply::Simple("OK".to_owned()),
            "seed {seed}: {rules}"
        );
        for call in CALLS {
            let args = words(call);
            let mut dry = vec![b"ACL".to_vec(), b"DRYRUN".to_vec(), b"u".to_vec()];
            dry.extend_from_slice(&args);
            let allowed = admin.call(&dry).text() == "OK";
            let command = CommandId::resolve(&args).unwrap();
            assert_eq!(
                user.may(command, &args).is_ok(),
                allowed,
                "seed {seed}: {rules} | {call}"
            );
        }
    }
}
