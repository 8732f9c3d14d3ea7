//! What a line holds, and what it must not.

use std::time::UNIX_EPOCH;

use portcullis_filter::log::Format;

use super::super::testing::{context, request};
use super::*;

fn line(format: &Format<PostgresMessages>, sql: &str, change: impl FnOnce(&mut Record)) -> String {
    let cx = context("192.0.2.7");
    let mut record = Record::new(request(sql), UNIX_EPOCH, cx.now);
    change(&mut record);
    let mut line = Vec::new();
    format.write(&record, &cx, &mut line);
    String::from_utf8(line).unwrap()
}

fn whole(record: &mut Record) {
    record.duration = Duration::from_micros(1_234_567);
    record.waited = Duration::from_micros(7);
    record.server = Duration::from_micros(9);
    record.rows = 3;
    record.bytes_up = 10;
    record.bytes_down = 20;
    record.cluster = Some("shop".into());
    record.endpoint = Some("10.0.0.1:5432".into());
    record.sqlstate = SqlState::new(b"40001");
    record.reason = Record::SERVER_ERROR;
}

#[test]
fn presets_write_a_line() {
    let [json, text] = PostgresMessages::PRESETS else {
        panic!("two presets");
    };
    let text = line(&Format::preset(text).unwrap(), "select 1", whole);
    let start = "[1970-01-01T00:00:00.000Z] db 192.0.2.7:4321 ann@shop \"shop\" 10.0.0.1:5432 select 3 20 1234567 40001 ";
    assert!(text.starts_with(start), "{text}");
    let json = line(&Format::preset(json).unwrap(), "select 1", |_| {});
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["user"], "ann");
    assert_eq!(json["class"], "read");
    assert_eq!(json["sqlstate"], serde_json::Value::Null);
    assert_eq!(json["reason"], "stopped");
}

#[test]
fn statements_are_written_without_their_values() {
    let format = Format::text("%STATEMENT% %STATEMENT:12%").unwrap();
    for sql in [
        "select * from users where token = 's3cret' -- s3cret",
        "select 's3cret",
        "select /* s3cret */ $$s3cret$$, 'a\\'s3cret'",
    ] {
        let line = line(&format, sql, |_| {});
        assert!(!line.contains("s3cret"), "{sql}: {line}");
        assert!(line.to_lowercase().contains("select"), "{sql}: {line}");
    }
}

#[test]
fn every_operator_is_there_and_takes_what_it_should() {
    for name in PostgresMessages::OPERATORS {
        let format = Format::text(&format!("%{name}%")).unwrap();
        assert_ne!(line(&format, "select 1", whole), "-\n", "{name}");
        let with_argument = Format::<PostgresMessages>::text(&format!("%{name}(x)%"));
        assert_eq!(with_argument.is_ok(), *name == "START_TIME", "{name}");
    }
}
