//! Talks of one client, written down in `tests/vectors/talks`, over connections that say what they are told to say.
//!
//! A step is what one party says, up to a semicolon:
//!
//! | Step | Meaning |
//! |---|---|
//! | `> GET a` | The client says this. |
//! | `s0 +OK` | The connection to shard 0 that clients share answers what was asked first. A bar is a line end. |
//! | `p1 begin $9`, `p1 more ..`, `p1 last ..` | The pieces of a large reply, over the client's second own connection. |
//! | `p1 push >1` | Said unasked. |
//! | `s0 lost`, `s0 full` | The connection is gone; the next command for it does not fit. |
//! | `p1 sent` | All of a large command was sent. |
//! | `nowhere`, `no pin` | The next key has no place; the next connection of its own cannot be had. |
//! | `large 4 > SET a` | The front of a command of four arguments. |
//! | `turned away > MULTI` | The client says this, and filters refuse it. |
//! | `leave` | The client is gone. |
//!
//! A key lives at the shard that its first letter says, `a` at 0, `b` at 1, `c` at 2. With the option `prefix=` keys have that
//! in front of them upstream. Start at [`Talk::step`].

use std::collections::VecDeque;
use std::fmt::Write as _;

use portcullis_testkit::vectors::{Vector, check_file};

use super::*;
use crate::acl::User;
use crate::acl::Users;
use crate::command::CommandId;
use crate::command::handling::Scope;
use crate::machine::upstreams::{Destination, Destinations, Purpose};
use crate::renaming::Renaming;
use crate::reply::ReplyKind;
use crate::request::Command;

const TALKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/talks");

#[test]
fn what_a_client_is_told_of_itself() {
    check_file(format!("{TALKS}/itself.md"), talk);
}

#[test]
fn what_a_client_may_do_after_a_reload() {
    check_file(format!("{TALKS}/rights.md"), talk);
}

#[test]
fn commands_for_one_place_and_for_several() {
    check_file(format!("{TALKS}/places.md"), talk);
}

#[test]
fn transactions() {
    check_file(format!("{TALKS}/transactions.md"), talk);
}

#[test]
fn subscriptions() {
    check_file(format!("{TALKS}/subscriptions.md"), talk);
}

#[test]
fn keys_with_other_names_upstream() {
    check_file(format!("{TALKS}/prefixes.md"), talk);
}

#[test]
fn tracking_and_monitor() {
    check_file(format!("{TALKS}/tracking.md"), talk);
}

#[test]
fn what_is_large_or_waits() {
    check_file(format!("{TALKS}/long.md"), talk);
}

fn talk(vector: &Vector) -> String {
    let mut talk = Talk::new(vector);
    let script = String::from_utf8(vector.input.clone()).unwrap();
    for step in script.split(';').map(str::trim).filter(|it| !it.is_empty()) {
        talk.up.said.push(step.to_owned());
        talk.step(step);
        talk.go_on();
    }
    let owed = talk.client.owed();
    if owed > 0 {
        talk.up.said.push(format!("owed {owed}"));
    }
    for (name, pending) in &talk.up.connections {
        if name.starts_with('p') {
            talk.up.said.push(format!("left {name} {}", pending.len()));
        }
    }
    talk.up.said.join("\n")
}

/// Users with these rules.
fn users(named: &[(&str, &str)]) -> Users {
    let mut users = Users::default();
    for (name, rules) in named {
        let mut user = User::new();
        user.apply(&format!("on {}", rules.replace(',', " ")))
            .unwrap();
        users.insert(name.as_bytes(), user);
    }
    users
}

/// A client and what it talks to.
struct Talk {
    client: Client<u32>,
    up: Script,
    commands: u32,
    waiting: VecDeque<(u32, Command)>,
    is_closed: bool,
}

impl Talk {
    fn new(vector: &Vector) -> Self {
        let default = vector.option("default").unwrap_or("nopass,+@all,~*,&*");
        let users = users(&[
            ("default", default),
            ("reader", ">secret,+@read,+@transaction,~a*"),
        ]);
        let mut allowed = vec![CommandId::FLUSHDB];
        if vector.has("kill") {
            allowed.extend([CommandId::SCRIPT_KILL, CommandId::FUNCTION_KILL]);
        }
        if vector.has("monitor") {
            allowed.push(CommandId::MONITOR);
        }
        let policy = Policy {
            users,
            allowed,
            databases: 2,
            is_cluster: vector.has("cluster"),
            trusts_scripts: vector.has("trusted"),
            node: node_id("cache"),
        };
        let mut client = Client::new(Arc::new(policy), 7, "10.0.0.1:4711");
        client.set_here(Here {
            address: ([10, 0, 0, 2], 6379).into(),
            is_secure: vector.has("secure"),
        });
        Self {
            client,
            up: Script {
                shards: vector.number("shards", 1) as u16,
                renaming: vector.option("prefix").map(|prefix| {
                    Arc::new(Renaming {
                        strip: Box::default(),
                        add: prefix.as_bytes().into(),
                        allows_scripts: false,
                    })
                }),
                ..Script::default()
            },
            commands: 0,
            waiting: VecDeque::new(),
            is_closed: false,
        }
    }

