//! One flow: its socket towards the endpoint, what comes back on it, and its record.
//!
//! When it is over the hub says ([`super::hub`]). Start at [`OpenFlow::run`].

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use portcullis_cluster::{Cluster, ConnectionPermit, Outcome, Picked};
use portcullis_filter::{Context, Interest, Stop};
use portcullis_limit::Permit;
use portcullis_net::clock;
use portcullis_net::datagram::{DatagramSocket, Route, Run, TOO_LARGE};
use portcullis_net::limits::{ConnectionPermit as FlowPermit, ConnectionPermits};
use portcullis_stats::GaugeGuard;
use tokio::sync::Notify;

use super::guide::Lane;
use super::hub::Hub;
use super::service::Service;
use crate::machine::{FlowId, Moved};
use crate::message::{Datagram, Record, UdpMessages};

/// A flow that is open.
pub(super) struct OpenFlow {
    pub(super) id: FlowId,
    pub(super) client: SocketAddr,
    pub(super) lane: Lane,
    pub(super) service: Rc<Service>,
    pub(super) cluster: Rc<Cluster>,
    pub(super) picked: Picked,
    pub(super) socket: DatagramSocket,
    /// Which of the machine's addresses the client speaks with.
    pub(super) local: Cell<Option<IpAddr>>,
    pub(super) cx: RefCell<Context>,
    pub(super) record: RefCell<Record>,
    pub(super) has_answered: Cell<bool>,
    /// Told once it is over.
    pub(super) over: Notify,
    /// Given back when it is over, which its own task hears of later.
    pub(super) held: RefCell<Option<Held>>,
}

/// What a flow counts against.
pub(super) struct Held {
    pub(super) _open: FlowPermit,
    pub(super) _source: Permit,
    pub(super) _permits: ConnectionPermits,
    pub(super) _upstream: ConnectionPermit,
    pub(super) _active: GaugeGuard,
}

impl OpenFlow {
    /// Passes on what the endpoint says, until the flow is over.
    pub(super) async fn run(self: Rc<Self>, hub: Rc<Hub>) {
        loop {
            let received = tokio::select! {
                biased;
                () = self.over.notified() => return,
                received = self.socket.receive(&hub.inbox) => received,
            };
            match received {
                Ok(count) => self.on_replies(&hub, count),
                Err(error) => {
                    if !hub.on_network(&self, &error) {
                        return;
                    }
                }
            }
        }
    }

    fn on_replies(self: &Rc<Self>, hub: &Rc<Hub>, count: usize) {
        let now = clock::now();
        if count > 1 {
            self.socket.join();
        }
        if !self.has_answered.replace(true) {
            self.cluster.on_done(
                &self.picked,
                Outcome::Success,
                now.saturating_duration_since(self.record.borrow().started),
                now,
            );
        }
        let (inbox, mut egress) = (hub.inbox.borrow(), hub.replies.borrow_mut());
        let mut send = |bytes: &[u8], segment: usize, datagrams: u64| {
            self.send_down(hub, bytes, segment, datagrams);
        };
        let runs = (0..count).filter_map(|index| inbox.run(index));
        for run in runs {
            if self.passes_unseen() {
                let moved = moved(&run);
                // There is nothing to be refused for.
                let _ = hub.flows.borrow_mut().on_down(now, self.id, moved);
                if moved.datagrams > 1 {
                    egress.push_run(run.bytes, run.segment, &mut send);
                } else {
                    egress.push(run.bytes, &mut send);
                }
                continue;
            }
            for datagram in run.datagrams() {
                if self.may_go_down(hub, now, datagram) {
                    egress.push(datagram, &mut send);
                }
            }
        }
        egress.flush(&mut send);
    }

    /// Whether nobody looks at single replies.
    fn passes_unseen(&self) -> bool {
        let limits = &self.service.flows.limits;
        limits.replies.is_none()
            && limits.amplification.is_none()
            && self.service.guide().is_none()
            && !self
                .service
                .chain
                .interest()
                .includes(Interest::RESPONSE_DATA)
    }

