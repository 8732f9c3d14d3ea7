//! State of one client that no other may see: transactions, watched keys, blocking, databases, replies switched off.

use harness::redis::{Redis, RedisClient, RedisReply};

use super::{Site, bulk, is_error, ok};

const PINNED: &str = "portcullis_redis_pinned_connections_active";

fn queued() -> RedisReply {
    RedisReply::Simple("QUEUED".to_owned())
}

impl Site {
    /// Waits until no client has a connection for itself.
    #[track_caller]
    fn nothing_is_pinned(&self) {
        let labels = [("listener", "cache")];
        self.gateway.wait_stat(PINNED, &labels, |count| count == 0);
    }
}

#[test]
fn transactions_are_one_clients_own() {
    let Some(site) = Site::start("") else { return };
    let (mut one, mut two) = (site.client(), site.client());
    assert_eq!(one.call(&["MULTI"]), ok());
    assert_eq!(one.call(&["SET", "a", "1"]), queued());
    assert_eq!(two.call(&["GET", "a"]), RedisReply::Nil);
    assert_eq!(one.call(&["INCR", "a"]), queued());
    assert_eq!(one.call(&["PING"]), queued());
    let results = one.call(&["EXEC"]).array();
    let pong = RedisReply::Simple("PONG".to_owned());
    assert_eq!(results, [ok(), RedisReply::Integer(2), pong]);
    assert_eq!(two.call(&["GET", "a"]), bulk("2"));
    site.nothing_is_pinned();
    // What comes first is done first, though it goes another way.
    let mut wire = Vec::new();
    for call in [
        &["SET", "b", "1"][..],
        &["MULTI"],
        &["GET", "b"],
        &["EXEC"],
        &["SET", "b", "2"],
    ] {
        RedisClient::write(call, &mut wire);
    }
    one.send_raw(&wire);
    assert_eq!([one.read(), one.read(), one.read()], [ok(), ok(), queued()]);
    assert_eq!(one.read().array(), [bulk("1")]);
    assert_eq!(one.read(), ok());
    // Empty, discarded, and out of place.
    assert_eq!(one.call(&["MULTI"]), ok());
    assert_eq!(one.call(&["EXEC"]).array(), []);
    assert_eq!(one.call(&["MULTI"]), ok());
    assert_eq!(one.call(&["SET", "b", "3"]), queued());
    assert!(is_error(
        &one.call(&["MULTI"]),
        "ERR MULTI calls can not be nested"
    ));
    assert_eq!(one.call(&["DISCARD"]), ok());
    assert_eq!(one.call(&["GET", "b"]), bulk("2"));
    assert!(is_error(&one.call(&["EXEC"]), "ERR EXEC without MULTI"));
    assert!(is_error(
        &one.call(&["DISCARD"]),
        "ERR DISCARD without MULTI"
    ));
}

#[test]
fn what_has_no_key_goes_where_the_first_key_is() {
    let Some(site) = Site::shards(3, "") else {
        return;
    };
    let mut client = site.client();
    for number in 0..12 {
        let (key, value) = (format!("key:{number}"), number.to_string());
        assert_eq!(client.call(&["MULTI"]), ok());
        for call in [
            &["PING"][..],
            &["EVAL", "return ARGV[1]", "0", &value],
            &["LASTSAVE"],
            &["SET", &key, &value],
            &["EVAL", "return redis.call('GET', KEYS[1])", "1", &key],
        ] {
            assert_eq!(client.call(call), queued(), "{call:?}");
        }
        let results = client.call(&["EXEC"]).array();
        assert_eq!(results.len(), 5);
        assert_eq!(results[1], bulk(&value));
        assert_eq!(results[3..], [ok(), bulk(&value)]);
    }
    // What a server will not queue fails the transaction, if only when it hears of it.
    assert_eq!(client.call(&["MULTI"]), ok());
    assert_eq!(client.call(&["OBJECT", "HELP"]), queued());
    assert!(is_error(&client.call(&["GET"]), "ERR wrong number"));
    assert!(is_error(&client.call(&["EXEC"]), "EXECABORT"));
}

#[test]
fn a_transaction_with_an_error_is_not_carried_out() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    for wrong in [&["NOSUCH"][..], &["GET"], &["SUBSCRIBE", "a"], &["MONITOR"]] {
        assert_eq!(client.call(&["MULTI"]), ok());
        assert_eq!(client.call(&["SET", "a", "1"]), queued());
        assert!(
            matches!(client.call(wrong), RedisReply::Error(_)),
            "{wrong:?}"
        );
        assert!(is_error(&client.call(&["EXEC"]), "EXECABORT"), "{wrong:?}");
        assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil, "{wrong:?}");
    }
    site.nothing_is_pinned();
}

