//! A client with its machine and its twin, and what the session does between them.
//!
//! Start at [`Actor::say`], then [`Actor::go_on`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use portcullis_redis::acl::{User, Users};
use portcullis_redis::command::CommandId;
use portcullis_redis::encoder;
use portcullis_redis::limits::{ReplyLimits, RequestLimits};
use portcullis_redis::machine::{
    Call, Client, Flow, Front, Piece, PinId, Policy, RunReply, Ticket,
};
use portcullis_redis::message::{Value, parse};
use portcullis_redis::reply::{ReplyFrame, ReplyScanner};
use portcullis_redis::request::{CommandFrame, CommandScanner};

use super::gateway::{Gateway, Pending, Reach, WHOLE};
use super::model::Words;
use super::script::Script;
use super::twin::{Expected, Twin};

/// How many commands may be under way.
const PIPELINE: usize = 8;

/// A command that waits until the client is settled.
enum Waiting {
    No,
    Frame(CommandFrame, u64),
}

/// One client.
pub struct Actor {
    id: usize,
    nonce: u32,
    pub script: Script,
    pub twin: Twin,
    pub machine: Client<u64>,
    /// Says anything, and is not listened to but for being RESP.
    pub is_hostile: bool,
    /// On its way to the gateway.
    pub wire: BytesMut,
    input: BytesMut,
    heard: BytesMut,
    scanner: CommandScanner,
    waiting: Waiting,
    rest: Option<PinId>,
    /// And the key, of what reads one.
    expected: VecDeque<(Expected, Option<Vec<u8>>)>,
    /// Whether its keys are tracked cannot be told from what it hears.
    is_unsure: bool,
    /// What it has read and was not told to forget, while its keys are tracked.
    kept: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    under_way: BTreeSet<u64>,
    serial: u64,
    /// Nothing more is read from it.
    is_closing: bool,
    /// It has half of a reply for good.
    is_cut: bool,
    pub is_gone: bool,
    /// The last message of each channel and publisher.
    messages: BTreeMap<(Vec<u8>, Vec<u8>), usize>,
}

impl Actor {
    pub fn new(id: usize, nonce: u32, is_exact: bool, is_hostile: bool) -> Self {
        let mut users = Users::default();
        users.insert(Users::DEFAULT, User::unrestricted());
        let policy = Policy {
            users,
            allowed: Vec::new(),
            databases: 2,
            is_cluster: false,
            ..Policy::default()
        };
        let mut scanner = CommandScanner::new(RequestLimits {
            whole: WHOLE,
            ..RequestLimits::default()
        });
        scanner.set_known(true);
        Self {
            id,
            nonce,
            script: Script::new(id, nonce, is_exact),
            twin: Twin::new(is_exact),
            machine: Client::new(Arc::new(policy), id as u64, ""),
            is_hostile,
            wire: BytesMut::new(),
            input: BytesMut::new(),
            heard: BytesMut::new(),
            scanner,
            waiting: Waiting::No,
            rest: None,
            expected: VecDeque::new(),
            is_unsure: false,
            kept: None,
            under_way: BTreeSet::new(),
            serial: 0,
            is_closing: false,
            is_cut: false,
            is_gone: false,
            messages: BTreeMap::new(),
        }
    }

    /// Says this.
    pub fn say(&mut self, words: &Words) {
        encoder::command(words, &mut self.wire);
        let is_read = words[0] == b"GET" && !self.twin.is_in_transaction();
        let key = is_read.then(|| words[1].clone());
        let expected = self.twin.hears(words);
        if expected.is_empty() && words[1..] == [&b"TRACKING"[..], b"OFF"] {
            // Nothing will tell that it is off.
            self.is_unsure = true;
        }
        let expected = expected.into_iter();
        self.expected.extend(expected.map(|it| (it, key.clone())));
    }

    /// So many bytes of what it has said arrive.
    pub fn arrive(&mut self, count: usize) {
        let count = count.min(self.wire.len());
        self.input.extend_from_slice(&self.wire.split_to(count));
    }

    /// Whether all that it has said is carried out and answered.
    pub fn is_quiet(&self) -> bool {
        self.is_gone || (self.wire.is_empty() && self.machine.is_settled())
    }

