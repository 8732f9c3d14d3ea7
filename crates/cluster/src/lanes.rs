//! Bookkeeping of connections that requests share, on one worker: few to each endpoint.
//!
//! A request gets a place on a connection that has room; those that find none wait in order of arrival, and it is told when
//! another connection should be opened for them. It opens none, wakes nobody and balances nothing. Start at [`Lanes`], and at
//! [`SharedLink`] for what a protocol says of its connections. Those that requests do not share are in an
//! [`IdlePool`](crate::IdlePool).

mod link;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

pub use self::link::{LinkState, SharedLink};
use crate::{Cluster, ConnectionPermit, Endpoint, EndpointId, IdleCount};

/// Why there is no place for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The endpoint has left the cluster.
    Gone,
    /// As many connections are open as may be.
    Limited,
    /// A connection is being opened for too long.
    TimedOut,
}

/// The connections of one worker to one cluster by endpoint, and those who wait for a place on one as `W`.
pub struct Lanes<L: SharedLink, W> {
    cluster: Rc<Cluster>,
    lanes: RefCell<BTreeMap<EndpointId, Lane<L, W>>>,
    /// What other workers know of those that are idle.
    idle: Rc<IdleCount>,
}

/// What there is for one endpoint.
struct Lane<L, W> {
    links: Vec<Rc<L>>,
    /// Connections being opened.
    opening: usize,
    waiting: VecDeque<Rc<W>>,
    /// Requests that the last connection took when it was opened; `None` as long as there was none.
    capacity: Option<usize>,
}

impl<L, W> Default for Lane<L, W> {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            opening: 0,
            waiting: VecDeque::new(),
            capacity: None,
        }
    }
}

impl<L: SharedLink, W> Lanes<L, W> {
    /// No connections to a cluster.
    pub fn new(cluster: Rc<Cluster>) -> Self {
        Self {
            idle: Rc::new(cluster.count_idle()),
            lanes: RefCell::default(),
            cluster,
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &Rc<Cluster> {
        &self.cluster
    }

    /// What counts those that are idle, for their [`LinkState`]s.
    pub fn idle(&self) -> &Rc<IdleCount> {
        &self.idle
    }

    /// A connection that has room, unless others wait for it.
    pub fn find(&self, id: EndpointId, now: Instant) -> Option<Rc<L>> {
        let lanes = self.lanes.borrow();
        let lane = lanes.get(&id).filter(|lane| lane.waiting.is_empty())?;
        lane.links.iter().find(|link| link.has_room(now)).cloned()
    }

    /// Someone waits for a place, behind those who do already.
    pub fn push(&self, id: EndpointId, waiting: Rc<W>) {
        let mut lanes = self.lanes.borrow_mut();
        lanes.entry(id).or_default().waiting.push_back(waiting);
    }

    /// Someone waits no more.
    pub fn forget(&self, id: EndpointId, waiting: &Rc<W>) {
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&id) {
            lane.waiting.retain(|other| !Rc::ptr_eq(other, waiting));
        }
    }

    /// Who waits longest, with a place if there is one.
    pub fn next(&self, id: EndpointId, now: Instant) -> Option<(Rc<W>, L::Place)> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.get_mut(&id).filter(|lane| !lane.waiting.is_empty())?;
        let link = lane.links.iter().find(|link| link.has_room(now))?;
        let place = Rc::clone(link).place()?;
        Some((lane.waiting.pop_front()?, place))
    }

