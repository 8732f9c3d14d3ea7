//! Holds the command table against the files of `commands/`, which say what a server of Redis 7.0 says.
//!
//! The same files are held against a real server by the end-to-end test `redis_commands`.

// Helpers of tests are not seen as tests by the lints.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "commands/rows.rs"]
mod rows;

use portcullis_redis::acl::User;
use portcullis_redis::command::{CommandId, Handling, arity, each_key, keys};
use smallvec::SmallVec;

use rows::{rows, words};

#[test]
fn keys_are_where_the_table_says() {
    let rows = rows(include_str!("commands/keys.md"));
    assert!(rows.len() > 250, "{} rows", rows.len());
    for row in rows {
        let args = words(&row[0]);
        assert_eq!(found(&args), row[1], "{}", row[0]);
    }
}

/// The keys of a call, as the file writes them.
fn found(args: &[Vec<u8>]) -> String {
    let command = CommandId::resolve(args).unwrap();
    let mut list = Vec::new();
    let told = each_key(command, args, |index, flags| {
        let flags: Vec<&str> = flags.names().collect();
        list.push((index, format!("{index} {}", flags.join(" "))));
    });
    let mut indexes = SmallVec::new();
    assert_eq!(keys(command, args, &mut indexes), told, "{args:?}");
    if told.is_err() {
        assert!(indexes.is_empty(), "{args:?}");
        return "refused".to_owned();
    }
    let same: Vec<u32> = list.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes.to_vec(), same, "{args:?}");
    if list.is_empty() {
        return "none".to_owned();
    }
    let texts: Vec<String> = list.into_iter().map(|(_, text)| text).collect();
    texts.join(", ")
}

#[test]
fn refusals_are_in_the_words_of_a_server() {
    for row in rows(include_str!("commands/refusals.md")) {
        let args = words(&row[0]);
        let mut said = Vec::new();
        match CommandId::resolve(&args) {
            Err(unknown) => arity::unknown(unknown, &args, &mut said),
            Ok(command) => {
                assert!(!arity::fits(command, args.len()), "{}", row[0]);
                arity::wrong_number(command, &mut said);
            }
        }
        assert_eq!(shown(&said), row[1], "{}", row[0]);
    }
}

#[test]
fn users_may_do_what_a_server_lets_them() {
    let rows = rows(include_str!("commands/acl.md"));
    assert!(rows.len() > 80, "{} rows", rows.len());
    let mut different = Vec::new();
    for row in rows {
        let user = User::parse(&row[0]).unwrap();
        let args = words(&row[1]);
        let command = CommandId::resolve(&args).unwrap();
        let mut said = Vec::new();
        if let Err(denied) = user.may(command, &args) {
            denied.write(&args, &mut said);
        } else {
            said.extend_from_slice(b"allowed");
        }
        let said = shown(&said);
        if said != row[2] {
            different.push(format!("{} | {} | {} | {said}", row[0], row[1], row[2]));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn wrong_rules_are_told_in_the_words_of_a_server() {
    for row in rows(include_str!("commands/wrong_rules.md")) {
        let error = User::parse(&row[0]).unwrap_err();
        assert_eq!(error.to_string(), row[1], "{}", row[0]);
    }
}

/// Bytes as the files write them.
fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\'", "'")
}

/// Commands as the document writes them, `CONFIG SET`, of which `is` holds. Those that only have subcommands are left out.
fn listed(is: impl Fn(CommandId) -> bool) -> String {
    let callable =
        |command: &CommandId| !command.has_subcommands() || *command == CommandId::COMMAND;
    let commands = CommandId::all().filter(callable);
    let names = commands.filter(|command| is(*command));
    let names: Vec<String> = names
        .map(|command| command.name().replace('|', " ").to_uppercase())
        .collect();
    names.join(", ")
}

#[test]
fn the_document_lists_what_is_denied_and_what_is_not_forwarded() {
    let rows = rows(include_str!("../COMMANDS.md"));
    let row = |name: &str| rows.iter().find(|row| row[0] == name);
    let mut documented = 0;
    for command in CommandId::all() {
        let name = match command.denial() {
            Some(denial) => denial.label().to_owned(),
            None => continue,
        };
        let row = row(&name).unwrap_or_else(|| panic!("no row for {name}"));
        let expected = listed(|other| other.denial() == command.denial());
        assert_eq!(row[1], expected, "{name}");
    }
    for command in CommandId::all().filter(|command| command.handling() != Handling::Forward) {
        let name = format!("{:?}", command.handling());
        let row = row(&name).unwrap_or_else(|| panic!("no row for {name}"));
        let expected = listed(|other| other.handling() == command.handling());
        assert_eq!(row[1], expected, "{name}");
        documented += 1;
    }
    assert!(documented > 80, "{documented}");
}
