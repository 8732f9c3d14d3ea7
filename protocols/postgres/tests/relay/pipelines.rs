//! Messages that are sent before the answers to those before them have come, and server connections that are lost.
//!
//! Most of these were found by the simulator, and are here as small as they get.

use portcullis_postgres::encoder;
use portcullis_postgres::machine::{Event, Mode, Opening, StatePolicy, Subject, Want};
use portcullis_postgres::message::backend::TransactionStatus;

use super::talk::{
    Talk, all, at_most, bind, complete, error, execute, one, parse, query, ready, row, setup, sync,
};

const PARSED: &[u8] = b"1\0\0\0\x04";
const BOUND: &[u8] = b"2\0\0\0\x04";
const CLOSED: &[u8] = b"3\0\0\0\x04";

fn transaction() -> Talk {
    Talk::new(setup(Mode::Transaction))
}

fn in_transaction() -> Vec<u8> {
    one(|dst| encoder::ready_for_query(TransactionStatus::InTransaction, dst))
}

fn copy_in() -> Vec<u8> {
    one(|dst| encoder::copy_in_response(0, &[], dst))
}

/// Hears of what the client has prepared.
fn prepare(talk: &mut Talk, name: &str, sql: &str) {
    talk.client(&[parse(name, sql), sync()].concat());
    talk.server(&[PARSED, &ready()].concat()).unwrap();
    talk.sent();
    talk.heard();
}

/// Carries out a text by the extended protocol, each answer awaited.
fn run(talk: &mut Talk, text: &str) {
    let tag = text.split(' ').next().unwrap();
    let done = complete(tag);
    let messages = [parse("", text), bind(""), execute()];
    for (message, answer) in messages.iter().zip([PARSED, BOUND, &done]) {
        talk.client(message);
        talk.server(answer).unwrap();
    }
}

#[test]
fn an_error_is_about_its_own_segment_only() {
    let mut talk = transaction();
    talk.client(&[parse("", "SELEC"), sync(), parse("", "SELECT 1")].concat());
    talk.server(&[&error("42601")[..], &ready()].concat())
        .unwrap();
    talk.sent();
    talk.client(&[bind(""), execute(), sync()].concat());
    assert_eq!(
        talk.sent(),
        "PBES",
        "what is there is not known behind an error"
    );
    let answer = [
        PARSED,
        PARSED,
        BOUND,
        &row(b"1"),
        &complete("SELECT 1"),
        &ready(),
    ]
    .concat();
    assert_eq!(talk.server(&answer), Ok(Event::Ready));
    assert_eq!(talk.heard(), "EZ12DCZ");
}

#[test]
fn a_query_that_a_server_reads_over_is_owed_nothing() {
    let mut talk = transaction();
    talk.client(&[parse("", "SELEC"), query("SELECT 1"), sync()].concat());
    let answer = [&error("42601")[..], &ready()].concat();
    assert_eq!(talk.server(&answer), Ok(Event::Ready));
    assert!(talk.relay.is_free());
}

#[test]
fn nothing_waits_for_answers_that_a_server_keeps_to_itself() {
    let mut talk = transaction();
    let parses: Vec<u8> = (0..talk.setup.pipeline)
        .flat_map(|_| parse("", "SELECT 1"))
        .collect();
    assert_eq!(
        talk.client(&[parses, query("SELECT 2")].concat()),
        Want::Replies
    );
    assert!(talk.sent().ends_with("PH"));
}

#[test]
fn a_connection_is_free_behind_what_the_client_does_not_hear_of() {
    let rows: [(&str, Vec<u8>, Vec<u8>); 2] = [
        (
            "COPY",
            [query("COPY t FROM STDIN"), one(encoder::copy_done)].concat(),
            [copy_in(), complete("COPY 0"), ready()].concat(),
        ),
        (
            "a name that was taken",
            [parse("a", "SELECT 2"), sync()].concat(),
            [PARSED, &error("42P05")[..], &ready(), CLOSED, &ready()].concat(),
        ),
    ];
    for (name, asked, answer) in rows {
        let mut talk = transaction();
        prepare(&mut talk, "a", "SELECT 1");
        talk.client(&asked);
        let mut event = Event::Nothing;
        for byte in answer {
            event = talk.server(&[byte]).unwrap();
        }
        assert_eq!(event, Event::Ready, "{name}");
        assert!(talk.relay.is_free(), "{name}");
    }
}

