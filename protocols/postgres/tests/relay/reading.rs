//! Changes of what decides how texts are read, with texts right behind them: those must be read as the server will read them, or
//! count as unreadable.

use portcullis_postgres::encoder;
use portcullis_postgres::machine::{Mode, Pins, Subject, Want};
use portcullis_postgres::message::Format;
use portcullis_postgres::message::backend::TransactionStatus;

use super::talk::{Talk, bind, complete, error, execute, one, parse, query, ready, setup, sync};

const PARSED: &[u8] = b"1\0\0\0\x04";
const BOUND: &[u8] = b"2\0\0\0\x04";

/// Two statements, or one where a backslash escapes.
const TEXT: &str = "SELECT '\\'; DROP TABLE t; --'";

fn inspected(mode: Mode) -> Talk {
    let mut talk = Talk::new(setup(mode));
    talk.setup.inspect = true;
    talk
}

/// The client sends these, and filters let pass what they see. What is wanted then.
fn send(talk: &mut Talk, bytes: &[u8]) -> Want {
    let mut want = talk.client(bytes);
    while want == Want::Statement {
        talk.relay.admit();
        want = talk.client(&[]);
    }
    want
}

fn reports(value: &str) -> Vec<u8> {
    let name = b"standard_conforming_strings";
    one(|dst| encoder::parameter_status(name, value.as_bytes(), dst))
}

fn in_transaction() -> Vec<u8> {
    one(|dst| encoder::ready_for_query(TransactionStatus::InTransaction, dst))
}

/// Statements of the text at the front.
fn statements(talk: &Talk) -> usize {
    talk.relay.query(&talk.input).1.statements.len()
}

#[test]
fn nothing_is_read_before_it_is_known_how() {
    let call = |function| {
        one(|dst| {
            let call = encoder::FunctionCall {
                function,
                formats: &[],
                arguments: &[],
                result_format: Format::TEXT,
            };
            encoder::function_call(&call, dst);
        })
    };
    let calls = [
        ("set_config()", call(2078), true),
        ("lo_creat()", call(957), false),
    ];
    let texts = [
        ("SET standard_conforming_strings = off", true),
        ("SET \"standard_conforming_strings\" TO off", true),
        ("SET U&\"standard\\005fconforming_strings\" TO off", true),
        ("set session STANDARD_conforming_strings to 0", true),
        ("SET LOCAL standard_conforming_strings = off", true),
        ("SELECT 1; SET client_encoding = 'SJIS'", true),
        ("SET NAMES 'SJIS'", true),
        ("SELECT set_config(lower(a), 'off', false) FROM t", true),
        ("RESET standard_conforming_strings", true),
        ("RESET ALL", true),
        ("SELECT 'not closed", true),
        ("SET work_mem = '1MB'", false),
        ("SELECT 'standard_conforming_strings'", false),
    ];
    let texts = texts.map(|(text, waits)| (text, query(text), waits));
    for (name, message, waits) in texts.into_iter().chain(calls) {
        for mode in [Mode::Transaction, Mode::Session] {
            let mut talk = inspected(mode);
            let want = send(&mut talk, &[message.clone(), query(TEXT)].concat());
            assert_eq!(talk.sent().len(), if waits { 1 } else { 2 }, "{name}");
            assert_eq!(want == Want::Replies, waits, "{name}");
        }
    }
}

#[test]
fn what_is_reported_counts_for_what_was_sent_before() {
    for (value, count) in [("off", 1), ("on", 2)] {
        let mut talk = inspected(Mode::Transaction);
        let set = "SET standard_conforming_strings = off";
        send(&mut talk, &[query(set), query(TEXT)].concat());
        talk.server(&[complete("SET"), reports(value), ready()].concat())
            .unwrap();
        assert_eq!(talk.client(&[]), Want::Statement);
        assert_eq!(statements(&talk), count, "{value}");
    }
}

#[test]
fn what_ends_a_transaction_may_take_it_back() {
    let ends = [
        ("ROLLBACK", [complete("ROLLBACK"), ready()].concat()),
        (
            "SELECT fails()",
            [
                error("22012").to_vec(),
                one(|dst| encoder::ready_for_query(TransactionStatus::Failed, dst)),
            ]
            .concat(),
        ),
    ];
    for (end, answer) in ends {
        let mut talk = inspected(Mode::Transaction);
        send(&mut talk, &query("BEGIN"));
        talk.server(&[complete("BEGIN"), in_transaction()].concat())
            .unwrap();
        send(
            &mut talk,
            &query("SET LOCAL standard_conforming_strings = off"),
        );
        talk.server(&[complete("SET"), reports("off"), in_transaction()].concat())
            .unwrap();
        talk.sent();
        let want = send(&mut talk, &[query(end), query(TEXT)].concat());
        assert_eq!((want, talk.sent().as_str()), (Want::Replies, "Q"), "{end}");
        talk.server(&[reports("on"), answer].concat()).unwrap();
        assert_eq!(talk.client(&[]), Want::Statement);
        assert_eq!(statements(&talk), 2, "{end}");
    }
}

#[test]
fn texts_of_the_same_segment_cannot_be_read() {
    let set = "SET LOCAL standard_conforming_strings = off";
    let mut talk = inspected(Mode::Transaction);
    let segment = [parse("", set), bind(""), execute(), parse("", TEXT)].concat();
    send(&mut talk, &segment);
    let answer = [PARSED, BOUND, &complete("SET")].concat();
    talk.server(&answer).unwrap();
    send(&mut talk, &[]);
    talk.server(PARSED).unwrap();
    assert_eq!(talk.client(&bind("")), Want::Statement);
    let Subject::Prepared(prepared) = talk.relay.subject() else {
        panic!("{:?}", talk.relay.subject());
    };
    assert!(!prepared.analysis.complete);
    talk.relay.admit();
    send(&mut talk, &[]);
    talk.server(BOUND).unwrap();
    send(&mut talk, &execute());
    assert!(
        talk.relay.pins().contains(Pins::SET),
        "it may have set anything"
    );
    talk.server(&complete("SELECT 1")).unwrap();
    send(&mut talk, &sync());
    talk.server(&ready()).unwrap();
    // Behind the Sync all is known again.
    assert_eq!(talk.client(&query(TEXT)), Want::Statement);
    assert_eq!(statements(&talk), 2);
    assert!(talk.relay.query(&talk.input).1.complete);
}

#[test]
fn a_text_that_would_mean_something_else_is_not_told_again() {
    let rows = [
        ("SELECT 'a'", "PBS"),
        ("SELECT '\\'", "BS"),
        ("SELECT 'ä'", "BS"),
    ];
    for (text, sent) in rows {
        let mut talk = Talk::new(setup(Mode::Transaction));
        talk.client(&[parse("a", text), sync()].concat());
        talk.server(&[PARSED, &ready()].concat()).unwrap();
        talk.client(&query("SET standard_conforming_strings = off"));
        talk.server(&[complete("SET"), reports("off"), ready()].concat())
            .unwrap();
        talk.sent();
        talk.client(&[bind("a"), sync()].concat());
        assert_eq!(talk.sent(), "BS", "it is known there: {text}");
        talk.server(&[BOUND, &ready()].concat()).unwrap();
        talk.attach();
        talk.client(&[bind("a"), sync()].concat());
        assert_eq!(talk.sent(), sent, "{text}");
    }
}
