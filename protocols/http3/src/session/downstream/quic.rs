//! QUIC as a listener wants it: TLS from the listener's `tls`, transport parameters from the `http3` block.
//!
//! Built for what holds now, and again only when something has changed. Start at [`Quic::config`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, ValidationTokenConfig, VarInt};
use rustls::server::{NoServerSessionStorage, ProducesTickets};

use super::common::Common;
use super::tokens;
use crate::config::Http3Config;

/// The application protocol (RFC 9114 section 3.1).
const ALPN: &[u8] = b"h3";

/// Connections that wait to be looked at, on one worker. They are looked at as soon as they come.
const MOST_INCOMING: usize = 1024;

/// Bytes that are kept for one of them: a ClientHello with post-quantum keys comes in two datagrams, early data in some more.
const INCOMING_BUFFER: u64 = 32 * 1024;

/// Bytes that are kept for all of them.
const INCOMING_BUFFERS: u64 = 4 * 1024 * 1024;

/// Tokens that a client gets for later connections: browsers open one or two at a time.
const TOKENS: u32 = 2;

/// Unidirectional streams that a client may have open: three have a meaning, and some are for greasing.
const MOST_STREAMS: u32 = 8;

/// The configurations of one worker's endpoint.
pub(super) struct Quic {
    common: Arc<Common>,
    built: RefCell<Option<Built>>,
}

struct Built {
    tls: Arc<rustls::ServerConfig>,
    settings: Rc<Http3Config>,
    config: Arc<ServerConfig>,
}

impl Quic {
    pub(super) fn new(common: &Arc<Common>) -> Self {
        Self {
            common: Arc::clone(common),
            built: RefCell::default(),
        }
    }

    /// The configuration for connections that begin now. `None` if TLS cannot be used for QUIC: it has no cipher suite that
    /// QUIC begins with.
    pub(super) fn config(
        &self,
        tls: &Arc<rustls::ServerConfig>,
        settings: &Rc<Http3Config>,
    ) -> Option<Arc<ServerConfig>> {
        if let Some(built) = &*self.built.borrow()
            && Arc::ptr_eq(&built.tls, tls)
            && Rc::ptr_eq(&built.settings, settings)
        {
            return Some(Arc::clone(&built.config));
        }
        let config = Arc::new(self.build(tls, settings)?);
        self.built.replace(Some(Built {
            tls: Arc::clone(tls),
            settings: Rc::clone(settings),
            config: Arc::clone(&config),
        }));
        Some(config)
    }

    fn build(&self, tls: &rustls::ServerConfig, settings: &Http3Config) -> Option<ServerConfig> {
        let tls = self.tls(tls, settings.early_data);
        let crypto = QuicServerConfig::try_from(tls).ok()?;
        let mut config = self.common.server_config(Arc::new(crypto));
        let mut tokens = ValidationTokenConfig::default();
        tokens.lifetime(tokens::LIFETIME);
        tokens.sent(TOKENS);
        tokens.log(Arc::clone(&self.common.spent) as _);
        config
            .transport_config(Arc::new(transport(settings)))
            .validation_token_config(tokens)
            .max_incoming(MOST_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        Some(config)
    }

    /// The listener's TLS for QUIC. With early data sessions are kept here: a ticket could be used twice, a session is taken out
    /// when it is used, and rustls takes no early data with tickets.
    fn tls(&self, tls: &rustls::ServerConfig, early_data: bool) -> rustls::ServerConfig {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.max_early_data_size = 0;
        // Where clients get no tickets, they get no sessions either.
        if early_data && tls.ticketer.enabled() {
            tls.session_storage = self.common.sessions(&tls.ticketer);
            tls.ticketer = Arc::new(NoTickets);
            // What QUIC has in its place (RFC 9001 section 4.6.1).
            tls.max_early_data_size = u32::MAX;
        } else if !tls.ticketer.enabled() {
            tls.session_storage = Arc::new(NoServerSessionStorage {});
        }
        tls
    }
}

fn transport(settings: &Http3Config) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let bytes =
        |size: portcullis_config::ByteSize| VarInt::from_u64(size.get()).unwrap_or(VarInt::MAX);
    transport
        .max_concurrent_bidi_streams(settings.max_streams.get().into())
        .max_concurrent_uni_streams(MOST_STREAMS.into())
        .stream_receive_window(bytes(settings.stream_window))
        .receive_window(bytes(settings.connection_window))
        .send_window(settings.send_window.get())
        .max_idle_timeout(IdleTimeout::try_from(settings.silence.get()).ok())
        .keep_alive_interval(None)
        // There is no use for datagrams inside of a connection, so none are taken.
        .datagram_receive_buffer_size(None);
    transport
}

/// Makes no tickets.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
