//! One relay and one server connection, handed bytes by name: what a case is written in.
//!
//! No pool and no model of a server: a case says what the server answers. Start at [`Talk`].

#![allow(dead_code, unreachable_pub)] // each user takes the part that it needs

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use portcullis_postgres::encoder;
use portcullis_postgres::limits::FrameLimits;
use portcullis_postgres::machine::relay::Router;
use portcullis_postgres::machine::{
    Demand, Event, Judge, Link, Mode, Reading, Recent, Registry, Relay, RelayError, Setup, Shape,
    StatePolicy, StatementLimits, Target, Turn, Want,
};
use portcullis_postgres::message::backend::TransactionStatus;
use portcullis_postgres::request::ResultPiece;
use portcullis_postgres::sql;
use portcullis_postgres::sqlstate::SqlState;

/// Everything goes to one place.
pub struct Anywhere;

impl Router for Anywhere {
    fn target(&self, _: Demand<'_>) -> Target {
        Target(0)
    }

    fn looks_at_statements(&self) -> bool {
        false
    }
}

/// What a listener has in common, as small as it gets.
pub fn setup(mode: Mode) -> Setup {
    Setup {
        mode,
        state: StatePolicy::Pin,
        prepared: 4,
        statements: StatementLimits {
            count: 100,
            bytes: 1 << 20,
        },
        pipeline: 16,
        inspect: false,
        client_frames: FrameLimits::default(),
        sql: sql::Options::default(),
        registry: Arc::new(Registry::new()),
        unnamed: Recent::default(),
    }
}

/// A client with a server connection.
pub struct Talk {
    pub setup: Setup,
    pub relay: Relay,
    pub link: Option<Link>,
    /// Bytes of the client's that were not taken.
    pub input: BytesMut,
    /// Bytes of the server's that were not taken.
    pub from_server: BytesMut,
    upstream: BytesMut,
    downstream: BytesMut,
}

impl Talk {
    pub fn new(setup: Setup) -> Self {
        let limits = FrameLimits {
            batch: true,
            ..FrameLimits::default()
        };
        Self::with_limits(setup, limits)
    }

    pub fn with_limits(setup: Setup, limits: FrameLimits) -> Self {
        Self {
            relay: Relay::new(&setup, Arc::default(), Reading::default()),
            setup,
            link: Some(Link::new(Target(0), limits)),
            input: BytesMut::new(),
            from_server: BytesMut::new(),
            upstream: BytesMut::new(),
            downstream: BytesMut::new(),
        }
    }

    /// The client's shape is this one.
    pub fn shaped(mut self, shape: Shape) -> Self {
        self.relay = Relay::new(&self.setup, Arc::new(shape), Reading::default());
        self
    }

    /// The client sends these.
    #[allow(clippy::disallowed_methods)] // nothing here depends on the time
    pub fn client(&mut self, bytes: &[u8]) -> Want {
        self.input.extend_from_slice(bytes);
        let mut turn = Turn {
            now: Instant::now(),
            link: self.link.as_mut(),
            upstream: &mut self.upstream,
            downstream: &mut self.downstream,
            setup: &self.setup,
            router: &Anywhere,
        };
        self.relay
            .handle_client(&mut self.input, &mut turn)
            .unwrap()
    }

    /// The server sends these.
    pub fn server(&mut self, bytes: &[u8]) -> Result<Event, RelayError> {
        self.judged(bytes, None)
    }

    /// The server sends these, and rows are judged.
    pub fn judged(&mut self, bytes: &[u8], judge: Option<Judge<'_>>) -> Result<Event, RelayError> {
        self.from_server.extend_from_slice(bytes);
        let link = self.link.as_mut().expect("a server connection");
        let (input, output) = (&mut self.from_server, &mut self.downstream);
        self.relay.handle_server(input, link, output, judge)
    }

    /// The server connection is lost.
    pub fn lose(&mut self) -> bool {
        self.link = None;
        self.from_server.clear();
        self.upstream.clear();
        self.relay.on_link_lost(&lost(), &mut self.downstream)
    }

    /// Another server connection is got.
    pub fn attach(&mut self) {
        let limits = FrameLimits::default();
        self.link = Some(Link::new(Target(0), limits));
    }

    /// Types of the messages that the server was sent since the last call.
    #[track_caller]
    pub fn sent(&mut self) -> String {
        tags(&self.upstream.split())
    }

    /// Types of the messages that the client was sent since the last call.
    #[track_caller]
    pub fn heard(&mut self) -> String {
        tags(&self.downstream.split())
    }

    /// What the client was sent since the last call.
    pub fn heard_bytes(&mut self) -> Vec<u8> {
        self.downstream.split().to_vec()
    }

    /// What the server was sent since the last call.
    pub fn sent_bytes(&mut self) -> Vec<u8> {
        self.upstream.split().to_vec()
    }
}

/// A judge that cuts results off behind so many bytes.
pub fn at_most(bytes: u64) -> impl FnMut(ResultPiece) -> Option<Bytes> {
    move |piece| (piece.total_bytes > bytes).then(|| error("53400"))
}

/// Messages, one behind the other.
pub fn all(writes: &[&dyn Fn(&mut BytesMut)]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    for write in writes {
        write(&mut bytes);
    }
    bytes.to_vec()
}

/// One message.
pub fn one(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    write(&mut bytes);
    bytes.to_vec()
}

/// A whole ErrorResponse.
pub fn error(state: &str) -> Bytes {
    let state = SqlState::new(state.as_bytes()).expect("an SQLSTATE");
    encoder::error_message(state, "no")
}

/// What is said of a lost connection.
pub fn lost() -> Bytes {
    error("08006")
}

pub fn query(sql: &str) -> Vec<u8> {
    one(|dst| encoder::query(sql.as_bytes(), dst))
}

pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    one(|dst| encoder::parse(name.as_bytes(), sql.as_bytes(), &[], dst))
}

pub fn bind(statement: &str) -> Vec<u8> {
    let bind = encoder::Bind {
        statement: statement.as_bytes(),
        ..encoder::Bind::default()
    };
    one(|dst| encoder::bind(&bind, dst))
}

pub fn execute() -> Vec<u8> {
    one(|dst| encoder::execute(b"", 0, dst))
}

pub fn sync() -> Vec<u8> {
    one(encoder::sync)
}

pub fn complete(tag: &str) -> Vec<u8> {
    one(|dst| encoder::command_complete(tag.as_bytes(), dst))
}

pub fn row(value: &[u8]) -> Vec<u8> {
    one(|dst| encoder::data_row(&[Some(value)], dst))
}

/// ReadyForQuery outside of a transaction.
pub fn ready() -> Vec<u8> {
    one(|dst| encoder::ready_for_query(TransactionStatus::Idle, dst))
}

/// Types of whole messages; what stands behind the last whole one is shown as `~`.
#[track_caller]
pub fn tags(mut bytes: &[u8]) -> String {
    let mut tags = String::new();
    while let [tag, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        assert!(length >= 4, "no message: {}", bytes.escape_ascii());
        let Some(behind) = rest.get(length - 4..) else {
            break;
        };
        tags.push(char::from(*tag));
        bytes = behind;
    }
    if !bytes.is_empty() {
        tags.push('~');
    }
    tags
}
