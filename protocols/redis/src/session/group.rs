//! A primary and its replicas, and which of them a command goes to that only reads.
//!
//! Replicas take reads in turn, over connections that are open: one that is not is opened meanwhile, and used when it is. What
//! a server does not answer, because it is gone or has no data yet, is asked of another: it only reads. Which commands may go
//! here is the caller's to say. Start at [`Group::send`].

use std::cell::{Cell as Value, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use portcullis_cluster::ReadFrom;
use portcullis_net::clock;

use super::link::Pending;
use super::shard::{Common, Readiness, Shard};
use super::stats::ReadStats;
use crate::machine::{Lost, Speaks};

/// How often one command is asked of another server. The second is told by its own connection whether it is there.
const MOST_TRIES: u8 = 2;

/// A primary and its replicas.
pub(super) struct Group {
    common: Rc<Common>,
    policy: ReadFrom,
    slow_start: Option<Duration>,
    stats: ReadStats,
    primary: RefCell<Option<Rc<Shard>>>,
    replicas: RefCell<Rc<[Rc<Shard>]>>,
    turn: Value<usize>,
}

/// A command that may be asked of another server of its group.
pub(super) struct Again {
    group: Rc<Group>,
    tries: u8,
    /// Whom it was asked of.
    asked: Option<Rc<Shard>>,
}

/// Who is chosen.
enum Choice {
    Primary(Rc<Shard>),
    Replica(Rc<Shard>),
}

/// Whose connection it is.
#[derive(Clone, Copy)]
struct Whose {
    speaks: Speaks,
    client: u64,
}

impl Group {
    /// A group of nobody yet.
    pub(super) fn new(common: Rc<Common>) -> Rc<Self> {
        let (policy, slow_start) = common
            .cluster
            .with_config(|config| (config.redis.read_from, config.redis.slow_start.get()));
        Rc::new(Self {
            stats: common.stats.reads(common.cluster.name()),
            common,
            policy,
            slow_start,
            primary: RefCell::default(),
            replicas: RefCell::new(Rc::new([])),
            turn: Value::new(0),
        })
    }

    /// Who is in it from now on.
    pub(super) fn set(&self, primary: Option<Rc<Shard>>, replicas: Vec<Rc<Shard>>) {
        *self.primary.borrow_mut() = primary;
        *self.replicas.borrow_mut() = replicas.into();
    }

    /// The primary, if one is known.
    pub(super) fn primary(&self) -> Option<Rc<Shard>> {
        self.primary.borrow().clone()
    }

    /// The replicas.
    pub(super) fn replicas(&self) -> Rc<[Rc<Shard>]> {
        Rc::clone(&self.replicas.borrow())
    }

    /// Sends a command that only reads.
    pub(super) fn send(
        self: &Rc<Self>,
        speaks: Speaks,
        client: u64,
        wire: &[u8],
        mut pending: Pending,
    ) -> Result<(), Lost> {
        let again = Again {
            group: Rc::clone(self),
            tries: 0,
            asked: None,
        };
        pending.read(wire, client, again);
        self.push(Whose { speaks, client }, wire, pending)
    }

    fn push(&self, whose: Whose, wire: &[u8], mut pending: Pending) -> Result<(), Lost> {
        let again = pending
            .replay
            .as_ref()
            .and_then(|replay| replay.again.as_ref());
        let asked = again.and_then(|again| again.asked.clone());
        let choice = self.choose(whose, asked.as_ref(), clock::now())?;
        let shard = match &choice {
            Choice::Primary(shard) => {
                self.stats.primary.inc();
                shard
            }
            Choice::Replica(shard) => {
                self.stats.replica.inc();
                shard
            }
        };
        if let Some(again) = pending
            .replay
            .as_mut()
            .and_then(|replay| replay.again.as_mut())
        {
            again.asked = Some(Rc::clone(shard));
        }
        shard.send(&self.common, whose.speaks, whose.client, wire, pending)
    }

    /// Who is asked; not again who was asked last, if there is anybody else.
    fn choose(
        &self,
        whose: Whose,
        asked: Option<&Rc<Shard>>,
        now: Instant,
    ) -> Result<Choice, Lost> {
        let primary = || self.primary().ok_or(Lost::NoEndpoint);
        match self.policy {
            ReadFrom::Primary => Ok(Choice::Primary(primary()?)),
            ReadFrom::Replica => {
                let (ready, spare) = self.replica(whose, asked, now);
                let replica = ready.or(spare);
                let replica = replica.or_else(|| asked.cloned());
                replica.map(Choice::Replica).ok_or(Lost::NoReplica)
            }
            ReadFrom::PreferReplica => match self.replica(whose, asked, now) {
                (Some(replica), _) => Ok(Choice::Replica(replica)),
                // What is too much for one that has just come back is the primary's to do.
                (None, Some(spare)) => Ok(match self.usable_primary(whose) {
                    Some(primary) if spare.health().is_back() => Choice::Primary(primary),
                    _ => Choice::Replica(spare),
                }),
                (None, None) => Ok(Choice::Primary(primary()?)),
            },
            ReadFrom::PreferPrimary => {
                let usable = self.usable_primary(whose);
                if let Some(primary) = usable.filter(|primary| !is_it(primary, asked)) {
                    return Ok(Choice::Primary(primary));
                }
                let (ready, spare) = self.replica(whose, asked, now);
                match ready.or(spare) {
                    Some(replica) => Ok(Choice::Replica(replica)),
                    None => Ok(Choice::Primary(primary()?)),
                }
            }
        }
    }

    /// The primary, unless it was not to be reached of late.
    fn usable_primary(&self, whose: Whose) -> Option<Rc<Shard>> {
        self.primary().filter(|primary| {
            if primary.health().is_shunned(clock::now()) {
                return false;
            }
            let readiness = primary.prepare(&self.common, whose.speaks, whose.client);
            matches!(readiness, Readiness::Open | Readiness::Fresh)
        })
    }

    /// The replica whose turn it is, of those that can be read from; and one to be taken if there is nothing better. That is
    /// one that has just come back, which lets others go first, more often than not at the beginning; or one that is being
    /// connected and has not failed.
    fn replica(
        &self,
        whose: Whose,
        asked: Option<&Rc<Shard>>,
        now: Instant,
    ) -> (Option<Rc<Shard>>, Option<Rc<Shard>>) {
        let replicas = self.replicas();
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        let (mut late, mut fresh) = (None, None);
        for index in 0..replicas.len() {
            let index = first.wrapping_add(index) % replicas.len();
            let Some(replica) = replicas.get(index) else {
                continue;
            };
            match replica.prepare(&self.common, whose.speaks, whose.client) {
                _ if is_it(replica, asked) || replica.health().is_shunned(now) => {}
                Readiness::Open => {
                    let share = replica.health().share(now, self.slow_start);
                    if share >= 1.0 || self.common.random.happens((share * 1e6) as u32) {
                        return (Some(Rc::clone(replica)), None);
                    }
                    late.get_or_insert(replica);
                }
                Readiness::Fresh => {
                    fresh.get_or_insert(replica);
                }
                Readiness::Away => {}
            }
        }
        (None, late.or(fresh).cloned())
    }

    /// A command was not answered by a server of this group, or only with this error.
    #[cold]
    pub(super) fn again(&self, speaks: Speaks, client: u64, wire: &[u8], pending: Pending) {
        let whose = Whose { speaks, client };
        let (client, ticket) = (pending.client.clone(), pending.ticket);
        if let Err(lost) = self.push(whose, wire, pending) {
            Pending::new(client, ticket).lose(lost);
        }
    }
}

fn is_it(shard: &Rc<Shard>, asked: Option<&Rc<Shard>>) -> bool {
    asked.is_some_and(|asked| Rc::ptr_eq(asked, shard))
}

impl Again {
    /// Whether it may be asked of another server still.
    pub(super) const fn is_left(&self) -> bool {
        self.tries < MOST_TRIES
    }

    /// The server that was asked has no data.
    pub(super) fn shun(&self) {
        if let Some(asked) = &self.asked {
            asked.health().shun(clock::now());
        }
    }

    /// One more server is to be asked, for this reason. The group to ask.
    pub(super) fn spend(&mut self, reason: &'static str) -> Rc<Group> {
        self.tries += 1;
        self.group.stats.on_again(reason);
        Rc::clone(&self.group)
    }
}
