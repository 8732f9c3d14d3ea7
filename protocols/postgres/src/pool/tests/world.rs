//! A pool of numbered connections, and beside it a model that says who must get what.
//!
//! The model is written for plainness: it searches lists. It checks order, conservation, that nobody who could be served is
//! left waiting, and that whoever has something to fetch was woken. Start at [`World::verify`].

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use portcullis_testkit::VirtualClock;

use super::super::*;

/// How one who asked stands, to the model's knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Waiting,
    Served(u64),
    /// By the place of the refusal.
    Refused(usize),
}

#[derive(Debug)]
struct Asker {
    ticket: Ticket,
    since: Instant,
    patience: Patience,
    standing: Standing,
    /// Its handle is with the pool.
    sleeps: bool,
}

pub(super) struct World {
    pub(super) pool: PoolCore<u64, u64>,
    pub(super) clock: VirtualClock,
    /// In the order in which they came.
    askers: Vec<Asker>,
    pub(super) held: Vec<(u64, Lease)>,
    pub(super) openings: Vec<OpenTicket>,
    /// Used last behind.
    idle: Vec<(u64, Affinity)>,
    closed: HashSet<u64>,
    affinities: HashMap<u64, Affinity>,
    pub(super) refused: Vec<Refusal>,
    pub(super) served: Vec<u64>,
    next: u64,
    /// The upkeep's handle has come out.
    rung: bool,
    /// When the upkeep sweeps next by itself; nothing before its first round.
    sweeps_at: Option<Instant>,
    swept: bool,
}

/// The handle of the upkeep; no asker's.
const BELL: u64 = u64::MAX;

impl World {
    pub(super) fn new(limits: PoolLimits) -> Self {
        Self {
            pool: PoolCore::new(limits),
            clock: VirtualClock::new(),
            askers: Vec::new(),
            held: Vec::new(),
            openings: Vec::new(),
            idle: Vec::new(),
            closed: HashSet::new(),
            affinities: HashMap::new(),
            refused: Vec::new(),
            served: Vec::new(),
            next: 0,
            rung: false,
            sweeps_at: None,
            swept: false,
        }
    }

    pub(super) fn snapshot(&self) -> PoolSnapshot {
        self.pool.snapshot(self.clock.now())
    }

    pub(super) fn waiting(&self) -> usize {
        self.askers
            .iter()
            .filter(|asker| asker.standing == Standing::Waiting)
            .count()
    }

    pub(super) fn askers(&self) -> usize {
        self.askers.len()
    }

    pub(super) fn idle(&self) -> Vec<u64> {
        self.idle
            .iter()
            .map(|(connection, _)| *connection)
            .collect()
    }

    pub(super) fn ask(&mut self, affinity: Affinity) {
        self.ask_with(affinity, Patience::Stays);
    }

    pub(super) fn ask_with(&mut self, affinity: Affinity, patience: Patience) {
        let now = self.clock.now();
        let expected = self.expected_idle(affinity);
        match self.pool.checkout(now, affinity, patience) {
            Checkout::Ready(Leased {
                connection, lease, ..
            }) => {
                assert_eq!(Some(connection), expected, "the best idle connection");
                self.idle.retain(|(other, _)| *other != connection);
                self.served.push(connection);
                self.held.push((connection, lease));
            }
            Checkout::Wait(ticket) => {
                assert_eq!(expected, None, "nobody waits while a connection is idle");
                let standing = Standing::Waiting;
                self.askers.push(Asker {
                    ticket,
                    since: now,
                    patience,
                    standing,
                    sleeps: false,
                });
                self.fetch(self.askers.len() - 1);
            }
            Checkout::Refused(refusal) => self.refused.push(refusal),
        }
        self.verify();
    }

    /// What the pool says comes first: same worker and shape, same worker, same shape, any; then the one used last.
    fn expected_idle(&self, wanted: Affinity) -> Option<u64> {
        let rank = |affinity: &Affinity| {
            (
                affinity.worker == wanted.worker,
                affinity.shape == wanted.shape,
            )
        };
        self.idle
            .iter()
            .max_by_key(|(_, affinity)| rank(affinity))
            .map(|(connection, _)| *connection)
    }

