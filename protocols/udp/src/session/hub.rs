//! The task that has the listener's socket: takes clients' datagrams to their flows, and ends flows whose time has come.
//!
//! How a flow begins is in [`super::open`], what comes back on it in [`super::flow`]. Start at [`serve`].

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use portcullis_cluster::Outcome;
use portcullis_filter::Interest;
use portcullis_net::accept::ListenerStats;
use portcullis_net::datagram::{DatagramSocket, Inbox, Route, Run};
use portcullis_net::limits::ConnectionLimits;
use portcullis_net::{Datagrams, DrainSignal, Timer, clock};
use tokio::sync::Notify;

use super::delay::Delayed;
use super::egress::Egress;
use super::flow::{OpenFlow, moved};
use super::guide::{Choice, Guidance, Guide};
use super::lanes::Lanes;
use super::open::{Goal, Newcomer};
use super::server::Slot;
use super::service::{Destination, Service};
use crate::machine::{FlowId, FlowKey, Flows, Moved};

/// How long nothing moves in a flow that ends early because the listener drains.
const QUIET: Duration = Duration::from_secs(1);

/// All that the flows of one listener on one worker share.
pub(super) struct Hub {
    pub(super) socket: DatagramSocket,
    pub(super) address: SocketAddr,
    pub(super) limits: ConnectionLimits,
    pub(super) listener: Rc<ListenerStats>,
    pub(super) flows: RefCell<Flows>,
    pub(super) inbox: RefCell<Inbox>,
    pub(super) replies: RefCell<Egress>,
    pub(super) delayed: Delayed,
    requests: RefCell<Egress>,
    /// By the index of their names.
    open: RefCell<Vec<Option<Rc<OpenFlow>>>>,
    lanes: Lanes,
    slot: Rc<Slot>,
    /// What the machine's bounds were taken from.
    bounds_of: RefCell<Weak<Service>>,
    stop: DrainSignal,
    /// Told when a flow has ended.
    ended: Notify,
}

/// Serves the datagrams of a listener until it is told to stop and no flow is left.
pub(super) async fn serve(datagrams: Datagrams, slot: Rc<Slot>) {
    /// Flows do not outlive the hub, however it ends.
    struct CloseAll(Rc<Hub>);
    impl Drop for CloseAll {
        fn drop(&mut self) {
            let ids = self.0.flows.borrow().ids();
            for id in ids {
                self.0.close(id, "stopped");
            }
        }
    }
    let stats = Rc::clone(&datagrams.stats);
    match Hub::new(datagrams, slot) {
        Ok(hub) => CloseAll(Rc::new(hub)).0.run().await,
        Err(_) => stats.on_refused("register"),
    }
}

impl Hub {
    fn new(datagrams: Datagrams, slot: Rc<Slot>) -> io::Result<Self> {
        let limits = slot.borrow().flows.limits();
        Ok(Self {
            socket: DatagramSocket::new(datagrams.socket)?,
            address: datagrams.address,
            limits: datagrams.limits,
            listener: datagrams.stats,
            flows: RefCell::new(Flows::new(limits, RandomState::default())),
            inbox: RefCell::default(),
            replies: RefCell::default(),
            delayed: Delayed::default(),
            requests: RefCell::default(),
            open: RefCell::default(),
            lanes: Lanes::default(),
            slot,
            bounds_of: RefCell::default(),
            stop: datagrams.stop,
            ended: Notify::new(),
        })
    }

