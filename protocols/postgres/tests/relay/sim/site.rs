//! Clients, server connections and the gateway between them, which does what the session does with its sockets.
//!
//! Start at [`run`].

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_postgres::encoder;
use portcullis_postgres::limits::FrameLimits;
use portcullis_postgres::machine::relay::Router;
use portcullis_postgres::machine::{
    Demand, Event, Link, Mode, Opening, Pins, Reading, Recent, Registry, Relay, Setup, StatePolicy,
    StatementLimits, Subject, Target, Turn, Want,
};
use portcullis_postgres::message::backend::TransactionStatus;
use portcullis_postgres::sql;
use portcullis_postgres::sqlstate::SqlState;

use super::client::{Client, Lease, Parameters};
use super::model::{Cancelled, DENIED, Server, is_ready, show, take_message};
use super::script::{Script, query};
use super::state::State;
use portcullis_testkit::Choices;

/// A server connection and both of its wires.
struct Connection {
    server: Server,
    /// On its way to the server.
    wire: BytesMut,
    /// What the gateway has of it and nobody has taken.
    input: BytesMut,
    link: Link,
    reported: Parameters,
    holder: Option<usize>,
    /// It has sent what no server sends.
    lied: bool,
}

/// One place, or two among which the text decides.
struct Routes {
    places: u16,
}

impl Router for Routes {
    fn target(&self, demand: Demand<'_>) -> Target {
        Target(u16::from(self.places > 1 && demand.analysis.is_read()))
    }

    fn looks_at_statements(&self) -> bool {
        self.places > 1
    }
}

/// All of it.
pub struct Site<'c> {
    choices: Choices<'c>,
    setup: Setup,
    routes: Routes,
    server_frames: FrameLimits,
    clients: Vec<Client>,
    connections: Vec<Connection>,
    cancelled: Cancelled,
    next_id: usize,
    now: Instant,
    /// Whether anything breaks.
    faults: bool,
    /// Whether servers lie: then nothing that clients hear is judged.
    lies: bool,
}

/// Runs so many steps, or as many as there are choices for.
pub fn run(choices: Choices<'_>, steps: usize) {
    let mut site = Site::new(choices);
    for _ in 0..steps {
        if site.choices.is_over() {
            break;
        }
        site.step();
    }
    site.settle();
    site.finish();
}

impl<'c> Site<'c> {
    #[allow(clippy::disallowed_methods)] // any instant will do: nothing here depends on the time
    fn new(mut choices: Choices<'c>) -> Self {
        let mode = choices.of(&[Mode::Transaction, Mode::Transaction, Mode::Session]);
        let whole = choices.of(&[64 * 1024, 64 * 1024, 48]);
        let frames = |batch| FrameLimits {
            whole,
            batch,
            ..FrameLimits::default()
        };
        let denies = choices.once_in(2);
        let setup = Setup {
            mode,
            state: choices.of(&[StatePolicy::Pin, StatePolicy::Replay]),
            prepared: choices.of(&[100, 2, 0]),
            statements: StatementLimits {
                count: 100,
                bytes: 1 << 20,
            },
            pipeline: choices.of(&[256, 4]),
            inspect: denies,
            client_frames: FrameLimits::default(),
            sql: sql::Options::default(),
            registry: Arc::new(Registry::new()),
            unnamed: Recent::default(),
        };
        let connections = choices.below(3) + 1;
        let clients = choices.below(4) + 1;
        let places = if mode == Mode::Session {
            1
        } else {
            choices.of(&[1, 2])
        };
        let mut site = Self {
            setup,
            routes: Routes { places },
            server_frames: frames(true),
            clients: Vec::new(),
            connections: Vec::new(),
            cancelled: Cancelled::default(),
            next_id: 0,
            now: Instant::now(),
            faults: choices.once_in(2),
            lies: choices.once_in(8),
            choices,
        };
        for _ in 0..connections {
            let connection = site.connection();
            site.connections.push(connection);
        }
        for _ in 0..clients {
            let client = site.client();
            site.clients.push(client);
        }
        site
    }

    fn connection(&self) -> Connection {
        let server = Server::new(State::default(), Cancelled::clone(&self.cancelled));
        Connection {
            reported: server.reported().clone(),
            server,
            wire: BytesMut::new(),
            input: BytesMut::new(),
            link: Link::new(Target(0), self.server_frames),
            holder: None,
            lied: false,
        }
    }