    pub(super) fn checkin(&mut self, place: usize, affinity: Affinity) {
        if self.held.is_empty() {
            return;
        }
        let (connection, lease) = self.held.remove(place % self.held.len());
        self.affinities.insert(connection, affinity);
        let after = self
            .pool
            .checkin(self.clock.now(), connection, lease, affinity);
        self.note_after(connection, after);
        self.verify();
    }

    fn note_after(&mut self, connection: u64, after: After<u64>) {
        match after {
            After::Kept => {
                assert_eq!(
                    self.waiting(),
                    0,
                    "somebody waits for connection {connection}"
                );
                self.idle.push((connection, self.affinities[&connection]));
            }
            After::Handed { ticket } => self.note_handed(connection, ticket),
            After::Close(same, _) => {
                assert_eq!(same, connection);
                self.note_closed(connection);
            }
        }
    }

    fn note_handed(&mut self, connection: u64, ticket: Ticket) {
        let first = self
            .askers
            .iter_mut()
            .find(|asker| asker.standing == Standing::Waiting)
            .unwrap();
        assert_eq!(first.ticket, ticket, "first come, first served");
        first.standing = Standing::Served(connection);
    }

    fn note_closed(&mut self, connection: u64) {
        assert!(
            self.closed.insert(connection),
            "connection {connection} is closed twice"
        );
        self.idle.retain(|(other, _)| *other != connection);
    }

    fn note_closing(&mut self, closing: Vec<(u64, CloseReason)>) {
        for (connection, _) in closing {
            assert!(
                self.idle().contains(&connection),
                "only idle connections are closed on the way"
            );
            self.note_closed(connection);
        }
    }

    pub(super) fn discard(&mut self, place: usize, reason: CloseReason) {
        if self.held.is_empty() {
            return;
        }
        let (connection, lease) = self.held.remove(place % self.held.len());
        self.pool.discard(self.clock.now(), lease, reason);
        self.note_closed(connection);
        self.verify();
    }

    /// Returns the new connection's number.
    pub(super) fn opened(&mut self, place: usize, random: u64, affinity: Affinity) -> Option<u64> {
        if self.openings.is_empty() {
            return None;
        }
        let open = self.openings.remove(place % self.openings.len());
        let connection = self.next;
        self.next += 1;
        self.affinities.insert(connection, affinity);
        let after = self
            .pool
            .opened_ready(self.clock.now(), open, random, connection, affinity);
        self.note_after(connection, after);
        self.verify();
        Some(connection)
    }

    pub(super) fn open_failed(&mut self, place: usize, failure: OpenFailure, random: u64) {
        if self.openings.is_empty() {
            return;
        }
        let open = self.openings.remove(place % self.openings.len());
        self.pool
            .open_failed(self.clock.now(), open, failure, random);
        let snapshot = self.snapshot();
        if snapshot.active == 0 && self.idle.is_empty() {
            // All, or else those who would rather leave.
            let all = snapshot.waiting == 0;
            let refused = Standing::Refused(Refusal::Unreachable(failure).index());
            for asker in &mut self.askers {
                let leaves = asker.patience == Patience::Leaves;
                if asker.standing == Standing::Waiting && (all || leaves) {
                    asker.standing = refused;
                }
            }
        }
        self.verify();
    }

    pub(super) fn abandon(&mut self, place: usize) {
        if self.openings.is_empty() {
            return;
        }
        let open = self.openings.remove(place % self.openings.len());
        self.pool.open_abandoned(self.clock.now(), open);
        self.verify();
    }

