//! Asks the nodes of a Redis Cluster who has which slot.
//!
//! One task for each Redis Cluster on each worker; when to ask is [`crate::cluster::RefreshPolicy`]'s. It holds nothing of
//! the cluster while it waits, so that it ends with it. Start at [`follow`].

use std::rc::{Rc, Weak};

use bytes::BytesMut;
use portcullis_net::{Timer, within};

use super::inquiry::{Asks, Inquiry, Reader, SPEAKS, due};
use super::members::Members;
use super::open::open;
use super::shard::{Part, Target};
use crate::cluster::SlotMap;
use crate::encoder;
use crate::machine::Lost;

/// How many nodes are asked before the question counts as failed. Each may take its share of the time that a connection may.
const MOST_ASKED: u32 = 3;

/// Why a node's answer is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NoMap {
    #[error("{0}")]
    Lost(#[from] Lost),
    #[error("{0}")]
    Map(#[from] crate::cluster::MapError),
    #[error("the node answered with an error")]
    Refused,
    #[error("no answer in time")]
    Timeout,
}

impl NoMap {
    const fn label(self) -> &'static str {
        match self {
            Self::Lost(lost) => lost.label(),
            Self::Map(error) => error.label(),
            Self::Refused => "map_refused",
            Self::Timeout => "map_timeout",
        }
    }
}

/// Asks whenever it is time, until the cluster is gone.
pub(super) async fn follow(members: Weak<Members>) {
    let mut timer = Timer::new();
    while let Some(members) = due(&members, &mut timer).await {
        members.state.borrow_mut().on_ask();
        let map = members.ask().await;
        members.on_answer(map);
    }
}

impl Asks for Members {
    fn with_inquiry<R>(&self, act: impl FnOnce(&mut Inquiry) -> R) -> R {
        act(&mut self.state.borrow_mut().inquiry)
    }
}

impl Members {
    /// Asks one node after the other.
    async fn ask(&self) -> Option<SlotMap> {
        let timeout = self
            .common
            .cluster
            .with_config(|config| config.connect_timeout.get());
        for turn in 0..MOST_ASKED {
            let target = self.candidate(turn);
            let asked = within(timeout / MOST_ASKED, self.ask_one(&target));
            let error = match asked.await {
                Some(Ok(map)) => {
                    self.common.stats.on_map("ok");
                    return Some(map);
                }
                Some(Err(error)) => error,
                None => NoMap::Timeout,
            };
            self.common.stats.on_map(error.label());
            let cluster = self.common.cluster.name();
            tracing::debug!(
                cluster,
                ?target,
                reason = error.label(),
                "a node has no map of its Redis Cluster"
            );
        }
        None
    }

    /// Whom to ask: those that are configured, and one of those that they named, in case none of them is left.
    fn candidate(&self, turn: u32) -> Target {
        let state = self.state.borrow();
        let map = state.map.as_ref().filter(|_| turn == 1);
        let known = map.and_then(|map| {
            let primaries = map.primaries();
            let index = self.common.random.next() % primaries.len().max(1) as u64;
            let number = primaries.get(index as usize)?;
            map.nodes().get(*number as usize)
        });
        known.map_or(Target::Any, |known| {
            Target::Found(Rc::new(known.clone()), Part::Node)
        })
    }

    async fn ask_one(&self, target: &Target) -> Result<SlotMap, NoMap> {
        let mut opened = open(&self.common, target, SPEAKS, None).await?;
        let mut wire = BytesMut::new();
        encoder::command(&[b"CLUSTER".as_slice(), b"SHARDS"], &mut wire);
        encoder::command(&[b"CLUSTER".as_slice(), b"SLOTS"], &mut wire);
        let sent = opened.stream.write_all(&wire).await;
        sent.map_err(|_| Lost::Closed)?;
        let mut reader = Reader::new();
        let shards = reader.read(&mut opened.stream).await?;
        let slots = reader.read(&mut opened.stream).await?;
        if let Some(error) = slots.error() {
            let (cluster, error) = (self.common.cluster.name(), error.escape_ascii());
            tracing::warn!(cluster, %error, "a node has no map of its Redis Cluster");
            return Err(NoMap::Refused);
        }
        let seed = opened.host();
        Ok(SlotMap::read(&slots, Some(&shards), &seed, self.has_tls)?)
    }
}