    /// Carries out what has arrived, as far as that goes, and hears what there is.
    pub fn go_on(&mut self, gateway: &mut Gateway<'_>) {
        if self.is_gone {
            return;
        }
        while !self.is_closing && self.take_in(gateway) {}
        if self.machine.wants_settling() {
            let client = self.id;
            self.machine.settle(&mut Reach { gateway, client });
        }
        let over: Vec<_> = self.machine.take_over().collect();
        for (of, finished) in over {
            assert!(self.under_way.remove(&of), "over twice");
            self.is_cut |= finished.is_cut;
        }
        self.heard.unsplit(self.machine.out().split());
        self.hear();
        let is_over = self.is_closing && self.machine.is_settled();
        if self.is_cut || self.machine.is_broken() || is_over {
            self.leave(gateway);
        }
    }

    /// It is gone, in the middle of whatever it does.
    pub fn leave(&mut self, gateway: &mut Gateway<'_>) {
        if self.is_gone {
            return;
        }
        self.is_gone = true;
        let client = self.id;
        for of in self.machine.leave(&mut Reach { gateway, client }) {
            assert!(self.under_way.remove(&of), "over twice");
        }
        let over: Vec<_> = self.machine.take_over().collect();
        for (of, _) in over {
            assert!(self.under_way.remove(&of), "over twice");
        }
        if let Waiting::Frame(_, of) = self.waiting {
            self.under_way.remove(&of);
        }
        assert!(self.under_way.is_empty(), "never over");
        assert_eq!(gateway.pins(client), 0, "a connection is left");
    }

    /// One frame. Whether another may be next.
    fn take_in(&mut self, gateway: &mut Gateway<'_>) -> bool {
        if self.machine.owed() >= PIPELINE {
            return false;
        }
        let (frame, of) = match std::mem::replace(&mut self.waiting, Waiting::No) {
            Waiting::Frame(frame, of) => (frame, of),
            Waiting::No => match self.scanner.next(&self.input) {
                Ok(Some(frame)) => (frame, self.begin()),
                Ok(None) => return false,
                Err(_) => {
                    self.is_closing = true;
                    return false;
                }
            },
        };
        let len = frame.len();
        if let Some(shard) = self.plain_shard(frame, of, gateway) {
            self.run(shard, len, of, gateway);
            return true;
        }
        let done = match frame {
            CommandFrame::Whole { .. } => self.whole(len, of, gateway),
            CommandFrame::Begin { declared, .. } => self.large(len, declared, of, gateway),
            CommandFrame::More { last, .. } => {
                self.more(len, last, gateway);
                self.under_way.remove(&of)
            }
            CommandFrame::Blank { .. } | CommandFrame::Inline { .. } => self.under_way.remove(&of),
        };
        if done {
            self.input.advance(len);
        } else {
            self.waiting = Waiting::Frame(frame, of);
        }
        done
    }

    /// Replies come to a run, of which the first has this ticket.
    pub fn on_run(&mut self, ticket: Ticket, replies: &[RunReply], bytes: &[u8]) {
        let Ticket::Slot { slot: first, .. } = ticket else {
            panic!("no run has this ticket");
        };
        let mut over = Vec::new();
        let mut tell = |of, finished| over.push((of, finished));
        let taken = self.machine.on_run(first, replies, bytes, &mut tell);
        for (of, _) in over {
            assert!(self.under_way.remove(&of), "over twice");
        }
        let mut end = 0;
        for (number, reply) in (0..).zip(replies) {
            let start = end;
            end += reply.len as usize;
            if (number as usize) < taken {
                continue;
            }
            let slot = first.plus(number);
            let piece = Piece::Whole {
                kind: reply.kind,
                bytes: &bytes[start..end],
            };
            self.machine.on_piece(Ticket::Slot { slot, part: 0 }, piece);
        }
    }

    fn begin(&mut self) -> u64 {
        self.serial += 1;
        self.under_way.insert(self.serial);
        self.serial
    }

    /// Where a plain command goes. Now and then one is treated as all others are.
    fn plain_shard(&self, frame: CommandFrame, of: u64, gateway: &Gateway<'_>) -> Option<usize> {
        let CommandFrame::Whole { len } = frame else {
            return None;
        };
        if of.is_multiple_of(3) || !self.machine.is_plain() {
            return None;
        }
        let command = self.scanner.command(&self.input[..len]);
        let id = self.machine.admit(&command).ok()?;
        gateway.plain_shard(command.argument(usize::from(id.plain_key()?))?)
    }

