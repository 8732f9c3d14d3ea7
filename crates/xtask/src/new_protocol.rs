//! `new-protocol`: a crate under `protocols/` from the template, with every room in its place.
//!
//! The template is a working protocol (a line echo with codec, machine and session), so that what is made builds,
//! passes its tests, can be registered as it is, and can be turned into the real thing one room at a time. It lives
//! in `template/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::run::succeeds;
use crate::workspace::Workspace;

/// The template's files: where each goes, and what it holds before the name is filled in.
const TEMPLATE: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../template/Cargo.toml.in")),
    ("README.md", include_str!("../template/README.md.in")),
    ("src/lib.rs", include_str!("../template/src/lib.rs.in")),
    (
        "src/message.rs",
        include_str!("../template/src/message.rs.in"),
    ),
    (
        "src/grammar.rs",
        include_str!("../template/src/grammar.rs.in"),
    ),
    (
        "src/decoder.rs",
        include_str!("../template/src/decoder.rs.in"),
    ),
    (
        "src/encoder.rs",
        include_str!("../template/src/encoder.rs.in"),
    ),
    ("src/error.rs", include_str!("../template/src/error.rs.in")),
    (
        "src/machine.rs",
        include_str!("../template/src/machine.rs.in"),
    ),
    (
        "src/config.rs",
        include_str!("../template/src/config.rs.in"),
    ),
    (
        "src/session.rs",
        include_str!("../template/src/session.rs.in"),
    ),
    (
        "src/session/tests.rs",
        include_str!("../template/src/session/tests.rs.in"),
    ),
    (
        "tests/vectors.rs",
        include_str!("../template/tests/vectors.rs.in"),
    ),
    (
        "tests/vectors/lines.txt",
        include_str!("../template/tests/vectors/lines.txt.in"),
    ),
];

/// Makes `protocols/<name>` and says what is left to do.
pub(crate) fn run(workspace: &Workspace, name: &str) -> Result<bool> {
    let folder = create(&workspace.root.join("protocols"), name)?;
    // How lines break depends on the length of the name. Without rustfmt they merely look odd.
    let mut format = workspace.cargo();
    format.args(["fmt", "--package", &format!("portcullis-{name}")]);
    let _ = succeeds(&mut format);
    println!(
        "made {}: a line echo that builds and whose tests pass",
        folder.display()
    );
    println!("  cargo test --package portcullis-{name}");
    println!();
    println!("Then, so that listeners can name it:");
    for FollowUp { place, line } in follow_up(name) {
        println!("  {place}:");
        println!("    {line}");
    }
    println!("And what every protocol brings:");
    println!("  fuzz/ (see its README.md): {name}_decode, {name}_roundtrip, {name}_session");
    println!("  tests/e2e/{name}.rs, and its `mod` line in tests/e2e/main.rs");
    println!(
        "  a row in README.md and ARCHITECTURE.md, a line in CHANGELOG.md, a file in examples/"
    );
    Ok(true)
}

/// A line that makes the new crate known, and where it goes.
struct FollowUp {
    place: &'static str,
    line: String,
}

/// Every line that registering the new crate as it is takes.
fn follow_up(name: &str) -> [FollowUp; 5] {
    let kind = type_name(name);
    let line = |place, line| FollowUp { place, line };
    [
        line(
            "Cargo.toml, [workspace.dependencies]",
            format!(
                "portcullis-{name} = {{ path = \"protocols/{name}\", default-features = false }}"
            ),
        ),
        line(
            "crates/portcullis/Cargo.toml, [dependencies]",
            format!("portcullis-{name} = {{ workspace = true, features = [\"session\"] }}"),
        ),
        line(
            "crates/portcullis/src/protocols.rs, in `registry`",
            format!("let registry = registry.with::<portcullis_{name}::{kind}>();"),
        ),
        line(
            "deny.toml, [bans] deny, at its end",
            format!(
                "{{ crate = \"portcullis-{name}\", wrappers = [\"portcullis\", \"portcullis-fuzz\"] }},"
            ),
        ),
        line(
            "deny.toml, [bans] deny, among the wrappers of tokio, which its tests run on",
            format!("\"portcullis-{name}\","),
        ),
    ]
}

/// Writes the crate below `protocols`: its folder.
fn create(protocols: &Path, name: &str) -> Result<PathBuf> {
    check_name(name)?;
    let folder = protocols.join(name);
    if folder.exists() {
        bail!("{} is there already", folder.display());
    }
    for (path, contents) in TEMPLATE {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let write = fs::write(&path, fill(contents, name));
        write.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

/// A name is a crate name, a key in the configuration and a label value.
fn check_name(name: &str) -> Result<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !starts_well || !name.chars().all(allowed) || name.len() > 32 {
        bail!(
            "{name:?} is no protocol name: lower case letters and digits, a letter first, 32 at most"
        );
    }
    Ok(())
}

fn fill(contents: &str, name: &str) -> String {
    contents
        .replace("@name@", name)
        .replace("@Name@", &type_name(name))
}

/// `memcached` → `Memcached`.
fn type_name(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
#[path = "new_protocol/tests.rs"]
mod tests;
