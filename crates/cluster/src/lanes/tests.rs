use std::cell::Cell;
use std::time::Duration;

use super::*;
use crate::ClusterConfig;
use crate::testing::{resolved, shard, shared, start};

const SECOND: Duration = Duration::from_secs(1);

/// A connection that takes as many requests at once as its peer allows.
struct Fake {
    state: LinkState,
    allowed: Cell<usize>,
}

/// Held by a request.
struct Place {
    link: Rc<Fake>,
    now: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.link.state.on_place_free(&*self.link, || self.now);
    }
}

impl SharedLink for Fake {
    type Place = Place;

    fn state(&self) -> &LinkState {
        &self.state
    }

    fn has_room(&self, _: Instant) -> bool {
        self.state.is_open() && self.state.active() < self.allowed.get()
    }

    fn place(self: Rc<Self>) -> Option<Place> {
        self.state.on_place_taken();
        let now = self.state.idle_since();
        Some(Place { link: self, now })
    }

    fn capacity(last: Option<&Self>, config: &ClusterConfig) -> usize {
        let configured = || config.http.max_streams.get() as usize;
        last.map_or_else(configured, |last| last.allowed.get())
    }

    fn is_closed_to_streams(&self) -> bool {
        self.state.is_open() && self.state.is_unused() && self.allowed.get() == 0
    }

    fn retire(&self) {
        self.state.retire();
    }

    fn on_tick(&self, config: &ClusterConfig, now: Instant) {
        if self.state.is_worn(config, self.is_closed_to_streams(), now) {
            self.retire();
        }
    }
}

struct Fixture {
    lanes: Lanes<Fake, u32>,
    id: EndpointId,
    now: Instant,
}

impl Fixture {
    fn new(settings: &str) -> Self {
        let now = start();
        let cluster = Rc::new(Cluster::new(shared(1, settings), &shard(), now));
        Self {
            id: cluster.endpoints()[0].id(),
            lanes: Lanes::new(cluster),
            now,
        }
    }

    /// As many wait more.
    fn wait(&self, many: u32) {
        for number in 0..many {
            self.lanes.push(self.id, Rc::new(number));
        }
    }

    /// How many connections are wanted one after another.
    fn wanted(&self) -> usize {
        let wanted = || self.lanes.wants_connection(self.id, self.now);
        let open = || wanted().then(|| self.lanes.open(self.id).ok()).flatten();
        let opening: Vec<_> = std::iter::from_fn(open).collect();
        opening.len()
    }

    /// A connection that allows so many requests at once, and takes `most` in its life.
    fn link(&self, allowed: usize, most: u64) -> Rc<Fake> {
        let idle = Rc::clone(self.lanes.idle());
        let link = Rc::new(Fake {
            state: LinkState::new(self.id, most, idle, self.now),
            allowed: Cell::new(allowed),
        });
        self.lanes.add(&link);
        link
    }

    fn served(&self) -> Vec<(Rc<u32>, Place)> {
        std::iter::from_fn(|| self.lanes.next(self.id, self.now)).collect()
    }
}

#[test]
fn connections_are_opened_for_those_whom_the_others_will_not_take() {
    let few = r#""http": {"max_streams": 10}"#;
    let bounded = r#""http": {"max_streams": 10, "max_connections_per_endpoint": 2}"#;
    let limited = r#""limits": {"connections": 1}, "http": {"max_streams": 1}"#;
    let rows = [
        ("nobody waits", few, 0, 0),
        ("they share one", few, 10, 1),
        ("one more needs another", few, 11, 2),
        ("so many to an endpoint", bounded, 100, 2),
        ("the cluster's limit", limited, 100, 1),
    ];
    for (name, settings, waiting, wanted) in rows {
        let fixture = Fixture::new(settings);
        fixture.wait(waiting);
        assert_eq!(fixture.wanted(), wanted, "{name}");
    }
}

