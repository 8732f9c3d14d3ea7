//! One worker's endpoint: which connections may begin.
//!
//! Every refusal costs the client's datagram and one of ours at most, and is counted. What becomes of a connection is its own
//! task's. Start at [`serve_datagrams`].

use std::cell::RefCell;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portcullis_net::sessions::Sessions;
use portcullis_net::tls::TlsRefusal;
use portcullis_net::{Datagrams, clock, within};
use quinn::{Endpoint, Incoming, Runtime as _, ServerConfig, TokioRuntime, VarInt};
use tokio::time::{MissedTickBehavior, interval};

use super::Session;
use super::identity::{WorkerIds, WorkerNumber};
use super::quic::Quic;
use super::serve::{Beginning, serve};
use super::socket::{Tally, WorkerSocket};
use crate::config::RetryMode;

/// Serves the datagrams of a listener on one worker, until they stop and what is under way has come to its end. Dropping it ends
/// everything at once.
pub async fn serve_datagrams(session: Rc<Session>, datagrams: Datagrams) {
    let tally = Arc::new(Tally::default());
    let opened = open(&session, &datagrams, &tally);
    let endpoint = match opened {
        Ok(endpoint) => Closing(endpoint),
        Err(error) => {
            tracing::error!(listener = &*session.listener, %error, "HTTP/3 cannot be served");
            return;
        }
    };
    let desk = Desk {
        quic: Quic::new(&session.common),
        sessions: Sessions::new(),
        session,
        datagrams,
        tally,
        equipped: RefCell::default(),
    };
    desk.run(&endpoint.0).await;
    endpoint.0.close(NO_ERROR, b"");
    // What was said last is said again to those who ask again, for a moment.
    let _ = within(FAREWELL, endpoint.0.wait_idle()).await;
}

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often the counts of the socket become counters.
const COUNTING: Duration = Duration::from_secs(1);

/// H3_NO_ERROR.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// The reason of connections that come to a listener which drains.
const DRAINING: &str = "draining";

/// An endpoint that closes when nobody serves it any more.
struct Closing(Endpoint);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(NO_ERROR, b"");
    }
}

fn open(session: &Session, datagrams: &Datagrams, tally: &Arc<Tally>) -> std::io::Result<Endpoint> {
    let number = |_| std::io::Error::other("there are too many workers");
    let worker = WorkerNumber::try_from(session.worker).map_err(number)?;
    let socket: UdpSocket = datagrams.socket.try_clone()?;
    let inner = TokioRuntime.wrap_udp_socket(socket)?;
    let socket = WorkerSocket::new(inner, &session.common, worker, tally);
    let mut config = session.common.endpoint.clone();
    let identities = Arc::clone(&session.common.identities);
    config.cid_generator(move || {
        Box::new(WorkerIds {
            identities: Arc::clone(&identities),
            worker,
            count: 0,
        })
    });
    Endpoint::new_with_abstract_socket(config, None, Arc::new(socket), Arc::new(TokioRuntime))
}

/// Who looks at connections that want to begin.
struct Desk {
    session: Rc<Session>,
    datagrams: Datagrams,
    quic: Quic,
    sessions: Sessions,
    tally: Arc<Tally>,
    /// What the endpoint has for first packets.
    equipped: RefCell<Option<Arc<ServerConfig>>>,
}

impl Desk {
    async fn run(&self, endpoint: &Endpoint) {
        let mut stop = self.datagrams.stop.listen();
        let mut is_draining = false;
        let mut turns = interval(COUNTING);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.equip(endpoint);
        loop {
            tokio::select! {
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) if is_draining => self.refuse(incoming, DRAINING),
                    Some(incoming) => self.begin(incoming),
                    None => break,
                },
                () = stop.draining(), if !is_draining => is_draining = true,
                () = self.sessions.empty(), if is_draining => break,
                _ = turns.tick() => {
                    self.equip(endpoint);
                    self.count();
                }
            }
        }
        self.count();
    }

    /// Gives the endpoint what it needs for first packets: the bounds on what waits, and the key of tokens.
    fn equip(&self, endpoint: &Endpoint) {
        let tls = self.datagrams.tls.current();
        let config = tls.and_then(|tls| {
            let settings = self.session.config.current();
            self.quic.config(&tls.config(), &settings)
        });
        let mut equipped = self.equipped.borrow_mut();
        let is_same = match (&*equipped, &config) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            endpoint.set_server_config(config.as_deref().cloned());
            *equipped = config;
        }
    }

    fn begin(&self, incoming: Incoming) {
        let now = clock::now();
        let settings = self.session.config.current();
        let Some(tls) = self.datagrams.tls.current() else {
            return self.refuse(incoming, TlsRefusal::Internal.label());
        };
        let is_shown = incoming.remote_address_validated();
        let asks = match settings.retry {
            RetryMode::Always => true,
            RetryMode::Never => false,
            RetryMode::Auto => tls.in_flight() >= u64::from(settings.retry_above),
        };
        if asks && !is_shown {
            return self.retry(incoming);
        }
        let permits = match self.datagrams.limits.acquire() {
            Ok(permits) => permits,
            Err(reached) => return self.refuse(incoming, reached.label()),
        };
        let from = incoming.remote_address();
        let client = super::canonical(from).ip();
        let begun = match tls.begin(Some(client), now) {
            Ok(begun) => begun,
            // Whoever sends in the name of another must not use up what that one may do.
            Err(TlsRefusal::Rate) if !is_shown && settings.retry != RetryMode::Never => {
                return self.retry(incoming);
            }
            Err(refusal) => return self.refuse(incoming, refusal.label()),
        };
        let Some(config) = self.quic.config(&begun.config, &settings) else {
            return self.refuse(incoming, TlsRefusal::Internal.label());
        };
        match incoming.accept_with(config) {
            Ok(connecting) => {
                let beginning = Beginning {
                    session: Rc::clone(&self.session),
                    settings,
                    from,
                    is_shown,
                    accepted: now,
                    bound: self.datagrams.address,
                    listener: Rc::clone(&self.datagrams.stats),
                    stop: self.datagrams.stop.clone(),
                    _permits: permits,
                };
                self.sessions.spawn(serve(beginning, connecting, begun));
            }
            Err(error) => {
                let refusal = super::serve::refusal(&error);
                self.datagrams.stats.on_refused(refusal.label());
            }
        }
    }

    /// CONNECTION_REFUSED (RFC 9000 section 5.2.2).
    fn refuse(&self, incoming: Incoming, reason: &'static str) {
        self.datagrams.stats.on_refused(reason);
        incoming.refuse();
    }

    /// RFC 9000 section 8.1.2.
    fn retry(&self, incoming: Incoming) {
        self.session.stats.retries.inc();
        // Fails for one that was asked already; it is refused when it is dropped.
        let _ = incoming.retry();
    }

    fn count(&self) {
        let strays = &self.session.stats.strays;
        for (count, counter) in [
            (&self.tally.passed_on, &strays.passed_on),
            (&self.tally.received, &strays.received),
            (&self.tally.dropped, &strays.dropped),
        ] {
            counter.add(count.swap(0, Ordering::Relaxed));
        }
    }
}
