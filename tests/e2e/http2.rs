//! HTTP/2 towards clients: what a well-behaved one sees, whatever is spoken upstream.

use std::process::Command;

use bytes::Bytes;
use harness::tls::Authority;
use harness::{
    Gate, Gateway, H2Client, Origin, RawH2, Reply, Scratch, Step, h2_numbers as n,
    read_h2_response, tool,
};
use http::HeaderMap;

use crate::support::{Site, checksum, noise};

#[test]
fn requests_and_responses_pass() {
    let origin = Origin::http(|request| {
        Reply::ok(format!(
            "{} {} {}",
            request.method,
            request.target,
            request.body.len()
        ))
    });
    let site = Site::new(&origin).start();
    let client = H2Client::connect(site.addr("web"));
    let get = client.get("/a?b=c", "site.test");
    assert_eq!((get.status, get.text().as_str()), (200, "GET /a?b=c 0"));
    assert_eq!(get.header("content-length"), Some("12"));
    assert!(get.header("connection").is_none() && get.header("transfer-encoding").is_none());

    let body = noise(100_000);
    let post = client
        .exchange(H2Client::head("POST", "/up", "site.test"), Some(&body))
        .unwrap();
    assert_eq!(post.text(), "POST /up 100000");
    let head = client
        .exchange(H2Client::head("HEAD", "/", "site.test"), None)
        .unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("8"));

    let first = origin.next_request();
    assert_eq!(first.version, "HTTP/1.1");
    assert_eq!(first.header("host"), Some("site.test"));
    assert_eq!(first.header("via"), Some("2 portcullis"));
    assert_eq!(
        origin.next_request().header("transfer-encoding"),
        Some("chunked")
    );
    site.wait_stat(
        "portcullis_http2_streams_total",
        &[("listener", "web")],
        |count| count == 3,
    );
    let labels = [("listener", "web"), ("version", "http2")];
    assert_eq!(
        site.stats()
            .counter("portcullis_http_connections_total", &labels),
        1
    );
    site.neighbour_is_well();
}

#[test]
fn many_streams_share_a_connection() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| {
        if request.target == "/held" {
            Reply::steps([
                Step::Wait(held.clone()),
                Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate"),
            ])
        } else {
            Reply::ok("soon")
        }
    });
    let site = Site::new(&origin).start();
    let client = H2Client::connect(site.addr("web"));
    let (late, _) = client
        .open(H2Client::head("GET", "/held", "site.test"), true)
        .unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("/", "site.test").text(), "soon");
    }
    gate.open();
    let late = client.run(read_h2_response(late)).unwrap();
    assert_eq!(late.text(), "late");
    let labels = [("listener", "web"), ("version", "http2")];
    assert_eq!(
        site.stats()
            .counter("portcullis_http_connections_total", &labels),
        1
    );
}

