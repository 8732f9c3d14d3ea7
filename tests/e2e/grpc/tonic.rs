//! tonic as client and server, with the gateway between them.

use std::time::Duration;

use harness::{Origin, Reply};
use tokio::runtime::Builder;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::health_checks::{CART, Served};
use crate::support::Site;

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

/// Unary, server streaming, an error without a message, a deadline.
#[test]
fn tonic_calls_tonic() {
    let served = Served::start("first");
    let site = Site::default()
        .endpoint(served.address)
        .cluster("http: { version: http2 }")
        .listener("filters: [grpc]")
        .start();
    let address = format!("http://{}", site.addr("web"));
    let mut client: HealthClient<Channel> = served.runtime.block_on(async {
        let endpoint = Endpoint::from_shared(address).unwrap();
        HealthClient::new(endpoint.connect().await.unwrap())
    });

    let answer = served.runtime.block_on(client.check(ask(CART))).unwrap();
    assert_eq!(answer.into_inner().status(), Answer::Serving);

    let error = served.runtime.block_on(client.check(ask("nobody")));
    assert_eq!(error.unwrap_err().code(), Code::NotFound);

    let watch = served.runtime.block_on(client.watch(ask(CART))).unwrap();
    let mut watch = watch.into_inner();
    for (report, expected) in [
        (None, Answer::Serving),
        (Some(ServingStatus::NotServing), Answer::NotServing),
        (Some(ServingStatus::Serving), Answer::Serving),
    ] {
        if let Some(report) = report {
            served.report(report);
        }
        let message = served.runtime.block_on(watch.message()).unwrap().unwrap();
        assert_eq!(message.status(), expected);
    }
    drop(watch);

    // The gateway holds the stream to it: neither side of tonic looks at a deadline behind the head.
    let mut request = Request::new(ask(CART));
    request.set_timeout(Duration::from_millis(300));
    let stream = served.runtime.block_on(client.watch(request)).unwrap();
    let mut stream = stream.into_inner();
    let first = served.runtime.block_on(stream.message()).unwrap().unwrap();
    assert_eq!(first.status(), Answer::Serving);
    let end = served.runtime.block_on(stream.message()).unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");

    for (status, count) in [("ok", 1), ("not_found", 1), ("deadline_exceeded", 1)] {
        let labels = [("listener", "web"), ("status", status)];
        let calls = "portcullis_grpc_calls_total";
        site.wait_stat(calls, &labels, |found| found == count);
    }
    site.neighbour_is_well();
}

/// The gateway's own health: what changes is said while it is watched, and the drain last.
#[test]
fn tonic_watches_the_gateway() {
    let origin = Origin::http(|_| Reply::ok("not asked"));
    let site = Site::new(&origin)
        .listener("filters: [grpc, grpc_health: { services: [shop.Cart] }]")
        .start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let address = format!("http://{}", site.addr("web"));
    let mut client: HealthClient<Channel> = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(address).unwrap();
        HealthClient::new(endpoint.connect().await.unwrap())
    });
    let mut watch = |service| {
        let watch = runtime.block_on(client.watch(ask(service))).unwrap();
        watch.into_inner()
    };
    let (mut whole, mut cart, mut unknown) = (watch(""), watch(CART), watch("nobody"));
    let mut left = watch("");
    let next = |stream: &mut Streaming<HealthCheckResponse>| {
        let message = runtime.block_on(stream.message())?;
        Ok::<_, tonic::Status>(message.unwrap().status())
    };
    let active = "portcullis_http_requests_active";
    for stream in [&mut whole, &mut cart, &mut left] {
        assert_eq!(next(stream).unwrap(), Answer::Serving);
    }
    assert_eq!(next(&mut unknown).unwrap(), Answer::ServiceUnknown);
    site.wait_stat(active, &[], |count| count == 4);
    // One that is left is forgotten, although there is nothing to say.
    drop(left);
    runtime.block_on(async {
        while site.stats().gauge(active, &[]) > 3 {
            tokio::task::yield_now().await;
        }
    });
    for (target, expected) in [
        ("/healthcheck/fail", Answer::NotServing),
        ("/healthcheck/ok", Answer::Serving),
    ] {
        assert_eq!(site.admin_post(target).status, 200);
        for stream in [&mut whole, &mut cart] {
            assert_eq!(next(stream).unwrap(), expected, "{target}");
        }
    }
    assert_eq!(site.admin_post("/drain_listeners").status, 200);
    for stream in [&mut whole, &mut cart] {
        assert_eq!(next(stream).unwrap(), Answer::NotServing);
    }
    for stream in [&mut whole, &mut cart, &mut unknown] {
        assert_eq!(next(stream).unwrap_err().code(), Code::Unavailable);
    }
    let labels = [("method", "other"), ("status", "unavailable")];
    site.wait_stat("portcullis_grpc_calls_total", &labels, |count| count == 3);
    assert_eq!(origin.requests(), 0);
}
