//! EVALSHA finds its script wherever it is sent, in its turn.

use harness::redis::{Redis, RedisClient, RedisReply};

use super::{Site, bulk, is_error, ok};

const SCRIPTS: &str = "portcullis_redis_scripts_total";

/// Sets its key to its number of calls, and says that.
const COUNT: &str = "return redis.call('incr', KEYS[1])";

impl Site {
    fn scripts(&self, kind: &str) -> u64 {
        self.count(SCRIPTS, &[("kind", kind)])
    }
}

#[track_caller]
fn load(client: &mut RedisClient, script: &str) -> String {
    client.call(&["SCRIPT", "LOAD", script]).text()
}

#[test]
fn a_script_that_one_client_has_shown_is_found_by_all_everywhere() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    let mut one = site.client();
    assert_eq!(one.call(&["EVAL", COUNT, "1", "a"]).integer(), 1);
    // The hash, from a server behind the gateway's back, that is no shard.
    let sha = load(&mut Redis::start().unwrap().client(), COUNT);
    let mut two = site.client();
    for number in 0..30 {
        let key = format!("key:{number}");
        let said = two.call(&["EVALSHA", &sha, "1", &key]);
        assert_eq!(said.integer(), 1, "{key}");
    }
    let in_full = site.scripts("in_full");
    assert!((2..=6).contains(&in_full), "{in_full}");
    let upper = sha.to_ascii_uppercase();
    assert_eq!(two.call(&["EVALSHA", &upper, "1", "a"]).integer(), 2);
    site.neighbour_is_well();
}

#[test]
fn a_script_that_nobody_has_shown_is_not_there() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    let sha = load(&mut Redis::start().unwrap().client(), COUNT);
    for wrong in [&*sha, "e0", ""] {
        let said = client.call(&["EVALSHA", wrong, "1", "a"]);
        assert!(is_error(&said, "NOSCRIPT"), "{wrong}: {said:?}");
    }
    // Nor is one that all were told to forget.
    assert_eq!(load(&mut client, COUNT), sha);
    assert_eq!(client.call(&["EVALSHA", &sha, "1", "a"]).integer(), 1);
    assert_eq!(client.call(&["SCRIPT", "FLUSH"]), ok());
    let said = client.call(&["EVALSHA", &sha, "1", "a"]);
    assert!(is_error(&said, "NOSCRIPT"), "{said:?}");
    assert_eq!(client.call(&["GET", "a"]), bulk("1"));
}

#[test]
fn a_server_that_has_forgotten_is_told_again() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    let sha = load(&mut client, COUNT);
    assert_eq!(client.call(&["EVALSHA", &sha, "1", "a"]).integer(), 1);
    let mut server = site.servers[0].client();
    assert_eq!(server.call(&["SCRIPT", "FLUSH"]), ok());
    assert_eq!(client.call(&["EVALSHA", &sha, "1", "a"]).integer(), 2);
    assert_eq!(site.scripts("again"), 1);
    // What is said behind it must not overtake it: then the client has the server's answer, once.
    assert_eq!(server.call(&["SCRIPT", "FLUSH"]), ok());
    let mut wire = Vec::new();
    RedisClient::write(&["EVALSHA", &sha, "1", "a"], &mut wire);
    RedisClient::write(&["GET", "a"], &mut wire);
    client.send_raw(&wire);
    let said = client.read();
    assert!(is_error(&said, "NOSCRIPT"), "{said:?}");
    assert_eq!(client.read(), bulk("2"));
    assert_eq!(client.call(&["EVALSHA", &sha, "1", "a"]).integer(), 3);
    // An error of the script's own that looks like it is not mistaken for ever.
    let liar = "return redis.error_reply('NOSCRIPT of my own')";
    let sha = load(&mut client, liar);
    for _ in 0..3 {
        let said = client.call(&["EVALSHA", &sha, "0"]);
        assert!(is_error(&said, "NOSCRIPT of my own"), "{said:?}");
    }
    site.neighbour_is_well();
}

#[test]
fn a_transaction_finds_its_scripts() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    let sha = load(&mut client, COUNT);
    let read_only = load(&mut client, "return redis.call('get', KEYS[1])");
    let mut server = site.servers[0].client();
    for round in 1..4 {
        assert_eq!(server.call(&["SCRIPT", "FLUSH"]), ok());
        assert_eq!(client.call(&["MULTI"]), ok());
        let queued = RedisReply::Simple("QUEUED".to_owned());
        let count = ["EVALSHA", &sha, "1", "a"];
        assert_eq!(client.call(&count), queued);
        assert_eq!(client.call(&["EVALSHA_RO", &read_only, "1", "a"]), queued);
        let expected = [RedisReply::Integer(round), bulk(&round.to_string())];
        assert_eq!(client.call(&["EXEC"]).array(), expected);
    }
}

#[test]
fn scripts_are_not_remembered_where_that_is_off() {
    let Some(site) = Site::start("limits: { scripts: 0B }") else {
        return;
    };
    let mut client = site.client();
    let sha = load(&mut client, COUNT);
    let mut server = site.servers[0].client();
    assert_eq!(server.call(&["SCRIPT", "FLUSH"]), ok());
    let said = client.call(&["EVALSHA", &sha, "1", "a"]);
    assert!(is_error(&said, "NOSCRIPT"), "{said:?}");
}

#[test]
fn a_script_is_ended_though_all_wait_for_it() {
    let keys = "allow_commands: [\"script|kill\"]";
    let Some(site) = Site::shards(2, keys) else {
        return;
    };
    for server in &site.servers {
        let set = ["CONFIG", "SET", "busy-reply-threshold", "50"];
        assert_eq!(server.client().call(&set), ok());
    }
    let (mut runs, mut waits, mut ends) = (site.client(), site.client(), site.client());
    let idle = ends.call(&["SCRIPT", "KILL"]);
    assert!(is_error(&idle, "NOTBUSY"), "{idle:?}");
    assert_eq!(ends.call(&["SELECT", "1"]), ok());
    runs.send(&["EVAL", "while true do end", "1", "a"]);
    waits.send(&["GET", "a"]);
    // It may not have begun.
    harness::eventually("it is ended", || ends.call(&["SCRIPT", "KILL"]) == ok());
    let ended = runs.read();
    assert!(is_error(&ended, "ERR Script killed by user"), "{ended:?}");
    let said = waits.read();
    assert!(
        said == RedisReply::Nil || is_error(&said, "BUSY"),
        "{said:?}"
    );
    site.neighbour_is_well();
}
