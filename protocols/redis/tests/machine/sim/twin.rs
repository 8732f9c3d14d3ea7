//! What a client has to hear: a server of its own that gets the same commands and nothing else.
//!
//! Start at [`Twin::hears`].

use std::collections::BTreeSet;

use bytes::BytesMut;
use portcullis_redis::encoder;
use portcullis_redis::message::RespVersion;

use super::gateway::WHOLE;
use super::model::{Peer, Server};

/// What the next answer has to be.
#[derive(Debug)]
pub enum Expected {
    /// These bytes.
    Exact(Vec<u8>),
    /// An error.
    Error,
    /// One answer, in which no value is another client's.
    Any,
    /// Whether keys are tracked from now on. Sometimes it is known that they must be, or cannot.
    Tracking { is_on: bool, works: Option<bool> },
    /// The confirmation of a subscription. If it is an error instead, the client is closed.
    Confirmation(Vec<u8>),
}

/// Whether answers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    Skip,
}

/// A client's own server, and what only the gateway knows of it.
pub struct Twin {
    server: Server,
    peer: Peer,
    replies: Replies,
    /// It has just said that the next answer is not wanted.
    is_skip: bool,
    /// All that it has ever wanted to hear.
    pub wanted: BTreeSet<Vec<u8>>,
    /// It has wanted its keys tracked.
    pub is_tracking: bool,
    /// Whether nothing breaks, so that the twin knows what is stored.
    is_exact: bool,
}

impl Twin {
    pub fn new(is_exact: bool) -> Self {
        Self {
            server: Server::default(),
            peer: Peer::new(0, RespVersion::Resp2),
            replies: Replies::On,
            is_skip: false,
            wanted: BTreeSet::new(),
            is_tracking: false,
            is_exact,
        }
    }

    pub const fn version(&self) -> RespVersion {
        self.peer.version
    }

    pub fn is_in_transaction(&self) -> bool {
        self.peer.queued.is_some()
    }

    pub fn is_watching(&self) -> bool {
        !self.peer.watched.is_empty()
    }

    pub fn is_subscribed(&self) -> bool {
        self.peer.sets.iter().any(|set| !set.is_empty())
    }

    /// The client says this; what it has to hear for it.
    pub fn hears(&mut self, words: &[Vec<u8>]) -> Vec<Expected> {
        self.is_skip = false;
        let mut expected = self.answers(words);
        let is_silent = self.replies != Replies::On;
        if self.replies == Replies::Skip && !self.is_skip {
            self.replies = Replies::On;
        }
        if is_silent {
            expected.clear();
        }
        expected
    }