    /// All who wait, for whom nobody will open a connection.
    pub fn give_up(&self, id: EndpointId) -> VecDeque<Rc<W>> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.get_mut(&id);
        lane.map_or_else(VecDeque::new, |lane| std::mem::take(&mut lane.waiting))
    }

    /// What someone is told who has waited for too long.
    pub fn reason(&self, id: EndpointId) -> NoPlace {
        match self.lanes.borrow().get(&id) {
            Some(lane) if lane.opening > 0 => NoPlace::TimedOut,
            _ => NoPlace::Limited,
        }
    }

    /// Whether there is, or will be, a connection on which a place may become free.
    pub fn has_connection(&self, id: EndpointId) -> bool {
        let lanes = self.lanes.borrow();
        lanes.get(&id).is_some_and(|lane| {
            lane.opening > 0 || lane.links.iter().any(|link| link.state().is_open())
        })
    }

    /// Whether another connection should be opened: more wait than what is under way will take.
    pub fn wants_connection(&self, id: EndpointId, now: Instant) -> bool {
        let lanes = self.lanes.borrow();
        let Some(lane) = lanes.get(&id) else {
            return false;
        };
        let (most, each) = self.cluster.with_config(|config| {
            let most = config.http.max_connections_per_endpoint;
            let each = lane.capacity.unwrap_or_else(|| L::capacity(None, config));
            (most.map_or(usize::MAX, |most| most.get() as usize), each)
        });
        let links = || lane.links.iter();
        let open = links().filter(|link| link.state().is_open()).count();
        // RFC 9113 section 6.5.2: a peer may allow no stream for a while. Another connection would be told the same.
        if open + lane.opening >= most || links().any(|link| link.is_closed_to_streams()) {
            return false;
        }
        let coming = lane.opening.saturating_mul(each.max(1));
        let soon = links().map(|link| link.replenishing(now));
        lane.waiting.len() > soon.fold(coming, usize::saturating_add)
    }

    /// A connection is about to be opened: where to, and its place within the cluster's limit.
    /// [`on_opened`](Self::on_opened) tells that it no longer is.
    ///
    /// # Errors
    /// The endpoint has left, or the limit is reached.
    pub fn open(&self, id: EndpointId) -> Result<(Arc<Endpoint>, ConnectionPermit), NoPlace> {
        let endpoints = self.cluster.endpoints();
        let known = endpoints.iter().find(|endpoint| endpoint.id() == id);
        let endpoint = Arc::clone(known.ok_or(NoPlace::Gone)?.endpoint());
        let permit = self.permit()?;
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&id) {
            lane.opening += 1;
        }
        Ok((endpoint, permit))
    }

    /// It was opened or was not. Whether others are being opened.
    pub fn on_opened(&self, id: EndpointId) -> bool {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.entry(id).or_default();
        lane.opening = lane.opening.saturating_sub(1);
        lane.opening > 0
    }

    /// A place within the cluster's limit, for which connections that are idle make room.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn permit(&self) -> Result<ConnectionPermit, NoPlace> {
        let own = || self.idle.take_place();
        let permit = self.cluster.try_connection_before_idle(own);
        self.pay();
        permit.map_err(|_| NoPlace::Limited)
    }

    /// Takes a connection in that has been opened.
    pub fn add(&self, link: &Rc<L>) {
        let capacity = self
            .cluster
            .with_config(|config| L::capacity(Some(link), config));
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes.entry(link.state().endpoint()).or_default();
        lane.capacity = Some(capacity);
        lane.links.push(Rc::clone(link));
        link.state().note();
    }

    /// A place on a connection is free, for whoever waits longest ([`next`](Self::next)). Retires it if nobody waits and enough
    /// others are idle.
    pub fn on_place_free(&self, link: &L) {
        if link.state().is_spare() && self.has_enough_idle(link.state().endpoint()) {
            link.retire();
        }
    }

    /// Whether one of those that are idle is too many to be kept.
    fn has_enough_idle(&self, id: EndpointId) -> bool {
        let lanes = self.lanes.borrow();
        let Some(lane) = lanes.get(&id) else {
            return false;
        };
        let links = lane.links.iter();
        let idle = links.filter(|link| link.state().is_spare()).count();
        let most = self.cluster.with_config(|config| config.pool.max_idle);
        lane.waiting.is_empty() && idle > most
    }

    /// Retires those that have been idle for longest, for places that were taken.
    pub fn pay(&self) {
        while self.idle.owes() {
            let lanes = self.lanes.borrow();
            let links = lanes.values().flat_map(|lane| &lane.links);
            let spare = links.filter(|link| link.state().is_spare());
            let oldest = spare.min_by_key(|link| link.state().idle_since()).cloned();
            drop(lanes);
            let Some(link) = oldest else { return };
            link.retire();
        }
    }

    /// A connection has ended.
    pub fn remove(&self, link: &Rc<L>) {
        if let Some(lane) = self.lanes.borrow_mut().get_mut(&link.state().endpoint()) {
            lane.links.retain(|other| !Rc::ptr_eq(other, link));
        }
    }

    /// Does what is due by the clock, and retires connections to endpoints that have left. The answer is which endpoints are
    /// waited for: a connection that was told to go makes room for another one, and tells nobody.
    pub fn on_tick(&self, now: Instant) -> Vec<EndpointId> {
        self.cluster.refresh(now);
        let config = self.cluster.config();
        let mut waited_for = Vec::new();
        self.lanes.borrow_mut().retain(|id, lane| {
            let belongs = self.cluster.has_endpoint(*id);
            for link in &lane.links {
                if !belongs {
                    link.retire();
                }
                link.on_tick(&config, now);
            }
            if !lane.waiting.is_empty() {
                waited_for.push(*id);
            }
            lane.opening > 0 || !lane.links.is_empty() || !lane.waiting.is_empty()
        });
        self.pay();
        waited_for
    }
}

impl<L: SharedLink, W> Drop for Lanes<L, W> {
    /// Nobody asks anything any more; what is under way ends in peace.
    fn drop(&mut self) {
        for link in self.lanes.get_mut().values().flat_map(|lane| &lane.links) {
            link.retire();
        }
    }
}
