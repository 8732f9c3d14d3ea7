//! A small Redis: strings, lists, transactions, channels, and waiting.
//!
//! It executes one command of one connection at a time; nothing expires. Start at [`Server::step`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Buf as _, BytesMut};
use portcullis_redis::encoder;
use portcullis_redis::limits::RequestLimits;
use portcullis_redis::message::RespVersion;
use portcullis_redis::request::{CommandFrame, CommandScanner};

/// The arguments of a command.
pub type Words = Vec<Vec<u8>>;

/// A key in its database.
type Key = (u32, Vec<u8>);

/// What a key has.
#[derive(Debug, Clone)]
enum Stored {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

/// A connection, as the server sees it.
#[derive(Debug)]
pub struct Peer {
    pub database: u32,
    pub version: RespVersion,
    pub queued: Option<Vec<Words>>,
    /// EXEC will fail.
    pub is_dirty: bool,
    pub watched: Vec<(Key, u64)>,
    /// Channels, patterns, sharded channels.
    pub sets: [BTreeSet<Vec<u8>>; 3],
    /// The keys that it has read, if it wants to hear of changes.
    pub tracked: Option<BTreeSet<Key>>,
    /// The keys that it waits for.
    pub blocked: Option<Vec<Vec<u8>>>,
    /// Not carried out yet.
    pub input: BytesMut,
    /// Not sent yet.
    pub output: BytesMut,
    scanner: CommandScanner,
}

impl Peer {
    pub fn new(database: u32, version: RespVersion) -> Self {
        let mut scanner = CommandScanner::new(RequestLimits {
            whole: 1 << 20,
            ..RequestLimits::default()
        });
        scanner.set_known(true);
        Self {
            database,
            version,
            queued: None,
            is_dirty: false,
            watched: Vec::new(),
            sets: Default::default(),
            tracked: None,
            blocked: None,
            input: BytesMut::new(),
            output: BytesMut::new(),
            scanner,
        }
    }

    /// What others must not find in it.
    pub fn state(&self) -> Option<&'static str> {
        let rows = [
            (self.queued.is_some(), "MULTI"),
            (!self.watched.is_empty(), "WATCH"),
            (self.sets.iter().any(|set| !set.is_empty()), "SUBSCRIBE"),
            (self.blocked.is_some(), "BLPOP"),
            (self.tracked.is_some(), "CLIENT TRACKING"),
        ];
        rows.iter().find(|(is, _)| *is).map(|(_, name)| *name)
    }

    fn next(&mut self) -> Option<Words> {
        loop {
            let frame = self.scanner.next(&self.input).expect("a command");
            let words = match frame? {
                CommandFrame::Whole { len } => {
                    let command = self.scanner.command(&self.input[..len]);
                    Some(command.arguments().map(<[u8]>::to_vec).collect())
                }
                CommandFrame::Blank { .. } => None,
                other => panic!("{other:?} was sent"),
            };
            self.input.advance(frame?.len());
            if words.is_some() {
                return words;
            }
        }
    }
}

/// A server and its connections.
#[derive(Debug, Default)]
pub struct Server {
    data: BTreeMap<Key, Stored>,
    /// How often each key was changed.
    changes: BTreeMap<Key, u64>,
    /// Keys that were changed since those who track them were told.
    changed: Vec<Key>,
    pub peers: BTreeMap<usize, Peer>,
}

impl Server {
    /// Carries out the next command of a connection, if one is there and it does not wait.
    pub fn step(&mut self, number: usize) -> bool {
        let Some(mut peer) = self.peers.remove(&number) else {
            return false;
        };
        let words = match &peer.blocked {
            Some(_) => None,
            None => peer.next(),
        };
        let is_any = words.is_some();
        if let Some(words) = words {
            self.execute(&mut peer, &words);
        }
        self.peers.insert(number, peer);
        self.wake();
        self.tell_changes();
        is_any
    }

    /// Tells those who track keys of changes, once.
    fn tell_changes(&mut self) {
        for key in std::mem::take(&mut self.changed) {
            for peer in self.peers.values_mut() {
                let tracked = peer.tracked.as_mut();
                if tracked.is_some_and(|tracked| tracked.remove(&key)) {
                    encoder::push(2, RespVersion::Resp3, &mut peer.output);
                    encoder::bulk(b"invalidate", &mut peer.output);
                    encoder::array(1, &mut peer.output);
                    encoder::bulk(&key.1, &mut peer.output);
                }
            }
        }
    }

