//! The rules, one by one. What the simulator finds is written down here, as small as it gets.

use portcullis_postgres::encoder;
use portcullis_postgres::machine::{Event, Mode, Want};

use super::talk::{
    Talk, all, at_most, bind, complete, error, execute, parse, query, ready, row, setup, sync,
};

fn transaction() -> Talk {
    Talk::new(setup(Mode::Transaction))
}

/// Longer than what is held of a message.
fn long() -> Vec<u8> {
    vec![b'x'; 200_000]
}

fn large_error(severity: &str) -> Vec<u8> {
    let text = long();
    let fields = [
        (b'S', severity.as_bytes()),
        (b'V', severity.as_bytes()),
        (b'C', &b"P0001"[..]),
        (b'M', &text[..]),
    ];
    all(&[&|dst| encoder::error_response(fields, dst)])
}

fn large_notice() -> Vec<u8> {
    let text = long();
    all(&[&|dst| encoder::notice_response([(b'S', &b"NOTICE"[..]), (b'M', &text[..])], dst)])
}

/// Hands the server's bytes over in pieces of any size that is odd to a header.
fn in_pieces(talk: &mut Talk, bytes: &[u8]) -> Vec<Event> {
    let pieces = bytes.chunks(4_999);
    pieces.map(|piece| talk.server(piece).unwrap()).collect()
}

#[test]
fn a_large_error_is_an_error() {
    let mut talk = transaction();
    assert_eq!(talk.client(&query("SELECT 1")), Want::Input);
    let answer = [large_error("ERROR"), ready()].concat();
    assert_eq!(in_pieces(&mut talk, &answer).last(), Some(&Event::Ready));
    assert_eq!(talk.heard(), "EZ");
    let mut errors = Vec::new();
    talk.relay
        .take_done(|flight| errors.push(flight.error.unwrap().as_str().to_owned()));
    assert_eq!(errors, ["P0001"]);
    assert!(talk.relay.is_free());
}

#[test]
fn a_large_error_skips_to_the_sync() {
    let mut talk = transaction();
    talk.client(&[parse("", "SELECT 1"), bind(""), execute()].concat());
    in_pieces(&mut talk, &large_error("ERROR"));
    assert_eq!(talk.heard(), "E");
    talk.client(&[bind(""), execute(), sync()].concat());
    talk.sent();
    assert_eq!(talk.server(&ready()), Ok(Event::Ready));
    assert_eq!(talk.heard(), "Z");
}

#[test]
fn a_large_error_that_stands_for_another_is_replaced_whole() {
    let mut talk = transaction();
    talk.setup.inspect = true;
    assert_eq!(talk.client(&query("BEGIN")), Want::Statement);
    talk.relay.admit();
    talk.client(&[]);
    talk.server(&[complete("BEGIN"), b"Z\0\0\0\x05T".to_vec()].concat())
        .unwrap();
    talk.heard();
    assert_eq!(talk.client(&query("SELECT 1")), Want::Statement);
    talk.relay.reject(error("42501"));
    talk.client(&[]);
    in_pieces(&mut talk, &large_error("ERROR"));
    talk.server(b"Z\0\0\0\x05E").unwrap();
    let heard = talk.heard_bytes();
    assert!(
        heard.starts_with(&error("42501")),
        "{}",
        heard.escape_ascii()
    );
    assert_eq!(super::talk::tags(&heard), "EZ");
}

#[test]
fn a_large_last_word_of_a_server_marks_the_connection() {
    for (name, asked, heard) in [("asked", true, "E"), ("unasked", false, "")] {
        let mut talk = transaction();
        if asked {
            talk.client(&query("SELECT 1"));
        }
        in_pieces(&mut talk, &large_error("FATAL"));
        assert_eq!(talk.heard(), heard, "{name}");
        assert!(talk.link.as_ref().unwrap().leaving, "{name}");
    }
}

#[test]
fn a_large_notice_may_come_at_any_time() {
    let mut talk = Talk::new(setup(Mode::Session));
    in_pieces(&mut talk, &large_notice());
    assert_eq!(talk.heard(), "N");
    talk.client(&[parse("a", "SELECT 1"), sync()].concat());
    in_pieces(&mut talk, &large_notice());
    in_pieces(&mut talk, &[b"1\0\0\0\x04".to_vec(), ready()].concat());
    assert_eq!(talk.heard(), "N1Z");
}

#[test]
fn a_large_description_ends_what_it_answers() {
    let mut talk = transaction();
    let describe = all(&[&|dst| encoder::describe_portal(b"", dst)]);
    talk.client(&[parse("", "SELECT 1"), bind(""), describe, execute(), sync()].concat());
    let name = long();
    let field = portcullis_postgres::message::backend::Field {
        name: &name,
        table: 0,
        column: 0,
        type_id: 25,
        type_size: -1,
        type_modifier: -1,
        format: portcullis_postgres::message::Format::TEXT,
    };
    let description = all(&[&|dst| encoder::row_description(&[field], dst)]);
    let answer = [
        b"1\0\0\0\x042\0\0\0\x04".to_vec(),
        description,
        row(b"1"),
        complete("SELECT 1"),
        ready(),
    ];
    assert_eq!(
        in_pieces(&mut talk, &answer.concat()).last(),
        Some(&Event::Ready)
    );
    assert_eq!(talk.heard(), "12TDCZ");
}

#[test]
fn a_large_row_is_cut_off_whole_or_not_at_all() {
    let rows = [
        ("too large", 100_000, "EZ"),
        ("not too large", 300_000, "TDCZ"),
    ];
    for (name, most, heard) in rows {
        let mut talk = transaction();
        talk.client(&query("SELECT 1"));
        let description = all(&[&|dst| encoder::row_description(&[], dst)]);
        let answer = [description, row(&long()), complete("SELECT 1"), ready()].concat();
        let mut judge = at_most(most);
        for piece in answer.chunks(4_999) {
            talk.judged(piece, Some(&mut judge)).unwrap();
        }
        let all = talk.heard();
        assert_eq!(
            all.trim_start_matches('T'),
            heard.trim_start_matches('T'),
            "{name}"
        );
    }
}

#[test]
fn nothing_is_said_in_the_middle_of_a_message() {
    let mut talk = transaction();
    talk.client(&query("SELECT 1"));
    talk.server(&row(&long())[..70_000]).unwrap();
    assert!(talk.relay.is_mid_message());
    assert!(!talk.lose(), "a client that has half a row cannot go on");
    assert_eq!(talk.heard(), "~");
    assert!(talk.relay.is_mid_message(), "still, for what is said last");
}

#[test]
fn what_stands_before_a_fault_is_passed_on() {
    let mut talk = transaction();
    talk.client(&[query("SELECT 1"), query("SELECT 2")].concat());
    let answer = [complete("SELECT 1"), ready(), b"!!!!!".to_vec()].concat();
    talk.server(&answer).unwrap_err();
    assert_eq!(talk.heard(), "CZ");
    assert!(talk.lose());
    assert_eq!(talk.heard(), "EZ");
}
