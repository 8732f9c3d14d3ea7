//! The template filled in, and built in a workspace of its own.

use super::*;

/// A folder of our own, emptied first.
fn scratch(name: &str) -> PathBuf {
    let folder =
        std::env::temp_dir().join(format!("portcullis-xtask-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn names_are_checked() {
    let rows = [
        ("memcached", true),
        ("http4", true),
        ("", false),
        ("4http", false),
        ("Redis", false),
        ("a-b", false),
        ("../a", false),
        ("abcdefghijklmnopqrstuvwxyz0123456789", false),
    ];
    for (name, allowed) in rows {
        assert_eq!(check_name(name).is_ok(), allowed, "{name:?}");
    }
}

#[test]
fn files_are_complete_and_filled_in() {
    let folder = scratch("files");
    let made = create(&folder, "memcached").unwrap();
    for (path, _) in TEMPLATE {
        let contents = fs::read_to_string(made.join(path)).unwrap();
        assert!(
            !contents.contains("@name@") && !contents.contains("@Name@"),
            "{path}"
        );
    }
    assert!(
        create(&folder, "memcached").is_err(),
        "nothing is overwritten"
    );
    fs::remove_dir_all(folder).unwrap();
}

/// The promise of the verb: what comes out builds without a warning and passes its tests.
#[test]
fn made_crate_builds_and_passes() {
    let workspace = Workspace::find().unwrap();
    let folder = scratch("builds");
    write_workspace(&workspace, &folder);
    create(&folder.join("protocols"), "probe").unwrap();
    for arguments in [
        &[
            "clippy",
            "--offline",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ][..],
        &["test", "--offline"],
    ] {
        let mut cargo = workspace.cargo();
        cargo.current_dir(&folder).args(arguments);
        // Beside our own: its dependencies are the same and built already.
        cargo.env("CARGO_TARGET_DIR", &workspace.target);
        let output = cargo.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {shown}");
        let tests = String::from_utf8_lossy(&output.stdout);
        assert!(arguments[0] != "test" || tests.contains("vectors_hold_for_every_split ... ok"));
    }
    fs::remove_dir_all(folder).unwrap();
}

/// The root manifest and lock file with nothing but `protocols/*` for members, our crates found where they are.
fn write_workspace(workspace: &Workspace, folder: &Path) {
    let manifest = fs::read_to_string(workspace.root.join("Cargo.toml")).unwrap();
    let ours = format!("path = \"{}/", workspace.root.display());
    let lines = manifest.lines().map(|line| match line.split_once(" = ") {
        Some(("members", _)) => "members = [\"protocols/*\"]".to_owned(),
        Some(("exclude" | "default-members", _)) => String::new(),
        _ => line.replace("path = \"", &ours),
    });
    let manifest: Vec<_> = lines.collect();
    fs::write(folder.join("Cargo.toml"), manifest.join("\n")).unwrap();
    for name in ["Cargo.lock", "clippy.toml", "rustfmt.toml"] {
        fs::copy(workspace.root.join(name), folder.join(name)).unwrap();
    }
}
