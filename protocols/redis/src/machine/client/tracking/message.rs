//! Messages that keys were changed, with the names that the client has for them.
//!
//! Start at [`downstream`].

use std::borrow::Cow;

use bytes::BytesMut;

use crate::encoder;
use crate::machine::elements::{elements, text};
use crate::message::RespVersion;
use crate::renaming::Renaming;

/// How such a message begins.
const START: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";

/// A message of a server as its client is told of it. `None` if it is another, or of no key of the client's.
pub(super) fn downstream<'a>(
    bytes: &'a [u8],
    renaming: Option<&Renaming>,
) -> Option<Cow<'a, [u8]>> {
    let keys = bytes.strip_prefix(START)?;
    let Some(renaming) = renaming else {
        return Some(Cow::Borrowed(bytes));
    };
    // Not of keys, but of all.
    let Some(keys) = elements(keys) else {
        return Some(Cow::Borrowed(bytes));
    };
    let keys = keys.filter_map(|key| renaming.downstream(text(key)?));
    let keys: Vec<Vec<u8>> = keys.collect();
    if keys.is_empty() {
        return None;
    }
    let mut message = BytesMut::new();
    encoder::push(2, RespVersion::Resp3, &mut message);
    encoder::bulk(b"invalidate", &mut message);
    encoder::array(keys.len(), &mut message);
    for key in keys {
        encoder::bulk(&key, &mut message);
    }
    Some(Cow::Owned(message.to_vec()))
}

/// The channel that clients of RESP2 hear of changes on.
pub(in crate::machine) const CHANNEL: &[u8] = b"__redis__:invalidate";

/// The same message for a client of RESP2 that listens for another. `None` if it is another message.
pub(super) fn on_channel(message: &[u8]) -> Option<BytesMut> {
    let keys = message.strip_prefix(START)?;
    let mut told = BytesMut::new();
    encoder::array(3, &mut told);
    encoder::bulk(b"message", &mut told);
    encoder::bulk(CHANNEL, &mut told);
    match keys {
        b"_\r\n" => encoder::null(RespVersion::Resp2, &mut told),
        keys => told.extend_from_slice(keys),
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_resp2_hear_of_it_on_a_channel() {
        let rows = [
            (
                ">2|$10|invalidate|*1|$1|a|",
                Some("*3|$7|message|$20|__redis__:invalidate|*1|$1|a|"),
            ),
            (
                ">2|$10|invalidate|_|",
                Some("*3|$7|message|$20|__redis__:invalidate|$-1|"),
            ),
            ("+OK|", None),
        ];
        for (message, expected) in rows {
            let seen = on_channel(message.replace('|', "\r\n").as_bytes());
            let seen = seen.map(|seen| String::from_utf8(seen.to_vec()).unwrap());
            let seen = seen.map(|seen| seen.replace("\r\n", "|"));
            assert_eq!(seen.as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn keys_have_the_names_that_the_client_knows() {
        let renaming = Renaming {
            strip: b"x:".as_slice().into(),
            add: b"t:".as_slice().into(),
            allows_scripts: false,
        };
        let of = |keys: &str| format!(">2|$10|invalidate|{keys}|");
        let rows = [
            (of("*1|$3|t:a"), Some(of("*1|$3|x:a"))),
            (of("*3|$3|t:a|$3|u:a|$2|t:"), Some(of("*2|$3|x:a|$2|x:"))),
            (of("*1|$3|u:a"), None),
            (of("_"), Some(of("_"))),
            (">2|$7|message|$1|a|".to_owned(), None),
        ];
        for (message, expected) in rows {
            let bytes = message.replace('|', "\r\n");
            let seen = downstream(bytes.as_bytes(), Some(&renaming));
            let seen = seen.map(|seen| String::from_utf8(seen.into_owned()).unwrap());
            let expected = expected.map(|expected| expected.replace('|', "\r\n"));
            assert_eq!(seen, expected, "{message}");
        }
    }
}
