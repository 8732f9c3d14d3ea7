//! Messages that are too long, broken or cut, from either side (tests/ATTACKS.md T11).

use harness::{Client, Origin, Reply};

use super::{answer, ask, call, message, status};
use crate::support::{Running, Site};

fn site(origin: &Origin, filters: &str) -> Running {
    Site::new(origin)
        .listener(&format!("filters: [{filters}]"))
        .routes("- { match: { grpc: a.B/C }, cluster: site }\n- cluster: site")
        .start()
}

#[test]
fn from_clients() {
    let origin = Origin::http(|_| answer(b"", "grpc-status: 0\r\n"));
    // With its body collected, a call is judged no less.
    for filters in [
        "{ grpc: { max_message: 16B } }",
        "{ grpc: { max_message: 16B } }, { buffer: { max: 1KiB } }",
    ] {
        let site = site(&origin, filters);
        let rows: [(&str, &[u8], &str, &str); 5] = [
            (
                "too long",
                b"\0\0\0\0\x11",
                "8 Content Too Large: ",
                "grpc_message_too_large",
            ),
            (
                "four gigabytes",
                b"\0\xff\xff\xff\xff",
                "8 Content Too Large: ",
                "grpc_message_too_large",
            ),
            (
                "compressed",
                b"\x01\0\0\0\x02hi",
                "13 Bad Request: ",
                "grpc_compressed_without_encoding",
            ),
            (
                "flag",
                b"\x80\0\0\0\x02hi",
                "13 Bad Request: ",
                "grpc_bad_flag",
            ),
            (
                "cut",
                b"\0\0\0\0\x05hi",
                "13 Bad Request: ",
                "grpc_truncated",
            ),
        ];
        for (name, body, said, reason) in rows {
            let mut client = site.client();
            let response = ask(&mut client, "/a.B/C", &[], body);
            assert_eq!(
                status(&response),
                (200, format!("{said}{reason}")),
                "{name}: {filters}"
            );
        }
        site.wait_local_replies("grpc_message_too_large", 2);
        for (_, _, _, reason) in rows.iter().skip(2) {
            site.wait_local_replies(reason, 1);
        }
        let mut client = site.client();
        let packed = b"\x01\0\0\0\x02hi";
        let fields = [("grpc-encoding", "gzip")];
        let response = ask(&mut client, "/a.B/C", &fields, packed);
        assert_eq!(status(&response), (200, "0 -".to_owned()), "{filters}");
        assert_eq!(
            origin.take_requests().pop().unwrap().body,
            packed,
            "{filters}"
        );
        site.neighbour_is_well();
    }
}

/// The prefix is enough: the rest is never waited for, however large it says that it is.
#[test]
fn a_length_is_judged_before_its_bytes() {
    let origin = Origin::http(|request| answer(&request.body, "grpc-status: 0\r\n"));
    let site = site(&origin, "{ grpc: { max_message: 1KiB } }");
    let mut client = site.client();
    let head = call("/a.B/C", &[], &[]);
    let head = String::from_utf8(head).unwrap();
    client.send(head.replace("content-length: 0", "content-length: 1000000"));
    client.send(b"\0\0\x0f\0\0");
    let response = client.read_response();
    assert_eq!(
        status(&response).1,
        "8 Content Too Large: grpc_message_too_large"
    );
    site.neighbour_is_well();
}

#[test]
fn from_upstreams() {
    const OK: &str = "grpc-status: 0\r\n";
    let missing = "13 upstream ended without grpc-status";
    type Row = (
        &'static str,
        &'static [u8],
        &'static str,
        &'static str,
        &'static str,
    );
    let rows: [Row; 8] = [
        ("good", b"\0\0\0\0\x02hi", OK, "0 -", "ok"),
        (
            "too long",
            b"\0\0\0\0\x11",
            OK,
            "8 grpc_message_too_large",
            "resource_exhausted",
        ),
        (
            "compressed",
            b"\x01\0\0\0\x02hi",
            OK,
            "13 grpc_compressed_without_encoding",
            "internal",
        ),
        (
            "flag",
            b"\x02\0\0\0\x02hi",
            OK,
            "13 grpc_bad_flag",
            "internal",
        ),
        (
            "cut",
            b"\0\0\0\0\x05hi",
            OK,
            "13 grpc_truncated",
            "internal",
        ),
        ("no trailers", b"\0\0\0\0\x02hi", "", missing, "internal"),
        ("other trailers", b"", "x-a: 1\r\n", missing, "internal"),
        (
            "no such status",
            b"",
            "grpc-status: 99\r\n",
            "99 -",
            "unknown",
        ),
    ];
    let origin = Origin::http(move |request| {
        let row = rows
            .iter()
            .find(|row| request.header("x-row") == Some(row.0));
        row.map_or_else(|| Reply::ok("well"), |row| answer(row.1, row.2))
    });
    let site = site(&origin, "{ grpc: { max_message: 16B } }");
    for (name, _, _, said, counted) in rows {
        let labels = [("method", "C"), ("status", counted)];
        let calls = "portcullis_grpc_calls_total";
        let before = site.stats().counter(calls, &labels);
        let mut client = site.client();
        let response = ask(&mut client, "/a.B/C", &[("x-row", name)], &message(b"hi"));
        assert_eq!(status(&response), (200, said.to_owned()), "{name}");
        site.wait_stat(calls, &labels, |count| count == before + 1);
    }
    site.wait_stat("portcullis_grpc_missing_status_total", &[], |count| {
        count == 2
    });
    site.wait_local_replies("grpc_truncated", 1);
    site.neighbour_is_well();
}

/// Both directions at once, with filters that look at both: each piece goes its own way.
#[test]
fn streams_pass_in_both_directions_at_once() {
    let origin = Origin::raw(|connection| {
        while let Some(head) = connection.read_head()? {
            if head.starts_with(b"GET") {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell")?;
                continue;
            }
            connection.send(super::head())?;
            loop {
                let size = connection.read_until(b"\r\n")?;
                let size = String::from_utf8_lossy(&size);
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                let piece = connection.read_exact(size + 2)?;
                if size == 0 {
                    break;
                }
                connection.send(super::chunk(&piece[..size]))?;
            }
            connection.send("0\r\ngrpc-status: 0\r\n\r\n")?;
        }
        Ok(())
    });
    let site = site(&origin, "grpc_web, grpc");
    let mut client: Client = site.client();
    client.send(
        "POST /a.B/C HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    for number in 0..5_u8 {
        let message = message(&[b'a' + number; 3]);
        client.send(super::chunk(&message));
        if number == 0 {
            client.read_until("\r\n\r\n");
        }
        let echoed = client.read_exact(super::chunk(&message).len());
        assert_eq!(echoed, super::chunk(&message), "{number}");
    }
    client.send("0\r\n\r\n");
    let end = client.read_until("\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&end), "0\r\ngrpc-status: 0\r\n\r\n");
    site.neighbour_is_well();
}
