//! What ties a client to its server connection between transactions: state that lives in the server's session.
//!
//! Recognised from the text of statements and from the protocol, never from rows. What a function does inside itself cannot
//! be seen; DO and CALL, which may do anything, leave a mark instead, and the connection is reset before anybody else has it.
//! Start at [`Pins::of`].

use crate::sql::{Analysis, Effects};

/// Reasons to keep a server connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pins(u16);

impl Pins {
    /// None.
    pub const NONE: Self = Self(0);
    /// A parameter was set.
    pub const SET: Self = Self(1);
    /// Another role was taken.
    pub const ROLE: Self = Self(1 << 1);
    /// There is a temporary object.
    pub const TEMPORARY: Self = Self(1 << 2);
    /// An advisory lock is held.
    pub const ADVISORY: Self = Self(1 << 3);
    /// Notifications are listened for.
    pub const LISTEN: Self = Self(1 << 4);
    /// A cursor outlives its transaction.
    pub const HOLD: Self = Self(1 << 5);
    /// A statement was prepared under a name that only this connection knows.
    pub const PREPARED: Self = Self(1 << 6);
    /// A library was loaded. Nothing takes that back.
    pub const LOADED: Self = Self(1 << 7);
    /// The pool gives a connection for the whole session.
    pub const SESSION: Self = Self(1 << 8);

    /// Another user was taken on. Taking a role and giving it back does not bring the first one back.
    pub const AUTHORIZATION: Self = Self(1 << 9);

    /// All names, for the `reason` label, in the order of the bits.
    const LABELS: [&'static str; 10] = [
        "set",
        "role",
        "temporary",
        "advisory",
        "listen",
        "hold",
        "prepared",
        "loaded",
        "session",
        "authorization",
    ];

    /// What a statement with these effects leaves behind.
    #[must_use]
    pub fn of(effects: Effects) -> Self {
        const TABLE: [(Effects, Pins); 11] = [
            (Effects::SET_SESSION, Pins::SET),
            (Effects::SET_CONFIG_CALL, Pins::SET),
            (Effects::SET_ROLE, Pins::ROLE),
            (Effects::SESSION_AUTHORIZATION, Pins::AUTHORIZATION),
            (Effects::TEMP_OBJECT, Pins::TEMPORARY),
            (Effects::ADVISORY_LOCK, Pins::ADVISORY),
            (Effects::LISTEN, Pins::LISTEN),
            (Effects::HOLD_CURSOR, Pins::HOLD),
            (Effects::PREPARE, Pins::PREPARED),
            (Effects::LOAD, Pins::LOADED),
            (Effects::REPLICATION, Pins::LOADED),
        ];
        let mut pins = Self::NONE;
        for (effect, pin) in TABLE {
            if effects.contains(effect) {
                pins = pins.and(pin);
            }
        }
        pins
    }

    /// What a lone statement takes away once it has succeeded outside of a transaction.
    #[must_use]
    pub fn freed_by(analysis: &Analysis) -> Self {
        let [statement] = &*analysis.statements else {
            return Self::NONE;
        };
        let effects = statement.effects;
        let all = statement.name.is_none();
        let mut freed = Self::NONE;
        for (is, pin) in [
            (all && effects.contains(Effects::UNLISTEN), Self::LISTEN),
            (all && effects.contains(Effects::DEALLOCATE), Self::PREPARED),
            (effects.contains(Effects::CLOSE_ALL), Self::HOLD),
            (effects.contains(Effects::RESET_ROLE), Self::ROLE),
        ] {
            if is {
                freed = freed.and(pin);
            }
        }
        freed
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of them that are in `other`.
    #[must_use]
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are there.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The name of the first, for the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS
            .get(self.0.trailing_zeros() as usize)
            .copied()
            .unwrap_or("none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_bits() {
        let rows = [
            (Pins::NONE, "none"),
            (Pins::SET, "set"),
            (Pins::SESSION, "session"),
            (Pins::LISTEN.and(Pins::SESSION), "listen"),
        ];
        for (pins, label) in rows {
            assert_eq!(pins.label(), label);
        }
        assert!(
            Pins::SET
                .and(Pins::ROLE)
                .without(Pins::SET)
                .contains(Pins::ROLE)
        );
    }
}