    fn client(&mut self) -> Client {
        let id = self.next_id;
        self.next_id += 1;
        let own = format!("start{}", id % 2);
        let shapes: [&[(&str, &str)]; 4] = [
            &[],
            &[("work_mem", own.as_str()), ("timezone", own.as_str())],
            &[("work_mem", own.as_str())],
            &[("timezone", own.as_str())],
        ];
        let settings = self.choices.of(&shapes);
        let parameters = [("user", "u")].into_iter().chain(settings.iter().copied());
        let bytes = parameters.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let opening = Opening::read(bytes).unwrap();
        let defaults = settings
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let state = State {
            defaults: defaults.collect(),
            ..State::default()
        };
        let mut twin = Server::new(state, Cancelled::clone(&self.cancelled));
        twin.is_twin = true;
        let relay = Relay::new(&self.setup, opening.shape, Reading::default());
        let script = Script::new(id, self.setup.inspect);
        let mut client = Client::new(id, script, relay, twin);
        client.hostile = self.lies || (self.faults && self.choices.once_in(4));
        client
    }

    fn step(&mut self) {
        let client = self.choices.below(self.clients.len());
        let connection = self.choices.below(self.connections.len());
        match self.choices.below(16) {
            0..3 => self.speak(client),
            3..7 => self.hear_client(client),
            7..10 => self.send_on(connection),
            10..14 => self.hear_server(connection),
            14 => {
                let connection = &mut self.connections[connection];
                if connection.server.is_idle() && connection.wire.is_empty() {
                    connection.server.notify();
                }
            }
            _ if self.lies => self.lie(connection),
            _ if self.faults => self.break_something(client, connection),
            _ => {}
        }
    }

    /// A server sends something else than it should.
    fn lie(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let output = &mut connection.server.output;
        if output.is_empty() {
            output.extend_from_slice(b"Z\0\0\0\x05I");
        } else {
            let at = self.choices.below(output.len());
            output[at] = self.choices.below(256) as u8;
        }
        connection.lied = true;
    }

    fn break_something(&mut self, client: usize, connection: usize) {
        match self.choices.below(4) {
            0 => self.kill(connection),
            1 => self.leave(client),
            _ => {
                // A cancel request while nothing is under way is lost.
                let connection = &mut self.connections[connection];
                let is_busy = connection.holder.is_some()
                    && !(connection.server.input.is_empty() && connection.wire.is_empty());
                connection.server.cancel |= is_busy;
            }
        }
    }

    fn speak(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.wire.len() > 4_000 {
            return;
        }
        let mut batch = client.script.batch(&mut self.choices);
        if client.hostile && self.choices.once_in(2) {
            for message in &mut batch {
                let at = self.choices.below(message.len());
                message[at] = self.choices.below(256) as u8;
            }
        }
        client.say(batch);
    }

    /// How many bytes of this many move.
    fn some(&mut self, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        match self.choices.below(3) {
            0 => most,
            1 => 1 + self.choices.below(most),
            _ => 1 + self.choices.below(most.min(6)),
        }
    }

    fn hear_client(&mut self, at: usize) {
        let count = self.some(self.clients[at].wire.len());
        self.clients[at].arrive(count);
        // The session reads on only where the relay wants more.
        self.converse(at);
    }

    fn send_on(&mut self, at: usize) {
        let count = self.some(self.connections[at].wire.len());
        let connection = &mut self.connections[at];
        let bytes = connection.wire.split_to(count);
        connection.server.input.extend_from_slice(&bytes);
        connection.server.take();
    }

    fn hear_server(&mut self, at: usize) {
        let count = self.some(self.connections[at].server.output.len());
        let connection = &mut self.connections[at];
        let bytes = connection.server.output.split_to(count);
        connection.input.extend_from_slice(&bytes);
        let is_over = connection.server.dead && connection.server.output.is_empty();
        if let Some(holder) = connection.holder {
            self.on_server(holder);
        }
        if is_over && count == 0 {
            self.kill(at);
        }
    }

