//! Which version of HTTP a connection speaks.
//!
//! Over TLS that is what the handshake agreed on; without, whoever begins with HTTP/2's preface speaks HTTP/2 (prior
//! knowledge, RFC 9113 section 3.3). There is no `upgrade: h2c`: it is deprecated, and gateways have been smuggled
//! past with it. Start at [`choose`].

use std::future::poll_fn;
use std::task::Poll;

use portcullis_http1::session::Session;
use portcullis_net::{Downstream, Timer, clock};

/// A version of HTTP over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Finds out. Bytes that were looked at stay in `downstream.prefix`. `None` if the connection ended, or was ended,
/// before it asked for anything.
pub(super) async fn choose(
    downstream: &mut Downstream,
    session: &Session,
    timer: &mut Timer,
) -> Option<Version> {
    if downstream.stream.is_encrypted() {
        // Who agreed on nothing speaks what everybody speaks.
        let version = match downstream.stream.alpn() {
            Some(b"h2") => Version::Http2,
            _ => Version::Http1,
        };
        return Some(version);
    }
    match sniffed(&downstream.prefix) {
        None => look(downstream, session, timer).await,
        version => version,
    }
}

fn sniffed(prefix: &[u8]) -> Option<Version> {
    portcullis_http2::sniff(prefix).map(|is_http2| {
        if is_http2 {
            Version::Http2
        } else {
            Version::Http1
        }
    })
}

/// Waits for the first bytes, within the deadline of a head.
async fn look(
    downstream: &mut Downstream,
    session: &Session,
    timer: &mut Timer,
) -> Option<Version> {
    let service = session.service.current();
    let deadline = clock::now().checked_add(service.timeouts().head());
    let random = service.environment.random.next();
    drop(service);
    let mut draining = session.drain.listen();
    poll_fn(|task| {
        loop {
            let prefix = &mut downstream.prefix;
            if let Some(version) = sniffed(prefix) {
                return Poll::Ready(Some(version));
            }
            match downstream.stream.poll_read(task, prefix) {
                Poll::Ready(Ok(1..)) => {}
                // HTTP/1 says what is wrong with a request that ended in its first bytes.
                Poll::Ready(_) => return Poll::Ready(undecided(prefix)),
                Poll::Pending => break,
            }
        }
        // Idle connections close over the whole drain window, so that their clients do not all come back at once.
        let closing = match draining.poll_draining(task) {
            Poll::Ready(()) => session.drain.close_at(random),
            Poll::Pending => None,
        };
        let until = [deadline, closing].into_iter().flatten().min();
        timer
            .poll_expired(task, until)
            .map(|()| undecided(&downstream.prefix))
    })
    .await
}

/// A few bytes that may be the beginning of either: HTTP/1 answers what does not come in time.
fn undecided(prefix: &[u8]) -> Option<Version> {
    (!prefix.is_empty()).then_some(Version::Http1)
}
