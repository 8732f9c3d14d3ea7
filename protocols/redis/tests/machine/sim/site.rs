//! Clients, gateway and servers, and what happens next.
//!
//! Start at [`run`].

use portcullis_redis::machine::{Delivery, Lost, Piece};

use super::client::Actor;
use super::gateway::{Gateway, Pending};
use portcullis_testkit::Choices;

/// Most bytes that move at once.
const MOVED: usize = 64;

/// What a server answers that is out of its mind.
const NONSENSE: [&[u8]; 10] = [
    b"+OK\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n$1\r\na\r\n:9223372036854775807\r\n",
    b"%1\r\n:1\r\n*1\r\n_\r\n",
    b":9223372036854775807\r\n",
    b"-MOVED 1 h:1\r\n",
    b"!5\r\nERR x\r\n",
    b">2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
    b"what\r\n",
];

/// So many steps, or as long as there are choices, and then until all is quiet.
pub fn run(mut choices: Choices<'_>, steps: usize) {
    let nonce = choices.nonce();
    let breaks = choices.once_in(2);
    let has_hostile = choices.once_in(4);
    let clients = 1 + choices.below(4);
    let shards = 1 + choices.below(3);
    let actors = (0..clients).map(|id| {
        let is_hostile = has_hostile && id == 0;
        Actor::new(id, nonce, !breaks, is_hostile)
    });
    let mut site = Site {
        actors: actors.collect(),
        gateway: Gateway::new(choices, shards, breaks),
        has_lied: false,
    };
    site.gateway.renames = site.gateway.choices.once_in(2);
    for actor in &mut site.actors {
        actor.script.can_track = !site.gateway.renames;
    }
    for _ in 0..steps {
        if site.gateway.choices.is_over() {
            break;
        }
        site.step();
    }
    site.finish();
}

struct Site<'a> {
    actors: Vec<Actor>,
    gateway: Gateway<'a>,
    /// A server has said what is not so.
    has_lied: bool,
}

