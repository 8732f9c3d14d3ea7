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

/// The promise of the verb: what comes out builds without a warning, with and without its session, passes its tests,
/// and can be registered by the lines that the verb prints.
#[test]
fn made_crate_builds_and_passes() {
    let workspace = Workspace::find().unwrap();
    let folder = scratch("builds");
    write_workspace(&workspace, &folder);
    create(&folder.join("protocols"), "probe").unwrap();
    let clippy = ["clippy", "--offline", "--all-targets"];
    let strict = ["--", "-D", "warnings"];
    let pure = ["--package", "portcullis-probe", "--no-default-features"];
    for arguments in [
        [&clippy[..], &strict].concat(),
        [&clippy[..2], &pure, &strict].concat(),
        vec!["test", "--offline"],
    ] {
        let mut cargo = workspace.cargo();
        cargo.current_dir(&folder).args(&arguments);
        // Beside our own: its dependencies are the same and built already.
        cargo.env("CARGO_TARGET_DIR", &workspace.target);
        let output = cargo.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {shown}");
        let tests = String::from_utf8_lossy(&output.stdout);
        for test in [
            "vectors_hold_for_every_split",
            "session::tests::lines_are_answered_until_the_end",
            "registered",
        ] {
            let passed = tests.contains(&format!("{test} ... ok"));
            assert!(arguments[0] != "test" || passed, "{test}: {tests}");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

/// The files that the printed lines go into hold such lines for `tcp`, in the same form.
#[test]
fn lines_to_add_fit_the_files_they_are_for() {
    let root = Workspace::find().unwrap().root;
    let [_, _, _, wrappers, user] = follow_up("probe");
    let deny = fs::read_to_string(root.join("deny.toml")).unwrap();
    let protocols = fs::read_to_string(root.join("crates/portcullis/src/protocols.rs")).unwrap();
    let tcp = |line: &FollowUp| line.line.replace("probe", "tcp");
    assert!(deny.contains(&tcp(&user)), "{}", user.line);
    let start = "{ crate = \"portcullis-probe\", wrappers = [\"portcullis\"";
    assert!(wrappers.line.starts_with(start), "{}", wrappers.line);
    assert!(deny.contains(&start.replace("probe", "tcp")));
    assert!(protocols.contains("pub fn registry()") && protocols.contains(".with::<"));
}

/// The root manifest and lock file with `protocols/*` and a gateway for members, our crates found where they are.
fn write_workspace(workspace: &Workspace, folder: &Path) {
    let manifest = fs::read_to_string(workspace.root.join("Cargo.toml")).unwrap();
    let ours = format!("path = \"{}/", workspace.root.display());
    let [known, dependency, registration, ..] = follow_up("probe").map(|line| line.line);
    let lines = manifest.lines().map(|line| match line.split_once(" = ") {
        Some(("members", _)) => "members = [\"protocols/*\", \"gateway\"]".to_owned(),
        Some(("exclude" | "default-members", _)) => String::new(),
        None if line == "[workspace.dependencies]" => format!("{line}\n{known}"),
        _ => line.replace("path = \"", &ours),
    });
    let manifest: Vec<_> = lines.collect();
    fs::write(folder.join("Cargo.toml"), manifest.join("\n")).unwrap();
    for name in ["Cargo.lock", "clippy.toml", "rustfmt.toml"] {
        fs::copy(workspace.root.join(name), folder.join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("gateway/src")).unwrap();
    let gateway = format!(
        "[package]\nname = \"gateway\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nportcullis-proxy.workspace = true\n{dependency}\n"
    );
    fs::write(folder.join("gateway/Cargo.toml"), gateway).unwrap();
    let registry = format!(
        "//! What the binary's list of protocols looks like.\n\n\
         #[test]\nfn registered() {{\n    let registry = portcullis_proxy::Registry::new();\n    {registration}\n    \
         assert!(registry.names().eq([\"probe\"]));\n}}\n"
    );
    fs::write(folder.join("gateway/src/lib.rs"), registry).unwrap();
}
