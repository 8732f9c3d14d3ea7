//! From a start-up packet to a session: who the client is, whether it may come in, and what it comes in with.
//!
//! Methods and proofs are [`crate::auth`]'s, here they are carried over the wire within the deadline of the start-up. Start at
//! [`login`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_filter::{Context, TlsInfo};
use portcullis_net::{Downstream, Stream, Timer, clock};

use super::cancel::Who;
use super::open::Credentials;
use super::records::Spares;
use super::route::Way;
use super::run::{Ended, Session};
use super::server::PostgresServer;
use super::startup::{Started, read_more};
use super::users::{Known, Question};
use crate::auth::{
    AuthError, CertificateMatch, ClientAuth, ClientSetup, EndPointHash, Entropy, Method, Refusal,
    Request, ScramKeys, Secret, Step,
};
use crate::config::{AuthConfig, AuthMethod};
use crate::encoder;
use crate::frame::{Frame, FrameScanner, Side, frontend};
use crate::limits::FrameLimits;
use crate::machine::{Opening, Reading, Relay, Replication};
use crate::route::Client;
use crate::sqlstate::SqlState;
use crate::startup::ProtocolVersion;

/// Why a client does not come in: what it is told, and how that is counted.
pub(super) struct Refused {
    message: Bytes,
    reason: &'static str,
}

impl Refused {
    pub(super) fn new(state: SqlState, text: &str, reason: &'static str) -> Self {
        Self {
            message: encoder::fatal_message(state, text),
            reason,
        }
    }
}

/// The newest version that is spoken here.
const NEWEST: ProtocolVersion = ProtocolVersion::V3_2;

/// What is needed until the client is in.
struct Login<'a> {
    server: &'a Rc<PostgresServer>,
    stream: &'a mut Stream,
    input: &'a mut BytesMut,
    timer: &'a mut Timer,
    deadline: Option<Instant>,
}

/// Lets a client in, or says why not.
pub(super) async fn login(
    server: Rc<PostgresServer>,
    downstream: Downstream,
    started: Started,
    mut timer: Timer,
    deadline: Option<Instant>,
) -> Option<Box<Session>> {
    let mut downstream = downstream;
    let outcome = try_login(&server, &mut downstream, &started, &mut timer, deadline).await;
    let (opening, way) = match outcome {
        Ok(found) => found,
        Err(Refused { message, reason }) => {
            server.stats.on_login(reason);
            super::goodbye(downstream.stream, &message, &mut timer).await;
            return None;
        }
    };
    server.stats.on_login("ok");
    let long_key = started.version >= NEWEST;
    if opening.replication != Replication::Off {
        super::replication::run(&server, downstream, &opening, way, timer).await;
        return None;
    }
    if server.config.console.is_console(&opening.database) {
        super::console::run(&server, downstream, &opening, timer).await;
        return None;
    }
    let mut session = Box::new(session(server, downstream, &opening, way?, long_key));
    let rules = &session.server.config.client_rules;
    let welcome = match rules.refuses(&session.cancel.who().request(), &session.cx) {
        Some(reason) => Err(Ended::Told(
            encoder::fatal_message(
                SqlState::INSUFFICIENT_PRIVILEGE,
                "a rule of the gateway forbids this client",
            ),
            reason,
        )),
        None => session.welcome(long_key).await,
    };
    match welcome {
        Ok(()) => Some(session),
        Err(ended) => {
            session.on_ended(ended).await;
            None
        }
    }
}

/// Everything that a client has to pass.
async fn try_login(
    server: &Rc<PostgresServer>,
    downstream: &mut Downstream,
    started: &Started,
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> Result<(Opening, Option<Way>), Refused> {
    if started.version.major != 3 {
        let text = format!(
            "unsupported frontend protocol {}.{}: server supports 3.0 to 3.2",
            started.version.major, started.version.minor
        );
        return Err(Refused::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            &text,
            "protocol_version",
        ));
    }
    let mut opening = Opening::read(started.parameters.iter()).map_err(|error| Refused {
        message: encoder::fatal_message(error.sqlstate(), &error.to_string()),
        reason: error.label(),
    })?;
    let way = find_way(server, downstream, &opening)?;
    let tls = downstream.tls.clone();
    let Downstream { stream, prefix, .. } = downstream;
    let mut login = Login {
        server,
        stream,
        input: prefix,
        timer,
        deadline,
    };
    if started.version.minor > NEWEST.minor || !opening.unknown_options.is_empty() {
        let mut message = BytesMut::new();
        let version = started.version.min(NEWEST);
        let options: Vec<&[u8]> = opening.unknown_options.iter().map(AsRef::as_ref).collect();
        encoder::negotiate_protocol_version(version, &options, &mut message);
        login.write(&message).await?;
    }
    let credentials = login
        .authenticate(&opening, way.as_ref(), tls.as_deref())
        .await?;
    let alike = &server.alike;
    for name in [
        &mut opening.user,
        &mut opening.database,
        &mut opening.application,
    ] {
        *name = alike.name(name);
    }
    let way = way.map(|mut way| {
        way.user = alike.name(&credentials.user);
        way.database = Arc::clone(&opening.database);
        way.credentials = alike.credentials(credentials);
        way
    });
    let mut message = BytesMut::new();
    encoder::authentication_ok(&mut message);
    login.write(&message).await?;
    Ok((opening, way))
}

