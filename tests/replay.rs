//! Every corpus file through its fuzz body, on stable and without a fuzzer, as part of the ordinary tests.
//!
//! Also the place where the three lists of targets are held together: the table of bodies, the wrappers
//! that cargo-fuzz builds, and the folders of seeds.

// Helpers of tests are not seen as tests by the lint.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use portcullis_fuzz::TARGETS;

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");

#[test]
fn every_corpus_file_passes() {
    let mut failed = Vec::new();
    for &(target, body) in TARGETS {
        let files = files(&Path::new(FUZZ).join("corpus").join(target));
        println!("{target}: {} files", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            // A thread of its own, so that a panic or an overflowed stack names the file.
            let name = format!("{target}/{}", name(&file));
            let run = thread::Builder::new().name(name.clone());
            let run = run.spawn(move || body(&bytes)).unwrap();
            if run.join().is_err() {
                failed.push(name);
            }
        }
    }
    assert!(failed.is_empty(), "corpus files that fail: {failed:#?}");
}

#[test]
fn every_target_has_a_wrapper_and_seeds() {
    let bodies: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(bodies.len(), TARGETS.len(), "a name twice in TARGETS");
    let folder = Path::new(FUZZ);
    let wrappers = names(&files(&folder.join("fuzz_targets")));
    let wrappers = wrappers
        .iter()
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(
        bodies, wrappers,
        "TARGETS (left) and fuzz_targets/ (right) differ"
    );
    let seeds = names(&entries(&folder.join("corpus")));
    assert_eq!(bodies, seeds, "TARGETS (left) and corpus/ (right) differ");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in &bodies {
        assert!(
            manifest.contains(&format!("name = \"{target}\"")),
            "no [[bin]] for {target}"
        );
        let seeds = files(&folder.join("corpus").join(target));
        assert!(!seeds.is_empty(), "no seed for {target}");
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|path| path.is_file());
    files
}

fn names(paths: &[PathBuf]) -> BTreeSet<String> {
    paths.iter().map(|path| name(path)).collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