impl Site<'_> {
    fn step(&mut self) {
        let breaks = self.gateway.breaks;
        let at = self.gateway.choices.below(self.actors.len());
        match self.gateway.choices.below(20) {
            0..6 => self.say(at),
            6..10 => {
                let count = 1 + self.gateway.choices.below(MOVED);
                self.actors[at].arrive(count);
            }
            10..13 => self.send_some(),
            13..16 => self.execute(),
            16..18 => self.receive_some(),
            18 => self.time_out(),
            _ if breaks && self.gateway.choices.once_in(6) => self.kill_some(),
            _ if self.gateway.choices.once_in(24) => self.actors[at].leave(&mut self.gateway),
            _ => self.receive_some(),
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        for actor in &mut self.actors {
            actor.go_on(&mut self.gateway);
        }
        self.gateway.check();
    }

    fn say(&mut self, at: usize) {
        let choices = &mut self.gateway.choices;
        let actor = &mut self.actors[at];
        if actor.is_hostile {
            let bytes = choices.bytes();
            if choices.once_in(2) {
                let commands = actor.script.commands(&actor.twin, choices);
                commands.iter().for_each(|words| actor.say(words));
            } else {
                actor.wire.extend_from_slice(&bytes);
            }
            return;
        }
        let commands = actor.script.commands(&actor.twin, choices);
        commands.iter().for_each(|words| actor.say(words));
    }

    fn any_link(&mut self) -> Option<usize> {
        let numbers: Vec<usize> = self.gateway.links.keys().copied().collect();
        let count = numbers.len();
        (count > 0).then(|| numbers[self.gateway.choices.below(count)])
    }

    fn send_some(&mut self) {
        if let Some(number) = self.any_link() {
            let count = 1 + self.gateway.choices.below(4 * MOVED);
            self.send(number, count);
        }
    }

    fn send(&mut self, number: usize, count: usize) {
        let link = self.gateway.links.get_mut(&number).unwrap();
        let bytes = link.out.split_to(count.min(link.out.len()));
        let peers = &mut self.gateway.servers[link.shard].peers;
        let peer = peers.get_mut(&number).unwrap();
        peer.input.extend_from_slice(&bytes);
    }

    fn execute(&mut self) {
        if let Some(number) = self.any_link() {
            let link = &self.gateway.links[&number];
            let (shard, is_shared) = (link.shard, link.owner.is_none());
            let lies = self.gateway.breaks && self.gateway.choices.once_in(32);
            let nonsense = self.gateway.choices.of(&NONSENSE);
            let server = &mut self.gateway.servers[shard];
            // An answer that is missing where several wait, nobody can tell.
            if lies && !(is_shared && nonsense.starts_with(b">")) {
                self.has_lied = true;
                server.lie(number, nonsense);
            } else {
                server.step(number);
            }
        }
    }

    fn time_out(&mut self) {
        if let Some(number) = self.any_link() {
            let shard = self.gateway.links[&number].shard;
            self.gateway.servers[shard].time_out(number);
        }
    }

    fn receive_some(&mut self) {
        if let Some(number) = self.any_link() {
            let count = 1 + self.gateway.choices.below(4 * MOVED);
            self.receive(number, count);
        }
    }

    /// Bytes of a server's come, and what is whole goes to those whom it is for.
    fn receive(&mut self, number: usize, count: usize) {
        let link = self.gateway.links.get_mut(&number).unwrap();
        let peers = &mut self.gateway.servers[link.shard].peers;
        let peer = peers.get_mut(&number).unwrap();
        let bytes = peer.output.split_to(count.min(peer.output.len()));
        link.input.extend_from_slice(&bytes);
        let (actors, owner) = (&mut self.actors, link.owner);
        let result = link
            .pipeline
            .on_bytes(&mut link.input, |delivery| match delivery {
                Delivery::Last(Pending { client, ticket, .. }, piece) => {
                    actors[client].machine.on_piece(ticket, piece);
                }
                Delivery::Part(Pending { client, ticket, .. }, piece) => {
                    actors[*client].machine.on_piece(*ticket, piece);
                }
                Delivery::Run(pending, replies, bytes) => {
                    actors[pending.client].on_run(pending.ticket, replies, bytes);
                }
                Delivery::Push(piece) => {
                    if let Some((client, pin)) = owner {
                        actors[client].machine.on_push(pin, piece);
                    }
                }
            });
        if result.is_err() {
            assert!(self.gateway.breaks, "{result:?}");
            self.kill(number, Lost::Protocol);
        }
    }

    fn kill_some(&mut self) {
        if let Some(number) = self.any_link() {
            self.kill(number, Lost::Closed);
        }
    }

    fn kill(&mut self, number: usize, lost: Lost) {
        let Some(mut link) = self.gateway.remove(number) else {
            return;
        };
        for pending in link.pipeline.take_pending() {
            let machine = &mut self.actors[pending.client].machine;
            for ticket in pending.tickets() {
                machine.on_piece(ticket, Piece::Lost(lost));
            }
        }
        if let Some((client, pin)) = link.owner
            && self.actors[client].machine.listens_on(pin)
        {
            self.actors[client].leave(&mut self.gateway);
        }
    }

    /// Everybody ends what it has begun, and everything arrives.
    fn finish(&mut self) {
        for actor in self.actors.iter_mut().filter(|it| it.is_hostile) {
            // It may have begun a command that never ends.
            actor.leave(&mut self.gateway);
        }
        self.settle();
        if !self.has_lied {
            let gateway = &self.gateway;
            self.actors.iter().for_each(|it| it.check_kept(gateway));
        }
        for actor in &mut self.actors {
            if !actor.is_gone && !actor.is_hostile {
                let ending = actor.script.ending();
                ending.iter().for_each(|words| actor.say(words));
            }
        }
        self.settle();
        for actor in &mut self.actors {
            actor.check_end();
            actor.leave(&mut self.gateway);
        }
        for link in self.gateway.links.values() {
            assert!(link.pipeline.is_empty(), "a reply is still to come");
        }
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        for round in 0..1000 {
            if round % 100 == 99 && self.gateway.breaks {
                // Whoever waits for a server that says nothing is told so in time.
                for number in self.gateway.links.keys().copied().collect::<Vec<_>>() {
                    self.kill(number, Lost::Timeout);
                }
            }
            let numbers: Vec<usize> = self.gateway.links.keys().copied().collect();
            for number in numbers {
                let Some(link) = self.gateway.links.get(&number) else {
                    continue;
                };
                let shard = link.shard;
                self.send(number, usize::MAX);
                while self.gateway.servers[shard].step(number) {}
                self.gateway.servers[shard].time_out(number);
                self.receive(number, usize::MAX);
            }
            self.actors.iter_mut().for_each(|it| it.arrive(usize::MAX));
            self.go_on();
            let is_still =
                |link: &super::gateway::Link| link.out.is_empty() && link.pipeline.is_empty();
            let mut servers = self.gateway.servers.iter();
            let mut is_quiet = self.actors.iter().all(Actor::is_quiet);
            // What a server says unasked is on its way, too.
            is_quiet &= servers.all(|it| it.peers.values().all(|peer| peer.output.is_empty()));
            if is_quiet && self.gateway.links.values().all(is_still) {
                return;
            }
        }
        panic!("it never ends");
    }
}
