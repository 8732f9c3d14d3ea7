//! What TCP filters see: a connection as one request, its bytes as data, and the record of its life.
//!
//! TCP has no messages of its own, so a connection is the request and there is no response. Start at [`TcpMessages`].

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use portcullis_filter::{Context, Fact, Facts, Messages};

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
            // Common, but here a name may have been read without TLS being ended.
            "tls.sni" => Some(Box::new(|connection, cx, key| {
                match asked_for(connection.server_name.as_ref(), cx) {
                    Some(name) => key.write(name.as_bytes()),
                    None => key.absent(),
                }
            })),
            _ => None,
        }
    }
}

/// The server name that a client asked for: one that was read on the way, else that of a handshake that ended here.
pub(crate) fn asked_for<'a>(read: Option<&'a Arc<str>>, cx: &'a Context) -> Option<&'a str> {
    match (read, &cx.connection.tls) {
        (Some(name), _) => Some(name),
        (None, Some(tls)) => tls.server_name.as_deref(),
        (None, None) => None,
    }
}

/// A connection that asks to be proxied. Its other facts are in the filter context.
#[derive(Debug, Clone, Default)]
pub struct TcpConnection {
    /// The server name in the client's first TLS message, where a rule had it read.
    pub server_name: Option<Arc<str>>,
}

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
    /// The server name in the client's first TLS message, where a rule had it read.
    pub server_name: Option<Arc<str>>,
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
            server_name: None,
            cluster: None,
            endpoint: None,
            attempts: 0,
            established: false,
            reason: "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use portcullis_filter::facts::Descriptor;
    use portcullis_filter::{Connection, TlsInfo};
    use portcullis_limit::Seed;

    use super::*;

    #[allow(clippy::disallowed_methods)] // any instant will do
    fn context(ended: Option<&str>) -> Context {
        let now = Instant::now();
        let tls = ended.map(|name| TlsInfo {
            server_name: Some(name.into()),
            alpn: None,
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            resumed: false,
            client: None,
            local_certificate: None,
        });
        let connection = Connection {
            listener: "tcp".into(),
            peer: None,
            local: None,
            client: None,
            secure: tls.is_some(),
            tls: tls.map(Arc::new),
            accepted_at: now,
            id: 1,
        };
        Context::new(Rc::new(connection), now)
    }

    #[test]
    fn the_server_name_is_the_one_that_was_read_or_that_of_the_handshake() {
        let descriptor = Descriptor::<TcpMessages>::new(["tls.sni"], Seed::fixed(1)).unwrap();
        let key = |read: Option<&str>, ended| {
            let request = TcpConnection {
                server_name: read.map(Arc::from),
            };
            descriptor.key(&request, &context(ended)).unwrap()
        };
        let named = key(Some("a.example"), None);
        assert_eq!(named, key(None, Some("a.example")));
        assert_ne!(named, key(Some("b.example"), None));
        assert_ne!(named, key(None, None));
    }
}
