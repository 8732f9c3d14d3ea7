//! Asks sentinels for a primary and its replicas, and listens to what they tell.
//!
//! On each worker one task for each cluster asks, and one for each sentinel listens; when to ask is
//! [`crate::cluster::RefreshPolicy`]'s. They hold nothing of the cluster while they wait, so that they end with it. Start at
//! [`follow`] and [`listen`].

use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use portcullis_net::{Timer, clock, sleep, within};

use super::followed::Followed;
use super::health;
use super::inquiry::{Asks, Inquiry, Reader, SPEAKS, due};
use super::open::open;
use super::shard::{Common, Part, Target};
use crate::cluster::NodeAddress;
use crate::encoder;
use crate::machine::Lost;
use crate::message::Value;
use crate::sentinel::{Answer, AnswerError, CHANNELS, News, others};

/// The share of the time that a connection may take, for each sentinel that is asked and for the primary.
const SHARES: u32 = 3;

/// A sentinel that has nothing to tell is asked so often whether it is there.
const QUIET: Duration = Duration::from_secs(5);

/// The pause behind a connection to a sentinel that ended; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a sentinel's answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NoAnswer {
    #[error("{0}")]
    Lost(#[from] Lost),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("no answer in time")]
    Timeout,
    /// Another sentinel has said something newer.
    #[error("the sentinel is behind")]
    Stale,
    /// The primary that it names does not say so, or cannot be reached.
    #[error("the primary is none")]
    Unverified,
}

impl NoAnswer {
    const fn label(self) -> &'static str {
        match self {
            Self::Lost(lost) => lost.label(),
            Self::Answer(error) => error.label(),
            Self::Timeout => "timeout",
            Self::Stale => "stale",
            Self::Unverified => "unverified",
        }
    }
}

/// Asks whenever it is time, until the cluster is gone.
pub(super) async fn follow(followed: Weak<Followed>) {
    let mut timer = Timer::new();
    while let Some(followed) = due(&followed, &mut timer).await {
        followed.with_inquiry(|inquiry| inquiry.policy.on_start(clock::now()));
        let answer = followed.ask().await;
        followed.take(answer);
    }
}

impl Asks for Followed {
    fn with_inquiry<R>(&self, act: impl FnOnce(&mut Inquiry) -> R) -> R {
        act(&mut self.state.borrow_mut().inquiry)
    }
}

impl Followed {
    /// Asks one sentinel after the other, until one names a primary that is one: those that are configured, then others that
    /// were told of.
    ///
    /// An answer that is older than what is known is not believed, unless all sentinels give such: then somebody has set
    /// them up anew.
    async fn ask(&self) -> Option<Answer> {
        let first = self.state.borrow().first;
        let mut stale: Vec<Told> = Vec::new();
        for (index, target) in &self.candidates() {
            let error = match self.ask_one(target).await {
                Ok(told) if told.answer.epoch < self.state.borrow().epoch => {
                    // Those that were told of may be anybody's by then.
                    stale.extend(index.map(|_| told));
                    NoAnswer::Stale
                }
                Ok(told) => match self.verify(told).await {
                    Some(told) => return Some(self.believe(index.unwrap_or(first), told)),
                    None => NoAnswer::Unverified,
                },
                Err(error) => error,
            };
            self.common.stats.on_answer(error.label());
            let (cluster, reason) = (self.common.cluster.name(), error.label());
            tracing::debug!(cluster, sentinel = ?target, reason, "a sentinel is of no use");
        }
        if stale.len() < self.sentinels.len() {
            return None;
        }
        let newest = stale.into_iter().max_by_key(|told| told.answer.epoch)?;
        let told = self.verify(newest).await?;
        Some(self.believe(first, told))
    }

    /// Whom to ask, in this order; those that are configured with their numbers.
    fn candidates(&self) -> Vec<(Option<usize>, Target)> {
        let state = self.state.borrow();
        let configured = (0..self.sentinels.len()).filter_map(|turn| {
            let index = (state.first + turn) % self.sentinels.len();
            let name = self.sentinels.get(index)?;
            Some((Some(index), Target::Sentinel(Rc::clone(name))))
        });
        let others = state.others.iter().map(|other| {
            let other = Rc::new(other.clone());
            (None, Target::Found(other, Part::Sentinel))
        });
        configured.chain(others).collect()
    }

    fn believe(&self, sentinel: usize, told: Told) -> Answer {
        self.common.stats.on_answer("ok");
        let mut state = self.state.borrow_mut();
        // Unless another has told something meanwhile.
        if !state.inquiry.policy.is_wanted() {
            state.first = sentinel;
        }
        let is_new = |other: &NodeAddress| {
            let name = other.to_string();
            !self.sentinels.iter().any(|known| **known == name)
        };
        // One that knows nobody else may have forgotten the others.
        if !told.others.is_empty() {
            state.others = told.others.into_iter().filter(is_new).collect();
        }
        told.answer
    }

