use std::task::Context;

use super::*;
use crate::message::RespVersion;

const SPEAKS: Speaks = Speaks {
    database: 0,
    version: RespVersion::Resp2,
};

/// An arbitrary origin; tests move time themselves.
#[allow(clippy::disallowed_methods)]
fn start() -> Instant {
    Instant::now()
}

/// A turn, if it is had at once.
fn turn(health: &Rc<Health>) -> Option<Turn> {
    let mut task = Context::from_waker(Waker::noop());
    match std::pin::pin!(health.turn()).poll(&mut task) {
        Poll::Ready(turn) => turn,
        Poll::Pending => None,
    }
}

#[test]
fn who_fails_is_tried_ever_more_rarely_and_by_one_at_a_time() {
    let health = Rc::new(Health::default());
    let mut now = start();
    let first = turn(&health).unwrap();
    assert!(turn(&health).is_none(), "nobody knows it yet");
    assert_eq!(health.check(SPEAKS, now), Ok(()), "but may wait for it");
    let mut pauses = Vec::new();
    health.on_failed(now, u64::MAX);
    drop(first);
    for _ in 0..7 {
        assert_eq!(health.check(SPEAKS, now), Err(Lost::Connect));
        let until = health.not_before.get().unwrap();
        pauses.push(((until - now).as_secs_f64() * 1000.0).round());
        now = until;
        assert_eq!(health.check(SPEAKS, now), Ok(()));
        let trying = turn(&health).unwrap();
        assert_eq!(
            health.check(SPEAKS, now),
            Err(Lost::Connect),
            "another one tries"
        );
        health.on_failed(now, u64::MAX);
        drop(trying);
    }
    assert_eq!(pauses, [50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 2000.0]);
    health.on_failed(now, 0);
    assert_eq!(health.not_before.get().unwrap() - now, LONGEST_PAUSE / 2);
    health.on_open(now);
    assert_eq!(health.check(SPEAKS, now), Ok(()));
}

#[test]
fn who_waits_behind_one_that_failed_does_not_try() {
    let health = Rc::new(Health::default());
    let first = turn(&health).unwrap();
    let mut task = Context::from_waker(Waker::noop());
    let mut second = Box::pin(health.turn());
    assert!(second.as_mut().poll(&mut task).is_pending());
    health.on_failed(start(), 0);
    drop(first);
    assert!(matches!(second.as_mut().poll(&mut task), Poll::Ready(None)));
}

#[test]
fn a_server_that_is_there_opens_a_few_at_once() {
    let health = Rc::new(Health::default());
    health.on_open(start());
    let mut turns: Vec<_> = (0..MOST_DIALS).map(|_| turn(&health).unwrap()).collect();
    assert!(turn(&health).is_none());
    turns.pop();
    assert!(turn(&health).is_some());
}

#[test]
fn a_replica_that_comes_back_gets_its_share_by_and_by() {
    let health = Health::default();
    let start = start();
    let all = Some(Duration::from_secs(10));
    health.on_open(start);
    assert!(health.share(start, all) >= 1.0, "it was never away");
    health.on_failed(start, 0);
    health.on_open(start);
    for (seconds, share) in [(0, 0.1), (1, 0.1), (5, 0.5), (10, 1.0), (2, 1.0)] {
        let now = start + Duration::from_secs(seconds);
        assert!((health.share(now, all) - share).abs() < 1e-9, "{seconds}");
    }
    health.shun(start);
    assert!(health.is_shunned(start) && !health.is_shunned(start + SHUNNED));
    assert!(health.share(start + SHUNNED, all) < 0.2);
    assert!(health.share(start, None) >= 1.0, "switched off");
}