#[test]
fn what_the_last_connection_took_is_expected_of_the_next() {
    let fixture = Fixture::new(r#""http": {"max_streams": 10}"#);
    fixture.link(2, 100).state().retire();
    fixture.wait(5);
    assert_eq!(fixture.wanted(), 3);
    assert_eq!(fixture.lanes.reason(fixture.id), NoPlace::TimedOut);
    for others in [true, true, false] {
        assert_eq!(fixture.lanes.on_opened(fixture.id), others);
    }
    assert_eq!(fixture.lanes.reason(fixture.id), NoPlace::Limited);
    assert_eq!(fixture.lanes.give_up(fixture.id).len(), 5);
    assert!(!fixture.lanes.has_connection(fixture.id));
}

#[test]
fn no_other_is_opened_to_a_peer_that_allows_nothing() {
    let fixture = Fixture::new("");
    let link = fixture.link(0, 100);
    fixture.wait(1);
    assert_eq!(fixture.wanted(), 0);
    assert_eq!(
        fixture.lanes.on_tick(fixture.now + 5 * SECOND),
        [fixture.id]
    );
    assert!(link.state().is_retired(), "another may be luckier");
    assert_eq!(fixture.wanted(), 1);
}

#[test]
fn those_who_wait_are_served_in_order() {
    let fixture = Fixture::new("");
    fixture.link(2, 3);
    fixture.wait(4);
    let gone = fixture.served().swap_remove(1);
    assert!(fixture.lanes.find(fixture.id, fixture.now).is_none());
    let served = fixture.served();
    assert_eq!((*gone.0, served.len(), *served[0].0), (1, 1, 2));
    drop((gone, served));
    assert!(fixture.served().is_empty(), "it takes three in its life");
    assert_eq!(fixture.wanted(), 1);
}

#[test]
fn idle_connections_make_room_and_are_bounded() {
    let fixture = Fixture::new(r#""pool": {"max_idle": 1}, "limits": {"connections": 2}"#);
    let lanes = &fixture.lanes;
    let permits = [lanes.permit().unwrap(), lanes.permit().unwrap()];
    let (one, two) = (fixture.link(1, 100), fixture.link(1, 100));
    two.state().set_idle_since(fixture.now + SECOND);
    assert!(lanes.permit().is_ok(), "the place of the first");
    assert!(one.state().is_retired() && !two.state().is_retired());
    lanes.remove(&one);
    lanes.on_place_free(&two);
    assert!(!two.state().is_retired(), "one may be kept");
    let three = fixture.link(1, 100);
    lanes.on_place_free(&three);
    assert!(three.state().is_retired(), "two may not");
    drop(permits);
}

#[test]
fn connections_end_with_their_endpoint_by_age_and_by_the_pool() {
    let fixture =
        Fixture::new(r#""pool": {"idle_timeout": "9s"}, "http": {"max_connection_age": "20s"}"#);
    let rows = [("idle", false, 9), ("old", true, 20)];
    for (name, busy, seconds) in rows {
        let link = fixture.link(1, 100);
        let place = busy.then(|| Rc::clone(&link).place());
        fixture.lanes.on_tick(fixture.now + (seconds - 1) * SECOND);
        assert!(!link.state().is_retired(), "not yet {name}");
        fixture.lanes.on_tick(fixture.now + seconds * SECOND);
        assert!(link.state().is_retired(), "{name}");
        drop(place);
    }
    let link = fixture.link(1, 100);
    let published = fixture.lanes.cluster().shared();
    published.publish_endpoints(resolved(&[]));
    fixture.lanes.on_tick(fixture.now);
    assert!(link.state().is_retired(), "its endpoint has left");
    assert_eq!(fixture.lanes.open(fixture.id).err(), Some(NoPlace::Gone));
    let link = fixture.link(1, 100);
    drop(fixture.lanes);
    assert!(link.state().is_retired(), "its pool is gone");
}
