//! `grpc-timeout`: kept, shortened, passed on, or refused (tests/ATTACKS.md T11).

use harness::{Gate, Origin, Reply, Step};

use super::{answer, ask, chunk, head, message, status};
use crate::support::{Running, Site};

fn site(origin: &Origin, route: &str) -> Running {
    Site::new(origin)
        .listener("filters: [grpc]")
        .routes(&format!("- cluster: site\n  {route}"))
        .start()
}

/// The time that a value of the field says, in nanoseconds.
fn nanos(value: &str) -> u128 {
    let (count, unit) = value.split_at(value.len() - 1);
    assert!((1..=8).contains(&count.len()), "{value}");
    let unit = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "S" => 1_000_000_000,
        "M" => 60_000_000_000,
        "H" => 3_600_000_000_000,
        _ => panic!("{value}"),
    };
    count.parse::<u128>().unwrap() * unit
}

#[test]
fn what_is_left_is_passed_on_within_the_routes_timeout() {
    const SECOND: u128 = 1_000_000_000;
    let origin = Origin::http(|request| answer(&request.body, "grpc-status: 0\r\n"));
    for (route, asked, most) in [
        ("timeout: 5s", "60S", Some(5 * SECOND)),
        ("timeout: 5s", "99999999H", Some(5 * SECOND)),
        ("timeout: off", "60S", Some(60 * SECOND)),
        // The bound of every exchange.
        ("timeout: off", "99999999H", Some(3600 * SECOND)),
        ("timeout: 5s", "4S", Some(4 * SECOND)),
        ("timeout: 5s", "", None),
    ] {
        let site = site(&origin, route);
        let mut client = site.client();
        let fields = [("grpc-timeout", asked)];
        let fields = if asked.is_empty() { &[][..] } else { &fields };
        let response = ask(&mut client, "/a.B/C", fields, &message(b"hi"));
        assert_eq!(status(&response).1, "0 -", "{route} {asked}");
        let told = origin.take_requests().pop().unwrap();
        let told = told.header("grpc-timeout").map(nanos);
        let is_within = match (told, most) {
            (Some(told), Some(most)) => told <= most && told > most / 2,
            (told, most) => told == most,
        };
        assert!(is_within, "{route} {asked}: {told:?}");
        site.neighbour_is_well();
    }
}

#[test]
fn values_that_are_none_are_refused() {
    let origin = Origin::http(|request| answer(&request.body, "grpc-status: 0\r\n"));
    let site = site(&origin, "timeout: 5s");
    let values = ["1", "S", "-1S", "1.5S", "123456789S", "1s", "0x1S", ""];
    for value in values {
        let mut client = site.client();
        let response = ask(
            &mut client,
            "/a.B/C",
            &[("grpc-timeout", value)],
            &message(b""),
        );
        let said = (200, "13 Bad Request: grpc_timeout_malformed".to_owned());
        assert_eq!(status(&response), said, "{value:?}");
    }
    site.wait_local_replies("grpc_timeout_malformed", values.len() as u64);
    assert_eq!(origin.requests(), 0);
    // Not a call: the field means nothing.
    let mut client = site.client();
    let fields = [("grpc-timeout", "x"), ("content-type", "text/plain")];
    assert_eq!(ask(&mut client, "/a.B/C", &fields, b"").status, 200);
    site.neighbour_is_well();
}

/// Before a head and in the middle of a body.
#[test]
fn a_deadline_that_passes_is_said_wherever_the_answer_is() {
    let gate = Gate::new();
    let behind = gate.clone();
    let origin = Origin::http(move |request| {
        let front = match &*request.target {
            "/a.B/Silent" => Reply::default(),
            _ => Reply::bytes([head(), &chunk(&message(b"one"))].concat()),
        };
        front.then(Step::Wait(behind.clone())).close()
    });
    let site = site(&origin, "timeout: 10m");
    for (path, body, said) in [
        ("/a.B/Silent", vec![], "4 Gateway Timeout: request_timeout"),
        ("/a.B/Begun", message(b"one"), "4 request_timeout"),
    ] {
        let mut client = site.client();
        let response = ask(
            &mut client,
            path,
            &[("grpc-timeout", "200m")],
            &message(b""),
        );
        assert_eq!(status(&response), (200, said.to_owned()), "{path}");
        assert_eq!(response.body, body, "{path}");
    }
    let ended = [("status", "deadline_exceeded")];
    site.wait_stat("portcullis_grpc_calls_total", &ended, |count| count == 2);
    site.wait_local_replies("request_timeout", 2);
    site.neighbour_is_well();
    gate.open();
}

/// Nothing was sent yet, and nothing will be.
#[test]
fn a_deadline_holds_while_connecting() {
    let nowhere = crate::support::BlackHole::new();
    let origin = Origin::http(|_| Reply::ok(""));
    let site = Site::new(&origin)
        .clusters(&format!(
            "nowhere: {{ endpoints: [\"{}\"], connect_timeout: 60s }}",
            nowhere.address()
        ))
        .routes("- { match: { grpc: a.B }, cluster: nowhere }")
        .start();
    let mut client = site.client();
    let response = ask(
        &mut client,
        "/a.B/C",
        &[("grpc-timeout", "100m")],
        &message(b""),
    );
    let said = (200, "4 Gateway Timeout: request_timeout".to_owned());
    assert_eq!(status(&response), said);
    site.neighbour_is_well();
}
