//! What the process says of itself: the `logs` block, and what goes before it.

use std::fs;
use std::path::PathBuf;

use harness::{Gateway, Origin, RawResponse, Reply, Scratch, Signal};
use serde_json::Value;

/// Said at the level `info` by every reload.
const RELOADED: &str = "configuration reloaded";

const RELOADS: &str = "portcullis_config_reloads_total";

fn config(origin: &Origin, logs: &str) -> String {
    format!(
        "listeners: {{ web: {{ listen: 127.0.0.1:0, protocol: http, routes: [{{ cluster: site }}] }} }}\n\
         clusters: {{ site: {{ endpoints: [{}] }} }}\n{logs}\n",
        origin.address()
    )
}

fn origin() -> Origin {
    Origin::http(|_| Reply::ok("well"))
}

#[track_caller]
fn reload(gateway: &Gateway, config: &str) -> RawResponse {
    let response = gateway.reload(config);
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

/// The names of the settings that a reload has changed.
fn settings(response: &RawResponse) -> Value {
    let answer: Value = serde_json::from_str(&response.text()).unwrap();
    answer["changed"]["settings"].clone()
}

struct Log {
    _scratch: Scratch,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let scratch = Scratch::new();
        Self {
            path: scratch.path().join("portcullis.log"),
            _scratch: scratch,
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }
}

/// Each line is an object in the file, and standard error keeps only what programs read.
#[test]
fn lines_go_where_and_how_they_are_wanted() {
    let (origin, log) = (origin(), Log::new());
    let logs = format!("logs: {{ format: json, to: {} }}", log.path.display());
    let config = config(&origin, &logs);
    let gateway = Gateway::start(&config);
    let mut client = gateway.connect("web");
    assert_eq!(client.get("/", "a").text(), "well");
    reload(&gateway, &config);
    let text = log.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let line = lines.iter().find(|line| line["message"] == RELOADED);
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        (&line["level"], &line["trigger"]),
        (&"INFO".into(), &"admin".into())
    );
    assert_eq!(client.get("/", "a").text(), "well");
    let exit = gateway.stop();
    assert_eq!(exit.code(), Some(0));
    let announced = |line: &String| line.starts_with("portcullis: ");
    assert!(exit.stderr.iter().all(announced), "{:?}", exit.stderr);
}

/// The level of a new configuration counts at once; open connections do not notice.
#[test]
fn a_reload_changes_the_level() {
    let origin = origin();
    let [quiet, loud] =
        ["warn", "info"].map(|level| config(&origin, &format!("logs: {{ level: {level} }}")));
    let gateway = Gateway::start(&quiet);
    let mut client = gateway.connect("web");
    assert_eq!(client.get("/", "a").text(), "well");
    reload(&gateway, &quiet);
    assert_eq!(
        settings(&reload(&gateway, &loud)),
        Value::from(vec!["logs"])
    );
    let said = gateway.wait_log(RELOADED);
    assert!(
        said.contains("logs changed"),
        "the first was not heard: {said}"
    );
    gateway.wait_stat(RELOADS, &[("result", "applied")], |count| count == 1);

    // What was set by hand lasts until the configuration says something new.
    assert_eq!(gateway.admin_post("/logging?level=error").status, 200);
    assert_eq!(settings(&reload(&gateway, &loud)), Value::Array(Vec::new()));
    assert_eq!(
        settings(&reload(&gateway, &quiet)),
        Value::from(vec!["logs"])
    );
    assert_eq!(client.get("/", "a").text(), "well", "the same connection");
    let exit = gateway.stop();
    let lines = exit.stderr.iter().filter(|line| line.contains(RELOADED));
    assert_eq!(lines.count(), 1, "{:?}", exit.stderr);
}

