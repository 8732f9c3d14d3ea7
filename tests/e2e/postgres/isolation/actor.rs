//! One client: its connection, what it knows of its own session, and how it asks.
//!
//! Start at [`Actor::act`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use harness::Connection;
use portcullis_testkit::random::Random;

use super::{CLIENTS, Stage};
use crate::postgres::wire::{CANCEL, Message, V3, field, packet, read_message, startup, tags};

/// Why an answer is not what it should have been, through no fault of the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection is gone.
    Gone,
    /// The statement was cancelled or its server lost; the session is there.
    Interrupted,
}

/// What the client's session holds, as far as it has been told.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) setting: String,
    pub(super) temporary: Option<String>,
    pub(super) listens: bool,
    pub(super) statements: BTreeMap<usize, String>,
}

pub(super) struct Actor {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) stage: Arc<Stage>,
    pub(super) random: Random,
    pub(super) held: Held,
    /// Notifications that came since they were last looked at.
    pub(super) heard: Vec<String>,
    /// Whether an error leaves no doubt about what the session holds.
    pub(super) harmless: bool,
    /// The last answer's messages.
    seen: String,
    /// The last error that nothing explained.
    surprise: String,
    connection: Option<Connection>,
    step: usize,
    serial: usize,
}

/// Errors that somebody else's doing explains: a backend or a server that is gone.
fn is_loss(state: &str) -> bool {
    state.starts_with("57P") || state.starts_with("08")
}

impl Actor {
    pub(super) fn new(number: usize, stage: Arc<Stage>, random: Random) -> Self {
        Self {
            number,
            name: format!("c{number}"),
            stage,
            random,
            held: Held::default(),
            heard: Vec::new(),
            harmless: false,
            seen: String::new(),
            surprise: String::new(),
            connection: None,
            step: 0,
            serial: 0,
        }
    }

    /// Does this many things.
    pub(super) fn act(mut self, steps: usize) {
        for step in 0..steps {
            self.step = step;
            self.harmless = false;
            if let Err(broken) = self.one_act() {
                self.stage.broken.fetch_add(1, Ordering::Relaxed);
                if broken == Broken::Gone || !self.harmless {
                    self.leave();
                }
            }
        }
    }

    /// Whether others cancel this one's statements.
    pub(super) const fn is_cancelled_by_others(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// Text that nobody else sends, and this one only once.
    pub(super) fn tag(&mut self) -> String {
        self.serial += 1;
        format!("{}-{}", self.name, self.serial)
    }

    /// Where and when, for a failure.
    pub(super) fn place(&self) -> String {
        let Self { name, step, .. } = self;
        let (seen, surprise) = (&self.seen, &self.surprise);
        format!(
            "seed {}, {name} at step {step}, last answer {seen}, last error {surprise}",
            self.stage.seed
        )
    }

    /// Compares, and counts.
    #[track_caller]
    pub(super) fn check<T: PartialEq + std::fmt::Debug>(&self, seen: &T, wanted: &T) {
        assert_eq!(seen, wanted, "{}", self.place());
        self.stage.checked.fetch_add(1, Ordering::Relaxed);
    }

    /// Closes the connection; the session is over.
    pub(super) fn leave(&mut self) {
        self.connection = None;
        self.held = Held::default();
        self.heard.clear();
        self.stage.keys.lock().unwrap()[self.number].clear();
    }

    /// Leaves with a reset.
    pub(super) fn reset(&mut self) {
        if let Some(connection) = &self.connection {
            connection.reset();
        }
        self.leave();
    }

    /// Sends, in pieces of any length, and does not wait for an answer.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let pieces: Vec<Vec<u8>> = match self.random.below(4) {
            0 => self
                .random
                .pieces(bytes, 40)
                .into_iter()
                .map(<[u8]>::to_vec)
                .collect(),
            _ => vec![bytes.to_vec()],
        };
        let mut connection = self.connected()?;
        for piece in pieces {
            connection.send(piece).map_err(|_| Broken::Gone)?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Sends, and reads to as many ReadyForQuery as there are answers to come.
    pub(super) fn ask_all(
        &mut self,
        bytes: &[u8],
        answers: usize,
    ) -> Result<Vec<Vec<Message>>, Broken> {
        self.send(bytes)?;
        (0..answers).map(|_| self.answer()).collect()
    }

    /// Sends, and reads to ReadyForQuery.
    pub(super) fn ask(&mut self, bytes: &[u8]) -> Result<Vec<Message>, Broken> {
        self.send(bytes)?;
        self.answer()
    }

    /// Everything to a ReadyForQuery, without what comes by itself.
    pub(super) fn answer(&mut self) -> Result<Vec<Message>, Broken> {
        let mut answer = Vec::new();
        let mut broken = None;
        loop {
            let (tag, body) = self.message()?;
            match tag {
                b'A' => self.hear(&body),
                b'S' => {}
                b'E' if self.is_explained(&field(&body, b'C')) => {
                    broken = Some(Broken::Interrupted);
                }
                b'Z' => {
                    answer.push((tag, body));
                    self.seen = tags(&answer);
                    return broken.map_or(Ok(answer), Err);
                }
                _ => {
                    if tag == b'E' {
                        self.surprise = body.escape_ascii().to_string();
                    }
                    answer.push((tag, body));
                }
            }
        }
    }

    /// One message.
    pub(super) fn message(&mut self) -> Result<Message, Broken> {
        let connection = self.connection.as_mut().ok_or(Broken::Gone)?;
        let read = read_message(connection);
        match read {
            Ok(message) => Ok(message),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                panic!("{}: {error}", self.place())
            }
            Err(_) => Err(Broken::Gone),
        }
    }

