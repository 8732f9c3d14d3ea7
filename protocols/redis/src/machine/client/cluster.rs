//! The cluster that a client sees where all its commands go to a Redis Cluster: one node with all slots, the gateway.
//!
//! So that clients that ask for nodes work through the gateway, which finds the real ones itself. Nothing of those is shown, and
//! what would change a cluster is not here: see [`crate::command::handling`]. Start at [`Client::cluster`].

use std::fmt::Write as _;
use std::net::SocketAddr;

use aws_lc_rs::digest;
use bytes::BytesMut;

use super::Client;
use crate::command::CommandId;
use crate::encoder;
use crate::hash;
use crate::machine::upstreams::Call;
use crate::message::RespVersion;

/// The last of a cluster's slots.
const LAST_SLOT: u16 = 16_383;

/// Bytes of a node's id, which are written in hexadecimal digits.
const ID: usize = 20;

/// Where the client is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    /// The gateway's end of the connection.
    pub address: SocketAddr,
    /// It is encrypted.
    pub is_secure: bool,
}

/// The id of the node that a listener is to its clients: 40 hexadecimal digits, the same for all workers, over reloads and restarts.
#[must_use]
pub fn node_id(listener: &str) -> Box<str> {
    let hash = digest::digest(&digest::SHA256, listener.as_bytes());
    let mut id = String::new();
    for byte in hash.as_ref().iter().take(ID) {
        // Writing to a string does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    id.into()
}

impl<T> Client<T> {
    /// Says where the client is connected to: what it is told where it asks for the nodes of a cluster. Without it, as over a Unix
    /// socket, it is told no host, which clients take for the one that they asked.
    pub fn set_here(&mut self, here: Here) {
        if self.policy.is_cluster {
            self.here = Some(Box::new(here));
        }
    }

    /// Answers `CLUSTER KEYSLOT`, and what is asked of the cluster where there is one.
    pub(super) fn cluster(&mut self, call: Call<'_>, of: T) {
        if call.id == CommandId::CLUSTER_KEYSLOT {
            let slot = i64::from(hash::slot(call.command.argument(2).unwrap_or_default()));
            return self.answer(of, |_, reply| encoder::integer(slot, reply));
        }
        if !self.policy.is_cluster {
            let text = b"ERR This instance has cluster support disabled";
            return self.refuse(text, of);
        }
        let node = Node::new(&self.policy.node, self.here.as_deref());
        self.answer(of, |version, reply| match call.id {
            CommandId::CLUSTER_SLOTS => node.slots(reply),
            CommandId::CLUSTER_SHARDS => node.shards(version, reply),
            CommandId::CLUSTER_MYID => encoder::bulk(node.id.as_bytes(), reply),
            CommandId::CLUSTER_INFO => {
                encoder::verbatim(*b"txt", INFO.as_bytes(), version, reply);
            }
            _ => encoder::verbatim(*b"txt", node.line().as_bytes(), version, reply),
        });
    }
}

/// `CLUSTER INFO` of one node that has all slots.
const INFO: &str = "cluster_enabled:1\r\n\
                    cluster_state:ok\r\n\
                    cluster_slots_assigned:16384\r\n\
                    cluster_slots_ok:16384\r\n\
                    cluster_slots_pfail:0\r\n\
                    cluster_slots_fail:0\r\n\
                    cluster_known_nodes:1\r\n\
                    cluster_size:1\r\n\
                    cluster_current_epoch:1\r\n\
                    cluster_my_epoch:1\r\n\
                    cluster_stats_messages_sent:0\r\n\
                    cluster_stats_messages_received:0\r\n\
                    total_cluster_links_buffer_limit_exceeded:0\r\n";

/// The one node.
struct Node {
    id: Box<str>,
    host: String,
    port: u16,
    is_secure: bool,
}

impl Node {
    fn new(id: &str, here: Option<&Here>) -> Self {
        Self {
            id: id.into(),
            host: here.map_or_else(String::new, |here| here.address.ip().to_string()),
            port: here.map_or(0, |here| here.address.port()),
            is_secure: here.is_some_and(|here| here.is_secure),
        }
    }

    /// The reply to `CLUSTER SLOTS`: one range, and who has it.
    fn slots(&self, reply: &mut BytesMut) {
        encoder::array(1, reply);
        encoder::array(3, reply);
        encoder::integer(0, reply);
        encoder::integer(LAST_SLOT.into(), reply);
        encoder::array(4, reply);
        encoder::bulk(self.host.as_bytes(), reply);
        encoder::integer(self.port.into(), reply);
        encoder::bulk(self.id.as_bytes(), reply);
        encoder::array(0, reply);
    }

    /// The reply to `CLUSTER SHARDS`.
    fn shards(&self, version: RespVersion, reply: &mut BytesMut) {
        let text = |text: &str, reply: &mut BytesMut| encoder::bulk(text.as_bytes(), reply);
        encoder::array(1, reply);
        encoder::map(2, version, reply);
        text("slots", reply);
        encoder::array(2, reply);
        encoder::integer(0, reply);
        encoder::integer(LAST_SLOT.into(), reply);
        text("nodes", reply);
        encoder::array(1, reply);
        encoder::map(7, version, reply);
        text("id", reply);
        text(&self.id, reply);
        text(if self.is_secure { "tls-port" } else { "port" }, reply);
        encoder::integer(self.port.into(), reply);
        for (name, value) in [
            ("ip", &*self.host),
            ("endpoint", &self.host),
            ("role", "master"),
        ] {
            text(name, reply);
            text(value, reply);
        }
        text("replication-offset", reply);
        encoder::integer(0, reply);
        text("health", reply);
        text("online", reply);
    }

    /// The line of `CLUSTER NODES`. The gateway has no cluster bus, whose port is behind the `@`.
    fn line(&self) -> String {
        let Self { id, host, port, .. } = self;
        format!("{id} {host}:{port}@0 myself,master - 0 0 1 connected 0-{LAST_SLOT}\n")
    }
}
