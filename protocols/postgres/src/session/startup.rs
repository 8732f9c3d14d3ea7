//! From the first byte to a start-up packet: TLS, if it is asked for, and what comes instead of a conversation.
//!
//! What was sent in the clear is never read as if it had been encrypted (CVE-2021-23214): behind an SSLRequest nothing may
//! have come before the answer. Who the client is comes next, in `login`. Start at [`negotiate`].

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_codec::{Decoder as _, WireError as _};
use portcullis_filter::TlsInfo;
use portcullis_net::{Downstream, Sniff, Stream, Timer, TlsOffer, clock};

use super::server::PostgresServer;
use crate::encoder;
use crate::sqlstate::SqlState;
use crate::startup::{ProtocolVersion, Startup, StartupDecoder, StartupError, StartupParameters};

/// The application protocol of Postgres over TLS that begins at once.
pub(super) const ALPN: &[u8] = b"postgresql";

/// A client that has said who it wants to be.
pub(super) struct Started {
    pub(super) version: ProtocolVersion,
    pub(super) parameters: StartupParameters,
}

/// What a connection turned out to be.
pub(super) enum Negotiated {
    /// A conversation.
    Start(Started),
    /// A cancel request. Nothing is answered.
    Cancel { process: i32, key: Bytes },
    /// Nothing that goes on: closed, for this reason, after this message.
    Refused(&'static str, Option<Bytes>),
}

/// The first byte of a TLS record that is a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads what a client begins with. The connection is encrypted afterwards if the client asked for that; it is gone where a
/// handshake has failed.
pub(super) async fn negotiate(
    server: &PostgresServer,
    downstream: Downstream,
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> (Option<Downstream>, Negotiated) {
    let mut opening = Opening {
        server,
        offers: downstream.starttls.is_some(),
        downstream: Some(downstream),
        asked: Asked::default(),
    };
    let mut decoder = StartupDecoder::new(crate::limits::StartupLimits {
        bytes: server.config.limits.startup.value.0 as usize,
        ..crate::limits::StartupLimits::default()
    });
    let negotiated = loop {
        let step = match opening.step(&mut decoder).await {
            Ok(step) => step,
            Err(refused) => break refused,
        };
        match step {
            Step::Again => continue,
            Step::Done(negotiated) => break negotiated,
            Step::Read => {}
        }
        let Some(Downstream { stream, prefix, .. }) = &mut opening.downstream else {
            break Negotiated::Refused("startup_closed", None);
        };
        if let Some(reason) = read_more(stream, prefix, timer, deadline, "startup").await {
            break Negotiated::Refused(reason, None);
        }
    };
    (opening.downstream, negotiated)
}

/// The connection while its start is negotiated.
struct Opening<'a> {
    server: &'a PostgresServer,
    /// Gone while and after a handshake that fails.
    downstream: Option<Downstream>,
    asked: Asked,
    /// The listener has TLS.
    offers: bool,
}

/// What a client has asked for already: each once at most.
#[derive(Default)]
struct Asked {
    ssl: bool,
    gss: bool,
    /// The first byte was looked at.
    looked: bool,
}

enum Step {
    Read,
    Again,
    Done(Negotiated),
}

fn refused(error: StartupError) -> Negotiated {
    let state = match error {
        StartupError::Version(_) => SqlState::FEATURE_NOT_SUPPORTED,
        _ => SqlState::PROTOCOL_VIOLATION,
    };
    // What is no Postgres would not understand an answer.
    let message = error
        .is_postgres()
        .then(|| encoder::fatal_message(state, &error.to_string()));
    Negotiated::Refused(error.label(), message)
}

impl Opening<'_> {
    async fn step(&mut self, decoder: &mut StartupDecoder) -> Result<Step, Negotiated> {
        self.begin_direct_tls().await?;
        let downstream = self.downstream.as_mut().ok_or_else(closed)?;
        match decoder.decode(&mut downstream.prefix) {
            Ok(None) => Ok(Step::Read),
            Ok(Some(Startup::SslRequest)) => {
                self.on_ssl_request().await?;
                Ok(Step::Again)
            }
            Ok(Some(Startup::GssEncRequest)) => {
                if std::mem::replace(&mut self.asked.gss, true) {
                    return Err(Negotiated::Refused("second_gss_request", None));
                }
                self.write(b"N").await?;
                Ok(Step::Again)
            }
            Ok(Some(Startup::Cancel { process, key })) => {
                Ok(Step::Done(Negotiated::Cancel { process, key }))
            }
            Ok(Some(Startup::Start {
                version,
                parameters,
            })) => Ok(Step::Done(self.on_start(version, parameters))),
            Err(error) => Err(refused(error)),
        }
    }