#[test]
fn a_copy_that_fails_leaves_no_ready_for_the_next() {
    let mut talk = transaction();
    let data = one(|dst| encoder::copy_data(b"bad", dst));
    talk.client(&[query("COPY t FROM STDIN"), data].concat());
    talk.server(&copy_in()).unwrap();
    // The server may come to this Sync after it has stopped reading.
    talk.client(&sync());
    talk.server(&[&error("22P04")[..], &ready()].concat())
        .unwrap();
    assert!(!talk.relay.is_free(), "one more may come");
    assert!(!talk.relay.owes_nothing());
    talk.server(&ready()).unwrap();
    assert!(talk.relay.is_free());
    assert_eq!(talk.heard(), "GEZZ");
}

#[test]
fn syncs_in_a_copy_that_succeeds_are_not_answered() {
    let mut talk = transaction();
    talk.client(&[parse("", "COPY t FROM STDIN"), bind(""), execute(), sync()].concat());
    talk.server(&[PARSED, BOUND, &copy_in()].concat()).unwrap();
    talk.client(&[one(encoder::copy_done), sync()].concat());
    let answer = [complete("COPY 0"), ready(), CLOSED.to_vec(), ready()].concat();
    assert_eq!(talk.server(&answer), Ok(Event::Ready));
    assert_eq!(talk.heard(), "12GCZ");
    assert!(talk.relay.is_free());
}

#[test]
fn what_waits_behind_a_copy_without_an_end_is_a_fault_there() {
    let mut talk = transaction();
    let set = "SET client_encoding = 'UTF8'";
    let copy = [parse("", "COPY t FROM STDIN"), bind(""), execute()];
    talk.client(&[query("BEGIN"), query(set)].concat());
    for tag in ["BEGIN", "SET"] {
        talk.server(&[complete(tag), in_transaction()].concat())
            .unwrap();
        talk.client(&[]);
    }
    talk.client(&[copy.concat(), parse("", "SELECT 1")].concat());
    talk.server(&[PARSED, BOUND, &copy_in()].concat()).unwrap();
    talk.sent();
    assert_eq!(talk.client(&[]), Want::Replies);
    assert_eq!(talk.sent(), "C", "the server is shown");
    assert_eq!(talk.client(&[]), Want::Replies);
    assert_eq!(talk.sent(), "", "once");
    talk.server(&error("08P01")).unwrap();
    assert!(!talk.lose());
}

#[test]
fn a_name_is_closed_in_its_turn_where_nobody_knows_how_many_syncs_are_answered() {
    let mut talk = transaction();
    prepare(&mut talk, "a", "SELECT 1");
    talk.client(&[parse("", "COPY t FROM STDIN"), bind(""), execute(), sync()].concat());
    let fails = one(|dst| encoder::copy_fail(b"no", dst));
    talk.client(&[fails, sync()].concat());
    talk.server(&[PARSED, BOUND, &copy_in(), &error("57014"), &ready()].concat())
        .unwrap();
    talk.client(&[one(|dst| encoder::close_statement(b"a", dst)), sync()].concat());
    // The first Sync was ignored, so that nothing comes for the second.
    talk.server(&[CLOSED, &ready()].concat()).unwrap();
    assert_eq!(talk.heard(), "12GEZ3Z");
    assert!(talk.relay.is_free());
}

#[test]
fn the_last_words_of_a_server_are_not_hidden_by_a_refusal() {
    let mut talk = transaction();
    talk.setup.inspect = true;
    talk.client(&parse("", "SELECT 1"));
    talk.client(&bind(""));
    talk.relay.reject(error("42501"));
    talk.client(&[]);
    let fields = [(b'S', &b"FATAL"[..]), (b'C', b"57P01"), (b'M', b"x")];
    let fatal = one(|dst| encoder::error_response(fields, dst));
    talk.server(&[PARSED, &fatal].concat()).unwrap();
    assert!(talk.heard_bytes().ends_with(&fatal));
}