#[test]
fn large_bodies_pass_through_small_windows() {
    let body = noise(3_000_000);
    let sum = checksum(&body);
    let origin = Origin::http(move |request| {
        Reply::ok(if request.method == "POST" {
            checksum(&request.body).to_string().into_bytes()
        } else {
            body.clone()
        })
    });
    let site = Site::new(&origin)
        .listener("http2: { initial_window: 64KiB, connection_window: 64KiB, send_buffer: 8KiB }")
        .start();
    let mut small = h2::client::Builder::new();
    small
        .initial_window_size(16_384)
        .initial_connection_window_size(65_535);
    let client = H2Client::connect_with(site.addr("web"), &small);
    let down = client.get("/", "site.test");
    assert_eq!(checksum(&down.body), sum);

    let sent = noise(1_500_000);
    let up = client
        .exchange(H2Client::head("POST", "/", "site.test"), Some(&sent))
        .unwrap();
    assert_eq!(up.text(), checksum(&sent).to_string());
    site.neighbour_is_well();
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::http(
        |_| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
    );
    let site = Site::new(&origin).start();
    let client = H2Client::connect(site.addr("web"));
    let mut request = H2Client::head("POST", "/", "site.test");
    request
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    let (response, mut send) = client.open(request, false).unwrap();
    let response = client.run(async {
        send.send_data(Bytes::from_static(b"body"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", "5".parse().unwrap());
        send.send_trailers(trailers).unwrap();
        read_h2_response(response).await.unwrap()
    });
    assert_eq!(response.text(), "hi");
    assert_eq!(response.trailers.unwrap().get("x-sum").unwrap(), "7");
    let request = origin.next_request();
    assert_eq!(request.body, b"body");
    assert_eq!(request.trailers, [("x-up".to_owned(), "5".to_owned())]);
    assert_eq!(request.header("te"), Some("trailers"));
}

#[test]
fn interim_responses_pass() {
    let origin = Origin::script(vec![
        Step::read_until("\r\n\r\n"),
        Step::send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"),
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ]);
    let site = Site::new(&origin).start();
    let client = H2Client::connect(site.addr("web"));
    let response = client.get("/", "site.test");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let [(status, fields)] = response.interim.as_slice() else {
        panic!("{:?}", response.interim);
    };
    assert_eq!(
        (*status, fields.get("link").unwrap().as_bytes()),
        (103, &b"</a.css>"[..])
    );
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let origin = Origin::http(|request| {
        let status = request.target.trim_start_matches('/').to_owned();
        format!("HTTP/1.1 {status} x\r\netag: \"a\"\r\n\r\n")
    });
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect(site.addr("web"));
    for (stream, status) in [(1, 204), (3, 304)] {
        client.get(stream, &format!("/{status}"), "site.test");
        let head = client.read_until(|frame| frame.stream == stream);
        assert_eq!((head.kind, head.status()), (n::HEADERS, Some(status)));
        assert!(head.has(n::END_STREAM), "{status}");
    }
    client.expect_alive();
}

#[test]
fn a_slow_reader_holds_back_its_upstream_and_nobody_else() {
    let origin = Origin::http(|request| {
        Reply::ok(if request.target == "/large" {
            noise(20_000_000)
        } else {
            b"small".to_vec()
        })
    });
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect_with(site.addr("web"), &[(n::INITIAL_WINDOW_SIZE, 1000)]);
    let before = site.resident_bytes();
    client.get(1, "/large", "site.test");
    let head = client.read_until(|frame| frame.stream == 1);
    assert_eq!(head.status(), Some(200));
    let data = client.read_until(|frame| frame.stream == 1);
    assert_eq!((data.kind, data.payload.len()), (n::DATA, 1000));
    client.get(3, "/small", "site.test");
    assert_eq!(client.read_response(3).data, b"small");
    let grown = site.resident_bytes().saturating_sub(before);
    assert!(
        grown < 16_000_000,
        "{grown} bytes for a response that nobody reads"
    );
    client.open_window(1, 500);
    let data = client.read_until(|frame| frame.stream == 1);
    assert_eq!((data.kind, data.payload.len()), (n::DATA, 500));
    site.neighbour_is_well();
}

#[test]
fn cancelling_reaches_the_upstream() {
    let gate = Gate::new();
    let origin = Origin::script(vec![Step::read_until("\r\n\r\n"), Step::Wait(gate.clone())]);
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect(site.addr("web"));
    client.get(1, "/", "site.test");
    origin.wait_connections(1);
    site.wait_stat(
        "portcullis_http_requests_active",
        &[("listener", "web")],
        |count| count == 1,
    );
    client.send_frame(n::RST_STREAM, 0, 1, n::CANCEL.to_be_bytes());
    site.wait_local_replies("downstream_reset", 1);
    client.expect_alive();
    gate.open();
    origin.wait_open(0);
}

#[test]
fn a_broken_upstream_resets_its_stream_only() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::http(move |request| {
        if request.target == "/broken" {
            Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                .then(Step::Wait(held.clone()))
                .close()
        } else {
            Reply::ok("whole")
        }
    });
    let site = Site::new(&origin).start();
    let mut client = RawH2::connect(site.addr("web"));
    client.get(1, "/broken", "site.test");
    let head = client.read_until(|frame| frame.stream == 1);
    assert_eq!(head.status(), Some(200));
    gate.open();
    assert_eq!(client.read_response(1).reset, Some(n::INTERNAL_ERROR));
    client.get(3, "/", "site.test");
    assert_eq!(client.read_response(3).data, b"whole");
    site.wait_local_replies("upstream_truncated", 1);
}

#[test]
fn answers_of_the_gateway_itself_pass() {
    let origin = Origin::http(|_| Reply::ok("never"));
    let site = Site::new(&origin)
        .routes("- match: { path: /here }\n  cluster: site")
        .start();
    let client = H2Client::connect(site.addr("web"));
    let response = client.get("/elsewhere", "site.test");
    assert_eq!(response.status, 404);
    assert_eq!(response.header("x-portcullis-reason"), Some("no_route"));
    assert!(!response.body.is_empty());
}

#[test]
fn h17_there_is_no_upgrade_to_h2c() {
    let origin = Origin::http(|_| Reply::ok("plain"));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(
        "GET / HTTP/1.1\r\nhost: site.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n",
    );
    let response = client.read_response();
    assert_eq!((response.status, response.text().as_str()), (200, "plain"));
    let request = origin.next_request();
    assert_eq!(
        (request.header("upgrade"), request.header("http2-settings")),
        (None, None)
    );
}

#[test]
fn curl_by_prior_knowledge() {
    let Some(curl) = tool("curl") else { return };
    let body = noise(300_000);
    let sum = body.clone();
    let origin = Origin::http(move |_| Reply::ok(body.clone()));
    let site = Site::new(&origin).start();
    let url = format!("http://{}/", site.addr("web"));
    let output = Command::new(curl)
        .args(["-sS", "--http2-prior-knowledge", &url])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(checksum(&output.stdout), checksum(&sum));
}

/// Over TLS the handshake decides, and a client that does not offer HTTP/2 is served all the same.
#[test]
fn curl_by_alpn() {
    let Some(curl) = tool("curl") else { return };
    let origin = Origin::http(|request| {
        let proto = request.header("x-forwarded-proto").unwrap_or_default();
        Reply::ok(format!("over {proto}"))
    });
    let authority = Authority::new("tests");
    let issued = authority.issue(&["127.0.0.1"]);
    let scratch = Scratch::new();
    let cert = scratch.write("a.pem", &issued.cert);
    let key = scratch.write("a.key", &issued.key);
    let roots = scratch.write("roots.pem", authority.pem());
    let gateway = Gateway::start(&format!(
        "listeners:\n  web:\n    listen: 127.0.0.1:0\n    protocol: http\n    \
         tls: {{ certificates: [{{ cert: {}, key: {} }}] }}\n    cluster: site\n\
         clusters:\n  site: {{ endpoints: [\"{}\"] }}\n",
        cert.display(),
        key.display(),
        origin.address(),
    ));
    let url = format!("https://{}/", gateway.addr("web"));
    for (version, reported) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let output = Command::new(&curl)
            .args(["-sS", version, "-w", " by %{http_version}", "--cacert"])
            .arg(&roots)
            .arg(&url)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, format!("over https by {reported}"), "{complaint}");
    }
    for version in ["http1", "http2"] {
        let labels = [("listener", "web"), ("version", version)];
        gateway.wait_stat("portcullis_http_connections_total", &labels, |count| {
            count == 1
        });
    }
}

#[test]
fn nghttp_reads_a_page_with_all_that_is_in_it() {
    let Some(nghttp) = tool("nghttp") else { return };
    let origin = Origin::http(|request| Reply::ok(format!("<p>{}</p>", request.target)));
    let site = Site::new(&origin).start();
    let url = |path| format!("http://{}{path}", site.addr("web"));
    let output = Command::new(nghttp)
        .args(["--no-dep", "-v", &url("/one"), &url("/two")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for wanted in ["<p>/one</p>", "<p>/two</p>"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn h2load_finds_no_failure() {
    let Some(h2load) = tool("h2load") else { return };
    let origin = Origin::http(|_| Reply::ok("load"));
    let site = Site::new(&origin).start();
    let url = format!("http://{}/", site.addr("web"));
    let output = Command::new(h2load)
        .args(["-n", "400", "-c", "4", "-m", "10", &url])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("400 succeeded, 0 failed, 0 errored"),
        "{text}"
    );
    site.neighbour_is_well();
}