    /// TLS that begins with the first byte, where the listener has TLS. Both sides have to say that they mean Postgres.
    async fn begin_direct_tls(&mut self) -> Result<(), Negotiated> {
        let downstream = self.downstream.as_mut().ok_or_else(closed)?;
        let Some(first) = downstream.prefix.first() else {
            return Ok(());
        };
        let is_tls = *first == TLS_HANDSHAKE;
        if std::mem::replace(&mut self.asked.looked, true) || !is_tls {
            return Ok(());
        }
        let Some(offer) = downstream.starttls.take() else {
            return Ok(());
        };
        let prefix = std::mem::take(&mut downstream.prefix);
        self.asked.ssl = true;
        let info = self.encrypt(offer, prefix).await?;
        if info.alpn.as_deref().map(AsRef::as_ref) == Some(ALPN) {
            return Ok(());
        }
        Err(Negotiated::Refused("tls_no_alpn", None))
    }

    async fn on_ssl_request(&mut self) -> Result<(), Negotiated> {
        let downstream = self.downstream.as_mut().ok_or_else(closed)?;
        if std::mem::replace(&mut self.asked.ssl, true) || downstream.tls.is_some() {
            return Err(Negotiated::Refused("second_ssl_request", None));
        }
        if !downstream.prefix.is_empty() {
            let text = "received unencrypted data after SSL request";
            let message = encoder::fatal_message(SqlState::PROTOCOL_VIOLATION, text);
            return Err(Negotiated::Refused("data_after_ssl_request", Some(message)));
        }
        let Some(offer) = downstream.starttls.take() else {
            return self.write(b"N").await;
        };
        self.write(b"S").await?;
        let info = self.encrypt(offer, BytesMut::new()).await?;
        // Whoever asks for a protocol by name gets Postgres or nothing.
        match info.alpn.as_deref() {
            Some(alpn) if AsRef::<[u8]>::as_ref(alpn) != ALPN => {
                Err(Negotiated::Refused("tls_no_alpn", None))
            }
            _ => Ok(()),
        }
    }

    async fn encrypt(
        &mut self,
        offer: TlsOffer,
        prefix: BytesMut,
    ) -> Result<Arc<TlsInfo>, Negotiated> {
        let mut downstream = self.downstream.take().ok_or_else(closed)?;
        let client = downstream.client_ip();
        let (stream, info) = offer
            .accept(downstream.stream, prefix, client)
            .await
            .map_err(|refusal| Negotiated::Refused(refusal.label(), None))?;
        downstream.stream = stream;
        downstream.tls = Some(Arc::clone(&info));
        self.downstream = Some(downstream);
        Ok(info)
    }

    fn on_start(&self, version: ProtocolVersion, parameters: StartupParameters) -> Negotiated {
        let encrypted = self
            .downstream
            .as_ref()
            .is_some_and(|downstream| downstream.tls.is_some());
        if !encrypted && self.server.requires_tls(self.offers) {
            let text = "connections without encryption are not accepted";
            let message = encoder::fatal_message(SqlState::INVALID_AUTHORIZATION, text);
            return Negotiated::Refused("tls_required", Some(message));
        }
        Negotiated::Start(Started {
            version,
            parameters,
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Negotiated> {
        let downstream = self.downstream.as_mut().ok_or_else(closed)?;
        let written = downstream.stream.write_all(bytes).await;
        written.map_err(|_| closed())
    }
}

fn closed() -> Negotiated {
    Negotiated::Refused("startup_closed", None)
}

/// Reads what is there. `None` if something was; else the reason: closed, or out of time.
pub(super) async fn read_more(
    stream: &mut Stream,
    input: &mut BytesMut,
    timer: &mut Timer,
    deadline: Option<Instant>,
    phase: &'static str,
) -> Option<&'static str> {
    let (closed, late) = match phase {
        "startup" => ("startup_closed", "startup_timeout"),
        _ => ("authentication_closed", "authentication_timeout"),
    };
    std::future::poll_fn(|task| {
        if let std::task::Poll::Ready(read) = stream.poll_read(task, input) {
            return std::task::Poll::Ready(match read {
                Ok(0) | Err(_) => Some(closed),
                Ok(_) => None,
            });
        }
        timer.poll_expired(task, deadline).map(|()| Some(late))
    })
    .await
}

/// When a start-up that begins now has to be over.
pub(super) fn deadline(server: &PostgresServer) -> Option<Instant> {
    clock::now().checked_add(server.config.timeouts.startup.get())
}

/// Whether first bytes are a start-up packet: its length, then one of the codes that there are.
pub(super) fn sniff(prefix: &[u8]) -> Sniff {
    let Some(first) = prefix.first() else {
        return Sniff::NeedMore;
    };
    let Some((length, rest)) = prefix.split_first_chunk::<4>() else {
        return if *first == 0 {
            Sniff::NeedMore
        } else {
            Sniff::No
        };
    };
    let length = u32::from_be_bytes(*length);
    if !(8..=10_000).contains(&length) {
        return Sniff::No;
    }
    let Some(code) = rest.first_chunk::<4>() else {
        return Sniff::NeedMore;
    };
    let version = ProtocolVersion::of(u32::from_be_bytes(*code));
    if version.major == 3 || (version.major == 1234 && (5678..=5680).contains(&version.minor)) {
        Sniff::Yes
    } else {
        Sniff::No
    }
}
