//! What TCP filters see: a connection as one request, its bytes as data, and the record of its life.
//!
//! TCP has no messages of its own, so a connection is the request and there is no response. Start at [`TcpMessages`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portcullis_filter::{Fact, Facts, Messages};

/// The messages of TCP.
#[derive(Debug, Clone, Copy)]
pub struct TcpMessages;

impl Messages for TcpMessages {
    type Request = TcpConnection;
    type Response = ();
    type Data = Bytes;
    type Record = Record;
}

impl Facts for TcpMessages {
    const FACTS: &'static [&'static str] = &["tcp.local_port"];

    fn fact(name: &str) -> Option<Fact<Self>> {
        match name {
            "tcp.local_port" => Some(Box::new(|_, cx, key| match cx.connection.local {
                Some(address) => key.write(&address.port().to_be_bytes()),
                None => key.absent(),
            })),
            _ => None,
        }
    }
}

/// A connection that asks to be proxied. Its facts are in the filter context.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnection;

/// What is known about a connection when it is over. Access logs are written from it.
#[derive(Debug, Clone)]
pub struct Record {
    /// Wall-clock time at which it was accepted.
    pub started_at: SystemTime,
    /// The same by the monotonic clock.
    pub started: Instant,
    /// From accept to close.
    pub duration: Duration,
    /// Bytes from downstream to upstream.
    pub bytes_up: u64,
    /// Bytes from upstream to downstream.
    pub bytes_down: u64,
    /// The cluster's name, once one was chosen.
    pub cluster: Option<Arc<str>>,
    /// The endpoint that was connected, or tried last.
    pub endpoint: Option<Arc<str>>,
    /// How many endpoints were tried.
    pub attempts: u32,
    /// Whether an endpoint was connected.
    pub established: bool,
    /// How it ended: `closed`, or the `reason` label of what ended it.
    pub reason: &'static str,
}

impl Record {
    /// A connection that was just accepted. Until somebody knows better, it ended because the gateway stopped.
    #[must_use]
    pub const fn new(started_at: SystemTime, started: Instant) -> Self {
        Self {
            started_at,
            started,
            duration: Duration::ZERO,
            bytes_up: 0,
            bytes_down: 0,
            cluster: None,
            endpoint: None,
            attempts: 0,
            established: false,
            reason: "stopped",
        }
    }
}