#[test]
fn watched_keys_decide() {
    let Some(site) = Site::start("") else { return };
    let (mut one, mut two) = (site.client(), site.client());
    for (change, expected) in [
        (true, RedisReply::Nil),
        (false, RedisReply::Array(vec![ok()])),
    ] {
        assert_eq!(one.call(&["WATCH", "a"]), ok());
        if change {
            assert_eq!(two.call(&["SET", "a", "two"]), ok());
        }
        assert_eq!(one.call(&["MULTI"]), ok());
        assert_eq!(one.call(&["SET", "a", "one"]), queued());
        assert_eq!(one.call(&["EXEC"]), expected);
    }
    assert_eq!(one.call(&["WATCH", "a"]), ok());
    assert_eq!(one.call(&["UNWATCH"]), ok());
    assert_eq!(two.call(&["SET", "a", "two"]), ok());
    assert_eq!(one.call(&["MULTI"]), ok());
    assert_eq!(one.call(&["GET", "a"]), queued());
    assert_eq!(one.call(&["EXEC"]).array(), [bulk("two")]);
    // Watched over nothing, and changed: an empty transaction fails too.
    assert_eq!(one.call(&["WATCH", "a"]), ok());
    assert_eq!(two.call(&["SET", "a", "three"]), ok());
    assert_eq!(one.call(&["MULTI"]), ok());
    assert_eq!(one.call(&["EXEC"]), RedisReply::Nil);
    site.nothing_is_pinned();
}

#[test]
fn r8_what_a_client_leaves_behind_is_nobodys() {
    let Some(site) = Site::start("") else { return };
    let mut gone = site.client();
    assert_eq!(gone.call(&["MULTI"]), ok());
    assert_eq!(gone.call(&["SET", "a", "1"]), queued());
    drop(gone);
    let mut gone = site.client();
    assert_eq!(gone.call(&["WATCH", "a"]), ok());
    drop(gone);
    let mut gone = site.client();
    gone.send(&["BLPOP", "list", "0"]);
    site.gateway
        .wait_stat(PINNED, &[("listener", "cache")], |count| count == 1);
    drop(gone);
    site.nothing_is_pinned();
    let mut client = site.client();
    assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil);
    // Nobody takes what was to be pushed to the one that is gone.
    assert_eq!(client.call(&["RPUSH", "list", "x"]), RedisReply::Integer(1));
    assert_eq!(client.call(&["LPOP", "list"]), bulk("x"));
}

#[test]
fn r8_who_blocks_blocks_nobody_else() {
    let Some(site) = Site::start("timeouts: { command: 1s }") else {
        return;
    };
    let mut waiting: Vec<RedisClient> = (0..5).map(|_| site.client()).collect();
    for client in &mut waiting {
        client.send(&["BLPOP", "list", "0"]);
    }
    site.gateway
        .wait_stat(PINNED, &[("listener", "cache")], |count| count == 5);
    let mut other = site.client();
    for number in 0..5 {
        assert_eq!(
            other.call(&["RPUSH", "list", &number.to_string()]),
            RedisReply::Integer(1)
        );
    }
    for client in &mut waiting {
        assert_eq!(client.read().array()[0], bulk("list"));
    }
    // Longer than the gateway waits for other commands.
    let mut patient = site.client();
    assert_eq!(patient.call(&["BLPOP", "none", "1.5"]), RedisReply::Nil);
    site.neighbour_is_well();
}

#[test]
fn r9_databases_are_never_mixed() {
    let Some(site) = Site::start("databases: 4") else {
        return;
    };
    let mut clients: Vec<RedisClient> = (0..4).map(|_| site.client()).collect();
    for (database, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.call(&["SELECT", &database.to_string()]), ok());
        assert_eq!(client.call(&["SET", "where", &database.to_string()]), ok());
    }
    for (database, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.call(&["GET", "where"]), bulk(&database.to_string()));
    }
    let out = clients[0].call(&["SELECT", "4"]);
    assert!(is_error(&out, "ERR DB index is out of range"));
    // A pipeline that goes back and forth.
    let mut wire = Vec::new();
    for round in 0..50 {
        RedisClient::write(&["SELECT", &(round % 4).to_string()], &mut wire);
        RedisClient::write(&["GET", "where"], &mut wire);
    }
    let mut client = site.client();
    client.send_raw(&wire);
    for round in 0..50 {
        assert_eq!(client.read(), ok());
        assert_eq!(client.read(), bulk(&(round % 4).to_string()));
    }
    // A new client begins at the beginning, and RESET goes back there.
    assert_eq!(site.client().call(&["GET", "where"]), bulk("0"));
    assert_eq!(client.call(&["SELECT", "2"]), ok());
    assert_eq!(
        client.call(&["RESET"]),
        RedisReply::Simple("RESET".to_owned())
    );
    assert_eq!(client.call(&["GET", "where"]), bulk("0"));
}

#[test]
fn a_database_that_the_server_has_not_is_an_error_and_no_other() {
    let server = Redis::with(&["databases 2"]);
    let Some(server) = server else { return };
    let site = Site::over(vec![server], "", "");
    let mut client = site.client();
    assert_eq!(client.call(&["SELECT", "7"]), ok());
    assert!(is_error(&client.call(&["SET", "a", "1"]), "ERR upstream"));
    assert_eq!(client.call(&["SELECT", "0"]), ok());
    assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil);
    site.neighbour_is_well();
}