    async fn ask_one(&self, sentinel: &Target) -> Result<Told, NoAnswer> {
        let asked = within(self.share(), converse(&self.common, sentinel, &self.master));
        asked.await.unwrap_or(Err(NoAnswer::Timeout))
    }

    /// Asks the primary itself, unless it is the one that is used and nothing speaks against it.
    async fn verify(&self, told: Told) -> Option<Told> {
        let answer = &told.answer;
        let is_same = self
            .primary()
            .is_ok_and(|primary| primary.address() == Some(&answer.primary));
        if is_same && !self.state.borrow().is_doubted {
            return Some(told);
        }
        let target = Target::Found(Rc::new(answer.primary.clone()), Part::Primary);
        let opened = within(self.share(), open(&self.common, &target, SPEAKS, None)).await;
        matches!(opened, Some(Ok(_))).then_some(told)
    }

    fn share(&self) -> Duration {
        let cluster = &self.common.cluster;
        cluster.with_config(|config| config.connect_timeout.get()) / SHARES
    }
}

/// What one sentinel told.
struct Told {
    answer: Answer,
    /// Where other sentinels are.
    others: Vec<NodeAddress>,
}

async fn converse(common: &Common, target: &Target, master: &str) -> Result<Told, NoAnswer> {
    let mut opened = open(common, target, SPEAKS, None).await?;
    let mut wire = BytesMut::new();
    for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS", "SENTINELS"] {
        let words = ["SENTINEL", question, master].map(str::as_bytes);
        encoder::command(&words, &mut wire);
    }
    let sent = opened.stream.write_all(&wire).await;
    sent.map_err(|_| Lost::Closed)?;
    let mut reader = Reader::new();
    let address = reader.read(&mut opened.stream).await?;
    let details = reader.read(&mut opened.stream).await?;
    let replicas = reader.read(&mut opened.stream).await?;
    let sentinels = reader.read(&mut opened.stream).await?;
    Ok(Told {
        answer: Answer::read(&address, &details, &replicas)?,
        others: others(&sentinels),
    })
}

/// Listens to one sentinel, until the cluster is gone.
pub(super) async fn listen(followed: Weak<Followed>, sentinel: usize) {
    let mut pause = FIRST_PAUSE;
    while let Some(ear) = Ear::new(&followed, sentinel) {
        let common = Rc::clone(&ear.common);
        if ear.hear().await {
            pause = FIRST_PAUSE;
        }
        let rest = health::spread(pause, common.random.next());
        drop(common);
        sleep(rest).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection to a sentinel that tells.
struct Ear {
    common: Rc<Common>,
    followed: Weak<Followed>,
    sentinel: usize,
    name: Rc<str>,
    master: Box<str>,
}

impl Ear {
    fn new(followed: &Weak<Followed>, sentinel: usize) -> Option<Self> {
        let all = followed.upgrade()?;
        if all.state.borrow().inquiry.is_closed() {
            return None;
        }
        Some(Self {
            common: Rc::clone(&all.common),
            followed: Weak::clone(followed),
            sentinel,
            name: Rc::clone(all.sentinels.get(sentinel)?),
            master: all.master.clone(),
        })
    }

    /// Listens until the connection ends. Whether it told anything, if only that it will.
    async fn hear(&self) -> bool {
        let target = Target::Sentinel(Rc::clone(&self.name));
        let Ok(mut opened) = open(&self.common, &target, SPEAKS, None).await else {
            return false;
        };
        let mut wire = BytesMut::new();
        let words: Vec<&[u8]> = [b"SUBSCRIBE".as_slice()]
            .into_iter()
            .chain(CHANNELS)
            .collect();
        encoder::command(&words, &mut wire);
        if opened.stream.write_all(&wire).await.is_err() {
            return false;
        }
        let mut reader = Reader::new();
        let (mut has_told, mut is_asked) = (false, false);
        loop {
            let stream = &mut opened.stream;
            match within(QUIET, reader.read(stream)).await {
                Some(Ok(value)) if value.error().is_some() => return has_told,
                Some(Ok(value)) => {
                    is_asked = false;
                    if !self.tell(&value, !has_told) {
                        return has_told;
                    }
                    has_told = true;
                }
                Some(Err(_)) => return has_told,
                None if is_asked => return has_told,
                None => {
                    wire.clear();
                    encoder::command(&[b"PING"], &mut wire);
                    if self.followed.strong_count() == 0 || stream.write_all(&wire).await.is_err() {
                        return has_told;
                    }
                    is_asked = true;
                }
            }
        }
    }

    /// Hands on what a sentinel told. The first that it says is that it listens: what it told before may have been missed.
    /// False if nobody wants to know any more.
    fn tell(&self, value: &Value, is_first: bool) -> bool {
        let Some(followed) = self.followed.upgrade() else {
            return false;
        };
        if followed.state.borrow().inquiry.is_closed() {
            return false;
        }
        match News::read(value, &self.master) {
            Some(News::Switched | News::Changed) => followed.on_news(self.sentinel),
            None if is_first => followed.want(),
            None => {}
        }
        true
    }
}