    /// As the session does it: what the relay can take of the client's bytes, and what it wants then.
    fn converse(&mut self, at: usize) {
        loop {
            let client = &mut self.clients[at];
            let mut nothing = BytesMut::new();
            let (link, upstream) = match &mut client.lease {
                Some(lease) => (
                    Some(&mut self.connections[lease.at].link),
                    &mut lease.upstream,
                ),
                None => (None, &mut nothing),
            };
            let mut turn = Turn {
                now: self.now,
                link,
                upstream,
                downstream: &mut client.output,
                setup: &self.setup,
                router: &self.routes,
            };
            let want = client.relay.handle_client(&mut client.input, &mut turn);
            assert!(nothing.is_empty(), "bytes for a server that is not there");
            let Ok(want) = want else {
                assert!(
                    client.hostile,
                    "client {} is not understood: {want:?}",
                    client.id
                );
                return self.leave(at);
            };
            client.want = want;
            if let Some(lease) = &mut client.lease {
                let bytes = lease.upstream.split();
                self.connections[lease.at].wire.extend_from_slice(&bytes);
            }
            client.hear();
            match want {
                Want::Input | Want::Replies => return,
                Want::Goodbye => return self.leave(at),
                Want::Statement => self.judge(at),
                Want::Server(target) => {
                    if !self.attach(at, target) {
                        return;
                    }
                }
            }
        }
    }

    fn judge(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let text = match client.relay.subject() {
            Subject::Query => client.relay.query(&client.input).0,
            Subject::Prepared(prepared) => prepared.sql(),
            Subject::Unknown => b"",
        };
        if String::from_utf8_lossy(text).contains(DENIED) {
            client.relay.reject(denied());
        } else {
            client.relay.admit();
        }
    }

    /// Gets a server connection. `false` if there is none.
    fn attach(&mut self, at: usize, target: Target) -> bool {
        if self.clients[at].lease.is_some() {
            self.release(at);
        }
        let free = |connection: &Connection| connection.holder.is_none();
        let free: Vec<usize> = (0..self.connections.len())
            .filter(|at| free(&self.connections[*at]))
            .collect();
        if free.is_empty() {
            return false;
        }
        let found = self.choices.of(&free);
        self.check_free(found);
        let connection = &mut self.connections[found];
        connection.link.target = target;
        connection.holder = Some(at);
        let shape = Arc::clone(self.clients[at].relay.shape());
        if let Some(sql) = shape.changes(&connection.link.shape) {
            if !execute(connection, &sql) {
                if connection.lied {
                    // It is closed, and there will be another.
                    self.connections[found] = self.connection();
                    return self.attach(at, target);
                }
                assert!(self.clients[at].hostile, "parameters are refused");
                connection.holder = None;
                self.leave(at);
                return false;
            }
            connection.link.shape = shape;
        }
        self.clients[at].lease = Some(Lease {
            at: found,
            upstream: BytesMut::new(),
        });
        self.tell_parameters(at);
        true
    }

    /// Tells the client of parameters that are others on this connection than on the last.
    fn tell_parameters(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(lease) = &client.lease else { return };
        let connection = &self.connections[lease.at];
        for (name, value) in &connection.reported {
            if client.told.get(name) != Some(value) {
                encoder::parameter_status(name.as_bytes(), value.as_bytes(), &mut client.output);
                client.relay.on_reported(name.as_bytes(), value.as_bytes());
            }
        }
        client.told.clone_from(&connection.reported);
    }

    /// A connection that is handed on: nothing may be under way on it, and nothing of the client before may be in it.
    fn check_free(&mut self, at: usize) {
        if self.connections[at].lied {
            return;
        }
        // What is left there of a COPY that has failed is read over.
        deliver(&mut self.connections[at]);
        let connection = &self.connections[at];
        let server = &connection.server;
        assert!(server.is_idle(), "something is under way: {server:?}");
        let mut left = [&connection.input[..], &server.output[..]].concat()[..].into();
        while let Some((tag, message)) = take_message(&mut left) {
            assert!(
                matches!(tag.0, b'A' | b'N' | b'S'),
                "left over: {}",
                show(&message)
            );
        }
        let traces = server.state.traces();
        assert!(
            traces.is_empty(),
            "left behind: {traces}: {:?}",
            server.state
        );
        let mut other = Connection {
            server: Server::default(),
            wire: BytesMut::new(),
            input: BytesMut::new(),
            link: Link::new(Target(0), self.server_frames),
            reported: Parameters::new(),
            holder: None,
            lied: false,
        };
        if let Some(sql) = connection.link.shape.all() {
            execute(&mut other, &sql);
        }
        let settings = &other.server.state.now.settings;
        assert_eq!(
            &server.state.now.settings, settings,
            "settings of the one before"
        );
    }

