//! What keys are called upstream: a prefix of theirs taken off, another put in front, and both undone in replies.
//!
//! Pure, and about bytes: which route asks for it is [`crate::config`]'s, when it is done [`crate::machine`]'s. It is no
//! access rule: those see the names that clients use. The law: names go up and come down unchanged, and two clients whose
//! prefixes are not one the start of the other never reach the same key.
//!
//! Start at [`Renaming`]; commands are in `command.rs`, replies in `reply.rs`.

mod command;
mod reply;
#[cfg(test)]
mod tests;

pub use command::{Renamed, Words, asks_for_notifications};
pub use reply::Names;

use crate::machine::Lost;

/// How keys are named upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renaming {
    /// What every key of a client begins with, and has no more upstream.
    pub strip: Box<[u8]>,
    /// What every key begins with upstream.
    pub add: Box<[u8]>,
    /// Scripts and functions are let through: their declared keys are renamed, what they make up themselves is not.
    pub allows_scripts: bool,
}

impl Renaming {
    /// A key as servers know it.
    ///
    /// # Errors
    /// [`Lost::KeyPrefix`]: it does not begin with what is to be taken off.
    #[inline]
    pub fn upstream(&self, key: &[u8]) -> Result<Vec<u8>, Lost> {
        let rest = key.strip_prefix(&*self.strip).ok_or(Lost::KeyPrefix)?;
        Ok([&self.add, rest].concat())
    }

    /// What keys begin with as servers know them, of those that begin so as the client knows them.
    ///
    /// # Errors
    /// [`Lost::KeyPrefix`]: none of the client's begins so.
    pub fn upstream_prefix(&self, prefix: &[u8]) -> Result<Vec<u8>, Lost> {
        if self.strip.starts_with(prefix) {
            return Ok(self.add.to_vec());
        }
        self.upstream(prefix)
    }

    /// A server's key as the client knows it; `None` if it is none of the client's.
    #[must_use]
    pub fn downstream(&self, key: &[u8]) -> Option<Vec<u8>> {
        let rest = key.strip_prefix(&*self.add)?;
        Some([&self.strip, rest].concat())
    }
}

/// Whether messages of this channel tell of keys: those of keyspace notifications do.
#[must_use]
pub fn is_notification(channel: &[u8]) -> bool {
    channel.starts_with(b"__keyspace@") || channel.starts_with(b"__keyevent@")
}
