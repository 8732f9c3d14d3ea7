//! A client with its twin: what it has said, and whether what it hears is what it should.
//!
//! Start at [`Client::hear`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use bytes::BytesMut;
use portcullis_postgres::frame::{Tag, backend, frontend};
use portcullis_postgres::machine::{Relay, Want};

use super::model::{Server, is_ready, show, state_of, take_message};
use super::script::Script;
use super::state::State;

/// Parameters by name.
pub type Parameters = BTreeMap<String, String>;

/// A server connection while a client has it.
#[derive(Debug)]
pub struct Lease {
    /// Its number.
    pub at: usize,
    /// What it is to get.
    pub upstream: BytesMut,
}

/// One client.
pub struct Client {
    pub id: usize,
    pub script: Script,
    pub relay: Relay,
    /// What is on its way to the gateway.
    pub wire: BytesMut,
    /// What the gateway has and the relay has not taken.
    pub input: BytesMut,
    /// What the gateway has for it.
    pub output: BytesMut,
    pub lease: Option<Lease>,
    pub want: Want,
    /// As the gateway has told it, as far as the gateway remembers.
    pub told: Parameters,
    /// Says anything, and does not listen.
    pub hostile: bool,
    pub twin: Server,
    /// The twin before it got its last message.
    before: (State, bool),
    /// Everything it has said.
    log: Vec<Vec<u8>>,
    /// How much of that the twin has got.
    fed: usize,
    /// Bytes of what it has said that the gateway has got.
    delivered: usize,
    expected: VecDeque<Vec<u8>>,
    known: Parameters,
}

impl Client {
    pub fn new(id: usize, script: Script, relay: Relay, twin: Server) -> Self {
        let known = twin.reported().clone();
        Self {
            id,
            script,
            relay,
            wire: BytesMut::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            lease: None,
            want: Want::Input,
            told: known.clone(),
            hostile: false,
            before: (twin.state.clone(), false),
            twin,
            log: Vec::new(),
            fed: 0,
            delivered: 0,
            expected: VecDeque::new(),
            known,
        }
    }

    /// Says these.
    pub fn say(&mut self, messages: Vec<Vec<u8>>) {
        for message in messages {
            self.wire.extend_from_slice(&message);
            self.log.push(message);
        }
    }

    /// So many bytes of what it has said arrive.
    pub fn arrive(&mut self, count: usize) {
        let bytes = self.wire.split_to(count.min(self.wire.len()));
        self.delivered += bytes.len();
        self.input.extend_from_slice(&bytes);
    }

    /// Gets everything that the gateway has for it.
    pub fn hear(&mut self) {
        if self.hostile {
            self.output.clear();
            return;
        }
        while let Some((tag, message)) = take_message(&mut self.output) {
            match tag {
                backend::PARAMETER_STATUS => {
                    let mut parts = message[5..].split(|byte| *byte == 0);
                    let mut part = || String::from_utf8_lossy(parts.next().unwrap()).into_owned();
                    let (name, value) = (part(), part());
                    self.known.insert(name, value);
                }
                backend::NOTIFICATION_RESPONSE => {
                    let listens = !self.twin.state.now.listens.is_empty();
                    assert!(
                        listens,
                        "client {} is told what it did not listen to",
                        self.id
                    );
                }
                _ => self.check(&message),
            }
        }
    }

    fn check(&mut self, message: &[u8]) {
        let mut expected = self.next_expected();
        let is_aborted = |expected: &Option<Vec<u8>>| {
            let state = expected.as_deref().and_then(state_of);
            state.is_some_and(|state| state.as_str() == "25P02")
        };
        if message.first() == Some(&backend::PARSE_COMPLETE.0) && is_aborted(&expected) {
            // A text that is known already is not judged again: the Bind will be refused.
            self.again_leniently();
            expected = self.next_expected();
        }
        let same = expected.as_deref() == Some(message);
        assert!(same, "{}", self.explain(message, expected.as_deref()));
        if is_ready(message) {
            let reported = self.twin.reported();
            let text = self.explain(message, None);
            assert_eq!(&self.known, reported, "parameters: {text}");
        }
    }

    fn next_expected(&mut self) -> Option<Vec<u8>> {
        while self.expected.is_empty() && self.fed < self.log.len() {
            self.feed();
        }
        self.expected.pop_front()
    }