    /// What `GET` says of a key now, in RESP3.
    pub fn says(&self, database: u32, key: &[u8]) -> Vec<u8> {
        let mut peer = Peer::new(database, RespVersion::Resp3);
        self.read(&mut peer, key);
        peer.output.to_vec()
    }

    /// Carries out the next command of a connection, and answers something else.
    pub fn lie(&mut self, number: usize, reply: &[u8]) {
        let output = |peer: &Peer| peer.output.len();
        let before = self.peers.get(&number).map_or(0, output);
        if !self.step(number) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&number) {
            // It is as if the command had not been.
            peer.queued = None;
            peer.watched.clear();
            peer.blocked = None;
            peer.output.truncate(before);
            peer.output.extend_from_slice(reply);
        }
    }

    /// A connection that waits has waited long enough.
    pub fn time_out(&mut self, number: usize) {
        if let Some(peer) = self.peers.get_mut(&number)
            && peer.blocked.take().is_some()
        {
            encoder::null_array(peer.version, &mut peer.output);
        }
    }

    /// Gives those who wait what has come.
    fn wake(&mut self) {
        let numbers: Vec<usize> = self.peers.keys().copied().collect();
        for number in numbers {
            let Some(mut peer) = self.peers.remove(&number) else {
                continue;
            };
            if let Some(keys) = peer.blocked.take()
                && !self.pop(&mut peer, &keys)
            {
                peer.blocked = Some(keys);
            }
            self.peers.insert(number, peer);
        }
    }

    pub fn execute(&mut self, peer: &mut Peer, words: &[Vec<u8>]) {
        let name = words[0].to_ascii_uppercase();
        match (&*name, peer.queued.is_some()) {
            (b"MULTI", true) => error(peer, "ERR MULTI calls can not be nested"),
            (b"WATCH", true) => error(peer, "ERR WATCH inside MULTI is not allowed"),
            (b"EXEC", true) => self.exec(peer),
            (b"DISCARD", true) => {
                peer.queued = None;
                peer.watched.clear();
                encoder::ok(&mut peer.output);
            }
            (_, true) if is_known(&name) => {
                peer.queued.get_or_insert_default().push(words.to_vec());
                encoder::simple(b"QUEUED", &mut peer.output);
            }
            (_, true) => {
                peer.is_dirty = true;
                error(peer, "ERR unknown command");
            }
            (b"MULTI", _) => {
                peer.queued = Some(Vec::new());
                peer.is_dirty = false;
                encoder::ok(&mut peer.output);
            }
            (b"EXEC", _) => error(peer, "ERR EXEC without MULTI"),
            (b"DISCARD", _) => error(peer, "ERR DISCARD without MULTI"),
            (b"WATCH", _) => {
                for key in &words[1..] {
                    let key = (peer.database, key.clone());
                    let changes = self.changes.get(&key).copied().unwrap_or_default();
                    peer.watched.push((key, changes));
                }
                encoder::ok(&mut peer.output);
            }
            (b"UNWATCH", _) => {
                peer.watched.clear();
                encoder::ok(&mut peer.output);
            }
            _ if is_known(&name) => self.call(peer, &name, words, true),
            _ => error(peer, "ERR unknown command"),
        }
    }

    fn exec(&mut self, peer: &mut Peer) {
        let queued = peer.queued.take().unwrap_or_default();
        let changed = peer
            .watched
            .drain(..)
            .any(|(key, changes)| self.changes.get(&key).copied().unwrap_or_default() != changes);
        if peer.is_dirty {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return error(peer, text);
        }
        if changed {
            return encoder::null_array(peer.version, &mut peer.output);
        }
        encoder::array(queued.len(), &mut peer.output);
        for words in queued {
            let name = words[0].to_ascii_uppercase();
            self.call(peer, &name, &words, false);
        }
    }

    fn call(&mut self, peer: &mut Peer, name: &[u8], words: &[Vec<u8>], may_wait: bool) {
        let arguments = &words[1..];
        match (name, arguments) {
            (b"GET", [key]) => self.read(peer, key),
            (b"SET", [key, value]) => {
                self.write(peer, key, Stored::Text(value.clone()));
                encoder::ok(&mut peer.output);
            }
            (b"INCR", [key]) => self.increment(peer, key),
            (b"MGET", keys) => {
                encoder::array(keys.len(), &mut peer.output);
                keys.iter().for_each(|key| self.read(peer, key));
            }
            (b"MSET", pairs) if pairs.len().is_multiple_of(2) => {
                for pair in pairs.chunks(2) {
                    self.write(peer, &pair[0], Stored::Text(pair[1].clone()));
                }
                encoder::ok(&mut peer.output);
            }
            (b"DEL", keys) => {
                let is_gone = |key: &&Vec<u8>| self.delete(peer.database, key);
                let count = keys.iter().filter(is_gone).count();
                encoder::integer(count as i64, &mut peer.output);
            }
            (b"RPUSH", [key, values @ ..]) => self.push(peer, key, values),
            (b"BLPOP", [keys @ .., _]) => {
                if !self.pop(peer, keys) {
                    if may_wait {
                        peer.blocked = Some(keys.to_vec());
                    } else {
                        encoder::null_array(peer.version, &mut peer.output);
                    }
                }
            }
            (b"CLIENT", [_, mode]) => {
                if mode == b"ON" {
                    peer.tracked.get_or_insert_default();
                } else {
                    peer.tracked = None;
                }
                encoder::ok(&mut peer.output);
            }
            (b"ECHO", [text]) => encoder::bulk(text, &mut peer.output),
            (b"PING", _) => encoder::simple(b"PONG", &mut peer.output),
            (b"UNWATCH", _) => encoder::ok(&mut peer.output),
            (b"DBSIZE", _) => {
                let count = self.keys(peer.database).count();
                encoder::integer(count as i64, &mut peer.output);
            }
            (b"KEYS", _) => {
                let keys: Vec<&Vec<u8>> = self.keys(peer.database).collect();
                encoder::array(keys.len(), &mut peer.output);
                keys.iter()
                    .for_each(|key| encoder::bulk(key, &mut peer.output));
            }
            (b"SCAN", _) => {
                encoder::array(2, &mut peer.output);
                encoder::bulk(b"0", &mut peer.output);
                encoder::array(0, &mut peer.output);
            }
            (b"PUBLISH" | b"SPUBLISH", [channel, text]) => {
                let count = self.publish(channel, text, name == b"SPUBLISH");
                encoder::integer(count, &mut peer.output);
            }
            (b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE", all) => listen(peer, name, all, true),
            (b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE", all) => {
                listen(peer, name, all, false);
            }
            _ => error(peer, "ERR wrong number of arguments"),
        }
    }

    fn keys(&self, database: u32) -> impl Iterator<Item = &Vec<u8>> {
        let all = self.data.keys();
        all.filter(move |(at, _)| *at == database)
            .map(|(_, key)| key)
    }

    fn read(&self, peer: &mut Peer, key: &[u8]) {
        if let Some(tracked) = &mut peer.tracked {
            tracked.insert((peer.database, key.to_vec()));
        }
        match self.data.get(&(peer.database, key.to_vec())) {
            Some(Stored::Text(text)) => encoder::bulk(text, &mut peer.output),
            _ => encoder::null(peer.version, &mut peer.output),
        }
    }

    fn changed(&mut self, key: Key) {
        self.changed.push(key.clone());
        *self.changes.entry(key).or_default() += 1;
    }

    fn write(&mut self, peer: &Peer, key: &[u8], value: Stored) {
        let key = (peer.database, key.to_vec());
        self.data.insert(key.clone(), value);
        self.changed(key);
    }

    fn delete(&mut self, database: u32, key: &[u8]) -> bool {
        let key = (database, key.to_vec());
        let is_gone = self.data.remove(&key).is_some();
        if is_gone {
            self.changed(key);
        }
        is_gone
    }

    fn increment(&mut self, peer: &mut Peer, key: &[u8]) {
        let number = match self.data.get(&(peer.database, key.to_vec())) {
            None => Some(0),
            Some(Stored::Text(text)) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok()),
            Some(Stored::List(_)) => None,
        };
        let Some(number) = number.and_then(|number: i64| number.checked_add(1)) else {
            return error(peer, "ERR value is not an integer or out of range");
        };
        self.write(peer, key, Stored::Text(number.to_string().into_bytes()));
        encoder::integer(number, &mut peer.output);
    }

    fn push(&mut self, peer: &mut Peer, key: &[u8], values: &[Vec<u8>]) {
        let key = (peer.database, key.to_vec());
        let empty = || Stored::List(VecDeque::new());
        let Stored::List(list) = self.data.entry(key.clone()).or_insert_with(empty) else {
            return error(peer, "WRONGTYPE no list");
        };
        list.extend(values.iter().cloned());
        let count = list.len() as i64;
        self.changed(key);
        encoder::integer(count, &mut peer.output);
    }

    fn pop(&mut self, peer: &mut Peer, keys: &[Vec<u8>]) -> bool {
        for key in keys {
            let at = (peer.database, key.clone());
            let Some(Stored::List(list)) = self.data.get_mut(&at) else {
                continue;
            };
            let Some(value) = list.pop_front() else {
                continue;
            };
            if list.is_empty() {
                self.data.remove(&at);
            }
            self.changed(at);
            encoder::array(2, &mut peer.output);
            encoder::bulk(key, &mut peer.output);
            encoder::bulk(&value, &mut peer.output);
            return true;
        }
        false
    }

    fn publish(&mut self, channel: &[u8], text: &[u8], is_sharded: bool) -> i64 {
        let mut count = 0;
        for peer in self.peers.values_mut() {
            let [channels, patterns, sharded] = &peer.sets;
            let set = if is_sharded { sharded } else { channels };
            if set.contains(channel) {
                let kind: &[u8] = if is_sharded { b"smessage" } else { b"message" };
                say(peer.version, &[kind, channel, text], &mut peer.output);
                count += 1;
            }
            let fits = |pattern: &&Vec<u8>| !is_sharded && matches(pattern, channel);
            for pattern in patterns.iter().filter(fits) {
                let words = [&b"pmessage"[..], pattern, channel, text];
                say(peer.version, &words, &mut peer.output);
                count += 1;
            }
        }
        count
    }
}