    pub(super) fn cancel(&mut self, place: usize) {
        if self.askers.is_empty() {
            return;
        }
        let asker = self.askers.remove(place % self.askers.len());
        let cancelled = self.pool.cancel(self.clock.now(), asker.ticket);
        match (asker.standing, cancelled.close) {
            (Standing::Served(connection), Some((same, _))) => {
                assert_eq!(same, connection);
                self.note_closed(connection);
            }
            (Standing::Served(connection), None) => {
                // It went to the next, or is idle.
                match self
                    .askers
                    .iter_mut()
                    .find(|asker| asker.standing == Standing::Waiting)
                {
                    Some(next) => next.standing = Standing::Served(connection),
                    None => self.idle.push((connection, self.affinities[&connection])),
                }
            }
            (_, close) => assert_eq!(close, None),
        }
        self.verify();
    }

    /// Everybody who was woken fetches what there is.
    pub(super) fn pump(&mut self) {
        while let Some(serial) = self.pool.poll_woken() {
            self.rung |= serial == BELL;
            let place = self
                .askers
                .iter()
                .position(|asker| asker.ticket.serial() == serial);
            if let Some(place) = place {
                self.askers[place].sleeps = false;
                self.fetch(place);
            }
        }
        let asleep = self
            .askers
            .iter()
            .all(|asker| asker.sleeps && asker.standing == Standing::Waiting);
        assert!(asleep, "whoever has something to fetch is woken");
        assert_eq!(
            self.snapshot().opening as usize,
            self.openings.len(),
            "every offer is fetched"
        );
        self.verify();
    }

    /// Fetches until there is nothing.
    fn fetch(&mut self, place: usize) {
        let now = self.clock.now();
        let Asker {
            ticket,
            since,
            standing,
            ..
        } = self.askers[place];
        loop {
            match self.pool.take(now, ticket) {
                None => {
                    assert_eq!(
                        standing,
                        Standing::Waiting,
                        "what was granted can be fetched"
                    );
                    *self.pool.waker_mut(ticket).unwrap() = Some(ticket.serial());
                    self.askers[place].sleeps = true;
                    return;
                }
                Some(Grant::Open(open)) => self.openings.push(open),
                Some(Grant::Ready(Leased {
                    connection, lease, ..
                })) => {
                    assert_eq!(
                        standing,
                        Standing::Served(connection),
                        "it gets what was set aside"
                    );
                    self.served.push(connection);
                    self.held.push((connection, lease));
                    break;
                }
                Some(Grant::Refused(refusal)) => {
                    if standing == Standing::Waiting {
                        assert!(now - since >= self.pool.limits().wait_timeout, "{refusal}");
                    } else {
                        assert_eq!(standing, Standing::Refused(refusal.index()));
                    }
                    self.refused.push(refusal);
                    break;
                }
            }
        }
        self.askers.remove(place);
    }

    /// What the task does that looks after a pool, until it would sleep: how many rounds that takes.
    pub(super) fn keep_up(&mut self) -> usize {
        let mut rounds = 0;
        loop {
            self.pump();
            let now = self.clock.now();
            let is_due = !self.swept || self.sweeps_at.is_some_and(|at| at <= now);
            if !is_due && !self.rung {
                return rounds;
            }
            self.rung = false;
            let next = self.sweep();
            self.pool.arm(BELL, next);
            self.sweeps_at = next;
            self.swept = true;
            rounds += 1;
            assert!(rounds < 10, "the upkeep keeps itself awake");
        }
    }

    pub(super) fn sweep(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        let timeout = self.pool.limits().wait_timeout;
        let refused_before = self.snapshot().totals.refused;
        let swept = self.pool.sweep(now);
        let refused = self.snapshot().totals.refused;
        let place = (0..refused.len()).find(|place| refused[*place] > refused_before[*place]);
        let mut count = place.map_or(0, |place| refused[place] - refused_before[place]);
        let away = Some(Refusal::Unreachable(OpenFailure::Connect).index());
        let waiting = |asker: &&mut Asker| asker.standing == Standing::Waiting;
        for asker in self.askers.iter_mut().filter(waiting) {
            let timed_out = now - asker.since >= timeout;
            assert!(count > 0 || !timed_out, "who has waited enough is told");
            if count == 0 {
                break;
            }
            assert!(timed_out || place == away, "refused before its time");
            asker.standing = Standing::Refused(place.unwrap());
            count -= 1;
        }
        self.note_closing(swept.close);
        self.openings.extend(swept.open);
        assert!(
            swept.next.is_none_or(|next| next > now),
            "a sweep leaves nothing due"
        );
        self.verify();
        swept.next
    }

