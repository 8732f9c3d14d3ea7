//! Which calls a route takes, what limits see of them, what they are told, and when they are made again.

use std::sync::atomic::{AtomicUsize, Ordering};

use harness::{ClosedPort, Origin, Reply, Scratch};

use super::{answer, ask, message, status, trailers_only};
use crate::support::Site;

const CALLS: &str = "portcullis_grpc_calls_total";

fn echo() -> Origin {
    Origin::http(|request| answer(&request.body, "grpc-status: 0\r\n"))
}

#[test]
fn routes_take_calls_by_their_names() {
    let origin = echo();
    let site = Site::new(&origin)
        .routes(
            "- { name: add, match: { grpc: shop.Cart/Add }, cluster: site }\n\
             - { name: cart, match: { grpc: [shop.Cart/*, shop.Stock] }, cluster: site }\n\
             - { name: rest, respond: { status: 200, body: rest } }",
        )
        .start();
    let mut client = site.client();
    let grpc = ("content-type", "application/grpc+proto");
    let json = ("content-type", "application/json");
    for (path, fields, route) in [
        ("/shop.Cart/Add", grpc, "add"),
        ("/shop.Cart/Remove", grpc, "cart"),
        ("/shop.Stock/Count", grpc, "cart"),
        ("/shop.Cart/Add", json, "rest"),
        ("/shop.Carts/Add", grpc, "rest"),
        ("/shop.Cart", grpc, "rest"),
    ] {
        let response = ask(&mut client, path, &[fields], &message(b"hi"));
        let is_call = response.trailers == [("grpc-status".to_owned(), "0".to_owned())];
        assert_eq!(is_call, route != "rest", "{path} {fields:?}");
        let labels = [("route", route)];
        let name = "portcullis_http_route_responses_total";
        site.wait_stat(name, &labels, |count| count >= 1);
    }
    site.neighbour_is_well();
}

/// A `FileDescriptorSet` with one service of one method.
fn descriptor_set(service: &str, method: &str) -> Vec<u8> {
    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [
            &[number << 3 | 2, u8::try_from(value.len()).unwrap()],
            value,
        ]
        .concat()
    }
    let method = field(2, &field(1, method.as_bytes()));
    let service = field(6, &[field(1, service.as_bytes()), method].concat());
    field(1, &[field(2, b"shop"), service].concat())
}

/// Methods have counters by name as the descriptor set says now, once it was reloaded; the text need not change.
#[test]
fn a_reload_reads_the_descriptor_set_again() {
    let origin = echo();
    let folder = Scratch::new();
    let path = folder.write("shop.binpb", descriptor_set("Cart", "Add"));
    let filter = format!(
        "filters: [grpc: {{ descriptor_set: \"{}\" }}]",
        path.display()
    );
    let site = Site::new(&origin).listener(&filter).start();
    let mut client = site.client();
    let mut counts = |method: &str, service: &str, label: &str, expected: u64| {
        let response = ask(
            &mut client,
            &format!("/shop.Cart/{method}"),
            &[],
            &message(b"hi"),
        );
        assert_eq!(status(&response).1, "0 -");
        let labels = [("service", service), ("method", label)];
        site.wait_stat(CALLS, &labels, |count| count == expected);
    };
    counts("Add", "shop.Cart", "Add", 1);
    counts("Remove", "shop.Cart", "other", 1);
    let reloaded = |applied: u64| {
        assert_eq!(site.admin_post("/reload").status, 200);
        let labels = [("result", "applied")];
        let count = site
            .stats()
            .counter("portcullis_config_reloads_total", &labels);
        assert_eq!(count, applied);
    };
    reloaded(0);
    folder.write("shop.binpb", descriptor_set("Cart", "Remove"));
    reloaded(1);
    counts("Remove", "shop.Cart", "Remove", 1);
    counts("Add", "shop.Cart", "other", 1);
    // One that cannot be read changes nothing.
    folder.write("shop.binpb", b"\x0a\x7f");
    assert_eq!(site.admin_post("/reload").status, 422);
    counts("Remove", "shop.Cart", "Remove", 2);
    site.neighbour_is_well();
}

