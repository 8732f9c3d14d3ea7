//! The README has every reason that requests over HTTP/1 can end with.
//!
//! Looks for words in the sources of this crate and of `portcullis-http` at the places where reasons are named. Not a test of
//! what happens. Start at [`the_readme_names_every_reason`].

// A test that cannot read the sources fails.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const README: &str = include_str!("../README.md");

/// Where reasons are named: what follows up to the bracket that closes.
const PLACES: [&str; 10] = [
    "fn label",
    "reply(",
    "bare(",
    "local(",
    "Abort(",
    "Refused(",
    "Gone(",
    "Unavailable(",
    "Close(",
    "on_downstream_error(",
];

/// Words that only balancers hear, and one for an answer that is passed on instead.
const NO_REASONS: [&str; 3] = ["closed", "unprocessed", "upstream_status"];

#[test]
fn the_readme_names_every_reason() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for folder in ["src", "../../crates/http/src"] {
        for file in sources(&package.join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for place in PLACES {
                for (start, _) in code.match_indices(place) {
                    for word in words(&code[start..end_of(code, start)]) {
                        found.insert(word.to_owned(), file.clone());
                    }
                }
            }
        }
    }
    assert!(found.len() > 90, "reasons are named elsewhere: {found:?}");
    found.retain(|word, _| {
        !NO_REASONS.contains(&word.as_str()) && !README.contains(&format!("`{word}`"))
    });
    assert!(found.is_empty(), "not in README.md: {found:#?}");
}

/// The files of a folder that are code, but for heads of HTTP/2 and HTTP/3: their reasons are not these.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap();
        if ["tests", "testing", "types"]
            .iter()
            .any(|other| name == *other)
        {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Where the first bracket behind `start` closes that holds anything.
fn end_of(code: &str, start: usize) -> usize {
    let mut depth = 0;
    let mut has_block = false;
    let is_function = code[start..].starts_with("fn ");
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'{' => {
                depth += 1;
                has_block |= byte == b'{' || !is_function;
            }
            b')' | b'}' => {
                depth -= 1;
                if depth == 0 && has_block {
                    return at;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// What stands in quotes and could be a label.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|word| {
        let is_fine = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        !word.is_empty() && word.bytes().all(is_fine)
    })
}
