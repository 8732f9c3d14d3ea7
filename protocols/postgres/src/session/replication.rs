//! Replication: a client of this kind has a server connection of its own, opened with what it asked for and closed behind it.
//!
//! The walsender's protocol goes both ways at once and its commands are no SQL, so bytes pass unopened; who may open it was
//! decided as for everybody. Start at [`run`].

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context as Task, Poll};

use bytes::{Buf as _, BytesMut};
use portcullis_cluster::PickContext;
use portcullis_net::{Downstream, Stream, Timer, clock};

use super::cancel::Who;
use super::connection::ServerConnection;
use super::open::{self, OpenError};
use super::route::Way;
use super::server::PostgresServer;
use super::welcome::fatal;
use crate::encoder;
use crate::machine::relay::Router as _;
use crate::machine::{Opening, Replication, unknown_demand};
use crate::message::backend::TransactionStatus;
use crate::sqlstate::SqlState;

/// Serves a client that replicates.
pub(super) async fn run(
    server: &Rc<PostgresServer>,
    downstream: Downstream,
    opening: &Opening,
    way: Option<Way>,
    mut timer: Timer,
) {
    let who = Who::of(&downstream, opening);
    let Downstream {
        stream,
        prefix,
        guard,
        ..
    } = downstream;
    let Some(way) = way else { return };
    let connection = match open_dedicated(server, opening, &way).await {
        Ok(connection) => connection,
        Err(message) => {
            server.stats.on_rejected("replication_unavailable");
            return super::goodbye(stream, &message, &mut timer).await;
        }
    };
    let _active = server.stats.begin_client();
    let long = connection.server.key.len() > 4;
    let keys = &server.common.cancel;
    let cancel = keys.register(
        Some(connection.server.process),
        long,
        who,
        &mut super::secret,
    );
    cancel.on_attach(&connection.server, clock::now());
    let mut output = BytesMut::new();
    for (name, value) in connection.parameters.iter() {
        encoder::parameter_status(name, value, &mut output);
    }
    let (process, secret) = cancel.key();
    encoder::backend_key_data(process, secret, &mut output);
    encoder::ready_for_query(TransactionStatus::Idle, &mut output);
    let mut ends = [
        End {
            stream,
            pending: prefix,
            ended: false,
        },
        End {
            stream: connection.stream,
            pending: output,
            ended: false,
        },
    ];
    let mut draining = server.drain.listen();
    poll_fn(|task| {
        if draining.poll_draining(task).is_ready() {
            return Poll::Ready(());
        }
        poll_both(task, &mut ends)
    })
    .await;
    server.stats.on_ended("closed");
    drop(guard);
}

/// A server connection with this client's own start-up.
async fn open_dedicated(
    server: &Rc<PostgresServer>,
    opening: &Opening,
    way: &Way,
) -> Result<ServerConnection, bytes::Bytes> {
    let target = way.target(unknown_demand());
    let unavailable = || {
        encoder::fatal_message(
            SqlState::CANNOT_CONNECT_NOW,
            "no server is available for replication",
        )
    };
    let cluster = way.cluster(target).ok_or_else(unavailable)?;
    let now = clock::now();
    let choice = way.choice(target, &[], now);
    let accept = |endpoint: &portcullis_cluster::Endpoint| choice.accepts(endpoint);
    let cx = PickContext {
        now,
        random: server.random.next(),
        hash: None,
        tried: &[],
        accept: Some(&accept),
    };
    let picked = cluster.pick(&cx).map_err(|_| unavailable())?;
    let mut parameters: Vec<(&[u8], &[u8])> = vec![(
        b"replication",
        match opening.replication {
            Replication::Logical => b"database",
            _ => b"true",
        },
    )];
    let settings = opening.shape.texts();
    parameters.extend(settings);
    let opened = open::open(open::Request {
        cluster: cluster.shared(),
        endpoint: picked.endpoint().endpoint(),
        database: way.database(target),
        credentials: &way.credentials,
        options: server.open_options(),
        parameters: &parameters,
        worker: server.worker,
    })
    .await;
    opened.map_err(|OpenError { said, .. }| said.map_or_else(unavailable, |error| fatal(&error)))
}

/// One side, with what it has sent and the other has not taken.
struct End {
    stream: Stream,
    /// From the client in the first, for it in the second.
    pending: BytesMut,
    ended: bool,
}

/// How much is read before it is written.
const PIECE: usize = 64 * 1024;

/// Moves bytes both ways until one side has ended and the other has all of it.
fn poll_both(task: &mut Task<'_>, ends: &mut [End; 2]) -> Poll<()> {
    let [client, server] = ends;
    loop {
        let up = poll_move(task, client, &mut server.stream);
        let down = poll_move(task, server, &mut client.stream);
        match (up, down) {
            (Moved::Over, _) | (_, Moved::Over) => return Poll::Ready(()),
            (Moved::Nothing, Moved::Nothing) => return Poll::Pending,
            _ => {}
        }
    }
}

enum Moved {
    Some,
    Nothing,
    Over,
}

fn poll_move(task: &mut Task<'_>, from: &mut End, to: &mut Stream) -> Moved {
    let mut moved = Moved::Nothing;
    while !from.pending.is_empty() {
        match to.poll_write(task, &from.pending) {
            Poll::Ready(Ok(count @ 1..)) => {
                from.pending.advance(count.min(from.pending.len()));
                moved = Moved::Some;
            }
            Poll::Ready(_) => return Moved::Over,
            Poll::Pending => return moved,
        }
    }
    if from.ended {
        return Moved::Over;
    }
    match from
        .stream
        .poll_read_at_most(task, &mut from.pending, PIECE)
    {
        Poll::Ready(Ok(1..)) => Moved::Some,
        Poll::Ready(_) => {
            from.ended = true;
            Moved::Over
        }
        Poll::Pending => moved,
    }
}