    /// What the server has sent is shown to the relay of the client that has it.
    fn on_server(&mut self, at: usize) {
        loop {
            let client = &mut self.clients[at];
            let Some(lease) = &client.lease else { return };
            let connection = &mut self.connections[lease.at];
            let event = client.relay.handle_server(
                &mut connection.input,
                &mut connection.link,
                &mut client.output,
                None,
            );
            for (name, value) in connection.link.take_parameters() {
                client.told.insert(lossy(&name), lossy(&value));
                connection.reported.insert(lossy(&name), lossy(&value));
            }
            client.relay.take_done(|_| {});
            client.hear();
            match event {
                Err(error) => {
                    let lied = self.lies || client.hostile;
                    assert!(
                        lied,
                        "client {}: the server is not understood: {error}",
                        client.id
                    );
                    return self.lose(at);
                }
                Ok(Event::Nothing) => break,
                Ok(Event::Reapply) => self.reapply(at),
                Ok(Event::Ready) => {
                    self.on_quiet(at);
                    let lease = &self.clients[at].lease;
                    let is_more = |lease: &Lease| !self.connections[lease.at].input.is_empty();
                    if !lease.as_ref().is_some_and(is_more) {
                        break;
                    }
                }
            }
        }
        if self.clients[at].want == Want::Replies {
            self.converse(at);
        }
    }

    fn reapply(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let shape = Arc::clone(client.relay.shape());
        if let (Some(lease), Some(sql)) = (&client.lease, client.relay.take_due()) {
            let connection = &mut self.connections[lease.at];
            execute(connection, &sql);
            connection.link.shape = shape;
        }
        self.tell_parameters(at);
        let client = &mut self.clients[at];
        client.relay.on_applied(&mut client.output);
        client.hear();
        if client.relay.is_quiet() {
            self.on_quiet(at);
        }
        if self.clients[at].want == Want::Replies {
            self.converse(at);
        }
    }

    fn on_quiet(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.relay.take_shape_changed()
            && let Some(lease) = &client.lease
        {
            self.connections[lease.at].link.shape = Arc::clone(client.relay.shape());
        }
        if client.relay.is_free() {
            self.release(at);
        }
    }

    /// Gives the connection back, as it is, reset, or closed.
    fn release(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(lease) = client.lease.take() else {
            return;
        };
        let connection = &mut self.connections[lease.at];
        connection.holder = None;
        let is_clean = client.relay.is_quiet() && lease.upstream.is_empty();
        let pinned = client.relay.pins().without(Pins::SESSION);
        let is_over = connection.server.cancel || connection.link.leaving || !is_clean;
        if is_over || pinned.contains(Pins::LOADED) {
            self.connections[lease.at] = self.connection();
        } else if connection.link.tainted || !pinned.is_empty() || self.setup.mode == Mode::Session
        {
            self.reset(lease.at);
        } else {
            self.check_free(lease.at);
        }
    }

    fn reset(&mut self, at: usize) {
        if execute(&mut self.connections[at], b"DISCARD ALL") {
            self.connections[at].link.on_reset();
            self.check_free(at);
        } else {
            self.connections[at] = self.connection();
        }
    }

    /// The client is gone, and another comes in its place.
    fn leave(&mut self, at: usize) {
        let client = self.client();
        let client = std::mem::replace(&mut self.clients[at], client);
        let Some(lease) = client.lease else { return };
        let connection = &mut self.connections[lease.at];
        connection.holder = None;
        let relay = &client.relay;
        let is_quiet = relay.owes_nothing() && lease.upstream.is_empty() && !relay.is_waiting();
        if !is_quiet || connection.link.leaving || connection.server.cancel {
            self.connections[lease.at] = self.connection();
            return;
        }
        let is_open = relay.status() != TransactionStatus::Idle;
        if is_open && !execute(connection, b"ROLLBACK") {
            self.connections[lease.at] = self.connection();
        } else if connection.link.tainted || is_open || !relay.pins().is_empty() {
            self.reset(lease.at);
        } else {
            self.check_free(lease.at);
        }
    }

    /// A server ends.
    fn kill(&mut self, at: usize) {
        match self.connections[at].holder {
            Some(holder) => self.lose(holder),
            None => self.connections[at] = self.connection(),
        }
    }

