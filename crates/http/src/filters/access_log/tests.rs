//! Tables for access logs: what operators say about an exchange, presets, and what peers cannot forge.

use std::time::{Duration, UNIX_EPOCH};

use portcullis_filter::log::Format;
use proptest::prelude::*;

use super::*;
use crate::fields::Fields;
use crate::head::Status;
use crate::testing::{Built, context, request, start, unix_context};

fn record(fields: &[(&str, &str)]) -> Record {
    let mut response_fields = Fields::new();
    response_fields.append("server", b"origin");
    response_fields.append("x-long", b"0123456789");
    let started = start();
    Record {
        request: request("GET", "a.test:8080", "/x/../p%20q?r=s", fields),
        started_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        started,
        first_byte: started.checked_add(Duration::from_micros(4_500)),
        duration: Duration::from_millis(12),
        request_bytes: 34,
        response_bytes: 56,
        status: Some(Status::OK),
        response_fields,
        route: Some("main".into()),
        cluster: Some("a".into()),
        endpoint: Some("10.0.0.1:80".into()),
        attempts: 1,
        reason: None,
        malformed: None,
    }
}

fn line(format: &Format<Http>, record: &Record) -> String {
    let mut line = Vec::new();
    format.write(record, &context("192.0.2.7"), &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn operators_say_what_they_are_named_for() {
    let record = record(&[("user-agent", "curl/8"), ("x-quote", "a\"b\\c")]);
    let rows = [
        ("%START_TIME%", "2023-11-14T22:13:20.123Z"),
        ("%START_TIME(%s.%3f)%", "1700000000.123"),
        (
            "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%",
            "GET /p%20q?r=s a.test:8080 http",
        ),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/x/../p%20q?r=s"),
        ("%REQ(User-Agent)%", "curl/8"),
        ("%REQ(USER-AGENT):4%", "curl"),
        ("%REQ(X-NONE)%", "-"),
        ("%REQ(X-NONE?USER-AGENT)%", "curl/8"),
        ("%REQ(X-QUOTE)%", "a\\\"b\\\\c"),
        (
            "%RESP(SERVER)% %RESP(X-LONG):3% %RESP(NO?SERVER)%",
            "origin 012 origin",
        ),
        (
            "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%",
            "200 via_upstream -",
        ),
        ("%BYTES_RECEIVED%/%BYTES_SENT%", "34/56"),
        ("%DURATION% %RESPONSE_DURATION%", "12 4"),
        (
            "%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %ROUTE_NAME% %LISTENER_NAME%",
            "10.0.0.1:80 a main web",
        ),
        (
            "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %PROTOCOL% %CONNECTION_ID%",
            "1 HTTP/1.1 7",
        ),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "192.0.2.7:4000"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "192.0.2.7"),
        ("%DOWNSTREAM_LOCAL_PORT%", "8080"),
    ];
    for (text, expected) in rows {
        let format = Format::text(text).unwrap();
        assert_eq!(line(&format, &record), format!("{expected}\n"), "{text}");
    }
}

#[test]
fn flags_tell_whose_fault_it_was() {
    let rows = [
        (None, None, "-"),
        (Some("no_route"), None, "NR"),
        (Some("obs_fold"), Some(Side::Downstream), "DPE"),
        (Some("invalid_status_code"), Some(Side::Upstream), "UPE"),
        (Some("too_many_interim"), None, "UPE"),
        (Some("head_timeout"), Some(Side::Downstream), "SI"),
        (Some("body_too_large"), None, "-"),
    ];
    let format = Format::text("%RESPONSE_FLAGS%").unwrap();
    for (reason, malformed, expected) in rows {
        let record = Record {
            reason,
            malformed,
            ..record(&[])
        };
        assert_eq!(
            line(&format, &record),
            format!("{expected}\n"),
            "{reason:?}"
        );
    }
}

#[test]
fn operators_that_are_none() {
    for text in [
        "%NOTHING%",
        "%REQ%",
        "%REQ(A B)%",
        "%RESP()%",
        "%DURATION(X)%",
        "%START_TIME(%Q)%",
        "%REQ(A?B",
    ] {
        assert!(Format::<Http>::text(text).is_err(), "{text}");
    }
}

#[test]
fn presets_write_what_tools_expect() {
    let record = record(&[("user-agent", "curl/8"), ("referer", "http://r/")]);
    let rows = [
        (
            "envoy",
            "[2023-11-14T22:13:20.123Z] \"GET /x/../p%20q?r=s HTTP/1.1\" 200 - 34 56 12 4 \"-\" \"curl/8\" \"-\" \
             \"a.test:8080\" \"10.0.0.1:80\"\n",
        ),
        (
            "combined",
            "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /x/../p%20q?r=s HTTP/1.1\" 200 56 \"http://r/\" \
             \"curl/8\"\n",
        ),
        (
            "json",
            "{\"start_time\":\"2023-11-14T22:13:20.123Z\",\"listener\":\"web\",\"connection_id\":7,\
             \"client\":\"192.0.2.7\",\"method\":\"GET\",\"host\":\"a.test:8080\",\"path\":\"/x/../p%20q?r=s\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"details\":\"via_upstream\",\"bytes_received\":34,\
             \"bytes_sent\":56,\"duration_ms\":12,\"route\":\"main\",\"cluster\":\"a\",\
             \"endpoint\":\"10.0.0.1:80\",\"attempts\":1,\"user_agent\":\"curl/8\",\"request_id\":null}\n",
        ),
    ];
    for (name, expected) in rows {
        let preset = Http::PRESETS.iter().find(|preset| preset.name() == name);
        let format = Format::preset(preset.unwrap()).unwrap();
        assert_eq!(line(&format, &record), expected, "{name}");
    }
}

#[test]
fn the_filter_writes_one_line_for_each_request() {
    let built = Built::new(
        "cluster: a\nfilters: [{ deny: { client: [192.0.2.0/24] } }, \
         { access_log: { text: '%REQ(:PATH)% %RESPONSE_FLAGS%' } }]",
    );
    let mut cx = context("192.0.2.7");
    let mut record = record(&[]);
    assert!(built.ask(&mut record.request, &mut cx).is_err());
    record.reason = Some("denied");
    built.chain().on_complete(&record, &cx);
    let lines = built.lines();
    assert_eq!(lines, "/p%20q?r=s UAEX\n");
}

#[test]
fn a_client_behind_proxies_has_no_port() {
    let mut cx = context("192.0.2.7");
    cx.client_ip = "2001:db8::1".parse().unwrap();
    let format = Format::<Http>::text(
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    );
    let mut line = Vec::new();
    format.unwrap().write(&record(&[]), &cx, &mut line);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "[2001:db8::1]:0 192.0.2.7\n"
    );
}

