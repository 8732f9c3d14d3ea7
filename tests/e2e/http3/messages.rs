//! Requests and responses: heads, bodies, trailers, interim responses, many at once; refusals of single requests.

use std::sync::Arc;

use bytes::Bytes;
use harness::{
    Gate, H3Client, Origin, RawH3, Reply, Step, h3_frame, h3_get, h3_section, quic_config,
    read_h3_response,
};
use http::HeaderMap;
use quinn::{TransportConfig, VarInt};

use super::{client, others_are_well, site};
use crate::support::{checksum, noise};

/// H3_NO_ERROR and its like (RFC 9114 section 8.1).
pub(crate) const NO_ERROR: u64 = 0x100;
const INTERNAL_ERROR: u64 = 0x102;
const CANCELLED: u64 = 0x10c;
const MESSAGE_ERROR: u64 = 0x10e;

const DOWNSTREAM_ERRORS: &str = "portcullis_http_downstream_errors_total";
const PSEUDO: &str = "invalid_pseudo_header";

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
    let site = site("true", origin);
    let client = client(&site);
    let get = client.get("/a?b=c", "a.test");
    assert_eq!((get.status, get.text().as_str()), (200, "GET /a?b=c 0"));
    assert_eq!(get.header("content-length"), Some("12"));
    assert_eq!(get.header("alt-svc"), None, "it is here already");
    assert!(get.header("connection").is_none() && get.header("transfer-encoding").is_none());

    let body = noise(100_000);
    let post = client
        .exchange(H3Client::head("POST", "/up", "a.test"), Some(&body))
        .unwrap();
    assert_eq!(post.text(), "POST /up 100000");
    let head = client
        .exchange(H3Client::head("HEAD", "/", "a.test"), None)
        .unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("8"));

    let first = site.origin.next_request();
    assert_eq!(first.version, "HTTP/1.1");
    assert_eq!(first.header("host"), Some("a.test"));
    assert_eq!(first.header("via"), Some("3 portcullis"));
    assert_eq!(first.header("x-forwarded-proto"), Some("https"));
    assert_eq!(first.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(first.header("early-data"), None);
    let labels = [("listener", "web")];
    site.wait_stat("portcullis_http3_streams_total", &labels, |count| {
        count == 3
    });
    let labels = [("listener", "web"), ("version", "http3")];
    let stats = site.stats();
    assert_eq!(
        stats.counter("portcullis_http_connections_total", &labels),
        1
    );
    let labels = [("listener", "web")];
    assert_eq!(
        stats.counter("portcullis_http3_handshakes_total", &labels),
        1
    );
    assert_eq!(
        stats.gauge("portcullis_http3_connections_active", &labels),
        1
    );
    others_are_well(&site);
}

#[test]
fn other_versions_say_where_http3_is() {
    let origin =
        Origin::http(|_| "HTTP/1.1 200 OK\r\nalt-svc: h3=\":1\"\r\ncontent-length: 2\r\n\r\nok");
    let site = site("{ alt_svc: 1h }", origin);
    let response = site.client("a.test").get("/", "a.test");
    let expected = format!("h3=\":{}\"; ma=3600", site.addr("web").port());
    assert_eq!(response.header("alt-svc"), Some(&*expected));
    assert_eq!(client(&site).get("/", "a.test").header("alt-svc"), None);

    let quiet = super::site("{ alt_svc: off }", Origin::http(|_| Reply::ok("ok")));
    let response = quiet.client("a.test").get("/", "a.test");
    assert_eq!(response.header("alt-svc"), None);
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
    let site = site("true", origin);
    let client = client(&site);
    let mut sender = client.sender();
    let mut late = client.run(async {
        let request = H3Client::head("GET", "/held", "a.test");
        let mut stream = sender.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        stream
    });
    for _ in 0..150 {
        assert_eq!(client.get("/", "a.test").text(), "soon");
    }
    gate.open();
    let late = client.run(read_h3_response(&mut late)).unwrap();
    assert_eq!(late.text(), "late");
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
    let small =
        "{ stream_window: 16KiB, connection_window: 20KiB, send_buffer: 8KiB, send_window: 32KiB }";
    let site = site(small, origin);
    let mut config = quic_config(&site.plain());
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(10_000));
    transport.receive_window(VarInt::from_u32(20_000));
    config.transport_config(Arc::new(transport));
    let client = H3Client::connect_with(site.addr("web"), config, "a.test").unwrap();
    let down = client.get("/", "a.test");
    assert_eq!(checksum(&down.body), sum);

    let sent = noise(1_500_000);
    let up = client
        .exchange(H3Client::head("POST", "/", "a.test"), Some(&sent))
        .unwrap();
    assert_eq!(up.text(), checksum(&sent).to_string());
    others_are_well(&site);
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::http(
        |_| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
    );
    let site = site("true", origin);
    let client = client(&site);
    let mut sender = client.sender();
    let response = client.run(async {
        let mut request = H3Client::head("POST", "/", "a.test");
        request
            .headers_mut()
            .insert("te", "trailers".parse().unwrap());
        let mut stream = sender.send_request(request).await.unwrap();
        stream.send_data(Bytes::from_static(b"body")).await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", "5".parse().unwrap());
        stream.send_trailers(trailers).await.unwrap();
        stream.finish().await.unwrap();
        read_h3_response(&mut stream).await.unwrap()
    });
    assert_eq!(response.text(), "hi");
    assert_eq!(response.trailers.unwrap().get("x-sum").unwrap(), "7");
    let request = site.origin.next_request();
    assert_eq!(request.body, b"body");
    assert_eq!(request.trailers, [("x-up".to_owned(), "5".to_owned())]);
    assert_eq!(request.header("te"), Some("trailers"));
}