/// The rules for the client. The console is beside all rules.
fn find_way(
    server: &Rc<PostgresServer>,
    downstream: &Downstream,
    opening: &Opening,
) -> Result<Option<Way>, Refused> {
    if server.config.console.is_console(&opening.database) {
        return Ok(None);
    }
    let facts = downstream.facts(&server.listener);
    let client = Client {
        database: &opening.database,
        user: &opening.user,
        application: &opening.application,
        server_name: facts
            .tls
            .as_ref()
            .and_then(|tls| tls.server_name.as_deref()),
        address: facts.client_ip(),
    };
    let way = server.places.of_client(&client);
    way.map(Some).ok_or_else(|| {
        let text = format!("database \"{}\" does not exist", opening.database);
        Refused::new(SqlState::INVALID_CATALOG_NAME, &text, "no_route")
    })
}

impl Login<'_> {
    async fn write(&mut self, message: &[u8]) -> Result<(), Refused> {
        let written = self.stream.write_all(message).await;
        written.map_err(|_| Refused {
            message: Bytes::new(),
            reason: "authentication_closed",
        })
    }

    /// Has the client prove who it is. The answer is what servers are shown for it.
    async fn authenticate(
        &mut self,
        opening: &Opening,
        way: Option<&Way>,
        tls: Option<&TlsInfo>,
    ) -> Result<Credentials, Refused> {
        let config = &self.server.config.auth;
        let listed = config.users.get(&*opening.user);
        if listed.is_some_and(|user| !user.may_open(&opening.database)) {
            return Err(denied(opening));
        }
        let known = self.known(opening, way).await?;
        let open = matches!(config.method, AuthMethod::Trust | AuthMethod::Certificate);
        let is_missing = matches!(known, Known::Missing(_)) && listed.is_none();
        if open && is_missing && !config.admits_anybody() {
            return Err(denied(opening));
        }
        let keys = self.converse(opening, &known, tls).await?;
        Ok(self.credentials(opening, &known, keys))
    }

    /// What is known of the user, if anything.
    async fn known(&mut self, opening: &Opening, way: Option<&Way>) -> Result<Known, Refused> {
        let known = self.server.users.find(&opening.user);
        let Some(config) = &self.server.config.auth.auth_query else {
            return Ok(known);
        };
        if !matches!(known, Known::Missing(AuthError::UnknownUser)) {
            return Ok(known);
        }
        let cluster = match (&self.server.auth_cluster, way) {
            (Some(cluster), _) => Rc::clone(cluster),
            (None, Some(way)) => way.any_cluster().ok_or_else(|| denied(opening))?,
            (None, None) => return Ok(known),
        };
        let question = Question {
            config,
            cluster: &cluster,
            database: &opening.database,
            user: &opening.user,
            options: self.server.open_options(),
            worker: self.server.worker,
            random: self.server.random.next(),
            mock: &self.server.users.mock,
        };
        self.server
            .common
            .asked
            .ask(question)
            .await
            .map_err(|reason| {
                let text = "the authentication of this user cannot be looked up";
                Refused::new(SqlState::CANNOT_CONNECT_NOW, text, reason)
            })
    }

    /// Questions and answers until the client is believed. The answer is what they have yielded for servers.
    async fn converse(
        &mut self,
        opening: &Opening,
        known: &Known,
        tls: Option<&TlsInfo>,
    ) -> Result<Option<ScramKeys>, Refused> {
        let config = &self.server.config.auth;
        let end_point = tls
            .and_then(|tls| tls.local_certificate.as_deref())
            .and_then(EndPointHash::of);
        let mut machine = ClientAuth::new(&ClientSetup {
            method: match config.method {
                AuthMethod::Trust => Method::Trust,
                AuthMethod::Md5 => Method::Md5,
                AuthMethod::ScramSha256 => Method::Scram,
                AuthMethod::Cleartext => Method::Cleartext,
                AuthMethod::Certificate => Method::Certificate,
            },
            user: opening.user.as_bytes(),
            lookup: known.lookup(),
            mock: &self.server.users.mock,
            encrypted: tls.is_some(),
            end_point: end_point.as_ref(),
            certificate: certificate_match(config, opening, tls),
            entropy: Entropy {
                nonce: super::nonce(),
                salt: super::salt(),
            },
        });
        let mut step = machine.start();
        loop {
            match step {
                Step::Ask(request) => {
                    self.ask(&request).await?;
                    let answer = self.answer().await?;
                    step = machine.on_password(&answer);
                }
                Step::Accepted { last, keys } => {
                    if let Some(last) = last {
                        self.ask(&last).await?;
                    }
                    return Ok(keys);
                }
                Step::Rejected(error) => return Err(failed(opening, error)),
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<(), Refused> {
        let mut message = BytesMut::new();
        match request {
            Request::Cleartext => encoder::authentication_cleartext(&mut message),
            Request::Md5 { salt } => encoder::authentication_md5(*salt, &mut message),
            Request::Sasl { mechanisms } => {
                let names = mechanisms.iter().map(|name| name.as_bytes());
                encoder::authentication_sasl(names, &mut message);
            }
            Request::SaslContinue(data) => {
                encoder::authentication_sasl_continue(data, &mut message);
            }
            Request::SaslFinal(data) => encoder::authentication_sasl_final(data, &mut message),
        }
        self.write(&message).await
    }

    /// The body of the client's next message, which has to be an answer.
    async fn answer(&mut self) -> Result<BytesMut, Refused> {
        let mut scanner = FrameScanner::new(Side::Frontend, FrameLimits::default());
        loop {
            match scanner.next(self.input) {
                Ok(Some(Frame::Whole { tag, len })) if tag == frontend::PASSWORD => {
                    let mut message = self.input.split_to(len.min(self.input.len()));
                    return Ok(message.split_off(5.min(message.len())));
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => {
                    let text = "expected an answer to the authentication request";
                    return Err(Refused::new(
                        SqlState::PROTOCOL_VIOLATION,
                        text,
                        "authentication_message",
                    ));
                }
            }
            let read = read_more(
                self.stream,
                self.input,
                self.timer,
                self.deadline,
                "authentication",
            );
            if let Some(reason) = read.await {
                let message = if reason.ends_with("timeout") {
                    encoder::fatal_message(
                        SqlState::QUERY_CANCELED,
                        "canceling authentication due to timeout",
                    )
                } else {
                    Bytes::new()
                };
                return Err(Refused { message, reason });
            }
        }
    }

    /// What servers are shown for this client.
    fn credentials(
        &self,
        opening: &Opening,
        known: &Known,
        keys: Option<ScramKeys>,
    ) -> Credentials {
        let config = &self.server.config;
        let own = config.auth.users.get(&*opening.user);
        let upstream = &config.upstream;
        let user = own
            .and_then(|own| own.upstream_user.as_ref().map(|user| user.value.clone()))
            .or_else(|| upstream.user.clone())
            .unwrap_or_else(|| opening.user.to_string());
        let password = own
            .and_then(|own| own.upstream_password.as_ref())
            .or(upstream.password.as_ref());
        let is_same = user == *opening.user;
        let secret = match password {
            Some(password) => Secret::parse(password.expose().as_bytes())
                .ok()
                .map(Arc::new),
            None if is_same => known.secret(),
            None => None,
        };
        Credentials {
            secret,
            keys: keys.filter(|_| password.is_none() && is_same && upstream.passthrough),
            user,
        }
    }
}

/// Whether the client's certificate is for the user that it says it is.
fn certificate_match(
    config: &AuthConfig,
    opening: &Opening,
    tls: Option<&TlsInfo>,
) -> CertificateMatch {
    match tls.and_then(|tls| tls.client.as_ref()) {
        None => CertificateMatch::Absent,
        Some(shown) if config.certificate.permits(shown, &opening.user) => CertificateMatch::Fits,
        Some(_) => CertificateMatch::Other,
    }
}

/// A client that is who it says, or not, and may not come in. Which of them is nobody's business.
fn denied(opening: &Opening) -> Refused {
    let text = format!(
        "password authentication failed for user \"{}\"",
        opening.user
    );
    Refused::new(SqlState::INVALID_PASSWORD, &text, "denied")
}

fn failed(opening: &Opening, error: AuthError) -> Refused {
    let refusal = error.refusal();
    let state = SqlState::new(refusal.sqlstate().as_bytes()).unwrap_or(SqlState::INVALID_PASSWORD);
    let text = match refusal {
        Refusal::InvalidPassword => {
            format!(
                "password authentication failed for user \"{}\"",
                opening.user
            )
        }
        Refusal::InvalidAuthorization => {
            format!("authentication failed for user \"{}\"", opening.user)
        }
        Refusal::ProtocolViolation | Refusal::NotSupported => error.to_string(),
    };
    Refused::new(state, &text, error.label())
}

fn session(
    server: Rc<PostgresServer>,
    downstream: Downstream,
    opening: &Opening,
    way: Way,
    long_key: bool,
) -> Session {
    let facts = Rc::new(downstream.facts(&server.listener));
    let who = Who::of(&downstream, opening);
    let now = clock::now();
    let cancel = server
        .common
        .cancel
        .register(None, long_key, who, &mut super::secret);
    Session {
        relay: Relay::new(
            &server.setup,
            Arc::clone(&opening.shape),
            Reading::default(),
        ),
        _active: server.stats.begin_client(),
        stream: downstream.stream,
        waits: false,
        listens: false,
        input: downstream.prefix,
        output: BytesMut::new(),
        way,
        lease: None,
        told: Arc::default(),
        cancel,
        cx: Context::new(facts, now),
        judged: std::collections::VecDeque::new(),
        spare: Spares::new(&server.spares),
        // Not the one of the start-up: an armed one takes memory.
        timer: Timer::new(),
        last_heard: now,
        cancelled: None,
        turned: now,
        pace: super::deadline::Pace::default(),
        close_at: None,
        _guard: downstream.guard,
        server,
    }
}
