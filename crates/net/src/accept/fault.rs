//! What goes wrong when accepting, and how long to rest after it.
//!
//! Start at [`Fault::of`].

use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// Why nothing was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection broke while it waited: the next may be well.
    Connection,
    /// No descriptor is left, in this process or the system. The connection still waits.
    Descriptors,
    /// No memory is left for a socket. The connection still waits.
    Memory,
    /// Something that should not happen to a listening socket.
    Unknown,
}

impl Fault {
    pub(super) fn of(error: &io::Error) -> Self {
        // `accept(2)`: errors that are pending on the new socket are reported as errors of accept.
        match Errno::from_io_error(error) {
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::TIMEDOUT
                | Errno::PERM,
            ) => Self::Connection,
            Some(Errno::MFILE | Errno::NFILE) => Self::Descriptors,
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::Memory,
            _ => Self::Unknown,
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Descriptors => "fd_limit",
            Self::Memory => "memory",
            Self::Unknown => "unknown",
        }
    }
}

/// How long to rest after faults in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    faults: u32,
}

const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

impl Backoff {
    /// Twice as long each time, up to a second: something has to be closed before it is worth trying again.
    pub(super) fn next(&mut self) -> Duration {
        let rest = SHORTEST.saturating_mul(1 << self.faults.min(16));
        self.faults = self.faults.saturating_add(1);
        rest.min(LONGEST)
    }

    pub(super) const fn reset(&mut self) {
        self.faults = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults() {
        let rows = [
            (Errno::CONNABORTED, Fault::Connection),
            (Errno::PROTO, Fault::Connection),
            (Errno::MFILE, Fault::Descriptors),
            (Errno::NFILE, Fault::Descriptors),
            (Errno::NOBUFS, Fault::Memory),
            (Errno::BADF, Fault::Unknown),
            (Errno::INVAL, Fault::Unknown),
        ];
        for (error, expected) in rows {
            assert_eq!(Fault::of(&error.into()), expected, "{error}");
        }
    }

    #[test]
    fn rests_grow_up_to_a_second_and_begin_again() {
        let mut backoff = Backoff::default();
        let rests: Vec<_> = (0..10).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        (0..100).for_each(|_| assert!(backoff.next() == LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(), SHORTEST);
    }
}
