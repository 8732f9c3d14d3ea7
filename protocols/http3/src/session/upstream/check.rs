//! One health check of one endpoint: a connection of its own and a request on it.
//!
//! No timing and no judgement of what a status means. Start at [`check`].

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, StatusCode};
use portcullis_cluster::{ClusterShared, Endpoint};
use portcullis_http::stream::ConnectFailure;

use super::super::quic::{Bidi, Message};
use super::dial::{self, NO_ERROR};
use super::driver::{self, Connection};
use super::link::{Base, Exchange};

/// Why there is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckFailed {
    /// No connection could be made.
    #[error("no connection: {0}")]
    Connect(#[from] ConnectFailure),
    /// It was made, and no response came.
    #[error("no response")]
    Response,
}

/// Asks an endpoint over a connection of its own, which is closed then. With no other limit on time than the cluster's for
/// connecting. The URI must have an authority.
///
/// # Errors
/// No response came.
pub async fn check(
    cluster: &Arc<ClusterShared>,
    endpoint: &Endpoint,
    request: Request<()>,
) -> Result<StatusCode, CheckFailed> {
    let config = cluster.config();
    let dialled = dial::dial(&**cluster, endpoint, &config.http).await?;
    let (connection, base) = driver::begin(dialled).await?;
    let quic = base.connection.clone();
    let asked = ask(connection, base, request).await;
    quic.close(NO_ERROR, b"");
    asked.ok_or(CheckFailed::Response)
}

async fn ask(
    mut connection: Connection,
    mut base: Base,
    request: Request<()>,
) -> Option<StatusCode> {
    let (send, receive) = base.connection.open_bi().await.ok()?;
    let message = Message::new(send, receive, super::role());
    base.signals.offer(Bidi::new(&message));
    let mut exchange = base.requests.send_request(request).await.ok()?;
    exchange.finish().await.ok()?;
    poll_fn(|task| {
        if connection.poll_close(task).is_ready() {
            return Poll::Ready(None);
        }
        poll_status(&mut exchange, &message, task)
    })
    .await
}

/// The status of the final head.
fn poll_status(
    exchange: &mut Exchange,
    message: &Message,
    task: &mut Context<'_>,
) -> Poll<Option<StatusCode>> {
    if let Poll::Ready(Err(_)) = message.poll_flush(task) {
        return Poll::Ready(None);
    }
    loop {
        let Ok(response) = ready!(pin!(exchange.recv_response()).poll(task)) else {
            return Poll::Ready(None);
        };
        let status = response.status();
        message.on_head(status.is_informational());
        if !status.is_informational() {
            return Poll::Ready(Some(status));
        }
    }
}