    /// The client's server connection is lost.
    fn lose(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(lease) = client.lease.take() else {
            return;
        };
        self.connections[lease.at] = self.connection();
        let client = &mut self.clients[at];
        client.hear();
        let error = encoder::error_message(SqlState::CONNECTION_FAILURE, "lost");
        let before = client.output.len();
        let goes_on = client.relay.on_link_lost(&error, &mut client.output);
        if client.relay.is_mid_message() {
            assert_eq!(
                client.output.len(),
                before,
                "said in the middle of a message"
            );
        }
        let follows = client.hostile || self.lies;
        if !goes_on || (!follows && !client.on_lost()) {
            return self.leave(at);
        }
        client.output.clear();
        if client.want == Want::Replies {
            self.converse(at);
        }
    }

    /// Everything moves until nothing does.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            let moved = self.move_all();
            if !moved {
                break;
            }
        }
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            let waits = matches!(client.want, Want::Server(_));
            if client.lease.is_some() && self.setup.mode != Mode::Session && !self.lies {
                assert!(
                    !client.relay.is_free(),
                    "client {} keeps a connection",
                    client.id
                );
            }
            if !waits && !self.lies {
                client.check_settled();
            }
        }
    }

    fn move_all(&mut self) -> bool {
        let mut moved = false;
        for at in 0..self.clients.len() {
            let count = self.clients[at].wire.len();
            moved |= count > 0;
            self.clients[at].arrive(count);
            if matches!(self.clients[at].want, Want::Server(_)) || count > 0 {
                let before = self.clients[at].input.len();
                self.converse(at);
                moved |= self.clients[at].input.len() != before;
            }
        }
        for at in 0..self.connections.len() {
            let connection = &mut self.connections[at];
            moved |= !connection.wire.is_empty();
            let bytes = connection.wire.split();
            connection.server.input.extend_from_slice(&bytes);
            connection.server.take();
            let bytes = connection.server.output.split();
            moved |= !bytes.is_empty();
            connection.input.extend_from_slice(&bytes);
            let (is_over, holder) = (connection.server.dead, connection.holder);
            if let Some(holder) = holder.filter(|_| !bytes.is_empty()) {
                self.on_server(holder);
            }
            if is_over {
                moved = true;
                self.kill(at);
            }
        }
        moved
    }

    /// All end what they have begun, one after the other, and all get their answers.
    fn finish(&mut self) {
        for _ in 0..2 {
            for at in 0..self.clients.len() {
                if self.clients[at].hostile {
                    self.leave(at);
                    self.clients[at].hostile = false;
                    continue;
                }
                let ending = Script::ending();
                self.clients[at].say(ending);
                self.settle();
                let waits = matches!(self.clients[at].want, Want::Server(_));
                if self.setup.mode == Mode::Session && !waits {
                    self.leave(at);
                }
            }
        }
        for at in 0..self.clients.len() {
            self.settle();
            let client = &self.clients[at];
            assert!(
                self.lies || !matches!(client.want, Want::Server(_)),
                "client {} is never served",
                client.id
            );
            self.leave(at);
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn denied() -> Bytes {
    let mut bytes = BytesMut::new();
    let fields = [
        (b'S', &b"ERROR"[..]),
        (b'V', b"ERROR"),
        (b'C', b"42501"),
        (b'M', b"denied"),
    ];
    encoder::error_response(fields, &mut bytes);
    bytes.freeze()
}

/// Carries out SQL of the gateway's own to its ReadyForQuery. Whether that went well.
fn execute(connection: &mut Connection, sql: &[u8]) -> bool {
    connection.link.statements.unnamed = 0;
    if connection.lied {
        return false;
    }
    deliver(connection);
    let server = &mut connection.server;
    server.input.extend_from_slice(&query(&lossy(sql)));
    server.take();
    let bytes = server.output.split();
    connection.input.extend_from_slice(&bytes);
    let mut is_done = true;
    while let Some((tag, message)) = take_message(&mut connection.input) {
        match tag.0 {
            b'Z' => {
                assert!(is_ready(&message));
                return is_done;
            }
            b'S' => {
                let mut parts = message[5..].split(|byte| *byte == 0).map(lossy);
                let (name, value) = (parts.next().unwrap(), parts.next().unwrap());
                connection.reported.insert(name, value);
            }
            b'E' => is_done = false,
            _ => {}
        }
    }
    false
}

/// What is on its way to the server arrives.
fn deliver(connection: &mut Connection) {
    let bytes = connection.wire.split();
    connection.server.input.extend_from_slice(&bytes);
    connection.server.take();
}
