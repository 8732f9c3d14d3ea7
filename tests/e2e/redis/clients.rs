//! What people use: redis-py, plain and asynchronous, in both versions of RESP; redis-benchmark with all its tests.

use std::process::Command;

use harness::redis_cluster::RedisCluster;
use harness::{Gateway, tool};

use super::{Site, document};
use crate::python::Python;

#[test]
fn redis_py_does_all_that_applications_do() {
    let Some(python) = Python::with("redis", &["redis"]) else {
        return;
    };
    for shards in [1, 3] {
        let Some(site) = Site::shards(shards, "") else {
            return;
        };
        let mut script = python.run(include_str!("client.py"));
        let output = script
            .arg(site.address().port().to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.trim() == "well",
            "{shards}: {said}"
        );
    }
}

#[test]
fn redis_benchmark_runs_all_its_tests() {
    let Some(benchmark) = tool("redis-benchmark") else {
        return;
    };
    // Its first test is a line.
    let keys = "limits: { inline: true }\nallow_commands: [\"config|get\"]";
    let Some(site) = Site::start(keys) else {
        return;
    };
    let port = site.address().port().to_string();
    let output = Command::new(benchmark)
        .args(["-p", &port, "-n", "500", "-c", "10", "-P", "4", "--csv"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for test in [
        "PING_INLINE",
        "SET",
        "LRANGE_600 (first 600 elements)",
        "MSET (10 keys)",
    ] {
        assert!(said.contains(&format!("\"{test}\",")), "{test}: {said}");
    }
    assert_eq!(site.count("portcullis_redis_rejections_total", &[]), 0);
    site.neighbour_is_well();
}

#[test]
fn redis_py_finds_the_cluster_that_is_the_gateway() {
    let Some(python) = Python::with("redis", &["redis"]) else {
        return;
    };
    let Some(cluster) = RedisCluster::start(3) else {
        return;
    };
    let redis = "redis: { topology: redis_cluster }";
    let site = Site {
        servers: Vec::new(),
        gateway: Gateway::start(&document("", redis, &[cluster.address(0)])),
    };
    let mut script = python.run(include_str!("cluster_client.py"));
    let output = script
        .arg(site.address().port().to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.trim() == "well",
        "{said} {wrong}"
    );
}