    async fn run(self: &Rc<Self>) {
        let mut stopping = self.stop.listen();
        let mut timer = Timer::new();
        while !(self.is_stopping() && self.flows.borrow().is_empty()) {
            let deadline = self.next_deadline();
            tokio::select! {
                received = self.socket.receive(&self.inbox) => match received {
                    Ok(count) => self.on_requests(count),
                    // Of a socket that speaks with many nobody knows whom an error is about.
                    Err(_) => self.service().stats.up.on_dropped("io"),
                },
                () = timer.expired(deadline) => self.on_timeout(),
                () = stopping.draining(), if !self.is_quiet() => self.take_bounds(&self.service()),
                () = self.ended.notified(), if self.is_stopping() => {}
            }
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_draining()
    }

    /// Whether the bounds are those of a listener that stops.
    fn is_quiet(&self) -> bool {
        self.is_stopping() && self.flows.borrow().limits().idle <= QUIET
    }

    /// The service for the next flow. A new one brings new bounds.
    fn service(&self) -> Rc<Service> {
        let service = Rc::clone(&self.slot.borrow());
        // Held weakly: another service at the same place in memory would be taken for this one.
        if self.bounds_of.borrow().as_ptr() != Rc::as_ptr(&service) {
            self.bounds_of.replace(Rc::downgrade(&service));
            self.take_bounds(&service);
        }
        service
    }

    fn take_bounds(&self, service: &Service) {
        let mut limits = service.flows.limits();
        if self.is_stopping() {
            limits.idle = limits.idle.min(QUIET);
        }
        self.flows.borrow_mut().set_limits(limits);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_guide = |guide: &Rc<dyn Guide>| guide.next_timeout();
        let of_guide = self.slot.borrow().guide().and_then(of_guide);
        let of_flows = self.flows.borrow().poll_timeout();
        of_flows.into_iter().chain(of_guide).min()
    }

    fn on_timeout(&self) {
        let now = clock::now();
        if let Some(guide) = self.service().guide() {
            guide.on_timeout(now);
        }
        let reason = if self.is_stopping() {
            "drained"
        } else {
            "idle_timeout"
        };
        loop {
            let expired = self.flows.borrow().expired(now);
            let Some(id) = expired else { return };
            self.close(id, reason);
        }
    }

    /// Takes what clients have sent to its flows. Of clients that speak in turn each datagram is sent on its own.
    fn on_requests(self: &Rc<Self>, count: usize) {
        let now = clock::now();
        let service = self.service();
        let (inbox, mut egress) = (self.inbox.borrow(), self.requests.borrow_mut());
        let mut current: Option<Rc<OpenFlow>> = None;
        for run in (0..count).filter_map(|index| inbox.run(index)) {
            match &service.destination {
                Destination::Cluster(_) => {
                    let Some(flow) = self.flow_of(&service, &run, current.as_ref()) else {
                        continue;
                    };
                    self.turn_to(&flow, &mut current, &mut egress);
                    self.take_up(&flow, now, &run, &mut egress);
                }
                Destination::Guided(guide) => {
                    for datagram in run.datagrams() {
                        let Some(flow) = self.guided(&service, &**guide, now, &run, datagram)
                        else {
                            continue;
                        };
                        self.turn_to(&flow, &mut current, &mut egress);
                        let run = Run {
                            bytes: datagram,
                            segment: datagram.len(),
                            ..run
                        };
                        self.take_up(&flow, now, &run, &mut egress);
                    }
                }
            }
        }
        self.send_gathered(current.as_ref(), &mut egress);
    }

    /// Sends what was gathered for another flow.
    fn turn_to(
        self: &Rc<Self>,
        flow: &Rc<OpenFlow>,
        current: &mut Option<Rc<OpenFlow>>,
        egress: &mut Egress,
    ) {
        if current.as_ref().is_none_or(|current| current.id != flow.id) {
            self.send_gathered(current.as_ref(), egress);
            *current = Some(Rc::clone(flow));
        }
    }

    fn send_gathered(self: &Rc<Self>, flow: Option<&Rc<OpenFlow>>, egress: &mut Egress) {
        if let Some(flow) = flow {
            egress.flush(&mut |bytes, segment, count| flow.send_up(self, bytes, segment, count));
        }
    }

    fn take_up(
        self: &Rc<Self>,
        flow: &Rc<OpenFlow>,
        now: Instant,
        run: &Run<'_>,
        egress: &mut Egress,
    ) {
        let moved = moved(run);
        flow.local.set(run.to);
        self.flows.borrow_mut().on_up(now, flow.id, moved);
        let mut send = |bytes: &[u8], segment: usize, datagrams: u64| {
            flow.send_up(self, bytes, segment, datagrams);
        };
        let chain = &flow.service.chain;
        if moved.datagrams > 1 && !chain.interest().includes(Interest::REQUEST_DATA) {
            return egress.push_run(run.bytes, run.segment, &mut send);
        }
        for datagram in run.datagrams() {
            if flow.may_go_up(self, now, datagram) {
                egress.push(datagram, &mut send);
            }
        }
    }

    /// The flow of a client, opened if there is none.
    fn flow_of(
        self: &Rc<Self>,
        service: &Rc<Service>,
        run: &Run<'_>,
        current: Option<&Rc<OpenFlow>>,
    ) -> Option<Rc<OpenFlow>> {
        if let Some(current) = current
            && current.client == run.from
            && self.find(current.id).is_some()
        {
            return Some(Rc::clone(current));
        }
        let key = FlowKey {
            client: run.from,
            lane: 0,
        };
        if let Some(flow) = self.find_by_key(&key) {
            return Some(flow);
        }
        let Destination::Cluster(cluster) = &service.destination else {
            return None;
        };
        let newcomer = Newcomer::of(run);
        let opened = self.open(service, &newcomer, Goal::Cluster(cluster), |_, _| 0);
        count_refused(service, opened)
    }

    /// The flow that a guide leads a datagram to, if it goes up now.
    fn guided(
        self: &Rc<Self>,
        service: &Rc<Service>,
        guide: &dyn Guide,
        now: Instant,
        run: &Run<'_>,
        datagram: &[u8],
    ) -> Option<Rc<OpenFlow>> {
        let newcomer = Newcomer::of(run);
        match guide.on_client(now, run.from, datagram) {
            Guidance::To(lane) => {
                let client = run.from;
                if let Some(flow) = self.find_by_key(&FlowKey { client, lane }) {
                    return Some(flow);
                }
                let picked = self.lanes.pick(lane, guide.clusters());
                let opened = match picked {
                    Some((cluster, picked)) => {
                        let goal = Goal::Endpoint(cluster, picked);
                        self.open(service, &newcomer, goal, |_, _| lane)
                    }
                    None => Err("endpoint_gone"),
                };
                count_refused(service, opened)
            }
            Guidance::Choose(choice) => {
                self.choose(service, guide, now, &newcomer, &choice);
                None
            }
            Guidance::Held => None,
            Guidance::Answer(answer) => {
                let route = Route {
                    to: run.from,
                    from: run.to,
                };
                match self.socket.send_to(route, &answer, answer.len()) {
                    Ok(()) => service.stats.down.on_passed(1, answer.len() as u64),
                    Err(_) => service.stats.down.on_dropped("io"),
                }
                None
            }
            Guidance::Drop(reason) => {
                service.stats.up.on_dropped(reason);
                None
            }
        }
    }

    /// Finds an endpoint for what a client begins, and sends what was held for it.
    fn choose(
        self: &Rc<Self>,
        service: &Rc<Service>,
        guide: &dyn Guide,
        now: Instant,
        newcomer: &Newcomer,
        choice: &Choice,
    ) {
        let newcomer = Newcomer {
            route: choice.route.clone(),
            server_name: choice.server_name.clone(),
            ..newcomer.clone()
        };
        let goal = Goal::Cluster(&choice.cluster);
        let opened = self.open(service, &newcomer, goal, |cluster, picked| {
            let (lane, gone) = self.lanes.of(cluster, picked);
            for lane in gone {
                guide.on_lane_gone(lane);
            }
            lane
        });
        let Some(flow) = count_refused(service, opened) else {
            return guide.on_refused(choice.opening);
        };
        guide.on_chosen(now, choice.opening, flow.lane, &mut |datagram| {
            let moved = Moved::one(datagram.len());
            self.flows.borrow_mut().on_up(now, flow.id, moved);
            if flow.may_go_up(self, now, datagram) {
                flow.send_up(self, datagram, datagram.len(), 1);
            }
        });
    }

    pub(super) fn insert(&self, flow: &Rc<OpenFlow>) {
        let mut open = self.open.borrow_mut();
        let index = flow.id.index();
        if open.len() <= index {
            open.resize_with(index + 1, || None);
        }
        if let Some(place) = open.get_mut(index) {
            *place = Some(Rc::clone(flow));
        }
    }

    pub(super) fn find_by_key(&self, key: &FlowKey) -> Option<Rc<OpenFlow>> {
        let id = self.flows.borrow().find(key)?;
        self.find(id)
    }

    fn find(&self, id: FlowId) -> Option<Rc<OpenFlow>> {
        let open = self.open.borrow();
        let flow = open.get(id.index())?.as_ref()?;
        (flow.id == id).then(|| Rc::clone(flow))
    }

    /// Ends a flow and writes down how it went. Nothing happens if it is over.
    pub(super) fn close(&self, id: FlowId, reason: &'static str) {
        let Some(flow) = self.find(id) else { return };
        let Some(closed) = self.flows.borrow_mut().close(id) else {
            return;
        };
        if let Some(place) = self.open.borrow_mut().get_mut(id.index()) {
            *place = None;
        }
        flow.over.notify_one();
        drop(flow.held.take());
        let mut record = flow.record.borrow_mut();
        record.reason = reason;
        record.up = closed.up;
        record.down = closed.down;
        record.duration = closed.active_at.saturating_duration_since(record.started);
        flow.service.stats.on_ended(&record);
        flow.service.chain.on_complete(&record, &flow.cx.borrow());
        self.ended.notify_one();
    }

    /// The network has said something about a flow's datagrams. False if the flow is over for it.
    pub(super) fn on_network(&self, flow: &OpenFlow, error: &io::Error) -> bool {
        use io::ErrorKind as K;
        let reason = match error.kind() {
            K::ConnectionRefused => "refused",
            K::HostUnreachable | K::NetworkUnreachable => "unreachable",
            _ => return true,
        };
        let now = clock::now();
        let elapsed = now.saturating_duration_since(flow.record.borrow().started);
        flow.cluster
            .on_done(&flow.picked, Outcome::Failure(reason), elapsed, now);
        self.close(flow.id, reason);
        false
    }
}

fn count_refused(
    service: &Service,
    opened: Result<Rc<OpenFlow>, &'static str>,
) -> Option<Rc<OpenFlow>> {
    opened
        .inspect_err(|reason| service.stats.on_refused(reason))
        .ok()
}
