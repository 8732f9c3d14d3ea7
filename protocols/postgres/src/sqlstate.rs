//! SQLSTATE: five letters or digits that say what went wrong ("PostgreSQL Error Codes").
//!
//! Not a catalogue: only codes that the gateway sends or looks for have names. Start at [`SqlState`].

use std::fmt;

/// A code of five digits and upper-case letters. Unknown ones stay as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlState([u8; 5]);

macro_rules! codes {
    ($($(#[$text:meta])* $name:ident = $code:literal;)*) => {
        impl SqlState {
            $($(#[$text])* pub const $name: Self = Self(*$code);)*
        }

        #[cfg(test)]
        const NAMED: &[SqlState] = &[$(SqlState::$name),*];
    };
}

codes! {
    /// 00000.
    SUCCESSFUL_COMPLETION = b"00000";
    /// 08000.
    CONNECTION_EXCEPTION = b"08000";
    /// 08001: a connection to the server could not be made.
    CONNECTION_UNABLE = b"08001";
    /// 08003.
    CONNECTION_DOES_NOT_EXIST = b"08003";
    /// 08004: the server does not want the connection.
    CONNECTION_REJECTED = b"08004";
    /// 08006: the connection to the server broke.
    CONNECTION_FAILURE = b"08006";
    /// 08P01.
    PROTOCOL_VIOLATION = b"08P01";
    /// 0A000.
    FEATURE_NOT_SUPPORTED = b"0A000";
    /// 22021: bytes that are no text in their encoding.
    CHARACTER_NOT_IN_REPERTOIRE = b"22021";
    /// 22023.
    INVALID_PARAMETER_VALUE = b"22023";
    /// 25001.
    ACTIVE_SQL_TRANSACTION = b"25001";
    /// F0000: the configuration cannot be used.
    CONFIG_FILE_ERROR = b"F0000";
    /// 25006: a write to a server, or in a transaction, that only reads. A demoted primary answers so.
    READ_ONLY_SQL_TRANSACTION = b"25006";
    /// 25P01.
    NO_ACTIVE_SQL_TRANSACTION = b"25P01";
    /// 25P02.
    IN_FAILED_SQL_TRANSACTION = b"25P02";
    /// 25P03.
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = b"25P03";
    /// 26000: no such prepared statement.
    INVALID_SQL_STATEMENT_NAME = b"26000";
    /// 28000: this user may not come in.
    INVALID_AUTHORIZATION = b"28000";
    /// 28P01.
    INVALID_PASSWORD = b"28P01";
    /// 34000: no such portal.
    INVALID_CURSOR_NAME = b"34000";
    /// 3D000: no such database.
    INVALID_CATALOG_NAME = b"3D000";
    /// 40001.
    SERIALIZATION_FAILURE = b"40001";
    /// 40P01.
    DEADLOCK_DETECTED = b"40P01";
    /// 42501.
    INSUFFICIENT_PRIVILEGE = b"42501";
    /// 42601.
    SYNTAX_ERROR = b"42601";
    /// 42704: no such setting, role or other object.
    UNDEFINED_OBJECT = b"42704";
    /// 42P01.
    UNDEFINED_TABLE = b"42P01";
    /// 42P03.
    DUPLICATE_CURSOR = b"42P03";
    /// 42P05: a prepared statement of that name exists.
    DUPLICATE_PREPARED_STATEMENT = b"42P05";
    /// 53000.
    INSUFFICIENT_RESOURCES = b"53000";
    /// 53200.
    OUT_OF_MEMORY = b"53200";
    /// 53300.
    TOO_MANY_CONNECTIONS = b"53300";
    /// 53400.
    CONFIGURATION_LIMIT_EXCEEDED = b"53400";
    /// 54000.
    PROGRAM_LIMIT_EXCEEDED = b"54000";
    /// 55000.
    OBJECT_NOT_IN_PREREQUISITE_STATE = b"55000";
    /// 57014: cancelled, by a person or a timeout.
    QUERY_CANCELED = b"57014";
    /// 57P01: an operator ended the connection.
    ADMIN_SHUTDOWN = b"57P01";
    /// 57P02.
    CRASH_SHUTDOWN = b"57P02";
    /// 57P03: the server starts, stops or recovers.
    CANNOT_CONNECT_NOW = b"57P03";
    /// 57P04.
    DATABASE_DROPPED = b"57P04";
    /// 57P05.
    IDLE_SESSION_TIMEOUT = b"57P05";
    /// 58000.
    SYSTEM_ERROR = b"58000";
    /// XX000.
    INTERNAL_ERROR = b"XX000";
}

impl SqlState {
    /// The code in these bytes: five digits or upper-case ASCII letters, nothing else.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let code: [u8; 5] = bytes.try_into().ok()?;
        let fits = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
        code.iter().all(fits).then_some(Self(code))
    }

    /// The five bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 5] {
        &self.0
    }

    /// The five bytes as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Every way to make one checks for ASCII.
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// The first two: the class of what went wrong.
    #[must_use]
    pub const fn class(&self) -> [u8; 2] {
        let [first, second, ..] = self.0;
        [first, second]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SqlState({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_five_digits_and_capitals_are_codes() {
        for (bytes, expected) in [
            (&b"08P01"[..], Some(SqlState::PROTOCOL_VIOLATION)),
            (b"ZZZZZ", Some(SqlState(*b"ZZZZZ"))),
            (b"", None),
            (b"08P0", None),
            (b"08P011", None),
            (b"08p01", None),
            (b"08P0\n", None),
        ] {
            assert_eq!(SqlState::new(bytes), expected, "{bytes:?}");
        }
        assert_eq!(SqlState::PROTOCOL_VIOLATION.to_string(), "08P01");
        assert_eq!(SqlState::PROTOCOL_VIOLATION.class(), *b"08");
    }

    #[test]
    fn named_codes_are_codes_and_differ() {
        for (index, state) in NAMED.iter().enumerate() {
            assert_eq!(SqlState::new(state.as_bytes()), Some(*state));
            assert!(
                NAMED.iter().skip(index + 1).all(|other| other != state),
                "{state}"
            );
        }
    }
}