    /// Whether a reply goes out now: not if it is refused, or held back.
    fn may_go_down(self: &Rc<Self>, hub: &Rc<Hub>, now: Instant, datagram: &[u8]) -> bool {
        let stats = &self.service.stats.down;
        if let Some(guide) = self.service.guide()
            && let Err(reason) = guide.on_server(now, self.lane, self.client, datagram)
        {
            stats.on_dropped(reason);
            return false;
        }
        let moved = Moved::one(datagram.len());
        let allowed = hub.flows.borrow_mut().on_down(now, self.id, moved);
        if let Err(refusal) = allowed {
            stats.on_dropped(refusal.label());
            return false;
        }
        let mut seen = Datagram {
            bytes: datagram.len(),
        };
        let mut cx = self.cx.borrow_mut();
        cx.now = now;
        let chain = &self.service.chain;
        let verdict = chain.hold_response_data(&mut seen, false, &mut cx);
        let (flow, hub) = (Rc::clone(self), Rc::clone(hub));
        let later = Rc::clone(&hub);
        let send = move |datagram: &[u8]| flow.send_down(&later, datagram, datagram.len(), 1);
        match verdict {
            Ok(None) => return true,
            Ok(Some(until)) if hub.delayed.hold(until, datagram, send) => {}
            Ok(Some(_)) => stats.on_dropped("delay_full"),
            Err(stop) => stats.on_dropped(reason(&stop)),
        }
        false
    }

    /// Sends a run to the client.
    fn send_down(&self, hub: &Hub, bytes: &[u8], segment: usize, datagrams: u64) {
        let route = Route {
            to: self.client,
            from: self.local.get(),
        };
        let stats = &self.service.stats.down;
        match hub.socket.send_to(route, bytes, segment) {
            Ok(()) => stats.on_passed(datagrams, bytes.len() as u64),
            Err(error) => stats.on_dropped(lost(&error)),
        }
    }

    /// Whether a client's datagram goes out now: not if it is refused, or held back.
    pub(super) fn may_go_up(self: &Rc<Self>, hub: &Rc<Hub>, now: Instant, datagram: &[u8]) -> bool {
        let chain = &self.service.chain;
        if !chain.interest().includes(Interest::REQUEST_DATA) {
            return true;
        }
        let stats = &self.service.stats.up;
        let mut seen = Datagram {
            bytes: datagram.len(),
        };
        let mut cx = self.cx.borrow_mut();
        cx.now = now;
        let verdict = chain.hold_request_data(&mut seen, false, &mut cx);
        let (flow, later) = (Rc::clone(self), Rc::clone(hub));
        let send = move |datagram: &[u8]| flow.send_up(&later, datagram, datagram.len(), 1);
        match verdict {
            Ok(None) => return true,
            Ok(Some(until)) if hub.delayed.hold(until, datagram, send) => {}
            Ok(Some(_)) => stats.on_dropped("delay_full"),
            Err(stop) => stats.on_dropped(reason(&stop)),
        }
        false
    }

    /// Sends a run to the endpoint.
    pub(super) fn send_up(
        self: &Rc<Self>,
        hub: &Rc<Hub>,
        bytes: &[u8],
        segment: usize,
        datagrams: u64,
    ) {
        let stats = &self.service.stats.up;
        match self.socket.send(bytes, segment) {
            Ok(()) => stats.on_passed(datagrams, bytes.len() as u64),
            Err(error) => {
                stats.on_dropped(lost(&error));
                hub.on_network(self, &error);
            }
        }
    }
}

/// The `reason` label of a datagram that could not be sent.
fn lost(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::WouldBlock => "send_buffer_full",
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        _ if error.raw_os_error() == Some(TOO_LARGE) => "too_large",
        _ => "io",
    }
}

/// The `reason` label of a refusal.
pub(super) const fn reason(stop: &Stop<UdpMessages>) -> &'static str {
    match stop {
        Stop::Reject(rejection) => rejection.reason,
        Stop::Close(reason) => reason,
        Stop::Reply(_) => "refused",
    }
}

/// What is in a run.
pub(super) fn moved(run: &Run<'_>) -> Moved {
    Moved {
        datagrams: (run.bytes.len().div_ceil(run.segment.max(1)) as u64).max(1),
        bytes: run.bytes.len() as u64,
    }
}
