//! What the HTTP tests share: a gateway with one HTTP listener, and a neighbour on it who must notice nothing.
//!
//! The neighbour is a client of the same listener with a route, a cluster and an origin of its own. It is asked
//! before and after whatever a test does: on the connection that it keeps, and on a fresh one. Start at [`Site`].

use std::cell::RefCell;
use std::fmt::{Display, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;

use harness::{Client, Connection, Gateway, Origin, RawResponse, Reply, Versions};
use socket2::{Domain, Socket, Type};

/// The host that leads to the neighbour's origin.
const BESIDE: &str = "neighbour.test";

/// The counter of what the gateway answered or ended itself.
pub(crate) const LOCAL_REPLIES: &str = "portcullis_http_local_replies_total";

/// A configuration in the making: the listener `web`, the cluster `site`, and whatever a test adds.
#[derive(Default)]
pub(crate) struct Site {
    listener: String,
    routes: String,
    endpoints: Vec<String>,
    cluster: String,
    rest: String,
    top: String,
}

impl Site {
    /// The cluster `site` has this endpoint.
    pub(crate) fn new(origin: &Origin) -> Self {
        Self::default().endpoint(origin.address())
    }

    /// The cluster `site` has this endpoint too.
    pub(crate) fn endpoint(mut self, address: impl Display) -> Self {
        self.endpoints.push(address.to_string());
        self
    }

    /// More keys of the listener.
    pub(crate) fn listener(mut self, keys: &str) -> Self {
        push(&mut self.listener, keys, 4);
        self
    }

    /// Routes of the listener, as items of the list. Without any, everything goes to `site`.
    pub(crate) fn routes(mut self, items: &str) -> Self {
        push(&mut self.routes, items, 6);
        self
    }

    /// More keys of the cluster `site`.
    pub(crate) fn cluster(mut self, keys: &str) -> Self {
        push(&mut self.cluster, keys, 4);
        self
    }

    /// More clusters.
    pub(crate) fn clusters(mut self, entries: &str) -> Self {
        push(&mut self.rest, entries, 2);
        self
    }

    /// More keys of the document.
    pub(crate) fn top(mut self, keys: &str) -> Self {
        push(&mut self.top, keys, 0);
        self
    }

    /// The document, with the neighbour at this address.
    pub(crate) fn yaml(&self, beside: &Origin) -> String {
        let routes = if self.routes.is_empty() {
            "      - cluster: site\n"
        } else {
            &self.routes
        };
        let versions = Versions::chosen();
        let keys = versions.cluster_keys().join("\n    ");
        let tls = versions.listener_keys().join("\n    ");
        format!(
            "listeners:\n  web:\n    listen: 127.0.0.1:0\n    protocol: http\n    {tls}\n{}    routes:\n      \
             - match: {{ host: {BESIDE} }}\n        cluster: beside\n{routes}\
             drain: {{ timeout: 2m, spread: 1ms }}\nclusters:\n  beside:\n    endpoints: [\"{}\"]\n    {keys}\n  site:\n    endpoints: [{}]\n    {keys}\n{}{}{}",
            self.listener,
            beside.address(),
            self.endpoints.join(", "),
            self.cluster,
            self.rest,
            self.top,
        )
    }

    /// Starts it. The neighbour is connected and has had its first answer.
    #[track_caller]
    pub(crate) fn start(&self) -> Running {
        let beside = Origin::http(|_| Reply::ok("well"));
        let gateway = Gateway::start(&self.yaml(&beside));
        let neighbour = RefCell::new(gateway.connect("web"));
        let running = Running {
            gateway,
            neighbour,
            beside,
        };
        running.neighbour_is_well();
        running
    }
}

/// Appends lines, each indented.
fn push(text: &mut String, lines: &str, indent: usize) {
    for line in lines.trim_matches('\n').lines() {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
}

/// A running [`Site`].
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    neighbour: RefCell<Client>,
    pub(crate) beside: Origin,
}

impl Deref for Running {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl Running {
    /// A client of the listener `web`.
    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        self.gateway.connect("web")
    }

    /// Asserts that the neighbour is served on the connection that it has had all the time, and on a fresh one.
    #[track_caller]
    pub(crate) fn neighbour_is_well(&self) {
        let mut kept = self.neighbour.borrow_mut();
        for client in [&mut *kept, &mut self.client()] {
            let response = client.get("/well", BESIDE);
            assert_eq!((response.status, response.text().as_str()), (200, "well"));
        }
    }

    /// How many requests the gateway answered or ended itself for this reason.
    #[track_caller]
    pub(crate) fn local_replies(&self, reason: &str) -> u64 {
        self.stats().counter(LOCAL_REPLIES, &labels(reason))
    }

    /// Waits until so many requests were answered or ended here for this reason.
    #[track_caller]
    pub(crate) fn wait_local_replies(&self, reason: &str, count: u64) {
        self.wait_stat(LOCAL_REPLIES, &labels(reason), |value| value == count);
    }

    /// Sends bytes that must be refused: the answer, the end of the connection, the counter.
    #[track_caller]
    pub(crate) fn refuses(&self, row: &Row<'_>) {
        let before = self.local_replies(row.reason);
        let mut client = self.client();
        client.send(row.bytes);
        let response = client.read_response();
        assert_local(row.name, &response, row.status, row.reason);
        assert_eq!(response.header("connection"), Some("close"), "{}", row.name);
        let (rest, _) = client.read_to_end();
        assert!(
            rest.is_empty(),
            "{}: {:?}",
            row.name,
            String::from_utf8_lossy(&rest)
        );
        self.wait_local_replies(row.reason, before + 1);
    }
}

fn labels(reason: &str) -> [(&str, &str); 2] {
    [("listener", "web"), ("reason", reason)]
}

/// Bytes that must be refused, and how.
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) status: u16,
    pub(crate) reason: &'a str,
}

/// One row.
pub(crate) fn row<'a>(
    name: &'a str,
    bytes: &'a (impl AsRef<[u8]> + ?Sized),
    status: u16,
    reason: &'a str,
) -> Row<'a> {
    Row {
        name,
        bytes: bytes.as_ref(),
        status,
        reason,
    }
}

/// Asserts that a response was made by the gateway, for this reason.
#[track_caller]
pub(crate) fn assert_local(name: &str, response: &RawResponse, status: u16, reason: &str) {
    assert_eq!(
        (response.status, response.header("x-portcullis-reason")),
        (status, Some(reason)),
        "{name}: {}{}",
        String::from_utf8_lossy(&response.head),
        response.text()
    );
}

/// A host that does not answer: a listener whose queue is full drops what comes.
pub(crate) struct BlackHole {
    address: SocketAddr,
    _full: (Socket, Connection),
}

impl BlackHole {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let queued = Connection::connect(address).unwrap();
        Self {
            address,
            _full: (socket, queued),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A checksum of bytes, so that a failure does not print megabytes (FNV-1a).
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// So many bytes that repeat late and differ everywhere.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
