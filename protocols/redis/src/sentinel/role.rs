//! What a server says that it is (`ROLE`).
//!
//! Start at [`Role::read`].

use crate::message::Value;

/// What a server is, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another.
    Replica {
        /// Whether it has what that has: it may be waiting for it, or loading.
        is_linked: bool,
    },
    /// It is a sentinel.
    Sentinel,
}

impl Role {
    /// What the answer to `ROLE` says. `None` if it is none.
    #[must_use]
    pub fn read(answer: &Value) -> Option<Self> {
        let [role, rest @ ..] = answer.elements()? else {
            return None;
        };
        match &**role.text()? {
            b"master" => Some(Self::Primary),
            b"sentinel" => Some(Self::Sentinel),
            b"slave" => {
                // The primary's host and port, and how far it is with it.
                let state = rest.get(2).and_then(Value::text);
                let is_linked = state.is_some_and(|state| **state == *b"connected");
                Some(Self::Replica { is_linked })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::parse;

    #[test]
    fn roles() {
        let replica = |is_linked| Some(Role::Replica { is_linked });
        let slave = |state: &str| {
            format!(
                "*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n${}\r\n{state}\r\n:0\r\n",
                state.len()
            )
        };
        let cases = [
            (
                "primary",
                "*3\r\n$6\r\nmaster\r\n:7\r\n*0\r\n".to_owned(),
                Some(Role::Primary),
            ),
            (
                "sentinel",
                "*2\r\n$8\r\nsentinel\r\n*0\r\n".to_owned(),
                Some(Role::Sentinel),
            ),
            ("replica", slave("connected"), replica(true)),
            ("one that syncs", slave("sync"), replica(false)),
            ("one that connects", slave("connect"), replica(false)),
            ("short", "*1\r\n$5\r\nslave\r\n".to_owned(), replica(false)),
            ("another word", "*1\r\n$5\r\nchief\r\n".to_owned(), None),
            ("a number", "*1\r\n:1\r\n".to_owned(), None),
            ("nothing", "*0\r\n".to_owned(), None),
            ("no array", "+master\r\n".to_owned(), None),
            ("an error", "-NOPERM no\r\n".to_owned(), None),
        ];
        for (name, wire, expected) in cases {
            let answer = parse(Bytes::from(wire)).unwrap();
            assert_eq!(Role::read(&answer), expected, "{name}");
        }
    }
}
