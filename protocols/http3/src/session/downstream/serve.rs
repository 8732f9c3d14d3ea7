//! The beginning and the end of one connection: a handshake, streams, last words.
//!
//! One task holds the connection and all of its streams, so whatever ends the session ends them. What becomes of it in between is
//! [`Life`]'s to say. Start at [`serve`].

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h3::error::Code;
use portcullis_filter::{Connection as Facts, TlsInfo};
use portcullis_net::accept::ListenerStats;
use portcullis_net::limits::ConnectionPermits;
use portcullis_net::tls::server::Begun;
use portcullis_net::tls::{TlsRefusal, identify};
use portcullis_net::{ConnectionId, DrainSignal, Timer, clock};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connecting, ConnectionError, TransportErrorCode, ZeroRttAccepted};
use rustls::pki_types::CertificateDer;

use super::Session;
use super::client::Client;
use super::life::{Life, Turn};
use super::request::serve_stream;
use super::wire::{Served, Wire};
use crate::config::Http3Config;
use crate::guard::Guard;

/// What is known of a connection that may begin.
pub(super) struct Beginning {
    pub(super) session: Rc<Session>,
    pub(super) settings: Rc<Http3Config>,
    /// Where the first datagram came from.
    pub(super) from: SocketAddr,
    /// The client has shown that it receives there. The handshake shows it in any case.
    pub(super) is_shown: bool,
    pub(super) accepted: Instant,
    /// Where the listener is bound.
    pub(super) bound: SocketAddr,
    pub(super) listener: Rc<ListenerStats>,
    pub(super) stop: DrainSignal,
    pub(super) _permits: ConnectionPermits,
}

/// Serves one connection until it ends.
pub(super) async fn serve(beginning: Beginning, connecting: Connecting, begun: Begun) {
    // Rules about addresses must not see one that may be false, so early requests are for those who have shown theirs.
    let is_early = beginning.settings.early_data && beginning.is_shown;
    let deadline = begun.deadline;
    let mut timer = Timer::new();
    let connected = tokio::select! {
        biased;
        connected = connect(connecting, begun, is_early) => connected,
        () = timer.expired(deadline) => {
            return beginning.listener.on_refused(TlsRefusal::Timeout.label());
        }
    };
    match connected {
        Ok((quic, unproven)) => beginning.carry_on(quic, unproven, timer).await,
        Err(error) => beginning.listener.on_refused(refusal(&error).label()),
    }
}

/// Carries out the handshake, or as much of it as is needed to look at early requests.
async fn connect(
    mut connecting: Connecting,
    begun: Begun,
    is_early: bool,
) -> Result<(quinn::Connection, Option<Unproven>), ConnectionError> {
    if is_early {
        // The hello may come in several datagrams.
        connecting.handshake_data().await?;
        match connecting.into_0rtt() {
            Ok((quic, accepted)) => {
                let timer = Timer::new();
                let unproven = Unproven {
                    accepted,
                    begun,
                    timer,
                };
                return Ok((quic, Some(unproven)));
            }
            Err(rest) => connecting = rest,
        }
    }
    Ok((connecting.await?, None))
}

/// A handshake that is not over, while requests come already.
struct Unproven {
    accepted: ZeroRttAccepted,
    begun: Begun,
    timer: Timer,
}

/// How it went on.
enum Proof {
    Given,
    Late,
}

impl Unproven {
    fn poll_proof(&mut self, task: &mut Context<'_>) -> Poll<Proof> {
        if Pin::new(&mut self.accepted).poll(task).is_ready() {
            return Poll::Ready(Proof::Given);
        }
        let late = self.timer.poll_expired(task, self.begun.deadline);
        late.map(|()| Proof::Late)
    }
}

impl Beginning {
    /// The connection is there.
    async fn carry_on(self, quic: quinn::Connection, unproven: Option<Unproven>, timer: Timer) {
        let session = &self.session;
        let _open = self.listener.admit();
        let _active = session.stats.connections_active.guard();
        session.connections.inc();
        let guard = Guard::new(&self.settings.guard, clock::now());
        let served = Served(Wire::new(quic, guard));
        let wire = &served.0;
        let facts = self.facts(wire.quic(), ConnectionId::next().0);
        let client = Rc::new(Client::new(session, &self.settings, wire, self.from, facts));
        if unproven.is_none() {
            self.on_proven(&client);
        }
        let life = Life::open(&client, &self.stop, timer, self.accepted).await;
        if let Some(life) = life {
            self.converse(&client, life, unproven).await;
        }
    }

