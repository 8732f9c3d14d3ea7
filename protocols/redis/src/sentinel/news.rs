//! What sentinels tell of unasked.
//!
//! Messages are hints to ask again, and never believed for themselves. Start at [`News::read`].

use crate::message::Value;

/// The channels that tell of a primary and its replicas. A sentinel that promotes a replica names it, when it is asked, some
/// time before it says that there is a new primary: until then the old one takes writes that will be lost.
pub const CHANNELS: [&[u8]; 7] = [
    b"+switch-master",
    b"+promoted-slave",
    b"+reboot",
    b"+slave",
    b"+slave-reconf-done",
    b"+sdown",
    b"-sdown",
];

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum News {
    /// There is another primary.
    Switched,
    /// Somebody came, went, or follows another.
    Changed,
}

impl News {
    /// What a message of a subscription means for the primary of this name. `None`: nothing, or it is no message.
    #[must_use]
    pub fn read(message: &Value, master: &str) -> Option<Self> {
        let [kind, channel, payload] = message.elements()? else {
            return None;
        };
        if **kind.text()? != *b"message" {
            return None;
        }
        let (channel, payload) = (channel.text()?, payload.text()?);
        let mut words = payload.split(|byte| *byte == b' ');
        let master = master.as_bytes();
        if **channel == *b"+switch-master" {
            // NAME old-ip old-port new-ip new-port
            return (words.next()? == master).then_some(Self::Switched);
        }
        if !CHANNELS.contains(&&**channel) {
            return None;
        }
        // TYPE name ip port, and of all but primaries: @ MASTER ip port
        let is_primary = words.next()? == b"master";
        let name = if is_primary {
            words.next()?
        } else {
            words.nth(4)?
        };
        (name == master).then_some(Self::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(parts: &[&str]) -> Value {
        let strings = parts
            .iter()
            .map(|part| Value::bulk(part.as_bytes().to_vec()));
        Value::Array(strings.collect())
    }

    #[test]
    fn what_is_about_a_primary() {
        use News::{Changed, Switched};
        let switch = "+switch-master";
        let slave = "slave 10.0.0.2:1 10.0.0.2 1 @ main 10.0.0.1 1";
        let cases = [
            (
                "switch",
                switch,
                "main 10.0.0.1 1 10.0.0.2 1",
                Some(Switched),
            ),
            (
                "another's switch",
                switch,
                "other 10.0.0.1 1 10.0.0.2 1",
                None,
            ),
            (
                "a name that begins so",
                switch,
                "main2 10.0.0.1 1 10.0.0.2 1",
                None,
            ),
            ("a switch to nowhere", switch, "main", Some(Switched)),
            ("a replica", "+slave", slave, Some(Changed)),
            ("a replica is gone", "+sdown", slave, Some(Changed)),
            (
                "a replica of another",
                "-sdown",
                "slave a 10.0.0.2 1 @ other 10.0.0.1 1",
                None,
            ),
            (
                "the primary is gone",
                "+sdown",
                "master main 10.0.0.1 1",
                Some(Changed),
            ),
            (
                "another primary is gone",
                "+sdown",
                "master other 10.0.0.1 1",
                None,
            ),
            (
                "a sentinel is gone",
                "+sdown",
                "sentinel x 10.0.0.3 1 @ main 10.0.0.1 1",
                Some(Changed),
            ),
            ("a replica of nobody", "+slave", "slave a 10.0.0.2 1", None),
            (
                "a replica is promoted",
                "+promoted-slave",
                slave,
                Some(Changed),
            ),
            ("another channel", "+tilt", "master main", None),
            ("nothing", switch, "", None),
        ];
        for (name, channel, payload, expected) in cases {
            let message = message(&["message", channel, payload]);
            assert_eq!(News::read(&message, "main"), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_message() {
        for parts in [
            &["subscribe", "+switch-master", "1"][..],
            &["pmessage", "+switch-master", "main"],
            &["message", "+switch-master"],
            &["message", "+switch-master", "main", "more"],
            &[],
        ] {
            assert_eq!(News::read(&message(parts), "main"), None, "{parts:?}");
        }
        let numbers = Value::Array(vec![Value::Integer(1); 3]);
        assert_eq!(News::read(&numbers, "main"), None);
        assert_eq!(News::read(&Value::Integer(1), "main"), None);
    }
}
