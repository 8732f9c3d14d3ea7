//! Connections cut anywhere, servers that die and hang, and the end of the gateway: no reply is lost or another's.

use std::io::Read as _;
use std::net::Shutdown;

use harness::redis::{Redis, RedisClient, RedisReply};
use harness::{Connection, eventually};
use rustix::process::{Signal, kill_process};

use super::{Site, bulk, is_error, ok};

/// A client's conversation: state, a value, and a question.
fn conversation() -> Vec<u8> {
    let mut wire = Vec::new();
    RedisClient::write(&["MULTI"], &mut wire);
    RedisClient::write(&["SET", "cut", "1"], &mut wire);
    RedisClient::write(&["EXEC"], &mut wire);
    RedisClient::write(&["SELECT", "1"], &mut wire);
    RedisClient::write(&["GET", "cut"], &mut wire);
    RedisClient::write(&["SUBSCRIBE", "cut"], &mut wire);
    wire
}

#[test]
fn f2_clients_are_cut_at_every_byte() {
    let Some(site) = Site::start("") else { return };
    let wire = conversation();
    let mut neighbour = site.client();
    for cut in 0..=wire.len() {
        let mut client = Connection::connect(site.address()).unwrap();
        client.send(&wire[..cut]).unwrap();
        if cut % 2 == 0 {
            client.reset();
        }
        drop(client);
        let text = cut.to_string();
        assert_eq!(neighbour.call(&["ECHO", &text]), bulk(&text));
        assert_eq!(neighbour.call(&["SET", "n", &text]), ok());
    }
    let active = "portcullis_redis_connections_active";
    site.gateway
        .wait_stat(active, &[("listener", "cache")], |count| count == 1);
    let pinned = "portcullis_redis_pinned_connections_active";
    site.gateway
        .wait_stat(pinned, &[("listener", "cache")], |count| count == 0);
    site.neighbour_is_well();
}

#[test]
fn f2_a_conversation_byte_by_byte_is_the_same() {
    let Some(site) = Site::start("") else { return };
    let mut client = site.client();
    for byte in conversation() {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.read(), ok());
    assert_eq!(client.read().text(), "QUEUED");
    assert_eq!(client.read().array(), [ok()]);
    assert_eq!(client.read(), ok());
    assert_eq!(client.read(), RedisReply::Nil);
    assert_eq!(client.read().array()[0], bulk("subscribe"));
}

#[test]
fn f2_servers_are_cut_at_every_byte_of_a_reply() {
    let reply = b"$5\r\nhello\r\n";
    for cut in 0..reply.len() {
        let server = harness::Origin::raw(move |connection| {
            connection.fill()?;
            connection.send(&reply[..cut])
        });
        let gateway = harness::Gateway::start(&super::document("", "", &[server.address()]));
        let mut client = RedisClient::connect(gateway.addr("cache"));
        client.send(&["GET", "a"]);
        client.send(&["GET", "b"]);
        for _ in 0..2 {
            assert!(
                is_error(&client.read(), "ERR upstream connection lost"),
                "{cut}"
            );
        }
        assert_eq!(client.call(&["ECHO", "here"]), bulk("here"));
    }
}

