//! A client that writes its messages byte by byte, for what no driver would send.
//!
//! Start at [`Wire::login`].

use std::io;
use std::net::SocketAddr;

use harness::{Client, Connection};

/// Protocol 3.0.
pub(super) const V3: u32 = 3 << 16;
pub(super) const SSL: u32 = (1234 << 16) + 5679;
pub(super) const GSS: u32 = (1234 << 16) + 5680;
pub(super) const CANCEL: u32 = (1234 << 16) + 5678;

/// A connection without a driver.
pub(super) struct Wire {
    pub(super) client: Client,
    /// The process and secret that a cancel request names.
    pub(super) key: Vec<u8>,
}

/// A message as it is read: its type and body.
pub(super) type Message = (u8, Vec<u8>);

/// A packet as clients begin with.
pub(super) fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.extend_from_slice(&code.to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

/// A start-up packet with these parameters.
pub(super) fn startup(code: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parameters {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    packet(code, &body)
}

/// The start-up packet of a user.
pub(super) fn hello(user: &str) -> Vec<u8> {
    startup(V3, &[("user", user), ("database", "postgres")])
}

/// A message behind the start-up.
pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    let mut message = vec![tag];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(body);
    message
}

pub(super) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

pub(super) fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

/// Bind without parameters, to the unnamed portal.
pub(super) fn bind(statement: &str) -> Vec<u8> {
    message(b'B', format!("\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub(super) fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

pub(super) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

/// A text by the extended protocol, to its Sync.
pub(super) fn extended(text: &str) -> Vec<u8> {
    [parse("", text), bind(""), execute(), sync()].concat()
}

/// One whole message from a server.
pub(super) fn read_message(connection: &mut Connection) -> io::Result<Message> {
    let head = connection.read_exact(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
    Ok((head[0], connection.read_exact(length - 4)?))
}

/// A field of an ErrorResponse.
pub(super) fn field(body: &[u8], code: u8) -> String {
    let mut fields = body.split(|byte| *byte == 0);
    let found = fields.find(|field| field.first() == Some(&code));
    String::from_utf8_lossy(&found.unwrap_or(b" ")[1..]).into_owned()
}

/// Whole messages.
pub(super) fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let [tag, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        found.push((*tag, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    found
}

/// The SQLSTATE of the only ErrorResponse in what was read to the end.
#[track_caller]
pub(super) fn state(bytes: &[u8]) -> String {
    let messages = messages(bytes);
    let errors: Vec<&Message> = messages.iter().filter(|(tag, _)| *tag == b'E').collect();
    assert_eq!(errors.len(), 1, "{}", bytes.escape_ascii());
    field(&errors[0].1, b'C')
}

/// The types of messages, in order.
pub(super) fn tags(messages: &[Message]) -> String {
    messages.iter().map(|(tag, _)| char::from(*tag)).collect()
}

impl Wire {
    #[track_caller]
    pub(super) fn connect(address: SocketAddr) -> Self {
        Self {
            client: Client::connect(address),
            key: Vec::new(),
        }
    }

    /// The superuser's session, where nobody is asked for a password.
    #[track_caller]
    pub(super) fn login(address: SocketAddr) -> Self {
        Self::begin(address, &[])
    }

    /// The superuser's session, with these parameters besides.
    #[track_caller]
    pub(super) fn begin(address: SocketAddr, parameters: &[(&str, &str)]) -> Self {
        let mut wire = Self::connect(address);
        let own = [("user", "postgres"), ("database", "postgres")];
        wire.client.send(startup(V3, &[&own, parameters].concat()));
        for (tag, body) in wire.until_ready() {
            assert_ne!(tag, b'E', "{}", body.escape_ascii());
            if tag == b'K' {
                wire.key = body;
            }
        }
        wire
    }

    #[track_caller]
    pub(super) fn read(&mut self) -> Message {
        read_message(self.client.connection()).expect("a message")
    }

    /// Everything to a ReadyForQuery.
    #[track_caller]
    pub(super) fn until_ready(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            all.push(self.read());
            if all.last().is_some_and(|(tag, _)| *tag == b'Z') {
                return all;
            }
        }
    }

    /// Sends, and reads to a ReadyForQuery.
    #[track_caller]
    pub(super) fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Vec<Message> {
        self.client.send(bytes);
        self.until_ready()
    }

    /// The first value of the only row that a query has.
    #[track_caller]
    pub(super) fn value(&mut self, sql: &str) -> String {
        value(&self.ask(query(sql)))
    }
}

/// The first value of the only row.
#[track_caller]
pub(super) fn value(messages: &[Message]) -> String {
    let mut values = values(messages);
    assert_eq!(values.len(), 1, "{messages:?}");
    values.remove(0)
}

/// The first value of each row.
pub(super) fn values(messages: &[Message]) -> Vec<String> {
    let rows = messages.iter().filter(|(tag, _)| *tag == b'D');
    rows.map(|(_, body)| String::from_utf8_lossy(&body[6..]).into_owned())
        .collect()
}
