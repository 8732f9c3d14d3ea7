//! The table of commands against a server's `COMMAND`, as text: a row that differs is printed as it should be.

use std::collections::BTreeMap;

use harness::redis::{Redis, RedisReply};

const TABLE: &str = include_str!("../../../protocols/redis/src/command/table.rs");

#[test]
fn the_table_is_the_servers() {
    let Some(server) = Redis::start() else { return };
    let mut rows = Vec::new();
    for command in server.client().call(&["COMMAND"]).array() {
        add(command, &mut rows);
    }
    rows.sort();
    let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
    let ours: Vec<String> = TABLE
        .lines()
        .filter(|line| line.starts_with("    ") && line.contains(" \"") && line.ends_with("];"))
        .map(|line| line.trim().to_owned())
        .collect();
    let missing = rows.iter().filter(|row| !ours.contains(row));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    assert!(
        missing.is_empty(),
        "rows of the server:\n{}",
        missing.join("\n")
    );
    assert_eq!(ours.len(), rows.len(), "rows that no server has");
}

/// The row of a command and those of its subcommands, each with what it is sorted by.
fn add(command: RedisReply, rows: &mut Vec<((String, String), String)>) {
    let mut parts = command.array();
    let children = parts.remove(9).array();
    let keys = parts.remove(8).array();
    let categories = parts.remove(6).array();
    let flags = parts.remove(2).array();
    let arity = parts[1].integer();
    let name = parts.remove(0).text();
    let id = name.to_uppercase().replace(['|', '-'], "_");
    let flags = words(flags, "");
    let categories = words(categories, "@");
    let keys: Vec<String> = keys.into_iter().map(key_spec).collect();
    let row = format!(
        "{id} \"{name}\" {arity} [{flags}] [{categories}] [{}];",
        keys.join("; ")
    );
    let (parent, child) = name.split_once('|').unwrap_or((&name, ""));
    rows.push(((parent.to_owned(), child.to_owned()), row));
    for child in children {
        add(child, rows);
    }
}

fn words(list: Vec<RedisReply>, prefix: &str) -> String {
    let mut words: Vec<String> = list
        .into_iter()
        .map(|word| word.text().trim_start_matches(prefix).to_owned())
        .collect();
    words.sort();
    words.join(" ").to_uppercase()
}

fn key_spec(spec: RedisReply) -> String {
    let mut spec = map(spec);
    let flags = spec.remove("flags").unwrap().array().into_iter();
    let flags: Vec<String> = flags.map(|flag| flag.text().to_uppercase()).collect();
    let (begin, at) = search(spec.remove("begin_search").unwrap());
    let (find, extent) = search(spec.remove("find_keys").unwrap());
    let number = |map: &BTreeMap<String, RedisReply>, name: &str| map[name].integer();
    let place = match begin.as_str() {
        "index" => format!("at({})", number(&at, "index")),
        "keyword" => format!(
            "after(\"{}\", {})",
            at["keyword"].clone().text(),
            number(&at, "startfrom")
        ),
        _ => "UNKNOWN".to_owned(),
    };
    let extent = |names: [&str; 3]| {
        names
            .map(|name| number(&extent, name).to_string())
            .join(", ")
    };
    let extent = match find.as_str() {
        "range" => format!(".range({})", extent(["lastkey", "keystep", "limit"])),
        "keynum" => format!(".number({})", extent(["keynumidx", "firstkey", "keystep"])),
        _ => String::new(),
    };
    format!("{} => {place}{extent}", flags.join(" "))
}

/// The kind of a search and its values.
fn search(search: RedisReply) -> (String, BTreeMap<String, RedisReply>) {
    let mut search = map(search);
    let kind = search.remove("type").unwrap().text();
    (kind, map(search.remove("spec").unwrap()))
}

/// Names and values, alternating.
fn map(list: RedisReply) -> BTreeMap<String, RedisReply> {
    let mut list = list.array().into_iter();
    let mut map = BTreeMap::new();
    while let (Some(name), Some(value)) = (list.next(), list.next()) {
        map.insert(name.text(), value);
    }
    map
}
