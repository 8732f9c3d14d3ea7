//! Requests whose meaning is in doubt are refused and never forwarded (tests/ATTACKS.md H1 to H5, H7, H10, H11).

use harness::{Origin, Reply};

use crate::support::{Row, Site, row};

/// Every row is refused, the origin never hears of it, and the neighbour is served before and after.
#[track_caller]
fn never_forwarded(listener: &str, rows: &[Row<'_>]) {
    let origin = Origin::http(|_| Reply::ok("forwarded"));
    let site = Site::new(&origin).listener(listener).start();
    for row in rows {
        site.refuses(row);
        let requests = origin.take_requests();
        assert!(requests.is_empty(), "{}: {requests:?}", row.name);
    }
    site.neighbour_is_well();
    assert_eq!(site.client().get("/", "a.test").text(), "forwarded");
}

/// H1.
#[test]
fn h1_cl_te_both() {
    let both = "length_and_coding";
    never_forwarded(
        "",
        &[
            row(
                "length first",
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                400,
                both,
            ),
            row(
                "coding first",
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
                400,
                both,
            ),
            row(
                "in capitals",
                "POST / HTTP/1.1\r\nHOST: a\r\nTRANSFER-ENCODING: CHUNKED\r\nCONTENT-LENGTH: 0\r\n\r\n0\r\n\r\n",
                400,
                both,
            ),
            row(
                "smuggled request behind",
                "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /admin HTTP/1.1\r\nx: ",
                400,
                both,
            ),
        ],
    );
}

/// H2. Identical duplicates are refused as well: nothing sends them honestly.
#[test]
fn h2_content_length() {
    let rows = [
        ("differing", "content-length: 3\r\ncontent-length: 4"),
        ("identical", "content-length: 3\r\ncontent-length: 3"),
        ("listed", "content-length: 3, 3"),
        ("listed without space", "content-length: 5,5"),
        ("empty", "content-length:"),
        ("only spaces", "content-length:   "),
        ("plus", "content-length: +5"),
        ("minus", "content-length: -5"),
        ("hexadecimal", "content-length: 0x5"),
        ("inner space", "content-length: 1 2"),
        ("fraction", "content-length: 5.0"),
        ("too long", "content-length: 99999999999999999999"),
        ("quoted", "content-length: \"5\""),
    ];
    let requests = rows.map(|(name, fields)| {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\nabc");
        (name, bytes)
    });
    let rows = requests
        .each_ref()
        .map(|(name, bytes)| row(name, bytes, 400, "invalid_content_length"));
    never_forwarded("", &rows);
}

/// H3.
#[test]
fn h3_transfer_encoding() {
    let invalid = (400, "invalid_transfer_encoding");
    let unknown = (501, "unknown_transfer_coding");
    let rows = [
        (
            "chunked, then another",
            "transfer-encoding: chunked, gzip",
            invalid,
        ),
        ("parameter", "transfer-encoding: chunked;x=1", invalid),
        (
            "repeated",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            invalid,
        ),
        (
            "repeated, one other",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
            invalid,
        ),
        (
            "listed twice",
            "transfer-encoding: chunked, chunked",
            invalid,
        ),
        (
            "another, then chunked",
            "transfer-encoding: gzip, chunked",
            invalid,
        ),
        ("empty", "transfer-encoding:", invalid),
        ("prefix", "transfer-encoding: xchunked", unknown),
        ("identity", "transfer-encoding: identity", unknown),
        ("gzip", "transfer-encoding: gzip", unknown),
        (
            "vertical tab",
            "transfer-encoding: \x0bchunked",
            (400, "invalid_field_value"),
        ),
        (
            "space before the colon",
            "transfer-encoding : chunked",
            (400, "space_before_colon"),
        ),
        (
            "folded",
            "transfer-encoding:\r\n chunked",
            (400, "obs_fold"),
        ),
    ];
    let requests = rows.map(|(name, fields, reply)| {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        (name, bytes, reply)
    });
    let rows = requests
        .each_ref()
        .map(|(name, bytes, (status, reason))| row(name, bytes, *status, reason));
    never_forwarded("", &rows);
    never_forwarded(
        "",
        &[row(
            "in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "transfer_encoding_in_http10",
        )],
    );
}

/// H4. The head was good and may have gone upstream; the request as a whole never does.
#[test]
fn h4_chunks() {
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(300));
    let rows = [
        ("sign", "+1\r\na\r\n0\r\n\r\n", "invalid_chunk_size"),
        ("minus", "-1\r\na\r\n0\r\n\r\n", "invalid_chunk_size"),
        ("prefix", "0x1\r\na\r\n0\r\n\r\n", "invalid_chunk_size"),
        ("no size", "\r\na\r\n0\r\n\r\n", "invalid_chunk_size"),
        (
            "not hexadecimal",
            "g\r\na\r\n0\r\n\r\n",
            "invalid_chunk_size",
        ),
        (
            "17 digits",
            "00000000000000001\r\na\r\n0\r\n\r\n",
            "chunk_size_overflow",
        ),
        (
            "overflow",
            "ffffffffffffffff\r\na\r\n0\r\n\r\n",
            "chunk_size_overflow",
        ),
        (
            "past the end",
            "10000000000000000\r\na\r\n0\r\n\r\n",
            "chunk_size_overflow",
        ),
        (
            "bare LF behind the size",
            "1\na\r\n0\r\n\r\n",
            "bare_line_feed",
        ),
        (
            "bare LF behind an extension",
            "1;x\na\r\n0\r\n\r\n",
            "bare_line_feed",
        ),
        (
            "bare CR in an extension",
            "1;x\ry\r\na\r\n0\r\n\r\n",
            "bare_carriage_return",
        ),
        ("NUL in an extension", "1;\0x\r\na\r\n0\r\n\r\n", "nul_byte"),
        ("long extension", &long, "chunk_extensions_too_long"),
        (
            "no CRLF behind the data",
            "1\r\nab0\r\n\r\n",
            "missing_chunk_end",
        ),
        ("LF behind the data", "1\r\na\n0\r\n\r\n", "bare_line_feed"),
        (
            "framing as trailer",
            "0\r\ncontent-length: 5\r\n\r\n",
            "forbidden_trailer",
        ),
        (
            "host as trailer",
            "0\r\nhost: b\r\n\r\n",
            "forbidden_trailer",
        ),
        (
            "space before a trailer's colon",
            "0\r\nx : y\r\n\r\n",
            "space_before_colon",
        ),
    ];
    let requests = rows.map(|(name, body, reason)| {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        (name, format!("{head}{body}"), reason)
    });
    let rows = requests
        .each_ref()
        .map(|(name, bytes, reason)| row(name, bytes, 400, reason));
    never_forwarded("", &rows);
}

