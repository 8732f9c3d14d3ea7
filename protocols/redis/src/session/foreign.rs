//! What one worker knows of commands that are not in the table: what the operator says of them, and what servers said.
//!
//! Who asks is a client's task ([`super::client`]). Start at [`Foreigners::find`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use portcullis_net::clock;

use crate::command::Foreign;
use crate::command::foreign::{ForeignTable, Known};
use crate::config::RedisConfig;

/// What one worker knows of commands that are not in the table.
pub(super) struct Foreigners {
    configured: HashMap<Box<str>, Arc<Foreign>>,
    table: RefCell<ForeignTable>,
    asks: bool,
}

impl Foreigners {
    pub(super) fn new(config: &RedisConfig) -> Self {
        let configured = config.commands.iter();
        Self {
            configured: configured
                .map(|foreign| (foreign.name.clone(), Arc::clone(foreign)))
                .collect(),
            table: RefCell::default(),
            asks: config.unknown_commands.asks(),
        }
    }

    /// What is known of a name; `None`: to be asked.
    pub(super) fn find(&self, name: &str) -> Option<Known> {
        if let Some(foreign) = self.configured.get(name) {
            return Some(Known::Is(Arc::clone(foreign)));
        }
        if !self.asks {
            return Some(Known::Absent);
        }
        self.table.borrow().find(name, clock::now())
    }

    /// Servers said this.
    pub(super) fn insert(&self, name: &str, known: Known) {
        self.table.borrow_mut().insert(name, known, clock::now());
    }
}
