//! The clients and the server connections of a listener, one by one.
//!
//! Numbers are for the moment, and each is taken for itself: a client may have got its connection between the two lists. Start at
//! [`clients`].

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::cancel::Seen;
use super::super::pools::PoolHandle;
use super::super::server::Common;
use crate::console::{ClientRow, ServerRow, Timestamp};

/// `SHOW CLIENTS`: who is logged in, the console's own clients too.
pub(super) fn clients(common: &Common) -> Vec<ClientRow> {
    let mut all = common.cancel.clients();
    all.sort_by_cached_key(|seen| {
        let who = &seen.who;
        (Arc::clone(&who.database), Arc::clone(&who.user), who.id)
    });
    all.iter().map(client).collect()
}

fn client(seen: &Seen) -> ClientRow {
    let who = &seen.who;
    let waits = seen.waits;
    let (address, port) = place(who.address);
    let (local_address, local_port) = place(who.local);
    let tls = who.tls.as_ref();
    ClientRow {
        kind: "C",
        user: Arc::clone(&who.user),
        database: Arc::clone(&who.database),
        state: match (&seen.server, waits) {
            (Some(_), _) => "active",
            (None, Some(_)) => "waiting",
            (None, None) => "idle",
        },
        address,
        port,
        local_address,
        local_port,
        connected: Timestamp(who.connected),
        requested: Timestamp(seen.asked.unwrap_or(who.connected)),
        wait: waits.unwrap_or_default().as_secs(),
        wait_us: waits.unwrap_or_default().subsec_micros().into(),
        id: number(who.id),
        link: seen
            .server
            .as_ref()
            .map_or_else(String::new, |server| number(server.id)),
        tls: tls.map_or_else(String::new, |tls| format!("{}/{}", tls.version, tls.cipher)),
        application: Arc::clone(&who.application),
        prepared_statements: seen.prepared,
        ..ClientRow::default()
    }
}

/// `SHOW SERVERS`: the connections of all pools, and those that replicating clients have.
pub(super) fn servers(common: &Common) -> Vec<ServerRow> {
    let clients = common.cancel.clients();
    let with_server = clients
        .iter()
        .filter_map(|seen| Some((seen.server.as_ref()?.id, seen)));
    let by_server: HashMap<u64, &Seen> = with_server.collect();
    let mut all: Vec<_> = common
        .pools
        .all()
        .iter()
        .flat_map(PoolHandle::servers)
        .collect();
    let pooled: HashSet<u64> = all.iter().map(|server| server.id).collect();
    let attached = clients.iter().filter_map(|seen| seen.server.as_ref());
    all.extend(
        attached
            .filter(|server| !pooled.contains(&server.id))
            .map(Arc::clone),
    );
    all.sort_by_cached_key(|server| {
        let names = (Arc::clone(&server.database), Arc::clone(&server.user));
        (names, server.opened, server.id)
    });
    let row = |server: &Arc<super::super::cancel::Server>| {
        let client = by_server.get(&server.id);
        let (address, port) = place(server.address);
        let (local_address, local_port) = place(server.local);
        ServerRow {
            kind: "S",
            user: Arc::clone(&server.user),
            database: Arc::clone(&server.database),
            state: if client.is_some() { "active" } else { "idle" },
            address,
            port,
            local_address,
            local_port,
            connected: Timestamp(server.opened),
            requested: Timestamp(client.and_then(|seen| seen.asked).unwrap_or(server.opened)),
            id: number(server.id),
            link: client.map_or_else(String::new, |seen| number(seen.who.id)),
            remote_pid: u64::try_from(server.process).unwrap_or_default(),
            application: client.map_or_else(Arc::default, |seen| Arc::clone(&seen.who.application)),
            prepared_statements: server.prepared.number(),
            ..ServerRow::default()
        }
    };
    all.iter().map(row).collect()
}

/// What something is known by: PgBouncer shows a pointer here, and so it looks.
fn number(id: u64) -> String {
    format!("{id:#x}")
}

fn place(address: Option<SocketAddr>) -> (String, u32) {
    address.map_or_else(
        || ("unix".to_owned(), 0),
        |address| (address.ip().to_string(), address.port().into()),
    )
}
