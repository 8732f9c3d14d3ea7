//! A real Redis Cluster whose nodes are encrypted and known by names: each has to prove its own.

use harness::redis::RedisReply;
use harness::redis_cluster::RedisCluster;
use harness::tls::Authority;
use harness::{Gateway, Scratch, eventually};

use super::{Site, bulk, is_error, ok};

/// A gateway that is told one node, under this name, and trusts this authority.
fn over(cluster: &RedisCluster, host: &str, tls: &str, files: &Scratch, roots: &Authority) -> Site {
    let roots = files.write("roots.pem", roots.pem());
    let port = cluster.encrypted_address(0).port();
    let gateway = Gateway::start(&format!(
        "listeners:\n  cache: {{ listen: \"127.0.0.1:0\", protocol: redis, cluster: main }}\n\
         clusters:\n  main:\n    endpoints: [\"{host}:{port}\"]\n    dns: {{ family: v4 }}\n    \
         tls: {{ roots: {}{tls} }}\n    \
         redis: {{ topology: redis_cluster, read_from: prefer_replica }}\n",
        roots.display()
    ));
    Site {
        servers: Vec::new(),
        gateway,
    }
}

/// A key of each node.
fn keys(cluster: &RedisCluster, nodes: usize) -> Vec<String> {
    let key = |node| {
        let mut keys = (0..1000).map(|number| format!("key:{number}"));
        keys.find(|key| cluster.place(key).1 == node).unwrap()
    };
    (0..nodes).map(key).collect()
}

#[test]
fn each_node_proves_the_name_that_it_is_known_by() {
    let authority = Authority::new("nodes");
    let Some(cluster) = RedisCluster::encrypted(3, &authority) else {
        return;
    };
    let keys = keys(&cluster, 3);
    let files = Scratch::new();
    // Each certificate is for one name only, so that no node could pass for another.
    let site = over(&cluster, "node-0.localhost", "", &files, &authority);
    let mut client = site.client();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, key]), ok());
        assert_eq!(client.call(&["GET", key]), bulk(key));
    }
    let mut get = vec!["MGET".to_owned()];
    get.extend(keys.iter().cloned());
    let values = client.call(&get).array();
    let expected: Vec<RedisReply> = keys.iter().map(|key| bulk(key)).collect();
    assert_eq!(values, expected);
    // A slot moves, and the redirection names a name.
    let (slot, from) = cluster.place(&keys[1]);
    let to = (from + 1) % 3;
    assert_eq!(client.call(&["DEL", &keys[1]]).integer(), 1);
    cluster.begin_move(&slot, from, to);
    cluster.end_move(&slot, from, to);
    assert_eq!(client.call(&["SET", &keys[1], "moved"]), ok());
    let mut at = cluster.client(to);
    assert_eq!(at.call(&["GET", &keys[1]]), bulk("moved"));
    site.neighbour_is_well();
}

#[test]
fn who_proves_another_name_is_not_sent_anything() {
    let authority = Authority::new("nodes");
    let Some(cluster) = RedisCluster::encrypted(2, &authority) else {
        return;
    };
    let keys = keys(&cluster, 2);
    let files = Scratch::new();
    // With one name for all, only the node that has it is one.
    let site = over(
        &cluster,
        "127.0.0.1",
        ", sni: node-0.localhost",
        &files,
        &authority,
    );
    let mut client = site.client();
    assert_eq!(client.call(&["SET", &keys[0], "1"]), ok());
    let refused = client.call(&["SET", &keys[1], "1"]);
    assert!(
        is_error(&refused, "ERR upstream connection failed"),
        "{refused:?}"
    );
    // Whom somebody else has vouched for is nobody.
    let site = over(
        &cluster,
        "node-0.localhost",
        "",
        &files,
        &Authority::new("others"),
    );
    let mut client = site.client();
    eventually("nobody is asked", || {
        is_error(
            &client.call(&["GET", &keys[0]]),
            "ERR no endpoint available",
        )
    });
    assert_eq!(cluster.client(1).call(&["DBSIZE"]), RedisReply::Integer(0));
}
