//! HTTP/3 from clients to endpoints of every version, by one exchange.

use harness::{H3Client, Http2Origin, Http3Origin, Origin, Reply, read_h3_response};

use super::{client, others_are_well, site};
use crate::support::{checksum, noise};
use crate::tls::Running;

/// Puts another endpoint behind the listener.
#[track_caller]
fn lead_to(site: &Running, config: &str, cluster: &str) {
    let own = format!("origin: {{ endpoints: [\"{}\"] }}", site.origin.address());
    assert!(config.contains(&own), "{config}");
    let reloaded = site.reload(&config.replace(&own, cluster));
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
}

#[test]
fn any_version_answers() {
    let body = noise(200_000);
    let large = body.clone();
    let origin = Origin::http(move |request| match request.target.as_str() {
        "/large" => Reply::ok(large.clone()),
        "/trailers" => Reply::from(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n",
        ),
        _ => Reply::ok(format!("{} {}", request.method, checksum(&request.body))),
    });
    let site = site("true", origin);
    let second = Http2Origin::in_front_of(site.origin.address());
    let third = Http3Origin::in_front_of(site.origin.address());
    let clusters = [
        None,
        Some(format!(
            "origin: {{ endpoints: [\"{}\"], http: {{ version: http2 }} }}",
            second.address()
        )),
        Some(format!(
            "origin: {{ endpoints: [\"{}\"], http: {{ version: http3 }}, {} }}",
            third.address(),
            Http3Origin::tls()
        )),
    ];
    let config = std::fs::read_to_string(site.config_path()).unwrap();
    for cluster in &clusters {
        if let Some(cluster) = cluster {
            lead_to(&site, &config, cluster);
        }
        let row = cluster.as_deref().unwrap_or("http1");
        let client = client(&site);
        assert_eq!(
            checksum(&client.get("/large", "a.test").body),
            checksum(&body),
            "{row}"
        );
        let post = H3Client::head("POST", "/", "a.test");
        let answer = client.exchange(post, Some(&body)).unwrap();
        assert_eq!(answer.text(), format!("POST {}", checksum(&body)), "{row}");
        let head = client
            .exchange(H3Client::head("HEAD", "/", "a.test"), None)
            .unwrap();
        assert_eq!((head.status, head.body.len()), (200, 0), "{row}");
        let mut sender = client.sender();
        let response = client.run(async {
            let request = H3Client::head("GET", "/trailers", "a.test");
            let mut stream = sender.send_request(request).await.unwrap();
            stream.finish().await.unwrap();
            read_h3_response(&mut stream).await.unwrap()
        });
        let trailers = response.trailers.as_ref();
        let sum = trailers.and_then(|trailers| trailers.get("x-sum"));
        assert_eq!(response.text(), "body", "{row}");
        assert_eq!(
            sum.map(http::HeaderValue::as_bytes),
            Some(&b"7"[..]),
            "{row}"
        );
        if cluster.is_none() {
            others_are_well(&site);
        }
    }
    assert!(second.connections() >= 1 && third.connections() >= 1);
}
