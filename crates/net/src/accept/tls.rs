//! TLS as a gate ends it, and as a session ends it in the gate's name.
//!
//! Both ways have the same bounds and the same counters. The handshake itself is [`crate::tls`]'s. Start at
//! [`TlsOffer`].

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use portcullis_filter::TlsInfo;

use super::ListenerStats;
use super::stats::TlsStats;
use crate::tls::server::ServerTls;
use crate::tls::{self, TlsRefusal};
use crate::{Downstream, Stream, clock};

/// Who begins TLS on the connections of a listener that has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsStart {
    /// The gate: the first byte is TLS, and the protocol sees the plain stream.
    #[default]
    AtOnce,
    /// The protocol, at a point of its own conversation: it gets a [`TlsOffer`] along with the plain stream.
    ByProtocol,
}

/// TLS of one gate.
pub(super) struct GateTls {
    shared: Arc<ServerTls>,
    listener: Rc<ListenerStats>,
    stats: TlsStats,
    start: TlsStart,
}

impl GateTls {
    pub(super) fn new(
        shared: Arc<ServerTls>,
        start: TlsStart,
        listener: &Rc<ListenerStats>,
    ) -> Self {
        Self {
            shared,
            stats: TlsStats::new(listener),
            listener: Rc::clone(listener),
            start,
        }
    }

    /// Ends TLS, so that the session sees the plain stream, or leaves that to the session.
    pub(super) async fn prepare(
        self: Rc<Self>,
        downstream: Downstream,
    ) -> Result<Downstream, TlsRefusal> {
        if self.start == TlsStart::ByProtocol {
            let offer = TlsOffer(self);
            return Ok(Downstream {
                starttls: Some(offer),
                ..downstream
            });
        }
        let client = downstream.client_ip();
        let Downstream { stream, prefix, .. } = downstream;
        let (stream, info) = self.accept(stream, prefix, client).await?;
        Ok(Downstream {
            stream,
            prefix: BytesMut::new(),
            tls: Some(info),
            ..downstream
        })
    }

    async fn accept(
        &self,
        stream: Stream,
        prefix: BytesMut,
        client: Option<IpAddr>,
    ) -> Result<(Stream, Arc<TlsInfo>), TlsRefusal> {
        let begun = self.shared.begin(client, clock::now())?;
        let _in_progress = self.stats.begin();
        let config = Arc::clone(&begun.config);
        let (stream, info) = match self.start {
            TlsStart::AtOnce => tls::accept(stream, prefix, config, begun.deadline).await?,
            TlsStart::ByProtocol => {
                tls::accept_and_remember(stream, prefix, &config, begun.deadline).await?
            }
        };
        self.stats.on_handshake(&info);
        Ok((stream.into(), Arc::new(info)))
    }
}

/// TLS that a session may begin, once, where its protocol has a place for it. It goes by the listener's `tls`: the
/// certificates in place when it begins, the deadline, and the bounds on handshakes. Dropping it goes on without.
pub struct TlsOffer(Rc<GateTls>);

impl TlsOffer {
    /// Carries out the handshake on a plain stream. `prefix` was read from it and belongs to the handshake: a ClientHello
    /// that came first. Where the client was told to begin it must be empty, or hold what came after the telling; bytes
    /// that came before are never to be taken for bytes of the encrypted conversation, and are not if they are put here.
    ///
    /// What was agreed on is in the answer, with the certificate that the client was shown. A client that offers
    /// application protocols and none of the listener's is refused; one that offers none is not, so a protocol that
    /// needs one looks at [`TlsInfo::alpn`].
    ///
    /// # Errors
    /// The connection must be closed, which happens by itself. It is counted among those that the listener refused, under
    /// [`TlsRefusal::label`], and the client was told why where TLS has a word for it.
    pub async fn accept(
        self,
        stream: Stream,
        prefix: BytesMut,
        client: Option<IpAddr>,
    ) -> Result<(Stream, Arc<TlsInfo>), TlsRefusal> {
        let accepted = if stream.is_encrypted() {
            Err(TlsRefusal::Internal)
        } else {
            self.0.accept(stream, prefix, client).await
        };
        accepted.inspect_err(|refusal| self.0.listener.on_refused(refusal.label()))
    }
}

impl fmt::Debug for TlsOffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsOffer").finish_non_exhaustive()
    }
}