/// Whether a channel is meant: only a star at the end is known here.
fn matches(pattern: &[u8], channel: &[u8]) -> bool {
    match pattern.strip_suffix(b"*") {
        Some(front) => channel.starts_with(front),
        None => pattern == channel,
    }
}

fn say(version: RespVersion, words: &[&[u8]], out: &mut BytesMut) {
    encoder::push(words.len(), version, out);
    for word in words {
        encoder::bulk(word, out);
    }
}

fn listen(peer: &mut Peer, name: &[u8], channels: &[Vec<u8>], is_on: bool) {
    let kind = match name[0] {
        b'P' => 1,
        b'S' if name.starts_with(b"SS") || name.starts_with(b"SUN") => 2,
        _ => 0,
    };
    for channel in channels {
        if is_on {
            peer.sets[kind].insert(channel.clone());
        } else {
            peer.sets[kind].remove(channel);
        }
        let count: usize = peer.sets.iter().map(BTreeSet::len).sum();
        encoder::push(3, peer.version, &mut peer.output);
        encoder::bulk(&name.to_ascii_lowercase(), &mut peer.output);
        encoder::bulk(channel, &mut peer.output);
        encoder::integer(count as i64, &mut peer.output);
    }
}

fn error(peer: &mut Peer, text: &str) {
    encoder::error(text.as_bytes(), &mut peer.output);
}

fn is_known(name: &[u8]) -> bool {
    let names: &[&[u8]] = &[
        b"CLIENT",
        b"GET",
        b"SET",
        b"INCR",
        b"MGET",
        b"MSET",
        b"DEL",
        b"RPUSH",
        b"BLPOP",
        b"ECHO",
        b"PING",
        b"UNWATCH",
        b"DBSIZE",
        b"KEYS",
        b"SCAN",
        b"PUBLISH",
        b"SPUBLISH",
        b"SUBSCRIBE",
        b"PSUBSCRIBE",
        b"SSUBSCRIBE",
        b"UNSUBSCRIBE",
        b"PUNSUBSCRIBE",
        b"SUNSUBSCRIBE",
    ];
    names.contains(&name)
}