#[test]
fn a_sync_behind_copy_data_is_waited_for_by_the_server() {
    let mut talk = transaction();
    let text = "COPY t FROM STDIN; RESET ALL";
    talk.client(&[parse("", text), bind(""), execute(), sync()].concat());
    talk.server(&[PARSED, BOUND, &copy_in()].concat()).unwrap();
    talk.sent();
    // It ignores the first, and keeps back what it has to say of the end.
    talk.client(&[one(encoder::copy_done), sync()].concat());
    assert_eq!(talk.sent(), "cSCS");
}

#[test]
fn half_a_message_is_not_nothing() {
    let mut talk = transaction();
    talk.client(&query("COPY t FROM STDIN"));
    talk.server(&copy_in()).unwrap();
    let data = one(|dst| encoder::copy_data(&vec![b'x'; 200_000], dst));
    talk.client(&data[..100_000]);
    talk.server(&[&error("57014")[..], &ready()].concat())
        .unwrap();
    assert!(
        !talk.relay.owes_nothing(),
        "the next would be read as its rest"
    );
    talk.client(&data[100_000..]);
    assert!(talk.relay.is_free());
}

#[test]
fn what_was_not_closed_is_still_known() {
    let mut talk = transaction();
    talk.setup.prepared = 1;
    prepare(&mut talk, "a", "SELECT 1");
    let describe = one(|dst| encoder::describe_portal(b"none", dst));
    talk.client(&[describe, parse("b", "SELECT 2"), sync()].concat());
    assert_eq!(talk.sent(), "DCPS");
    talk.server(&[&error("34000")[..], &ready()].concat())
        .unwrap();
    talk.client(&[bind("a"), sync()].concat());
    assert_eq!(talk.sent(), "BS", "it would be there twice");
}

#[test]
fn nothing_follows_what_changes_all_that_follows() {
    let texts = [
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "UNLISTEN *",
        "RESET ALL",
        "RESET ROLE",
    ];
    for text in texts {
        let mut talk = transaction();
        let next = parse("", "SELECT 1");
        talk.client(&[parse("", text), bind(""), execute(), next].concat());
        assert_eq!(talk.sent(), "PBEH", "{text}");
        talk.server(&[PARSED, BOUND, &complete(text)].concat())
            .unwrap();
        talk.client(&[]);
        assert_eq!(talk.sent(), "P", "{text}");
        talk.server(PARSED).unwrap();
        run(&mut talk, "CREATE TEMP TABLE t ()");
        talk.client(&sync());
        talk.server(&ready()).unwrap();
        assert!(talk.link.unwrap().tainted, "{text}");
        assert!(!talk.relay.pins().is_empty(), "{text}");
    }
}

#[test]
fn a_sync_behind_a_query_that_resets_waits_for_it() {
    let opening = [(&b"user"[..], &b"u"[..]), (b"work_mem", b"1MB")];
    let shape = Opening::read(opening.into_iter()).unwrap().shape;
    let mut talk = transaction().shaped((*shape).clone());
    let messages = [parse("", "SELECT 1"), query("RESET ALL"), sync()].concat();
    assert_eq!(talk.client(&messages), Want::Replies);
    assert_eq!(talk.sent(), "PQ");
    let event = talk.server(&[PARSED, &complete("RESET"), &ready()].concat());
    assert_eq!(event, Ok(Event::Reapply));
}

#[test]
fn a_setting_is_replayed_only_when_it_lasts() {
    let set = "SET work_mem TO '1MB'";
    let rows = [
        ("alone", vec![set], ready(), true),
        (
            "in a transaction",
            vec!["BEGIN", set],
            in_transaction(),
            false,
        ),
        ("twice", vec![set, "SET work_mem TO '2MB'"], ready(), false),
    ];
    for (name, texts, end, is_replayed) in rows {
        let mut talk = transaction();
        talk.setup.state = StatePolicy::Replay;
        for text in &texts {
            run(&mut talk, text);
        }
        talk.client(&sync());
        talk.server(&end).unwrap();
        assert_eq!(!talk.relay.shape().is_empty(), is_replayed, "{name}");
        assert_eq!(talk.relay.pins().is_empty(), is_replayed, "{name}");
    }
}