    /// Gives the twin the next message.
    fn feed(&mut self) {
        self.before = (self.twin.state.clone(), self.twin.skipping);
        let message = &self.log[self.fed];
        self.fed += 1;
        self.twin.input.extend_from_slice(message);
        self.twin.take();
        let mut said = self.twin.output.split();
        while let Some((tag, message)) = take_message(&mut said) {
            if tag != backend::PARAMETER_STATUS {
                self.expected.push_back(message);
            }
        }
    }

    fn again_leniently(&mut self) {
        let (state, skipping) = self.before.clone();
        self.twin.state = state;
        self.twin.skipping = skipping;
        self.twin.lenient = true;
        self.fed -= 1;
        self.expected.clear();
        self.feed();
        self.twin.lenient = false;
    }

    fn explain(&self, message: &[u8], expected: Option<&[u8]>) -> String {
        let expected = expected.map_or_else(|| "nothing".into(), show);
        let mut text = format!(
            "client {}: heard {}\n  expected {expected}\n",
            self.id,
            show(message)
        );
        let from = self.fed.saturating_sub(24);
        for (index, said) in self.log.iter().enumerate().skip(from).take(40) {
            let mark = if index < self.fed { ' ' } else { '>' };
            let _ = writeln!(text, "  {mark}{index} {}", show(said));
        }
        text
    }

    /// Nothing moves any more: whatever a server would have sent by now has been heard.
    pub fn check_settled(&mut self) {
        if self.hostile {
            return;
        }
        let flushes = |message: &Vec<u8>| {
            let tag = Tag(message[0]);
            matches!(
                tag,
                frontend::QUERY | frontend::SYNC | frontend::FLUSH | frontend::FUNCTION_CALL
            )
        };
        let end = self
            .log
            .iter()
            .rposition(flushes)
            .map_or(0, |last| last + 1);
        while self.expected.is_empty() && self.fed < end {
            self.feed();
        }
        let next = self.expected.front();
        if let Some(next) = next {
            let next = next.clone();
            let text = self.explain(b"nothing more", Some(&next));
            panic!("wants {:?}, has {:?}: {text}", self.want, self.lease);
        }
    }

    /// Its server connection was lost, and it goes on. `false` if it is not worth following any longer.
    pub fn on_lost(&mut self) -> bool {
        let taken_bytes = self.delivered - self.input.len();
        let mut end = 0;
        let mut taken = 0;
        for message in &self.log {
            end += message.len();
            if end > taken_bytes {
                break;
            }
            taken += 1;
        }
        let is_between = self.log[..taken].iter().map(Vec::len).sum::<usize>() == taken_bytes;
        let begun = self
            .fed
            .saturating_sub(usize::from(!self.expected.is_empty()));
        let (state, skipping) = if self.expected.is_empty() {
            (self.twin.state.clone(), self.twin.skipping)
        } else {
            self.before.clone()
        };
        let open = self.log[begun.min(taken)..taken].to_vec();
        let is_copy = |message: &Vec<u8>| {
            matches!(message[0], b'd' | b'c' | b'f') || show(message).contains("FROM STDIN")
        };
        let is_plain = begun <= taken && self.expected.is_empty() && !open.iter().any(is_copy);
        let mut heard = String::new();
        while let Some((tag, message)) = take_message(&mut self.output) {
            heard.push(char::from(tag.0));
            if tag == backend::ERROR_RESPONSE {
                assert_eq!(state_of(&message).unwrap().as_str(), "08006");
            }
        }
        assert!(self.output.is_empty(), "half a message");
        if !is_plain || !is_between || self.twin.copies() {
            return false;
        }
        let readies = count_ready(&open, skipping);
        let got = heard.matches('Z').count();
        assert_eq!(
            got, readies,
            "client {}: heard {heard} for {open:?}",
            self.id
        );
        let since = self.log[..taken].iter().rev();
        let since: Vec<u8> = since
            .map(|said| said[0])
            .take_while(|tag| *tag != b'S')
            .collect();
        if since.contains(&b'C') {
            return false;
        }
        let is_open = since
            .iter()
            .any(|tag| matches!(tag, b'P' | b'B' | b'D' | b'E'));
        self.twin.lose(state, is_open);
        self.fed = taken;
        self.told.clear();
        true
    }
}

/// How many ReadyForQuery these messages are owed.
fn count_ready(messages: &[Vec<u8>], mut skipping: bool) -> usize {
    let mut count = 0;
    for message in messages {
        match message[0] {
            b'S' => {
                skipping = false;
                count += 1;
            }
            b'Q' | b'F' if !skipping => count += 1,
            _ => {}
        }
    }
    count
}
