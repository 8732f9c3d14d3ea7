//! Which of several servers is the primary, which replicas follow it and how far behind, by what each says of itself.
//!
//! The servers are asked elsewhere, one by one and again and again; here is what follows from their answers. Nothing is
//! promoted and nobody is told: a server that must not be used is only left alone. Start at [`Servers::on_answer`].

mod answer;
mod history;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use answer::{Answer, QUESTION, SHORT_QUESTION, Timeline};

use history::History;

/// What is held of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Nothing is known, or it was the primary and does not answer while another is.
    #[default]
    Unknown,
    /// It takes writes.
    Primary,
    /// It follows the primary.
    Replica,
    /// It has another history than the primary: an old primary that does not know it, or a replica of one.
    Fenced,
}

impl Standing {
    /// The word for logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Fenced => "fenced",
        }
    }
}

/// One server, as far as it is known.
#[derive(Debug, Clone)]
pub struct Server<K> {
    /// Its name.
    pub key: K,
    /// What follows from all the answers.
    pub standing: Standing,
    /// What it has said last, and when it was asked that.
    pub heard: Option<(Instant, Answer)>,
    /// How many bytes of the primary's it has not replayed.
    pub lag_bytes: Option<u64>,
    /// How long ago what it has replayed was all that the primary had.
    pub lag: Option<Duration>,
    /// Whether it answered when it was asked last; `None` before that.
    answers: Option<bool>,
}

/// Servers that hold the same data.
#[derive(Debug)]
pub struct Servers<K> {
    servers: Vec<Server<K>>,
    history: History<K>,
}

impl<K> Default for Servers<K> {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            history: History::default(),
        }
    }
}

impl<K: Copy + Eq> Servers<K> {
    /// These and no others. What is known of those that stay is kept; who leaves is forgotten, with the timeline that it had.
    pub fn retain(&mut self, keys: &[K]) {
        self.servers.retain(|server| keys.contains(&server.key));
        for key in keys {
            if !self.servers.iter().any(|server| server.key == *key) {
                self.servers.push(Server {
                    key: *key,
                    standing: Standing::Unknown,
                    heard: None,
                    lag_bytes: None,
                    lag: None,
                    answers: None,
                });
            }
        }
    }

    /// A server has answered what it was asked at `asked`, or not.
    pub fn on_answer(&mut self, key: K, asked: Instant, answer: Option<Answer>) {
        let found = self.servers.iter_mut().find(|server| server.key == key);
        let Some(server) = found else { return };
        server.answers = Some(answer.is_some());
        if let Some(answer) = answer {
            server.heard = Some((asked, answer));
        }
        self.judge();
        self.measure();
    }

    /// All of them.
    pub fn all(&self) -> &[Server<K>] {
        &self.servers
    }

    /// Whether all were asked and none has ever answered: then nothing will be found out, and what is written holds.
    pub fn is_mute(&self) -> bool {
        let mute = |server: &Server<K>| server.answers == Some(false) && server.heard.is_none();
        self.servers.iter().all(mute)
    }

    /// The place of the primary. A later history goes before everything else, also if it is one that does not answer now:
    /// whoever has an earlier one has lost writes, and must not become the primary again because the other is slow for once.
    fn primary(&self) -> Option<usize> {
        let claims = self
            .servers
            .iter()
            .enumerate()
            .filter_map(|(place, server)| {
                let (_, answer) = server.heard.filter(|(_, answer)| !answer.recovering)?;
                let rank = (
                    answer.timeline.map(|timeline| timeline.number),
                    server.answers == Some(true),
                    server.standing == Standing::Primary,
                    answer.position,
                    std::cmp::Reverse(place),
                );
                Some((rank, place))
            });
        claims.max().map(|(_, place)| place)
    }

    fn judge(&mut self) {
        let primary = self.primary();
        let found = primary.and_then(|place| self.servers.get(place)).cloned();
        for (place, server) in self.servers.iter_mut().enumerate() {
            let Some((_, answer)) = server.heard else {
                continue;
            };
            server.standing = match &found {
                _ if primary == Some(place) => Standing::Primary,
                Some(found) if answer.recovering => follows(&answer, found),
                None if answer.recovering => Standing::Replica,
                Some(found) if server.answers == Some(true) => claims(&answer, found),
                // It was the primary, and another is.
                _ => Standing::Unknown,
            };
        }
    }

    /// How far behind the replicas are.
    fn measure(&mut self) {
        let primary = self
            .servers
            .iter()
            .find(|server| server.standing == Standing::Primary);
        let told = primary.and_then(|server| {
            let (asked, answer) = server.heard?;
            Some((server.key, asked, answer.position?))
        });
        let Some((key, asked, position)) = told else {
            return;
        };
        self.history.push(key, asked, position);
        for server in &mut self.servers {
            let replayed = server
                .heard
                .filter(|_| server.standing == Standing::Replica)
                .and_then(|(_, answer)| Some((answer.position?, answer.replayed)));
            (server.lag_bytes, server.lag) = match replayed {
                None => (None, None),
                Some((replayed, age)) => (
                    Some(position.saturating_sub(replayed)),
                    Some(self.history.lag(replayed, asked, age)),
                ),
            };
        }
    }
}

/// A replica beside a primary.
fn follows<K>(replica: &Answer, primary: &Server<K>) -> Standing {
    let known = primary
        .heard
        .filter(|_| primary.answers == Some(true))
        .and_then(|(_, answer)| answer.timeline);
    let (Some(own), Some(known)) = (replica.timeline, known) else {
        return Standing::Replica;
    };
    // What does not stream says only how far it has come: it may follow yet.
    let strays = if own.current {
        own.number != known.number
    } else {
        own.number > known.number
    };
    if strays {
        Standing::Fenced
    } else {
        Standing::Replica
    }
}

/// Somebody who says that it is the primary, too.
fn claims<K>(other: &Answer, primary: &Server<K>) -> Standing {
    let known = primary.heard.and_then(|(_, answer)| answer.timeline);
    if other.timeline.is_some() && known.is_some() {
        Standing::Fenced
    } else {
        // Servers without timelines are no PostgreSQL, and may well share the work.
        Standing::Primary
    }
}
