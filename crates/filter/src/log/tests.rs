//! Formats, times, escaping and the filter, with a protocol of three operators.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use portcullis_config::{Diagnostics, Source, load};
use portcullis_limit::Seed;
use portcullis_stats::Registry;
use serde_json::{Value, json};

use super::*;
use crate::{Connection, Context, FilterContext, FilterKind, Messages, Random, SharedStore};

struct Toy;

impl Messages for Toy {
    type Request = ();
    type Response = ();
    type Data = ();
    type Record = (u64, &'static [u8]);
}

impl LogRecords for Toy {
    const OPERATORS: &'static [&'static str] = &["DURATION", "PATH", "START_TIME"];
    const PRESETS: &'static [Preset] = &[
        Preset::Text {
            name: "text",
            line: "%LISTENER_NAME% \"%PATH%\"",
        },
        Preset::Json {
            name: "json",
            keys: &[("path", "%PATH%"), ("duration", "%DURATION%")],
        },
    ];

    fn operator(name: &str, argument: Option<&str>) -> Result<Operator<Self>, OperatorError> {
        Ok(match (name, argument) {
            ("DURATION", None) => Box::new(|record: &(u64, _), _, value| value.number(record.0)),
            ("DURATION", Some(_)) => return Err(OperatorError::Argument("no argument")),
            ("PATH", _) => Box::new(|record: &(_, &[u8]), _, value| match record.1 {
                b"" => value.absent(),
                path => value.text(path),
            }),
            ("START_TIME", argument) => {
                let format = argument.map_or_else(|| Ok(TimeFormat::default()), TimeFormat::new)?;
                Box::new(move |_, _, value| value.time(&format, UNIX_EPOCH))
            }
            _ => return Err(OperatorError::Unknown),
        })
    }
}

#[allow(clippy::disallowed_methods)]
fn now() -> Instant {
    Instant::now()
}

fn context() -> Context {
    let address = |text: &str| Some(text.parse().unwrap());
    let connection = Connection {
        listener: "web".into(),
        peer: address("[::ffff:10.0.0.1]:5"),
        local: address("10.0.0.9:80"),
        client: address("192.0.2.7:4321"),
        secure: false,
        tls: None,
        accepted_at: now(),
        id: 42,
    };
    Context::new(Rc::new(connection), now())
}

