//! Roots and client certificates that change while the gateway runs (tests/ATTACKS.md F4).

use harness::tls::Authority;
use harness::{Origin, Reply};
use rustls::version::TLS12;

use super::{Behind, ask};
use crate::support::assert_local;

const RELOADS: &str = "portcullis_cluster_tls_reloads_total";
const FAILED: &str = "portcullis_cluster_tls_reload_failed_total";
const EXPIRY: &str = "portcullis_cluster_tls_certificate_expiry_seconds";
const CLUSTER: [(&str, &str); 1] = [("cluster", "site")];

/// Every request on a connection of its own.
const ALWAYS_NEW: &str = "{ roots: DIR/ca.pem }\npool: { max_idle: 0 }";

/// F4: new roots count for new connections; those that are open notice nothing, and unusable ones change nothing.
#[test]
fn f4_roots_that_change() {
    let behind = Behind::new();
    let origin = Origin::https(behind.server(), |_| Reply::ok("well"));
    let site = behind.site(&origin, ALWAYS_NEW);
    let mut client = site.client();
    assert_eq!(ask(&mut client), "well");

    let path = behind.scratch.path().join("ca.pem").display().to_string();
    let of_file = [("cluster", "site"), ("file", path.as_str())];
    for (count, contents) in [(1, "nonsense"), (2, "")] {
        behind.scratch.write("ca.pem", contents);
        site.wait_stat(FAILED, &of_file, |value| value >= count);
        assert_eq!(ask(&mut client), "well", "{contents:?}");
    }
    site.wait_log("TLS file refused");

    behind
        .scratch
        .write("ca.pem", Authority::new("others").pem());
    site.wait_stat(RELOADS, &CLUSTER, |count| count == 1);
    let response = client.get("/", "shop.test");
    assert_local("others", &response, 503, "tls_certificate");

    behind.scratch.write("ca.pem", behind.authority.pem());
    site.wait_stat(RELOADS, &CLUSTER, |count| count == 2);
    assert_eq!(ask(&mut client), "well");
    site.neighbour_is_well();
}

/// F4: connections that are open outlive the roots that they were verified by.
#[test]
fn f4_open_connections_notice_nothing() {
    let behind = Behind::new();
    let origin = Origin::https(behind.server(), |_| Reply::ok("well"));
    let site = behind.site(&origin, super::TRUSTING);
    let mut client = site.client();
    assert_eq!(ask(&mut client), "well");
    behind
        .scratch
        .write("ca.pem", Authority::new("others").pem());
    site.wait_stat(RELOADS, &CLUSTER, |count| count == 1);
    for _ in 0..3 {
        assert_eq!(ask(&mut client), "well");
    }
    assert_eq!(origin.connections(), 1);
}

/// F4: a new client certificate is shown from then on; one that does not fit its key is not.
#[test]
fn f4_a_client_certificate_that_changes() {
    let behind = Behind::new();
    let new_clients = Authority::new("clients");
    behind.put("gateway", &behind.authority.issue(&["gateway.test"]));
    let server = behind.authority.issue(&["127.0.0.1"]);
    // In TLS 1.2 a refusal is part of the handshake.
    let origin = Origin::https(server.server_of(&[&TLS12], Some(&new_clients)), |_| {
        Reply::ok("well")
    });
    let tls = "{ roots: DIR/ca.pem, client_certificate: { cert: DIR/gateway.pem, key: DIR/gateway.key } }\n\
               pool: { max_idle: 0 }";
    let site = behind.site(&origin, tls);
    let mut client = site.client();
    let response = client.get("/", "shop.test");
    assert_local("the old one", &response, 503, "tls_alert");
    let stats = site.stats();
    let expiry = stats.matching(EXPIRY, &CLUSTER);
    assert_eq!(expiry.len(), 1);

    let next = new_clients.issue(&["gateway.test"]);
    let path = behind
        .scratch
        .path()
        .join("gateway.pem")
        .display()
        .to_string();
    let of_file = [("cluster", "site"), ("file", path.as_str())];
    behind.scratch.write("gateway.pem", &next.cert);
    site.wait_stat(FAILED, &of_file, |count| count >= 1);
    assert_eq!(
        client.get("/", "shop.test").status,
        503,
        "a key of another certificate"
    );
    behind.scratch.write("gateway.key", &next.key);
    site.wait_stat(RELOADS, &CLUSTER, |count| count == 1);
    assert_eq!(ask(&mut client), "well");
    site.neighbour_is_well();
}
