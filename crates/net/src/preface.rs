//! What is read before a protocol takes a connection over: a PROXY header, and a look at the first bytes.
//!
//! Both are bounded in bytes and time, and nothing that was looked at is lost: it stays in the prefix. Which
//! protocols there are is not known here. Start at [`read_proxy_header`] and [`sniff`].

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_codec::{Decoder as _, WireError as _};
use portcullis_config::Network;

use crate::proxy_header::{self, ProxyHeaderDecoder, ProxyHeaderError, V2_BYTES};
use crate::{
    ClientAddr, ProxyHeader, ProxyProtocolConfig, Sniff, SocketAddress, Stream, Timer, clock,
};

/// Who may send a PROXY header, and whether they must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPolicy {
    trusted: Vec<Network>,
    required: bool,
    deadline: Duration,
}

impl From<&ProxyProtocolConfig> for ProxyPolicy {
    fn from(config: &ProxyProtocolConfig) -> Self {
        Self {
            trusted: config.trusted.clone(),
            required: config.required,
            deadline: config.deadline.get(),
        }
    }
}

impl ProxyPolicy {
    /// Whether a header from this peer is believed. Whoever may open our Unix socket is trusted: its file's
    /// permissions decide that.
    #[must_use]
    pub fn trusts(&self, peer: ClientAddr) -> bool {
        match peer.0 {
            SocketAddress::Ip(address) => self
                .trusted
                .iter()
                .any(|network| network.contains(address.ip())),
            SocketAddress::Unix => true,
        }
    }
}

/// Why a connection was closed before any protocol saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// The listener wants a PROXY header, or there is one, and the peer is not trusted to send it.
    #[error("a PROXY header is not accepted from this peer")]
    Untrusted,
    /// The bytes are no PROXY header, or a bad one.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    /// The header did not come in time.
    #[error("the PROXY header did not come in time")]
    TimedOut,
    /// The connection ended or broke before the header was whole.
    #[error("the connection ended before its PROXY header")]
    Closed,
}

impl PrefaceError {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Untrusted => "proxy_untrusted",
            Self::Header(error) => error.label(),
            Self::TimedOut => "proxy_timeout",
            Self::Closed => "proxy_closed",
        }
    }
}

/// Reads the PROXY header in front of a connection. Bytes behind it stand in `prefix` afterwards.
///
/// Where a header is not required, a connection without one passes as it is; since that shows only when bytes come,
/// a client that waits for the server to speak first is held up until the deadline.
///
/// # Errors
/// The connection must be closed; `prefix` must not be given to any protocol.
pub async fn read_proxy_header(
    stream: &mut Stream,
    prefix: &mut BytesMut,
    peer: ClientAddr,
    policy: &ProxyPolicy,
) -> Result<Option<Box<ProxyHeader>>, PrefaceError> {
    let trusted = policy.trusts(peer);
    if policy.required && !trusted {
        return Err(PrefaceError::Untrusted);
    }
    let deadline = clock::now().checked_add(policy.deadline);
    let mut timer = Timer::new();
    let mut decoder = ProxyHeaderDecoder::new();
    loop {
        match decoder.decode(prefix) {
            Ok(Some(_)) if !trusted => return Err(PrefaceError::Untrusted),
            Ok(Some(header)) => return Ok(Some(Box::new(header))),
            Ok(None) => {}
            Err(ProxyHeaderError::Missing) if !policy.required => return Ok(None),
            Err(_) if !trusted => return Err(PrefaceError::Untrusted),
            Err(error) => return Err(error.into()),
        }
        let stopped = match fill(stream, prefix, V2_BYTES, &mut timer, deadline).await {
            Filled::More => continue,
            Filled::TimedOut => PrefaceError::TimedOut,
            Filled::Ended | Filled::Broken => PrefaceError::Closed,
        };
        // Without a whole signature there is no reason to think that this was to be a header.
        let begun = proxy_header::sniff(prefix) == Sniff::Yes;
        return if policy.required || begun {
            Err(stopped)
        } else {
            Ok(None)
        };
    }
}

/// Bounds on a look at the first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SniffBounds {
    /// When to stop waiting for bytes.
    pub deadline: Instant,
    /// How many bytes to look at.
    pub bytes: usize,
}

/// Why a look at the first bytes did not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Undecided {
    /// Every candidate said no.
    NoMatch,
    /// Not enough bytes came in time; maybe none, as from a client that waits for the server to speak first.
    TimedOut,
    /// As many bytes as may be looked at were not enough.
    TooLong,
    /// The connection ended or broke.
    Closed,
}

impl Undecided {
    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoMatch => "sniff_no_match",
            Self::TimedOut => "sniff_timeout",
            Self::TooLong => "sniff_too_long",
            Self::Closed => "sniff_closed",
        }
    }
}

/// Looks at the first bytes until one of the candidates says that they are its own; the answer is its index.
///
/// Earlier candidates go first: a yes waits while one before it still needs more, unless no more comes. All bytes
/// stay in `prefix`.
///
/// # Errors
/// Nobody wants the bytes; the caller has a fall-back or closes.
pub async fn sniff(
    stream: &mut Stream,
    prefix: &mut BytesMut,
    bounds: SniffBounds,
    candidates: &[fn(&[u8]) -> Sniff],
) -> Result<usize, Undecided> {
    let mut timer = Timer::new();
    loop {
        let answers = || candidates.iter().map(|candidate| candidate(prefix));
        let open = answers().position(|answer| answer != Sniff::No);
        let open = open.ok_or(Undecided::NoMatch)?;
        let yes = answers().position(|answer| answer == Sniff::Yes);
        if yes == Some(open) {
            return Ok(open);
        }
        if prefix.len() >= bounds.bytes {
            return yes.ok_or(Undecided::TooLong);
        }
        let filled = fill(
            stream,
            prefix,
            bounds.bytes,
            &mut timer,
            Some(bounds.deadline),
        );
        match filled.await {
            Filled::More => {}
            Filled::TimedOut => return yes.ok_or(Undecided::TimedOut),
            Filled::Ended | Filled::Broken => return yes.ok_or(Undecided::Closed),
        }
    }
}

/// What came of waiting for bytes.
enum Filled {
    More,
    Ended,
    Broken,
    TimedOut,
}

/// Reads more into `prefix`, up to `limit` bytes in all.
async fn fill(
    stream: &mut Stream,
    prefix: &mut BytesMut,
    limit: usize,
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> Filled {
    let room = limit.saturating_sub(prefix.len());
    let read = poll_fn(|cx| {
        if let Poll::Ready(read) = stream.poll_read_at_most(cx, prefix, room) {
            return Poll::Ready(Some(read));
        }
        timer.poll_expired(cx, deadline).map(|()| None)
    });
    let read: Option<io::Result<usize>> = read.await;
    match read {
        Some(Ok(0)) => Filled::Ended,
        Some(Ok(_)) => Filled::More,
        Some(Err(_)) => Filled::Broken,
        None => Filled::TimedOut,
    }
}

#[cfg(test)]
mod tests;