/// Frames that say nothing, between all others, change nothing.
#[test]
fn empty_and_unknown_frames_are_passed_over() {
    let site = site("true", Origin::http(|_| Reply::ok("ok")));
    let client = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/up"),
    ];
    let grease = h3_frame(0x21 + 0x1f * 5, b"whatever");
    let request = [
        grease.clone(),
        h3_frame(1, h3_section(&fields)),
        h3_frame(0, b""),
        h3_frame(0, b"one "),
        grease.clone(),
        h3_frame(0, b""),
        h3_frame(0, b"two"),
        grease,
        h3_frame(1, h3_section(&[("x-up", "1")])),
    ];
    let (_send, mut receive) = client.request(&request.concat(), true).unwrap();
    let answer = client.run(receive.read_to_end(10_000)).unwrap();
    assert!(answer.ends_with(b"ok"), "{answer:?}");
    let request = site.origin.next_request();
    assert_eq!(request.body, b"one two");
    assert_eq!(request.trailers, [("x-up".to_owned(), "1".to_owned())]);
}

#[test]
fn interim_responses_pass() {
    let origin = Origin::script(vec![
        Step::read_until("\r\n\r\n"),
        Step::send("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"),
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ]);
    let site = site("true", origin);
    let response = client(&site).get("/", "a.test");
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
fn an_early_response_needs_no_more_of_the_request() {
    let origin = Origin::script(vec![
        Step::read_until("\r\n\r\n"),
        Step::send("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"),
        Step::Close,
    ]);
    let site = site("true", origin);
    let client = client(&site);
    let mut sender = client.sender();
    client.run(async {
        let request = H3Client::head("POST", "/", "a.test");
        let mut stream = sender.send_request(request).await.unwrap();
        stream
            .send_data(Bytes::from_static(b"begun"))
            .await
            .unwrap();
        let response = read_h3_response(&mut stream).await.unwrap();
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
        // STOP_SENDING is seen by who goes on.
        let refused = loop {
            if let Err(error) = stream.send_data(Bytes::from_static(b"more")).await {
                break format!("{error:?}");
            }
            tokio::task::yield_now().await;
        };
        assert!(refused.contains("H3_NO_ERROR"), "{refused}");
    });
}

#[test]
fn cancelling_reaches_the_upstream() {
    let gate = Gate::new();
    let origin = Origin::script(vec![Step::read_until("\r\n\r\n"), Step::Wait(gate.clone())]);
    let site = site("true", origin);
    let client = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let (_send, mut receive) = client.request(&h3_get("/"), true).unwrap();
    site.origin.wait_connections(1);
    receive.stop(VarInt::from_u64(CANCELLED).unwrap()).unwrap();
    let labels = [("listener", "web"), ("by", "client")];
    site.wait_stat("portcullis_http3_resets_total", &labels, |count| count == 1);
    gate.open();
    site.origin.wait_open(0);
    let active = "portcullis_http3_streams_active";
    site.wait_stat(active, &[("listener", "web")], |count| count == 0);
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
    let site = site("true", origin);
    let raw = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let (_send, mut receive) = raw.request(&h3_get("/broken"), true).unwrap();
    let mut first = [0; 2];
    raw.run(receive.read_exact(&mut first)).unwrap();
    gate.open();
    let error = raw.run(receive.read_to_end(1000)).unwrap_err();
    let expected = quinn::ReadError::Reset(VarInt::from_u64(INTERNAL_ERROR).unwrap());
    assert_eq!(error, quinn::ReadToEndError::Read(expected));
    let (_send, mut receive) = raw.request(&h3_get("/"), true).unwrap();
    let answer = raw.run(receive.read_to_end(1000)).unwrap();
    assert!(answer.ends_with(b"whole"));
}

/// T9: what would mean something else in HTTP/1 resets its stream, and the connection goes on.
#[test]
fn t9_malformed_requests_are_reset() {
    let site = site("true", Origin::http(|_| Reply::ok("well")));
    let raw = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let base = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a.test"),
        (":path", "/"),
    ];
    type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [u8]);
    let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
    let rows: Vec<Row<'_>> = vec![
        ("CR in a value", with(&[("x", "a\rb")]), b""),
        ("LF in a value", with(&[("x", "a\nb: c")]), b""),
        ("NUL in a value", with(&[("x", "a\0b")]), b""),
        ("colon in a name", with(&[("a:b", "c")]), b""),
        ("upper case", with(&[("Host", "a")]), b""),
        ("connection", with(&[("connection", "close")]), b""),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            b"",
        ),
        ("upgrade", with(&[("upgrade", "x")]), b""),
        ("te", with(&[("te", "gzip")]), b""),
        (
            "two lengths",
            with(&[("content-length", "1"), ("content-length", "2")]),
            b"ab",
        ),
        ("too little", with(&[("content-length", "5")]), b"ab"),
        ("too much", with(&[("content-length", "1")]), b"ab"),
        (
            "space in the path",
            vec![base[0], base[1], base[2], (":path", "/a b")],
            b"",
        ),
        ("no path", vec![base[0], base[1], base[2]], b""),
        ("unknown pseudo-header", with(&[(":x", "1")]), b""),
    ];
    for (name, fields, body) in rows {
        let request = [h3_frame(1, h3_section(&fields)), h3_frame(0, body)].concat();
        let (_send, mut receive) = raw.request(&request, true).unwrap();
        let answer = raw.run(receive.read_to_end(1000));
        let expected = quinn::ReadError::Reset(VarInt::from_u64(MESSAGE_ERROR).unwrap());
        match answer {
            Err(quinn::ReadToEndError::Read(error)) => assert_eq!(error, expected, "{name}"),
            // What is found in the body may be answered with 400, which is number 67 in the static table.
            Ok(answer) if name.starts_with("too") => assert_eq!(answer[5..7], [0xff, 4], "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    // The gateway may learn of a wrong length when the request is on its way: that is never whole.
    let reached = site.origin.take_requests();
    assert!(reached.is_empty(), "{reached:?}");
    let (_send, mut receive) = raw.request(&h3_get("/"), true).unwrap();
    assert!(
        raw.run(receive.read_to_end(1000))
            .unwrap()
            .ends_with(b"well")
    );
    others_are_well(&site);
}

/// T9: two answers to one question, or one where nobody looks for it, reset their stream, and the connection goes on.
#[test]
fn t9_pseudo_header_fields_stand_once_and_first() {
    const NO_PATH: [(&str, &str); 3] = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a.test"),
    ];
    let site = site("true", Origin::http(|_| Reply::ok("well")));
    let raw = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let path = |path| [&NO_PATH[..], &[(":path", path)]].concat();
    let and = |more| [path("/"), vec![more]].concat();
    let rows = [
        ("two paths", and((":path", "/z")), PSEUDO),
        ("two methods", and((":method", "DELETE")), PSEUDO),
        ("two authorities", and((":authority", "b.test")), PSEUDO),
        ("two schemes", and((":scheme", "https")), PSEUDO),
        ("a status", and((":status", "200")), PSEUDO),
        (
            "behind a field",
            [&NO_PATH[..], &[("x", "y"), (":path", "/")]].concat(),
            PSEUDO,
        ),
        ("a fragment", path("/a#b"), "fragment_in_target"),
    ];
    let reset = quinn::ReadError::Reset(VarInt::from_u64(MESSAGE_ERROR).unwrap());
    let mut counts = std::collections::BTreeMap::new();
    for (name, fields, reason) in rows {
        let request = h3_frame(1, h3_section(&fields));
        let (_send, mut receive) = raw.request(&request, true).unwrap();
        let answer = raw.run(receive.read_to_end(1000));
        let expected = quinn::ReadToEndError::Read(reset.clone());
        assert_eq!(answer, Err(expected), "{name}");
        *counts.entry(reason).or_insert(0) += 1;
        let labels = [("listener", "web"), ("reason", reason)];
        let count = counts[reason];
        site.wait_stat(DOWNSTREAM_ERRORS, &labels, |counted| counted == count);
    }
    // Behind a body there may be an answer already.
    let [head, trailers] = [path("/"), vec![(":path", "/z")]].map(|fields| h3_section(&fields));
    let request = [h3_frame(1, head), h3_frame(0, b"ab"), h3_frame(1, trailers)].concat();
    let (_send, mut receive) = raw.request(&request, true).unwrap();
    match raw.run(receive.read_to_end(1000)) {
        Err(quinn::ReadToEndError::Read(error)) => assert_eq!(error, reset),
        Ok(answer) => assert_eq!(answer[5..7], [0xff, 4], "400"),
        other => panic!("{other:?}"),
    }
    let reached = site.origin.take_requests();
    assert!(reached.is_empty(), "{reached:?}");
    let (_send, mut receive) = raw.request(&h3_get("/"), true).unwrap();
    let answer = raw.run(receive.read_to_end(1000)).unwrap();
    assert!(answer.ends_with(b"well"));
    others_are_well(&site);
}

#[test]
fn what_is_too_much_is_answered() {
    let site = site("true", Origin::http(|_| Reply::ok("well")));
    let client = client(&site);
    let with = |fields: usize, size: usize| {
        let mut request = H3Client::head("GET", "/", "a.test");
        for number in 0..fields {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request
                .headers_mut()
                .insert(name, "a".repeat(size).parse().unwrap());
        }
        request
    };
    let long = H3Client::head("GET", &format!("/{}", "a".repeat(9000)), "a.test");
    let rows = [
        ("many", with(101, 1), 431, "too_many_fields"),
        ("large", with(4, 9000), 431, "head_too_large"),
        ("long path", long, 414, "uri_too_long"),
        ("fine", with(50, 100), 200, ""),
    ];
    for (name, request, status, reason) in rows {
        let response = client.exchange(request, None).unwrap();
        assert_eq!(response.status, status, "{name}");
        if !reason.is_empty() {
            let labels = [("listener", "web"), ("reason", reason)];
            site.wait_stat("portcullis_http_local_replies_total", &labels, |count| {
                count > 0
            });
        }
    }
}

#[test]
fn websocket_over_http3_is_not_offered() {
    let site = site("true", Origin::http(|_| Reply::ok("well")));
    let raw = RawH3::connect(site.addr("web"), &site.plain(), "a.test");
    let fields = |protocol| {
        [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "https"),
            (":authority", "a.test"),
            (":path", "/chat"),
        ]
    };
    let ask = |protocol| {
        let request = h3_frame(1, h3_section(&fields(protocol)));
        let (_send, mut receive) = raw.request(&request, false).unwrap();
        raw.run(receive.read_to_end(1000))
    };
    // What `h3` does not know it takes for malformed.
    let expected = quinn::ReadError::Reset(VarInt::from_u64(MESSAGE_ERROR).unwrap());
    assert_eq!(ask("websocket"), Err(quinn::ReadToEndError::Read(expected)));
    let answer = ask("connect-udp").unwrap();
    assert!(!answer.is_empty(), "501");
    let labels = [("listener", "web"), ("reason", "unknown_connect_protocol")];
    site.wait_stat("portcullis_http_local_replies_total", &labels, |count| {
        count == 1
    });
    others_are_well(&site);
}