fn line(format: &Format<Toy>, record: (u64, &'static [u8])) -> String {
    let mut line = Vec::new();
    format.write(&record, &context(), &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn text_formats_write_what_the_table_says() {
    let rows = [
        ("", "\n"),
        ("plain 100%%", "plain 100%\n"),
        ("%PATH% %DURATION%ms", "/a 7ms\n"),
        ("%PATH:1%%PATH:9%", "//a\n"),
        ("%CONNECTION_ID% %LISTENER_NAME% %ROUTE_NAME%", "42 web -\n"),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "192.0.2.7:4321 192.0.2.7\n",
        ),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
            "10.0.0.1\n",
        ),
        (
            "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT%",
            "10.0.0.9:80 80\n",
        ),
        ("%START_TIME%", "1970-01-01T00:00:00.000Z\n"),
        (
            "[%START_TIME(%d/%b/%Y:%T %z)%]",
            "[01/Jan/1970:00:00:00 +0000]\n",
        ),
        ("its own end\n", "its own end\n"),
    ];
    for (template, wanted) in rows {
        let format = Format::text(template).unwrap();
        assert_eq!(line(&format, (7, b"/a")), wanted, "{template}");
    }
}

/// F11: no value can end a line, leave its quotes or reach a terminal as a command.
#[test]
fn f11_values_are_escaped() {
    let rows: [(&str, &'static [u8], &str, &str); 8] = [
        ("line feed", b"a\nb\r", r"a\x0ab\x0d", r"a\u000ab\u000d"),
        ("quote", b"a\" \\", r#"a\" \\"#, r#"a\" \\"#),
        (
            "escape sequence",
            b"\x1b[2J\x7f",
            r"\x1b[2J\x7f",
            r"\u001b[2J\u007f",
        ),
        (
            "second-level control",
            "\u{9b}2J".as_bytes(),
            r"\u{9b}2J",
            r"\u009b2J",
        ),
        (
            "line separator",
            "a\u{2028}b".as_bytes(),
            r"a\u{2028}b",
            r"a\u2028b",
        ),
        (
            "paragraph separator",
            "a\u{2029}b".as_bytes(),
            r"a\u{2029}b",
            r"a\u2029b",
        ),
        ("letters of the world", "åß漢".as_bytes(), "åß漢", "åß漢"),
        ("no UTF-8", b"a\xff\xc3", r"a\xff\xc3", "a\u{fffd}\u{fffd}"),
    ];
    let text = Format::text("%PATH%").unwrap();
    let json = Format::json([("k\"", "%PATH%"), ("in \"text\"", "<%PATH%>")]).unwrap();
    for (name, value, in_text, in_json) in rows {
        assert_eq!(line(&text, (0, value)), format!("{in_text}\n"), "{name}");
        let wanted = format!("{{\"k\\\"\":\"{in_json}\",\"in \\\"text\\\"\":\"<{in_json}>\"}}\n");
        assert_eq!(line(&json, (0, value)), wanted, "{name}");
        assert!(serde_json::from_str::<Value>(&wanted).is_ok(), "{name}");
    }
}

#[test]
fn json_values_keep_their_types() {
    let keys = [
        ("n", "%DURATION%"),
        ("t", "%DURATION% ms"),
        ("p", "%PATH%"),
        ("q", "[%PATH%]"),
        ("c", "x"),
    ];
    let format = Format::json(keys).unwrap();
    let value: Value = serde_json::from_str(&line(&format, (7, b""))).unwrap();
    assert_eq!(
        value,
        json!({"n": 7, "t": "7 ms", "p": null, "q": "[-]", "c": "x"})
    );
    assert_eq!(line(&Format::json([]).unwrap(), (7, b"")), "{}\n");
}

#[test]
fn times_are_written_in_utc() {
    let rows = [
        (0, "%F %T %a", "1970-01-01 00:00:00 Thu"),
        (951_782_400, "%F %a %b %e", "2000-02-29 Tue Feb 29"),
        (951_868_800, "%e|%s|%%", " 1|951868800|%"),
        (
            1_798_761_599,
            "%Y-%m-%dT%H:%M:%SZ %a",
            "2026-12-31T23:59:59Z Thu",
        ),
        (4_107_542_400, "%F", "2100-03-01"),
        (
            1_798_761_599,
            "%3f %f %1f %E6S",
            "078 078901234 0 59.078901",
        ),
    ];
    for (seconds, format, wanted) in rows {
        let time = UNIX_EPOCH + Duration::new(seconds, 78_901_234);
        let mut line = Vec::new();
        TimeFormat::new(format).unwrap().write(time, &mut line);
        assert_eq!(String::from_utf8(line).unwrap(), wanted, "{format}");
    }
    for wrong in ["%", "%Q", "%0f", "%E3T", "%E", "100%"] {
        assert!(TimeFormat::new(wrong).is_err(), "{wrong}");
    }
    assert_ne!(
        TimeFormat::default(),
        TimeFormat::new("").unwrap(),
        "the default compiles"
    );
}

#[test]
fn formats_that_make_no_sense_are_errors() {
    let rows = [
        ("50% off", "'% off' is no operator"),
        ("%PATH", "'%PATH' is no operator"),
        ("%PATH(a%", "'%PATH(a%' is no operator"),
        ("%PATH:x%", "'%PATH:x%' is no operator"),
        ("%DURATIONS%", "%DURATIONS%: there is no such operator"),
        ("%DURATION(ms)%", "%DURATION%: expected no argument"),
        ("%ROUTE_NAME(x)%", "%ROUTE_NAME%: expected no argument"),
        (
            "%START_TIME(%Q)%",
            "%START_TIME%: '%Q' is no time conversion",
        ),
    ];
    for (template, wanted) in rows {
        let error = Format::<Toy>::text(template).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{template}: {error}");
        assert!(
            Format::<Toy>::json([("k", template)]).is_err(),
            "{template}"
        );
    }
}

fn read(yaml: &str) -> (Option<AccessLogConfig>, String) {
    let source = Source::new("test.yaml", yaml);
    let mut diagnostics = Diagnostics::new(&source);
    let node = load(&source, &|_| None, &mut diagnostics).unwrap();
    let config: Option<AccessLogConfig> = node.read(&mut diagnostics);
    if let Some(config) = &config {
        <AccessLog<Toy> as FilterKind<Toy>>::check(config, &node, &mut diagnostics);
    }
    (config, diagnostics.render(false))
}

#[test]
fn settings_are_checked() {
    let rows = [
        ("{}", ""),
        ("format: text", ""),
        ("text: '%PATH%'", ""),
        ("{path: stderr, json: {path: '%PATH%', b: x}}", ""),
        ("format: jsn", "did you mean 'json'"),
        ("text: '%PAHT%'", "did you mean 'PATH'"),
        ("json: {a: '%'}", "is no operator"),
        ("json: {a: 1}", "the value of 'a' is not text"),
        ("{format: json, text: x}", "the line is said twice"),
        ("fromat: json", "did you mean 'format'"),
    ];
    for (yaml, wanted) in rows {
        let (_, report) = read(yaml);
        assert_eq!(report.is_empty(), wanted.is_empty(), "{yaml}: {report}");
        assert!(report.contains(wanted), "{yaml}: {report}");
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn write(&self, line: &[u8]) {
        let line = String::from_utf8(line.to_vec()).unwrap();
        self.0.lock().unwrap().push(line);
    }
}

struct Sinks(Arc<Lines>);

impl LogSinks for Sinks {
    fn open(&self, target: &str) -> io::Result<Arc<dyn LogSink>> {
        match target {
            "stdout" => Ok(Arc::clone(&self.0) as Arc<dyn LogSink>),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[test]
fn the_filter_writes_a_line_for_each_record() {
    let lines = Arc::new(Lines::default());
    let shared = SharedStore::new();
    let registry = Registry::new(1);
    let cx = FilterContext {
        stats: &registry.shard(0),
        shared: &shared,
        seed: &Seed::random(),
        random: &Rc::new(Random::new(1)),
        now: now(),
        path: "listeners.web.filters[0]",
    };
    let build = |yaml| AccessLog::<Toy>::build(&read(yaml).0.unwrap(), &cx);
    let error = |yaml| build(yaml).err().unwrap().to_string();
    assert!(error("{}").contains("writes no access logs"));
    shared.provide::<Arc<dyn LogSinks>>(Arc::new(Sinks(Arc::clone(&lines))));
    assert!(error("path: /nowhere").contains("cannot open /nowhere"));
    let filter = build("format: text").unwrap();
    filter.on_complete(&(1, b"/one"), &context());
    filter.on_complete(&(2, b""), &context());
    assert_eq!(*lines.0.lock().unwrap(), ["web \"/one\"\n", "web \"-\"\n"]);
}
