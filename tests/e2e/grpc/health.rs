//! The gateway's own `grpc.health.v1.Health`.

use harness::Origin;

use super::{answer, ask, message, status};
use crate::support::Site;

const CHECK: &str = "/grpc.health.v1.Health/Check";

#[test]
fn check_follows_readiness() {
    let origin = Origin::http(|request| answer(&request.body, "grpc-status: 0\r\n"));
    let site = Site::new(&origin)
        .listener("filters: [{ grpc_health: { services: [shop.Cart] } }]")
        .start();
    let mut client = site.client();
    let cart = message(b"\x0a\x09shop.Cart");
    for (asked, expected) in [
        (&message(b""), (&message(b"\x08\x01")[..], "0 -")),
        (&cart, (&message(b"\x08\x01")[..], "0 -")),
        (&message(b"\x0a\x01x"), (&[][..], "5 unknown service")),
    ] {
        let response = ask(&mut client, CHECK, &[], asked);
        let said = status(&response).1;
        assert_eq!((&response.body[..], said.as_str()), expected);
    }
    // A client of HTTP/1 that is gone cannot be told from one that waits.
    let watch = ask(
        &mut client,
        "/grpc.health.v1.Health/Watch",
        &[],
        &message(b""),
    );
    let said = "12 there are Check, and Watch over HTTP/2";
    assert_eq!(status(&watch), (200, said.to_owned()));
    for (target, state) in [("/healthcheck/fail", 2), ("/healthcheck/ok", 1)] {
        assert_eq!(site.admin_post(target).status, 200);
        let response = ask(&mut client, CHECK, &[], &message(b""));
        assert_eq!(response.body, message(&[8, state]), "{target}");
    }
    // Others pass, and one that is too long to be a question is refused.
    let other = ask(&mut client, "/shop.Cart/Check", &[], &message(b"hi"));
    assert_eq!(status(&other).1, "0 -");
    let long = ask(&mut client, CHECK, &[], &message(&[0; 2000]));
    assert_eq!(status(&long).1, "8 Content Too Large: body_too_large");
    assert_eq!(origin.requests(), 1);
    site.neighbour_is_well();
}

/// While the gateway drains, a connection that is still open is told.
#[test]
fn check_says_that_the_gateway_drains() {
    let origin = Origin::http(|request| answer(&request.body, "grpc-status: 0\r\n"));
    let site = Site::new(&origin)
        .listener("filters: [grpc_health]")
        .start();
    let mut client = site.client();
    // Half of a question keeps its connection busy over the beginning of the drain.
    let whole = super::call(CHECK, &[], &message(b""));
    let (front, back) = whole.split_at(whole.len() - 2);
    client.send(front);
    site.wait_stat("portcullis_http_requests_active", &[], |count| count == 1);
    assert_eq!(site.admin_post("/drain_listeners").status, 200);
    site.wait_stat("portcullis_ready", &[], |ready| ready == 0);
    client.send(back);
    let response = client.read_response();
    assert_eq!(response.body, message(b"\x08\x02"));
    assert_eq!(status(&response).1, "0 -");
}