    fn step(&mut self, step: &str) {
        let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
        match word {
            ">" => {
                self.commands += 1;
                let words: Vec<&str> = rest.split(' ').collect();
                self.waiting
                    .push_back((self.commands, Command::new(&words)));
            }
            "large" => self.large(rest),
            "turned" => self.turn_away(rest.strip_prefix("away > ").unwrap()),
            "users" => {
                let named: Vec<_> = rest
                    .split(' ')
                    .filter_map(|it| it.split_once(':'))
                    .collect();
                let next = Policy {
                    users: users(&named),
                    ..Policy::default()
                };
                let policy = self.client.policy().with_rights_of(&next);
                if !self.client.renew(Arc::new(policy)) {
                    self.is_closed = true;
                    self.up.said.push("  closes".to_owned());
                }
            }
            "nowhere" => self.up.is_nowhere = true,
            "no" => self.up.has_no_pin = true,
            "leave" => {
                let left = self.client.leave(&mut self.up);
                self.up.said.push(format!("  left: {left:?}"));
            }
            connection => self.said(connection, rest),
        }
    }

    /// Carries out what the client has said, as far as that goes.
    fn go_on(&mut self) {
        while !self.is_closed && self.carry_out() {}
        if self.client.wants_settling() {
            self.client.settle(&mut self.up);
        }
        if self.client.is_broken() {
            self.up.said.push("  closes".to_owned());
        }
        for message in self.client.take_redirected() {
            self.up.said.push(format!("  to 9: {}", shown(&message)));
        }
        let heard = self.client.out().split();
        if !heard.is_empty() {
            self.up.said.push(format!("  heard: {}", shown(&heard)));
        }
        for (of, finished) in self.client.take_over() {
            let mut line = String::new();
            if let Some(error) = finished.error {
                let _ = write!(line, " {}", error.label());
            }
            if let Some(lost) = finished.lost {
                let _ = write!(line, " {}", lost.label());
            }
            if finished.is_cut {
                line.push_str(" cut");
            }
            if !line.is_empty() {
                self.up.said.push(format!("  over: {of}{line}"));
            }
        }
    }

    fn carry_out(&mut self) -> bool {
        let Some((of, command)) = self.waiting.pop_front() else {
            return false;
        };
        let words = command.as_ref();
        let id = match self.client.admit(&words) {
            Ok(id) => id,
            Err((refusal, text)) => {
                self.up.said.push(format!("  refused: {}", refusal.reason));
                let id = CommandId::resolve(&words).ok();
                self.client.deny(id, &text, of, &mut self.up);
                return true;
            }
        };
        let call = Call::new(id, words);
        match self.client.execute(call, of, &mut self.up) {
            Ok(Flow::Next) => true,
            Ok(Flow::Close) => {
                self.is_closed = true;
                self.up.said.push("  closes".to_owned());
                false
            }
            Err(of) => {
                self.up.said.push("  waits".to_owned());
                self.waiting.push_front((of, command));
                false
            }
        }
    }

    fn turn_away(&mut self, command: &str) {
        self.commands += 1;
        let words: Vec<&str> = command.split(' ').collect();
        let id = CommandId::resolve(&Command::new(&words).as_ref()).ok();
        let text = b"ERR not now";
        self.client.turn_away(id, text, self.commands, &mut self.up);
    }

    fn large(&mut self, step: &str) {
        let (declared, words) = step.split_once(" > ").unwrap();
        let words: Vec<&str> = words.split(' ').collect();
        let command = Command::new(&words);
        let (declared, command) = (declared.parse().unwrap(), command.as_ref());
        self.commands += 1;
        let front = Front {
            command,
            declared: declared as usize,
        };
        let id = match self.client.admit(&front) {
            Ok(id) => id,
            Err((refusal, text)) => {
                self.up.said.push(format!("  refused: {}", refusal.reason));
                let id = CommandId::resolve(&command).ok();
                return self.client.deny(id, &text, self.commands, &mut self.up);
            }
        };
        let call = Call::new(id, command);
        let begun = self
            .client
            .begin_large(call, declared, self.commands, &mut self.up);
        self.up.said.push(match begun {
            Ok(Some(pin)) => format!("  the rest goes over p{}", pin.0),
            Ok(None) => "  the rest is dropped".to_owned(),
            Err(_) => "  waits".to_owned(),
        });
    }

