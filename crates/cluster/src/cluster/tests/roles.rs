//! Roles: given, found out, and asked for.

use super::*;
use crate::EndpointRole;

#[test]
fn a_request_gets_an_endpoint_of_the_role_that_it_needs() {
    let f = Fixture::new(3, r#""panic_threshold": "50%""#);
    let endpoint = |id: usize| Arc::clone(&f.shared.set().endpoints()[id]);
    let pick = |role: EndpointRole| {
        let accept = move |endpoint: &Endpoint| endpoint.role() == Some(role);
        let picked = f.cluster.pick(&PickContext {
            now: f.now,
            random: 42,
            hash: None,
            tried: &[],
            accept: Some(&accept),
        });
        picked.map(|picked| picked.id().0)
    };
    assert_eq!(pick(EndpointRole::Primary), Err(PickError::NoneAccepted));
    endpoint(1)
        .state()
        .replication()
        .set_role(Some(EndpointRole::Primary));
    endpoint(2)
        .state()
        .replication()
        .set_role(Some(EndpointRole::Replica));
    assert_eq!(pick(EndpointRole::Primary), Ok(1), "no rebuilding");
    assert_eq!(pick(EndpointRole::Replica), Ok(2));

    f.set_healthy(1, false);
    assert_eq!(pick(EndpointRole::Primary), Err(PickError::NoneAccepted));
    f.set_healthy(0, false);
    assert!(
        f.cluster
            .pick(&PickContext {
                now: f.now,
                random: 1,
                hash: None,
                tried: &[],
                accept: None
            })
            .is_ok()
    );
    assert!(f.cluster.is_panic());
    assert_eq!(pick(EndpointRole::Primary), Ok(1), "panic picks among all");
    endpoint(1)
        .state()
        .replication()
        .set_role(Some(EndpointRole::Replica));
    let refused = pick(EndpointRole::Primary);
    assert_eq!(
        refused,
        Err(PickError::NoneAccepted),
        "but no other than will do"
    );
    let reason = [("reason", "none_accepted")];
    assert_eq!(
        f.counter("portcullis_cluster_pick_failures_total", &reason),
        3
    );
}

#[test]
fn a_given_role_holds_until_another_is_found() {
    let f = Fixture::new(1, "");
    let given = |role| {
        let mut endpoints = resolved(&[1]);
        endpoints[0].role = role;
        f.shared.publish_endpoints(endpoints)
    };
    let endpoint = || Arc::clone(&f.shared.set().endpoints()[0]);
    assert_eq!(endpoint().role(), None);
    assert!(given(Some(EndpointRole::Primary)));
    assert!(!given(Some(EndpointRole::Primary)), "the same");
    assert_eq!(endpoint().id().0, 0, "the same endpoint");
    assert_eq!(endpoint().role(), Some(EndpointRole::Primary));
    endpoint()
        .state()
        .replication()
        .set_role(Some(EndpointRole::Replica));
    assert_eq!(endpoint().role(), Some(EndpointRole::Replica));
    let status = &f.shared.statuses(f.now)[0];
    assert_eq!(
        (status.role, status.role_discovered),
        (Some(EndpointRole::Replica), true)
    );
    assert!(given(None));
    assert_eq!(
        endpoint().role(),
        Some(EndpointRole::Replica),
        "what was found stays"
    );
}
