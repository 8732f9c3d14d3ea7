//! The options of CLIENT TRACKING: what the gateway has to know of them, and what servers are told where keys have other names.
//!
//! Start at [`Options::read`] and [`told`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use crate::encoder;
use crate::machine::upstreams::Lost;
use crate::message::RespVersion;
use crate::renaming::Renaming;
use crate::request::CommandRef;

/// What is said of who is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirect {
    To(u64),
    /// No number.
    Wrong,
    /// Several.
    Many,
}

impl Redirect {
    fn read(word: &[u8]) -> Self {
        let text = std::str::from_utf8(word).ok();
        let number = text.and_then(|text| text.parse().ok());
        number.map_or(Self::Wrong, Self::To)
    }
}

/// What a client wants to be told of.
#[derive(Debug, Default, Clone)]
pub(super) struct Options {
    pub(super) is_optin: bool,
    pub(super) is_optout: bool,
    pub(super) is_broadcast: bool,
    pub(super) is_noloop: bool,
    /// The client that is to be told, as a number.
    pub(super) redirect: Option<Redirect>,
    /// As the client calls them.
    prefixes: BTreeSet<Bytes>,
}

impl Options {
    /// Those of one command; what is wrong with them servers say.
    pub(super) fn read(command: CommandRef<'_>) -> Self {
        let mut options = Self::default();
        let mut index = 3;
        while let Some(word) = command.argument(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            options.is_optin |= is(b"OPTIN");
            options.is_optout |= is(b"OPTOUT");
            options.is_broadcast |= is(b"BCAST");
            options.is_noloop |= is(b"NOLOOP");
            if is(b"REDIRECT")
                && let Some(client) = command.argument(index + 1)
            {
                let client = Redirect::read(client);
                let is_first = options.redirect.is_none();
                options.redirect = Some(if is_first { client } else { Redirect::Many });
            }
            if is(b"PREFIX")
                && let Some(prefix) = command.argument(index + 1)
            {
                options.prefixes.insert(Bytes::copy_from_slice(prefix));
            }
            index += if is(b"PREFIX") || is(b"REDIRECT") {
                2
            } else {
                1
            };
        }
        if options.is_broadcast && options.prefixes.is_empty() {
            options.prefixes.insert(Bytes::new());
        }
        options
    }

    /// Those of one more command, which servers have taken.
    pub(super) fn add(&mut self, more: Self) {
        self.is_optin |= more.is_optin;
        self.is_optout |= more.is_optout;
        self.is_broadcast |= more.is_broadcast;
        self.is_noloop |= more.is_noloop;
        self.redirect = more.redirect;
        self.prefixes.extend(more.prefixes);
    }
}

/// A command as it is told to servers: where keys have other names, who wants to hear of all of them is to hear of those with its
/// own prefix. Whom the client wants to be told is the gateway's matter; the server's is the connection with the number `ear`, if
/// messages cannot come over the one that keys are read on.
///
/// # Errors
/// [`Lost::KeyPrefix`]: no key of the client's begins so.
pub(super) fn told(
    command: CommandRef<'_>,
    options: &Options,
    renaming: Option<&Renaming>,
    ear: Option<i64>,
) -> Result<BytesMut, Lost> {
    if renaming.is_none() && options.redirect.is_none() {
        return Ok(BytesMut::from(command.wire()));
    }
    let mut words: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut all = command.arguments();
    while let Some(word) = all.next() {
        let is = |name: &[u8]| words.len() >= 3 && word.eq_ignore_ascii_case(name);
        let (is_prefix, is_redirect) = (is(b"PREFIX"), is(b"REDIRECT"));
        if is_redirect {
            all.next();
            continue;
        }
        words.push(Cow::Borrowed(word));
        if is_prefix && let Some(prefix) = all.next() {
            words.push(match renaming {
                Some(renaming) => Cow::Owned(renaming.upstream_prefix(prefix)?),
                None => Cow::Borrowed(prefix),
            });
        }
    }
    let is_all = |prefix: &Bytes| prefix.is_empty();
    if let Some(renaming) = renaming
        && options.is_broadcast
        && options.prefixes.iter().all(is_all)
        && !renaming.add.is_empty()
    {
        words.push(Cow::Borrowed(b"PREFIX"));
        words.push(Cow::Borrowed(&renaming.add));
    }
    if let Some(ear) = ear {
        words.push(Cow::Borrowed(b"REDIRECT"));
        words.push(Cow::Owned(ear.to_string().into_bytes()));
    }
    let mut wire = BytesMut::new();
    encoder::command(&words, &mut wire);
    Ok(wire)
}

/// What `CLIENT GETREDIR` is answered with. `None`: tracking is off.
pub(super) fn redirect(options: Option<&Options>) -> i64 {
    match options.map(|options| options.redirect) {
        None => -1,
        Some(Some(Redirect::To(client))) => client.cast_signed(),
        Some(_) => 0,
    }
}

