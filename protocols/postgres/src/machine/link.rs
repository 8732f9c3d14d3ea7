//! A server connection as conversations know it.
//!
//! Start at [`Link`].

use std::sync::Arc;

use super::relay::{Setting, Target};
use super::shape::Shape;
use super::statements::ServerStatements;
use crate::frame::{FrameScanner, Side};
use crate::limits::FrameLimits;

/// A server connection as conversations know it. It outlives them.
#[derive(Debug)]
pub struct Link {
    /// What it was got for.
    pub target: Target,
    /// The statements it knows.
    pub statements: ServerStatements,
    /// The parameters that were applied to it.
    pub shape: Arc<Shape>,
    /// It was used so that only a reset makes it fit for another client.
    pub tainted: bool,
    /// The server has said that it goes away.
    pub leaving: bool,
    pub(super) scanner: FrameScanner,
    /// What [`Event::Parameter`]s have said, newest last; taken by the session.
    pub(super) parameters: Vec<Setting>,
}

impl Link {
    /// A fresh connection: nothing prepared, nothing set.
    #[must_use]
    pub fn new(target: Target, limits: FrameLimits) -> Self {
        Self {
            target,
            statements: ServerStatements::default(),
            shape: Arc::default(),
            tainted: false,
            leaving: false,
            scanner: FrameScanner::new(Side::Backend, limits),
            parameters: Vec::new(),
        }
    }

    /// Parameters that the server has reported since the last call.
    pub fn take_parameters(&mut self) -> Vec<Setting> {
        std::mem::take(&mut self.parameters)
    }

    /// Everything is as in a fresh session, as `DISCARD ALL` leaves it.
    pub fn on_reset(&mut self) {
        self.statements.clear();
        self.statements.unnamed = 0;
        self.shape = Arc::default();
        self.tainted = false;
    }
}