    fn answers(&mut self, words: &[Vec<u8>]) -> Vec<Expected> {
        let name = words[0].to_ascii_uppercase();
        let is_context = self.peer.version == RespVersion::Resp2 && self.is_subscribed();
        let is_allowed = name.ends_with(b"SUBSCRIBE") || matches!(&*name, b"PING" | b"RESET");
        if is_context && !is_allowed {
            return vec![Expected::Error];
        }
        let wire: usize = words.iter().map(|word| word.len() + 8).sum();
        let is_large = wire > WHOLE;
        let is_local = matches!(
            &*name,
            b"HELLO" | b"SELECT" | b"CLIENT" | b"NOSUCH" | b"DBSIZE"
        );
        if self.is_in_transaction() && (is_large || is_local || name.ends_with(b"SUBSCRIBE")) {
            self.peer.is_dirty = true;
            return vec![Expected::Error];
        }
        if is_large && self.is_subscribed() {
            return vec![Expected::Error];
        }
        match &*name {
            b"NOSUCH" => vec![Expected::Error],
            b"HELLO" => vec![self.hello(&words[1])],
            b"SELECT" => vec![self.select(&words[1])],
            b"RESET" => {
                self.peer = Peer::new(0, RespVersion::Resp2);
                self.replies = Replies::On;
                self.is_tracking = false;
                vec![Expected::Exact(b"+RESET\r\n".to_vec())]
            }
            b"CLIENT" if words[1] == b"TRACKING" => vec![self.tracking(&words[2])],
            b"CLIENT" => {
                match (&*words[2], self.replies) {
                    (b"ON", _) => self.replies = Replies::On,
                    (b"OFF", _) => self.replies = Replies::Off,
                    (_, Replies::Off) => {}
                    _ => {
                        self.replies = Replies::Skip;
                        self.is_skip = true;
                    }
                }
                vec![Expected::Exact(b"+OK\r\n".to_vec())]
            }
            b"DBSIZE" | b"KEYS" | b"SCAN" | b"PUBLISH" => vec![Expected::Any],
            name if name.ends_with(b"SUBSCRIBE") => self.subscriptions(name, &words[1..]),
            b"PING" if is_context => {
                vec![Expected::Exact(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n".to_vec())]
            }
            name => {
                let is_echo = name == b"ECHO" && !self.is_in_transaction();
                self.server.execute(&mut self.peer, words);
                if self.peer.blocked.take().is_some() {
                    encoder::null_array(self.peer.version, &mut self.peer.output);
                }
                let said = self.peer.output.split().to_vec();
                if self.is_exact || is_echo {
                    vec![Expected::Exact(said)]
                } else {
                    vec![Expected::Any]
                }
            }
        }
    }

    fn tracking(&mut self, mode: &[u8]) -> Expected {
        let is_on = mode == b"ON";
        let is_possible = !self.is_watching() && (!is_on || self.version() == RespVersion::Resp3);
        if is_possible {
            self.is_tracking = is_on;
        }
        let works = self.is_exact.then_some(is_possible);
        Expected::Tracking { is_on, works }
    }

    pub const fn database(&self) -> u32 {
        self.peer.database
    }

    fn hello(&mut self, version: &[u8]) -> Expected {
        let version = if version == b"3" {
            RespVersion::Resp3
        } else {
            RespVersion::Resp2
        };
        if (self.is_watching() || self.is_tracking) && version != self.peer.version {
            return Expected::Error;
        }
        self.peer.version = version;
        Expected::Any
    }

    fn select(&mut self, number: &[u8]) -> Expected {
        let number: u32 = std::str::from_utf8(number).unwrap().parse().unwrap();
        if (self.is_watching() || self.is_tracking) && number != self.peer.database {
            return Expected::Error;
        }
        self.peer.database = number;
        Expected::Exact(b"+OK\r\n".to_vec())
    }

    fn subscriptions(&mut self, name: &[u8], channels: &[Vec<u8>]) -> Vec<Expected> {
        let (is_on, kind) = match name {
            b"SUBSCRIBE" => (true, 0),
            b"PSUBSCRIBE" => (true, 1),
            b"SSUBSCRIBE" => (true, 2),
            b"UNSUBSCRIBE" => (false, 0),
            b"PUNSUBSCRIBE" => (false, 1),
            _ => (false, 2),
        };
        let all: Vec<Vec<u8>> = self.peer.sets[kind].iter().cloned().collect();
        let channels = match channels {
            [] => all,
            channels => channels.to_vec(),
        };
        let mut expected = Vec::new();
        for channel in &channels {
            if is_on {
                self.wanted.insert(channel.clone());
                self.peer.sets[kind].insert(channel.clone());
            } else {
                self.peer.sets[kind].remove(channel);
            }
            expected.push(self.confirmation(name, kind, Some(channel)));
        }
        if channels.is_empty() {
            expected.push(self.confirmation(name, kind, None));
        }
        expected
    }

    fn confirmation(&self, name: &[u8], kind: usize, channel: Option<&[u8]>) -> Expected {
        let [channels, patterns, sharded] = &self.peer.sets;
        let count = if kind == 2 {
            sharded.len()
        } else {
            channels.len() + patterns.len()
        };
        let mut said = BytesMut::new();
        encoder::push(3, self.peer.version, &mut said);
        encoder::bulk(&name.to_ascii_lowercase(), &mut said);
        match channel {
            Some(channel) => encoder::bulk(channel, &mut said),
            None => encoder::null(self.peer.version, &mut said),
        }
        encoder::integer(count as i64, &mut said);
        Expected::Confirmation(said.to_vec())
    }
}