#[test]
fn only_what_was_reset_goes_back_to_the_start() {
    let opening = [("user", "u"), ("work_mem", "1MB"), ("timezone", "UTC")];
    let opening = opening.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let shape = Opening::read(opening.into_iter()).unwrap().shape;
    let rows = [
        ("RESET timezone", Some("timezone")),
        ("SET TIME ZONE DEFAULT", Some("timezone")),
        ("RESET geqo", None),
        ("RESET ALL; SET work_mem = '2MB'", Some("timezone")),
        (
            "RESET timezone; RESET work_mem; SET timezone = 'x'",
            Some("work_mem"),
        ),
    ];
    for (text, due) in rows {
        let mut talk = transaction().shaped((*shape).clone());
        talk.client(&query(text));
        let done = text
            .split("; ")
            .map(|one| complete(one.split(' ').next().unwrap()));
        let answer = done.chain([ready()]).collect::<Vec<_>>().concat();
        let event = talk.server(&answer).unwrap();
        let sql = talk.relay.take_due().unwrap_or_default();
        let sql = String::from_utf8(sql).unwrap();
        assert_eq!(event == Event::Reapply, due.is_some(), "{text}");
        for name in ["work_mem", "timezone"] {
            assert_eq!(sql.contains(name), due == Some(name), "{text}: {sql}");
        }
    }
}

#[test]
fn what_a_text_did_not_come_to_gives_nothing_back() {
    let opening = [(&b"user"[..], &b"u"[..]), (b"timezone", b"UTC")];
    let shape = Opening::read(opening.into_iter()).unwrap().shape;
    let rows = [
        ("SET work_mem = '1MB'; COMMIT; DISCARD ALL", 2, false),
        ("RESET timezone; COMMIT; DISCARD ALL", 2, true),
        ("RESET timezone; SELEC", 1, false),
        ("COMMIT; RESET timezone; SELEC", 2, false),
    ];
    for (text, count, is_due) in rows {
        let mut talk = transaction().shaped((*shape).clone());
        talk.client(&query(text));
        let done = text.split("; ").take(count);
        let done = done.map(|one| complete(one.split(' ').next().unwrap()));
        let fails = [error("25001").to_vec(), ready()];
        let answer = done.chain(fails).collect::<Vec<_>>().concat();
        let event = talk.server(&answer).unwrap();
        assert_eq!(event == Event::Reapply, is_due, "{text}");
    }
}

#[test]
fn a_server_that_reads_copy_data_hears_what_is_no_data() {
    let close = one(|dst| encoder::close_statement(b"a", dst));
    for message in [close, parse("b", "SELECT 1")] {
        let mut talk = transaction();
        prepare(&mut talk, "a", "SELECT 1");
        talk.client(&[parse("", "COPY t FROM STDIN"), bind(""), execute()].concat());
        talk.sent();
        talk.client(&message);
        let sent = talk.sent_bytes();
        assert_eq!(super::talk::tags(&sent).len(), 1, "it is a fault there");
        let name = b"portcullis_";
        let is_named = sent
            .windows(name.len() + 1)
            .any(|part| part.starts_with(name) && part[name.len()].is_ascii_digit());
        assert!(!is_named, "nobody's statement is touched");
        talk.server(&[PARSED, BOUND, &copy_in(), &error("08P01")[..]].concat())
            .unwrap();
        assert_eq!(talk.heard(), "12GE");
    }
}

#[test]
fn a_ready_that_is_held_back_is_not_lost_with_the_connection() {
    let opening = [(&b"user"[..], &b"u"[..]), (b"work_mem", b"1MB")];
    let shape = Opening::read(opening.into_iter()).unwrap().shape;
    let mut talk = transaction().shaped((*shape).clone());
    talk.client(&query("RESET ALL"));
    let event = talk.server(&[complete("RESET"), ready()].concat());
    assert_eq!(event, Ok(Event::Reapply));
    assert_eq!(talk.heard(), "C");
    assert!(talk.lose());
    assert_eq!(talk.heard(), "Z");
}

