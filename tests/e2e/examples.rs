//! Every configuration that people are shown is one that the gateway accepts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use harness::tls::Authority;
use harness::{Scratch, portcullis};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// In a directory with the certificates and users that examples name.
fn check(file: &Path) -> Output {
    let scratch = Scratch::new();
    let authority = Authority::new("examples");
    scratch.write("ca.pem", authority.pem());
    for (name, host) in [
        ("web", "example.com"),
        ("api", "api.example.com"),
        ("client", "client.example.com"),
    ] {
        let issued = authority.issue(&[host]);
        scratch.write(&format!("{name}.pem"), issued.cert);
        scratch.write(&format!("{name}.key"), issued.key);
    }
    scratch.write("userlist.txt", "\"app\" \"secret\"\n");
    portcullis()
        .current_dir(scratch.path())
        .arg("check")
        .arg("-c")
        .arg(file)
        .output()
        .unwrap()
}

#[track_caller]
fn accepted(name: &str, file: &Path) {
    let output = check(file);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}:\n{said}");
    assert!(!said.contains("warning"), "{name}:\n{said}");
}

#[test]
fn examples_are_accepted() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let file = entry.unwrap().path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            accepted(&file.display().to_string(), &file);
            count += 1;
        }
    }
    assert!(count >= 3, "{count} examples");
}

/// What a guided release is watched at: were it refused, that would show only after the first of two builds.
#[test]
fn what_a_release_is_trained_with_is_accepted() {
    let template = root().join("crates/xtask/src/release/training.yaml");
    let text = fs::read_to_string(template).unwrap();
    let marks = [
        ("@ORIGIN@", "1001"),
        ("@SECURE@", "1002"),
        ("@QUIC@", "1003"),
        ("@LARGE@", "large"),
        ("@CERTIFICATE@", "web.pem"),
        ("@KEY@", "web.key"),
        ("@ROOTS@", "ca.pem"),
        ("@ECHO@", "127.0.0.1:1004"),
        ("@CACHE@", "127.0.0.1:1005"),
        ("@DB@", "127.0.0.1:1006"),
    ];
    let fill = |text: String, (mark, value): (&str, &str)| text.replace(mark, value);
    let text = marks.into_iter().fold(text, fill);
    let scratch = Scratch::new();
    accepted("training", &scratch.write("training.yaml", text));
}

/// The blocks of YAML in a document.
fn yaml_blocks(document: &str) -> impl Iterator<Item = &str> {
    let behind = document.split("```yaml\n").skip(1);
    behind.filter_map(|rest| rest.split("```").next())
}

/// Blocks of the documents that have listeners are whole configurations.
#[test]
fn documents_show_what_is_accepted() {
    let scratch = Scratch::new();
    let mut count = 0;
    for document in [
        "README.md",
        "protocols/grpc/README.md",
        "protocols/http1/README.md",
        "protocols/http2/README.md",
        "protocols/http3/README.md",
        "protocols/http3/UPSTREAM.md",
        "protocols/quic/README.md",
        "protocols/udp/README.md",
        "protocols/tcp/README.md",
        "protocols/postgres/README.md",
    ] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for block in yaml_blocks(&text).filter(|block| block.contains("listeners:")) {
            let file = scratch.write("portcullis.yaml", block);
            accepted(&format!("{document}: {block}"), &file);
            count += 1;
        }
    }
    assert!(count >= 2, "{count} blocks");
}

/// Other blocks are clusters, or keys of a listener: a listener of that protocol makes them whole.
#[test]
fn documents_show_parts_of_what_is_accepted() {
    let scratch = Scratch::new();
    for protocol in ["redis", "postgres"] {
        let document = format!("protocols/{protocol}/CONFIG.md");
        let text = fs::read_to_string(root().join(&document)).unwrap();
        let mut count = 0;
        for block in yaml_blocks(&text) {
            let whole = whole(protocol, block)
                .replace("${SENTINEL_PASSWORD}", "secret")
                .replace("/etc/portcullis/userlist.txt", "userlist.txt");
            let file = scratch.write("portcullis.yaml", &whole);
            accepted(&format!("{document}: {whole}"), &file);
            count += 1;
        }
        assert!(count >= 1, "{document}: {count} blocks");
    }
}

fn whole(protocol: &str, block: &str) -> String {
    let listener =
        |name: &str| format!("  {name}:\n    listen: 127.0.0.1:0\n    protocol: {protocol}");
    let mut lines = vec!["listeners:".to_owned()];
    if let Some(clusters) = block.strip_prefix("clusters:\n") {
        let names = clusters
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'))
            .filter(|name| !name.starts_with(' '));
        for name in names {
            lines.push(listener(&format!("for-{name}")));
            lines.push(format!("    cluster: {name}"));
        }
        lines.push(block.to_owned());
        return lines.join("\n");
    }
    lines.push(listener("part"));
    if !block.contains("routes:") {
        lines.push("    cluster: any".to_owned());
    }
    lines.extend(block.lines().map(|line| format!("    {line}")));
    let is_end = |character: char| !character.is_ascii_alphanumeric() && character != '-';
    let text = lines.join("\n");
    let named = text.split("cluster: ").skip(1);
    let clusters: BTreeSet<_> = named.filter_map(|rest| rest.split(is_end).next()).collect();
    let endpoints = |name| format!("  {name}: {{ endpoints: [127.0.0.1:1] }}");
    lines.push("clusters:".to_owned());
    lines.extend(clusters.into_iter().map(endpoints));
    lines.join("\n")
}

/// All mistakes in one run, each with its place, and 78.
#[test]
fn check_reports_every_mistake() {
    let scratch = Scratch::new();
    let text = "listeners:\n  web:\n    lisen: 127.0.0.1:0\n    listen: 127.0.0.1:8080\n    protocol: http\n    routes:\n      \
                - match: { path: /a/* }\n        cluster: sit\n      - match: { path: /a/b }\n        cluster: site\n  \
                more:\n    listen: 127.0.0.1:8080\n    protocol: http\n    cluster: site\n    filters:\n      - rate_limt: { rate: 1/s }\n\
                clusters:\n  site: { endpoints: [] }\n  site2: { endpoints: [127.0.0.1:1], balance: 7 }\n";
    let file = scratch.write("portcullis.yaml", text);
    let output = check(&file);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    for part in [
        "portcullis.yaml:3:5",
        "did you mean 'listen'",
        "did you mean 'site'",
        "did you mean 'rate_limit'",
        "8080",
        "at least one endpoint",
        "portcullis.yaml:9",
    ] {
        assert!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let json = portcullis()
        .args(["check", "--format", "json", "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let text = [json.stdout, json.stderr].concat();
    let parsed: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert!(parsed.to_string().contains("lisen"), "{parsed}");
}

#[test]
fn missing_file_is_78() {
    let output = check(Path::new("/nonexistent/portcullis.yaml"));
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/portcullis.yaml"));
}
