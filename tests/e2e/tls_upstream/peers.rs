//! nginx behind the gateway, over TLS on both hops of the way.

use std::process::{Command, Stdio};

use harness::{ClosedPort, Connection, Tool, eventually, tool};

use super::Behind;
use crate::support::{Site, checksum, noise};

/// Waits until somebody listens there.
#[track_caller]
fn wait_listening(address: std::net::SocketAddr) {
    eventually("somebody listens", || Connection::connect(address).is_ok());
}

/// nginx wants a certificate, says what it saw, and closes some connections by itself.
#[test]
fn nginx_over_tls() {
    let Some(program) = tool("nginx") else { return };
    let behind = Behind::new();
    behind.put("server", &behind.authority.issue(&["127.0.0.1"]));
    behind.put("gateway", &behind.authority.issue(&["gateway.test"]));
    let large = noise(3 * 1024 * 1024);
    behind.scratch.write("large.bin", &large);
    let address = ClosedPort::new().address();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let config = behind.fill(&format!(
            "daemon off; master_process off; pid DIR/nginx.pid; error_log DIR/error.log;
             events {{ worker_connections 512; }}
             http {{
                 access_log off; keepalive_requests 5;
                 client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c;
                 uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
                 ssl_certificate DIR/server.pem; ssl_certificate_key DIR/server.key;
                 ssl_client_certificate DIR/ca.pem; ssl_verify_client on; ssl_protocols {version};
                 ssl_session_cache shared:s:1m;
                 server {{ listen {address} ssl; root DIR;
                     location /seen {{ return 200 \"$ssl_client_verify $ssl_protocol\"; }} }}
             }}"
        ));
        let file = behind.scratch.write("nginx.conf", config);
        let mut command = Command::new(&program);
        command
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(behind.scratch.path());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Tool::start(&mut command);
        wait_listening(address);
        let tls = behind.fill(
            "tls: { roots: DIR/ca.pem, client_certificate: { cert: DIR/gateway.pem, key: DIR/gateway.key } }",
        );
        let site = Site::default().endpoint(address).cluster(&tls).start();
        let mut client = site.client();
        for number in 0..23 {
            let response = client.get("/seen", "shop.test");
            assert_eq!(response.text(), format!("SUCCESS {version}"), "{number}");
        }
        let response = client.get("/large.bin", "shop.test");
        assert_eq!(checksum(&response.body), checksum(&large), "{version}");
        site.neighbour_is_well();
        drop(site);
        drop(server);
    }
}