#[test]
fn a_client_of_a_unix_socket_has_no_address() {
    let format = Format::<Http>::text(
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% \
         %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%",
    )
    .unwrap();
    let mut cx = unix_context();
    for (client, expected) in [
        (None, "- - - -\n"),
        (Some("2001:db8::1"), "[2001:db8::1]:0 2001:db8::1 - -\n"),
    ] {
        if let Some(client) = client {
            cx.client_ip = client.parse().unwrap();
        }
        let mut line = Vec::new();
        format.write(&record(&[]), &cx, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), expected, "{client:?}");
    }
}

proptest! {
    /// F11: whatever a peer sends stays inside of its line and its quotes.
    #[test]
    fn f11_lines_cannot_be_forged(value in "[ -~\u{80}-\u{2fff}]{0,40}") {
        let record = record(&[("user-agent", value.trim())]);
        let text = line(&Format::text("\"%REQ(USER-AGENT)%\"").unwrap(), &record);
        let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix("\"\n")).unwrap();
        let plain = inside.replace("\\\\", "").replace("\\\"", "");
        prop_assert!(!plain.contains(['"', '\n', '\u{2028}', '\u{9b}']), "{}", text);

        let json = line(&Format::json([("a", "%REQ(USER-AGENT)%")]).unwrap(), &record);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        let said = parsed.get("a").and_then(|said| said.as_str()).unwrap_or_default();
        prop_assert_eq!(said, value.trim());
        prop_assert_eq!(json.matches('\n').count(), 1);
    }
}
