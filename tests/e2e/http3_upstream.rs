//! HTTP/3 towards endpoints: messages, connections that are shared, how they end, and what endpoints may not do.

mod attacks;
mod connections;
mod failures;
mod messages;
mod peers;

use harness::{Client, Http3Origin, RawResponse};

use crate::support::{Running, Site};

/// One worker, so that there is one pool.
const ALONE: &str = "runtime: { workers: { count: 1 } }";

const CONNECTIONS: &str = "portcullis_http3_upstream_connections_total";
const STREAMS: &str = "portcullis_http3_upstream_streams_total";
const UNPROCESSED: &str = "portcullis_http3_upstream_unprocessed_total";
const RESETS: &str = "portcullis_http3_upstream_resets_total";
const CUTS: &str = "portcullis_http3_upstream_cuts_total";

const SITE: [(&str, &str); 1] = [("cluster", "site")];

/// A site whose endpoint speaks HTTP/3.
fn site(address: std::net::SocketAddr, http: &str) -> Site {
    Site::default()
        .endpoint(address)
        .cluster(&Http3Origin::tls())
        .cluster(&format!("http: {{ version: http3{http} }}"))
        .top(ALONE)
}

fn post(client: &mut Client, body: &str) -> RawResponse {
    let length = body.len();
    client.send(format!(
        "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    client.read_response()
}

/// Waits until the streams that were opened are so many.
fn wait_streams(site: &Running, count: u64) {
    site.wait_stat(STREAMS, &SITE, |value| value == count);
}