/// The gateway's own answers are trailers-only, in HTTP 200, whatever they are to others.
#[test]
fn refusals_are_said_in_grpc() {
    let origin = echo();
    let closed = ClosedPort::new();
    let site = Site::new(&origin)
        .clusters(&format!("gone: {{ endpoints: [\"{}\"] }}", closed.address()))
        .routes(
            "- { match: { grpc: a.Denied }, cluster: site, filters: [deny: { client: [127.0.0.0/8] }] }\n\
             - { match: { grpc: a.Limited }, cluster: site, filters: [rate_limit: { rate: 1/h }] }\n\
             - { match: { grpc: a.Faulty }, cluster: site, filters: [fault: { abort: { status: 401 } }] }\n\
             - { match: { grpc: a.Long }, cluster: site, max_body: 3B }\n\
             - { match: { grpc: a.Gone }, cluster: gone }",
        )
        .start();
    let mut client = site.client();
    let limited = ask(&mut client, "/a.Limited/M", &[], &message(b""));
    assert_eq!(status(&limited).1, "0 -");
    for (path, said, reason) in [
        ("/a.Denied/M", "7 Forbidden: denied", "denied"),
        (
            "/a.Limited/M",
            "8 Too Many Requests: rate_limited",
            "rate_limited",
        ),
        ("/a.Faulty/M", "16 Unauthorized: fault_abort", "fault_abort"),
        (
            "/a.Long/M",
            "8 Content Too Large: body_too_large",
            "body_too_large",
        ),
        (
            "/a.Gone/M",
            "14 Service Unavailable: connect_refused",
            "connect_refused",
        ),
        ("/a.None/M", "12 Not Found: no_route", "no_route"),
    ] {
        let mut client = site.client();
        let response = ask(&mut client, path, &[], &message(b""));
        assert_eq!(status(&response), (200, said.to_owned()), "{path}");
        assert_eq!(
            response.header("content-type"),
            Some("application/grpc"),
            "{path}"
        );
        assert_eq!(
            response.header("x-portcullis-reason"),
            Some(reason),
            "{path}"
        );
        assert_eq!(response.body, b"", "{path}");
        site.wait_local_replies(reason, 1);
    }
    site.neighbour_is_well();
}

/// An upstream that breaks after it has begun: the end is a proper one, on a connection that stays.
#[test]
fn broken_answers_end_with_a_status() {
    let origin = Origin::http(|request| match &*request.target {
        "/a.B/Half" => {
            let begun = [super::head(), &super::chunk(b"\0\0\0\0\x09half")].concat();
            Reply::bytes(begun).close()
        }
        _ => answer(&request.body, "grpc-status: 0\r\n"),
    });
    for filters in ["", "filters: [grpc]"] {
        let site = Site::new(&origin).listener(filters).start();
        let mut client = site.client();
        let response = ask(&mut client, "/a.B/Half", &[], &message(b"hi"));
        assert_eq!(response.body, b"\0\0\0\0\x09half", "{filters}");
        let said = (200, "14 upstream_truncated".to_owned());
        assert_eq!(status(&response), said, "{filters}");
        site.wait_local_replies("upstream_truncated", 1);
        let next = ask(&mut client, "/a.B/Whole", &[], &message(b"hi"));
        assert_eq!(status(&next).1, "0 -", "the same client, {filters}");
        site.neighbour_is_well();
    }
}

#[test]
fn limits_count_services_and_methods() {
    let origin = echo();
    let site = Site::new(&origin)
        .routes(
            "- cluster: site\n  filters:\n    \
             - rate_limit: { per: [grpc.service, grpc.method], rate: 1/h }",
        )
        .start();
    let mut client = site.client();
    for (path, expected) in [
        ("/a.A/X", "0 -"),
        ("/a.A/Y", "0 -"),
        ("/a.B/X", "0 -"),
        ("/a.A/X", "8 Too Many Requests: rate_limited"),
        ("/a.B/X", "8 Too Many Requests: rate_limited"),
    ] {
        let response = ask(&mut client, path, &[], &message(b""));
        assert_eq!(status(&response).1, expected, "{path}");
    }
    site.neighbour_is_well();
}

