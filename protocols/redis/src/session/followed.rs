//! A primary and its replicas, as sentinels say who they are.
//!
//! A worker asks the sentinels ([`super::following`]) and listens to them; a primary is used once it says itself that it is one.
//! When there is another, new commands go there at once. What is under way on the old one is answered by it, or with an error;
//! who waits there, or listens, is told that it is over. Start at [`Followed::primary`] and [`Followed::take`].

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use portcullis_cluster::ClusterConfig;
use portcullis_net::{clock, spawn_local};

use super::cell::Cell;
use super::demoted::{self, Demoted, Refused};
use super::following;
use super::group::Group;
use super::inquiry::Inquiry;
use super::link::Link;
use super::shard::{Common, Of, Part, Shard};
use crate::cluster::NodeAddress;
use crate::machine::{Lost, Purpose};
use crate::sentinel::Answer;

/// What sentinels watch over, on one worker.
pub(super) struct Followed {
    pub(super) common: Rc<Common>,
    /// The name that sentinels know the primary by.
    pub(super) master: Box<str>,
    /// The sentinels, as they are configured.
    pub(super) sentinels: Box<[Rc<str>]>,
    has_replicas: bool,
    group: Rc<Group>,
    me: Weak<Self>,
    pub(super) state: RefCell<State>,
}

pub(super) struct State {
    pub(super) inquiry: Inquiry,
    /// The highest epoch that was believed.
    pub(super) epoch: u64,
    /// The sentinel to ask first.
    pub(super) first: usize,
    /// Sentinels that are not configured, as one has told that was believed.
    pub(super) others: Vec<NodeAddress>,
    /// Something says that the primary is none: it is asked itself, even if sentinels name it again.
    pub(super) is_doubted: bool,
    demoted: Demoted,
    /// Clients' own connections to the primary, and whether they may wait for ever.
    pins: Vec<(Weak<Link>, bool)>,
}

impl Followed {
    /// Nobody is known yet; a task asks, and one listens to each sentinel.
    pub(super) fn start(common: Rc<Common>, config: &ClusterConfig) -> Rc<Self> {
        let interval = config.redis.refresh_interval.get();
        let sentinels = config.endpoints.iter();
        let followed = Rc::new_cyclic(|me| Self {
            group: Group::new(Rc::clone(&common)),
            common,
            master: config.redis.master.as_deref().unwrap_or_default().into(),
            sentinels: sentinels.map(|at| at.address.to_string().into()).collect(),
            has_replicas: config.redis.read_from.has_replicas(),
            me: Weak::clone(me),
            state: RefCell::new(State {
                inquiry: Inquiry::new(interval),
                epoch: 0,
                first: 0,
                others: Vec::new(),
                demoted: Demoted::default(),
                is_doubted: false,
                pins: Vec::new(),
            }),
        });
        spawn_local(following::follow(Rc::downgrade(&followed)));
        for sentinel in 0..followed.sentinels.len() {
            spawn_local(following::listen(Rc::downgrade(&followed), sentinel));
        }
        followed
    }

    /// The primary.
    #[inline]
    pub(super) fn primary(&self) -> Result<Rc<Shard>, Lost> {
        self.group.primary().ok_or(Lost::NoEndpoint)
    }

    /// The primary and its replicas, if those are read from.
    #[inline]
    pub(super) fn group(&self) -> Option<&Rc<Group>> {
        Some(&self.group).filter(|_| self.has_replicas)
    }

    /// Remembers a client's own connection to the primary: it ends with that.
    pub(super) fn note_pin(&self, link: &Rc<Link>, purpose: Purpose) {
        let waits = matches!(
            purpose,
            Purpose::Blocking { .. }
                | Purpose::Subscription
                | Purpose::Tracking { .. }
                | Purpose::Monitor
        );
        let pins = &mut self.state.borrow_mut().pins;
        if pins.len() == pins.capacity() {
            pins.retain(|(link, _)| link.strong_count() > 0);
        }
        pins.push((Rc::downgrade(link), waits));
    }

    /// Whether nobody is known yet, and sentinels are asked.
    pub(super) fn is_awaited(&self) -> bool {
        let state = self.state.borrow();
        state.inquiry.may_be_awaited() && self.group.primary().is_none()
    }

    /// Wakes the client when the first question is answered.
    pub(super) fn wait(&self, client: &Rc<Cell>) {
        self.state.borrow_mut().inquiry.wait(client);
    }

    /// A sentinel says that something has changed: it is asked first.
    pub(super) fn on_news(&self, sentinel: usize) {
        let mut state = self.state.borrow_mut();
        state.first = sentinel;
        state.inquiry.want_anew();
    }

    /// A sentinel listens again: something may have been missed.
    pub(super) fn want(&self) {
        self.state.borrow_mut().inquiry.want_anew();
    }

