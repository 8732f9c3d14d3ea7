//! What UDP filters see: a flow as one request, its datagrams by their size, and the record of its life.
//!
//! UDP has no messages of its own, so a flow is the request and there is no response. Start at [`UdpMessages`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portcullis_filter::{Fact, Facts, Messages};

use crate::machine::Moved;

/// The messages of UDP.
#[derive(Debug, Clone, Copy)]
pub struct UdpMessages;

impl Messages for UdpMessages {
    type Request = FlowOpening;
    type Response = ();
    type Data = Datagram;
    type Record = Record;
}

impl Facts for UdpMessages {
    const FACTS: &'static [&'static str] = &["udp.local_port"];

    fn fact(name: &str) -> Option<Fact<Self>> {
        match name {
            "udp.local_port" => Some(Box::new(|_, cx, key| match cx.connection.local {
                Some(address) => key.write(&address.port().to_be_bytes()),
                None => key.absent(),
            })),
            // Common, but nobody ends TLS here: the name is one that was read on the way.
            "tls.sni" => Some(Box::new(|opening, _, key| match &opening.server_name {
                Some(name) => key.write(name.as_bytes()),
                None => key.absent(),
            })),
            _ => None,
        }
    }
}

/// A flow that is about to begin. Its other facts are in the filter context.
#[derive(Debug, Clone, Default)]
pub struct FlowOpening {
    /// The server name that the client asks for, where that is read (QUIC).
    pub server_name: Option<Arc<str>>,
}

/// A datagram as filters see it: they decide whether and when it passes, not what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its bytes, without headers.
    pub bytes: usize,
}

/// What is known about a flow when it is over. Flow logs are written from it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Wall-clock time of its first datagram.
    pub started_at: SystemTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// From the first datagram to the last.
    pub duration: Duration,
    /// From downstream to upstream.
    pub up: Moved,
    /// From upstream to downstream.
    pub down: Moved,
    /// The server name that the client asked for, where that is read (QUIC).
    pub server_name: Option<Arc<str>>,
    /// The cluster's name.
    pub cluster: Option<Arc<str>>,
    /// The endpoint.
    pub endpoint: Option<Arc<str>>,
    /// How it ended: the `reason` label.
    pub reason: &'static str,
}

impl Record {
    /// A flow that begins. Until somebody knows better, it ended because the gateway stopped.
    #[must_use]
    pub const fn new(started_at: SystemTime, started: Instant) -> Self {
        const NOTHING: Moved = Moved {
            datagrams: 0,
            bytes: 0,
        };
        Self {
            started_at,
            started,
            duration: Duration::ZERO,
            up: NOTHING,
            down: NOTHING,
            server_name: None,
            cluster: None,
            endpoint: None,
            reason: "stopped",
        }
    }
}