/// What is listed is sent again with its body, though it is a POST; what is not listed is passed on.
#[test]
fn listed_statuses_are_retried() {
    let calls = AtomicUsize::new(0);
    let origin = Origin::http(move |request| {
        let code = match (&*request.target, calls.fetch_add(1, Ordering::Relaxed) % 2) {
            ("/a.B/Unavailable", 0) => 14,
            ("/a.B/Exhausted", 0) => 8,
            ("/a.B/NotFound", _) => 5,
            ("/a.B/Always", _) => 14,
            _ => return answer(&request.body, "grpc-status: 0\r\n"),
        };
        trailers_only(code)
    });
    let site = Site::new(&origin)
        .cluster("ejection: { max_ejected: 0% }")
        .listener("retry_budget: { percent: 100% }")
        .routes(
            "- cluster: site\n  retry: { attempts: 1, on: [unavailable, resource_exhausted], backoff: 1ms }",
        )
        .start();
    let mut client = site.client();
    let body = message(b"the body");
    let long = message(&vec![b'x'; 40_000]);
    for (path, body, expected, attempts) in [
        ("/a.B/Unavailable", &body, "0 -", 2),
        ("/a.B/Exhausted", &body, "0 -", 2),
        ("/a.B/Always", &body, "14 -", 2),
        ("/a.B/NotFound", &body, "5 -", 1),
        ("/a.B/Fine", &body, "0 -", 1),
        // Longer than what is kept of a call.
        ("/a.B/Unavailable", &long, "14 -", 1),
    ] {
        let before = origin.requests();
        let response = ask(&mut client, path, &[], body);
        assert_eq!(status(&response), (200, expected.to_owned()), "{path}");
        if expected == "0 -" {
            assert_eq!(response.body, *body, "{path}: the body came both times");
        }
        assert_eq!(origin.requests() - before, attempts, "{path}");
        // The scripts go by even and odd.
        if attempts == 1 {
            ask(&mut client, "/a.B/Fine", &[], body);
        }
    }
    let labels = [("listener", "web")];
    site.wait_stat("portcullis_http_retries_total", &labels, |count| count == 3);
    site.neighbour_is_well();
}

/// In HTTP every one of them is 200: an endpoint whose calls fail is set aside all the same.
#[test]
fn failing_calls_speak_against_their_endpoint() {
    let good = echo();
    let bad = Origin::http(|_| trailers_only(13));
    let site = Site::new(&good)
        .endpoint(bad.address())
        .cluster("ejection: { consecutive_failures: 3, base_time: 300s, max_ejected: 50% }")
        .start();
    let mut client = site.client();
    for _ in 0..20 {
        ask(&mut client, "/a.B/C", &[], &message(b""));
    }
    assert_eq!(bad.requests(), 3);
    site.neighbour_is_well();
}

/// Labels have what the configuration says, never what a peer says.
#[test]
fn calls_are_counted_under_bounded_names() {
    let origin = echo();
    let site = Site::new(&origin)
        .listener("filters: [grpc]")
        .routes(
            "- { match: { grpc: shop.Cart/Add }, cluster: site }\n\
             - { match: { grpc: shop.Cart }, cluster: site }\n\
             - cluster: site",
        )
        .start();
    let mut client = site.client();
    for number in 0..20 {
        for path in [
            "/shop.Cart/Add".to_owned(),
            format!("/shop.Cart/Peer{number}"),
            format!("/peer.Service{number}/M"),
        ] {
            ask(
                &mut client,
                &path,
                &[],
                &[message(b"a"), message(b"b")].concat(),
            );
        }
    }
    for (service, method) in [
        ("shop.Cart", "Add"),
        ("shop.Cart", "other"),
        ("other", "other"),
    ] {
        let of = [("service", service), ("method", method)];
        site.wait_stat(CALLS, &[&of[..], &[("status", "ok")]].concat(), |count| {
            count == 20
        });
        for direction in ["request", "response"] {
            let labels = [&of[..], &[("direction", direction)]].concat();
            let name = "portcullis_grpc_messages_total";
            site.wait_stat(name, &labels, |count| count == 40);
        }
    }
    let series = site.stats();
    assert_eq!(series.matching(CALLS, &[]).len(), 3);
    site.neighbour_is_well();
}