#[test]
fn a_lost_connection_takes_what_was_about_it_along() {
    let mut talk = transaction();
    talk.client(&query("SELECT 1"));
    let mut judge = at_most(10);
    talk.judged(&[row(&[b'x'; 90]), row(b"x")].concat(), Some(&mut judge))
        .unwrap();
    assert!(talk.lose());
    assert_eq!(talk.heard(), "EZ");
    talk.attach();
    talk.client(&query("SELECT 2"));
    talk.server(&[row(b"2"), complete("SELECT 1"), ready()].concat())
        .unwrap();
    assert_eq!(talk.heard(), "DCZ");
}

#[test]
fn an_error_of_a_lost_connection_is_told_once_a_segment() {
    let mut talk = transaction();
    let segment = [parse("", "SELECT 1"), bind(""), execute(), sync()].concat();
    talk.client(
        &[
            segment.clone(),
            query("SELECT 1"),
            segment,
            parse("", "SELECT 2"),
        ]
        .concat(),
    );
    talk.server(PARSED).unwrap();
    assert!(talk.lose());
    assert_eq!(talk.heard(), "1EZEZEZE");
    assert_eq!(talk.client(&[execute(), sync()].concat()), Want::Input);
    assert_eq!(talk.heard(), "Z");
}

#[test]
fn nobody_uses_the_unnamed_statement_of_another() {
    let mut one = transaction();
    one.client(&[parse("", "SELECT 1"), sync()].concat());
    one.server(&[PARSED, &ready()].concat()).unwrap();
    let mut other = transaction();
    other.link = one.link;
    let describe = all(&[&|dst| encoder::describe_statement(b"", dst)]);
    other.client(&[describe, bind(""), sync()].concat());
    assert_eq!(other.sent(), "CDBS");
    other
        .server(&[CLOSED, &error("26000"), &ready()].concat())
        .unwrap();
    assert_eq!(other.heard(), "EZ");
}

#[test]
fn clients_that_say_the_same_have_one_unnamed_statement() {
    let mut one = transaction();
    prepare(&mut one, "", "SELECT 1");
    let mut other = transaction();
    other.setup = one.setup;
    for (text, sent) in [("SELECT 1", "BS"), ("SELECT 2", "PBS")] {
        prepare(&mut other, "", text);
        let own = std::mem::replace(&mut other.link, one.link.take());
        other.client(&[bind(""), sync()].concat());
        assert_eq!(other.sent(), sent, "{text}");
        let parsed = if sent == "BS" { b"" } else { PARSED };
        other.server(&[parsed, BOUND, &ready()].concat()).unwrap();
        one.link = std::mem::replace(&mut other.link, own);
    }
}

#[test]
fn filters_see_what_a_name_stands_for_or_nothing() {
    let rows = [
        ("the same again", "SELECT 1", true),
        (
            "another text, which the server may refuse",
            "DELETE FROM t",
            false,
        ),
    ];
    for (name, second, is_known) in rows {
        let mut talk = Talk::new(setup(Mode::Session));
        prepare(&mut talk, "a", "SELECT 1");
        talk.setup.inspect = true;
        talk.client(&[parse("a", second), bind("a")].concat());
        let is = matches!(talk.relay.subject(), Subject::Prepared(_));
        assert_eq!(is, is_known, "{name}");
    }
}

#[test]
fn a_statement_that_is_closed_is_forgotten_in_any_mode() {
    let mut talk = Talk::new(setup(Mode::Session));
    prepare(&mut talk, "a", "SELECT 1");
    talk.setup.inspect = true;
    let close = all(&[&|dst| encoder::close_statement(b"a", dst)]);
    talk.client(&[close, parse("a", "DELETE FROM t"), bind("a")].concat());
    let Subject::Prepared(prepared) = talk.relay.subject() else {
        panic!("{:?}", talk.relay.subject());
    };
    assert_eq!(prepared.sql(), b"DELETE FROM t");
}

