//! WAIT over real servers and replicas: what it says is true of what the client wrote, and nobody else waits with it.

use harness::Gateway;
use harness::eventually;
use harness::redis::{Redis, RedisClient, RedisReply};
use harness::redis_cluster::RedisCluster;
use rustix::process::{Signal, kill_process};

use super::{Site, bulk, document, is_error, ok};

fn number(count: i64) -> RedisReply {
    RedisReply::Integer(count)
}

/// A key of each shard, by asking the servers themselves.
fn keys(site: &Site, client: &mut RedisClient) -> Vec<String> {
    let mut keys = vec![None; site.servers.len()];
    for name in (0..).map(|number| format!("key{number}")) {
        assert_eq!(client.call(&["SET", &name, "1"]), ok());
        let has = |server: &Redis| server.client().call(&["EXISTS", &name]) == number(1);
        let shard = site.servers.iter().position(has).unwrap();
        keys[shard].get_or_insert(name);
        if keys.iter().all(Option::is_some) {
            break;
        }
    }
    keys.into_iter().map(Option::unwrap).collect()
}

#[test]
fn wait_speaks_of_what_the_client_wrote() {
    let Some(site) = Site::shards(2, "") else {
        return;
    };
    let [followed, alone] = &*keys(&site, &mut site.client()) else {
        panic!("two shards")
    };
    let replica = Redis::replica(site.servers[0].address(), &[]).unwrap();
    let mut client = site.client();
    assert_eq!(client.call(&["SET", followed, "1"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "0"]), number(1));

    kill_process(replica.process(), Signal::STOP).unwrap();
    assert_eq!(client.call(&["SET", followed, "2"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "50"]), number(0));
    // It waits, and nobody else does.
    client.send(&["WAIT", "1", "0"]);
    eventually("the server holds it", || {
        let info = site.servers[0].client().call(&["INFO", "clients"]).text();
        info.contains("blocked_clients:1")
    });
    site.neighbour_is_well();
    let mut other = site.client();
    assert_eq!(other.call(&["GET", followed]), bulk("2"));
    kill_process(replica.process(), Signal::CONT).unwrap();
    assert_eq!(client.read(), number(1));

    // Of two places the least counts.
    assert_eq!(client.call(&["SET", alone, "1"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "50"]), number(0));
    // In a transaction, and of one that wrote nothing.
    let mut other = site.client();
    assert_eq!(other.call(&["MULTI"]), ok());
    assert!(is_error(&other.call(&["WAIT", "1", "50"]), "ERR"));
    assert!(is_error(&other.call(&["EXEC"]), "EXECABORT"));
    let errors = ["ERR value is not an integer", "ERR timeout is negative"];
    for (call, error) in [["WAIT", "x", "0"], ["WAIT", "1", "-1"]].iter().zip(errors) {
        let reply = client.call(call);
        assert!(is_error(&reply, error), "{reply:?}");
    }
}

#[test]
fn wait_does_not_speak_of_servers_that_may_have_lost_it() {
    let Some(site) = Site::start("") else {
        return;
    };
    let server = &site.servers[0];
    let _replica = Redis::replica(server.address(), &[]).unwrap();
    let mut client = site.client();
    for is_transaction in [false, true] {
        if is_transaction {
            assert_eq!(client.call(&["MULTI"]), ok());
        }
        client.call(&["SET", "key", "1"]);
        if is_transaction {
            client.call(&["EXEC"]);
        }
        let killed = server.client().call(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(!is_error(&killed, "ERR"), "{killed:?}");
        eventually("the gateway connects again", || {
            site.client().call(&["GET", "key"]) == bulk("1")
        });
        let lost = "ERR upstream connection lost";
        let reply = client.call(&["WAIT", "1", "0"]);
        assert!(is_error(&reply, lost), "{reply:?}");
        // It is said once; what is written from now on is another matter.
        assert_eq!(client.call(&["SET", "key", "2"]), ok());
        assert_eq!(client.call(&["WAIT", "1", "0"]), number(1));
    }
}

#[test]
fn wait_asks_the_nodes_of_a_cluster() {
    let Some(mut cluster) = RedisCluster::start(2) else {
        return;
    };
    let Some(replica) = cluster.add_replica(0) else {
        return;
    };
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document(
            "",
            "redis: { topology: redis_cluster }",
            &[cluster.address(0)],
        )),
    };
    let at = |node: usize| {
        let names = (0..).map(|number| format!("key{number}"));
        let mut there = names.filter(|name| cluster.place(name).1 == node);
        there.next().unwrap()
    };
    let (followed, alone) = (at(0), at(1));
    let mut client = site.client();
    assert_eq!(client.call(&["SET", &followed, "1"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "0"]), number(1));
    let process = cluster.process(replica);
    kill_process(process, Signal::STOP).unwrap();
    assert_eq!(client.call(&["SET", &followed, "2"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "50"]), number(0));
    kill_process(process, Signal::CONT).unwrap();
    assert_eq!(client.call(&["WAIT", "1", "0"]), number(1));
    assert_eq!(client.call(&["SET", &alone, "1"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "50"]), number(0));

    // A slot that has moved, unknown to the gateway: what was sent on counts where it went.
    let mut client = site.client();
    let (slot, from) = cluster.place(&followed);
    cluster.begin_move(&slot, from, 1);
    cluster.move_keys(&slot, from, 1);
    cluster.end_move(&slot, from, 1);
    assert_eq!(client.call(&["SET", &followed, "3"]), ok());
    assert_eq!(client.call(&["WAIT", "1", "50"]), number(0));
}