    /// The primary behaves as if it were none.
    pub(super) fn doubt(&self) {
        let mut state = self.state.borrow_mut();
        state.is_doubted = true;
        state.inquiry.want();
    }

    /// The primary refused a command since it is none: it is sent to the next one, or the client is told.
    #[cold]
    pub(super) fn hold(&self, refused: Refused) {
        let mut state = self.state.borrow_mut();
        if state.inquiry.is_closed() {
            drop(state);
            return refused.answer();
        }
        let held = state.demoted.hold(refused);
        drop(state);
        if let Err(refused) = held {
            refused.answer();
        }
    }

    /// Those that wait are sent to the primary that there is now. If nobody knows one, they wait for the next answer.
    fn send_again(&self, is_answered: bool) {
        let all = self.state.borrow_mut().demoted.take();
        match self.group.primary().filter(|_| is_answered) {
            Some(primary) => demoted::send_again(all, &primary, &self.common),
            None => all.into_iter().for_each(|refused| self.hold(refused)),
        }
    }

    /// A question was answered, or not.
    pub(super) fn take(&self, answer: Option<Answer>) {
        let random = self.common.random.next();
        let mut state = self.state.borrow_mut();
        let now = clock::now();
        state.inquiry.policy.on_end(answer.is_some(), now, random);
        let answer = answer.filter(|_| !state.inquiry.is_closed());
        if let Some(answer) = &answer {
            state.epoch = answer.epoch;
            state.is_doubted = false;
        }
        drop(state);
        let is_answered = answer.is_some();
        if let Some(answer) = answer {
            self.follow(answer);
        }
        self.send_again(is_answered);
        let is_known = self.group.primary().is_some();
        let waiting = self.state.borrow_mut().inquiry.settle(is_known);
        for client in waiting {
            client.wake();
        }
    }

    fn follow(&self, answer: Answer) {
        let old = self.group.primary();
        let address = answer.primary.clone();
        let is_same = |shard: &Rc<Shard>| shard.address() == Some(&address);
        let gone = old.filter(|old| !is_same(old));
        let same = self.group.primary().filter(is_same);
        let primary = same.unwrap_or_else(|| {
            let (cluster, epoch) = (self.common.cluster.name(), answer.epoch);
            tracing::info!(cluster, primary = %answer.primary, epoch, "the primary of a Redis cluster");
            self.found(answer.primary, Part::Primary)
        });
        let before = self.group.replicas();
        let find = |address: NodeAddress| {
            let known = before
                .iter()
                .find(|known| known.address() == Some(&address));
            known
                .cloned()
                .unwrap_or_else(|| self.found(address, Part::Replica))
        };
        let wanted = if self.has_replicas {
            answer.replicas
        } else {
            Vec::new()
        };
        let replicas: Vec<Rc<Shard>> = wanted.into_iter().map(find).collect();
        let is_left = |old: &&Rc<Shard>| !replicas.iter().any(|new| Rc::ptr_eq(new, old));
        let left: Vec<Rc<Shard>> = before.iter().filter(is_left).cloned().collect();
        self.group.set(Some(primary), replicas);
        for replica in left {
            replica.close();
        }
        if let Some(gone) = gone {
            self.common.stats.on_switch(self.common.cluster.name());
            self.leave(&gone);
        }
    }

    fn found(&self, address: NodeAddress, part: Part) -> Rc<Shard> {
        Shard::found(address, part, Of::Sentinels(Weak::clone(&self.me)))
    }

    /// Ends what leads to a primary that is none any more.
    fn leave(&self, old: &Shard) {
        old.close();
        let pins = std::mem::take(&mut self.state.borrow_mut().pins);
        for (link, waits) in pins {
            let Some(link) = link.upgrade() else {
                continue;
            };
            if waits {
                link.close(Lost::Switched);
            } else {
                link.retire();
            }
        }
    }

    /// Whether it is the primary still.
    pub(super) fn has(&self, shard: &Rc<Shard>) -> bool {
        let primary = self.group.primary();
        primary.is_some_and(|primary| Rc::ptr_eq(&primary, shard))
    }

    /// Closes all connections, and ends the tasks.
    pub(super) fn close(&self) {
        let mut state = self.state.borrow_mut();
        let waiting = state.inquiry.close();
        let refused = state.demoted.take();
        drop(state);
        let primary = self.group.primary();
        let replicas = self.group.replicas();
        self.group.set(None, Vec::new());
        for shard in primary.iter().chain(replicas.iter()) {
            shard.close();
        }
        if waiting.is_empty() && refused.is_empty() {
            return;
        }
        // Not from here: whoever asks for this may be one of those that are told.
        spawn_local(async move {
            demoted::lose(refused);
            for client in waiting {
                client.wake();
            }
        });
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.state.get_mut().inquiry.wake();
    }
}