/// Form and place are those of the start; a configuration that wants others is refused whole.
#[test]
fn form_and_place_cannot_change() {
    let (origin, log) = (origin(), Log::new());
    let gateway = Gateway::start(&config(&origin, ""));
    let mut client = gateway.connect("web");
    let rows = [
        (
            "logs: { format: json, level: warn }".to_owned(),
            "logs.format cannot change",
        ),
        (
            format!("logs: {{ to: {} }}", log.path.display()),
            "logs.to cannot change",
        ),
        (
            format!(
                "logs: {{ to: {}, format: json }}\nruntime: {{ workers: {{ count: 7 }} }}",
                log.path.display()
            ),
            "runtime.workers and logs.format and logs.to cannot change",
        ),
    ];
    for (number, (logs, reason)) in (1..).zip(rows) {
        let response = gateway.reload(&config(&origin, &logs));
        assert_eq!(response.status, 422, "{logs}");
        assert!(response.text().contains(reason), "{}", response.text());
        gateway.wait_stat(RELOADS, &[("result", "refused")], |count| count == number);
        assert_eq!(client.get("/", "a").text(), "well", "{logs}");
    }
    assert!(!log.path.exists());
    // Nothing of what was refused counts, so the level is still the one of the start.
    reload(&gateway, &config(&origin, ""));
    gateway.wait_log(RELOADED);
}

/// Flags go before the environment, the environment before the file; what they say stays over reloads.
#[test]
fn the_command_line_and_the_environment_go_first() {
    let (origin, log) = (origin(), Log::new());
    let quiet = config(
        &origin,
        "logs: { level: off, format: json, to: /nonexistent/a.log }",
    );
    let gateway = Gateway::start_with(&quiet, |command| {
        command
            .env("PORTCULLIS_LOG", "info")
            .env("PORTCULLIS_LOG_FORMAT", "text")
            .env("PORTCULLIS_LOG_TO", "stderr")
            .arg("--log-to")
            .arg(&log.path);
    });
    let other = config(&origin, "logs: { level: error }");
    assert_eq!(
        settings(&reload(&gateway, &other)),
        Value::Array(Vec::new())
    );
    let text = log.text();
    assert!(text.contains(RELOADED) && !text.starts_with('{'), "{text}");
    assert_eq!(gateway.connect("web").get("/", "a").text(), "well");
}

/// USR1: a moved file gets no more lines, the new one does.
#[test]
fn usr1_opens_the_file_again() {
    let (origin, log) = (origin(), Log::new());
    let config = config(&origin, &format!("logs: {{ to: {} }}", log.path.display()));
    let gateway = Gateway::start(&config);
    let moved = log.path.with_extension("1");
    fs::rename(&log.path, &moved).unwrap();
    gateway.signal(Signal::USR1);
    while !log.path.exists() {
        let _ = gateway.stats();
    }
    reload(&gateway, &config);
    assert!(log.text().contains(RELOADED));
    assert!(!fs::read_to_string(&moved).unwrap().contains(RELOADED));
    assert_eq!(gateway.connect("web").get("/", "a").text(), "well");
}

/// F13: mistakes are found before anything starts, with their places.
#[test]
fn f13_mistakes_about_logs() {
    let origin = origin();
    let rows = [
        (
            "level: loud",
            78,
            "expected off, error, warn, info, debug or trace",
        ),
        ("format: xml", 78, "json"),
        (
            "to: portcullis.log",
            78,
            "expected stderr or the absolute path of a file",
        ),
        ("too: stderr", 78, "did you mean 'to'"),
        (
            "to: /nonexistent/portcullis.log",
            1,
            "/nonexistent/portcullis.log",
        ),
    ];
    for (logs, code, said) in rows {
        let exit = Gateway::run(&config(&origin, &format!("logs: {{ {logs} }}")));
        assert_eq!(exit.code(), Some(code), "{logs}: {:?}", exit.stderr);
        let text = exit.stderr.join("\n");
        assert!(text.contains(said), "{logs}: {text}");
        let has_place = text.contains("portcullis.yaml:3:");
        assert_eq!(has_place, code == 78, "{logs}: {text}");
    }
}