#[test]
fn a_large_reply_that_breaks_off_closes_the_client() {
    let server = harness::Origin::raw(|connection| {
        connection.fill()?;
        connection.send(b"$1000000\r\n")?;
        connection.send(vec![b'x'; 500_000])
    });
    let gateway = harness::Gateway::start(&super::document("", "", &[server.address()]));
    let mut client = Connection::connect(gateway.addr("cache")).unwrap();
    client.send(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n").unwrap();
    let (seen, _) = client.read_to_end().unwrap();
    assert!(seen.starts_with(b"$1000000\r\nxxx"));
    // Nothing that could be taken for a part of the value, or for another reply.
    assert!(seen[10..].iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_server_that_dies_and_comes_back_costs_what_was_under_way() {
    let Some(server) = Redis::start() else { return };
    let address = server.address();
    let mut site = Site::over(vec![server], "", "");
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    let mut watching = site.client();
    assert_eq!(watching.call(&["WATCH", "a"]), ok());
    let mut listener = site.client();
    assert_eq!(listener.call(&["SUBSCRIBE", "c"]).array().len(), 3);
    site.servers.pop();
    eventually("it is noticed", || {
        is_error(&client.call(&["GET", "a"]), "ERR upstream")
    });
    // Messages could be missed: whoever listens has to subscribe again.
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut listener.sender(), &mut rest).unwrap();
    assert_eq!(watching.call(&["MULTI"]), ok());
    assert!(matches!(watching.call(&["GET", "a"]), RedisReply::Error(_)));
    assert!(is_error(&watching.call(&["EXEC"]), "EXECABORT"));
    let Some(again) = Redis::at(address) else {
        return;
    };
    site.servers.push(again);
    eventually("it is found again", || {
        client.call(&["SET", "a", "2"]) == ok()
    });
    assert_eq!(watching.call(&["GET", "a"]), bulk("2"));
    site.neighbour_is_well();
}

#[test]
fn a_server_that_hangs_is_waited_for_no_longer_than_configured() {
    let Some(site) = Site::start("timeouts: { command: 300ms }") else {
        return;
    };
    let mut client = site.client();
    assert_eq!(client.call(&["SET", "a", "1"]), ok());
    let server = site.servers[0].process();
    kill_process(server, Signal::STOP).unwrap();
    let reply = client.call(&["GET", "a"]);
    assert!(is_error(&reply, "ERR upstream timeout"), "{reply:?}");
    site.rejected("upstream_timeout");
    kill_process(server, Signal::CONT).unwrap();
    eventually("it is asked again", || {
        client.call(&["GET", "a"]) == bulk("1")
    });
    site.neighbour_is_well();
}

#[test]
fn who_listens_or_watches_may_be_silent_for_longer_than_a_connection_that_nobody_uses() {
    let Some(server) = Redis::start() else { return };
    let site = Site::over(vec![server], "", "pool: { idle_timeout: 100ms }");
    let mut client = site.client();
    let mut listener = site.client();
    assert_eq!(listener.call(&["SUBSCRIBE", "c"]).array().len(), 3);
    let mut watching = site.client();
    assert_eq!(watching.call(&["WATCH", "a"]), ok());
    assert_eq!(client.call(&["GET", "a"]), RedisReply::Nil);
    // The one that clients share is closed, and only that.
    let open = "portcullis_redis_upstream_connections_active";
    site.gateway
        .wait_stat(open, &[("listener", "cache")], |count| count == 2);
    assert_eq!(client.call(&["PUBLISH", "c", "hi"]), RedisReply::Integer(1));
    assert_eq!(listener.read().array()[2], bulk("hi"));
    assert_eq!(watching.call(&["MULTI"]), ok());
    assert_eq!(watching.call(&["EXEC"]).array(), []);
}

#[test]
fn f8_a_drain_closes_clients_between_commands_only() {
    let Some(site) = Site::start("") else { return };
    let mut idle = site.client();
    assert_eq!(idle.call(&["PING"]).text(), "PONG");
    let mut busy = site.client();
    busy.send(&["BLPOP", "list", "0"]);
    let mut inside = site.client();
    assert_eq!(inside.call(&["MULTI"]), ok());
    assert_eq!(inside.call(&["SET", "a", "1"]).text(), "QUEUED");
    let pinned = "portcullis_redis_pinned_connections_active";
    site.gateway
        .wait_stat(pinned, &[("listener", "cache")], |count| count == 2);
    let direct = &mut site.servers[0].client();
    let stopping = site.gateway;
    stopping.signal(Signal::TERM);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut idle.sender(), &mut rest).unwrap();
    assert_eq!(rest, b"");
    // What was begun is ended first.
    assert_eq!(inside.call(&["EXEC"]).array(), [ok()]);
    assert_eq!(direct.call(&["RPUSH", "list", "x"]), RedisReply::Integer(1));
    assert_eq!(busy.read().array(), [bulk("list"), bulk("x")]);
    for client in [&busy, &inside] {
        std::io::Read::read_to_end(&mut client.sender(), &mut rest).unwrap();
        assert_eq!(rest, b"");
    }
    assert_eq!(stopping.wait_exit().code(), Some(0));
}

#[test]
fn f1_clients_above_the_limit_are_refused_and_others_kept() {
    let Some(site) = Site::start("limits: { pipeline: 16 }") else {
        return;
    };
    // As many connections as there are descriptors for, and one that was there before.
    let mut first = site.client();
    assert_eq!(first.call(&["SET", "a", "1"]), ok());
    site.gateway.limit_descriptors(64);
    let crowd: Vec<_> = (0..100)
        .filter_map(|_| Connection::connect(site.address()).ok())
        .collect();
    assert_eq!(first.call(&["GET", "a"]), bulk("1"));
    assert!(site.count("portcullis_redis_connections_active", &[]) < 64);
    drop(crowd);
    eventually("others are served again", || {
        let mut client = site.client();
        client.send(&["GET", "a"]);
        let mut reply = [0; 7];
        std::io::Read::read_exact(&mut client.sender(), &mut reply).is_ok()
            && reply == *b"$1\r\n1\r\n"
    });
}

#[test]
fn f2_clients_that_say_no_more_are_answered_to_the_end() {
    let Some(site) = Site::start("") else { return };
    for count in [1, 10, 20_000] {
        assert_eq!(site.client().call(&["SET", "count", "0"]), ok());
        let mut client = site.client();
        let mut wire = Vec::new();
        for _ in 0..count {
            RedisClient::write(&["INCR", "count"], &mut wire);
        }
        // Half of a command is dropped, and keeps nobody waiting.
        wire.extend_from_slice(b"*2\r\n$4\r\nIN");
        client.send_raw(&wire);
        client.sender().shutdown(Shutdown::Write).unwrap();
        for number in 1..=count {
            assert_eq!(client.read(), RedisReply::Integer(number));
        }
        assert_eq!(client.sender().read(&mut [0; 16]).unwrap(), 0);
        let counted = site.client().call(&["GET", "count"]);
        assert_eq!(counted, bulk(&count.to_string()));
    }
    site.neighbour_is_well();
}

#[test]
fn f2_clients_that_say_no_more_do_not_wait_for_others() {
    let Some(site) = Site::start("") else { return };
    for waits in [
        &[&["BLPOP", "queue", "0"][..]][..],
        &[&["WATCH", "queue"], &["BLPOP", "queue", "0"]],
        &[&["BLPOP", "queue", "0"], &["SET", "a", "2"]],
        &[&["WAIT", "1", "0"]],
    ] {
        let mut client = site.client();
        let mut wire = Vec::new();
        RedisClient::write(&["SET", "a", "1"], &mut wire);
        for call in waits {
            RedisClient::write(call, &mut wire);
        }
        client.send_raw(&wire);
        client.sender().shutdown(Shutdown::Write).unwrap();
        let mut said = Vec::new();
        client.sender().read_to_end(&mut said).unwrap();
        assert!(said.starts_with(b"+OK\r\n"), "{}", said.escape_ascii());
        let pinned = "portcullis_redis_pinned_connections_active";
        let labels = [("listener", "cache")];
        site.gateway.wait_stat(pinned, &labels, |count| count == 0);
        eventually("its server knows", || {
            let text = site.servers[0].client().call(&["INFO", "clients"]).text();
            text.contains("blocked_clients:0")
        });
        // Nobody takes what is for others.
        let pushed = site.client().call(&["RPUSH", "queue", "x"]);
        assert_eq!(pushed, RedisReply::Integer(1));
        assert_eq!(site.client().call(&["LPOP", "queue"]), bulk("x"));
        assert_eq!(site.client().call(&["GET", "a"]), bulk("1"));
    }
    site.neighbour_is_well();
}

#[test]
fn clients_with_connections_of_their_own_leave_some_to_all_others() {
    let Some(server) = Redis::start() else { return };
    let site = Site::over(vec![server], "", "limits: { connections: 8 }");
    let mut waiting: Vec<RedisClient> = (0..10).map(|_| site.client()).collect();
    for client in &mut waiting {
        client.send(&["BLPOP", "never", "0"]);
    }
    let refused = [("listener", "cache"), ("reason", "own_connections")];
    let rejections = "portcullis_redis_rejections_total";
    site.gateway
        .wait_stat(rejections, &refused, |count| count >= 4);
    // Others are on whichever worker.
    for _ in 0..6 {
        site.neighbour_is_well();
    }
    let mut late = site.client();
    let said = late.call(&["BLPOP", "never", "0"]);
    let why = "ERR too many clients with a connection of their own";
    assert!(is_error(&said, why), "{said:?}");
    assert_eq!(late.call(&["MULTI"]), ok());
    assert!(is_error(&late.call(&["SET", "a", "1"]), why));
    assert!(is_error(&late.call(&["EXEC"]), "EXECABORT"));
    assert_eq!(late.call(&["SET", "a", "1"]), ok());
    drop(waiting);
    eventually("there are places again", || {
        matches!(late.call(&["BLPOP", "never", "0.01"]), RedisReply::Nil)
    });
    assert_eq!(late.call(&["GET", "a"]), bulk("1"));
}
