//! What all conversations of a listener have in common: the pool's mode, bounds, and who says where statements go.
//!
//! Start at [`Setup`].

use std::rc::Rc;
use std::sync::Arc;

use super::statements::{Recent, Registry, StatementLimits};
use crate::limits::FrameLimits;
use crate::sql::{self, Analysis, Fingerprint};

/// When a server connection goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When the client leaves.
    Session,
    /// After each transaction.
    Transaction,
    /// After each statement; transactions of several are refused.
    Statement,
}

/// What happens to session state in the modes in which server connections change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatePolicy {
    /// The client keeps its server connection for as long as it has such state.
    Pin,
    /// As `Pin`, but parameters that were set are set again on the next server connection.
    Replay,
    /// The statement is refused.
    Refuse,
}

/// Where a statement may go, as the router numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Target(pub u16);

impl Target {
    /// No rule takes the statement.
    pub const NOWHERE: Self = Self(u16::MAX);
}

/// What is to be sent next, for the router: of all that goes to one place, the statement that asks most.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// What it does. One that is not complete may do anything.
    pub analysis: &'a Analysis,
    /// Its text, for rules about tables.
    pub sql: &'a [u8],
}

/// Says where statements go.
pub trait Router {
    /// The target of a statement outside of any transaction.
    fn target(&self, demand: Demand<'_>) -> Target;
    /// Whether the answer depends on the statement at all.
    fn looks_at_statements(&self) -> bool;
    /// Whether statements are counted by their fingerprints when they are over, without having been shown to filters.
    fn counts(&self) -> bool {
        false
    }
    /// Whether the text of this fingerprint is known to who counts.
    fn knows(&self, _fingerprint: Fingerprint) -> bool {
        true
    }
}

/// What all conversations of a listener have in common.
pub struct Setup {
    /// When server connections go back.
    pub mode: Mode,
    /// What happens to session state.
    pub state: StatePolicy,
    /// Prepared statements that a server connection may know; 0: names are left to the server.
    pub prepared: usize,
    /// What a client may keep prepared.
    pub statements: StatementLimits,
    /// Replies that may be owed to one client before it has to wait.
    pub pipeline: usize,
    /// Whether statements are shown to filters: [`Want::Statement`](super::Want::Statement).
    pub inspect: bool,
    /// Limits of frames from clients.
    pub client_frames: FrameLimits,
    /// How SQL is read, but for what depends on the client.
    pub sql: sql::Options,
    /// The texts of the process.
    pub registry: Arc<Registry>,
    /// Those that were prepared without a name lately.
    pub unnamed: Recent,
}

impl Setup {
    /// Whether named statements have names of the gateway's on server connections.
    pub(super) fn names_are_ours(&self) -> bool {
        self.prepared > 0 && self.mode != Mode::Session
    }

    /// The analysis of no text.
    pub(super) fn nothing_read(&self) -> Rc<Analysis> {
        self.sql
            .seen
            .as_ref()
            .map_or_else(Rc::default, |seen| seen.nothing())
    }
}
