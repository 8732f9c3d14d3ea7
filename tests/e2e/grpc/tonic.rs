//! tonic as client and server, with the gateway between them.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;

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