#[test]
fn a_name_of_a_segment_that_may_fail_is_waited_for() {
    let mut talk = transaction();
    prepare(&mut talk, "", "DELETE FROM t");
    talk.setup.inspect = true;
    let fails = one(|dst| encoder::describe_portal(b"none", dst));
    // Read over, the second text would be judged and the first carried out.
    let harmless = [fails, parse("", "SELECT 1"), sync(), bind("")].concat();
    assert_eq!(talk.client(&harmless), Want::Replies);
    talk.server(&[&error("34000")[..], &ready()].concat())
        .unwrap();
    assert_eq!(talk.client(&[]), Want::Statement);
    let Subject::Prepared(prepared) = talk.relay.subject() else {
        panic!("{:?}", talk.relay.subject());
    };
    assert_eq!(prepared.sql(), b"DELETE FROM t");
}

#[test]
fn a_query_that_may_be_read_over_leaves_the_unnamed_statement_in_doubt() {
    let mut talk = transaction();
    prepare(&mut talk, "", "DELETE FROM t");
    talk.setup.inspect = true;
    let fails = one(|dst| encoder::describe_portal(b"none", dst));
    assert_eq!(
        talk.client(&[fails, query("SELECT 1")].concat()),
        Want::Statement
    );
    talk.relay.admit();
    assert_eq!(talk.client(&[sync(), bind("")].concat()), Want::Replies);
    talk.server(&[&error("34000")[..], &ready()].concat())
        .unwrap();
    assert_eq!(talk.client(&[]), Want::Statement);
    assert!(matches!(talk.relay.subject(), Subject::Prepared(_)));
}

#[test]
fn execute_is_judged_as_what_it_executes() {
    let mut talk = transaction();
    prepare(&mut talk, "a", "SET work_mem TO '1MB'");
    talk.setup.inspect = true;
    assert_eq!(talk.client(&query("EXECUTE a")), Want::Statement);
    let Subject::Prepared(prepared) = talk.relay.subject() else {
        panic!("{:?}", talk.relay.subject());
    };
    assert_eq!(prepared.sql(), b"SET work_mem TO '1MB'");
    talk.relay.admit();
    talk.client(&[]);
    assert!(
        !talk.relay.pins().is_empty(),
        "it leaves behind what that does"
    );
}

#[test]
fn deallocate_takes_the_name_that_it_says() {
    let mut talk = transaction();
    prepare(&mut talk, "a", "SELECT 1");
    talk.client(&[parse("b", "SELECT 1"), sync()].concat());
    talk.server(&ready()).unwrap();
    talk.client(&query("DEALLOCATE b"));
    talk.server(&[complete("DEALLOCATE"), ready()].concat())
        .unwrap();
    talk.sent();
    talk.client(&[bind("a"), sync()].concat());
    assert_eq!(talk.sent(), "PBS", "prepared again");
    talk.server(&[PARSED, BOUND, &ready()].concat()).unwrap();
    talk.client(&[bind("b"), sync()].concat());
    let sent = talk.sent_bytes();
    assert!(
        sent.windows(3).any(|part| part == b"\0b\0"),
        "the server says that there is none"
    );
}

#[test]
fn what_executes_a_deallocate_is_still_there() {
    let mut talk = transaction();
    prepare(&mut talk, "a", "DEALLOCATE b");
    talk.client(&query("EXECUTE a"));
    talk.server(&[complete("DEALLOCATE"), ready()].concat())
        .unwrap();
    talk.sent();
    talk.client(&parse("a", "SELECT 1"));
    assert_eq!(talk.sent(), "PP", "the server says that the name is taken");
}

#[test]
fn names_in_sql_are_the_servers_in_session_mode() {
    let mut talk = Talk::new(setup(Mode::Session));
    prepare(&mut talk, "a", "SELECT 1");
    talk.client(&query("DEALLOCATE a"));
    assert_eq!(talk.sent_bytes(), query("DEALLOCATE a"));
}