    /// Sends the plain command in front, and those behind it that go to the same shard, in one.
    fn run(&mut self, shard: usize, len: usize, of: u64, gateway: &mut Gateway<'_>) {
        let first = self.machine.expect(of);
        let (mut wire, mut count) = (self.input.split_to(len), 1);
        while self.machine.owed() < PIPELINE {
            let frame = match self.scanner.next(&self.input) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => {
                    self.is_closing = true;
                    break;
                }
            };
            let of = self.begin();
            if self.plain_shard(frame, of, gateway) != Some(shard) {
                self.waiting = Waiting::Frame(frame, of);
                break;
            }
            self.machine.expect(of);
            wire.unsplit(self.input.split_to(frame.len()));
            count += 1;
        }
        let speaks = self.machine.speaks();
        let pending = Pending::of_run(self.id, first, count);
        if let Err(lost) = gateway.send_run(shard, speaks, &wire, pending) {
            for number in 0..count {
                let slot = first.plus(number);
                let ticket = Ticket::Slot { slot, part: 0 };
                self.machine.on_piece(ticket, Piece::Lost(lost));
            }
        }
    }

    fn whole(&mut self, len: usize, of: u64, gateway: &mut Gateway<'_>) -> bool {
        let command = self.scanner.command(&self.input[..len]);
        let id = match self.machine.admit(&command) {
            Ok(id) => id,
            Err((_, text)) => {
                let id = CommandId::resolve(&command).ok();
                let client = self.id;
                let mut reach = Reach { gateway, client };
                self.machine.deny(id, &text, of, &mut reach);
                return true;
            }
        };
        let client = self.id;
        let call = Call::new(id, command);
        match self
            .machine
            .execute(call, of, &mut Reach { gateway, client })
        {
            Ok(Flow::Next) => true,
            Ok(Flow::Close) => {
                self.is_closing = true;
                true
            }
            Err(back) => {
                assert_eq!(back, of);
                assert!(!self.machine.is_settled(), "it waits for nothing");
                false
            }
        }
    }

    fn large(&mut self, len: usize, declared: u32, of: u64, gateway: &mut Gateway<'_>) -> bool {
        self.rest = None;
        let command = self.scanner.command(&self.input[..len]);
        let front = Front {
            command,
            declared: declared as usize,
        };
        let id: CommandId = match self.machine.admit(&front) {
            Ok(id) => id,
            Err((_, text)) => {
                let id = CommandId::resolve(&command).ok();
                let client = self.id;
                let mut reach = Reach { gateway, client };
                self.machine.deny(id, &text, of, &mut reach);
                return true;
            }
        };
        let client = self.id;
        let call = Call::new(id, command);
        let mut reach = Reach { gateway, client };
        match self.machine.begin_large(call, declared, of, &mut reach) {
            Ok(pin) => {
                self.rest = pin;
                true
            }
            Err(_) => false,
        }
    }

    fn more(&mut self, len: usize, last: bool, gateway: &mut Gateway<'_>) {
        let Some(pin) = self.rest else {
            return;
        };
        if !gateway.push_more(self.id, pin, &self.input[..len]) {
            self.rest = None;
        } else if last {
            self.rest = None;
            self.machine.end_large(pin);
        }
    }

    /// Looks at the answers that are whole.
    fn hear(&mut self) {
        let limits = ReplyLimits {
            whole: 1 << 20,
            ..ReplyLimits::default()
        };
        loop {
            let mut scanner = ReplyScanner::new(limits);
            match scanner.next(&self.heard).expect("RESP") {
                Some(ReplyFrame::Whole { len, .. }) => {
                    let reply = self.heard.split_to(len);
                    self.check(&reply);
                }
                Some(other) => panic!("{other:?} is too large"),
                None => break,
            }
        }
    }

    fn check(&mut self, reply: &[u8]) {
        if self.is_hostile {
            return;
        }
        let value = parse(reply.to_vec().into()).expect("RESP");
        if self.is_message(&value) {
            return;
        }
        let said = || reply.escape_ascii().to_string();
        let Some((expected, key)) = self.expected.pop_front() else {
            panic!("client {}: {} answers nothing", self.id, said());
        };
        let is_error = reply.starts_with(b"-");
        match &expected {
            Expected::Exact(bytes) => {
                let expected = bytes.escape_ascii().to_string();
                assert_eq!(said(), expected, "client {}", self.id);
            }
            Expected::Error => assert!(is_error, "client {}: {}", self.id, said()),
            Expected::Any => {}
            Expected::Tracking { is_on, works } => {
                assert_ne!(*works, Some(is_error), "client {}: {}", self.id, said());
                if !is_error {
                    self.kept = is_on.then(BTreeMap::new);
                }
            }
            Expected::Confirmation(bytes) => {
                if is_error {
                    assert!(self.is_closing, "client {}: {}", self.id, said());
                    self.expected.clear();
                } else {
                    let expected = bytes.escape_ascii().to_string();
                    assert_eq!(said(), expected, "client {}", self.id);
                }
            }
        }
        if reply == b"+RESET\r\n" {
            self.kept = None;
        }
        if let (Some(kept), Some(key), false) = (&mut self.kept, key, is_error) {
            kept.insert(key, reply.to_vec());
        }
        for other in (0..8).filter(|other| *other != self.id) {
            let mark = Script::mark(other, self.nonce);
            let is_there = reply.windows(mark.len()).any(|at| at == mark.as_bytes());
            // A server says which keys it has to whoever asks.
            assert!(!is_there, "client {} hears {}", self.id, said());
        }
    }

    /// Takes in a message, which must be one that it wanted, and later than the last of its publisher.
    fn is_message(&mut self, value: &Value) -> bool {
        let (Value::Array(all) | Value::Push(all)) = value else {
            return false;
        };
        let text = |value: &Value| match value {
            Value::Bulk(text) => text.to_vec(),
            other => panic!("{other:?} in a message"),
        };
        let Some(Value::Bulk(kind)) = all.first() else {
            return false;
        };
        if &**kind == b"invalidate" {
            self.forget(&all[1]);
            return true;
        }
        let at = match &**kind {
            b"message" | b"smessage" => 1,
            b"pmessage" => 2,
            _ => return false,
        };
        if all.len() < at + 2 {
            // A server that is out of its mind.
            return true;
        }
        let wanted = text(&all[1]);
        assert!(self.twin.wanted.contains(&wanted), "{value:?}");
        let said = String::from_utf8(text(&all[at + 1])).unwrap();
        let parts: Vec<&str> = said.split('-').collect();
        if let [from, nonce, serial] = &*parts
            && *nonce == format!("{:x}", self.nonce)
        {
            let place = (
                [&**kind, &text(&all[at])].concat(),
                from.as_bytes().to_vec(),
            );
            let serial = serial.parse().unwrap();
            let before = self.messages.insert(place, serial);
            assert!(before.is_none_or(|before| before < serial), "{value:?}");
        }
        true
    }

    /// A message says that keys were changed.
    fn forget(&mut self, keys: &Value) {
        let Some(kept) = &mut self.kept else {
            return;
        };
        match keys {
            Value::Array(keys) => {
                for key in keys {
                    if let Value::Bulk(key) = key {
                        kept.remove(&**key);
                    }
                }
            }
            _ => kept.clear(),
        }
    }

    /// When all is quiet, what it has kept must be what there is.
    pub fn check_kept(&self, gateway: &Gateway<'_>) {
        if self.is_gone || self.is_hostile || self.is_unsure {
            return;
        }
        for (key, reply) in self.kept.iter().flatten() {
            let shard = usize::from(key[0]) % gateway.servers.len();
            let said = gateway.servers[shard].says(self.twin.database(), key);
            assert_eq!(
                reply.escape_ascii().to_string(),
                said.escape_ascii().to_string(),
                "client {} was not told of {}",
                self.id,
                key.escape_ascii()
            );
        }
    }

    /// When all is quiet, all must be answered.
    pub fn check_end(&self) {
        let id = self.id;
        assert!(
            self.machine.is_settled() || self.is_gone,
            "client {id} is owed something"
        );
        if self.is_gone || self.is_hostile {
            return;
        }
        assert!(self.expected.is_empty(), "client {id}: {:?}", self.expected);
        assert!(self.heard.is_empty(), "client {id} has half a reply");
        assert!(
            !matches!(self.waiting, Waiting::Frame(..)),
            "client {id} waits"
        );
    }
}
