//! File descriptors: how many there may be, and one kept in reserve.
//!
//! Start at [`SpareDescriptor`] for why one is kept.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many descriptors the process may have open; `None` if there is no bound.
#[must_use]
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the bound as far as the system lets an ordinary process, and says what it is then.
pub fn raise_limit() -> Option<u64> {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    // Refused where a sandbox forbids it; the bound then stays what it was.
    let _ = setrlimit(Resource::Nofile, raised);
    limit()
}

/// A descriptor kept open for nothing.
///
/// When the process has no descriptor left, connections cannot even be accepted to be closed: they would wait in the
/// kernel, and the listener would be ready for ever. Giving this one up makes room to accept and close one.
#[derive(Debug)]
pub struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    /// Opens it, if there is one to have.
    #[must_use]
    pub fn new() -> Self {
        let mut spare = Self(None);
        spare.refill();
        spare
    }

    /// Gives it up. The answer is whether there was one.
    pub fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Takes one again, if there is one to have and none is held. The answer is whether one is held now.
    pub fn refill(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }
}

impl Default for SpareDescriptor {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_up_once_until_taken_again() {
        let mut spare = SpareDescriptor::new();
        assert!(spare.release());
        assert!(!spare.release());
        assert!(spare.refill());
        assert!(spare.release());
    }
}