    pub(super) fn pause(&mut self) {
        let closing = self.pool.pause(self.clock.now());
        self.note_closing(closing);
        self.verify();
    }

    pub(super) fn resume(&mut self) {
        self.pool.resume(self.clock.now());
        self.verify();
    }

    pub(super) fn reconnect(&mut self) {
        let closing = self.pool.reconnect(self.clock.now());
        self.note_closing(closing);
        self.verify();
    }

    pub(super) fn kill(&mut self) {
        let closing = self.pool.kill(self.clock.now());
        self.note_closing(closing);
        self.refuse_all(Refusal::Killed);
        self.verify();
    }

    pub(super) fn close(&mut self) {
        let closing = self.pool.close(self.clock.now());
        self.note_closing(closing);
        self.refuse_all(Refusal::Closed);
        self.verify();
    }

    pub(super) fn set_limits(&mut self, limits: PoolLimits) {
        let closing = self.pool.set_limits(self.clock.now(), limits);
        self.note_closing(closing);
        self.verify();
    }

    pub(super) fn retain_idle(&mut self, is_alive: impl Fn(u64) -> bool) {
        let dead = self
            .pool
            .retain_idle(self.clock.now(), |connection, _| is_alive(*connection));
        for connection in dead {
            assert!(!is_alive(connection));
            self.note_closed(connection);
        }
        self.verify();
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
    }

    fn refuse_all(&mut self, refusal: Refusal) {
        for asker in &mut self.askers {
            if asker.standing == Standing::Waiting {
                asker.standing = Standing::Refused(refusal.index());
            }
        }
    }

    /// Compares the book with the model.
    pub(super) fn verify(&mut self) {
        let snapshot = self.snapshot();
        let limits = *self.pool.limits();
        let set_aside = self
            .askers
            .iter()
            .filter(|asker| matches!(asker.standing, Standing::Served(_)))
            .count();
        assert_eq!(snapshot.waiting, self.waiting(), "waiting");
        assert_eq!(
            snapshot.active as usize,
            self.held.len() + set_aside,
            "active"
        );
        assert_eq!(
            (snapshot.idle + snapshot.used) as usize,
            self.idle.len(),
            "idle"
        );
        assert!(snapshot.opening as usize >= self.openings.len(), "opening");
        assert_eq!(
            self.next as usize,
            self.closed.len() + self.held.len() + set_aside + self.idle.len(),
            "every connection is in one place"
        );
        let live = snapshot.active + snapshot.idle + snapshot.used + snapshot.opening;
        let may_open = snapshot.state == PoolState::Open
            && snapshot.backoff.is_zero()
            && live < limits.size
            && (snapshot.opening as usize) < snapshot.waiting
            && snapshot.opening == 0;
        // After a failure it is the sweep that goes on.
        let due = self
            .pool
            .next_deadline()
            .is_some_and(|next| next <= self.clock.now());
        assert!(
            !may_open || due,
            "one could be opened, and nobody was told to"
        );
    }

    /// Ends everything, and sees that nothing is left.
    pub(super) fn finish(mut self) {
        self.pump();
        while !self.askers.is_empty() {
            self.cancel(0);
        }
        while !self.openings.is_empty() {
            self.abandon(0);
        }
        while !self.held.is_empty() {
            self.checkin(0, Affinity::default());
        }
        self.close();
        assert!(self.pool.is_quiet(), "{:?}", self.snapshot());
        assert_eq!(
            self.closed.len() as u64,
            self.next,
            "all that was opened was closed"
        );
        let totals = self.snapshot().totals;
        assert_eq!(totals.opened, self.next);
        assert_eq!(totals.closed.iter().sum::<u64>(), self.next);
    }
}