#[test]
fn r9_replies_that_are_switched_off_stay_off_for_one_client() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    client.send(&["CLIENT", "REPLY", "OFF"]);
    client.send(&["SET", "a", "1"]);
    client.send(&["GET", "a"]);
    assert_eq!(client.call(&["CLIENT", "REPLY", "ON"]), ok());
    client.send(&["CLIENT", "REPLY", "SKIP"]);
    client.send(&["GET", "a"]);
    assert_eq!(client.call(&["ECHO", "seen"]), bulk("seen"));
    site.neighbour_is_well();
}

#[test]
fn what_clients_say_of_themselves_is_their_own() {
    let Some(site) = Site::start("") else { return };
    let (mut one, mut two) = (site.client(), site.client());
    assert_eq!(one.call(&["CLIENT", "SETNAME", "one"]), ok());
    assert_eq!(one.call(&["CLIENT", "GETNAME"]), bulk("one"));
    assert_eq!(two.call(&["CLIENT", "GETNAME"]), RedisReply::Nil);
    let ids = [one.call(&["CLIENT", "ID"]), two.call(&["CLIENT", "ID"])];
    assert_ne!(ids[0], ids[1]);
    assert!(one.call(&["CLIENT", "INFO"]).text().contains("name=one"));
    assert_eq!(one.call(&["ACL", "WHOAMI"]), bulk("default"));
    let hello = two.call(&["HELLO", "2", "SETNAME", "two"]).array();
    assert_eq!(hello[0], bulk("server"));
    assert_eq!(two.call(&["CLIENT", "GETNAME"]), bulk("two"));
    assert!(is_error(&two.call(&["HELLO", "4"]), "NOPROTO"));
    assert_eq!(one.call(&["QUIT"]), ok());
}

#[test]
fn resp3_is_spoken_with_those_who_ask_for_it() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    assert_eq!(
        client.call(&["HSET", "h", "f", "v"]),
        RedisReply::Integer(1)
    );
    // What the raw client cannot read is compared as bytes.
    let mut raw = harness::Connection::connect(site.address()).unwrap();
    raw.send(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$7\r\nHGETALL\r\n$1\r\nh\r\n*2\r\n$3\r\nGET\r\n$4\r\nnone\r\n").unwrap();
    raw.send(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n")
        .unwrap();
    let wanted =
        b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n_\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n$1\r\nx\r\n";
    let seen = raw.read_until(wanted).unwrap();
    assert!(seen.starts_with(b"%7\r\n"), "{}", seen.escape_ascii());
    assert_eq!(client.call(&["PUBLISH", "c", "hi"]), RedisReply::Integer(1));
    raw.read_until(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n")
        .unwrap();
    // Others still have arrays.
    assert_eq!(
        client.call(&["HGETALL", "h"]).array(),
        [bulk("f"), bulk("v")]
    );
}

#[test]
fn exec_that_is_refused_leaves_no_transaction_behind() {
    const RULES: &str = "auth: { users: { default: { rules: \"nopass ~* &* +@all -exec\" } } }";
    for (keys, exec, reason) in [
        ("", &["EXEC", "x"][..], "wrong number of arguments"),
        (
            "filters: [ { deny: { command: exec } } ]",
            &["EXEC"],
            "command is not allowed by the gateway",
        ),
        (RULES, &["EXEC"], "NOPERM "),
    ] {
        let Some(site) = Site::start(keys) else {
            return;
        };
        let mut client = site.client();
        assert_eq!(client.call(&["WATCH", "a"]), ok());
        assert_eq!(client.call(&["MULTI"]), ok());
        assert_eq!(client.call(&["SET", "a", "1"]), queued());
        let said = client.call(exec);
        let start = format!("EXECABORT Transaction discarded because of: {reason}");
        assert!(is_error(&said, &start), "{keys}: {said:?}");
        // What is said next is answered, not queued.
        assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil);
        site.nothing_is_pinned();
        site.neighbour_is_well();
    }
}

#[test]
fn what_follows_multi_that_is_refused_is_not_carried_out() {
    let Some(site) = Site::start("filters: [ { deny: { command: multi } } ]") else {
        return;
    };
    let mut client = site.client();
    let mut wire = Vec::new();
    for call in [&["MULTI"][..], &["SET", "a", "1"], &["EXEC"], &["GET", "a"]] {
        RedisClient::write(call, &mut wire);
    }
    client.send_raw(&wire);
    assert_eq!(client.read(), ok());
    assert!(is_error(&client.read(), "ERR command is not allowed"));
    let start = "EXECABORT Transaction discarded because of: command is not allowed";
    assert!(is_error(&client.read(), start));
    assert_eq!(client.read(), RedisReply::Nil);
    site.rejected("denied");
    site.neighbour_is_well();
}