/// H4: extensions are bounded over the whole body, and a whole body of small ones passes.
#[test]
fn h4_extensions_are_dropped() {
    let origin = Origin::http(|request| Reply::ok(&request.body));
    let site = Site::new(&origin).start();
    let mut client = site.client();
    client.send(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
         3;name=value;other=\"quoted text\"\r\nabc\r\n0;last\r\n\r\n",
    );
    assert_eq!(client.read_response().text(), "abc");
    let request = origin.next_request();
    assert_eq!(request.body, b"abc");
    site.neighbour_is_well();
}

/// H5.
#[test]
fn h5_fields() {
    let rows: [(&str, &[u8], &str); 14] = [
        ("empty name", b": value", "empty_field_name"),
        ("space before the colon", b"x : y", "space_before_colon"),
        ("tab before the colon", b"x\t: y", "space_before_colon"),
        ("folded", b"x: y\r\n z", "obs_fold"),
        ("folded with a tab", b"x: y\r\n\tz", "obs_fold"),
        ("NUL in a value", b"x: a\0b", "nul_byte"),
        ("bare CR in a value", b"x: a\rb", "bare_carriage_return"),
        ("bare LF in a value", b"x: a\nb: c", "bare_line_feed"),
        (
            "control byte in a value",
            b"x: a\x01b",
            "invalid_field_value",
        ),
        ("DEL in a value", b"x: a\x7fb", "invalid_field_value"),
        ("no colon", b"nonsense", "missing_colon"),
        ("space in a name", b"x y: z", "invalid_field_name"),
        ("slash in a name", b"x/y: z", "invalid_field_name"),
        (
            "byte past ASCII in a name",
            b"x\xe4: z",
            "invalid_field_name",
        ),
    ];
    let requests = rows.map(|(name, field, reason)| {
        let bytes = [b"GET / HTTP/1.1\r\nhost: a\r\n", field, b"\r\n\r\n"].concat();
        (name, bytes, reason)
    });
    let rows = requests
        .each_ref()
        .map(|(name, bytes, reason)| row(name, bytes, 400, reason));
    never_forwarded("", &rows);
}

/// H5: what is refused in a field is refused in the request line.
#[test]
fn h5_request_line() {
    let long_method = format!("{} / HTTP/1.1\r\nhost: a\r\n\r\n", "M".repeat(40));
    never_forwarded(
        "",
        &[
            row(
                "no target",
                "GET HTTP/1.1\r\nhost: a\r\n\r\n",
                400,
                "invalid_request_line",
            ),
            row(
                "two spaces",
                "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
                400,
                "invalid_request_line",
            ),
            row(
                "space in the target",
                "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
                400,
                "invalid_request_line",
            ),
            row(
                "method with a colon",
                "G:T / HTTP/1.1\r\nhost: a\r\n\r\n",
                400,
                "invalid_method",
            ),
            row("long method", &long_method, 501, "method_too_long"),
            row(
                "bare LF",
                "GET / HTTP/1.1\nhost: a\n\n",
                400,
                "bare_line_feed",
            ),
            row("HTTP/0.9", "GET /\r\n\r\n", 505, "http09"),
            row(
                "HTTP/2.0",
                "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
                505,
                "unsupported_version",
            ),
            row(
                "preface of HTTP/2 behind an empty line",
                "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                505,
                "http2_preface",
            ),
            row(
                "lower case",
                "GET / http/1.1\r\nhost: a\r\n\r\n",
                400,
                "invalid_request_line",
            ),
            row(
                "leading space",
                " GET / HTTP/1.1\r\nhost: a\r\n\r\n",
                400,
                "invalid_method",
            ),
        ],
    );
}

/// H7: without a length there is no body, and HTTP/1.0 cannot say otherwise.
#[test]
fn h7_close_delimited_request() {
    never_forwarded(
        "",
        &[
            row(
                "POST",
                "POST / HTTP/1.0\r\nhost: a\r\n\r\nbody until the end",
                400,
                "missing_content_length",
            ),
            row(
                "kept alive, a request as body",
                "POST / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n",
                400,
                "missing_content_length",
            ),
            row(
                "PUT",
                "PUT / HTTP/1.0\r\nhost: a\r\n\r\nx",
                400,
                "missing_content_length",
            ),
        ],
    );
}