    /// Something comes over a connection.
    fn said(&mut self, connection: &str, what: &str) {
        let mut known = self.up.connections.iter();
        if what != "full" && !known.any(|(name, _)| name == connection) {
            return self.up.said.push("  is not there".to_owned());
        }
        let pin = connection.strip_prefix('p');
        let pin = pin.map(|number| PinId(number.parse().unwrap()));
        let (word, text) = what.split_once(' ').unwrap_or((what, ""));
        let bytes = text.replace('|', "\r\n").into_bytes();
        let kind = kind(text);
        let piece = match word {
            "sent" => return self.client.end_large(pin.unwrap()),
            "full" => {
                self.up.full = Some(connection.to_owned());
                return;
            }
            "lost" => {
                for ticket in self.up.take(connection) {
                    self.client.on_piece(ticket, Piece::Lost(Lost::Closed));
                }
                if pin.is_some_and(|pin| self.client.listens_on(pin)) {
                    self.up.said.push("  closes".to_owned());
                }
                return;
            }
            "push" => {
                let bytes = [&*bytes, b"\r\n"].concat();
                let kind = ReplyKind::Push;
                let piece = Piece::Whole {
                    kind,
                    bytes: &bytes,
                };
                return self.client.on_push(pin.unwrap(), piece);
            }
            "begin" => Piece::Begin {
                kind,
                bytes: &bytes,
            },
            "more" | "last" => Piece::More {
                bytes: &bytes,
                last: word == "last",
            },
            _ => {
                let bytes = what.replace('|', "\r\n") + "\r\n";
                let ticket = self.up.asked(connection).pop_front().unwrap();
                let piece = Piece::Whole {
                    kind: self::kind(what),
                    bytes: bytes.as_bytes(),
                };
                return self.client.on_piece(ticket, piece);
            }
        };
        let asked = self.up.asked(connection);
        let ticket = *asked.front().unwrap();
        if word == "last" {
            asked.pop_front();
        }
        self.client.on_piece(ticket, piece);
    }
}

fn kind(text: &str) -> ReplyKind {
    match text.as_bytes().first() {
        Some(b'-') => ReplyKind::Error,
        Some(b'!') => ReplyKind::BulkError,
        Some(b'*') => ReplyKind::Array,
        Some(b'$') => ReplyKind::Bulk,
        Some(b':') => ReplyKind::Integer,
        _ => ReplyKind::Simple,
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    text.replace("\\r\\n", "|").replace("\\'", "'")
}

/// Connections that answer what they are told to.
#[derive(Default)]
struct Script {
    shards: u16,
    said: Vec<String>,
    /// By name: who waits for an answer.
    connections: Vec<(String, VecDeque<Ticket>)>,
    pins: u32,
    is_nowhere: bool,
    has_no_pin: bool,
    full: Option<String>,
    renaming: Option<Arc<Renaming>>,
    written: Vec<u16>,
}

impl Script {
    fn at(&self, shard: u16) -> Destination {
        Destination {
            upstream: 0,
            shard,
            way: u16::from(self.renaming.is_some()),
        }
    }

    fn asked(&mut self, name: &str) -> &mut VecDeque<Ticket> {
        let known = self.connections.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| panic!("no connection {name}"));
        &mut self.connections[index].1
    }

    fn take(&mut self, name: &str) -> VecDeque<Ticket> {
        let asked = std::mem::take(self.asked(name));
        self.connections.retain(|(known, _)| known != name);
        asked
    }

    fn ask(&mut self, name: &str, wire: &[u8], ticket: Option<Ticket>) -> Result<(), Lost> {
        if self.full.take_if(|full| full == name).is_some() {
            return Err(Lost::Overflow);
        }
        let own = if ticket == Some(Ticket::Own) {
            "own: "
        } else {
            ""
        };
        // Without the headers of arguments: they can be trusted to the encoder.
        let words = wire.split(|byte| *byte == b'\n').skip(2).step_by(2);
        let words: Vec<String> = words.map(|word| shown(word.trim_ascii_end())).collect();
        self.said
            .push(format!("  {name} {own}{}", words.join(" ").trim_end()));
        self.asked(name).extend(ticket);
        Ok(())
    }

    fn is_lost(&mut self) -> Result<(), Lost> {
        if std::mem::take(&mut self.is_nowhere) {
            return Err(Lost::NoEndpoint);
        }
        Ok(())
    }
}