    /// Serves streams until the connection ends, then lets those that are left come to their end.
    async fn converse(&self, client: &Rc<Client>, mut life: Life, mut unproven: Option<Unproven>) {
        let mut streams = FuturesUnordered::new();
        loop {
            let turn = poll_fn(|task| {
                self.look_for_proof(client, &mut unproven, task);
                while let Poll::Ready(Some(())) = Pin::new(&mut streams).poll_next(task) {
                    life.on_stream_ended();
                }
                life.poll_turn(task, streams.is_empty())
            });
            match turn.await {
                Turn::Stream(resolver, halves) => {
                    streams.push(serve_stream(Rc::clone(client), resolver, halves));
                }
                Turn::Over => break,
            }
        }
        // Tells the streams that are left that nobody is there any more.
        drop(life);
        while streams.next().await.is_some() {}
    }

    fn look_for_proof(
        &self,
        client: &Client,
        unproven: &mut Option<Unproven>,
        task: &mut Context<'_>,
    ) {
        let Some(waits) = unproven else { return };
        match waits.poll_proof(task) {
            Poll::Pending => return,
            // What ended the connection instead is told elsewhere.
            Poll::Ready(Proof::Given) => self.on_proven(client),
            Poll::Ready(Proof::Late) => {
                self.listener.on_refused(TlsRefusal::Timeout.label());
                client.wire.close(Code::H3_NO_ERROR);
            }
        }
        *unproven = None;
    }

    fn on_proven(&self, client: &Client) {
        let quic = client.wire.quic();
        self.session.stats.handshakes.inc();
        client.on_proven(self.facts(quic, client.facts().id));
    }

    /// What filters may know.
    fn facts(&self, quic: &quinn::Connection, id: u64) -> Facts {
        let peer = super::canonical(self.from);
        let local = quic.local_ip().unwrap_or_else(|| self.bound.ip());
        Facts {
            listener: Arc::clone(&self.session.listener),
            peer: Some(peer),
            local: Some(super::canonical(SocketAddr::new(local, self.bound.port()))),
            client: Some(peer),
            secure: true,
            tls: Some(Arc::new(tls_info(quic))),
            accepted_at: self.accepted,
            id,
        }
    }
}

/// What the handshake said, as far as quinn tells.
fn tls_info(quic: &quinn::Connection) -> TlsInfo {
    let data = quic.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let chain = quic.peer_identity();
    let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    TlsInfo {
        server_name: data
            .as_ref()
            .and_then(|data| data.server_name.as_ref())
            .map(|name| name.to_ascii_lowercase().into()),
        alpn: data.and_then(|data| data.protocol).map(Into::into),
        version: "TLSv1.3",
        cipher: "unknown",
        resumed: false,
        client: chain
            .as_ref()
            .and_then(|chain| chain.first())
            .and_then(|leaf| identify(leaf)),
        local_certificate: None,
    }
}

/// Why a handshake has failed.
pub(super) fn refusal(error: &ConnectionError) -> TlsRefusal {
    match error {
        ConnectionError::TransportError(error) => alert(error.code, TlsRefusal::Protocol),
        ConnectionError::ConnectionClosed(_) => TlsRefusal::Alert,
        ConnectionError::VersionMismatch => TlsRefusal::Incompatible,
        ConnectionError::TimedOut => TlsRefusal::Timeout,
        ConnectionError::CidsExhausted => TlsRefusal::Internal,
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed => TlsRefusal::Closed,
    }
}

/// What an alert of ours says (RFC 8446 section 6, RFC 9001 section 4.8).
fn alert(code: TransportErrorCode, other: TlsRefusal) -> TlsRefusal {
    match u64::from(code).checked_sub(CRYPTO_ERROR) {
        Some(40 | 70 | 71 | 109) => TlsRefusal::Incompatible,
        Some(42..=46 | 48 | 116) => TlsRefusal::ClientCertificate,
        Some(80) => TlsRefusal::Internal,
        Some(120) => TlsRefusal::NoAlpn,
        _ => other,
    }
}

/// Alerts are counted from here.
const CRYPTO_ERROR: u64 = 0x100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_reasons() {
        let rows = [
            (120, TlsRefusal::NoAlpn),
            (116, TlsRefusal::ClientCertificate),
            (48, TlsRefusal::ClientCertificate),
            (40, TlsRefusal::Incompatible),
            (50, TlsRefusal::Protocol),
        ];
        for (code, expected) in rows {
            let code = TransportErrorCode::crypto(code);
            assert_eq!(alert(code, TlsRefusal::Protocol), expected, "{code:?}");
        }
        let other = alert(TransportErrorCode::FLOW_CONTROL_ERROR, TlsRefusal::Protocol);
        assert_eq!(other, TlsRefusal::Protocol);
    }
}