/// Answers `CLIENT TRACKINGINFO`, as a server would of itself. `None`: tracking is off.
pub(super) fn write_info(
    info: Option<&(Options, Option<bool>)>,
    version: RespVersion,
    reply: &mut BytesMut,
) {
    let flags: Vec<&str> = match info {
        None => vec!["off"],
        Some((options, caching)) => [
            ("on", true),
            ("bcast", options.is_broadcast),
            ("optin", options.is_optin),
            ("caching-yes", *caching == Some(true)),
            ("optout", options.is_optout),
            ("caching-no", *caching == Some(false)),
            ("noloop", options.is_noloop),
        ]
        .into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name))
        .collect(),
    };
    let prefixes = info.map(|(options, _)| &options.prefixes);
    encoder::map(3, version, reply);
    encoder::bulk(b"flags", reply);
    encoder::set(flags.len(), version, reply);
    for flag in flags {
        encoder::bulk(flag.as_bytes(), reply);
    }
    encoder::bulk(b"redirect", reply);
    encoder::integer(redirect(info.map(|(options, _)| options)), reply);
    encoder::bulk(b"prefixes", reply);
    encoder::array(prefixes.map_or(0, BTreeSet::len), reply);
    for prefix in prefixes.into_iter().flatten() {
        encoder::bulk(prefix, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Command;

    fn renaming(strip: &str, add: &str) -> Renaming {
        Renaming {
            strip: strip.as_bytes().into(),
            add: add.as_bytes().into(),
            allows_scripts: false,
        }
    }

    #[test]
    fn servers_are_told_of_prefixes_in_their_own_names() {
        let on = "CLIENT TRACKING ON";
        let rows = [
            ("", "t:", "", Ok("")),
            ("", "t:", "NOLOOP", Ok("NOLOOP")),
            ("", "t:", "BCAST", Ok("BCAST PREFIX t:")),
            ("", "t:", "bcast PREFIX a", Ok("bcast PREFIX t:a")),
            (
                "",
                "t:",
                "BCAST PREFIX a PREFIX PREFIX",
                Ok("BCAST PREFIX t:a PREFIX t:PREFIX"),
            ),
            ("x:", "", "BCAST", Ok("BCAST")),
            ("x:", "", "BCAST PREFIX x:a", Ok("BCAST PREFIX a")),
            ("x:", "t:", "BCAST PREFIX x", Ok("BCAST PREFIX t:")),
            ("x:", "t:", "BCAST PREFIX y", Err(Lost::KeyPrefix)),
            // A server says what is wrong with these.
            ("", "t:", "PREFIX a", Ok("PREFIX t:a")),
            ("", "t:", "BCAST PREFIX", Ok("BCAST PREFIX PREFIX t:")),
        ];
        for (strip, add, options, expected) in rows {
            let words: Vec<&str> = on.split(' ').chain(options.split_whitespace()).collect();
            let command = Command::new(&words);
            let options = Options::read(command.as_ref());
            let seen = told(
                command.as_ref(),
                &options,
                Some(&renaming(strip, add)),
                None,
            );
            let expected = expected.map(|options: &str| {
                let words: Vec<&str> = on.split(' ').chain(options.split_whitespace()).collect();
                BytesMut::from(&**Command::new(&words).wire())
            });
            assert_eq!(seen, expected, "{strip} {add} {words:?}");
        }
    }

    #[test]
    fn whom_to_tell_is_the_gateways_matter() {
        let rows = [
            ("", None, Some(5), ""),
            ("REDIRECT 7", Some(Redirect::To(7)), Some(5), "REDIRECT 5"),
            (
                "BCAST REDIRECT 7 PREFIX REDIRECT",
                Some(Redirect::To(7)),
                Some(5),
                "BCAST PREFIX REDIRECT REDIRECT 5",
            ),
            ("redirect 7 NOLOOP", Some(Redirect::To(7)), None, "NOLOOP"),
            ("REDIRECT x", Some(Redirect::Wrong), None, ""),
            ("REDIRECT -1", Some(Redirect::Wrong), None, ""),
            ("REDIRECT 1 REDIRECT 2", Some(Redirect::Many), None, ""),
        ];
        for (options, redirect, ear, expected) in rows {
            let on = |options: &str| {
                let words = "CLIENT TRACKING ON".split(' ');
                let words: Vec<&str> = words.chain(options.split_whitespace()).collect();
                Command::new(&words)
            };
            let command = on(options);
            let read = Options::read(command.as_ref());
            assert_eq!(read.redirect, redirect, "{options}");
            let seen = told(command.as_ref(), &read, None, ear).unwrap();
            assert_eq!(seen, *on(expected).wire(), "{options}");
        }
    }
}