impl Upstreams for Script {
    fn locate(&mut self, _: &Call<'_>, key: &[u8]) -> Result<Destination, Lost> {
        self.is_lost()?;
        let letter = key.first().map_or(0, |letter| letter.wrapping_sub(b'a'));
        Ok(self.at(u16::from(letter) % self.shards))
    }

    fn anywhere(&mut self, _: &Call<'_>) -> Result<Destination, Lost> {
        self.is_lost()?;
        Ok(self.at(0))
    }

    fn everywhere(&mut self, _: &Call<'_>, _: Scope) -> Result<Destinations, Lost> {
        self.is_lost()?;
        Ok((0..self.shards).map(|shard| self.at(shard)).collect())
    }

    fn renaming(&self, way: u16) -> Option<Arc<Renaming>> {
        self.renaming.clone().filter(|_| way == 1)
    }

    fn shards(&mut self) -> Result<Destinations, Lost> {
        Ok((0..self.shards).map(|shard| self.at(shard)).collect())
    }

    fn redirect_to(&mut self, client: u64) -> bool {
        client == 9
    }

    fn written(&mut self) -> Result<Destinations, Lost> {
        self.is_lost()?;
        Ok(self.written.iter().map(|shard| self.at(*shard)).collect())
    }

    fn send(
        &mut self,
        to: Destination,
        speaks: Speaks,
        wire: &[u8],
        ticket: Ticket,
    ) -> Result<(), Lost> {
        if !self.written.contains(&to.shard) {
            self.written.push(to.shard);
        }
        let mut name = format!("s{}", to.shard);
        if speaks.version == RespVersion::Resp3 {
            name.push_str("r3");
        }
        if speaks.database > 0 {
            let _ = write!(name, "db{}", speaks.database);
        }
        if !self.connections.iter().any(|(known, _)| *known == name) {
            self.connections.push((name.clone(), VecDeque::new()));
        }
        self.ask(&name, wire, Some(ticket))
    }

    fn pin(&mut self, to: Destination, speaks: Speaks, purpose: Purpose) -> Result<PinId, Lost> {
        if std::mem::take(&mut self.has_no_pin) {
            return Err(Lost::Connect);
        }
        let pin = PinId(self.pins);
        self.pins += 1;
        self.said.push(format!(
            "  pin p{} at {} db{} {:?} {purpose:?}",
            pin.0, to.shard, speaks.database, speaks.version
        ));
        self.connections
            .push((format!("p{}", pin.0), VecDeque::new()));
        Ok(pin)
    }

    fn send_pinned(&mut self, pin: PinId, wire: &[u8], ticket: Option<Ticket>) -> Result<(), Lost> {
        let name = format!("p{}", pin.0);
        if !self.connections.iter().any(|(known, _)| *known == name) {
            return Err(Lost::Closed);
        }
        self.ask(&name, wire, ticket)
    }

    fn unpin(&mut self, pin: PinId, end: PinEnd) {
        self.said.push(format!("  unpin p{} {end:?}", pin.0));
        let name = format!("p{}", pin.0);
        self.connections.retain(|(known, _)| *known != name);
    }
}

#[test]
fn patterns_have_a_longest() {
    let client = Client::<u32>::new(
        Arc::new(Policy {
            users: users(&[("default", "nopass,+@all,~*,&*")]),
            allowed: vec![CommandId::CONFIG_GET],
            ..Policy::default()
        }),
        1,
        "",
    );
    let fits = "a".repeat(1024);
    let long = "a".repeat(1025);
    let rows: [&[&str]; 6] = [
        &["KEYS", "?"],
        &["SCAN", "0", "COUNT", "5", "match", "?"],
        &["HSCAN", "h", "0", "MATCH", "?"],
        &["PSUBSCRIBE", "a*", "?"],
        &["PUBSUB", "CHANNELS", "?"],
        &["CONFIG", "GET", "?"],
    ];
    for row in rows {
        let with = |pattern: &str| row.iter().map(|it| it.replace('?', pattern)).collect();
        let said: Vec<String> = with(&fits);
        assert!(client.admit(&said).is_ok(), "{row:?}");
        let said: Vec<String> = with(&long);
        let (refusal, text) = client.admit(&said).unwrap_err();
        assert_eq!(refusal.reason, "pattern_too_long", "{row:?}");
        assert_eq!(
            text, b"ERR the pattern is longer than 1024 bytes",
            "{row:?}"
        );
    }
    assert!(client.admit(&["GET", &long]).is_ok());
}