    /// Whether somebody's doing explains an error that was not asked for.
    fn is_explained(&self, state: &str) -> bool {
        is_loss(state) || (state == "57014" && self.is_cancelled_by_others())
    }

    /// A notification: only on this one's own channel, and only while it listens.
    fn hear(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(&body[4..]).into_owned();
        let mut parts = text.split('\0');
        let channel = parts.next().unwrap_or_default();
        assert_eq!(channel, self.name, "{}", self.place());
        assert!(self.held.listens, "{} does not listen", self.place());
        self.heard.push(parts.next().unwrap_or_default().to_owned());
    }

    fn connected(&mut self) -> Result<Connection, Broken> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.login(),
        }
    }

    /// Begins a session; tries again for as long as a server is away.
    fn login(&mut self) -> Result<Connection, Broken> {
        let address = self.stage.gateway.addr("db");
        loop {
            match login(address, &self.name) {
                Ok((connection, key)) => {
                    self.stage.keys.lock().unwrap()[self.number] = key;
                    return Ok(connection);
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    panic!("{}: {error}", self.place())
                }
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    /// Cancels whatever one of those does that may be cancelled, or this one itself.
    pub(super) fn cancel_somebody(&mut self) {
        let whom = self.random.below(CLIENTS / 2) * 2;
        let key = self.stage.keys.lock().unwrap()[whom].clone();
        let address = self.stage.gateway.addr("db");
        if key.is_empty() {
            return;
        }
        let Ok(mut connection) = Connection::connect(address) else {
            return;
        };
        let sent = connection.send(packet(CANCEL, &key));
        // The gateway closes when the request has been passed on, or was not.
        let _ = sent.and_then(|()| connection.read_to_end());
    }

    /// Ends a backend of the primary, whosever it is.
    pub(super) fn kill_a_backend(&mut self) {
        let address = self.stage.servers.lock().unwrap().primary().address();
        let Ok((mut connection, _)) = login(address, "killer") else {
            return;
        };
        let kill = "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity \
                    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) one";
        let sent = connection.send(crate::postgres::wire::query(kill));
        let _ = sent.and_then(|()| until_ready(&mut connection));
    }
}

/// Reads to ReadyForQuery; an error is one here.
fn until_ready(connection: &mut Connection) -> io::Result<Vec<Message>> {
    let mut all = Vec::new();
    loop {
        let (tag, body) = read_message(connection)?;
        if tag == b'E' {
            return Err(io::Error::other(field(&body, b'M')));
        }
        all.push((tag, body));
        if tag == b'Z' {
            return Ok(all);
        }
    }
}

/// A session under this application name, and its key.
fn login(address: SocketAddr, name: &str) -> io::Result<(Connection, Vec<u8>)> {
    let mut connection = Connection::connect(address)?;
    let parameters = [
        ("user", "postgres"),
        ("database", "postgres"),
        ("application_name", name),
    ];
    connection.send(startup(V3, &parameters))?;
    let messages = until_ready(&mut connection)?;
    let key = messages.into_iter().find(|(tag, _)| *tag == b'K');
    Ok((connection, key.map_or(Vec::new(), |(_, body)| body)))
}
