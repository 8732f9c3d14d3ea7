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
use crate::encoder;
use crate::machine::Lost;
use crate::message::Value;
use crate::sentinel::{Answer, AnswerError, CHANNELS, News};

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
    /// Asks one sentinel after the other, until one names a primary that is one.
    ///
    /// An answer that is older than what is known is not believed, unless all sentinels give such: then somebody has set
    /// them up anew.
    async fn ask(&self) -> Option<Answer> {
        let first = self.state.borrow().first;
        let mut stale: Vec<Answer> = Vec::new();
        for turn in 0..self.sentinels.len() {
            let sentinel = (first + turn) % self.sentinels.len();
            let error = match self.ask_one(sentinel).await {
                Ok(answer) if answer.epoch < self.state.borrow().epoch => {
                    stale.push(answer);
                    NoAnswer::Stale
                }
                Ok(answer) => match self.verify(answer).await {
                    Some(answer) => {
                        self.believe(sentinel);
                        return Some(answer);
                    }
                    None => NoAnswer::Unverified,
                },
                Err(error) => error,
            };
            self.common.stats.on_answer(error.label());
            let (cluster, reason) = (self.common.cluster.name(), error.label());
            let sentinel = self.sentinels.get(sentinel);
            tracing::debug!(cluster, ?sentinel, reason, "a sentinel is of no use");
        }
        if stale.len() < self.sentinels.len() {
            return None;
        }
        let newest = stale.into_iter().max_by_key(|answer| answer.epoch)?;
        let answer = self.verify(newest).await?;
        self.believe(first);
        Some(answer)
    }

    fn believe(&self, sentinel: usize) {
        self.common.stats.on_answer("ok");
        let mut state = self.state.borrow_mut();
        // Unless another has told something meanwhile.
        if !state.inquiry.policy.is_wanted() {
            state.first = sentinel;
        }
    }

    async fn ask_one(&self, sentinel: usize) -> Result<Answer, NoAnswer> {
        let name = self.sentinels.get(sentinel).ok_or(Lost::NoEndpoint)?;
        let asked = within(self.share(), converse(&self.common, name, &self.master));
        asked.await.unwrap_or(Err(NoAnswer::Timeout))
    }

    /// Asks the primary itself, unless it is the one that is used and nothing speaks against it.
    async fn verify(&self, answer: Answer) -> Option<Answer> {
        let is_same = self
            .primary()
            .is_ok_and(|primary| primary.address() == Some(&answer.primary));
        if is_same && !self.state.borrow().is_doubted {
            return Some(answer);
        }
        let target = Target::Found(Rc::new(answer.primary.clone()), Part::Primary);
        let opened = within(self.share(), open(&self.common, &target, SPEAKS)).await;
        matches!(opened, Some(Ok(_))).then_some(answer)
    }

    fn share(&self) -> Duration {
        let cluster = &self.common.cluster;
        cluster.with_config(|config| config.connect_timeout.get()) / SHARES
    }
}

async fn converse(common: &Common, name: &Rc<str>, master: &str) -> Result<Answer, NoAnswer> {
    let target = Target::Sentinel(Rc::clone(name));
    let mut opened = open(common, &target, SPEAKS).await?;
    let mut wire = BytesMut::new();
    for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER", "REPLICAS"] {
        let words = ["SENTINEL", question, master].map(str::as_bytes);
        encoder::command(&words, &mut wire);
    }
    let sent = opened.stream.write_all(&wire).await;
    sent.map_err(|_| Lost::Closed)?;
    let mut reader = Reader::new();
    let address = reader.read(&mut opened.stream).await?;
    let details = reader.read(&mut opened.stream).await?;
    let replicas = reader.read(&mut opened.stream).await?;
    Ok(Answer::read(&address, &details, &replicas)?)
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
        let Ok(mut opened) = open(&self.common, &target, SPEAKS).await else {
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
